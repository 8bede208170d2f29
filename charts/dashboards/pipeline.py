"""One service's stages."""

from panels import ONE_SERVICE, dashboard, graph, quantile, table, target


def make():
    chosen = '{service="$service"}'
    on_its_nodes = f"and on (node) edgeloom_pipeline_stage_layers{chosen}"
    stage = "max by (ordinal, node) "
    return dashboard(
        "pipeline",
        "Pipeline",
        "The stages of one service's pipeline: what was predicted for them, and what their nodes do.",
        [ONE_SERVICE],
        [
            table(
                "Stages",
                "The pipeline in the order in which hidden states pass it.",
                ("layers", "none", f"{stage}(edgeloom_pipeline_stage_layers{chosen})"),
                ("memory", "bytes", f"{stage}(edgeloom_pipeline_stage_memory_bytes{chosen})"),
                ("predicted per token", "s", f"{stage}(edgeloom_pipeline_stage_predicted_decode_seconds{chosen})"),
                ("predicted hop", "s", f"{stage}(edgeloom_pipeline_stage_predicted_hop_seconds{chosen})"),
                key=["ordinal", "node"],
                width=16,
            ),
            graph(
                "Where a token's time goes",
                "Predicted time of one token in each stage and on the hop behind it.",
                "s",
                target(f"{stage}(edgeloom_pipeline_stage_predicted_decode_seconds{chosen})", "{{ordinal}} {{node}}"),
                target(
                    f"{stage}(edgeloom_pipeline_stage_predicted_hop_seconds{chosen})", "hop behind {{ordinal}} {{node}}"
                ),
                stacked=True,
            ),
            graph(
                "Time to first token",
                "Observed median, and what was predicted.",
                "s",
                target(quantile(0.5, "edgeloom_time_to_first_token_seconds", chosen, []), "p50"),
                target(f"max(edgeloom_service_predicted_time_to_first_token_seconds{chosen})", "predicted"),
            ),
            graph(
                "Time per output token",
                "Observed median, and what was predicted.",
                "s",
                target(quantile(0.5, "edgeloom_time_per_output_token_seconds", chosen, []), "p50"),
                target(f"max(edgeloom_service_predicted_time_per_output_token_seconds{chosen})", "predicted"),
            ),
            graph(
                "Moves",
                "Moves of the service to another pipeline in an hour.",
                "none",
                target(f"sum(increase(edgeloom_service_moves_total{chosen}[1h]))", "moves"),
            ),
            graph(
                "Sessions",
                "Sessions that hold cells on the pipeline's nodes.",
                "none",
                target(f"max by (node) (edgeloom_sessions) {on_its_nodes}", "{{node}}"),
            ),
            graph(
                "Jobs that wait",
                "Jobs that wait for the device on the pipeline's nodes.",
                "none",
                target(f"max by (node) (edgeloom_queued_jobs) {on_its_nodes}", "{{node}}"),
            ),
            graph(
                "Rows of a batch",
                "Mean rows of the batches that the pipeline's nodes computed: more means that sessions share them.",
                "none",
                target(
                    f"sum by (node) (rate(edgeloom_batch_rows_sum[$__rate_interval])) / (sum by (node) (rate(edgeloom_batch_rows_count[$__rate_interval])) > 0) {on_its_nodes}",
                    "{{node}}",
                ),
            ),
            graph(
                "Busy cores",
                "Processor cores in use on the pipeline's nodes.",
                "none",
                target(f"max by (node) (edgeloom_node_busy_cores) {on_its_nodes}", "{{node}}"),
            ),
            graph(
                "Bytes sent",
                "Bytes per second between the pipeline's nodes.",
                "Bps",
                target(
                    f"sum by (node, peer) (rate(edgeloom_link_sent_bytes_total[$__rate_interval])) {on_its_nodes}",
                    "{{node}} to {{peer}}",
                ),
            ),
            graph(
                "Sessions refused",
                "Sessions per second that were refused or broke on the pipeline's nodes.",
                "short",
                target(
                    f"sum by (node) (rate(edgeloom_sessions_refused_total[$__rate_interval])) {on_its_nodes}",
                    "{{node}}",
                ),
            ),
        ],
    )
