//! `x-kubernetes-validations`: rules must compile and say what they mean.

use serde_json::{Value, json};

use crate::schema::cel::Rule;
use crate::status::Cause;

pub(super) fn rule_causes(node: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (index, raw) in node["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("{field}.x-kubernetes-validations[{index}]");
        let expression = raw["rule"].as_str().unwrap_or_default();
        if expression.trim().is_empty() {
            causes.push(Cause::required(format!("{field}.rule"), "rule is not specified"));
            continue;
        }
        if let Some(error) = Rule::parse(raw).compile_error() {
            let (name, detail) = match error.strip_prefix("messageExpression ") {
                Some(detail) => ("messageExpression", detail),
                None => ("rule", error),
            };
            causes.push(Cause::invalid(format!("{field}.{name}"), &raw[name], detail));
        }
        if let Some(message) = raw["message"].as_str() {
            if message.trim().is_empty() {
                let detail = "message must be non-empty if specified";
                causes.push(Cause::invalid(
                    format!("{field}.message"),
                    &raw["message"],
                    detail,
                ));
            } else if message.contains('\n') {
                let detail = "message must not contain line breaks";
                causes.push(Cause::invalid(
                    format!("{field}.message"),
                    &raw["message"],
                    detail,
                ));
            }
        } else if expression.trim().contains('\n') && raw.get("messageExpression").is_none() {
            let detail = "message must be specified if rule contains line breaks";
            causes.push(Cause::required(format!("{field}.message"), detail));
        }
        const REASONS: [&str; 4] = [
            "FieldValueRequired",
            "FieldValueInvalid",
            "FieldValueForbidden",
            "FieldValueDuplicate",
        ];
        if let Some(reason) = raw["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
            causes.push(Cause::not_supported(
                format!("{field}.reason"),
                json!(reason),
                &REASONS.map(str::to_owned),
            ));
        }
    }
}
