//! Where metrics are scraped: `targets.json`, as Prometheus' `file_sd_configs` reads it. Agents say themselves which node they
//! are.

use serde::Serialize;

/// Programs that are scraped alike.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Group {
    /// `host:port`, where `/metrics` is.
    targets: Vec<String>,
    labels: Labels,
}

#[derive(Debug, PartialEq, Serialize)]
struct Labels {
    job: &'static str,
}

/// The targets: the controller, and the agents' routers, as far as their URLs are known.
pub(crate) fn groups<'a>(
    controller: Option<&'a str>,
    routers: impl IntoIterator<Item = &'a str>,
) -> Vec<Group> {
    let group = |job, urls: &mut dyn Iterator<Item = &'a str>| Group {
        targets: urls.filter_map(host_and_port).collect(),
        labels: Labels { job },
    };
    vec![
        group("edgeloom-controller", &mut controller.into_iter()),
        group("edgeloom-agents", &mut routers.into_iter()),
    ]
}

fn host_and_port(url: &str) -> Option<String> {
    let address = url.strip_prefix("http://")?.trim_end_matches('/');
    (!address.is_empty()).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_groups_are_what_prometheus_reads() {
        let groups = groups(
            Some("http://127.0.0.1:1"),
            ["http://127.0.0.1:2/", "", "http://[::1]:3"],
        );
        assert_eq!(
            serde_json::to_value(groups).unwrap(),
            json!([
                { "targets": ["127.0.0.1:1"], "labels": { "job": "edgeloom-controller" } },
                { "targets": ["127.0.0.1:2", "[::1]:3"], "labels": { "job": "edgeloom-agents" } },
            ])
        );
    }
}
