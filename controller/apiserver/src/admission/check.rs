//! Asks the policies about a write: collects what they need to know, and refuses or warns.

use serde_json::{Value, json};

use super::GROUP;
use super::evaluate::{Failure, Seen, failures};
use super::matching::{Asked, name_of};
use super::policy::{Binding, ParameterRef, Policy};
use crate::status::{Cause, Status};
use crate::storage;
use crate::store::Range;
use crate::verbs::Call;

/// What the policies say of a write that they let through.
type Admitted = Vec<String>;

/// Whether the policies let a write through: `object` is what will be, `old` what is. Gives back warnings.
///
/// # Errors
/// The refusal of the first policy that denies it.
pub(crate) async fn check(
    call: &Call,
    object: Option<&Value>,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Admitted, Status> {
    let policies = call.server.policies().all();
    if policies.is_empty() || call.resource.group == GROUP {
        return Ok(Vec::new()); // Nobody can lock themselves out of changing the policies.
    }
    let operation = match (object, old) {
        (Some(_), None) => "CREATE",
        (Some(_), Some(_)) => "UPDATE",
        (None, _) => "DELETE",
    };
    let catalog = call.server.kinds().catalog();
    let of_resource = catalog
        .all()
        .filter(|one| one.group == call.resource.group && one.plural == call.resource.plural);
    let versions: Vec<String> = of_resource.map(|one| one.version.clone()).collect();
    let namespace = namespace_of(call, object.or(old)).await?;
    let asked = Asked {
        operation,
        group: &call.resource.group,
        versions: &versions,
        version: &call.resource.version,
        resource: &call.resource.plural,
        subresource: &call.caller.attributes.subresource,
        name: name_of(object, old),
        namespaced: call.resource.namespaced,
        object,
        old,
        namespace: namespace.as_ref(),
    };
    let request = request(call, operation, asked.name, dry_run);
    let mut warnings = Vec::new();
    for policy in policies.iter().filter(|policy| policy.matching.matches(&asked)) {
        for binding in &policy.bindings {
            if !binding
                .matching
                .as_ref()
                .is_none_or(|matching| matching.matches(&asked))
            {
                continue;
            }
            let seen = Seen {
                object,
                old,
                request: &request,
                namespace: namespace.as_ref(),
                parameters: None,
            };
            for failure in of_binding(call, policy, binding, seen).await? {
                judge(call, policy, binding, &failure, asked.name, &mut warnings)?;
            }
        }
    }
    Ok(warnings)
}

/// The rules that the write breaks, for each of the binding's parameters.
async fn of_binding(
    call: &Call,
    policy: &Policy,
    binding: &Binding,
    seen: Seen<'_>,
) -> Result<Vec<Failure>, Status> {
    let (Some(kind), Some(reference)) = (&policy.parameter_kind, &binding.parameters) else {
        return Ok(failures(policy, &seen));
    };
    let refused = |message: String| -> Vec<Failure> {
        let reason = String::new();
        policy
            .fails_closed
            .then_some(Failure { message, reason })
            .into_iter()
            .collect()
    };
    let Some(parameters) = parameters(call, kind, reference).await? else {
        return Ok(refused(format!(
            "failed to configure binding: the parameter kind {} of the policy is not served",
            kind.2
        )));
    };
    if parameters.is_empty() && reference.needed {
        return Ok(refused(
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction".to_owned(),
        ));
    }
    let of_each = parameters.iter().flat_map(|parameters| {
        failures(
            policy,
            &Seen {
                parameters: Some(parameters),
                ..seen
            },
        )
    });
    Ok(of_each.collect())
}

/// The objects that a binding names as its parameters; `None` when their kind is not served.
async fn parameters(
    call: &Call,
    (group, version, kind): &(String, String, String),
    reference: &ParameterRef,
) -> Result<Option<Vec<Value>>, Status> {
    let Some(resource) = call.server.kinds().find_kind(group, version, kind) else {
        return Ok(None);
    };
    let namespace = match (&reference.namespace, resource.namespaced) {
        (_, false) => "",
        (Some(namespace), true) => namespace,
        (None, true) => &call.namespace,
    };
    if let Some(name) = &reference.name {
        let key = storage::key(&resource, namespace, name);
        let entry = call.server.store().get(&key).await.map_err(storage::refusal)?;
        let found = entry
            .map(|entry| storage::decode(&resource, &entry))
            .transpose()?;
        return Ok(Some(found.into_iter().collect()));
    }
    let prefix = storage::prefix(&resource, namespace);
    let page = call.server.store().list(&prefix, Range::default()).await;
    let page = page.map_err(storage::refusal)?;
    let mut found = Vec::new();
    for entry in &page.entries {
        let object = storage::decode(&resource, entry)?;
        if reference
            .selector
            .as_ref()
            .is_none_or(|selector| selector.matches(&object))
        {
            found.push(object);
        }
    }
    Ok(Some(found))
}

fn judge(
    call: &Call,
    policy: &Policy,
    binding: &Binding,
    failure: &Failure,
    name: &str,
    warnings: &mut Admitted,
) -> Result<(), Status> {
    let (policy, message) = (&policy.name, &failure.message);
    let by = &binding.name;
    if binding.warn {
        warnings.push(format!(
            "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{by}': {message}"
        ));
    }
    if !binding.deny {
        tracing::info!(
            policy,
            binding = by,
            message,
            "a write breaks a policy that does not deny it"
        );
        return Ok(());
    }
    let why = format!("ValidatingAdmissionPolicy '{policy}' with binding '{by}' denied request: {message}");
    let mut status = Status::forbidden(&call.group_resource(), name, &why);
    (status.code, status.reason) = match failure.reason.as_str() {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    let details = status.details.get_or_insert_default();
    details.causes.push(Cause::new("", "", why));
    Err(status)
}

async fn namespace_of(call: &Call, object: Option<&Value>) -> Result<Option<Value>, Status> {
    if call.resource.group.is_empty() && call.resource.plural == "namespaces" {
        return Ok(object.cloned());
    }
    let (true, Some(namespaces)) = (
        call.resource.namespaced,
        call.server.kinds().find("", "v1", "namespaces"),
    ) else {
        return Ok(None);
    };
    let key = storage::key(&namespaces, "", &call.namespace);
    let entry = call.server.store().get(&key).await.map_err(storage::refusal)?;
    entry
        .map(|entry| storage::decode(&namespaces, &entry))
        .transpose()
}

/// The variable `request`.
fn request(call: &Call, operation: &str, name: &str, dry_run: bool) -> Value {
    let resource = &call.resource;
    let (group, version) = (&resource.group, &resource.version);
    let kind = json!({"group": group, "version": version, "kind": resource.kind});
    let plural = json!({"group": group, "version": version, "resource": resource.plural});
    let user = call.caller.user();
    let subresource = &call.caller.attributes.subresource;
    json!({
        "kind": kind, "resource": plural, "subResource": subresource,
        "requestKind": kind, "requestResource": plural, "requestSubResource": subresource,
        "name": name, "namespace": call.namespace, "operation": operation, "dryRun": dry_run,
        "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra},
    })
}
