//! Nobody grants what they do not have: the checks of writes to roles and bindings.

use serde_json::Value;

use super::GROUP;
use super::policy::{Policy, RoleRef, rules};
use super::rule::Rule;
use crate::auth::{Decision, MASTERS, RequestAttributes};
use crate::objects;
use crate::status::{GroupResource, Status};
use crate::verbs::Call;

/// Whether the caller may write this role or binding.
///
/// # Errors
/// 403 when it would grant what the caller does not have; 404 when it binds a role that is not there.
pub(crate) async fn check(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let user = call.caller.user();
    if call.resource.group != GROUP || user.is_in(MASTERS) {
        return Ok(());
    }
    let policy = call.server.rbac().policy();
    let about = call.group_resource();
    match call.resource.kind.as_str() {
        "Role" | "ClusterRole" => {
            let wanted = rules(new);
            let gathers = !new["aggregationRule"].is_null();
            let same = old.is_some_and(|old| {
                old["rules"] == new["rules"] && old["aggregationRule"] == new["aggregationRule"]
            });
            if same || may(call, "escalate", &call.resource.plural, objects::name(new)).await {
                return Ok(());
            }
            if gathers && !policy.lacking(user, "", &everything()).is_empty() {
                let why = "must have cluster-admin privileges to use the aggregationRule";
                return Err(Status::forbidden(&about, objects::name(new), why));
            }
            refuse_lacking(call, &policy, new, &wanted)
        }
        _ => {
            let role = RoleRef::of(new, &call.namespace);
            let same =
                old.is_some_and(|old| old["roleRef"] == new["roleRef"] && old["subjects"] == new["subjects"]);
            if same || may(call, "bind", role.plural(), role.name()).await {
                return Ok(());
            }
            let Some(wanted) = policy.rules_of_role(&role) else {
                let resource = GroupResource {
                    group: GROUP.to_owned(),
                    resource: role.plural().to_owned(),
                };
                return Err(Status::not_found(&resource, role.name()));
            };
            refuse_lacking(call, &policy, new, wanted)
        }
    }
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Rule::default()
        },
        Rule {
            verbs: all(),
            non_resource_urls: all(),
            ..Rule::default()
        },
    ]
}

/// Whether the caller is allowed the special verb on the role.
async fn may(call: &Call, verb: &str, resource: &str, name: &str) -> bool {
    let attributes = RequestAttributes {
        user: call.caller.user().clone(),
        verb: verb.to_owned(),
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        namespace: call.namespace.clone(),
        name: name.to_owned(),
        resource_request: true,
        ..RequestAttributes::default()
    };
    call.caller.decide(&attributes).await == Decision::Allow
}

fn refuse_lacking(call: &Call, policy: &Policy, new: &Value, wanted: &[Rule]) -> Result<(), Status> {
    let user = call.caller.user();
    let lacking = policy.lacking(user, &call.namespace, wanted);
    if lacking.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lacking.join("\n")
    );
    Err(Status::forbidden(
        &call.group_resource(),
        objects::name(new),
        &why,
    ))
}
