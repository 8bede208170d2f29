//! The account of a worker's memory: what the process held before any stage, and what its stages were predicted to hold.

use std::sync::{Mutex, PoisonError};

use super::{Held, system};
use crate::{Error, Result};

#[derive(Debug, Default)]
pub(super) struct Reservation {
    account: Mutex<Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// The process, while there is one.
    process: Option<u32>,
    /// What it held when it had just begun.
    base_bytes: u64,
    /// Sum of what its stages were predicted to hold.
    stages_bytes: u64,
}

impl Reservation {
    pub(super) fn begin_life(&self, process: u32) {
        self.with(|account| {
            account.process = Some(process);
            account.base_bytes = system::resident_bytes(process).unwrap_or(0);
        });
    }

    pub(super) fn end_life(&self) {
        self.with(|account| account.process = None);
    }

    /// Whether a stage of `needed_bytes` fits beside the others.
    pub(super) fn admit(&self, needed_bytes: u64, limit_bytes: Option<u64>) -> Result<()> {
        let Some(limit_bytes) = limit_bytes else {
            return Ok(());
        };
        let free_bytes =
            self.with(|account| limit_bytes.saturating_sub(account.base_bytes + account.stages_bytes));
        if needed_bytes > free_bytes {
            return Err(Error::Memory {
                needed_bytes,
                free_bytes,
                limit_bytes,
            });
        }
        Ok(())
    }

    pub(super) fn add(&self, bytes: u64) {
        self.with(|account| account.stages_bytes += bytes);
    }

    pub(super) fn remove(&self, bytes: u64) {
        self.with(|account| account.stages_bytes -= bytes);
    }

    /// What the process may hold under a limit: stages that were admitted under a higher one stay.
    pub(super) fn allowed_bytes(&self, limit_bytes: u64) -> u64 {
        self.with(|account| match account.stages_bytes {
            0 => limit_bytes,
            stages_bytes => limit_bytes.max(account.base_bytes + stages_bytes),
        })
    }

    /// What the process holds now, beside the account; `None` between two lives.
    pub(super) fn held(&self) -> Option<Held> {
        let (process, base_bytes, stages_bytes) =
            self.with(|account| (account.process, account.base_bytes, account.stages_bytes));
        Some(Held {
            process: process?,
            resident_bytes: system::resident_bytes(process?)?,
            reserved_bytes: base_bytes + stages_bytes,
            base_bytes,
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Account) -> T) -> T {
        work(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
