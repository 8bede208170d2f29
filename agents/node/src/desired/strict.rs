//! Reads a Stage's specification and refuses what it does not know: a field of a newer version may change what is to
//! be loaded, and loading something else would be worse than loading nothing.

use crds::StageSpec;
use serde_json::Value;

/// The specification, or a sentence that names the field that is wrong or unknown.
pub(super) fn read(spec: &Value) -> Result<StageSpec, String> {
    let read: StageSpec = serde_json::from_value(spec.clone()).map_err(|error| format!("spec: {error}"))?;
    let understood = serde_json::to_value(&read).map_err(|error| format!("spec: {error}"))?;
    match unknown_field(spec, &understood, "spec") {
        Some(path) => Err(format!(
            "{path} is not known to this agent; an agent of the controller's version would know it"
        )),
        None => Ok(read),
    }
}

/// The first key that is in `given` and not in `understood`. A null says the same as a missing key.
fn unknown_field(given: &Value, understood: &Value, path: &str) -> Option<String> {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => given
            .iter()
            .filter(|(_, value)| !value.is_null())
            .find_map(|(key, value)| {
                let path = format!("{path}.{key}");
                match understood.get(key) {
                    Some(understood) => unknown_field(value, understood, &path),
                    None => Some(path),
                }
            }),
        (Value::Array(given), Value::Array(understood)) => {
            given
                .iter()
                .zip(understood)
                .enumerate()
                .find_map(|(index, (given, understood))| {
                    unknown_field(given, understood, &format!("{path}[{index}]"))
                })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> Value {
        json!({
            "nodeName": "n", "device": "cpu", "firstLayer": 0, "endLayer": 15, "contextTokens": 512,
            "sessions": 2, "batchRows": 256,
            "model": {
                "name": "m", "variant": "v", "digest": "sha256:1", "uri": "file:///m.gguf", "layers": 30,
                "quantisation": "Q4_1",
            },
            "memory": {"weightsBytes": 1, "keyValueBytes": 2, "computeBytes": 3, "totalBytes": 6},
        })
    }

    #[test]
    fn a_known_specification_is_read() {
        assert_eq!(read(&spec()).unwrap().end_layer, 15);
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_path_wherever_it_stands() {
        let mut newer = spec();
        newer["model"]["adapter"] = json!("lora-1");
        assert!(
            read(&newer)
                .unwrap_err()
                .starts_with("spec.model.adapter is not known")
        );
        newer["model"]["adapter"] = Value::Null;
        assert!(read(&newer).is_ok());
    }

    #[test]
    fn a_missing_field_is_named() {
        let mut broken = spec();
        broken.as_object_mut().unwrap().remove("batchRows");
        assert!(read(&broken).unwrap_err().contains("batchRows"));
    }
}
