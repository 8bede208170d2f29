"""The controller's decisions and what they cost."""

from panels import SERVICE, dashboard, figure, graph, quantile, target


def make():
    controller = 'edgeloom_build_info{component="controller"}'
    return dashboard(
        "solver",
        "Solver and controller",
        "How long decisions take, how good they are, and how often they change.",
        [SERVICE],
        [
            figure(
                "Gap",
                "The largest distance of a placement from its lower bound.",
                "percentunit",
                target("max(edgeloom_solver_gap_ratio)"),
                width=6,
                bad_above=0.1,
            ),
            figure(
                "Services",
                "Services by what became of them.",
                "none",
                target("max by (state) (edgeloom_services)", "{{state}}"),
                width=9,
            ),
            figure(
                "Last plan",
                "Time since a plan was last applied; one is due every 30 seconds.",
                "s",
                target("time() - max(edgeloom_manager_last_applied_timestamp_seconds)"),
                width=9,
                bad_above=180,
            ),
            graph(
                "Gap by service",
                "How far each placement may be from the best, over its objective.",
                "percentunit",
                target('max by (service) (edgeloom_service_gap_ratio{service=~"$service"})', "{{service}}"),
            ),
            graph(
                "Moves",
                "Moves of services to another pipeline in an hour.",
                "none",
                target(
                    'sum by (service) (increase(edgeloom_service_moves_total{service=~"$service"}[1h]))', "{{service}}"
                ),
            ),
            graph(
                "Rounds",
                "Rounds of the reconcile loop per second, by result.",
                "short",
                target("sum by (result) (rate(edgeloom_manager_rounds_total[$__rate_interval]))", "{{result}}"),
                stacked=True,
            ),
            graph(
                "Time of a solve",
                "Median and 95th percentile.",
                "s",
                target(quantile(0.5, "edgeloom_solver_duration_seconds", "", []), "p50"),
                target(quantile(0.95, "edgeloom_solver_duration_seconds", "", []), "p95"),
            ),
            graph(
                "Time of a round",
                "From the snapshot to the last write: median and 95th percentile.",
                "s",
                target(quantile(0.5, "edgeloom_manager_round_duration_seconds", "", []), "p50"),
                target(quantile(0.95, "edgeloom_manager_round_duration_seconds", "", []), "p95"),
            ),
            graph(
                "Steps of the search",
                "Steps of work per second.",
                "short",
                target("sum(rate(edgeloom_solver_steps_total[$__rate_interval]))", "steps"),
            ),
            graph(
                "Writes",
                "Objects per second that were created, updated or deleted; a settled world has none.",
                "short",
                target("sum(rate(edgeloom_manager_writes_total[$__rate_interval]))", "writes"),
            ),
            graph(
                "Controller's memory",
                "Resident memory of each controller.",
                "bytes",
                target(f"process_resident_memory_bytes and on (job, instance) {controller}", "{{instance}}"),
            ),
            graph(
                "Controller's processor",
                "Processor seconds per second of each controller.",
                "none",
                target(
                    f"rate(process_cpu_seconds_total[$__rate_interval]) and on (job, instance) {controller}",
                    "{{instance}}",
                ),
            ),
        ],
    )
