//! The columns of roles, admission, priorities, quotas and flow control, after those that Kubernetes prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::builtin::age;
use super::cells::{boolean, count, integer, items, number, text, text_or, truth};
use super::column::Column;

/// NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY
pub fn priority_class() -> Vec<Column> {
    vec![
        integer("Value", "The priority.", |class, _| {
            number(class, "/value").into()
        }),
        boolean(
            "Global-Default",
            "Whether pods without a class have it.",
            |class, _| truth(class, "/globalDefault", false),
        ),
        age(),
        Column::computed(
            "PreemptionPolicy",
            "Whether its pods take places of others.",
            |one, _| text(one, "/preemptionPolicy", ""),
        ),
    ]
}

/// NAME ROLE AGE, and who has it in wide output
pub fn role_binding() -> Vec<Column> {
    let role = |binding: &Value, _| {
        let of = |field: &str| binding["roleRef"][field].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", of("kind"), of("name")).into()
    };
    vec![
        Column::computed("Role", "The role that is granted.", role),
        age(),
        Column::computed("Users", "Users that have it.", |one, _| subjects(one, "User")).wide(),
        Column::computed("Groups", "Groups that have it.", |one, _| subjects(one, "Group")).wide(),
        Column::computed("ServiceAccounts", "Accounts that have it.", |one, _| {
            subjects(one, "ServiceAccount")
        })
        .wide(),
    ]
}

fn subjects(binding: &Value, kind: &str) -> Value {
    let of_kind = items(binding, "/subjects").filter(|subject| subject["kind"] == kind);
    let names = of_kind.map(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["namespace"].as_str() {
            Some(namespace) if kind == "ServiceAccount" => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        }
    });
    names.collect::<Vec<_>>().join(", ").into()
}

/// NAME WEBHOOKS AGE
pub fn webhooks() -> Vec<Column> {
    let webhooks = |one: &Value, _| json!(count(&one["webhooks"]));
    vec![integer("Webhooks", "How many are called.", webhooks), age()]
}

/// NAME VALIDATIONS PARAMKIND AGE
pub fn validating_admission_policy() -> Vec<Column> {
    vec![
        integer("Validations", "How many rules it has.", |policy, _| {
            json!(count(&policy["spec"]["validations"]))
        }),
        Column::computed("ParamKind", "Kind of its parameters.", |policy, _| {
            let kind = &policy["spec"]["paramKind"];
            match (kind["apiVersion"].as_str(), kind["kind"].as_str()) {
                (Some(version), Some(kind)) => format!("{version}/{kind}").into(),
                _ => "<unset>".into(),
            }
        }),
        age(),
    ]
}

/// NAME POLICYNAME PARAMREF AGE
pub fn validating_admission_policy_binding() -> Vec<Column> {
    vec![
        Column::computed("PolicyName", "The policy that it binds.", |binding, _| {
            text(binding, "/spec/policyName", "")
        }),
        Column::computed("ParamRef", "Its parameters.", |binding, _| {
            let parameters = &binding["spec"]["paramRef"];
            match (parameters["namespace"].as_str(), parameters["name"].as_str()) {
                (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
                (None, Some(name)) => name.into(),
                _ => "<unset>".into(),
            }
        }),
        age(),
    ]
}

/// NAME REQUEST LIMIT AGE
pub fn resource_quota() -> Vec<Column> {
    vec![
        Column::computed("Request", "What is used of what may be asked for.", |one, _| {
            used(one, false)
        }),
        Column::computed("Limit", "What is used of limits.", |one, _| used(one, true)),
        age(),
    ]
}

fn used(quota: &Value, limits: bool) -> Value {
    let hard = quota["status"]["hard"].as_object().into_iter().flatten();
    let of_kind = hard.filter(|(name, _)| name.starts_with("limits.") == limits);
    let mut told: Vec<String> = of_kind
        .map(|(name, hard)| {
            let used = &quota["status"]["used"][name];
            let plain = |value: &Value| value.as_str().unwrap_or("0").to_owned();
            format!("{name}: {}/{}", plain(used), plain(hard))
        })
        .collect();
    told.sort();
    told.join(", ").into()
}

/// NAME PRIORITYLEVEL MATCHINGPRECEDENCE DISTINGUISHERMETHOD AGE MISSINGPL
pub fn flow_schema() -> Vec<Column> {
    vec![
        Column::computed("PriorityLevel", "Level of its requests.", |one, _| {
            text(one, "/spec/priorityLevelConfiguration/name", "")
        }),
        Column::computed("MatchingPrecedence", "Its place among others.", |one, _| {
            one["spec"]["matchingPrecedence"].clone()
        }),
        Column::computed("DistinguisherMethod", "How flows are told apart.", |one, _| {
            text_or(one, "/spec/distinguisherMethod/type", "<none>")
        }),
        age(),
        Column::computed("MissingPL", "Whether its level is missing.", |one, _| {
            let mut conditions = items(one, "/status/conditions");
            let dangling = conditions.find(|one| one["type"] == "Dangling");
            dangling.map_or_else(|| "?".into(), |one| one["status"].clone())
        }),
    ]
}

/// NAME TYPE NOMINALCONCURRENCYSHARES QUEUES HANDSIZE QUEUELENGTHLIMIT AGE
pub fn priority_level() -> Vec<Column> {
    fn limited(one: &Value, pointer: &str) -> Value {
        match one.pointer(&format!("/spec/limited{pointer}")) {
            Some(value) if !value.is_null() => value.clone(),
            _ => "<none>".into(),
        }
    }
    vec![
        Column::computed("Type", "Whether it is limited.", |one, _| {
            text(one, "/spec/type", "")
        }),
        Column::computed("NominalConcurrencyShares", "Its share of requests.", |one, _| {
            limited(one, "/nominalConcurrencyShares")
        }),
        Column::computed("Queues", "How many queues it has.", |one, _| {
            limited(one, "/limitResponse/queuing/queues")
        }),
        Column::computed("HandSize", "Queues for each flow.", |one, _| {
            limited(one, "/limitResponse/queuing/handSize")
        }),
        Column::computed("QueueLengthLimit", "Requests that a queue holds.", |one, _| {
            limited(one, "/limitResponse/queuing/queueLengthLimit")
        }),
        age(),
    ]
}

/// NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE
pub fn autoscaler() -> Vec<Column> {
    vec![
        Column::computed("Reference", "What it scales.", |one, _| {
            let target = &one["spec"]["scaleTargetRef"];
            let of = |field: &str| target[field].as_str().unwrap_or_default();
            format!("{}/{}", of("kind"), of("name")).into()
        }),
        Column::computed("Targets", "What it measures, of what it aims at.", targets),
        Column::computed("MinPods", "The least replicas.", |one, _| {
            text(one, "/spec/minReplicas", "<unset>")
        }),
        Column::computed("MaxPods", "The most replicas.", |one, _| {
            one["spec"]["maxReplicas"].clone()
        }),
        Column::computed("Replicas", "Replicas that there are.", |one, _| {
            number(one, "/status/currentReplicas").into()
        }),
        age(),
    ]
}

fn targets(autoscaler: &Value, _: Timestamp) -> Value {
    if let Some(aim) = autoscaler["spec"]["targetCPUUtilizationPercentage"].as_i64() {
        let current = &autoscaler["status"]["currentCPUUtilizationPercentage"];
        let current = current
            .as_i64()
            .map_or("<unknown>".to_owned(), |one| format!("{one}%"));
        return format!("cpu: {current}/{aim}%").into();
    }
    let told: Vec<String> = items(autoscaler, "/spec/metrics")
        .enumerate()
        .map(|(index, metric)| target(metric, &autoscaler["status"]["currentMetrics"][index]))
        .collect();
    match told.len() {
        0 => "<none>".into(),
        1 | 2 => told.join(", ").into(),
        more => format!("{} + {} more...", told[..2].join(", "), more - 2).into(),
    }
}

/// `cpu: <unknown>/80%`
fn target(metric: &Value, current: &Value) -> String {
    let kind = metric["type"].as_str().unwrap_or_default();
    let source = format!(
        "{}{}",
        kind[..1.min(kind.len())].to_lowercase(),
        kind.get(1..).unwrap_or_default()
    );
    let (aim, now) = (&metric[&source]["target"], &current[&source]["current"]);
    let percent = |of: &Value| of["averageUtilization"].as_i64().map(|one| format!("{one}%"));
    let plain = |of: &Value| {
        let value = ["averageValue", "value"]
            .iter()
            .find_map(|field| of[*field].as_str());
        value.map(str::to_owned)
    };
    let told = |of: &Value| {
        percent(of)
            .or_else(|| plain(of))
            .unwrap_or_else(|| "<unknown>".to_owned())
    };
    let average = match (kind, aim["type"].as_str()) {
        ("External" | "Object", Some("AverageValue")) => " (avg)",
        _ => "",
    };
    let figures = format!("{}/{}{average}", told(now), told(aim));
    match metric[&source]["name"].as_str() {
        Some(name) => format!("{name}: {figures}"),
        None => figures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_as_kubectl_prints_them() {
        let now = Timestamp::UNIX_EPOCH;
        let of = |name: &str, percent: i64| {
            json!({"type": "Resource", "resource": {
                "name": name, "target": {"type": "Utilization", "averageUtilization": percent}}})
        };
        let scaler = json!({"spec": {"metrics": [of("cpu", 80), of("memory", 50), of("disk", 1)]}, "status": {"currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10}}}]}});
        assert_eq!(
            targets(&scaler, now),
            "cpu: 10%/80%, memory: <unknown>/50% + 1 more..."
        );
        assert_eq!(targets(&json!({"spec": {}}), now), "<none>");
        let old = json!({"spec": {"targetCPUUtilizationPercentage": 70}});
        assert_eq!(targets(&old, now), "cpu: <unknown>/70%");
    }

    #[test]
    fn subjects_are_told_by_kind() {
        let binding = json!({"subjects": [
            {"kind": "User", "name": "a"}, {"kind": "User", "name": "b"}, {"kind": "ServiceAccount", "namespace": "n", "name": "c"}]});
        assert_eq!(subjects(&binding, "User"), "a, b");
        assert_eq!(subjects(&binding, "ServiceAccount"), "n/c");
        assert_eq!(subjects(&binding, "Group"), "");
    }
}
