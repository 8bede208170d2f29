//! The figures of this node's device, and why some are missing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crds::edge_node::{Benchmark, Device};
use tokio::sync::watch;

/// The figures of this node's device, shared by who measures and who reports.
#[derive(Clone, Debug)]
pub(crate) struct Benchmarks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    device: watch::Sender<Device>,
    table: Mutex<Table>,
}

/// All by digest.
#[derive(Debug, Default)]
struct Table {
    /// With the cores that the device had.
    figures: BTreeMap<String, (i64, Benchmark)>,
    /// Why there are none, or none of the device as it is now.
    failures: BTreeMap<String, String>,
}

impl Benchmarks {
    pub(crate) fn new(device: Device) -> Self {
        Self(Arc::new(Inner {
            device: watch::Sender::new(device),
            table: Mutex::default(),
        }))
    }

    /// The device, without figures.
    pub(crate) fn device(&self) -> Device {
        self.0.device.borrow().clone()
    }

    /// Tells when the device becomes another.
    pub(super) fn device_changes(&self) -> watch::Receiver<Device> {
        self.0.device.subscribe()
    }

    /// The device is another now. Figures stay until there are new ones: without any, nothing would be placed here.
    pub(crate) fn describe(&self, device: Device) {
        self.0.device.send_replace(device);
    }

    /// Figures by model, as EdgeNode status shows them.
    pub(crate) fn report(&self) -> Vec<Benchmark> {
        let table = self.table();
        table
            .figures
            .values()
            .map(|(_, benchmark)| benchmark.clone())
            .collect()
    }

    /// Digests of models that could not be timed, with why, as one sentence.
    pub(crate) fn failure(&self) -> Option<String> {
        let table = self.table();
        let told = table
            .failures
            .iter()
            .map(|(digest, why)| format!("{digest}: {why}"));
        let told = told.collect::<Vec<_>>().join("; ");
        (!told.is_empty()).then_some(told)
    }

    /// Whether there are figures of the device as it is now.
    pub(super) fn has(&self, digest: &str) -> bool {
        let cores_milli = self.0.device.borrow().cores_milli;
        let table = self.table();
        table
            .figures
            .get(digest)
            .is_some_and(|(cores, _)| *cores == cores_milli)
    }

    pub(super) fn put(&self, cores_milli: i64, benchmark: Benchmark) {
        let model = benchmark.model.clone();
        self.table().figures.insert(model, (cores_milli, benchmark));
    }

    pub(super) fn note_failure(&self, digest: &str, why: String) {
        self.table().failures.insert(digest.to_owned(), why);
    }

    pub(super) fn forget_failure(&self, digest: &str) {
        self.table().failures.remove(digest);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
