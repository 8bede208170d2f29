//! `x-kubernetes-validations`: CEL rules of a schema, compiled once and evaluated where they stand.
//!
//! The language and Kubernetes' function libraries come from `kube-cel`. The walk is ours, because three things need the
//! schema at every node: which old item a new one is compared with (lists of type `map` by their keys), ratcheting, and
//! how values are typed and named (`cel/values`).

pub(super) mod budget;
pub(crate) mod meter;
mod signs;
pub mod values;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kube_cel::KubeCelExt;
use kube_cel::cel::{Context, Program, Value as CelValue, objects::OptionalValue};
use serde_json::Value;

use self::meter::{Failure, Metered};
use super::path::Path;
use super::{Additional, Schema, compare};
use crate::status::Cause;

/// One rule of a schema node.
#[derive(Clone)]
pub struct Rule {
    /// The CEL expression; false means invalid.
    pub expression: String,
    /// What to say when it is false.
    pub message: Option<String>,
    /// Reason of the cause: `FieldValueInvalid` unless the rule names another.
    pub reason: &'static str,
    /// Path below the node that the cause names, such as `.replicas`.
    pub field_path: Option<String>,
    /// Whether `oldSelf` is an optional, and the rule runs on creation too.
    pub optional_old_self: bool,
    compiled: Arc<Result<Compiled, String>>,
}

struct Compiled {
    rule: Program,
    metered: Metered,
    message: Option<Metered>,
    compares_with_old: bool,
}

impl fmt::Debug for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rule")
            .field("expression", &self.expression)
            .finish_non_exhaustive()
    }
}

impl Rule {
    /// Reads and compiles an entry of `x-kubernetes-validations`. A rule that does not compile fails every object that
    /// it meets; definitions with such rules are refused ([`Rule::compile_error`]).
    pub fn parse(raw: &Value) -> Self {
        let text = |name: &str| raw[name].as_str().map(str::to_owned);
        let expression = text("rule").unwrap_or_default();
        let message_expression = text("messageExpression");
        Self {
            message: text("message"),
            reason: match raw["reason"].as_str() {
                Some("FieldValueForbidden") => "FieldValueForbidden",
                Some("FieldValueRequired") => "FieldValueRequired",
                Some("FieldValueDuplicate") => "FieldValueDuplicate",
                _ => "FieldValueInvalid",
            },
            field_path: text("fieldPath"),
            optional_old_self: raw["optionalOldSelf"].as_bool().unwrap_or(false),
            compiled: Arc::new(compile(&expression, message_expression.as_deref())),
            expression,
        }
    }

    /// Why the rule or its message does not compile.
    pub fn compile_error(&self) -> Option<&str> {
        self.compiled.as_ref().as_ref().err().map(String::as_str)
    }

    /// Whether the rule refers to `oldSelf`.
    pub fn compares_with_old(&self) -> bool {
        self.compiled
            .as_ref()
            .as_ref()
            .is_ok_and(|compiled| compiled.compares_with_old)
    }

    /// The compiled rule, unless it does not compile.
    fn program(&self) -> Option<&Program> {
        self.compiled
            .as_ref()
            .as_ref()
            .ok()
            .map(|compiled| &compiled.rule)
    }

    fn default_message(&self) -> String {
        self.message
            .clone()
            .unwrap_or_else(|| format!("failed rule: {}", self.expression.trim()))
    }

    fn cause(&self, path: &Path<'_>, detail: &str) -> Cause {
        let field = path.join(self.field_path.as_deref().unwrap_or_default());
        let class = match self.reason {
            "FieldValueForbidden" => "Forbidden",
            "FieldValueRequired" => "Required value",
            "FieldValueDuplicate" => "Duplicate value",
            _ => "Invalid value",
        };
        Cause::new(self.reason, field, format!("{class}: {detail}"))
    }
}

/// Signs that may make an expression deeper by a step each. The parser and the interpreter call themselves for every step: a thousand
/// ended the process.
const SIGNS_MAX: usize = 500;

/// Parses an expression, unless it is too deep to be walked, or the parser gives up on it by a panic.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_guarded<T, E: fmt::Display>(
    source: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    let signs = source
        .chars()
        .filter(|one| "+-*/%.[({<=>!?".contains(*one))
        .count();
    if signs > SIGNS_MAX {
        return Err(format!(
            "the expression has {signs} operators and brackets: at most {SIGNS_MAX} are read"
        ));
    }
    let source = signs::without_pairs(source);
    match catch_unwind(AssertUnwindSafe(|| parse(&source))) {
        Ok(parsed) => parsed.map_err(|error| error.to_string()),
        Err(_) => Err("the parser cannot read the expression".to_owned()),
    }
}

fn compile(expression: &str, message_expression: Option<&str>) -> Result<Compiled, String> {
    let program = |source: &str| parse_guarded(source, Program::compile);
    let rule = program(expression).map_err(|error| format!("compilation failed: {error}"))?;
    let message = message_expression
        .map(|source| {
            program(source)
                .and_then(|program| Metered::new(program.expression()))
                .map_err(|error| format!("messageExpression compilation failed: {error}"))
        })
        .transpose()?;
    let metered = Metered::new(rule.expression()).map_err(|error| format!("compilation failed: {error}"))?;
    let compares_with_old = rule.references().has_variable("oldSelf");
    Ok(Compiled {
        rule,
        metered,
        message,
        compares_with_old,
    })
}

thread_local! {
    // A context holds function tables that are costly to fill and cannot be shared between threads.
    static FUNCTIONS: Context<'static> = {
        let mut functions = Context::default().with_all();
        meter::install(&mut functions);
        functions
    };
}

/// Calls `evaluate` with the functions that Kubernetes gives to expressions.
pub(crate) fn with_functions<T>(evaluate: impl FnOnce(&Context<'static>) -> T) -> T {
    FUNCTIONS.with(|functions| evaluate(functions))
}

/// Evaluates every rule of the tree that meets a value.
pub(super) fn validate(schema: &Schema, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut run = Run {
        causes: Vec::new(),
        budget: meter::OBJECT_MAX,
        is_over: false,
    };
    FUNCTIONS.with(|functions| walk(functions, schema, object, old, &Path::root(), &mut run));
    run.causes
}

/// The evaluation of all rules about one object.
struct Run {
    causes: Vec<Cause>,
    /// Steps that are left.
    budget: u64,
    /// Whether a rule has cost too much: then no other is evaluated.
    is_over: bool,
}

fn walk(
    functions: &Context<'static>,
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    run: &mut Run,
) {
    if value.is_null() || run.is_over {
        return; // A rule about null belongs to the node above.
    }
    evaluate_rules(functions, schema, value, old, path, run);
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let old_field = if schema.atomic_map {
                    None
                } else {
                    old.and_then(|old| old.get(name))
                };
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => {
                        walk(functions, property, field, old_field, &path.field(name), run)
                    }
                    (None, Additional::Of(values)) => {
                        walk(functions, values, field, old_field, &path.key(name), run);
                    }
                    (None, Additional::None | Additional::Any) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(item_schema) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                let old_item = compare::old_item(schema, old, item);
                walk(functions, item_schema, item, old_item, &path.index(index), run);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    for branch in &schema.checks.all_of {
        walk(functions, branch, value, old, path, run);
    }
}

fn evaluate_rules(
    functions: &Context<'static>,
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &Path<'_>,
    run: &mut Run,
) {
    if schema.rules.is_empty() {
        return;
    }
    let old = old.filter(|old| !old.is_null());
    let unchanged = old == Some(value);
    let mut scope = functions.new_inner_scope();
    scope.add_variable_from_value("self", values::to_cel(functions, schema, value));
    let old = old.map(|old| values::to_cel(functions, schema, old));
    for rule in &schema.rules {
        let compiled = match rule.compiled.as_ref() {
            Ok(compiled) => compiled,
            Err(error) => {
                run.causes
                    .push(rule.cause(path, &format!("rule compile error: {error}")));
                continue;
            }
        };
        if compiled.compares_with_old && old.is_none() && !rule.optional_old_self {
            continue;
        }
        if unchanged && !compiled.compares_with_old {
            continue; // Ratcheting: it was stored so before.
        }
        let mut rule_scope = scope.new_inner_scope();
        if rule.optional_old_self {
            let optional = old.clone().map_or_else(OptionalValue::none, OptionalValue::of);
            rule_scope.add_variable_from_value("oldSelf", CelValue::Opaque(Arc::new(optional)));
        } else if let Some(old) = &old {
            rule_scope.add_variable_from_value("oldSelf", old.clone());
        }
        match compiled.metered.resolve(&rule_scope, &mut run.budget) {
            Ok(CelValue::Bool(true)) => {}
            Ok(CelValue::Bool(false)) => {
                let dynamic = compiled
                    .message
                    .as_ref()
                    .and_then(|message| message_of(message, &rule_scope, &mut run.budget));
                run.causes
                    .push(rule.cause(path, &dynamic.unwrap_or_else(|| rule.default_message())));
            }
            Ok(_) => run.causes.push(rule.cause(
                path,
                &format!("rule did not evaluate to a bool: {}", rule.expression),
            )),
            Err(Failure::Error(error)) => run.causes.push(rule.cause(
                path,
                &format!("{error} evaluating rule: {}", rule.default_message()),
            )),
            Err(costly) => {
                run.is_over = true;
                let why = match costly {
                    Failure::Exhausted => meter::EXHAUSTED.to_owned(),
                    _ => format!(
                        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost \
                         exceeds limit for rule: {}",
                        rule.expression.trim()
                    ),
                };
                run.causes.push(rule.cause(path, &why));
                return;
            }
        }
    }
}

/// The message that an expression makes, unless it fails, or makes an empty text or one with line breaks.
fn message_of(message: &Metered, scope: &Context<'_>, budget: &mut u64) -> Option<String> {
    match message.resolve(scope, budget) {
        Ok(CelValue::String(text)) if !text.trim().is_empty() && !text.contains('\n') => {
            Some(text.trim().to_owned())
        }
        _ => None,
    }
}
