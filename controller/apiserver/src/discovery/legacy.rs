//! The older documents: APIVersions, APIGroupList, APIGroup and APIResourceList.

use serde_json::{Map, Value, json};

use super::{served, subresources};
use crate::kinds::{Catalog, Resource, api_version};

/// `/api`
pub fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`
pub fn groups(catalog: &Catalog) -> Value {
    let groups = catalog.groups();
    let named = groups.iter().filter(|(name, _)| !name.is_empty());
    let groups: Vec<Value> = named
        .map(|(name, versions)| group_entry(name, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`
pub fn group(catalog: &Catalog, name: &str) -> Option<Value> {
    let groups = catalog.groups();
    let versions = groups.get(name).filter(|_| !name.is_empty())?;
    let Value::Object(entry) = group_entry(name, versions) else {
        return None;
    };
    let mut group = Map::new();
    group.insert("kind".to_owned(), "APIGroup".into());
    group.insert("apiVersion".to_owned(), "v1".into());
    group.extend(entry);
    Some(Value::Object(group))
}

/// `/api/v1` and `/apis/{group}/{version}`
pub fn resources(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let served = served(catalog, group, version);
    if served.is_empty() {
        return None;
    }
    let resources: Vec<Value> = served.into_iter().flat_map(resource_entries).collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": resources,
    }))
}

fn group_entry(name: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": api_version(name, version), "version": version});
    json!({
        "name": name,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

fn resource_entries(resource: &Resource) -> Vec<Value> {
    let mut main = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    for (field, names) in [
        ("shortNames", &resource.short_names),
        ("categories", &resource.categories),
    ] {
        if !names.is_empty() {
            main[field] = json!(names);
        }
    }
    let mut entries = vec![main];
    for subresource in subresources(resource) {
        let mut entry = json!({
            "name": format!("{}/{}", resource.plural, subresource.name),
            "singularName": "",
            "namespaced": resource.namespaced,
        });
        if subresource.group != resource.group {
            entry["group"] = json!(subresource.group);
            entry["version"] = json!(subresource.version);
        }
        entry["kind"] = json!(subresource.kind);
        entry["verbs"] = json!(subresource.verbs);
        entries.push(entry);
    }
    entries
}
