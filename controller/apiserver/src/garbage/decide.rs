//! What the collector does with one object, from what is known of it. Pure.

use crate::verbs::delete::{FOREGROUND, ORPHAN, Propagation};

/// How an owner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It exists and is not waiting for its dependents.
    Present,
    /// It is being deleted, and waits for its dependents to go first.
    Waiting,
    /// No object of its name and UID exists.
    Absent,
    /// It cannot be told, because its kind is not served or cannot own the object.
    Unknown,
}

/// What is known of an object.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// Whether it is being deleted.
    pub(super) terminating: bool,
    /// Its finalizers.
    pub(super) finalizers: &'a [&'a str],
    /// The UIDs of its owners, and how they stand.
    pub(super) owners: &'a [(String, OwnerState)],
    /// How many objects it owns.
    pub(super) dependents: usize,
    /// How many of these it has to wait for when it is deleted in the foreground.
    pub(super) blocking: usize,
    /// Whether one of these waits, in turn, for its own dependents: a circle.
    pub(super) dependent_waits_for_us: bool,
}

/// What is to be done with an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Nothing yet: an owner cannot be judged.
    AskAgain,
    /// Take the references to these owners away; others remain.
    Strip(Vec<String>),
    /// Delete it.
    Delete(Propagation),
    /// Let its owners go before it, since they wait for each other; then delete it in the foreground.
    Unblock,
    /// It waited for its dependents, and they are gone.
    Release,
    /// Let its dependents go, then it.
    Orphan,
}

/// Says what is to be done.
pub(super) fn decide(facts: &Facts<'_>) -> Step {
    if facts.terminating {
        return decide_terminating(facts);
    }
    let in_state = |state: OwnerState| facts.owners.iter().filter(move |(_, own)| *own == state);
    let any = |state: OwnerState| in_state(state).next().is_some();
    if facts.owners.is_empty() {
        return Step::Rest;
    }
    if any(OwnerState::Present) {
        let mut lost: Vec<String> = Vec::new();
        lost.extend(in_state(OwnerState::Absent).map(|(uid, _)| uid.clone()));
        // An owner that waits would wait for ever: the object stays, for its other owner.
        lost.extend(in_state(OwnerState::Waiting).map(|(uid, _)| uid.clone()));
        return if lost.is_empty() {
            Step::Rest
        } else {
            Step::Strip(lost)
        };
    }
    if any(OwnerState::Unknown) {
        return Step::AskAgain;
    }
    if any(OwnerState::Waiting) && facts.dependents > 0 {
        return if facts.dependent_waits_for_us {
            Step::Unblock
        } else {
            Step::Delete(Propagation::Foreground)
        };
    }
    Step::Delete(propagation(facts.finalizers))
}

fn decide_terminating(facts: &Facts<'_>) -> Step {
    if facts.finalizers.contains(&ORPHAN) {
        Step::Orphan
    } else if facts.finalizers.contains(&FOREGROUND) && facts.blocking == 0 {
        Step::Release
    } else {
        Step::Rest
    }
}

/// What an object that is not yet being deleted asks for by its finalizers.
fn propagation(finalizers: &[&str]) -> Propagation {
    if finalizers.contains(&ORPHAN) {
        Propagation::Orphan
    } else if finalizers.contains(&FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    }
}

#[cfg(test)]
mod tests {
    use super::{OwnerState::*, *};

    fn of(owners: &[OwnerState]) -> Step {
        with(owners, 0, false)
    }

    fn with(owners: &[OwnerState], dependents: usize, circle: bool) -> Step {
        let owners: Vec<_> = owners
            .iter()
            .enumerate()
            .map(|(ord, state)| (format!("u{ord}"), *state))
            .collect();
        decide(&Facts {
            terminating: false,
            finalizers: &[],
            owners: &owners,
            dependents,
            blocking: dependents,
            dependent_waits_for_us: circle,
        })
    }

    fn terminating(finalizers: &[&str], blocking: usize) -> Step {
        let facts = Facts {
            terminating: true,
            finalizers,
            owners: &[],
            dependents: blocking,
            blocking,
            dependent_waits_for_us: false,
        };
        decide(&facts)
    }

    #[test]
    fn only_an_object_whose_owners_are_all_gone_is_deleted() {
        assert_eq!(of(&[]), Step::Rest);
        assert_eq!(of(&[Present]), Step::Rest);
        assert_eq!(of(&[Absent]), Step::Delete(Propagation::Background));
        assert_eq!(of(&[Absent, Absent]), Step::Delete(Propagation::Background));
        assert_eq!(of(&[Present, Absent]), Step::Strip(vec!["u1".to_owned()]));
        assert_eq!(
            of(&[Waiting, Present, Absent]),
            Step::Strip(vec!["u2".to_owned(), "u0".to_owned()])
        );
    }

    #[test]
    fn an_owner_that_cannot_be_judged_keeps_the_object() {
        assert_eq!(of(&[Unknown]), Step::AskAgain);
        assert_eq!(of(&[Unknown, Absent]), Step::AskAgain);
        assert_eq!(of(&[Unknown, Present]), Step::Rest);
    }

    #[test]
    fn deletion_in_the_foreground_goes_down_the_tree_and_does_not_wait_in_circles() {
        assert_eq!(with(&[Waiting], 0, false), Step::Delete(Propagation::Background));
        assert_eq!(with(&[Waiting], 1, false), Step::Delete(Propagation::Foreground));
        assert_eq!(with(&[Waiting], 1, true), Step::Unblock);
        assert_eq!(terminating(&[FOREGROUND], 1), Step::Rest);
        assert_eq!(terminating(&[FOREGROUND, "other"], 0), Step::Release);
        assert_eq!(terminating(&[ORPHAN], 3), Step::Orphan);
        assert_eq!(terminating(&["other"], 0), Step::Rest);
    }
}
