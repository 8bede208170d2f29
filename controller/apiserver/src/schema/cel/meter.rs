//! What an expression costs while it is evaluated, and its end when that is too much. The limits are upstream's; what is counted is nearly
//! what upstream counts: a step for each part of an expression, in each round of a loop, and a tenth for each character that is walked.
//!
//! The interpreter counts nothing itself. So an expression is changed before it is kept: the condition of each loop, and what functions
//! walk, pass through functions of ours (`@step`, `@size`), whose names nobody can write.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use kube_cel::cel::{Context, ExecutionError, Value as CelValue};

/// Steps that one expression may take: upstream's `PerCallLimit`, about a tenth of a second.
const EXPRESSION_MAX: u64 = 1_000_000;
/// Steps that all expressions about one object may take together: upstream's `RuntimeCELCostBudget`.
pub(crate) const OBJECT_MAX: u64 = 10_000_000;
/// Steps that the conditions of a policy may take together: upstream's `RuntimeCELCostBudgetMatchConditions`.
pub(crate) const CONDITIONS_MAX: u64 = 2_500_000;
/// What is said when nothing is left.
pub(crate) const EXHAUSTED: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Bytes that are walked at the cost of one step.
const BYTES_OF_STEP: usize = 10;
const STEP: &str = "@step";
const SIZE: &str = "@size";
/// Functions that walk what they are given.
const WALKERS: [&str; 19] = [
    "_==_",
    "_!=_",
    "_+_",
    "@in",
    "_in_",
    "matches",
    "contains",
    "find",
    "findAll",
    "split",
    "replace",
    "join",
    "indexOf",
    "lastIndexOf",
    "isSorted",
    "sum",
    "min",
    "max",
    "string",
];

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
    static EXCEEDED: Cell<bool> = const { Cell::new(false) };
}

/// An expression that counts its steps.
#[derive(Debug, Clone)]
pub(crate) struct Metered {
    expression: IdedExpr,
    /// Steps outside of loops.
    steps: u64,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It would cost more than one expression may.
    TooCostly,
    /// Nothing is left for it of what all may cost together.
    Exhausted,
    /// It failed.
    Error(String),
}

impl Metered {
    /// Prepares an expression.
    ///
    /// # Errors
    /// For what the interpreter cannot evaluate.
    pub(crate) fn new(expression: &IdedExpr) -> Result<Self, String> {
        let mut expression = expression.clone();
        let steps = prepare(&mut expression)?;
        Ok(Self { expression, steps })
    }

    /// The value of the expression; what it costs is taken from `budget`.
    ///
    /// # Errors
    /// When it fails, or costs too much.
    pub(crate) fn resolve(&self, scope: &Context<'_>, budget: &mut u64) -> Result<CelValue, Failure> {
        let limit = EXPRESSION_MAX.min(*budget);
        LEFT.set(limit);
        EXCEEDED.set(false);
        let result = spend(self.steps).and_then(|()| caught(|| CelValue::resolve(&self.expression, scope)));
        let exceeded = EXCEEDED.get();
        *budget = budget.saturating_sub(limit.saturating_sub(LEFT.get()));
        match result {
            // An error of ours may have been swallowed by `||`.
            _ if exceeded && limit < EXPRESSION_MAX => Err(Failure::Exhausted),
            _ if exceeded => Err(Failure::TooCostly),
            Ok(value) => Ok(value),
            Err(error) => Err(Failure::Error(error.to_string())),
        }
    }
}

/// Registers the functions that count.
pub(crate) fn install(context: &mut Context<'static>) {
    context.add_function(
        STEP,
        |cost: i64, value: CelValue| -> Result<CelValue, ExecutionError> {
            spend(cost.unsigned_abs()).map(|()| value)
        },
    );
    context.add_function(SIZE, |value: CelValue| -> Result<CelValue, ExecutionError> {
        spend(size(&value)).map(|()| value)
    });
}

fn size(value: &CelValue) -> u64 {
    let size = match value {
        CelValue::String(text) => text.len() / BYTES_OF_STEP,
        CelValue::Bytes(bytes) => bytes.len() / BYTES_OF_STEP,
        CelValue::List(items) => items.len(),
        CelValue::Map(entries) => entries.map.len(),
        _ => 0,
    };
    size as u64
}

fn spend(cost: u64) -> Result<(), ExecutionError> {
    if let Some(left) = LEFT.get().checked_sub(cost) {
        LEFT.set(left);
        return Ok(());
    }
    LEFT.set(0);
    EXCEEDED.set(true);
    Err(ExecutionError::function_error(STEP, "actual cost limit exceeded"))
}

/// The interpreter gives up on a few expressions by a panic: that is an error like others.
fn caught(evaluate: impl FnOnce() -> Result<CelValue, ExecutionError>) -> Result<CelValue, ExecutionError> {
    let words = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default()
    };
    catch_unwind(AssertUnwindSafe(evaluate))
        .unwrap_or_else(|panic| Err(ExecutionError::function_error("evaluate", words(panic))))
}

/// Lets an expression count; gives back its steps outside of loops.
fn prepare(expression: &mut IdedExpr) -> Result<u64, String> {
    Ok(match &mut expression.expr {
        Expr::Ident(_) | Expr::Literal(_) => 1,
        Expr::Select(select) => 1 + prepare(&mut select.operand)?,
        Expr::List(list) => 1 + all(&mut list.elements)?,
        Expr::Map(map) => {
            let mut steps = 1;
            for entry in &mut map.entries {
                let EntryExpr::MapEntry(entry) = &mut entry.expr else {
                    return Err("a map has entries only".to_owned());
                };
                steps += prepare(&mut entry.key)? + prepare(&mut entry.value)?;
            }
            steps
        }
        Expr::Call(call) => {
            let mut steps = 1 + all(&mut call.args)?;
            if let Some(target) = &mut call.target {
                steps += prepare(target)?;
            }
            if WALKERS.contains(&call.func_name.as_str()) {
                // A chain such as `a + b + c` is as deep as it is long on its left side, which stays as it is.
                let is_operator = call.target.is_none() && call.args.len() == 2;
                let walked = call.args.iter_mut().skip(usize::from(is_operator));
                walked.for_each(|walked| pass_through(SIZE, None, walked));
                let is_value = |target: &IdedExpr| matches!(target.expr, Expr::Select(_) | Expr::Literal(_));
                if let Some(target) = call.target.as_mut().filter(|target| is_value(target)) {
                    pass_through(SIZE, None, target);
                }
            }
            steps
        }
        Expr::Comprehension(round) => {
            let once = prepare(&mut round.iter_range)?
                + prepare(&mut round.accu_init)?
                + prepare(&mut round.result)?;
            let each = prepare(&mut round.loop_cond)? + prepare(&mut round.loop_step)?;
            pass_through(STEP, Some(each), &mut round.loop_cond);
            1 + once
        }
        Expr::Struct(_) => return Err("messages cannot be made in expressions here".to_owned()),
        Expr::Unspecified => return Err("an expression is empty".to_owned()),
    })
}

fn all(expressions: &mut [IdedExpr]) -> Result<u64, String> {
    expressions
        .iter_mut()
        .try_fold(0, |sum, one| Ok(sum + prepare(one)?))
}

/// Puts a function of ours around an expression.
fn pass_through(function: &str, cost: Option<u64>, expression: &mut IdedExpr) {
    let inner = std::mem::take(expression);
    let id = inner.id;
    let literal = |cost: u64| {
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        IdedExpr {
            id,
            expr: Expr::Literal(LiteralValue::Int(cost.into())),
        }
    };
    let args = cost.map(literal).into_iter().chain([inner]).collect();
    let call = CallExpr {
        func_name: function.to_owned(),
        target: None,
        args,
    };
    *expression = IdedExpr {
        id,
        expr: Expr::Call(call),
    };
}

#[cfg(test)]
mod tests {
    use kube_cel::cel::parser::Parser;

    use super::super::with_functions;
    use super::*;

    fn resolve(source: &str, items: i64, budget: &mut u64) -> Result<CelValue, Failure> {
        let expression = Parser::default().parse(source).expect("it parses");
        let metered = Metered::new(&expression).expect("it can be evaluated");
        with_functions(|functions| {
            let mut scope = functions.new_inner_scope();
            let list: Vec<CelValue> = (0..items).map(CelValue::Int).collect();
            scope.add_variable_from_value("self", CelValue::List(list.into()));
            metered.resolve(&scope, budget)
        })
    }

    #[test]
    fn loops_in_loops_end_when_they_cost_too_much() {
        const CUBIC: &str = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))";
        let mut budget = OBJECT_MAX;
        assert_eq!(resolve(CUBIC, 10, &mut budget), Ok(CelValue::Bool(true)));
        assert!(budget < OBJECT_MAX);
        let before = budget;
        assert_eq!(resolve(CUBIC, 1000, &mut budget), Err(Failure::TooCostly));
        assert_eq!(budget, before - EXPRESSION_MAX);
        let swallowed = format!("{CUBIC} || true");
        assert_eq!(resolve(&swallowed, 1000, &mut budget), Err(Failure::TooCostly));
    }

    #[test]
    fn what_all_may_cost_together_runs_out() {
        let mut budget = 1000;
        let linear = "self.all(a, a >= 0)";
        assert_eq!(resolve(linear, 10, &mut budget), Ok(CelValue::Bool(true)));
        assert_eq!(resolve(linear, 1000, &mut budget), Err(Failure::Exhausted));
        assert_eq!(resolve("true", 0, &mut budget), Err(Failure::Exhausted));
    }

    #[test]
    fn what_is_walked_counts() {
        let long = format!("'{}'", "x".repeat(1000));
        let mut budget = OBJECT_MAX;
        assert_eq!(
            resolve(&format!("{long} == {long}"), 0, &mut budget),
            Ok(CelValue::Bool(true))
        );
        assert!(OBJECT_MAX - budget >= 100, "{budget}");
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused() {
        let message = Parser::default().parse("a.B{c: 1}").expect("it parses");
        assert!(Metered::new(&message).is_err());
    }
}
