//! What roles and bindings say, ready to be asked.

use std::collections::HashMap;

use serde_json::Value;

use super::rule::Rule;
use crate::auth::UserInfo;
use crate::objects;

/// Prefix of the user names of service accounts.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Whoever a binding is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
}

impl Subject {
    fn of(subject: &Value, namespace: &str) -> Option<Self> {
        let name = subject["name"].as_str()?.to_owned();
        match subject["kind"].as_str()? {
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            "ServiceAccount" => {
                let namespace = subject["namespace"].as_str().unwrap_or(namespace);
                Some(Self::User(format!("{SERVICE_ACCOUNT}{namespace}:{name}")))
            }
            _ => None,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.is_in(name),
        }
    }
}

#[derive(Debug, Clone)]
struct Binding {
    subjects: Vec<Subject>,
    role: RoleRef,
}

/// The role that a binding grants. The namespace is empty for a ClusterRole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleRef {
    namespace: String,
    name: String,
}

impl RoleRef {
    /// The role that a binding in `namespace` (empty: everywhere) refers to.
    pub fn of(binding: &Value, namespace: &str) -> Self {
        let of_namespace = binding["roleRef"]["kind"] == "Role";
        Self {
            namespace: if of_namespace { namespace } else { "" }.to_owned(),
            name: binding["roleRef"]["name"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// The plural of its kind.
    pub fn plural(&self) -> &'static str {
        if self.namespace.is_empty() {
            "clusterroles"
        } else {
            "roles"
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// All roles and bindings at one moment.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    roles: HashMap<RoleRef, Vec<Rule>>,
    /// Bindings by namespace; those of the empty one hold everywhere.
    bindings: HashMap<String, Vec<Binding>>,
}

impl Policy {
    /// The policy of these objects: roles of both kinds, and bindings of both kinds.
    pub fn of<'a>(
        roles: impl IntoIterator<Item = &'a Value>,
        bindings: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let mut policy = Self::default();
        for role in roles {
            let key = RoleRef {
                namespace: objects::namespace(role).to_owned(),
                name: objects::name(role).to_owned(),
            };
            policy.roles.insert(key, rules(role));
        }
        for binding in bindings {
            let namespace = objects::namespace(binding);
            let subjects = binding["subjects"].as_array().into_iter().flatten();
            let binding = Binding {
                subjects: subjects.filter_map(|one| Subject::of(one, namespace)).collect(),
                role: RoleRef::of(binding, namespace),
            };
            policy
                .bindings
                .entry(namespace.to_owned())
                .or_default()
                .push(binding);
        }
        policy
    }

    /// All rules that hold for a user in a namespace (empty: everywhere).
    pub fn rules_of<'a>(&'a self, user: &'a UserInfo, namespace: &str) -> impl Iterator<Item = &'a Rule> {
        let everywhere = self.bindings.get("");
        let here = Some(namespace)
            .filter(|namespace| !namespace.is_empty())
            .and_then(|namespace| self.bindings.get(namespace));
        everywhere
            .into_iter()
            .chain(here)
            .flatten()
            .filter(|binding| binding.subjects.iter().any(|subject| subject.is(user)))
            .filter_map(|binding| self.roles.get(&binding.role))
            .flatten()
    }

    /// The rules of a role; `None` when there is no such role.
    pub fn rules_of_role(&self, role: &RoleRef) -> Option<&[Rule]> {
        self.roles.get(role).map(Vec::as_slice)
    }

    /// Those of the wanted rules that the user does not have, as refusals print them.
    pub fn lacking(&self, user: &UserInfo, namespace: &str, wanted: &[Rule]) -> Vec<String> {
        let own: Vec<&Rule> = self.rules_of(user, namespace).collect();
        let single = wanted.iter().flat_map(Rule::taken_apart);
        let lacking = single.filter(|rule| !own.iter().any(|own| own.covers(rule)));
        let mut printed: Vec<String> = lacking.map(|rule| rule.printed()).collect();
        printed.sort();
        printed.dedup();
        printed
    }
}

/// The rules of a role. A role that is not understood allows nothing.
pub fn rules(role: &Value) -> Vec<Rule> {
    serde_json::from_value(role["rules"].clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::RequestAttributes;
    use http::Method;
    use serde_json::json;

    fn asked(user: &UserInfo, method: Method, path: &str) -> RequestAttributes {
        RequestAttributes::read(user.clone(), &method, path, None)
    }

    fn policy() -> Policy {
        let role = |namespace: &str, name: &str, rules: Value| json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules});
        let roles = [
            role(
                "",
                "reader",
                json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps", "*/status"]}]),
            ),
            role(
                "one",
                "writer",
                json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["mine"]}]),
            ),
            role(
                "",
                "metrics",
                json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/debug/*"]}]),
            ),
        ];
        let binding = |namespace: &str, kind: &str, role: &str, subjects: Value| {
            json!({
                "metadata": {"name": role, "namespace": namespace},
                "roleRef": {"apiGroup": GROUP_NAME, "kind": kind, "name": role}, "subjects": subjects,
            })
        };
        const GROUP_NAME: &str = "rbac.authorization.k8s.io";
        let bindings = [
            binding(
                "",
                "ClusterRole",
                "metrics",
                json!([{"kind": "Group", "name": "watchers"}]),
            ),
            binding(
                "one",
                "ClusterRole",
                "reader",
                json!([{"kind": "User", "name": "jane"}]),
            ),
            binding(
                "one",
                "Role",
                "writer",
                json!([{"kind": "ServiceAccount", "name": "robot"}]),
            ),
        ];
        Policy::of(&roles, &bindings)
    }

    #[test]
    fn what_is_bound_is_allowed_where_it_is_bound() {
        let policy = policy();
        let jane = UserInfo::authenticated("jane", ["watchers"]);
        let robot = UserInfo::authenticated("system:serviceaccount:one:robot", [""; 0]);
        for (user, method, path, allowed) in [
            (&jane, Method::GET, "/api/v1/namespaces/one/configmaps/a", true),
            (&jane, Method::GET, "/api/v1/namespaces/two/configmaps/a", false),
            (&jane, Method::GET, "/api/v1/configmaps", false),
            (
                &jane,
                Method::DELETE,
                "/api/v1/namespaces/one/configmaps/a",
                false,
            ),
            (
                &jane,
                Method::GET,
                "/api/v1/namespaces/one/services/a/status",
                true,
            ),
            (
                &jane,
                Method::GET,
                "/apis/apps/v1/namespaces/one/configmaps/a",
                false,
            ),
            (&jane, Method::GET, "/debug/pprof", true),
            (&robot, Method::GET, "/metrics", false),
            (
                &robot,
                Method::PUT,
                "/apis/apps/v1/namespaces/one/deployments/mine/status",
                true,
            ),
            (
                &robot,
                Method::PUT,
                "/apis/apps/v1/namespaces/one/deployments/other",
                false,
            ),
            (
                &robot,
                Method::POST,
                "/apis/apps/v1/namespaces/one/deployments",
                false,
            ),
        ] {
            let attributes = asked(user, method, path);
            let found = policy
                .rules_of(user, &attributes.namespace)
                .any(|rule| rule.allows(&attributes));
            assert_eq!(found, allowed, "{} {path}", attributes.verb);
        }
    }

    #[test]
    fn what_somebody_lacks_is_told_thing_by_thing() {
        let policy = policy();
        let jane = UserInfo::authenticated("jane", [""; 0]);
        let rule = |value: Value| -> Rule { serde_json::from_value(value).expect("a rule") };
        let own = rule(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]}),
        );
        assert!(
            policy.lacking(&jane, "one", &[own]).is_empty(),
            "part of what she has"
        );
        let more = rule(
            json!({"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["configmaps", "secrets"]}),
        );
        assert_eq!(
            policy.lacking(&jane, "one", &[more]),
            [
                r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["delete"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["delete"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#,
            ]
        );
        let all = rule(json!({"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"]}));
        assert_eq!(
            policy.lacking(&jane, "one", &[all]).len(),
            1,
            "every verb is more than some"
        );
    }
}
