//! The same question without one node.

use super::{ExcludedNode, Exclusion, Problem};
use crate::units::NodeOrd;

impl Problem {
    /// Loses a node: nothing is placed on it, and nobody enters there. Ordinals stay, and so do its regions. A service
    /// whose requests all entered there enters at its head.
    pub fn lose(&mut self, node: NodeOrd) {
        self.links.retain(|link| link.from != node && link.to != node);
        self.loaded.retain(|stage| stage.node != node);
        for service in &mut self.services {
            service.ingress.retain(|ingress| ingress.node != node);
            service.excluded.push(ExcludedNode {
                node,
                why: Exclusion::NotReady,
            });
            service.kept.retain(|kept| kept.node != node);
        }
    }
}
