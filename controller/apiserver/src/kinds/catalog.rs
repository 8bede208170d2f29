//! The registry of what is served: [`Kinds`] is cheap to read from every request, and swapped whole on change.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Origin, Resource, builtin};

/// All resources at one moment. Immutable; a change makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    resources: BTreeMap<ResourceKey, Arc<Resource>>,
    revision: u64,
}

/// (group, version, plural)
type ResourceKey = (String, String, String);

impl Catalog {
    /// The resource at a path, when its version is served.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
            .filter(|resource| resource.served)
    }

    /// The resource of a kind, when its version is served.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.in_version(group, version)
            .find(|resource| resource.kind == kind)
    }

    /// Every served resource, ordered by group, version and plural. The same storage may come up more than once, once
    /// for each version; see [`Catalog::stored`].
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values().filter(|resource| resource.served)
    }

    /// One served resource for each storage: what a collector of garbage or a namespace's emptying walks over.
    pub fn stored(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let mut first_of_storage = BTreeMap::new();
        for resource in self.all().filter(|resource| resource.is_stored()) {
            let storage = &resource.storage;
            first_of_storage
                .entry((storage.group.as_str(), storage.plural.as_str()))
                .or_insert(resource);
        }
        first_of_storage.into_values()
    }

    /// Served resources of one group and version.
    pub fn in_version(&self, group: &str, version: &str) -> impl Iterator<Item = &Arc<Resource>> {
        self.all()
            .filter(move |resource| resource.group == group && resource.version == version)
    }

    /// Served groups with their versions, the preferred version first. The core group has the empty name.
    pub fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for resource in self.all() {
            let versions = groups.entry(&resource.group).or_default();
            if !versions.contains(&resource.version.as_str()) {
                versions.push(&resource.version);
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|version| std::cmp::Reverse(version_priority(version)));
        }
        groups
    }

    /// Changes whenever the catalog does: a cheap key for caches of discovery and OpenAPI documents.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn with(&self, resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut next = Self {
            resources: self.resources.clone(),
            revision: self.revision + 1,
        };
        for resource in resources {
            let key = (
                resource.group.clone(),
                resource.version.clone(),
                resource.plural.clone(),
            );
            next.resources.insert(key, Arc::new(resource));
        }
        next
    }

    fn without(&self, definition: &str) -> Self {
        let mut next = Self {
            resources: self.resources.clone(),
            revision: self.revision + 1,
        };
        next.resources
            .retain(|_, resource| resource.origin != Origin::Definition(definition.to_owned()));
        next
    }
}

/// The live registry. Reads never block; writes replace the whole [`Catalog`].
#[derive(Debug)]
pub struct Kinds {
    catalog: ArcSwap<Catalog>,
}

impl Default for Kinds {
    fn default() -> Self {
        Self::new()
    }
}

impl Kinds {
    /// A registry that serves the built-in kinds.
    pub fn new() -> Self {
        Self {
            catalog: ArcSwap::from_pointee(Catalog::default().with(builtin::resources())),
        }
    }

    /// The catalog as it is now; hold it for the length of one request.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// The resource at a path, when its version is served.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.catalog.load().find(group, version, plural).cloned()
    }

    /// The resource of a kind, when its version is served.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.catalog.load().find_kind(group, version, kind).cloned()
    }

    /// Every served resource.
    pub fn all(&self) -> Vec<Arc<Resource>> {
        self.catalog.load().all().cloned().collect()
    }

    /// Serves `resources` as those of the definition `name`, in place of any that it had before.
    pub fn serve_definition(&self, name: &str, resources: Vec<Resource>) {
        self.catalog
            .rcu(|catalog| catalog.without(name).with(resources.iter().cloned()));
    }

    /// Serves nothing of the definition `name` any more.
    pub fn remove_definition(&self, name: &str) {
        self.catalog.rcu(|catalog| catalog.without(name));
    }
}

/// Kubernetes' order of versions: GA before beta before alpha, then the higher number; anything else last, by name.
pub(super) fn version_priority(version: &str) -> (u8, u32, u32, std::cmp::Reverse<String>) {
    let name = std::cmp::Reverse(version.to_owned());
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0, name);
    };
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (major, stage) = rest.split_at(digits);
    let Ok(major) = major.parse::<u32>() else {
        return (0, 0, 0, name);
    };
    let staged = |rank: u8, minor: &str| match minor.parse::<u32>() {
        Ok(minor) => (rank, major, minor, std::cmp::Reverse(String::new())),
        Err(_) => (0, 0, 0, name.clone()),
    };
    match stage {
        "" => (3, major, 0, std::cmp::Reverse(String::new())),
        stage if stage.starts_with("beta") => staged(2, &stage["beta".len()..]),
        stage if stage.starts_with("alpha") => staged(1, &stage["alpha".len()..]),
        _ => (0, 0, 0, name),
    }
}

#[cfg(test)]
mod tests {
    use super::version_priority;

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = vec![
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v10beta3",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "foo1",
            "foo10",
        ];
        let expected = versions.clone();
        versions.reverse();
        versions.sort_by_key(|version| std::cmp::Reverse(version_priority(version)));
        assert_eq!(versions, expected);
    }
}
