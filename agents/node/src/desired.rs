//! What the control plane last said: Stages, the RouteTable, and the node's own EdgeNode. Pure: it judges what is new,
//! what is older than what is held, and what cannot be read, and knows neither the watch nor the disk.

mod strict;

use std::collections::BTreeMap;

use crds::{EdgeNode, RouteTable, RouteTableSpec, StageSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};

/// Which writing of an object something is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// `metadata.uid`: another object of the same name has another.
    pub uid: String,
    /// `metadata.generation`: grows with each change of the spec.
    pub generation: i64,
    /// `metadata.creationTimestamp`, in seconds since 1970.
    pub created: i64,
}

impl Version {
    /// The version that an object's metadata tells.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or(0),
            created: metadata
                .creation_timestamp
                .as_ref()
                .map_or(0, |time| time.0.as_second()),
        }
    }

    /// Whether this is an earlier writing than `held`: of the same object by its generation, of another object by its
    /// time of creation.
    #[must_use]
    pub fn is_older_than(&self, held: &Self) -> bool {
        if self.uid == held.uid {
            self.generation < held.generation
        } else {
            self.created < held.created
        }
    }
}

/// A Stage that this node is to hold.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DesiredStage {
    /// Which writing it is.
    pub version: Version,
    /// What to load, or why it is refused: nothing is loaded by a specification that is only half understood.
    pub spec: Result<StageSpec, String>,
}

/// The RouteTable of this node.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DesiredRoutes {
    /// Which writing it is.
    pub version: Version,
    /// What to route by.
    pub spec: RouteTableSpec,
}

/// All that the control plane said, as it is kept on disk.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// The node's own object; what counts is its specification.
    pub node: Option<EdgeNode>,
    /// The Stages of this node, by name.
    pub stages: BTreeMap<String, DesiredStage>,
    /// The node's RouteTable.
    pub routes: Option<DesiredRoutes>,
}

/// What became of something that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in force now.
    Accepted,
    /// It was in force already.
    Unchanged,
    /// It is older than what is held, and was refused.
    Older {
        /// The version in force.
        held: Version,
        /// The version that was heard.
        got: Version,
    },
}

/// Reads a Stage as it came from the server, strictly.
#[must_use]
pub fn read_stage(object: &DynamicObject) -> DesiredStage {
    DesiredStage {
        version: Version::of(&object.metadata),
        spec: strict::read(&object.data["spec"]),
    }
}

impl Desired {
    /// Hears of one Stage.
    pub fn put_stage(&mut self, name: &str, stage: DesiredStage) -> Verdict {
        match self.stages.get(name) {
            Some(held) if *held == stage => Verdict::Unchanged,
            Some(held) if stage.version.is_older_than(&held.version) => Verdict::Older {
                held: held.version.clone(),
                got: stage.version,
            },
            _ => {
                self.stages.insert(name.to_owned(), stage);
                Verdict::Accepted
            }
        }
    }

    /// Hears that one Stage is gone. Another object of the same name stays.
    pub fn remove_stage(&mut self, name: &str, uid: &str) -> Verdict {
        match self.stages.get(name) {
            Some(held) if held.version.uid == uid => {
                self.stages.remove(name);
                Verdict::Accepted
            }
            _ => Verdict::Unchanged,
        }
    }

    /// Hears of all Stages at once; those that are not among them are gone.
    pub fn replace_stages(&mut self, mut stages: BTreeMap<String, DesiredStage>) -> Verdict {
        for (name, stage) in &mut stages {
            if let Some(held) = self.stages.get(name)
                && stage.version.is_older_than(&held.version)
            {
                *stage = held.clone();
            }
        }
        if self.stages == stages {
            return Verdict::Unchanged;
        }
        self.stages = stages;
        Verdict::Accepted
    }

    /// Hears of the RouteTable. Another incarnation of the control plane is always right: it was restored from a
    /// backup, and counts anew.
    pub fn put_routes(&mut self, table: &RouteTable) -> Verdict {
        let routes = DesiredRoutes {
            version: Version::of(&table.metadata),
            spec: table.spec.clone(),
        };
        match &self.routes {
            Some(held) if *held == routes => Verdict::Unchanged,
            Some(held)
                if held.spec.incarnation == routes.spec.incarnation
                    && routes.version.is_older_than(&held.version) =>
            {
                Verdict::Older {
                    held: held.version.clone(),
                    got: routes.version,
                }
            }
            held => {
                let reborn = held
                    .as_ref()
                    .is_some_and(|held| held.spec.incarnation != routes.spec.incarnation);
                if reborn {
                    self.forget_versions();
                }
                self.routes = Some(routes);
                Verdict::Accepted
            }
        }
    }

    /// Hears that the RouteTable is gone.
    pub fn remove_routes(&mut self) -> Verdict {
        match self.routes.take() {
            Some(_) => Verdict::Accepted,
            None => Verdict::Unchanged,
        }
    }

    /// Hears of the node's own object.
    pub fn put_node(&mut self, node: &EdgeNode) -> Verdict {
        let node = EdgeNode {
            status: None,
            ..node.clone()
        };
        if self
            .node
            .as_ref()
            .is_some_and(|held| held.spec == node.spec && held.metadata.uid == node.metadata.uid)
        {
            return Verdict::Unchanged;
        }
        self.node = Some(node);
        Verdict::Accepted
    }

    /// Whatever is heard next counts as newer.
    fn forget_versions(&mut self) {
        for stage in self.stages.values_mut() {
            stage.version.generation = 0;
            stage.version.created = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(uid: &str, generation: i64, created: i64) -> Version {
        Version {
            uid: uid.to_owned(),
            generation,
            created,
        }
    }

    fn stage(version: Version) -> DesiredStage {
        DesiredStage {
            version,
            spec: Err("not read".to_owned()),
        }
    }

    fn table(generation: i64, incarnation: &str) -> RouteTable {
        serde_json::from_value(json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "RouteTable",
            "metadata": {"name": "n", "uid": "u", "generation": generation},
            "spec": {"nodeName": "n", "incarnation": incarnation},
        }))
        .unwrap()
    }

    #[test]
    fn an_older_generation_of_the_same_object_is_refused() {
        let mut desired = Desired::default();
        assert_eq!(desired.put_routes(&table(3, "i")), Verdict::Accepted);
        assert_eq!(desired.put_routes(&table(3, "i")), Verdict::Unchanged);
        assert!(matches!(
            desired.put_routes(&table(2, "i")),
            Verdict::Older { .. }
        ));
        assert_eq!(desired.routes.as_ref().unwrap().version.generation, 3);
    }

    #[test]
    fn another_incarnation_resets_the_comparison_for_stages_too() {
        let mut desired = Desired::default();
        desired.put_routes(&table(9, "before"));
        desired.put_stage("s", stage(version("a", 5, 100)));
        assert!(matches!(
            desired.put_stage("s", stage(version("b", 1, 50))),
            Verdict::Older { .. }
        ));
        assert_eq!(desired.put_routes(&table(1, "restored")), Verdict::Accepted);
        assert_eq!(
            desired.put_stage("s", stage(version("b", 1, 50))),
            Verdict::Accepted
        );
    }

    #[test]
    fn a_stage_made_anew_replaces_the_one_before_and_outlives_its_deletion() {
        let mut desired = Desired::default();
        desired.put_stage("s", stage(version("a", 1, 10)));
        assert_eq!(
            desired.put_stage("s", stage(version("b", 1, 20))),
            Verdict::Accepted
        );
        assert_eq!(desired.remove_stage("s", "a"), Verdict::Unchanged);
        assert_eq!(desired.remove_stage("s", "b"), Verdict::Accepted);
    }

    #[test]
    fn a_list_removes_what_is_not_in_it_and_keeps_what_is_newer() {
        let mut desired = Desired::default();
        desired.put_stage("kept", stage(version("a", 2, 10)));
        desired.put_stage("gone", stage(version("b", 1, 10)));
        let list = BTreeMap::from([("kept".to_owned(), stage(version("a", 1, 10)))]);
        assert_eq!(desired.replace_stages(list.clone()), Verdict::Accepted);
        assert_eq!(desired.stages.keys().collect::<Vec<_>>(), ["kept"]);
        assert_eq!(desired.stages["kept"].version.generation, 2);
        assert_eq!(desired.replace_stages(list), Verdict::Unchanged);
    }

    #[test]
    fn what_was_kept_on_disk_reads_back_the_same() {
        let mut desired = Desired::default();
        desired.put_routes(&table(3, "i"));
        desired.put_stage("s", stage(version("a", 2, 10)));
        let text = serde_json::to_string(&desired).unwrap();
        assert_eq!(serde_json::from_str::<Desired>(&text).unwrap(), desired);
    }
}
