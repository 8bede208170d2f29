//! What is to be done next: a pure function of what the control plane wants and what is there. No clock, no effects;
//! called whenever either changes, it gives no step that is under way already.

use std::collections::BTreeMap;

use crds::StageSpec;

use crate::desired::DesiredStage;

/// What is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Actual {
    /// Stages that the worker holds, loads or frees, and those whose loading failed.
    pub stages: BTreeMap<String, ActualStage>,
    /// Weights on this node's disk, by digest.
    pub files: BTreeMap<String, ActualFile>,
    /// Memory for stages, bytes: the node's limit less what the engine's process holds beside them.
    pub memory_bytes: i64,
}

/// A stage on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct ActualStage {
    /// How far it is.
    pub phase: ActualPhase,
    /// What is reserved for it; counted while it is loading, in memory, or being freed.
    pub reserved_bytes: i64,
    /// Sessions that sit on it.
    pub sessions: usize,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActualPhase {
    /// The worker loads it.
    Loading,
    /// In memory.
    Ready,
    /// The worker frees it.
    Unloading,
    /// It could not be loaded, and it is too early to try again.
    Failed,
}

/// A file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActualFile {
    /// On its way.
    Fetching,
    /// Whole and verified.
    Here,
    /// It could not be fetched, and it is too early to try again.
    Failed,
}

/// One thing to do, or a reason to do nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Fetch the weights of this stage.
    Fetch {
        /// The stage's name.
        stage: String,
    },
    /// Load this stage.
    Load {
        /// The stage's name.
        stage: String,
    },
    /// Free this stage, which nobody wants and nobody uses.
    Unload {
        /// The stage's name.
        stage: String,
    },
    /// Leave this stage alone, since its memory is not free.
    AwaitMemory {
        /// The stage's name.
        stage: String,
        /// What it needs.
        needed_bytes: i64,
        /// What is free.
        free_bytes: i64,
    },
    /// Leave this stage alone for ever, since its specification is not understood.
    Refuse {
        /// The stage's name.
        stage: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The steps from what is there towards what is wanted.
#[must_use]
pub fn reconcile(desired: &BTreeMap<String, DesiredStage>, actual: &Actual) -> Vec<Step> {
    let mut steps = vec![];

    // Memory first: what nobody wants is freed before anything else is admitted.
    for (name, stage) in &actual.stages {
        let unwanted = !desired.contains_key(name);
        if unwanted && stage.phase == ActualPhase::Ready && stage.sessions == 0 {
            steps.push(Step::Unload { stage: name.clone() });
        }
    }

    let mut free_bytes = actual.memory_bytes - reserved_bytes(actual);
    let mut fetching = vec![];
    for (name, stage) in desired {
        if actual.stages.contains_key(name) {
            continue;
        }
        let spec = match &stage.spec {
            Ok(spec) => spec,
            Err(reason) => {
                steps.push(Step::Refuse {
                    stage: name.clone(),
                    reason: reason.clone(),
                });
                continue;
            }
        };
        match actual.files.get(&spec.model.digest) {
            // Fetching needs no memory, so it does not wait for any.
            None if !fetching.contains(&&spec.model.digest) => {
                fetching.push(&spec.model.digest);
                steps.push(Step::Fetch { stage: name.clone() });
            }
            Some(ActualFile::Here) => steps.push(admit(name, spec, &mut free_bytes)),
            None | Some(ActualFile::Fetching | ActualFile::Failed) => {}
        }
    }
    steps
}

fn admit(name: &str, spec: &StageSpec, free_bytes: &mut i64) -> Step {
    let needed_bytes = spec.memory.total_bytes;
    if needed_bytes > *free_bytes {
        return Step::AwaitMemory {
            stage: name.to_owned(),
            needed_bytes,
            free_bytes: (*free_bytes).max(0),
        };
    }
    *free_bytes -= needed_bytes;
    Step::Load {
        stage: name.to_owned(),
    }
}

fn reserved_bytes(actual: &Actual) -> i64 {
    actual
        .stages
        .values()
        .filter(|stage| stage.phase != ActualPhase::Failed)
        .map(|stage| stage.reserved_bytes)
        .sum()
}

#[cfg(test)]
mod tests {
    use crds::placement::StageMemory;

    use super::*;
    use crate::desired::Version;

    const DIGEST: &str = "sha256:abc";

    fn wanted(names: &[&str]) -> BTreeMap<String, DesiredStage> {
        names
            .iter()
            .map(|name| {
                let spec = StageSpec {
                    node_name: "n".to_owned(),
                    device: "cpu".to_owned(),
                    model: crds::placement::ChosenModel {
                        digest: DIGEST.to_owned(),
                        ..Default::default()
                    },
                    first_layer: 0,
                    end_layer: 4,
                    context_tokens: 64,
                    sessions: 1,
                    batch_rows: 8,
                    memory: StageMemory {
                        total_bytes: 100,
                        ..StageMemory::default()
                    },
                };
                let stage = DesiredStage {
                    version: Version::default(),
                    spec: Ok(spec),
                };
                ((*name).to_owned(), stage)
            })
            .collect()
    }

    fn held(stages: &[(&str, ActualPhase, usize)], memory_bytes: i64) -> Actual {
        let stages = stages.iter().map(|(name, phase, sessions)| {
            let stage = ActualStage {
                phase: *phase,
                reserved_bytes: 100,
                sessions: *sessions,
            };
            ((*name).to_owned(), stage)
        });
        Actual {
            stages: stages.collect(),
            files: BTreeMap::from([(DIGEST.to_owned(), ActualFile::Here)]),
            memory_bytes,
        }
    }

    fn load(name: &str) -> Step {
        Step::Load {
            stage: name.to_owned(),
        }
    }

    #[test]
    fn weights_are_fetched_once_for_all_stages_that_share_them() {
        let mut actual = held(&[], 1000);
        actual.files.clear();
        let steps = reconcile(&wanted(&["a", "b"]), &actual);
        assert_eq!(
            steps,
            [Step::Fetch {
                stage: "a".to_owned()
            }]
        );
        actual.files.insert(DIGEST.to_owned(), ActualFile::Fetching);
        assert!(reconcile(&wanted(&["a", "b"]), &actual).is_empty());
    }

    #[test]
    fn a_stage_is_loaded_only_into_free_memory() {
        let steps = reconcile(&wanted(&["a", "b"]), &held(&[], 150));
        let wait = Step::AwaitMemory {
            stage: "b".to_owned(),
            needed_bytes: 100,
            free_bytes: 50,
        };
        assert_eq!(steps, [load("a"), wait]);
    }

    #[test]
    fn memory_counts_as_taken_until_it_is_freed() {
        let unloading = held(&[("old", ActualPhase::Unloading, 0)], 150);
        assert!(matches!(
            reconcile(&wanted(&["a"]), &unloading)[..],
            [Step::AwaitMemory { free_bytes: 50, .. }]
        ));
        assert_eq!(reconcile(&wanted(&["a"]), &held(&[], 150)), [load("a")]);
    }

    #[test]
    fn a_stage_that_nobody_wants_goes_when_its_last_session_has_ended() {
        let used = held(&[("old", ActualPhase::Ready, 1)], 1000);
        assert!(reconcile(&wanted(&[]), &used).is_empty());
        let unused = held(&[("old", ActualPhase::Ready, 0)], 1000);
        assert_eq!(
            reconcile(&wanted(&[]), &unused),
            [Step::Unload {
                stage: "old".to_owned()
            }]
        );
    }

    #[test]
    fn a_healthy_stage_is_left_alone() {
        let actual = held(
            &[("a", ActualPhase::Ready, 0), ("b", ActualPhase::Loading, 0)],
            200,
        );
        assert!(reconcile(&wanted(&["a", "b"]), &actual).is_empty());
    }

    #[test]
    fn a_failed_stage_holds_no_memory() {
        let actual = held(&[("bad", ActualPhase::Failed, 0)], 100);
        assert_eq!(reconcile(&wanted(&["bad", "good"]), &actual), [load("good")]);
    }

    #[test]
    fn a_stage_that_is_not_understood_is_refused_with_the_reason() {
        let mut desired = wanted(&["a"]);
        desired.get_mut("a").unwrap().spec = Err("spec.model.adapter is not known".to_owned());
        assert!(matches!(
            reconcile(&desired, &held(&[], 1000))[..],
            [Step::Refuse { .. }]
        ));
    }
}
