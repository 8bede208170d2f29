//! Where a service's requests may enter. Whoever takes a request in reads it.

use crds::{EdgeNode, EdgeUser, LLMService, llm_service::PrivacyLevel};
use kube::ResourceExt;

use crate::{
    snapshot::{attachable, privacy_of},
    world::{ServiceName, World},
};

/// The nodes whose routers may take a service's requests.
#[derive(Clone, Copy, Debug)]
pub struct Entrances<'a> {
    service: &'a LLMService,
    private: bool,
}

impl<'a> Entrances<'a> {
    /// Those of a service: the nodes that it names, or all; of a private one only nodes that may see text.
    #[must_use]
    pub fn of(world: &World, service: &'a LLMService) -> Self {
        let level = privacy_of(world, service, &ServiceName::of(service));
        Self {
            service,
            private: level != PrivacyLevel::Open,
        }
    }

    /// Whether the router of a node is one of them.
    #[must_use]
    pub fn admit(&self, node: &EdgeNode) -> bool {
        let spec = &self.service.spec;
        let named = spec.ingress_nodes.is_empty() || spec.ingress_nodes.contains(&node.name_any());
        let domain = node.spec.trust_domain.as_ref();
        let trusted = || domain.is_some_and(|domain| spec.privacy.trust_domains.contains(domain));
        named && (!self.private || trusted())
    }

    /// Where a user's requests enter: the first of the nodes that it may attach to which is alive and takes them.
    pub(crate) fn for_user<'u>(&self, world: &'u World, user: &'u EdgeUser) -> Option<&'u str> {
        let admits = |name: &&str| world.node(name).is_some_and(|node| self.admit(node));
        attachable(world, user).find(admits)
    }
}
