"""Machines."""

from panels import NODE, dashboard, graph, target


def make():
    chosen = '{node=~"$node"}'
    return dashboard(
        "nodes",
        "Nodes",
        "Memory, processors, battery and temperature of each node, and what its agent does.",
        [NODE],
        [
            graph(
                "Memory available",
                "Memory that could be used now without swapping.",
                "bytes",
                target(f"max by (node) (edgeloom_node_memory_available_bytes{chosen})", "{{node}}"),
            ),
            graph(
                "Memory in use",
                "Share of the memory that the node may use.",
                "percentunit",
                target(f"node:edgeloom_memory_used:ratio{chosen}", "{{node}}"),
                max=1,
            ),
            graph(
                "Busy cores",
                "Share of the processor cores that the node may use.",
                "percentunit",
                target(
                    f"max by (node) (edgeloom_node_busy_cores{chosen}) / max by (node) (edgeloom_node_cores{chosen})",
                    "{{node}}",
                ),
            ),
            graph(
                "Battery",
                "Charge, and the reserve that is left alone.",
                "percentunit",
                target(f"max by (node) (edgeloom_node_battery_ratio{chosen})", "{{node}}"),
                target(f"max by (node) (edgeloom_node_battery_reserve_ratio{chosen})", "{{node}} reserve"),
                max=1,
            ),
            graph(
                "Battery power",
                "Drawn from the battery; negative while it is charged.",
                "watt",
                target(f"max by (node) (edgeloom_node_battery_discharge_watts{chosen})", "{{node}}"),
                min=None,
            ),
            graph(
                "Battery energy",
                "Energy left in the battery.",
                "joule",
                target(f"max by (node) (edgeloom_node_battery_energy_joules{chosen})", "{{node}}"),
            ),
            graph(
                "Temperature",
                "The hottest sensor.",
                "celsius",
                target(f"max by (node) (edgeloom_node_temperature_celsius{chosen})", "{{node}}"),
                min=None,
            ),
            graph(
                "GPU memory in use",
                "Share of each GPU's memory that is taken, by whomever.",
                "percentunit",
                target(
                    f"max by (node, device) (edgeloom_gpu_memory_used_bytes{chosen})"
                    f" / max by (node, device) (edgeloom_gpu_memory_total_bytes{chosen})",
                    "{{node}} {{device}}",
                ),
                max=1,
            ),
            graph(
                "GPU busy",
                "Share of the time in which something ran on each GPU.",
                "percentunit",
                target(f"max by (node, device) (edgeloom_gpu_busy_ratio{chosen})", "{{node}} {{device}}"),
                max=1,
            ),
            graph(
                "GPU power",
                "Power that each GPU draws.",
                "watt",
                target(f"max by (node, device) (edgeloom_gpu_power_watts{chosen})", "{{node}} {{device}}"),
            ),
            graph(
                "GPU temperature",
                "Temperature of each GPU.",
                "celsius",
                target(f"max by (node, device) (edgeloom_gpu_temperature_celsius{chosen})", "{{node}} {{device}}"),
                min=None,
            ),
            graph(
                "Age of what is known",
                "Time since the machine was last read, and since its status was last written; that is written at least every five minutes.",
                "s",
                target(f"time() - max by (node) (edgeloom_node_reading_timestamp_seconds{chosen})", "{{node}} read"),
                target(
                    f"time() - max by (node) (edgeloom_node_reported_timestamp_seconds{chosen})", "{{node}} reported"
                ),
            ),
            graph(
                "Agent's memory",
                "Resident memory of the agent's own process, without the engine's worker.",
                "bytes",
                target(f"max by (node) (process_resident_memory_bytes{chosen})", "{{node}}"),
            ),
            graph(
                "Stages",
                "Stages by phase.",
                "none",
                target(f"sum by (node, phase) (edgeloom_stages{chosen}) > 0", "{{node}} {{phase}}"),
                stacked=True,
            ),
            graph(
                "Loads",
                "Stages that were loaded, and attempts that failed, in an hour.",
                "none",
                target(f"sum by (node) (increase(edgeloom_stage_loads_total{chosen}[1h]))", "{{node}} loaded"),
                target(f"sum by (node) (increase(edgeloom_stage_load_failures_total{chosen}[1h]))", "{{node}} failed"),
            ),
            graph(
                "Time of a load",
                "Mean time to load a stage in the last hour.",
                "s",
                target(
                    f"sum by (node) (increase(edgeloom_stage_load_duration_seconds_sum{chosen}[1h])) / (sum by (node) (increase(edgeloom_stage_load_duration_seconds_count{chosen}[1h])) > 0)",
                    "{{node}}",
                ),
            ),
            graph(
                "Fetches",
                "Files of weights on their way, and attempts that failed in an hour.",
                "none",
                target(f"max by (node) (edgeloom_fetches_in_progress{chosen})", "{{node}} on their way"),
                target(f"sum by (node) (increase(edgeloom_fetch_failures_total{chosen}[1h]))", "{{node}} failed"),
            ),
            graph(
                "Bytes fetched",
                "Bytes on disk of files that are still on their way, and bytes of those that arrived in an hour.",
                "bytes",
                target(f"max by (node) (edgeloom_fetch_partial_bytes{chosen})", "{{node}} on their way"),
                target(f"sum by (node) (increase(edgeloom_fetched_bytes_total{chosen}[1h]))", "{{node}} arrived"),
            ),
            graph(
                "Restarts",
                "Starts of the agent and of its engine's worker in an hour.",
                "none",
                target(f"changes(node:edgeloom_start_timestamp_seconds:max{chosen}[1h])", "{{node}} agent"),
                target(f"sum by (node) (increase(edgeloom_worker_restarts_total{chosen}[1h]))", "{{node}} worker"),
            ),
            graph(
                "Writes of status",
                "Writes per second to the API server, by kind.",
                "reqps",
                target(
                    f"sum by (node, kind) (rate(edgeloom_status_writes_total{chosen}[$__rate_interval]))",
                    "{{node}} {{kind}}",
                ),
            ),
        ],
    )
