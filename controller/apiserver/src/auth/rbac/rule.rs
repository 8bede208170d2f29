//! One rule of a role: what it allows, and whether it is part of what somebody has.

use serde::{Deserialize, Serialize};

use crate::auth::RequestAttributes;

/// One rule of a role. Field names are those of the API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// What may be done; `*` is everything.
    pub verbs: Vec<String>,
    /// In which groups; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// With which resources: `pods`, `pods/log`, `*/scale` or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// With which objects; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// On which other paths; a trailing `*` stands for everything below.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

fn holds(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

impl Rule {
    /// Whether the rule allows the request.
    pub fn allows(&self, attributes: &RequestAttributes) -> bool {
        if !holds(&self.verbs, &attributes.verb) {
            return false;
        }
        if attributes.resource_request {
            holds(&self.api_groups, &attributes.group)
                && self.has_resource(&attributes.resource, &attributes.subresource)
                && self.has_name(&attributes.name)
        } else {
            self.non_resource_urls
                .iter()
                .any(|url| covers_path(url, &attributes.path))
        }
    }

    fn has_resource(&self, resource: &str, subresource: &str) -> bool {
        if subresource.is_empty() {
            return holds(&self.resources, resource);
        }
        let full = format!("{resource}/{subresource}");
        self.resources
            .iter()
            .any(|one| one == "*" || *one == full || one.strip_prefix("*/") == Some(subresource))
    }

    fn has_name(&self, name: &str) -> bool {
        self.resource_names.is_empty() || self.resource_names.iter().any(|one| one == name)
    }

    /// Whether everything that `other`, which is about a single thing, allows is allowed by this rule.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let all = |own: &[String], theirs: &[String]| theirs.iter().all(|one| holds(own, one));
        let resource = |one: &String| match one.split_once('/') {
            Some((resource, subresource)) => self.has_resource(resource, subresource),
            None => holds(&self.resources, one),
        };
        let names = self.resource_names.is_empty()
            || !other.resource_names.is_empty() && other.resource_names.iter().all(|one| self.has_name(one));
        let path = |one: &String| self.non_resource_urls.iter().any(|own| covers_path(own, one));
        all(&self.verbs, &other.verbs)
            && all(&self.api_groups, &other.api_groups)
            && other.resources.iter().all(resource)
            && names
            && other.non_resource_urls.iter().all(path)
    }

    /// The rule as rules about single things.
    pub(super) fn taken_apart(&self) -> Vec<Self> {
        let mut single = Vec::new();
        for verb in &self.verbs {
            for group in &self.api_groups {
                for resource in &self.resources {
                    let of = |name: Option<&String>| Self {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names: name.into_iter().cloned().collect(),
                        non_resource_urls: Vec::new(),
                    };
                    if self.resource_names.is_empty() {
                        single.push(of(None));
                    }
                    single.extend(self.resource_names.iter().map(|name| of(Some(name))));
                }
            }
            single.extend(self.non_resource_urls.iter().map(|url| Self {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..Self::default()
            }));
        }
        single
    }

    /// The rule as refusals print it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    pub(super) fn printed(&self) -> String {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.resource_names),
            ("NonResourceURLs", &self.non_resource_urls),
            ("Verbs", &self.verbs),
        ];
        let fields: Vec<String> = fields
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| {
                let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
                format!("{name}:[{}]", values.join(" "))
            })
            .collect();
        format!("{{{}}}", fields.join(", "))
    }
}

fn covers_path(url: &str, path: &str) -> bool {
    match url.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => url == path,
    }
}
