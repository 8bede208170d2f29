//! A policy with its bindings, read from the stored objects and compiled once.

use std::fmt;

use kube_cel::cel::parser::Parser;
use serde_json::Value;

use super::matching::Matching;
use crate::objects;
use crate::schema::cel::meter::Metered;
use crate::schema::cel::parse_guarded;
use crate::selector::LabelSelector;
use crate::status::Cause;

/// A CEL expression.
pub(super) struct Expression {
    /// As it was written.
    pub(super) source: String,
    /// Compiled, or why it cannot be.
    pub(super) program: Result<Metered, String>,
}

/// Parses an expression, with optional fields (`a[?'b']`), as Kubernetes has them.
fn parse(source: &str) -> Result<Metered, String> {
    let parser = Parser::default().enable_optional_syntax(true);
    let parsed = parse_guarded(source, |source| parser.parse(source))?;
    Metered::new(&parsed)
}

impl Expression {
    fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            program: parse(source),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.source)
    }
}

/// One rule of a policy.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    /// Reason of the refusal; empty for the default.
    pub(super) reason: String,
}

/// Where a policy holds, and what follows.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) matching: Option<Matching>,
    pub(super) parameters: Option<ParameterRef>,
    pub(super) deny: bool,
    pub(super) warn: bool,
}

/// Which objects are a binding's parameters.
#[derive(Debug)]
pub(super) struct ParameterRef {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) selector: Option<LabelSelector>,
    /// Whether the write is refused if there are none.
    pub(super) needed: bool,
}

/// A policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(super) name: String,
    pub(super) matching: Matching,
    pub(super) conditions: Vec<Expression>,
    pub(super) variables: Vec<(String, Expression)>,
    pub(super) validations: Vec<Validation>,
    /// Group, version and kind of parameters.
    pub(super) parameter_kind: Option<(String, String, String)>,
    /// Whether an error of an expression is a refusal.
    pub(super) fails_closed: bool,
    pub(super) bindings: Vec<Binding>,
}

impl Policy {
    /// A policy with those of the bindings that name it; `None` when there are none.
    pub(super) fn of(policy: &Value, bindings: &[Value]) -> Option<Self> {
        let name = objects::name(policy);
        let bindings: Vec<Binding> = bindings
            .iter()
            .filter(|binding| binding["spec"]["policyName"] == name)
            .map(binding)
            .collect();
        if bindings.is_empty() {
            return None;
        }
        let spec = &policy["spec"];
        let named = |one: &Value| (text(&one["name"]), Expression::new(&text(&one["expression"])));
        let kind = &spec["paramKind"];
        Some(Self {
            name: name.to_owned(),
            matching: Matching::of(&spec["matchConstraints"]),
            conditions: list(&spec["matchConditions"])
                .iter()
                .map(|one| named(one).1)
                .collect(),
            variables: list(&spec["variables"]).iter().map(named).collect(),
            validations: list(&spec["validations"]).iter().map(validation).collect(),
            parameter_kind: kind.is_object().then(|| {
                let version = text(&kind["apiVersion"]);
                let (group, version) = version.split_once('/').unwrap_or(("", &version));
                (group.to_owned(), version.to_owned(), text(&kind["kind"]))
            }),
            fails_closed: spec["failurePolicy"] != "Ignore",
            bindings,
        })
    }
}

fn validation(one: &Value) -> Validation {
    Validation {
        expression: Expression::new(&text(&one["expression"])),
        message: text(&one["message"]),
        message_expression: one["messageExpression"]
            .as_str()
            .filter(|source| !source.is_empty())
            .map(Expression::new),
        reason: text(&one["reason"]),
    }
}

fn binding(binding: &Value) -> Binding {
    let spec = &binding["spec"];
    let actions = list(&spec["validationActions"]);
    let reference = &spec["paramRef"];
    Binding {
        name: objects::name(binding).to_owned(),
        matching: spec["matchResources"]
            .is_object()
            .then(|| Matching::of(&spec["matchResources"])),
        parameters: reference.is_object().then(|| ParameterRef {
            name: reference["name"].as_str().map(str::to_owned),
            namespace: reference["namespace"].as_str().map(str::to_owned),
            selector: reference["selector"]
                .is_object()
                .then(|| LabelSelector::of_object(&reference["selector"]).unwrap_or_default()),
            needed: reference["parameterNotFoundAction"] != "Allow",
        }),
        deny: actions.iter().any(|action| action == "Deny"),
        warn: actions.iter().any(|action| action == "Warn"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What is wrong with a policy: what is missing, and expressions that do not compile.
pub(crate) fn validate(policy: &Value) -> Vec<Cause> {
    let spec = &policy["spec"];
    let mut causes = Vec::new();
    if list(&spec["validations"]).is_empty() && list(&spec["auditAnnotations"]).is_empty() {
        let detail = "validations or auditAnnotations must be non-empty";
        causes.push(Cause::required(
            "spec.validations",
            &format!("{detail}; at least one is required"),
        ));
    }
    if list(&spec["matchConstraints"]["resourceRules"]).is_empty() {
        causes.push(Cause::required("spec.matchConstraints.resourceRules", ""));
    }
    let mut check = |field: String, source: &Value, required: bool| match source.as_str() {
        Some(source) if !source.trim().is_empty() => {
            if let Err(error) = parse(source) {
                let detail = format!("compilation failed: {error}");
                causes.push(Cause::invalid(field, Value::from(source), &detail));
            }
        }
        _ if required => causes.push(Cause::required(field, "")),
        _ => {}
    };
    for part in ["validations", "variables", "matchConditions"] {
        for (index, one) in list(&spec[part]).iter().enumerate() {
            check(
                format!("spec.{part}[{index}].expression"),
                &one["expression"],
                true,
            );
            if part == "validations" {
                let field = format!("spec.{part}[{index}].messageExpression");
                check(field, &one["messageExpression"], false);
            }
        }
    }
    causes
}
