//! What Prometheus, Grafana and whoever is woken at night are told: rules, alerts and dashboards against `promtool`, and
//! against a real Prometheus that scrapes a running system.

mod dashboards;
mod promql;
mod rules;
mod scraped;
