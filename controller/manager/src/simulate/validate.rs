//! What a scenario must hold, beyond the types of its fields. What names objects is checked where they are known.

use super::{
    Error,
    scenario::{Arrivals, Range, ScenarioSpec},
};

/// A week: times in nanoseconds are far from overflow, and requests from filling the memory.
const DURATION_MAX: f64 = 604_800.0;
/// Requests of one entry.
const REQUESTS_MAX: f64 = 2_000_000.0;
/// Users and sites of one entry.
const COUNT_MAX: usize = 100_000;

pub(super) fn validate(spec: &ScenarioSpec) -> Result<(), Error> {
    between("spec.durationSeconds", spec.duration_seconds, 0.001, DURATION_MAX)?;
    between("spec.epochSeconds", spec.epoch_seconds, 0.1, DURATION_MAX)?;
    between("spec.lossSeconds", spec.loss_seconds, 0.0, 3_600.0)?;
    between("spec.seatWaitSeconds", spec.seat_wait_seconds, 0.0, 86_400.0)?;
    if let Some(seconds) = spec.load_within_seconds {
        between("spec.loadWithinSeconds", seconds, 0.001, DURATION_MAX)?;
    }
    require(
        !spec.policies.is_empty(),
        "spec.policies",
        "names at least one policy",
    )?;
    require(
        !spec.arrivals.is_empty(),
        "spec.arrivals",
        "has at least one entry",
    )?;
    for (index, hardware) in spec.hardware.iter().enumerate() {
        let field = |name: &str| format!("spec.hardware[{index}].{name}");
        for (name, rate) in [
            ("flopsPerSecond", &hardware.flops_per_second),
            ("memoryBytesPerSecond", &hardware.memory_bytes_per_second),
            ("diskBytesPerSecond", &hardware.disk_bytes_per_second),
        ] {
            require(rate.value() > 0, &field(name), "is above 0")?;
        }
        require(
            hardware.active_milliwatts <= 100_000_000,
            &field("activeMilliwatts"),
            "is at most 100000000",
        )?;
        require(
            hardware.idle_milliwatts <= 100_000_000,
            &field("idleMilliwatts"),
            "is at most 100000000",
        )?;
    }
    for (index, arrivals) in spec.arrivals.iter().enumerate() {
        arrivals_of(&format!("spec.arrivals[{index}]"), spec, arrivals)?;
    }
    for (index, mobility) in spec.mobility.iter().enumerate() {
        let field = format!("spec.mobility[{index}]");
        let ways = usize::from(mobility.random_waypoint.is_some()) + usize::from(mobility.cells.is_some());
        require(ways == 1, &field, "has exactly one of randomWaypoint and cells")?;
        if let Some(way) = &mobility.random_waypoint {
            let [from, to] = way.metres_per_second;
            let field = format!("{field}.randomWaypoint.metresPerSecond");
            between(&field, from, 0.0, 1_000.0)?;
            between(&field, to, from, 1_000.0)?;
        }
        for (at, cell) in mobility.cells.iter().flatten().enumerate() {
            between(
                &format!("{field}.cells[{at}].atSeconds"),
                cell.at_seconds,
                0.0,
                DURATION_MAX,
            )?;
        }
    }
    for (index, trace) in spec.links.iter().enumerate() {
        let field = format!("spec.links[{index}]");
        require(
            trace.points.is_empty() != trace.file.is_none(),
            &field,
            "has either points or a file",
        )?;
        for (at, point) in trace.points.iter().enumerate() {
            let field = format!("{field}.points[{at}]");
            between(&format!("{field}.atSeconds"), point.at_seconds, 0.0, DURATION_MAX)?;
            let rate = point.rate_bits_per_second.value();
            require(
                rate > 0,
                &format!("{field}.rateBitsPerSecond"),
                "is above 0; for a link that is gone write a failure",
            )?;
            let latency = point.latency_microseconds.unwrap_or(0);
            require(
                latency >= 0,
                &format!("{field}.latencyMicroseconds"),
                "is not negative",
            )?;
        }
    }
    for (index, outage) in spec.failures.iter().enumerate() {
        let field = format!("spec.failures[{index}]");
        require(
            outage.node.is_some() != outage.link.is_some(),
            &field,
            "names either a node or a link",
        )?;
        between(
            &format!("{field}.atSeconds"),
            outage.at_seconds,
            0.0,
            DURATION_MAX,
        )?;
        if let Some(until) = outage.until_seconds {
            require(
                until > outage.at_seconds,
                &format!("{field}.untilSeconds"),
                "is after atSeconds",
            )?;
        }
    }
    for (index, sites) in spec.sites.iter().enumerate() {
        count(&format!("spec.sites[{index}].count"), sites.count)?;
    }
    for (index, crowd) in spec.crowds.iter().enumerate() {
        count(&format!("spec.crowds[{index}].count"), crowd.count)?;
    }
    Ok(())
}

fn arrivals_of(field: &str, spec: &ScenarioSpec, arrivals: &Arrivals) -> Result<(), Error> {
    let given = [
        arrivals.poisson.is_some(),
        arrivals.trace.is_some(),
        arrivals.at_seconds.is_some(),
    ];
    let given = given.iter().filter(|given| **given).count();
    require(
        given == 1,
        field,
        "has exactly one of poisson, trace and atSeconds",
    )?;
    let until = arrivals.until_seconds.unwrap_or(spec.duration_seconds);
    between(
        &format!("{field}.fromSeconds"),
        arrivals.from_seconds,
        0.0,
        DURATION_MAX,
    )?;
    require(
        until > arrivals.from_seconds,
        &format!("{field}.untilSeconds"),
        "is after fromSeconds",
    )?;
    let poisson = arrivals
        .poisson
        .map(|poisson| ("poisson", poisson.requests_per_second));
    let trace = arrivals
        .trace
        .as_ref()
        .map(|trace| ("trace", trace.requests_per_second));
    for (name, rate) in [poisson, trace].into_iter().flatten() {
        let most = REQUESTS_MAX / (until - arrivals.from_seconds);
        between(&format!("{field}.{name}.requestsPerSecond"), rate, 1e-6, most)?;
    }
    for (at, time) in arrivals.at_seconds.iter().flatten().enumerate() {
        between(&format!("{field}.atSeconds[{at}]"), *time, 0.0, DURATION_MAX)?;
    }
    for (name, range) in [
        ("promptTokens", arrivals.prompt_tokens),
        ("outputTokens", arrivals.output_tokens),
    ] {
        let good = match range {
            None => true,
            Some(Range::Fixed(tokens)) => tokens > 0,
            Some(Range::Between([from, to])) => 0 < from && from <= to,
        };
        require(
            good,
            &format!("{field}.{name}"),
            "is a number above 0, or [from, to] with from at most to",
        )?;
    }
    let rates = arrivals
        .air
        .iter()
        .flat_map(|air| [&air.up_bits_per_second, &air.down_bits_per_second]);
    for rate in rates.flatten() {
        require(
            rate.value() >= 8,
            &format!("{field}.air"),
            "has rates of at least 8 bits per second",
        )?;
    }
    Ok(())
}

fn count(field: &str, count: usize) -> Result<(), Error> {
    require(
        (1..=COUNT_MAX).contains(&count),
        field,
        &format!("is from 1 to {COUNT_MAX}"),
    )
}

fn between(field: &str, value: f64, least: f64, most: f64) -> Result<(), Error> {
    let problem = format!("is from {least} to {most}");
    require((least..=most).contains(&value), field, &problem)
        .map_err(|_| Error::field(field, format!("{value} is not allowed: it {problem}")))
}

fn require(holds: bool, field: &str, rule: &str) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::field(field, format!("it {rule}")))
}
