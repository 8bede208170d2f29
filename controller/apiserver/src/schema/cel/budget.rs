//! What a rule may cost at worst, judged before it is stored: from the expression and the sizes that the schema allows.
//!
//! The figures are upstream's (`cel-go`'s estimator with Kubernetes' own functions) where they decide: one for each step, a tenth for
//! each character that is walked, and a loop as often as its list may be long. What the schema does not bound is bounded by
//! the size of a request. Beside that, fields that the schema does not declare are found.

use std::collections::BTreeMap;

use kube_cel::cel::Program;
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};

use crate::negotiation::MAX_BODY_BYTES;
use crate::schema::{Additional, Schema, ValueType};
use crate::status::Cause;

/// What one rule may cost, as often as it may be evaluated: upstream's `StaticEstimatedCostLimit`.
const RULE_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost together: upstream's `StaticEstimatedCRDCostLimit`.
const SCHEMA_MAX: u64 = 100_000_000;
/// Bytes that a character may have.
const BYTES_OF_CHARACTER: u64 = 4;
/// Bytes that are walked at the cost of one step.
const BYTES_OF_STEP: u64 = 10;

/// Everything that is wrong with the rules of a schema: `field` is its place in the definition.
pub(in crate::schema) fn causes(schema: &Schema, field: &str) -> Vec<Cause> {
    let mut judged = Judged {
        causes: Vec::new(),
        total: 0,
    };
    judged.node(schema, field, 1);
    if judged.total > SCHEMA_MAX {
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        judged
            .causes
            .push(Cause::forbidden(field, &exceeds(what, judged.total, SCHEMA_MAX)));
    }
    judged.causes
}

fn exceeds(what: &str, cost: u64, most: u64) -> String {
    let factor = cost as f64 / most as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where \
         arrays, maps, and strings are declared)"
    )
}

struct Judged {
    causes: Vec<Cause>,
    total: u64,
}

impl Judged {
    /// Judges the rules of a node that may be there so many times, and those below it.
    fn node(&mut self, schema: &Schema, field: &str, times: u64) {
        for (index, rule) in schema.rules.iter().enumerate() {
            let Some(program) = rule.program() else { continue };
            let place = format!("{field}.x-kubernetes-validations[{index}].rule");
            let (cost, unknown) = estimate(program, schema);
            if let Some(name) = unknown {
                let why = format!("compilation failed: ERROR: undefined field '{name}'");
                self.causes.push(Cause::invalid(
                    &place,
                    serde_json::Value::from(rule.expression.as_str()),
                    &why,
                ));
                continue;
            }
            let cost = cost.saturating_mul(times);
            self.total = self.total.saturating_add(cost);
            if cost > RULE_MAX {
                self.causes.push(Cause::forbidden(
                    place,
                    &exceeds("estimated rule cost", cost, RULE_MAX),
                ));
            }
        }
        for (name, property) in &schema.properties {
            self.node(property, &format!("{field}.properties[{name}]"), times);
        }
        if let Additional::Of(values) = &schema.additional {
            let times = times.saturating_mul(length(schema));
            self.node(values, &format!("{field}.additionalProperties"), times);
        }
        if let Some(items) = &schema.items {
            let times = times.saturating_mul(length(schema));
            self.node(items, &format!("{field}.items"), times);
        }
    }
}

/// The most that a program may cost for a value of a schema, and a field that it reads and the schema does not declare.
fn estimate(program: &Program, schema: &Schema) -> (u64, Option<String>) {
    let mut walk = Walk {
        variables: BTreeMap::new(),
        unknown: None,
    };
    let own = Estimate::of(schema);
    walk.variables.insert("self".to_owned(), own.clone());
    walk.variables.insert("oldSelf".to_owned(), own);
    let cost = walk.expression(program.expression()).cost;
    (cost, walk.unknown)
}

/// How many items a list, entries a map or bytes a text may have.
fn length(schema: &Schema) -> u64 {
    let most = MAX_BODY_BYTES as u64;
    match schema.value_type {
        Some(ValueType::Array) => {
            let least = schema.items.as_ref().map_or(1, |items| bytes_min(items));
            schema.checks.max_items.unwrap_or(most / (least + 1))
        }
        Some(ValueType::Object) => {
            let least = match &schema.additional {
                Additional::Of(values) => bytes_min(values),
                Additional::None | Additional::Any => 1,
            };
            // A name in quotes, a colon and a comma.
            schema.checks.max_properties.unwrap_or(most / (least + 4))
        }
        Some(ValueType::String) => text_length(schema),
        _ if schema.int_or_string => schema
            .checks
            .max_length
            .map_or(most, |length| length.saturating_mul(BYTES_OF_CHARACTER)),
        Some(ValueType::Boolean | ValueType::Integer | ValueType::Number) | None => 1,
    }
}

fn text_length(schema: &Schema) -> u64 {
    if let Some(length) = schema.checks.max_length {
        return length.saturating_mul(BYTES_OF_CHARACTER);
    }
    if let Some(values) = &schema.checks.allowed {
        let longest = values
            .iter()
            .filter_map(|value| value.as_str())
            .map(str::len)
            .max();
        return longest.unwrap_or_default() as u64;
    }
    match schema.checks.format.as_deref() {
        // The longest of each that is well-formed.
        Some("duration" | "date" | "date-time" | "datetime") => 32,
        _ => MAX_BODY_BYTES as u64,
    }
}

/// The least that a value takes in a request.
fn bytes_min(schema: &Schema) -> u64 {
    match schema.value_type {
        Some(ValueType::Boolean) => 4,
        Some(ValueType::Integer | ValueType::Number) => 1,
        Some(ValueType::Object) => {
            let needed = schema.checks.required.iter();
            let fields = needed.map(|name| {
                let value = schema
                    .properties
                    .get(name)
                    .map_or(1, |property| bytes_min(property));
                // The name in quotes, a colon and a comma.
                name.len() as u64 + 4 + value
            });
            fields.sum::<u64>() + 2
        }
        Some(ValueType::Array | ValueType::String) => 2,
        None => 1,
    }
}

/// What is known of a value: what it cost to get, how long it may be, and its schema.
#[derive(Clone)]
struct Estimate<'schema> {
    cost: u64,
    length: u64,
    schema: Option<&'schema Schema>,
}

impl<'schema> Estimate<'schema> {
    fn of(schema: &'schema Schema) -> Self {
        Self {
            cost: 0,
            length: length(schema),
            schema: Some(schema),
        }
    }

    /// A value of which only its length is known.
    fn plain(cost: u64, length: u64) -> Self {
        Self {
            cost,
            length,
            schema: None,
        }
    }

    fn costing(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    /// What a loop over the value sees, or an index into it gives.
    fn item(&self) -> Self {
        let schema = self
            .schema
            .and_then(|schema| match (&schema.items, &schema.additional) {
                (Some(items), _) => Some(items.as_ref()),
                (None, Additional::Of(values)) => Some(values.as_ref()),
                (None, Additional::None | Additional::Any) => None,
            });
        schema.map_or_else(|| Self::plain(0, self.length.max(1)), Self::of)
    }

    /// The steps that walking the whole value takes.
    fn walked(&self) -> u64 {
        self.length.div_ceil(BYTES_OF_STEP)
    }
}

/// A walk through an expression.
struct Walk<'schema> {
    variables: BTreeMap<String, Estimate<'schema>>,
    /// The first field that is read and not declared.
    unknown: Option<String>,
}

impl<'schema> Walk<'schema> {
    fn expression(&mut self, expression: &IdedExpr) -> Estimate<'schema> {
        match &expression.expr {
            Expr::Ident(name) => match self.variables.get(name) {
                Some(variable) => variable.clone().costing(1),
                None => Estimate::plain(1, 1),
            },
            Expr::Select(select) => {
                let operand = self.expression(&select.operand);
                let field = self.field(&operand, &select.field);
                field.costing(operand.cost.saturating_add(1))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => {
                let cost = self.all(&list.elements).iter().fold(10, add);
                Estimate::plain(cost, list.elements.len() as u64)
            }
            Expr::Literal(LiteralValue::String(text)) => Estimate::plain(0, text.inner().len() as u64),
            Expr::Literal(_) | Expr::Unspecified => Estimate::plain(0, 1),
            // What rules hardly make: their own maps and structs.
            Expr::Map(_) | Expr::Struct(_) => Estimate::plain(40, 1),
        }
    }

    fn all(&mut self, expressions: &[IdedExpr]) -> Vec<Estimate<'schema>> {
        expressions.iter().map(|one| self.expression(one)).collect()
    }

    fn field(&mut self, of: &Estimate<'schema>, name: &str) -> Estimate<'schema> {
        let Some(schema) = of.schema else {
            return Estimate::plain(0, 1);
        };
        if let Some(child) = schema.child(name) {
            return Estimate::of(child);
        }
        // Names with underscores in front are written in another way than they stand in the schema, and every object has metadata.
        let is_known = name.contains("__") || matches!(name, "metadata" | "apiVersion" | "kind");
        let declares = schema.value_type == Some(ValueType::Object)
            && !schema.properties.is_empty()
            && !schema.keeps_unknown()
            && !schema.embedded_resource;
        if declares && !is_known {
            self.unknown.get_or_insert_with(|| name.to_owned());
        }
        Estimate::plain(0, 1)
    }

    fn call(&mut self, call: &CallExpr) -> Estimate<'schema> {
        let target = call.target.as_ref().map(|target| self.expression(target));
        let arguments = self.all(&call.args);
        let values: Vec<&Estimate<'schema>> = target.iter().chain(&arguments).collect();
        let cost = values
            .iter()
            .fold(1, |sum: u64, value| sum.saturating_add(value.cost));
        let walked = |index: usize| values.get(index).map_or(0, |value| value.walked());
        let lengths = |count: usize| {
            values
                .iter()
                .take(count)
                .map(|value| value.length)
                .max()
                .unwrap_or(1)
        };
        let (extra, length) = match call.func_name.as_str() {
            "_==_" | "_!=_" => (walked(0).min(walked(1)), 1),
            "_<_" | "_<=_" | "_>_" | "_>=_" => (walked(0).min(walked(1)), 1),
            "_+_" => {
                let length = values
                    .iter()
                    .fold(0_u64, |sum, value| sum.saturating_add(value.length));
                // Adding numbers takes one step, whatever they are.
                (length.div_ceil(BYTES_OF_STEP).saturating_sub(1), length)
            }
            "_[_]" | "_[?_]" => {
                let item = values.first().map_or(Estimate::plain(0, 1), |list| list.item());
                return item.costing(cost);
            }
            "_?:_" | "_?_:_" => {
                let branches = values.get(1).zip(values.get(2));
                let longer =
                    branches.map(|(one, other)| if one.length >= other.length { one } else { other });
                return longer.map_or(Estimate::plain(cost, 1), |value| (*value).clone().costing(cost));
            }
            "@in" | "_in_" => (values.get(1).map_or(0, |list| list.length), 1),
            "matches" => {
                let pattern = values
                    .get(1)
                    .map_or(1, |pattern| pattern.length.div_ceil(BYTES_OF_CHARACTER));
                (walked(0).saturating_mul(pattern.max(1)), 1)
            }
            "contains" | "find" | "findAll" => (walked(0).saturating_mul(walked(1).max(1)), lengths(1)),
            "startsWith" | "endsWith" => (walked(1), 1),
            "sets.contains" | "sets.intersects" | "sets.equivalent" => {
                let product = values
                    .iter()
                    .fold(1_u64, |all, value| all.saturating_mul(value.length.max(1)));
                (product, 1)
            }
            "isSorted" | "sum" | "min" | "max" | "indexOf" | "lastIndexOf" => (lengths(1), 1),
            "split" | "replace" | "substring" | "trim" | "lowerAscii" | "upperAscii" | "join" | "string"
            | "quantity" | "url" | "duration" | "timestamp" => (walked(0), lengths(1)),
            _ => (0, lengths(1)),
        };
        Estimate::plain(cost.saturating_add(extra), length)
    }

    /// A loop: as often as its range may be long.
    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Estimate<'schema> {
        let range = self.expression(&comprehension.iter_range);
        let initial = self.expression(&comprehension.accu_init);
        let keys = range.schema.is_some_and(|schema| schema.items.is_none());
        let item = if keys && comprehension.iter_var2.is_none() {
            Estimate::plain(0, 1) // A loop over a map sees its keys.
        } else {
            range.item()
        };
        let mut before = vec![(
            comprehension.iter_var.clone(),
            self.variables
                .insert(comprehension.iter_var.clone(), item.clone()),
        )];
        if let Some(second) = &comprehension.iter_var2 {
            before.push((second.clone(), self.variables.insert(second.clone(), item)));
        }
        let gathered = Estimate::plain(0, 1);
        before.push((
            comprehension.accu_var.clone(),
            self.variables.insert(comprehension.accu_var.clone(), gathered),
        ));
        let step = self.expression(&comprehension.loop_cond).cost;
        let step = step.saturating_add(self.expression(&comprehension.loop_step).cost);
        let result = self.expression(&comprehension.result).cost;
        for (name, value) in before {
            match value {
                Some(value) => drop(self.variables.insert(name, value)),
                None => drop(self.variables.remove(&name)),
            }
        }
        let cost = step
            .saturating_mul(range.length)
            .saturating_add(range.cost)
            .saturating_add(initial.cost)
            .saturating_add(result);
        Estimate::plain(cost, range.length)
    }
}

fn add(sum: u64, value: &Estimate<'_>) -> u64 {
    sum.saturating_add(value.cost)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(schema: serde_json::Value) -> Vec<String> {
        let causes = causes(&Schema::parse(&schema), "s");
        causes
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    }

    #[test]
    fn a_loop_over_what_is_unbounded_is_too_much_and_over_what_is_bounded_is_not() {
        let schema = |bounded: bool| {
            let mut list = json!({
                "type": "array", "items": {"type": "string", "maxLength": 20},
                "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a + b != c)))"}],
            });
            if bounded {
                list["maxItems"] = json!(10);
            }
            json!({"type": "object", "properties": {"list": list}})
        };
        let refused = judged(schema(false));
        assert!(
            refused[0].starts_with(
                "s.properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more \
                 than 100x (try simplifying"
            ),
            "{refused:?}"
        );
        assert_eq!(judged(schema(true)), Vec::<String>::new());
    }

    #[test]
    fn a_rule_costs_as_often_as_it_stands() {
        let item = json!({
            "type": "object", "properties": {"name": {"type": "string", "maxLength": 63}},
            "x-kubernetes-validations": [{"rule": "self.name.matches('^[a-z]+$') && self.name != 'x'"}],
        });
        let schema = |most: u64| json!({"type": "array", "maxItems": most, "items": item});
        assert_eq!(judged(schema(100)), Vec::<String>::new());
        assert!(!judged(schema(10_000_000)).is_empty());
    }

    #[test]
    fn a_field_that_is_not_declared_is_found() {
        let schema = |rule: &str| {
            json!({
                "type": "object", "x-kubernetes-validations": [{"rule": rule}],
                "properties": {
                    "size": {"type": "integer"},
                    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "parts": {"type": "array", "maxItems": 3, "items": {
                        "type": "object", "properties": {"name": {"type": "string", "maxLength": 9}},
                    }},
                },
            })
        };
        for rule in [
            "self.size > 1",
            "has(self.any) && self.any.thing == 1",
            "self.metadata.name != 'x'",
            "self.parts.all(p, p.name != 'x')",
        ] {
            assert_eq!(judged(schema(rule)), Vec::<String>::new(), "{rule}");
        }
        for rule in ["self.nothing > 1", "self.parts.exists(p, p.label == 'x')"] {
            let refused = judged(schema(rule));
            assert!(refused[0].contains("undefined field"), "{rule}: {refused:?}");
        }
    }
}
