"""Links, as each end sees the direction away from it."""

from panels import NODE, PEER, dashboard, graph, target


def make():
    chosen = 'node=~"$node", peer=~"$peer"'
    name = "{{node}} to {{peer}}"
    return dashboard(
        "links",
        "Links",
        "Rate, round trip and loss of each link, as each end measures the direction away from it, against what was declared.",
        [NODE, PEER],
        [
            graph(
                "Rate",
                "Median rate at which the link delivers, and how it is known.",
                "Bps",
                target(
                    f'max by (node, peer, kind) (edgeloom_link_rate_bytes_per_second{{{chosen}, direction="outbound", percentile="50"}})',
                    name + " {{kind}}",
                ),
                width=12,
            ),
            graph(
                "Rate that nine tenths reach",
                "10th percentile of the rate; this is what the solver reckons with.",
                "Bps",
                target(
                    f'max by (node, peer) (edgeloom_link_rate_bytes_per_second{{{chosen}, direction="outbound", percentile="10"}})',
                    name,
                ),
                target(
                    f"max by (node, peer) (edgeloom_link_nominal_rate_bytes_per_second{{{chosen}}})", name + " nominal"
                ),
                width=12,
            ),
            graph(
                "Rate of nominal",
                "Measured or probed rate over the nominal one.",
                "percentunit",
                target(f"link:edgeloom_rate_of_nominal:ratio{{{chosen}}}", name),
            ),
            graph(
                "Round trip",
                "Smoothed round trip, and the nominal one.",
                "s",
                target(f"max by (node, peer) (edgeloom_link_round_trip_seconds{{{chosen}}})", name),
                target(
                    f"max by (node, peer) (edgeloom_link_nominal_round_trip_seconds{{{chosen}}})", name + " nominal"
                ),
            ),
            graph(
                "Deviation of the round trip",
                "Mean deviation: what makes a token late now and then.",
                "s",
                target(f"max by (node, peer) (edgeloom_link_round_trip_deviation_seconds{{{chosen}}})", name),
            ),
            graph(
                "Loss",
                "Share of packets that were lost.",
                "percentunit",
                target(f"max by (node, peer) (edgeloom_link_loss_ratio{{{chosen}}})", name),
            ),
            graph(
                "Bytes sent",
                "Bytes per second sent to the peer.",
                "Bps",
                target(
                    f"sum by (node, peer) (rate(edgeloom_link_sent_bytes_total{{{chosen}}}[$__rate_interval]))", name
                ),
            ),
            graph(
                "Bytes received",
                "Bytes per second received from the peer.",
                "Bps",
                target(
                    f"sum by (node, peer) (rate(edgeloom_link_received_bytes_total{{{chosen}}}[$__rate_interval]))",
                    "{{node}} from {{peer}}",
                ),
            ),
            graph(
                "Connected",
                "1 while there is a connection.",
                "none",
                target(f"max by (node, peer) (edgeloom_link_connected{{{chosen}}})", name),
                max=1,
            ),
        ],
    )
