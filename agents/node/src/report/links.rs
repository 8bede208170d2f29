//! What the connections to peers tell of the links: this end's entry in EdgeLink status, and metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crds::{
    EdgeLink, LinkReport,
    edge_link::{EdgeLinkStatus, RateProvenance},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{Api, ResourceExt};
use telemetry::{DeadBand, LinkMetrics, LinkReading, RateReading};
use transport::{LinkFigures, PeerState, RateFigures, RateKind};

use super::{Reporter, overtaken};

/// Rates are news when they move by this share, told in logarithms.
const RATE_BAND: f64 = 0.25;
/// Round trips likewise.
const ROUND_TRIP_BAND: f64 = 0.4;
/// A share of packets lost that is news.
const LOSS_BAND: f64 = 0.005;

/// When what is known of a link is news, by the link's name.
pub(super) struct Links {
    metrics: LinkMetrics,
    bands: BTreeMap<String, Bands>,
    shown: BTreeSet<String>,
}

struct Bands {
    rate: DeadBand,
    round_trip: DeadBand,
    loss: DeadBand,
}

impl Links {
    pub(super) fn new(metrics: LinkMetrics) -> Self {
        Self {
            metrics,
            bands: BTreeMap::new(),
            shown: BTreeSet::new(),
        }
    }

    fn is_news(&mut self, link: &str, report: &LinkReport, now: Instant) -> bool {
        let bands = self.bands.entry(link.to_owned()).or_insert_with(|| Bands {
            rate: DeadBand::new(RATE_BAND),
            round_trip: DeadBand::new(ROUND_TRIP_BAND),
            loss: DeadBand::new(LOSS_BAND),
        });
        let logarithm = |value: Option<i64>| value.map(|value| (value.max(1) as f64).ln());
        let loss = report
            .loss_parts_per_million
            .map(|parts| parts as f64 / 1_000_000.0);
        let rate = bands.rate.report(logarithm(report.rate_bits_per_second_p50), now);
        let round_trip = bands
            .round_trip
            .report(logarithm(report.round_trip_microseconds), now);
        let loss = bands.loss.report(loss, now);
        rate || round_trip || loss
    }

    fn show(&mut self, states: &BTreeMap<String, PeerState>, figures: impl Fn(&str) -> Option<LinkFigures>) {
        for (peer, state) in states {
            if let Some(figures) = figures(peer) {
                self.metrics
                    .show(peer, &reading_of(&figures, state.is_connected()));
                self.shown.insert(peer.clone());
            }
        }
        let gone: Vec<_> = self
            .shown
            .iter()
            .filter(|peer| !states.contains_key(*peer))
            .cloned()
            .collect();
        for peer in gone {
            self.metrics.forget(&peer);
            self.shown.remove(&peer);
        }
    }
}

impl Reporter {
    pub(super) async fn report_links(&mut self, now: Timestamp) -> kube::Result<()> {
        let core = self.core.clone();
        let states = core.endpoint.peer_states().borrow().clone();
        self.links.show(&states, |peer| core.endpoint.link_figures(peer));
        let links: Vec<EdgeLink> = self.seen.lock().links.values().cloned().collect();
        let api: Api<EdgeLink> = Api::all(self.client.clone());
        for link in links {
            let name = link.name_any();
            let other = if link.spec.from == core.node {
                &link.spec.to
            } else {
                &link.spec.from
            };
            let connected = states.get(other).is_some_and(PeerState::is_connected);
            let Some(figures) = core.endpoint.link_figures(other).filter(|_| connected) else {
                continue;
            };
            let report = report_of(&figures);
            if !self.links.is_news(&name, &report, Instant::now()) {
                continue;
            }
            let held = link.status.clone().unwrap_or_default();
            let mut status: EdgeLinkStatus = held.clone();
            let report = LinkReport {
                observed_time: Some(Time(now)),
                ..report
            };
            status.reports.insert(core.node.clone(), report);
            match self.write(&api, &name, &held, &status, None).await {
                Ok(Some(written)) => {
                    self.seen
                        .lock()
                        .links
                        .entry(name)
                        .and_modify(|seen| *seen = written);
                }
                Ok(None) => {}
                Err(error) if overtaken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The direction away from this node.
fn report_of(figures: &LinkFigures) -> LinkReport {
    let bits = |bytes: u64| i64::try_from(bytes.saturating_mul(8)).unwrap_or(i64::MAX);
    let rate = figures.outbound.filter(|rate| rate.kind != RateKind::Declared);
    LinkReport {
        rate_bits_per_second_p10: rate.map(|rate| bits(rate.p10)),
        rate_bits_per_second_p50: rate.map(|rate| bits(rate.p50)),
        rate_provenance: match rate.map(|rate| rate.kind) {
            Some(RateKind::Measured) => RateProvenance::Measured,
            Some(RateKind::Probed) => RateProvenance::Probed,
            Some(RateKind::LowerBound) => RateProvenance::LowerBound,
            Some(RateKind::Declared) | None => RateProvenance::Declared,
        },
        round_trip_microseconds: figures
            .round_trip
            .map(|trip| i64::try_from(trip.smoothed.as_micros()).unwrap_or(i64::MAX)),
        loss_parts_per_million: Some((figures.loss_ratio() * 1_000_000.0).round() as i64),
        snr_decibels_tenths: None,
        observed_time: None,
    }
}

fn reading_of(figures: &LinkFigures, connected: bool) -> LinkReading {
    let rate = |rate: RateFigures| RateReading {
        percentiles: [rate.p10, rate.p50, rate.p90],
        kind: match rate.kind {
            RateKind::Declared => "declared",
            RateKind::LowerBound => "lower_bound",
            RateKind::Probed => "probed",
            RateKind::Measured => "measured",
        },
    };
    LinkReading {
        connected,
        round_trip_seconds: figures.round_trip.map(|trip| trip.smoothed.as_secs_f64()),
        round_trip_deviation_seconds: figures.round_trip.map(|trip| trip.deviation.as_secs_f64()),
        loss_ratio: figures.loss_ratio(),
        sent_bytes: figures.bytes_sent,
        received_bytes: figures.bytes_received,
        inbound: figures.inbound.map(rate),
        outbound: figures.outbound.map(rate),
    }
}
