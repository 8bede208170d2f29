//! ValidatingAdmissionPolicy: rules about writes that administrators store, with bindings that say where they hold.
//!
//! | file | is |
//! | --- | --- |
//! | `policy` | a policy and its bindings, compiled: pure |
//! | `matching` | which writes a policy is about: pure |
//! | `evaluate` | what a policy says of one write: pure |
//! | `check` | collects what a policy needs to know, and refuses or warns |
//! | `follow` | keeps the policies up to date |
//! | `fill`, `pods` | are no policies: what upstream's own admission fills in |
//!
//! The expressions see objects as they are sent, with plain field names. There is no `authorizer` variable.

mod check;
mod evaluate;
mod fill;
mod follow;
mod matching;
mod pods;
pub(crate) mod policy;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub(crate) use self::check::check;
pub(crate) use self::fill::fill;
pub(crate) use self::follow::{load, run};
use self::policy::Policy;

/// The API group of policies and bindings.
const GROUP: &str = "admissionregistration.k8s.io";

/// All policies that are bound. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policies(Arc<ArcSwap<Vec<Policy>>>);

impl Policies {
    fn all(&self) -> Arc<Vec<Policy>> {
        self.0.load_full()
    }

    fn set(&self, policies: Vec<Policy>) {
        self.0.store(Arc::new(policies));
    }
}
