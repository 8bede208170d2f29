//! Making an object.

use jiff::Timestamp;
use serde_json::Value;

use super::update::{Method, Part};
use super::{Call, Written, metadata};
use crate::admission;
use crate::kinds::Operation;
use crate::kinds::builtin::{rules, types};
use crate::managed::entries::{self, Managers};
use crate::managed::set::FieldSet;
use crate::managed::{self, Context, track};
use crate::negotiation::Decoded;
use crate::objects;
use crate::parameters::WriteOptions;
use crate::status::{Cause, GroupResource, Status};
use crate::storage;
use crate::store::{self, Write};

/// Suffixes tried for a generated name before giving up: at 27^5 of them, eight collisions in a row are no accident.
const NAME_ATTEMPTS: usize = 8;

/// Makes the object of the body.
///
/// # Errors
/// 400, 404, 409, 422 and others, as upstream has them.
pub async fn create(call: &Call, body: Decoded, options: WriteOptions) -> Result<Written, Status> {
    let mut warnings = call.judge_duplicates(&body, &options)?;
    let mut object = body.value;
    metadata::check_metadata(&call.resource, &object)?;
    metadata::check_body(call, &mut object)?;
    let sent = managed::take(&mut object);
    if !matches!(objects::resource_version(&object), "" | "0") {
        return Err(Status::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let mut written = create_object(call, object, Origin::Sent(sent), options).await?;
    warnings.append(&mut written.warnings);
    Ok(Written { warnings, ..written })
}

/// Who manages a new object.
#[derive(Debug, Clone)]
pub enum Origin {
    /// Its maker manages all of it; this is what they said of it themselves.
    Sent(Value),
    /// It was applied, and these manage it.
    Applied(Managers),
}

/// Makes an object whose type and place are right.
///
/// # Errors
/// As [`create`].
pub(super) async fn create_object(
    call: &Call,
    mut object: Value,
    origin: Origin,
    options: WriteOptions,
) -> Result<Written, Status> {
    check_namespace(call).await?;
    let prefix = objects::metadata_text(&object, "generateName").to_owned();
    let generated = objects::name(&object).is_empty() && !prefix.is_empty();
    let uid = uuid::Uuid::new_v4().to_string();
    metadata::begin(&call.resource, &mut object, uid, Timestamp::now());

    let mut attempts = 0;
    loop {
        attempts += 1;
        if generated {
            let name = metadata::generated_name(&prefix, &mut rand::rng());
            objects::metadata_mut(&mut object).insert("name".into(), name.into());
        }
        let name = objects::name(&object).to_owned();
        check_name(call, &name)?;
        let mut candidate = object.clone();
        let mut admitted = call
            .resource
            .admit(Operation::Create, &mut candidate, None, options.field_validation)
            .map_err(|rejection| call.rejected(rejection, &name, Method::Put, &Value::Null))?;
        rules::complete(&call.resource, &mut candidate);
        record_managers(call, &mut candidate, &origin);
        // Nobody manages what the server adds, as upstream.
        admission::fill(call, &mut candidate).await?;
        admitted.extend(call.admit(&candidate, None, options.dry_run).await?);
        match store_new(call, &name, &mut candidate, options.dry_run).await {
            Err(status) if status.reason == "AlreadyExists" && generated && attempts < NAME_ATTEMPTS => {}
            Err(status) => return Err(status),
            Ok(()) => {
                return Ok(Written {
                    object: candidate,
                    warnings: admitted,
                    created: true,
                });
            }
        }
    }
}

/// Writes who manages what into a new object.
fn record_managers(call: &Call, object: &mut Value, origin: &Origin) {
    match origin {
        Origin::Applied(managers) => managed::put(object, managers),
        Origin::Sent(sent) => {
            let context = Part::Main.context(call, entries::Operation::Update);
            let managers = managed::of_request(sent, None);
            let managers = track::update(&context, None, object, managers, Timestamp::now());
            managed::put(object, &managers);
        }
    }
}

/// Writes into a review who asks: it is an object as others are, but for being kept.
pub fn record_asker(call: &Call, review: &mut Value) {
    let sent = managed::take(review);
    record_managers(call, review, &Origin::Sent(sent));
}

/// Makes a request for a token what upstream answers: an object that has the name of its account.
pub fn record_token_request(call: &Call, account: &str, uid: &str, request: &mut Value) {
    let (api_version, kind) = ("authentication.k8s.io/v1", "TokenRequest");
    request["apiVersion"] = api_version.into();
    request["kind"] = kind.into();
    managed::take(request);
    let now = Timestamp::now();
    let schema = types::schema_of(api_version, kind);
    let context = Context {
        schema: schema.as_ref().unwrap_or_else(|| managed::untyped()),
        manager: entries::Manager {
            name: call.manager.clone(),
            operation: entries::Operation::Update,
            api_version: api_version.to_owned(),
            subresource: "token".to_owned(),
        },
        ignored: FieldSet::default(),
        built_in: true,
    };
    let managers = track::update(&context, None, request, Managers::default(), now);
    let metadata = objects::metadata_mut(request);
    metadata.insert("name".into(), account.into());
    metadata.insert("namespace".into(), call.namespace.clone().into());
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), metadata::timestamp(now).into());
    managed::put(request, &managers);
}

async fn store_new(call: &Call, name: &str, object: &mut Value, dry_run: bool) -> Result<(), Status> {
    let key = call.key(name);
    let value = storage::encode(&call.resource, object)?;
    let exists = || Status::already_exists(&call.group_resource(), name);
    if dry_run {
        let found = call.server.store().get(&key).await.map_err(storage::refusal)?;
        return if found.is_some() { Err(exists()) } else { Ok(()) };
    }
    let revision = call
        .server
        .store()
        .commit(Write::Create { key, value })
        .await
        .map_err(|error| match error {
            store::Error::Precondition { .. } => exists(),
            other => storage::refusal(other),
        })?;
    objects::set_resource_version(object, revision);
    Ok(())
}

fn check_name(call: &Call, name: &str) -> Result<(), Status> {
    let cause = if name.is_empty() {
        Cause::required("metadata.name", "name or generateName is required")
    } else if let Some(why) = metadata::name_error(&call.resource, name) {
        Cause::invalid("metadata.name", Value::from(name), &why)
    } else {
        return Ok(());
    };
    Err(Status::invalid(&call.group_kind(), name, vec![cause]))
}

/// Objects are made in namespaces that exist and are not being deleted.
async fn check_namespace(call: &Call) -> Result<(), Status> {
    if !call.resource.namespaced {
        return Ok(());
    }
    let Some(namespaces) = call.server.kinds().find("", "v1", "namespaces") else {
        return Ok(());
    };
    let name = &call.namespace;
    let entry = call
        .server
        .store()
        .get(&storage::key(&namespaces, "", name))
        .await
        .map_err(storage::refusal)?;
    let Some(entry) = entry else {
        let namespaces = GroupResource {
            group: String::new(),
            resource: "namespaces".into(),
        };
        return Err(Status::not_found(&namespaces, name));
    };
    if objects::is_terminating(&storage::decode(&namespaces, &entry)?) {
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let mut status = Status::forbidden(&call.group_resource(), "", &why);
        let cause = Cause::new(
            "NamespaceTerminating",
            "metadata.namespace",
            format!("namespace {name} is being terminated"),
        );
        status.details.get_or_insert_default().causes.push(cause);
        return Err(status);
    }
    Ok(())
}
