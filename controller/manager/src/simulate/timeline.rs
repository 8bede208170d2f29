//! Everything that happens whatever is decided, in order.

use kube::ResourceExt as _;

use super::{
    Error, SECOND, Scenario, Time,
    arrivals::{Planned, arrivals},
    fleet::Fleet,
    nanoseconds,
    scenario::{LinkPoint, LinkTrace},
    ways::{Attach, node_of, ways},
};

/// Something that happens from outside.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Happening {
    /// A user comes into a cell.
    Attach(Attach),
    /// A link has another rate, and another latency if one is given.
    Link {
        link: usize,
        bits_per_second: i64,
        latency_microseconds: Option<i32>,
    },
    /// A node dies.
    Lost(usize),
    /// A node is back.
    Back(usize),
    /// Nothing passes over a link.
    Cut(usize),
    /// Something passes again.
    Joined(usize),
    /// A second has passed: batteries and figures are read.
    Tick,
    /// The controller looks at the world.
    Epoch,
    /// A user sends a request.
    Request(Planned),
}

/// Happenings by time; those of one moment in the order of their kinds, so that requests meet the world as it is then.
pub(super) fn timeline(scenario: &Scenario, fleet: &Fleet) -> Result<Vec<(Time, Happening)>, Error> {
    let spec = &scenario.spec;
    let end = nanoseconds(spec.duration_seconds);
    let mut happenings: Vec<(Time, Happening)> = vec![];
    let moves = ways(scenario, fleet)?;
    happenings.extend(
        moves
            .into_iter()
            .map(|attach| (attach.at, Happening::Attach(attach))),
    );
    for (index, trace) in spec.links.iter().enumerate() {
        let field = format!("spec.links[{index}]");
        let link = link_of(fleet, &trace.link, &format!("{field}.link"))?;
        for point in points(scenario, trace, &field)? {
            let happening = Happening::Link {
                link,
                bits_per_second: point.rate_bits_per_second.value(),
                latency_microseconds: point.latency_microseconds,
            };
            happenings.push((nanoseconds(point.at_seconds), happening));
        }
    }
    for (index, outage) in spec.failures.iter().enumerate() {
        let field = format!("spec.failures[{index}]");
        let (gone, back) = match (&outage.node, &outage.link) {
            (Some(node), _) => {
                let node = node_of(fleet, node, &format!("{field}.node"))?;
                (Happening::Lost(node), Happening::Back(node))
            }
            (None, link) => {
                let name = link.as_deref().unwrap_or_default();
                let link = link_of(fleet, name, &format!("{field}.link"))?;
                (Happening::Cut(link), Happening::Joined(link))
            }
        };
        happenings.push((nanoseconds(outage.at_seconds), gone));
        if let Some(until) = outage.until_seconds {
            happenings.push((nanoseconds(until), back));
        }
    }
    happenings.extend((0..=end / SECOND).map(|second| (second * SECOND, Happening::Tick)));
    let epoch = nanoseconds(spec.epoch_seconds);
    happenings.extend((0..=end / epoch).map(|epochs| (epochs * epoch, Happening::Epoch)));
    let requests = arrivals(scenario, fleet)?;
    happenings.extend(
        requests
            .into_iter()
            .map(|planned| (planned.at, Happening::Request(planned))),
    );
    happenings.retain(|(time, _)| *time < end);
    happenings.sort_by_key(|(time, happening)| (*time, rank(happening)));
    Ok(happenings)
}

fn rank(happening: &Happening) -> u8 {
    match happening {
        Happening::Attach(_) => 0,
        Happening::Link { .. } => 1,
        Happening::Lost(_) => 2,
        Happening::Back(_) => 3,
        Happening::Cut(_) => 4,
        Happening::Joined(_) => 5,
        Happening::Tick => 6,
        Happening::Epoch => 7,
        Happening::Request(_) => 8,
    }
}

fn link_of(fleet: &Fleet, name: &str, field: &str) -> Result<usize, Error> {
    let mut links = fleet.world.links.iter();
    let found = links.position(|link| link.name_any() == name);
    found.ok_or_else(|| {
        let names: Vec<_> = fleet
            .world
            .links
            .iter()
            .take(20)
            .map(|link| link.name_any())
            .collect();
        Error::field(
            field,
            format!("there is no EdgeLink {name:?}; there are {}", names.join(", ")),
        )
    })
}

fn points(scenario: &Scenario, trace: &LinkTrace, field: &str) -> Result<Vec<LinkPoint>, Error> {
    let Some(file) = &trace.file else {
        return Ok(trace.points.clone());
    };
    let (field, path) = (format!("{field}.file"), scenario.folder.join(file));
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
        field: field.clone(),
        path: path.display().to_string(),
        source,
    })?;
    let mut points = vec![];
    for (number, line) in text
        .lines()
        .enumerate()
        .skip(1)
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let wrong = |problem: &str| Error::field(&field, format!("{file}, line {}: {problem}", number + 1));
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [time, rate, latency] = fields[..] else {
            return Err(wrong(
                "a line has seconds, bits per second and microseconds of latency",
            ));
        };
        let at_seconds: f64 = time.parse().map_err(|_| wrong("its seconds are no number"))?;
        if !(0.0..1e9).contains(&at_seconds) {
            return Err(wrong("its seconds are below 0"));
        }
        let rate_bits_per_second: crds::Quantity =
            rate.parse().map_err(|_| wrong("its rate is no quantity"))?;
        if rate_bits_per_second.value() <= 0 {
            return Err(wrong("its rate is not above 0"));
        }
        let latency: i32 = latency
            .parse()
            .map_err(|_| wrong("its latency is no whole number"))?;
        points.push(LinkPoint {
            at_seconds,
            rate_bits_per_second,
            latency_microseconds: Some(latency.max(0)),
        });
    }
    Ok(points)
}
