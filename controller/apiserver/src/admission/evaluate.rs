//! What a policy says of one write.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Value as CelValue};
use serde_json::Value;

use super::policy::{Expression, Policy};
use crate::schema::cel::meter::{self, Failure as Unresolved};
use crate::schema::cel::with_functions;

/// What expressions see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
    pub(super) request: &'a Value,
    pub(super) namespace: Option<&'a Value>,
    pub(super) parameters: Option<&'a Value>,
}

/// A rule that the write breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Reason of the refusal; empty for the default.
    pub(super) reason: String,
}

/// The rules that a write breaks.
pub(super) fn failures(policy: &Policy, seen: &Seen<'_>) -> Vec<Failure> {
    with_functions(|functions| {
        let mut scope = functions.new_inner_scope();
        for (name, value) in [
            ("object", seen.object),
            ("oldObject", seen.old),
            ("request", Some(seen.request)),
            ("namespaceObject", seen.namespace),
            ("params", seen.parameters),
        ] {
            scope.add_variable_from_value(name, value.map_or(CelValue::Null, to_cel));
        }
        in_scope(policy, &scope)
    })
}

fn in_scope(policy: &Policy, scope: &Context<'_>) -> Vec<Failure> {
    let closed = |message: String| -> Vec<Failure> {
        let failure = Failure {
            message,
            reason: String::new(),
        };
        policy.fails_closed.then_some(failure).into_iter().collect()
    };
    let mut errors = Vec::new();
    let mut budget = meter::CONDITIONS_MAX;
    for condition in &policy.conditions {
        match holds(condition, scope, &mut budget) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(error) => errors.push(error),
        }
    }
    if let Some(error) = errors.first() {
        return closed(error.clone());
    }
    let mut budget = meter::OBJECT_MAX;
    let (variables, errors) = variables(policy, scope, &mut budget);
    let mut scope = scope.new_inner_scope();
    scope.add_variable_from_value("variables", as_map(&variables));
    let mut failures = Vec::new();
    for validation in &policy.validations {
        match holds(&validation.expression, &scope, &mut budget) {
            Ok(true) => {}
            Ok(false) => failures.push(Failure {
                message: validation
                    .message_expression
                    .as_ref()
                    .and_then(|expression| text(expression, &scope, &mut budget))
                    .or_else(|| Some(validation.message.trim().to_owned()).filter(|text| !text.is_empty()))
                    .unwrap_or_else(|| format!("failed expression: {}", validation.expression.source.trim())),
                reason: validation.reason.clone(),
            }),
            Err(error) => {
                // What is wrong with a variable says more than that it is not there.
                let of_variable = errors.iter().find(|(name, _)| {
                    let used = format!("variables.{name}");
                    validation.expression.source.contains(&used)
                });
                failures.extend(closed(of_variable.map_or(error, |(_, error)| error.clone())));
            }
        }
    }
    failures
}

/// The values of a policy's variables, each of which may use those before it, and the errors of those that have none.
fn variables(
    policy: &Policy,
    scope: &Context<'_>,
    budget: &mut u64,
) -> (HashMap<Key, CelValue>, Vec<(String, String)>) {
    let mut found = HashMap::new();
    let mut errors = Vec::new();
    for (name, expression) in &policy.variables {
        let mut scope = scope.new_inner_scope();
        scope.add_variable_from_value("variables", as_map(&found));
        match value(expression, &scope, budget) {
            Ok(value) => drop(found.insert(Key::String(Arc::new(name.clone())), value)),
            Err(error) => errors.push((name.clone(), error)),
        }
    }
    (found, errors)
}

fn as_map(entries: &HashMap<Key, CelValue>) -> CelValue {
    CelValue::Map(Map {
        map: Arc::new(entries.clone()),
    })
}

fn value(expression: &Expression, scope: &Context<'_>, budget: &mut u64) -> Result<CelValue, String> {
    let source = &expression.source;
    let program = expression
        .program
        .as_ref()
        .map_err(|error| format!("compilation error: {error}"))?;
    program.resolve(scope, budget).map_err(|failure| match failure {
        Unresolved::Error(error) => format!("expression '{source}' resulted in error: {error}"),
        Unresolved::TooCostly => format!(
            "expression '{source}' resulted in error: operation cancelled: actual cost limit exceeded"
        ),
        Unresolved::Exhausted => meter::EXHAUSTED.to_owned(),
    })
}

fn holds(expression: &Expression, scope: &Context<'_>, budget: &mut u64) -> Result<bool, String> {
    match value(expression, scope, budget)? {
        CelValue::Bool(holds) => Ok(holds),
        _ => Err(format!(
            "expression '{}' did not evaluate to a bool",
            expression.source
        )),
    }
}

/// The text that an expression makes, unless it fails, or makes an empty text or one with line breaks.
fn text(expression: &Expression, scope: &Context<'_>, budget: &mut u64) -> Option<String> {
    match value(expression, scope, budget) {
        Ok(CelValue::String(text)) if !text.trim().is_empty() && !text.contains('\n') => {
            Some(text.trim().to_owned())
        }
        _ => None,
    }
}

/// A JSON value with its plain field names.
fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(bool) => CelValue::Bool(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => CelValue::Int(integer),
            (None, Some(integer)) => CelValue::UInt(integer),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => CelValue::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let entries = fields
                .iter()
                .map(|(name, field)| (Key::String(Arc::new(name.clone())), to_cel(field)));
            as_map(&entries.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judge(spec: Value, object: &Value) -> Vec<String> {
        let policy = json!({"metadata": {"name": "p"}, "spec": spec});
        let binding =
            json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
        let policy = Policy::of(&policy, &[binding]).expect("it is bound");
        let request =
            json!({"operation": "CREATE", "userInfo": {"username": "jane", "extra": {"a.b/c": ["node"]}}});
        let seen = Seen {
            object: Some(object),
            old: None,
            request: &request,
            namespace: None,
            parameters: Some(&json!({"data": {"max": "3"}})),
        };
        failures(&policy, &seen)
            .into_iter()
            .map(|failure| failure.message)
            .collect()
    }

    #[test]
    fn expressions_see_the_write_and_say_what_is_wrong() {
        let object = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"replicas": 5}});
        let validations = |one: Value| json!({"validations": [one]});
        for (spec, expected) in [
            (
                validations(json!({"expression": "object.spec.replicas <= 5"})),
                vec![],
            ),
            (
                validations(json!({"expression": "object.spec.replicas <= int(params.data.max)"})),
                vec!["failed expression: object.spec.replicas <= int(params.data.max)"],
            ),
            (
                validations(
                    json!({"expression": "false", "message": "no", "messageExpression": "'no ' + object.metadata.name"}),
                ),
                vec!["no a"],
            ),
            (
                validations(json!({"expression": "oldObject == null && namespaceObject == null"})),
                vec![],
            ),
            (
                json!({
                    "matchConditions": [{"name": "c", "expression": "request.userInfo.username == 'bob'"}],
                    "validations": [{"expression": "false"}],
                }),
                vec![],
            ),
            (
                json!({
                    "variables": [
                        {"name": "node", "expression": "request.userInfo.extra[?'a.b/c'][0].orValue('')"},
                        {"name": "name", "expression": "variables.node + '!'"},
                    ],
                    "validations": [{"expression": "variables.name == 'node!' && object.metadata.namespace == 'n'"}],
                }),
                vec![],
            ),
        ] {
            assert_eq!(judge(spec.clone(), &object), expected, "{spec}");
        }
    }

    #[test]
    fn a_rule_that_costs_too_much_is_an_error() {
        let items: Vec<u32> = (0..1000).collect();
        let expression =
            "object.spec.items.all(a, object.spec.items.all(b, object.spec.items.all(c, a + b + c >= 0)))";
        let mut spec = json!({"validations": [{"expression": expression}]});
        let object = json!({"spec": {"items": items}});
        let said = judge(spec.clone(), &object);
        assert!(
            said.len() == 1 && said[0].ends_with("actual cost limit exceeded"),
            "{said:?}"
        );
        spec["failurePolicy"] = "Ignore".into();
        assert!(judge(spec, &object).is_empty());
    }

    #[test]
    fn an_error_is_a_refusal_unless_errors_are_ignored() {
        let mut spec = json!({
            "variables": [{"name": "x", "expression": "object.spec.absent"}],
            "validations": [{"expression": "variables.x == 1"}],
        });
        let said = judge(spec.clone(), &json!({"spec": {}}));
        assert!(
            said.len() == 1 && said[0].starts_with("expression 'object.spec.absent' resulted in error: "),
            "{said:?}"
        );
        spec["failurePolicy"] = "Ignore".into();
        assert!(judge(spec, &json!({"spec": {}})).is_empty());
    }
}
