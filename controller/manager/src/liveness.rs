//! Which nodes are lost. Pure but for what it remembers: when it saw what, by the manager's own clock, so that
//! clocks of agents need not agree with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crds::{ConditionType, EdgeNode, condition};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

use crate::world::Loss;

/// A Lease that names no duration is judged by this one.
const DEFAULT_LEASE: Duration = Duration::from_secs(15);

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Liveness {
    renewals: BTreeMap<String, Renewal>,
    /// First sight of each report "`source` lost `node`, whose agent was `incarnation`".
    reports: BTreeMap<Report, Duration>,
}

#[derive(Debug, PartialEq)]
struct Renewal {
    /// What identifies the renewal: holder and renew time, as written.
    mark: String,
    /// Nothing for a Lease that stood already, of a node that the controller before this one had given up.
    seen: Option<Duration>,
    lease: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Report {
    source: String,
    node: String,
    since: String,
}

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Nodes that do not answer.
    pub lost: BTreeMap<String, Loss>,
    /// Pairs of nodes, the lesser name first, of which one reports the other's connection as dead.
    pub cut: BTreeSet<(String, String)>,
    /// When the next Lease expires if nothing is renewed.
    pub next_expiry: Option<Duration>,
}

impl Renewal {
    fn expiry(&self) -> Option<Duration> {
        Some(self.seen? + self.lease)
    }
}

/// Whether the status says so: a controller that begins knows by it what the one before it saw.
fn was_lost(nodes: &[Arc<EdgeNode>], name: &str) -> bool {
    let node = nodes.iter().find(|node| node.name_any() == name);
    let conditions = node.and_then(|node| Some(&node.status.as_ref()?.conditions));
    conditions.is_some_and(|conditions| condition::state(conditions, ConditionType::Reachable) == Some(false))
}

impl Liveness {
    /// Looks at Leases and reports at `now` (since any fixed moment) and says who is lost.
    ///
    /// A node is lost when its Lease has not been renewed for its duration, or when a peer that is alive reports
    /// the connection to its present agent as dead and the Lease was not renewed since that report came. A peer that is
    /// reported itself, by a third node, proves no more than a dead connection: one that slept, or stood apart, finds
    /// all its connections dead when it comes back.
    pub fn observe(&mut self, now: Duration, leases: &[Arc<Lease>], nodes: &[Arc<EdgeNode>]) -> Verdict {
        self.see_renewals(now, leases, nodes);
        self.see_reports(now, nodes);

        let mut verdict = Verdict::default();
        for node in nodes {
            let name = node.name_any();
            match self.renewals.get(&name) {
                None => drop(verdict.lost.insert(name, Loss::NeverSeen)),
                Some(renewal) => match renewal.expiry().filter(|expiry| now < *expiry) {
                    None => drop(verdict.lost.insert(name, Loss::LeaseExpired)),
                    Some(expiry) => {
                        let next = verdict.next_expiry;
                        verdict.next_expiry = Some(next.map_or(expiry, |next| next.min(expiry)));
                    }
                },
            }
        }
        let expired: BTreeSet<String> = verdict.lost.keys().cloned().collect();
        for (report, seen) in self
            .reports
            .iter()
            .filter(|(report, _)| !expired.contains(&report.source))
        {
            let (one, other) = (report.source.clone(), report.node.clone());
            verdict
                .cut
                .insert(if one < other { (one, other) } else { (other, one) });
            let renewed_since = self
                .renewals
                .get(&report.node)
                .is_some_and(|renewal| renewal.seen > Some(*seen));
            let is_doubtful = self.reports.keys().any(|other| {
                other.node == report.source && other.source != report.node && !expired.contains(&other.source)
            });
            if !renewed_since && !is_doubtful {
                verdict
                    .lost
                    .entry(report.node.clone())
                    .or_insert(Loss::PeersReport);
            }
        }
        verdict
    }

    fn see_renewals(&mut self, now: Duration, leases: &[Arc<Lease>], nodes: &[Arc<EdgeNode>]) {
        self.renewals
            .retain(|name, _| leases.iter().any(|lease| lease.name_any() == *name));
        for lease in leases {
            let Some(spec) = &lease.spec else { continue };
            let seconds = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok());
            let mark = format!(
                "{:?} {:?}",
                spec.holder_identity,
                spec.renew_time.as_ref().map(|time| time.0.as_nanosecond())
            );
            let known = self.renewals.get(&lease.name_any());
            if known.is_none_or(|renewal| renewal.mark != mark) {
                let lease_duration = seconds.map_or(DEFAULT_LEASE, Duration::from_secs);
                let stood_expired = known.is_none() && was_lost(nodes, &lease.name_any());
                self.renewals.insert(
                    lease.name_any(),
                    Renewal {
                        mark,
                        seen: (!stood_expired).then_some(now),
                        lease: lease_duration,
                    },
                );
            }
        }
    }

    fn see_reports(&mut self, now: Duration, nodes: &[Arc<EdgeNode>]) {
        let incarnation_of = |name: &str| {
            let node = nodes.iter().find(|node| node.name_any() == name)?;
            Some(node.status.as_ref()?.agent.as_ref()?.incarnation.clone())
        };
        let mut standing = BTreeSet::new();
        for source in nodes {
            for lost in source.status.iter().flat_map(|status| &status.lost_peers) {
                let present = incarnation_of(&lost.node);
                // A report about an agent that has been started anew since is no news.
                if lost.incarnation.is_none() || lost.incarnation == present {
                    standing.insert(Report {
                        source: source.name_any(),
                        node: lost.node.clone(),
                        since: lost.since.0.to_string(),
                    });
                }
            }
        }
        self.reports.retain(|report, _| standing.contains(report));
        for report in standing {
            self.reports.entry(report).or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use crds::{
        EdgeNodeSpec, EdgeNodeStatus,
        edge_node::{AgentInfo, LostPeer},
    };
    use k8s_openapi::{
        api::coordination::v1::LeaseSpec,
        apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
        jiff::Timestamp,
    };

    use super::*;

    fn lease(name: &str, renewed: i64) -> Arc<Lease> {
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.to_owned());
        lease.spec = Some(LeaseSpec {
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        });
        Arc::new(lease)
    }

    fn node(name: &str, lost: &[&str]) -> Arc<EdgeNode> {
        let mut node = EdgeNode::new(name, EdgeNodeSpec::default());
        let lost_peers = lost.iter().map(|peer| LostPeer {
            node: (*peer).to_owned(),
            incarnation: Some("first".to_owned()),
            since: Time(Timestamp::UNIX_EPOCH),
        });
        node.status = Some(EdgeNodeStatus {
            agent: Some(AgentInfo {
                incarnation: "first".to_owned(),
                ..AgentInfo::default()
            }),
            lost_peers: lost_peers.collect(),
            ..EdgeNodeStatus::default()
        });
        Arc::new(node)
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_is_lost_when_its_lease_stands_still_for_its_duration() {
        let mut liveness = Liveness::default();
        let nodes = [node("a", &[])];
        assert_eq!(
            liveness.observe(at(0), &[lease("a", 100)], &nodes).lost,
            BTreeMap::new()
        );
        assert_eq!(
            liveness.observe(at(14), &[lease("a", 100)], &nodes).next_expiry,
            Some(at(15))
        );
        let expired = liveness.observe(at(15), &[lease("a", 100)], &nodes).lost;
        assert_eq!(expired, BTreeMap::from([("a".to_owned(), Loss::LeaseExpired)]));
        assert_eq!(
            liveness.observe(at(16), &[lease("a", 115)], &nodes).lost,
            BTreeMap::new()
        );
    }

    #[test]
    fn a_node_that_was_given_up_before_this_controller_began_is_lost_until_it_renews() {
        let mut given_up = (*node("a", &[])).clone();
        condition::set(
            &mut given_up.status.as_mut().unwrap().conditions,
            ConditionType::Reachable,
            Some(false),
            condition::Reason::LeaseExpired,
            "",
            None,
            Timestamp::UNIX_EPOCH,
        );
        let (mut liveness, nodes) = (Liveness::default(), [Arc::new(given_up)]);
        let lost = BTreeMap::from([("a".to_owned(), Loss::LeaseExpired)]);
        assert_eq!(liveness.observe(at(0), &[lease("a", 100)], &nodes).lost, lost);
        assert_eq!(liveness.observe(at(4), &[lease("a", 100)], &nodes).lost, lost);
        assert_eq!(
            liveness.observe(at(5), &[lease("a", 105)], &nodes).lost,
            BTreeMap::new()
        );
    }

    #[test]
    fn a_node_without_a_lease_was_never_seen() {
        let lost = Liveness::default().observe(at(0), &[], &[node("a", &[])]).lost;
        assert_eq!(lost, BTreeMap::from([("a".to_owned(), Loss::NeverSeen)]));
    }

    #[test]
    fn a_peers_report_counts_at_once_and_until_the_lease_is_renewed() {
        let mut liveness = Liveness::default();
        let renewed = |a, b| [lease("a", a), lease("b", b)];
        liveness.observe(at(0), &renewed(100, 100), &[node("a", &[]), node("b", &[])]);
        let reported = [node("a", &["b"]), node("b", &[])];
        let verdict = liveness.observe(at(3), &renewed(100, 100), &reported);
        assert_eq!(
            verdict.lost,
            BTreeMap::from([("b".to_owned(), Loss::PeersReport)])
        );
        let verdict = liveness.observe(at(5), &renewed(105, 105), &reported);
        assert_eq!(verdict.lost, BTreeMap::new(), "b is alive, only the link is cut");
        assert_eq!(verdict.cut, BTreeSet::from([("a".to_owned(), "b".to_owned())]));
    }

    #[test]
    fn a_report_of_a_lost_node_is_no_evidence() {
        let mut liveness = Liveness::default();
        let nodes = [node("a", &["b"]), node("b", &[])];
        liveness.observe(at(0), &[lease("a", 1), lease("b", 1)], &nodes);
        liveness.observe(at(10), &[lease("a", 1), lease("b", 10)], &nodes);
        let verdict = liveness.observe(at(20), &[lease("a", 1), lease("b", 10)], &nodes);
        assert_eq!(
            verdict.lost,
            BTreeMap::from([("a".to_owned(), Loss::LeaseExpired)])
        );
        assert!(verdict.cut.is_empty());
    }

    #[test]
    fn a_node_that_slept_and_finds_its_connections_dead_takes_nobody_with_it() {
        let mut liveness = Liveness::default();
        let leases = [lease("a", 1), lease("b", 1), lease("c", 1)];
        let asleep = [node("a", &[]), node("b", &["a"]), node("c", &["a"])];
        let only_a = BTreeMap::from([("a".to_owned(), Loss::PeersReport)]);
        assert_eq!(liveness.observe(at(1), &leases, &asleep).lost, only_a);
        let awake = [node("a", &["b", "c"]), node("b", &["a"]), node("c", &["a"])];
        let verdict = liveness.observe(at(2), &leases, &awake);
        assert_eq!(verdict.lost, only_a, "b and c answer each other");
        assert_eq!(verdict.cut.len(), 2);
    }

    #[test]
    fn a_report_about_an_agent_that_was_started_anew_is_no_news() {
        let mut liveness = Liveness::default();
        let mut restarted = (*node("b", &[])).clone();
        restarted
            .status
            .as_mut()
            .unwrap()
            .agent
            .as_mut()
            .unwrap()
            .incarnation = "second".to_owned();
        let nodes = [node("a", &["b"]), Arc::new(restarted)];
        let verdict = liveness.observe(at(0), &[lease("a", 1), lease("b", 1)], &nodes);
        assert_eq!(
            verdict,
            Verdict {
                next_expiry: Some(at(15)),
                ..Verdict::default()
            }
        );
    }
}
