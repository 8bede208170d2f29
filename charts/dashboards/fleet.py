"""Everything at a glance."""

from panels import dashboard, figure, graph, table, target


def make():
    return dashboard(
        "fleet",
        "Fleet",
        "All nodes and services at a glance.",
        [],
        [
            figure("Nodes reachable", "Nodes whose agent answers.", "none", target("max(edgeloom_nodes_alive)")),
            figure(
                "Nodes lost",
                "Nodes whose agent does not answer.",
                "none",
                target("max(edgeloom_nodes_lost)"),
                bad_above=1,
            ),
            figure(
                "Services ready",
                "Services whose requests have a pipeline.",
                "none",
                target("sum(max by (service) (edgeloom_service_ready))"),
            ),
            figure(
                "Services without a plan",
                "Services for which the solver finds no pipeline.",
                "none",
                target('max(edgeloom_services{state="infeasible"})'),
                bad_above=1,
            ),
            figure(
                "Requests in flight",
                "Generating requests that are not done yet.",
                "none",
                target("sum(edgeloom_requests_in_flight)"),
            ),
            figure(
                "Last plan",
                "Time since the controller last applied a plan; one is due every 30 seconds.",
                "s",
                target("time() - max(edgeloom_manager_last_applied_timestamp_seconds)"),
                bad_above=180,
            ),
            graph(
                "Requests",
                "Requests per second by service.",
                "reqps",
                target("sum by (service) (rate(edgeloom_requests_total[$__rate_interval]))", "{{service}}"),
                width=12,
            ),
            graph(
                "Tokens",
                "Tokens per second that the heads on each node received.",
                "short",
                target("sum by (node) (rate(edgeloom_tokens_total[$__rate_interval]))", "{{node}}"),
                width=12,
                stacked=True,
            ),
            graph(
                "Sessions",
                "Sessions that hold cells, by node.",
                "none",
                target("sum by (node) (edgeloom_sessions)", "{{node}}"),
                stacked=True,
            ),
            graph(
                "Memory in use",
                "Share of the memory that a node may use.",
                "percentunit",
                target("node:edgeloom_memory_used:ratio", "{{node}}"),
                max=1,
            ),
            graph(
                "Placements",
                "Placements by phase.",
                "none",
                target("max by (phase) (edgeloom_placements)", "{{phase}}"),
                stacked=True,
            ),
            table(
                "Nodes",
                "Each node's agent as it is now.",
                ("reachable", "bool_yes_no", "max by (node) (edgeloom_node_reachable)"),
                ("stages", "none", 'max by (node) (edgeloom_stages{phase="Ready"})'),
                ("memory free", "bytes", "max by (node) (edgeloom_node_memory_available_bytes)"),
                ("battery", "percentunit", "max by (node) (edgeloom_node_battery_ratio)"),
                ("running for", "s", "time() - node:edgeloom_start_timestamp_seconds:max"),
                key=["node"],
                width=16,
            ),
            table(
                "Versions",
                "What is running.",
                ("programs", "none", "count by (component, version) (edgeloom_build_info)"),
                key=["component", "version"],
                width=8,
            ),
        ],
    )
