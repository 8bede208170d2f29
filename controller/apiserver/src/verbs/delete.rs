//! Deleting an object, or a collection of them.
//!
//! An object without finalizers goes at once. One with finalizers is marked (`deletionTimestamp`) and goes with the write that takes
//! its last finalizer away. Whether dependents go first (`Foreground`), after (`Background`) or stay (`Orphan`) is a finalizer, too: the
//! collector of garbage acts on it.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::metadata::SCHEME;
use super::{Call, list, metadata, update};
use crate::admission;
use crate::go;
use crate::kinds::definition::{CLEANUP_FINALIZER, conditions};
use crate::negotiation::Decoded;
use crate::objects;
use crate::parameters::{ListOptions, Parameters, dry_run};
use crate::status::{Cause, GroupResource, Status};
use crate::storage;
use crate::store::{self, Write};

/// Finalizer of an object whose dependents have to go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an object whose dependents have to be let go first.
pub const ORPHAN: &str = "orphan";

/// Tries against other writers.
const ATTEMPTS: usize = 5;

/// What becomes of an object's dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// Options of a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Only an object of this identifier.
    pub uid: Option<String>,
    /// Only an object of this version.
    pub resource_version: Option<String>,
    /// What becomes of dependents; `None` leaves the finalizers as they are.
    pub propagation: Option<Propagation>,
    /// Everything but the writing.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads the options from the body if there is one, else from the query, as upstream does.
    ///
    /// # Errors
    /// 400 for a body that is no `DeleteOptions`, 422 for values that are not known.
    pub fn of(parameters: &Parameters, body: Option<&Decoded>) -> Result<Self, Status> {
        let of_query;
        let body = match body {
            Some(body) => {
                check_body(&body.value)?;
                &body.value
            }
            None => {
                of_query = options_of_query(parameters)?;
                &of_query
            }
        };
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let policy = text("/propagationPolicy").unwrap_or_default();
        let orphans = body.get("orphanDependents").and_then(Value::as_bool);
        let mut causes = Vec::new();
        let propagation = match policy.as_str() {
            "" => match orphans {
                Some(true) => Some(Propagation::Orphan),
                Some(false) => Some(Propagation::Background),
                None => None,
            },
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            other => {
                let known = ["Foreground", "Background", "Orphan", "nil"].map(str::to_owned);
                causes.push(Cause::not_supported(
                    "propagationPolicy",
                    Value::from(other),
                    &known,
                ));
                None
            }
        };
        if !policy.is_empty() && orphans.is_some() {
            causes.push(Cause::invalid(
                "propagationPolicy",
                Value::from(policy.as_str()),
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        let in_body = body
            .get("dryRun")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let asked: Vec<&str> = in_body.collect();
        let dry_run = dry_run(&asked, &mut causes);
        if !causes.is_empty() {
            return Err(Status::invalid_options("DeleteOptions", causes));
        }
        let uid = text("/preconditions/uid");
        Ok(Self {
            uid,
            resource_version: text("/preconditions/resourceVersion"),
            propagation,
            dry_run,
        })
    }
}

/// A body has to be options, of the right types.
fn check_body(body: &Value) -> Result<(), Status> {
    let kind = body.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "" | "DeleteOptions") {
        let version = body.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}"
        )));
    }
    let wrong = |field: &str, is_right: fn(&Value) -> bool, wanted: &str| {
        let value = body
            .get(field)
            .filter(|value| !value.is_null() && !is_right(value))?;
        let found = go::type_name(value);
        Some(Status::bad_request(format!(
            "json: cannot unmarshal {found} into Go struct field DeleteOptions.{field} of type {wanted}"
        )))
    };
    let found = wrong("gracePeriodSeconds", Value::is_i64, "int64")
        .or_else(|| wrong("orphanDependents", Value::is_boolean, "bool"))
        .or_else(|| wrong("propagationPolicy", Value::is_string, "v1.DeletionPropagation"))
        .or_else(|| wrong("dryRun", Value::is_array, "[]string"))
        .or_else(|| wrong("preconditions", Value::is_object, "v1.Preconditions"));
    found.map_or(Ok(()), Err)
}

/// The options that a query has, in the form of a body.
fn options_of_query(parameters: &Parameters) -> Result<Value, Status> {
    let mut options = Map::new();
    let grace = parameters.text("gracePeriodSeconds");
    if !grace.is_empty() && grace.parse::<i64>().is_err() {
        let why = format!("strconv.ParseInt: parsing {grace:?}: invalid syntax");
        return Err(Status::bad_request(why));
    }
    if let Some(orphans) = parameters.flag_if_given("orphanDependents") {
        options.insert("orphanDependents".to_owned(), orphans.into());
    }
    let policy = parameters.text("propagationPolicy");
    if !policy.is_empty() {
        options.insert("propagationPolicy".to_owned(), policy.into());
    }
    let dry_run: Vec<&str> = parameters.all("dryRun");
    options.insert("dryRun".to_owned(), dry_run.into());
    Ok(Value::Object(options))
}

/// What a deletion led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// The object is gone; this is how it was.
    Gone(Value),
    /// The object waits for its finalizers.
    Waiting(Value),
}

/// Deletes an object.
///
/// # Errors
/// 404 when there is none, 409 when it is not the one that the preconditions mean.
pub async fn delete(call: &Call, name: &str, options: &DeleteOptions) -> Result<Deleted, Status> {
    for _ in 0..ATTEMPTS {
        let (old, entry) = call.read(name).await?;
        check_preconditions(call, name, options, &old)?;
        call.caller.admit(None, Some(&old)).await?;
        admission::check(call, None, Some(&old), options.dry_run).await?;
        let marked = mark(call, &old, options.propagation, Timestamp::now())?;
        let held = update::is_held(&marked);
        if options.dry_run || (held && marked == old) {
            return Ok(if held {
                Deleted::Waiting(marked)
            } else {
                Deleted::Gone(old)
            });
        }
        if held {
            if let Some(object) = update::write(call, marked, &entry).await? {
                return Ok(Deleted::Waiting(object));
            }
            continue;
        }
        match call
            .server
            .store()
            .commit(Write::Delete {
                key: entry.key.clone(),
                expected: entry.revision,
            })
            .await
        {
            Ok(_) => return Ok(Deleted::Gone(old)),
            Err(store::Error::Precondition { .. }) => {}
            Err(other) => return Err(storage::refusal(other)),
        }
    }
    Err(Status::modified(&call.group_resource(), name))
}

/// Deletes every selected object; gives back how they were.
///
/// # Errors
/// The first refusal; what was deleted before it stays deleted.
pub async fn delete_collection(
    call: &Call,
    list: &ListOptions,
    options: &DeleteOptions,
) -> Result<list::Listed, Status> {
    let mut listed = list::list(call, list, None).await?;
    let mut deleted = Vec::with_capacity(listed.items.len());
    for object in listed.items {
        let call = Call {
            namespace: objects::namespace(&object).to_owned(),
            ..call.clone()
        };
        match delete(&call, objects::name(&object), options).await {
            Ok(Deleted::Gone(object) | Deleted::Waiting(object)) => deleted.push(object),
            Err(gone) if gone.reason == "NotFound" => {}
            Err(status) => return Err(status),
        }
    }
    listed.items = deleted;
    Ok(listed)
}

fn check_preconditions(call: &Call, name: &str, options: &DeleteOptions, old: &Value) -> Result<(), Status> {
    // As upstream: preconditions name the kind where other conflicts name the resource.
    let by_kind = GroupResource {
        group: call.resource.group.clone(),
        resource: call.resource.kind.clone(),
    };
    let check = |asked: &Option<String>, actual: &str, what: &str, hint: &str| match asked {
        Some(asked) if asked != actual => {
            let why = format!(
                "the {what} in the precondition ({asked}) does not match the {what} in record ({actual}). {hint}"
            );
            Err(Status::conflict(&by_kind, name, &why))
        }
        _ => Ok(()),
    };
    check(
        &options.uid,
        objects::uid(old),
        "UID",
        "The object might have been deleted and then recreated",
    )?;
    let version = objects::resource_version(old);
    check(
        &options.resource_version,
        version,
        "ResourceVersion",
        "The object might have been modified",
    )
}

/// The object with the finalizers that the propagation asks for and, if any hold it, with the mark of deletion.
fn mark(call: &Call, old: &Value, propagation: Option<Propagation>, now: Timestamp) -> Result<Value, Status> {
    let mut marked = old.clone();
    if let Some(propagation) = propagation {
        let wanted = match propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some(FOREGROUND),
            Propagation::Orphan => Some(ORPHAN),
        };
        let kept = |one: &&str| Some(*one) == wanted || ![FOREGROUND, ORPHAN].contains(one);
        let mut finalizers: Vec<String> = objects::finalizers(old)
            .into_iter()
            .filter(kept)
            .map(str::to_owned)
            .collect();
        if let Some(wanted) = wanted
            && !finalizers.iter().any(|one| one == wanted)
        {
            finalizers.push(wanted.to_owned());
        }
        objects::set_finalizers(&mut marked, finalizers);
    }
    let definition =
        call.resource.plural == "customresourcedefinitions" && call.resource.group == "apiextensions.k8s.io";
    if definition && !objects::is_terminating(old) {
        // Keeps it until the controller of definitions has deleted its objects.
        let mut finalizers: Vec<String> = objects::finalizers(&marked)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if !finalizers.iter().any(|one| one == CLEANUP_FINALIZER) {
            finalizers.push(CLEANUP_FINALIZER.to_owned());
        }
        objects::set_finalizers(&mut marked, finalizers);
    }
    let namespace = call.resource.kind == "Namespace" && call.resource.group.is_empty();
    if namespace && ["default", "kube-system", "kube-public"].contains(&objects::name(old)) {
        return Err(Status::forbidden(
            &call.group_resource(),
            objects::name(old),
            "this namespace may not be deleted",
        ));
    }
    if update::is_held(&marked) && !objects::is_terminating(&marked) {
        let metadata = objects::metadata_mut(&mut marked);
        metadata.insert("deletionTimestamp".into(), metadata::timestamp(now).into());
        if namespace {
            marked["status"]["phase"] = "Terminating".into();
        } else if definition {
            marked["status"] = conditions::await_termination(&marked["status"], now);
        } else {
            metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
            metadata::next_generation(&mut marked, old);
        }
    }
    Ok(marked)
}
