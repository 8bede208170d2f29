//! Rules of roles and bindings that a schema cannot say.

use serde_json::{Value, json};

use crate::status::Cause;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Fills in the groups that people leave out.
pub(super) fn fill_defaults(binding: &mut Value) {
    let fill = |object: &mut Value, group: &str| {
        if let Some(fields) = object.as_object_mut() {
            let entry = fields.entry("apiGroup").or_insert(Value::Null);
            if entry.as_str().unwrap_or_default().is_empty() {
                *entry = group.into();
            }
            if group.is_empty() {
                fields.shift_remove("apiGroup");
            }
        }
    };
    if let Some(role) = binding.get_mut("roleRef") {
        fill(role, GROUP);
    }
    let subjects = binding.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        let group = if subject["kind"] == "ServiceAccount" {
            ""
        } else {
            GROUP
        };
        fill(subject, group);
    }
}

/// What is wrong with a role.
pub(super) fn validate_role(role: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let is_empty = |rule: &Value, field: &str| rule[field].as_array().is_none_or(|list| list.is_empty());
    for (index, rule) in role["rules"].as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| format!("rules[{index}].{name}");
        if is_empty(rule, "verbs") {
            causes.push(Cause::required(field("verbs"), ""));
        }
        if !is_empty(rule, "nonResourceURLs") {
            let of_resources = ["apiGroups", "resources", "resourceNames"];
            if role["kind"] == "Role" {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                causes.push(Cause::invalid(
                    field("nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    detail,
                ));
            } else if of_resources.iter().any(|name| !is_empty(rule, name)) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                causes.push(Cause::invalid(
                    field("nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    detail,
                ));
            }
            continue;
        }
        if is_empty(rule, "apiGroups") {
            let detail = "resource rules must supply at least one api group";
            causes.push(Cause::required(field("apiGroups"), detail));
        }
        if is_empty(rule, "resources") {
            let detail = "resource rules must supply at least one resource";
            causes.push(Cause::required(field("resources"), detail));
        }
    }
    causes
}

/// What is wrong with a binding, or with a change of it.
pub(super) fn validate_binding(binding: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let role = &binding["roleRef"];
    if role["apiGroup"] != GROUP {
        causes.push(Cause::not_supported(
            "roleRef.apiGroup",
            &role["apiGroup"],
            &[GROUP.to_owned()],
        ));
    }
    let kinds: &[&str] = match binding["kind"].as_str() {
        Some("RoleBinding") => &["Role", "ClusterRole"],
        _ => &["ClusterRole"],
    };
    if !kinds.iter().any(|kind| role["kind"] == *kind) {
        let known: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        causes.push(Cause::not_supported("roleRef.kind", &role["kind"], &known));
    }
    if role["name"].as_str().unwrap_or_default().is_empty() {
        causes.push(Cause::required("roleRef.name", ""));
    }
    for (index, subject) in binding["subjects"].as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| format!("subjects[{index}].{name}");
        let is_absent = |name: &str| subject[name].as_str().unwrap_or_default().is_empty();
        if is_absent("name") {
            causes.push(Cause::required(field("name"), ""));
        }
        match subject["kind"].as_str() {
            // That of a RoleBinding is its own.
            Some("ServiceAccount") if is_absent("namespace") && binding["kind"] != "RoleBinding" => {
                causes.push(Cause::required(field("namespace"), ""));
            }
            Some("ServiceAccount" | "User" | "Group") => {}
            _ => {
                let known = ["Group", "ServiceAccount", "User"].map(str::to_owned);
                causes.push(Cause::not_supported(field("kind"), &subject["kind"], &known));
            }
        }
    }
    if old.is_some_and(|old| old["roleRef"] != *role) {
        let internal = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
        causes.push(Cause::invalid("roleRef", internal, "field is immutable"));
    }
    causes
}
