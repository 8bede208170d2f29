//! `events.k8s.io/v1 Event` over the storage of the core `Event`: the same object under other names of its fields.

use serde_json::{Map, Value, json};

/// (name in the core group, name in `events.k8s.io`)
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Renames the fields of an `events.k8s.io` event to those of a core event, in place and in order.
pub fn to_core(event: &mut Value) {
    rename(event, |name| {
        RENAMED
            .iter()
            .find(|(_, events)| *events == name)
            .map(|(core, _)| *core)
    });
}

/// Renames the fields of a core event to those of `events.k8s.io`, in place and in order.
pub fn from_core(event: &mut Value) {
    rename(event, |name| {
        RENAMED
            .iter()
            .find(|(core, _)| *core == name)
            .map(|(_, events)| *events)
    });
}

/// Fills in what a core event shows even when it is empty.
pub fn fill(event: &mut Value) {
    fill_in(
        event,
        [
            ("involvedObject", json!({})),
            ("source", json!({})),
            ("firstTimestamp", Value::Null),
            ("lastTimestamp", Value::Null),
            ("eventTime", Value::Null),
            ("reportingComponent", json!("")),
            ("reportingInstance", json!("")),
        ],
    );
}

fn fill_in<const COUNT: usize>(event: &mut Value, defaults: [(&str, Value); COUNT]) {
    let Value::Object(fields) = event else { return };
    for (name, value) in defaults {
        fields.entry(name).or_insert(value);
    }
}

fn rename(event: &mut Value, new_name: impl Fn(&str) -> Option<&'static str>) {
    let Value::Object(fields) = event else { return };
    let renamed: Map<String, Value> = std::mem::take(fields)
        .into_iter()
        .map(|(name, value)| (new_name(&name).map_or(name, str::to_owned), value))
        .collect();
    *fields = renamed;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn an_event_comes_back_as_it_was_written() {
        let written = json!({
            "metadata": {"name": "e"}, "regarding": {"kind": "Widget"}, "note": "made", "reason": "Made",
            "reportingController": "edge.test/controller", "deprecatedCount": 2,
        });
        let mut event = written.clone();
        super::to_core(&mut event);
        assert_eq!(event["involvedObject"]["kind"], "Widget");
        assert_eq!(event["message"], "made");
        assert_eq!(event["count"], 2);
        super::from_core(&mut event);
        assert_eq!(event, written);
    }
}
