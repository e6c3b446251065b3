//! What is counted between two reports.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::event::{Discard, Event};
use crate::status::Status;
use crate::usage::{Histogram, Usage};

/// What events tell, since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) setup: Histogram,
    pub(super) pins: BTreeMap<String, u64>,
    pinned: usize,
    pub(super) most_pinned: usize,
    pub(super) failovers: u64,
    pub(super) suspicions: u64,
    pub(super) refused: u64,
    pub(super) given_back: u64,
    pub(super) thaws: u64,
    pub(super) recovered: u64,
    pub(super) fetched: u64,
    /// As read when it was last taken: on connections to the writer, and to readers.
    before: (Usage, Usage),
}

impl Counts {
    /// What has come since the last time, and what was done since then on connections to the writer, and to readers.
    pub(super) fn taken(counts: &Mutex<Self>, status: &Status) -> (Self, Usage, Usage) {
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = counts.pinned;
        let before = (status.usage.clone(), status.reader_usage.clone());
        let next = Self { pinned, most_pinned: pinned, before, ..Self::default() };
        let taken = std::mem::replace(&mut *counts, next);
        let (writers, readers) = (status.usage.since(&taken.before.0), status.reader_usage.since(&taken.before.1));
        (taken, writers, readers)
    }

    pub(super) fn note(counts: &Mutex<Self>, event: &Event) {
        counts.lock().unwrap_or_else(PoisonError::into_inner).add(event);
    }

    fn add(&mut self, event: &Event) {
        match event {
            Event::Connected { elapsed, .. } => {
                self.succeeded += 1;
                self.setup.record(*elapsed);
            }
            Event::ConnectFailed { .. } => self.failed += 1,
            Event::Refused { .. } => self.refused += 1,
            Event::CredentialsFetched { .. } => self.fetched += 1,
            Event::Recovered { .. } => self.recovered += 1,
            Event::Discarded { why: Discard::GivenBack, .. } => self.given_back += 1,
            Event::Thawed { .. } => self.thaws += 1,
            Event::Suspected { .. } => self.suspicions += 1,
            Event::WriterFound { moved, .. } => self.failovers += u64::from(*moved),
            Event::Pinned { reason } => {
                *self.pins.entry(format!("{:?}", reason.cause())).or_default() += 1;
                self.pinned += 1;
                self.most_pinned = self.most_pinned.max(self.pinned);
            }
            Event::Unpinned { .. } => self.pinned = self.pinned.saturating_sub(1),
            _ => {}
        }
    }
}
