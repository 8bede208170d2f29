//! Which writes a policy or a binding is about.

use serde_json::Value;

use crate::objects;
use crate::selector::LabelSelector;

/// A write, as rules see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// `CREATE`, `UPDATE` or `DELETE`.
    pub(super) operation: &'a str,
    pub(super) group: &'a str,
    /// Every served version of the resource: a rule for one is a rule for the same object in another.
    pub(super) versions: &'a [String],
    pub(super) version: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    pub(super) name: &'a str,
    pub(super) namespaced: bool,
    pub(super) object: Option<&'a Value>,
    pub(super) old: Option<&'a Value>,
    /// The namespace; for a Namespace itself, the object.
    pub(super) namespace: Option<&'a Value>,
}

/// `matchConstraints` of a policy, or `matchResources` of a binding.
#[derive(Debug)]
pub(super) struct Matching {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    namespaces: Option<LabelSelector>,
    objects: Option<LabelSelector>,
    exact: bool,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn holds(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

impl Matching {
    pub(super) fn of(value: &Value) -> Self {
        let rules = |rules: &Value| -> Vec<Rule> {
            let rules = rules.as_array().into_iter().flatten();
            rules
                .map(|rule| Rule {
                    operations: texts(&rule["operations"]),
                    groups: texts(&rule["apiGroups"]),
                    versions: texts(&rule["apiVersions"]),
                    resources: texts(&rule["resources"]),
                    names: texts(&rule["resourceNames"]),
                    scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
                })
                .collect()
        };
        let selector = |selector: &Value| {
            let parsed = LabelSelector::of_object(selector).unwrap_or_default();
            Some(parsed).filter(|parsed| *parsed != LabelSelector::default())
        };
        Self {
            rules: rules(&value["resourceRules"]),
            excluded: rules(&value["excludeResourceRules"]),
            namespaces: selector(&value["namespaceSelector"]),
            objects: selector(&value["objectSelector"]),
            exact: value["matchPolicy"] == "Exact",
        }
    }

    /// Whether the write is one of these. No rule at all means every resource, as bindings have it.
    pub(super) fn matches(&self, asked: &Asked<'_>) -> bool {
        let by = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(asked, self.exact));
        (self.rules.is_empty() || by(&self.rules))
            && !by(&self.excluded)
            && self.matches_namespace(asked)
            && self.matches_object(asked)
    }

    fn matches_namespace(&self, asked: &Asked<'_>) -> bool {
        match (&self.namespaces, asked.namespace) {
            (None, _) => true,
            (Some(selector), Some(namespace)) => selector.matches(namespace),
            // Objects outside of namespaces are matched whatever the selector says.
            (Some(_), None) => !asked.namespaced,
        }
    }

    fn matches_object(&self, asked: &Asked<'_>) -> bool {
        let Some(selector) = &self.objects else {
            return true;
        };
        let mut states = asked.object.into_iter().chain(asked.old);
        states.any(|object| selector.matches(object))
    }
}

impl Rule {
    fn matches(&self, asked: &Asked<'_>, exact: bool) -> bool {
        let scope = match self.scope.as_str() {
            "Cluster" => !asked.namespaced,
            "Namespaced" => asked.namespaced,
            _ => true,
        };
        let version = holds(&self.versions, asked.version)
            || !exact
                && asked
                    .versions
                    .iter()
                    .any(|version| holds(&self.versions, version));
        scope
            && version
            && holds(&self.operations, asked.operation)
            && holds(&self.groups, asked.group)
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
            && self
                .resources
                .iter()
                .any(|one| is_resource(one, asked.resource, asked.subresource))
    }
}

/// Whether `rule` (`pods`, `pods/status`, `pods/*`, `*/status`, `*`, `*/*`) is about the resource.
fn is_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    let (of, below) = rule.split_once('/').unwrap_or((rule, ""));
    (of == "*" || of == resource) && (below == "*" || below == subresource)
}

/// The name of the object of a write.
pub(super) fn name_of<'a>(object: Option<&'a Value>, old: Option<&'a Value>) -> &'a str {
    object.or(old).map_or("", objects::name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_name_resources_and_what_hangs_below_them() {
        for (rule, resource, subresource, expected) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/status", "pods", "status", true),
            ("pods/*", "pods", "status", true),
            ("pods/*", "pods", "", true),
            ("*", "pods", "", true),
            ("*", "pods", "status", false),
            ("*/*", "pods", "status", true),
            ("*/scale", "pods", "status", false),
        ] {
            assert_eq!(
                is_resource(rule, resource, subresource),
                expected,
                "{rule} {resource}/{subresource}"
            );
        }
    }

    #[test]
    fn selectors_look_at_the_namespace_and_at_either_state() {
        let matching = Matching::of(&json!({
            "resourceRules": [{"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"on": "yes"}},
            "objectSelector": {"matchExpressions": [{"key": "watched", "operator": "Exists"}]},
        }));
        let labelled = json!({"metadata": {"labels": {"watched": "1"}}});
        let plain = json!({"metadata": {}});
        let on = json!({"metadata": {"labels": {"on": "yes"}}});
        let asked = Asked {
            operation: "UPDATE",
            group: "",
            versions: &[],
            version: "v1",
            resource: "configmaps",
            subresource: "",
            name: "a",
            namespaced: true,
            object: Some(&plain),
            old: Some(&labelled),
            namespace: Some(&on),
        };
        assert!(matching.matches(&asked));
        assert!(!matching.matches(&Asked {
            old: Some(&plain),
            ..asked
        }));
        assert!(!matching.matches(&Asked {
            namespace: Some(&plain),
            ..asked
        }));
        assert!(!matching.matches(&Asked {
            operation: "CREATE",
            ..asked
        }));
    }
}
