//! The RouteTable in force, and look-ups in it. Pure.

use crds::route_table::{Hop, IngressRule, RouteTableSpec};
use transport::{Code, PublicKey, Refusal};

use crate::session::seats::HopKey;

/// What this node routes by; empty until the control plane has said something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    /// The table, and its generation.
    pub(crate) table: Option<(i64, RouteTableSpec)>,
    /// When the table was made, in seconds since 1970.
    pub(crate) created: u64,
    /// The trust domain of this node, as its EdgeNode says.
    pub(crate) trust_domain: Option<String>,
}

impl Routes {
    /// The table's specification.
    pub(crate) fn spec(&self) -> Option<&RouteTableSpec> {
        self.table.as_ref().map(|(_, spec)| spec)
    }

    /// The ingress rules.
    pub(crate) fn ingress(&self) -> &[IngressRule] {
        self.spec().map_or(&[], |spec| &spec.ingress)
    }

    /// The hops of this node.
    pub(crate) fn hops(&self) -> &[Hop] {
        self.spec().map_or(&[], |spec| &spec.hops)
    }

    /// The hop by its pipeline, revision and place.
    ///
    /// # Errors
    ///
    /// [`Code::StaleRevision`] when the pipeline passes here by other revisions only, [`Code::UnknownPipeline`] when
    /// it does not pass here at that place.
    pub(crate) fn hop(&self, pipeline: &str, revision: u64, ordinal: u32) -> Result<&Hop, Refusal> {
        let of_pipeline = || self.hops().iter().filter(|hop| hop.pipeline == pipeline);
        let wanted = of_pipeline()
            .find(|hop| revision_of(hop) == revision && u32::try_from(hop.ordinal) == Ok(ordinal));
        if let Some(hop) = wanted {
            return Ok(hop);
        }
        match of_pipeline().map(revision_of).max() {
            Some(held) if of_pipeline().all(|hop| revision_of(hop) != revision) => Err(Refusal::new(
                Code::StaleRevision { held, got: revision },
                format!("pipeline {pipeline}"),
            )),
            _ => Err(Refusal::new(
                Code::UnknownPipeline,
                format!("pipeline {pipeline} has no place {ordinal} on this node"),
            )),
        }
    }

    /// The hop, if it takes new sessions.
    ///
    /// # Errors
    ///
    /// Those of [`Routes::hop`] and [`Routes::trusted`], and [`Code::Draining`].
    pub(crate) fn admitting_hop(&self, pipeline: &str, revision: u64, ordinal: u32) -> Result<&Hop, Refusal> {
        let hop = self.hop(pipeline, revision, ordinal)?;
        self.trusted(hop)?;
        if hop.admits {
            return Ok(hop);
        }
        let what = format!("pipeline {pipeline} revision {revision} takes no new sessions");
        Err(Refusal::new(Code::Draining, what))
    }

    /// Whether this node may see what a hop sees.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`] when the hop names trust domains, and this node is in none of them.
    pub(crate) fn trusted(&self, hop: &Hop) -> Result<(), Refusal> {
        let Some(domains) = &hop.trust_domains else {
            return Ok(());
        };
        if self
            .trust_domain
            .as_ref()
            .is_some_and(|own| domains.contains(own))
        {
            return Ok(());
        }
        let own = self.trust_domain.as_deref().unwrap_or("none");
        let what = format!(
            "pipeline {}, place {}: text of a private service may be seen in trust domains {domains:?}, this node's is {own}",
            hop.pipeline, hop.ordinal
        );
        Err(Refusal::new(Code::Forbidden, what))
    }

    /// The peers as transport wants them; entries that cannot be used are left out, with what is wrong.
    pub(crate) fn peers(&self) -> (Vec<transport::Peer>, Vec<String>) {
        let mut peers = vec![];
        let mut wrong = vec![];
        for peer in self.spec().map_or(&[][..], |spec| &spec.peers) {
            match peer.public_key.parse::<PublicKey>() {
                Ok(key) => peers.push(transport::Peer {
                    node: peer.node.clone(),
                    key,
                    address: (!peer.address.is_empty()).then(|| peer.address.clone()),
                    dial: peer.dial && !peer.address.is_empty(),
                    declared_rate: None,
                }),
                Err(error) => wrong.push(format!("peer `{}`: {error}", peer.node)),
            }
        }
        (peers, wrong)
    }
}

/// The revision as frames carry it.
pub(crate) fn revision_of(hop: &Hop) -> u64 {
    hop.revision.unsigned_abs()
}

/// The hop's name.
pub(crate) fn hop_key(hop: &Hop) -> HopKey {
    HopKey {
        pipeline: hop.pipeline.clone(),
        revision: revision_of(hop),
        ordinal: hop.ordinal.unsigned_abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(hops: &[(&str, i64, i32)]) -> Routes {
        let hops = hops.iter().map(|(pipeline, revision, ordinal)| Hop {
            pipeline: (*pipeline).to_owned(),
            revision: *revision,
            ordinal: *ordinal,
            ..Hop::default()
        });
        let spec = RouteTableSpec {
            hops: hops.collect(),
            ..RouteTableSpec::default()
        };
        Routes {
            table: Some((1, spec)),
            ..Routes::default()
        }
    }

    #[test]
    fn old_and_new_revisions_stand_side_by_side() {
        let routes = routes(&[("p", 3, 0), ("p", 4, 0), ("p", 4, 2)]);
        assert_eq!(routes.hop("p", 3, 0).unwrap().revision, 3);
        assert_eq!(routes.hop("p", 4, 2).unwrap().ordinal, 2);
    }

    #[test]
    fn another_revision_is_stale_and_another_place_unknown() {
        let routes = routes(&[("p", 3, 0), ("p", 4, 0)]);
        let code = |revision, ordinal| routes.hop("p", revision, ordinal).unwrap_err().code;
        assert_eq!(code(2, 0), Code::StaleRevision { held: 4, got: 2 });
        assert_eq!(code(5, 0), Code::StaleRevision { held: 4, got: 5 });
        assert_eq!(code(4, 1), Code::UnknownPipeline);
        assert_eq!(routes.hop("q", 4, 0).unwrap_err().code, Code::UnknownPipeline);
    }

    #[test]
    fn both_ends_of_a_u_shaped_pipeline_are_found_by_their_places() {
        let routes = routes(&[("p", 1, 0), ("p", 1, 2)]);
        assert_eq!(routes.hop("p", 1, 0).unwrap().ordinal, 0);
        assert_eq!(routes.hop("p", 1, 2).unwrap().ordinal, 2);
        assert_eq!(routes.hop("p", 1, 1).unwrap_err().code, Code::UnknownPipeline);
    }

    #[test]
    fn text_is_refused_outside_the_trust_domains_of_its_service() {
        let mut routes = routes(&[("p", 1, 0)]);
        let mut hop = routes.hops()[0].clone();
        assert_eq!(routes.trusted(&hop), Ok(()));
        hop.trust_domains = Some(vec!["home".to_owned()]);
        assert_eq!(routes.trusted(&hop).unwrap_err().code, Code::Forbidden);
        routes.trust_domain = Some("hall".to_owned());
        let refusal = routes.trusted(&hop).unwrap_err();
        assert!(
            refusal.message.contains("home") && refusal.message.contains("hall"),
            "{refusal}"
        );
        routes.trust_domain = Some("home".to_owned());
        assert_eq!(routes.trusted(&hop), Ok(()));
        // Nobody is trusted.
        hop.trust_domains = Some(vec![]);
        assert_eq!(routes.trusted(&hop).unwrap_err().code, Code::Forbidden);
    }

    #[test]
    fn a_peer_with_an_unreadable_key_is_left_out_with_the_reason() {
        let mut routes = routes(&[]);
        if let Some((_, spec)) = &mut routes.table {
            spec.peers.push(crds::route_table::Peer {
                node: "b".to_owned(),
                public_key: "nonsense!".to_owned(),
                ..Default::default()
            });
        }
        let (peers, wrong) = routes.peers();
        assert!(peers.is_empty());
        assert!(
            wrong[0].contains("`b`") && wrong[0].contains("nonsense!"),
            "{wrong:?}"
        );
    }
}
