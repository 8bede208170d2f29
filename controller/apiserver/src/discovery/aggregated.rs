//! The aggregated document: everything in one APIGroupDiscoveryList, asked for by media type.

use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::{served, subresources};
use crate::kinds::{Catalog, Resource};

/// The version of the document that a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `v2`
    V2,
    /// `v2beta1`, for clients before 1.30.
    V2Beta1,
}

impl Version {
    /// The media type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V2 => "apidiscovery.k8s.io/v2",
            Self::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
        }
    }
}

/// Which aggregated document the `Accept` header asks for; the first one that is served wins.
pub fn wanted(headers: &HeaderMap) -> Option<Version> {
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .find_map(|media_type| {
            let mut parts = media_type.split(';').map(str::trim);
            let is_json = matches!(parts.next(), Some("application/json" | "*/*"));
            let parts: Vec<&str> = parts.collect();
            let is_discovery =
                parts.contains(&"g=apidiscovery.k8s.io") && parts.contains(&"as=APIGroupDiscoveryList");
            match (
                is_json && is_discovery,
                parts.iter().find_map(|part| part.strip_prefix("v=")),
            ) {
                (true, Some("v2")) => Some(Version::V2),
                (true, Some("v2beta1")) => Some(Version::V2Beta1),
                _ => None,
            }
        })
}

/// `/api`: the core group.
pub fn core(catalog: &Catalog, version: Version) -> Value {
    list(catalog, version, str::is_empty)
}

/// `/apis`: all other groups.
pub fn groups(catalog: &Catalog, version: Version) -> Value {
    list(catalog, version, |name| !name.is_empty())
}

fn list(catalog: &Catalog, version: Version, wanted: impl Fn(&str) -> bool) -> Value {
    let groups = catalog.groups();
    let items = groups
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = served(catalog, name, version)
                        .into_iter()
                        .map(resource_entry)
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if name.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": name, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        });
    let items: Vec<Value> = items.collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": version.api_version(),
        "metadata": {},
        "items": items,
    })
}

fn resource_entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    for (field, names) in [
        ("shortNames", &resource.short_names),
        ("categories", &resource.categories),
    ] {
        if !names.is_empty() {
            entry[field] = json!(names);
        }
    }
    let subresources: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|subresource| {
            json!({
                "subresource": subresource.name,
                "responseKind": {
                    "group": subresource.group, "version": subresource.version, "kind": subresource.kind,
                },
                "verbs": subresource.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::{Version, wanted};

    #[test]
    fn the_accept_header_decides_which_document_is_sent() {
        let cases = [
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
                Some(Version::V2),
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
                Some(Version::V2Beta1),
            ),
            (
                "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io;profile=nopeer",
                Some(Version::V2),
            ),
            ("application/json, */*", None),
            (
                "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                None,
            ),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wanted(&headers), expected, "{accept}");
        }
    }
}
