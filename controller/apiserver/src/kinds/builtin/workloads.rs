//! Rules of pods and of what makes pods.

use serde_json::{Value, json};

use crate::selector::LabelSelector;
use crate::status::Cause;

/// Seconds for which a pod's certificate may be asked: upstream's, and those of its own signers.
const CERTIFICATE_SECONDS_MIN: i64 = 3600;
const CERTIFICATE_SECONDS_MAX: i64 = 91 * 24 * 3600;
const OWN_CERTIFICATE_SECONDS_MAX: i64 = 24 * 3600;

/// A workload has to select the pods that it makes.
pub(super) fn validate(workload: &Value) -> Vec<Cause> {
    let selector = &workload["spec"]["selector"];
    let template = &workload["spec"]["template"];
    let mut causes = Vec::new();
    let replicas = &workload["spec"]["replicas"];
    if replicas.as_i64().is_some_and(|count| count < 0) {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.replicas", replicas, why));
    }
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if selector == &json!({}) {
        let why = "empty selector is invalid for deployment";
        let why = why.replace(
            "deployment",
            &workload["kind"].as_str().unwrap_or_default().to_lowercase(),
        );
        causes.push(Cause::invalid("spec.selector", selector, &why));
    }
    let selects = !selector.is_null()
        && LabelSelector::of_object(selector).is_some_and(|selector| selector.matches(template));
    if !selects {
        let why = "`selector` does not match template `labels`";
        let labels = template["metadata"]["labels"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let labels = Value::from(labels);
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
    }
    causes.extend(of_pod(&template["spec"], "spec.template.spec"));
    let policy = &template["spec"]["restartPolicy"];
    if policy.as_str().is_some_and(|policy| policy != "Always") {
        let known = ["Always".to_owned()];
        causes.push(Cause::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            &known,
        ));
    }
    causes
}

/// A pod of its own.
pub(super) fn validate_pod(pod: &Value) -> Vec<Cause> {
    let mut causes = of_pod(&pod["spec"], "spec");
    let policy = &pod["spec"]["restartPolicy"];
    let known = ["Always", "OnFailure", "Never"];
    if policy.as_str().is_some_and(|policy| !known.contains(&policy)) {
        let known = known.map(str::to_owned);
        causes.push(Cause::not_supported("spec.restartPolicy", policy, &known));
    }
    causes
}

/// The pods of a job end.
pub(super) fn validate_job(spec: &Value, field: &str) -> Vec<Cause> {
    let field = format!("{field}.template.spec");
    let pod = &spec["template"]["spec"];
    let mut causes = of_pod(pod, &field);
    if !matches!(pod["restartPolicy"].as_str(), Some("OnFailure" | "Never")) {
        let why = "valid values: \"OnFailure\", \"Never\"";
        causes.push(Cause::required(format!("{field}.restartPolicy"), why));
    }
    causes
}

/// A schedule has five fields, or is one of the words for such.
pub(super) fn validate_cron_job(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let schedule = object["spec"]["schedule"].as_str().unwrap_or_default();
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if schedule.is_empty() {
        causes.push(Cause::required("spec.schedule", ""));
    } else if fields.len() != 5 && !schedule.contains('@') && !schedule.contains("TZ=") {
        let why = format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        );
        causes.push(Cause::invalid("spec.schedule", json!(schedule), &why));
    }
    causes.extend(validate_job(
        &object["spec"]["jobTemplate"]["spec"],
        "spec.jobTemplate.spec",
    ));
    causes
}

/// A pod has containers, and these have names and images.
fn of_pod(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = of_volumes(&spec["volumes"], field);
    let containers = spec["containers"].as_array().filter(|list| !list.is_empty());
    let Some(containers) = containers else {
        causes.push(Cause::required(format!("{field}.containers"), ""));
        return causes;
    };
    for (index, container) in containers.iter().enumerate() {
        let field = format!("{field}.containers[{index}]");
        for needed in ["name", "image"] {
            if container[needed].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::required(format!("{field}.{needed}"), ""));
            }
        }
        let is_known = containers[..index]
            .iter()
            .any(|one| one["name"] == container["name"]);
        if is_known && container["name"].is_string() {
            causes.push(Cause::duplicate(format!("{field}.name"), &container["name"]));
        }
        causes.extend(of_ports(&container["ports"], &field));
    }
    causes
}

fn of_ports(ports: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, port) in ports.as_array().into_iter().flatten().enumerate() {
        let field = format!("{field}.ports[{index}].containerPort");
        let number = &port["containerPort"];
        match number.as_i64().unwrap_or_default() {
            0 => causes.push(Cause::required(field, "")),
            1..=65535 => {}
            _ => causes.push(Cause::invalid(
                field,
                number,
                "must be between 1 and 65535, inclusive",
            )),
        }
    }
    causes
}

/// Certificates are asked for neither shortly nor for long.
fn of_volumes(volumes: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, volume) in volumes.as_array().into_iter().flatten().enumerate() {
        let sources = volume["projected"]["sources"].as_array();
        for (source, certificate) in sources.into_iter().flatten().enumerate() {
            let certificate = &certificate["podCertificate"];
            let Some(seconds) = certificate["maxExpirationSeconds"].as_i64() else {
                continue;
            };
            let signer = certificate["signerName"].as_str().unwrap_or_default();
            let domain = signer.split('/').next().unwrap_or_default();
            let most = if domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") {
                OWN_CERTIFICATE_SECONDS_MAX
            } else {
                CERTIFICATE_SECONDS_MAX
            };
            let field = format!(
                "{field}.volumes[{index}].projected.sources[{source}].podCertificate.maxExpirationSeconds"
            );
            if seconds < CERTIFICATE_SECONDS_MIN {
                let why = format!("if provided, maxExpirationSeconds must be >= {CERTIFICATE_SECONDS_MIN}");
                causes.push(Cause::invalid(field, seconds, &why));
            } else if seconds > most {
                let why = format!("if provided, maxExpirationSeconds must be <= {most}");
                causes.push(Cause::invalid(field, seconds, &why));
            }
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(causes: &[Cause]) -> Vec<&str> {
        causes.iter().map(|cause| cause.field.as_str()).collect()
    }

    #[test]
    fn a_pod_is_told_all_that_is_wrong_with_it() {
        let causes = validate_pod(&json!({"spec": {
            "restartPolicy": "Sometimes",
            "containers": [
                {"name": "a", "image": "i", "ports": [{"containerPort": 70000}, {"containerPort": 80}]},
                {"name": "a", "image": "i", "ports": [{}]},
            ],
            "volumes": [{"name": "v", "projected": {"sources": [
                {"podCertificate": {"signerName": "example.com/s", "maxExpirationSeconds": 60}},
                {"podCertificate": {"signerName": "kubernetes.io/s", "maxExpirationSeconds": 100_000}},
                {"podCertificate": {"signerName": "example.com/s", "maxExpirationSeconds": 100_000}},
            ]}}],
        }}));
        assert_eq!(
            fields(&causes),
            [
                "spec.volumes[0].projected.sources[0].podCertificate.maxExpirationSeconds",
                "spec.volumes[0].projected.sources[1].podCertificate.maxExpirationSeconds",
                "spec.containers[0].ports[0].containerPort",
                "spec.containers[1].name",
                "spec.containers[1].ports[0].containerPort",
                "spec.restartPolicy",
            ]
        );
    }

    #[test]
    fn what_makes_pods_is_told_what_is_wrong_with_theirs() {
        let pod = json!({"restartPolicy": "Always", "containers": [{"name": "a", "image": "i"}]});
        let job = json!({"template": {"spec": pod}});
        assert_eq!(
            fields(&validate_job(&job, "spec")),
            ["spec.template.spec.restartPolicy"]
        );
        let cron = |schedule: &str| json!({"spec": {"schedule": schedule, "jobTemplate": {"spec": job}}});
        let policy = "spec.jobTemplate.spec.template.spec.restartPolicy";
        assert_eq!(
            fields(&validate_cron_job(&cron("often"))),
            ["spec.schedule", policy]
        );
        for schedule in ["*/5 * * * *", "@hourly"] {
            assert_eq!(fields(&validate_cron_job(&cron(schedule))), [policy]);
        }
        let mut workload = json!({"kind": "Deployment", "spec": {
            "replicas": -1, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod},
        }});
        assert_eq!(fields(&validate(&workload)), ["spec.replicas"]);
        workload["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
        assert_eq!(
            fields(&validate(&workload)),
            ["spec.replicas", "spec.template.spec.restartPolicy"]
        );
    }
}
