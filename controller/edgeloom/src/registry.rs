//! The metrics registry of a program: who it is, since when it runs, and what its process uses. What it does is registered
//! by its rooms.

use std::{collections::HashMap, time::SystemTime};

use prometheus::{Gauge, IntGauge, Opts, Registry};

/// The registry of the controller, or of the program that has it beside the API server.
///
/// # Errors
///
/// When a name is taken, which a new registry rules out.
pub(crate) fn of_controller() -> prometheus::Result<Registry> {
    described(Registry::new(), "controller")
}

/// The registry of a node's agent. Every series says which node it is of, so that nothing depends on who scrapes it.
///
/// # Errors
///
/// When the node's name cannot be a label's value.
pub(crate) fn of_agent(node: &str) -> prometheus::Result<Registry> {
    let labels = HashMap::from([("node".to_owned(), node.to_owned())]);
    described(Registry::new_custom(None, Some(labels))?, "agent")
}

fn described(registry: Registry, component: &str) -> prometheus::Result<Registry> {
    let build = Opts::new("edgeloom_build_info", "1, with what is running in its labels.")
        .const_label("component", component)
        .const_label("version", env!("CARGO_PKG_VERSION"));
    let build = IntGauge::with_opts(build)?;
    build.set(1);
    registry.register(Box::new(build))?;
    let start = Opts::new(
        "edgeloom_start_timestamp_seconds",
        "When the program was started.",
    )
    .const_label("component", component);
    let start = Gauge::with_opts(start)?;
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    start.set(since_epoch.as_secs_f64());
    registry.register(Box::new(start))?;
    #[cfg(target_os = "linux")]
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    Ok(registry)
}
