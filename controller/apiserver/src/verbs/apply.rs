//! Server-side apply: the PATCH that says what a manager wants, and makes the object if there is none.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::create::{Origin, create_object};
use super::update::{Change, Method, Part, change_object};
use super::{Call, Written, metadata, scale};
use crate::auth::{Decision, refusal};
use crate::go;
use crate::kinds::FieldValidation;
use crate::kinds::builtin::types;
use crate::managed::apply::{Applied, Refusal, apply};
use crate::managed::{self, Context, check, conflict};
use crate::negotiation::Decoded;
use crate::objects;
use crate::parameters::ApplyOptions;
use crate::status::{Cause, Status};

/// Tries against others who make or delete the object at the same time.
const ATTEMPTS: usize = 5;

/// Applies the body to an object, or to a part of it.
///
/// # Errors
/// 400, 404, 409, 422 and others, as upstream has them.
pub async fn apply_object(
    call: &Call,
    name: &str,
    part: Part,
    body: &Decoded,
    options: ApplyOptions,
) -> Result<Written, Status> {
    check_type(
        &body.value,
        &call.resource.group,
        &call.resource.version,
        &call.resource.kind,
    )?;
    let warnings = warnings_of_duplicates(body, options);
    let mut written = apply_config(call, name, part, body, &body.value, options).await?;
    written.warnings.splice(0..0, warnings);
    Ok(written)
}

/// Applies the body, a `Scale`, to an object's scale.
///
/// # Errors
/// As [`apply_object`].
pub async fn apply_scale(
    call: &Call,
    name: &str,
    body: &Decoded,
    options: ApplyOptions,
) -> Result<Written, Status> {
    check_type(&body.value, "autoscaling", "v1", "Scale")?;
    let warnings = warnings_of_duplicates(body, options);
    let paths = scale::paths(call)?;
    let schema = types::schema_of("autoscaling/v1", "Scale");
    if let Some(why) = schema.and_then(|schema| check::error(&schema, &body.value)) {
        return Err(unfit(&body.value, "autoscaling/v1", "Scale", &why));
    }
    let mut config = json!({
        "apiVersion": call.resource.api_version(), "kind": call.resource.kind, "metadata": body.value["metadata"],
    });
    if body.value.pointer("/spec/replicas").is_some() {
        scale::set(
            &mut config,
            &paths.spec_replicas,
            scale::replicas(&body.value, name)?.into(),
        );
    }
    let mut written = apply_config(call, name, Part::Scale, body, &config, options)
        .await
        .map_err(in_words_of_scale)?;
    written.object = scale::of(&written.object, paths);
    written.warnings.splice(0..0, warnings);
    Ok(written)
}

async fn apply_config(
    call: &Call,
    name: &str,
    part: Part,
    body: &Decoded,
    config: &Value,
    options: ApplyOptions,
) -> Result<Written, Status> {
    if objects::metadata(config)
        .get("managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let change = Change {
        part,
        options: options.write,
        method: Method::Apply,
    };
    let now = Timestamp::now();
    for _ in 0..ATTEMPTS {
        let changed = change_object(call, name, change, |old| {
            let mut live = old.clone();
            managed::take(&mut live);
            let applied = merged(call, part, Some((&live, old)), config, options.force, now)?;
            refuse_duplicates(body, options)?;
            let mut wanted = applied.object;
            check_name(name, &wanted)?;
            metadata::check_body(call, &mut wanted)?;
            managed::put(&mut wanted, &applied.managers);
            Ok(wanted)
        });
        match changed.await {
            Err(gone) if gone.reason == "NotFound" && part == Part::Main => {}
            outcome => return outcome,
        }
        match make(call, name, body, config, options, now).await {
            Err(there) if there.reason == "AlreadyExists" => {}
            outcome => return outcome,
        }
    }
    Err(Status::modified(&call.group_resource(), name))
}

/// Makes the object that is not there, if the caller may.
async fn make(
    call: &Call,
    name: &str,
    body: &Decoded,
    config: &Value,
    options: ApplyOptions,
    now: Timestamp,
) -> Result<Written, Status> {
    let uid = objects::uid(config);
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(&call.group_resource(), name, &why));
    }
    let applied = merged(call, Part::Main, None, config, options.force, now)?;
    refuse_duplicates(body, options)?;
    let mut object = applied.object;
    check_name(name, &object)?;
    metadata::check_body(call, &mut object)?;
    objects::metadata_mut(&mut object).shift_remove("resourceVersion");
    let mut attributes = (*call.caller.attributes).clone();
    attributes.verb = "create".to_owned();
    match call.caller.decide(&attributes).await {
        Decision::Allow => {}
        Decision::Deny(reason) => return Err(refusal(&attributes, &reason)),
        Decision::NoOpinion => return Err(refusal(&attributes, "")),
    }
    create_object(call, object, Origin::Applied(applied.managers), options.write).await
}

/// The configuration merged into the live object, which is given without and with its managers.
fn merged(
    call: &Call,
    part: Part,
    live: Option<(&Value, &Value)>,
    config: &Value,
    force: bool,
    now: Timestamp,
) -> Result<Applied, Status> {
    let context: Context<'_> = part.context(call, managed::entries::Operation::Apply);
    let managers = live
        .map(|(_, with_managers)| managed::of_object(with_managers))
        .unwrap_or_default();
    apply(&context, live.map(|(live, _)| live), managers, config, force, now).map_err(|refusal| match refusal
    {
        Refusal::Conflicts(conflicts) => conflict::refusal(&conflicts),
        Refusal::Unfit(why) => unfit(config, &call.resource.api_version(), &call.resource.kind, &why),
    })
}

/// Upstream's answer to a configuration that the schema does not know: an internal error, though it is the client's.
fn unfit(config: &Value, api_version: &str, kind: &str, why: &str) -> Status {
    let (namespace, name) = (objects::namespace(config), objects::name(config));
    let version = match api_version.contains('/') {
        true => api_version.to_owned(),
        false => format!("/{api_version}"),
    };
    let message =
        format!("failed to create typed patch object ({namespace}/{name}; {version}, Kind={kind}): {why}");
    Status::new(500, "", message)
}

fn check_type(config: &Value, group: &str, version: &str, kind: &str) -> Result<(), Status> {
    if !config.is_object() && !config.is_null() {
        let why = go::cannot_unmarshal(config, "map[string]interface {}");
        return Err(Status::bad_request(format!(
            "error decoding patch: error unmarshaling JSON: while decoding JSON: {why}"
        )));
    }
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default();
    let (own_group, own_version) = text("apiVersion")
        .split_once('/')
        .unwrap_or(("", text("apiVersion")));
    if (own_group, own_version, text("kind")) == (group, version, kind) {
        return Ok(());
    }
    let found = text("kind");
    Err(Status::bad_request(format!(
        "invalid object type: {own_group}/{own_version}, Kind={found}"
    )))
}

fn check_name(name: &str, object: &Value) -> Result<(), Status> {
    let found = objects::name(object);
    if found == name {
        return Ok(());
    }
    Err(Status::bad_request(if found.is_empty() {
        format!("the name of the object ({name} based on URL) was undeterminable: name must be provided")
    } else {
        format!("the name of the object ({found}) does not match the name on the URL ({name})")
    }))
}

/// Refuses fields that stand in the body twice if the client wants them refused. Conflicts are told before, as upstream does.
fn refuse_duplicates(body: &Decoded, options: ApplyOptions) -> Result<(), Status> {
    if options.write.field_validation != FieldValidation::Strict || body.duplicates.is_empty() {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
        body.duplicates.join("\n  ")
    )))
}

fn warnings_of_duplicates(body: &Decoded, options: ApplyOptions) -> Vec<String> {
    match options.write.field_validation {
        FieldValidation::Warn => body.duplicates.clone(),
        FieldValidation::Strict | FieldValidation::Ignore => Vec::new(),
    }
}

/// Conflicts over the count as a client of `/scale` sees them.
fn in_words_of_scale(mut status: Status) -> Status {
    let Some(details) = &mut status.details else {
        return status;
    };
    let own = |cause: &Cause| cause.reason == "FieldManagerConflict";
    for cause in details.causes.iter_mut().filter(|cause| own(cause)) {
        status.message = status.message.replace(&cause.field, ".spec.replicas");
        cause.field = ".spec.replicas".to_owned();
    }
    status
}
