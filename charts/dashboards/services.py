"""Promises, and how they are kept."""

from panels import SERVICE, dashboard, graph, quantile, table, target


def make():
    chosen = '{service=~"$service"}'
    pipeline = {"title": "Pipeline", "url": "/d/edgeloom-pipeline?var-service=${__field.labels.service}"}
    return dashboard(
        "services",
        "Services and SLO",
        "What services promise, how well they keep it, and what their clients see.",
        [SERVICE],
        [
            graph(
                "Burn rate, one hour",
                "How many times faster than allowed the budget of misses is used up; 1 is just allowed.",
                "none",
                target(
                    f"service:edgeloom_slo_misses:ratio_rate1h{chosen} / on (service) group_left () service:edgeloom_slo_budget:ratio",
                    "{{service}} {{objective}}",
                ),
                links=[pipeline],
            ),
            graph(
                "Burn rate, three days",
                "The same over three days: above 1 the promise is not kept.",
                "none",
                target(
                    f"service:edgeloom_slo_misses:ratio_rate3d{chosen} / on (service) group_left () service:edgeloom_slo_budget:ratio",
                    "{{service}} {{objective}}",
                ),
            ),
            graph(
                "Requests within the objective",
                "Share of the requests of the last five minutes that met each objective.",
                "percentunit",
                target(f"1 - service:edgeloom_slo_misses:ratio_rate5m{chosen}", "{{service}} {{objective}}"),
                max=1,
            ),
            graph(
                "Time to first token",
                "95th percentile, and what was promised and predicted.",
                "s",
                target(f"service:edgeloom_time_to_first_token_seconds:p95_5m{chosen}", "{{service}} p95"),
                target(
                    f"max by (service) (edgeloom_service_promised_time_to_first_token_seconds{chosen})",
                    "{{service}} promised",
                ),
                target(
                    f"max by (service) (edgeloom_service_predicted_time_to_first_token_seconds{chosen})",
                    "{{service}} predicted",
                ),
                width=12,
            ),
            graph(
                "Time per output token",
                "95th percentile, and what was promised and predicted.",
                "s",
                target(f"service:edgeloom_time_per_output_token_seconds:p95_5m{chosen}", "{{service}} p95"),
                target(
                    f"max by (service) (edgeloom_service_promised_time_per_output_token_seconds{chosen})",
                    "{{service}} promised",
                ),
                target(
                    f"max by (service) (edgeloom_service_predicted_time_per_output_token_seconds{chosen})",
                    "{{service}} predicted",
                ),
                width=12,
            ),
            graph(
                "Requests by outcome",
                "Requests per second by the HTTP status that their outcome deserves; 499: the client went away.",
                "reqps",
                target(f"sum by (service, code) (service:edgeloom_requests:rate5m{chosen})", "{{service}} {{code}}"),
                stacked=True,
            ),
            graph(
                "Duration of requests",
                "Median and 95th percentile, from arrival to the end of the answer.",
                "s",
                target(quantile(0.5, "edgeloom_request_duration_seconds", chosen, ["service"]), "{{service}} p50"),
                target(quantile(0.95, "edgeloom_request_duration_seconds", chosen, ["service"]), "{{service}} p95"),
            ),
            graph(
                "Streams that break off",
                "Share of requests that ended with an error after text had been sent.",
                "percentunit",
                target(f"service:edgeloom_stream_errors:ratio_rate15m{chosen}", "{{service}}"),
            ),
            graph(
                "Prompt tokens",
                "Tokens per second of admitted prompts.",
                "short",
                target(
                    f"sum by (service) (rate(edgeloom_prompt_tokens_total{chosen}[$__rate_interval]))", "{{service}}"
                ),
            ),
            graph(
                "Generated tokens",
                "Tokens per second of answers.",
                "short",
                target(
                    f"sum by (service) (rate(edgeloom_completion_tokens_total{chosen}[$__rate_interval]))",
                    "{{service}}",
                ),
            ),
            table(
                "Services",
                "Each service as it is now.",
                ("has a plan", "bool_yes_no", f"max by (service) (edgeloom_service_feasible{chosen})"),
                ("ready", "bool_yes_no", f"max by (service) (edgeloom_service_ready{chosen})"),
                ("promised share", "percentunit", f"max by (service) (edgeloom_service_objective_ratio{chosen})"),
                ("gap", "percentunit", f"max by (service) (edgeloom_service_gap_ratio{chosen})"),
                key=["service"],
                width=8,
            ),
        ],
    )
