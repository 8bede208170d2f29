//! `autoscaling/v1 HorizontalPodAutoscaler` over the storage of `autoscaling/v2`: the processor is a field of its own in v1, and one
//! of the metrics in v2. What v1 cannot say is kept in an annotation.

use serde_json::{Map, Value, json};

use crate::objects;

/// Where v1 keeps the metrics that it has no field for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";

/// Turns a v1 autoscaler into one of v2, in place.
pub fn to_v2(autoscaler: &mut Value) {
    let kept = take_annotation(autoscaler).and_then(|text| serde_json::from_str(&text).ok());
    let mut metrics: Vec<Value> = kept.unwrap_or_default();
    if let Some(percentage) = take(autoscaler, "spec", "targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": percentage});
        metrics.insert(
            0,
            json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}),
        );
    }
    if !metrics.is_empty() {
        autoscaler["spec"]["metrics"] = metrics.into();
    }
    if let Some(percentage) = take(autoscaler, "status", "currentCPUUtilizationPercentage") {
        let current = json!({"averageUtilization": percentage});
        autoscaler["status"]["currentMetrics"] =
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]);
    }
}

/// Turns a v2 autoscaler into one of v1, in place.
pub fn from_v2(autoscaler: &mut Value) {
    if let Some(Value::Array(mut metrics)) = take(autoscaler, "spec", "metrics") {
        let of_processor = metrics.iter().position(is_processor_utilization);
        if let Some(index) = of_processor {
            let metric = metrics.remove(index);
            autoscaler["spec"]["targetCPUUtilizationPercentage"] =
                metric["resource"]["target"]["averageUtilization"].clone();
        }
        if !metrics.is_empty() {
            let annotations = objects::metadata_mut(autoscaler)
                .entry("annotations")
                .or_insert_with(|| Value::Object(Map::new()));
            annotations[METRICS] = Value::from(metrics).to_string().into();
        }
    }
    if let Some(Value::Array(metrics)) = take(autoscaler, "status", "currentMetrics") {
        let current = metrics
            .iter()
            .find(|metric| metric["resource"]["name"] == "cpu")
            .map(|metric| metric["resource"]["current"]["averageUtilization"].clone());
        if let Some(percentage) = current {
            autoscaler["status"]["currentCPUUtilizationPercentage"] = percentage;
        }
    }
}

fn is_processor_utilization(metric: &Value) -> bool {
    let resource = &metric["resource"];
    resource["name"] == "cpu" && resource["target"]["type"] == "Utilization"
}

fn take(object: &mut Value, part: &str, field: &str) -> Option<Value> {
    object.get_mut(part)?.as_object_mut()?.shift_remove(field)
}

fn take_annotation(object: &mut Value) -> Option<String> {
    let annotations = object
        .get_mut("metadata")?
        .get_mut("annotations")?
        .as_object_mut()?;
    let text = annotations.shift_remove(METRICS)?.as_str()?.to_owned();
    if annotations.is_empty() {
        objects::metadata_mut(object).shift_remove("annotations");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoscaler_of_either_version_comes_back_as_it_was_written() {
        let cpu = json!({"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70},
        }});
        let pods = json!({"type": "Pods", "pods": {"metric": {"name": "requests"}}});
        let v2 = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "metrics": [cpu, pods]}});
        let mut autoscaler = v2.clone();
        from_v2(&mut autoscaler);
        assert_eq!(autoscaler["spec"]["targetCPUUtilizationPercentage"], 70);
        assert_eq!(autoscaler["spec"].get("metrics"), None);
        to_v2(&mut autoscaler);
        assert_eq!(autoscaler, v2);

        let v1 = json!({
            "metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
            "status": {"currentReplicas": 1, "currentCPUUtilizationPercentage": 10},
        });
        let mut autoscaler = v1.clone();
        to_v2(&mut autoscaler);
        assert_eq!(
            autoscaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            50
        );
        from_v2(&mut autoscaler);
        assert_eq!(autoscaler, v1);
    }
}
