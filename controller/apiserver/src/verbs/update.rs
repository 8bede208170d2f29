//! Changing an object: the path that PUT, PATCH and the subresources share.
//!
//! A change is a function from the object as it is to the object as it is wanted. It is tried again when someone else was faster,
//! unless it named the version that it was computed from. A change that changes nothing is not written: no new version, no event.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::patch::Patch;
use super::{Call, Written, create, metadata};
use crate::kinds::{Operation, Resource};
use crate::managed::{self, Context, entries};
use crate::negotiation::Decoded;
use crate::objects;
use crate::parameters::WriteOptions;
use crate::signing;
use crate::status::{Cause, GroupKind, Status};
use crate::storage;
use crate::store::{self, Entry, Write};

/// How often a change is tried against other writers before the client is asked to try again.
const ATTEMPTS: usize = 5;

/// The part of an object that a request may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything, but for the status where that is a subresource.
    Main,
    /// The status only.
    Status,
    /// `spec.finalizers` of a Namespace only.
    Finalize,
    /// `status.conditions` of a CertificateSigningRequest only.
    Approval,
    /// `spec.ephemeralContainers` of a Pod only.
    EphemeralContainers,
    /// The count that `/scale` shows.
    Scale,
}

impl Part {
    /// The name of the subresource; empty for the object itself.
    fn subresource(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Scale => "scale",
        }
    }

    /// Under which rules a caller writes this part.
    pub(super) fn context<'a>(self, call: &'a Call, operation: entries::Operation) -> Context<'a> {
        let resource = &call.resource;
        let namespace = resource.group.is_empty() && resource.kind == "Namespace";
        let ignored: &[&[&str]] = match self {
            Self::Main if namespace => &[&["status"], &["spec", "finalizers"]],
            Self::Main if resource.subresources.status => &[&["status"]],
            Self::Status if resource.is_custom() => &[&["metadata"], &["spec"]],
            Self::Status if resource.group == "apps" => &[&["metadata", "labels"], &["spec"]],
            Self::Status | Self::Approval => &[&["spec"]],
            Self::EphemeralContainers => &[&["status"]],
            Self::Main | Self::Finalize | Self::Scale => &[],
        };
        Context {
            schema: resource.schema.as_deref().unwrap_or_else(|| managed::untyped()),
            manager: entries::Manager {
                name: call.manager.clone(),
                operation,
                api_version: resource.api_version(),
                subresource: self.subresource().to_owned(),
            },
            ignored: ignored.iter().copied().collect(),
            built_in: !resource.is_custom(),
        }
    }
}

/// How a change is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Method<'a> {
    /// By the whole object.
    Put,
    /// By this patch, which is quoted back where it is wrong; `None` if it is a patch of something else, such as a scale.
    Patch(Option<&'a Patch>),
    /// By server-side apply: the wanted object says who manages it.
    Apply,
}

/// What a change asks for besides the object.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The part that may change.
    pub part: Part,
    /// Dry run and field validation.
    pub options: WriteOptions,
    /// How it is asked for: texts differ, and only a whole object needs to name its version.
    pub method: Method<'a>,
}

/// Replaces an object, or a part of it, by the body's.
///
/// # Errors
/// 400, 404, 409, 422 and others, as upstream has them.
pub async fn update(
    call: &Call,
    name: &str,
    part: Part,
    body: Decoded,
    options: WriteOptions,
) -> Result<Written, Status> {
    let mut warnings = call.judge_duplicates(&body, &options)?;
    let mut wanted = body.value;
    metadata::check_metadata(&call.resource, &wanted)?;
    metadata::check_body(call, &mut wanted)?;
    metadata::check_name(&wanted, name)?;
    let change = Change {
        part,
        options,
        method: Method::Put,
    };
    let mut written = match change_object(call, name, change, |_| Ok(wanted.clone())).await {
        Err(status)
            if status.reason == "NotFound" && part == Part::Main && call.resource.create_on_update =>
        {
            return create::create(
                call,
                Decoded {
                    value: wanted,
                    duplicates: body.duplicates,
                },
                options,
            )
            .await;
        }
        outcome => outcome?,
    };
    warnings.append(&mut written.warnings);
    Ok(Written { warnings, ..written })
}

/// Changes an object by a function.
///
/// # Errors
/// Those of `wanted`, and the refusals of a write.
pub async fn change_object(
    call: &Call,
    name: &str,
    change: Change<'_>,
    wanted: impl Fn(&Value) -> Result<Value, Status> + Send + Sync,
) -> Result<Written, Status> {
    for _ in 0..ATTEMPTS {
        let (old, entry) = call.read(name).await?;
        let wanted = wanted(&old)?;
        check_suppositions(call, name, &change, &wanted, &old)?;
        let (new, mut warnings) = prepare(call, name, &change, wanted, &old)?;
        warnings.extend(call.admit(&new, Some(&old), change.options.dry_run).await?);
        if new == old {
            return Ok(Written {
                object: old,
                warnings,
                created: false,
            });
        }
        if change.options.dry_run {
            return Ok(Written {
                object: new,
                warnings,
                created: false,
            });
        }
        if let Some(object) = write(call, new, &entry).await? {
            return Ok(Written {
                object,
                warnings,
                created: false,
            });
        }
    }
    Err(Status::modified(&call.group_resource(), name))
}

/// What the change supposes about the object has to be so.
fn check_suppositions(
    call: &Call,
    name: &str,
    change: &Change<'_>,
    wanted: &Value,
    old: &Value,
) -> Result<(), Status> {
    let version = objects::resource_version(wanted);
    if matches!(version, "" | "0") {
        if matches!(change.method, Method::Put) && !call.resource.unconditional_update {
            let cause = Cause::invalid("metadata.resourceVersion", 0, "must be specified for an update");
            // Upstream names the resource here, where other invalid objects are named by their kind.
            let resource = GroupKind {
                group: call.resource.group.clone(),
                kind: call.resource.plural.clone(),
            };
            return Err(Status::invalid(&resource, name, vec![cause]));
        }
    } else if version.parse::<u64>().is_err() {
        // Upstream takes that for its own fault.
        let why = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
        return Err(Status::new(500, "", why));
    } else if version != objects::resource_version(old) {
        return Err(Status::modified(&call.group_resource(), name));
    }
    let (asked, actual) = (objects::uid(wanted), objects::uid(old));
    if !asked.is_empty() && asked != actual {
        if matches!(change.method, Method::Patch(_)) {
            let cause = Cause::invalid("metadata.uid", Value::from(asked), "field is immutable");
            return Err(Status::invalid(&call.group_kind(), name, vec![cause]));
        }
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: {asked}, UID in object meta: {actual}",
            call.registry_path(name)
        );
        return Err(Status::conflict(&call.group_resource(), name, &why));
    }
    Ok(())
}

/// The object as it would be written, with warnings.
fn prepare(
    call: &Call,
    name: &str,
    change: &Change<'_>,
    wanted: Value,
    old: &Value,
) -> Result<(Value, Vec<String>), Status> {
    let resource = &call.resource;
    let mut wanted = wanted;
    let sent = managed::take(&mut wanted);
    let mut new = match change.part {
        Part::Main | Part::Scale => {
            let mut new = wanted;
            if resource.subresources.status {
                copy_field(&mut new, old, &["status"]);
            }
            if resource.group.is_empty() && resource.kind == "Namespace" {
                // Only `finalize` takes a namespace's own finalizers away.
                copy_field(&mut new, old, &["spec", "finalizers"]);
            }
            if signing::is_request(resource) {
                // What was approved is what is signed.
                copy_field(&mut new, old, &["spec"]);
            }
            new
        }
        Part::Status if resource.is_custom() => with_field_of(old, &wanted, &["status"]),
        Part::Status => with_metadata_of(with_field_of(old, &wanted, &["status"]), wanted, resource),
        Part::Approval => {
            let new = with_field_of(old, &wanted, &["status", "conditions"]);
            with_metadata_of(new, wanted, resource)
        }
        Part::Finalize => with_field_of(old, &wanted, &["spec", "finalizers"]),
        Part::EphemeralContainers => with_field_of(old, &wanted, &["spec", "ephemeralContainers"]),
    };
    let deletion = metadata::deletion_error(&new, old);
    metadata::carry_over(&mut new, old);
    if let Some(cause) = deletion.or_else(|| metadata::finalizers_error(&new, old)) {
        return Err(Status::invalid(&call.group_kind(), name, vec![cause]));
    }
    let operation = if matches!(change.part, Part::Status | Part::Approval) {
        Operation::UpdateStatus
    } else {
        Operation::Update
    };
    let warnings = resource
        .admit(operation, &mut new, Some(old), change.options.field_validation)
        .map_err(|rejection| call.rejected(rejection, name, change.method, old))?;
    metadata::count_generation(resource, &mut new, old);
    record_managers(call, change, &mut new, old, sent);
    Ok((new, warnings))
}

/// Writes who manages what into the new object; `sent` is what the wanted object said of it.
fn record_managers(call: &Call, change: &Change<'_>, new: &mut Value, old: &Value, sent: Value) {
    if matches!(change.method, Method::Apply) {
        if !sent.is_null() {
            objects::metadata_mut(new).insert("managedFields".into(), sent);
        }
    } else if change.part == Part::Scale && call.resource.is_custom() {
        // As upstream, which keeps no record of who scales a custom resource.
        managed::put(new, &managed::of_object(old));
    } else {
        let of_subresource = change.part != Part::Main;
        let sent = if of_subresource { &Value::Null } else { &sent };
        let context = change.part.context(call, entries::Operation::Update);
        let managers = managed::of_request(sent, Some(old));
        let managers = managed::track::update(&context, Some(old), new, managers, Timestamp::now());
        managed::put(new, &managers);
    }
    managed::forget_new_times(new, old);
}

/// The object with the metadata of another: what is written to the status of a built-in kind may change annotations too, and labels
/// except for workloads.
fn with_metadata_of(mut object: Value, mut other: Value, resource: &Resource) -> Value {
    if resource.group == "apps" {
        copy_field(&mut other, &object, &["metadata", "labels"]);
    }
    copy_field(&mut object, &other, &["metadata"]);
    object
}

fn with_field_of(old: &Value, wanted: &Value, path: &[&str]) -> Value {
    let mut new = old.clone();
    copy_field(&mut new, wanted, path);
    new
}

/// Makes the field at `path` what it is in `source`, absent if it is absent there.
fn copy_field(target: &mut Value, source: &Value, path: &[&str]) {
    let Some((last, above)) = path.split_last() else {
        return;
    };
    let found = path.iter().try_fold(source, |value, step| value.get(step));
    let mut place = target;
    for step in above {
        let Value::Object(fields) = place else { return };
        place = fields.entry(*step).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Value::Object(fields) = place {
        match found {
            Some(value) => drop(fields.insert((*last).to_owned(), value.clone())),
            None => drop(fields.shift_remove(*last)),
        }
    }
}

/// Writes the object in place of `entry`, or removes it if only its last finalizer kept it; `None` if someone else was faster.
pub(super) async fn write(call: &Call, mut object: Value, entry: &Entry) -> Result<Option<Value>, Status> {
    let (key, expected) = (entry.key.clone(), entry.revision);
    let write = if objects::is_terminating(&object) && !is_held(&object) {
        Write::Delete { key, expected }
    } else {
        Write::Update {
            key,
            value: storage::encode(&call.resource, &object)?,
            expected,
        }
    };
    match call.server.store().commit(write).await {
        Ok(revision) => {
            objects::set_resource_version(&mut object, revision);
            Ok(Some(object))
        }
        Err(store::Error::Precondition { .. }) => Ok(None),
        Err(other) => Err(storage::refusal(other)),
    }
}

/// Whether finalizers keep a terminating object; for a Namespace also those of its spec.
pub(super) fn is_held(object: &Value) -> bool {
    let of_namespace = object["kind"] == "Namespace" && object["apiVersion"] == "v1";
    let contents = of_namespace
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
    contents || !objects::finalizers(object).is_empty()
}
