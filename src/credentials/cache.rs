//! One value, kept by the wall clock, fetched by one caller at a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment};

/// A cached value with its age. Fetching is single-flight: while one caller fetches, the others wait for the result.
#[derive(Debug)]
pub(super) struct Cache<T> {
    clock: Clock,
    kept: Mutex<Option<(T, Moment)>>,
    /// Held while fetching. Tokio's mutex is fair and its guard may be dropped with its future.
    pub(super) flight: tokio::sync::Mutex<()>,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, kept: Mutex::default(), flight: tokio::sync::Mutex::default() }
    }

    /// The value and its age.
    pub(super) fn get(&self) -> Option<(T, Duration)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().map(|(value, stored)| (value.clone(), self.clock.now().since(*stored)))
    }

    pub(super) fn clear(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn put(&self, value: T) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((value, self.clock.now()));
    }
}
