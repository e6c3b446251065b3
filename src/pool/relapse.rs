//! The pause after a dial that ended in a panic.
//!
//! A panic comes again: a provider that cannot read its file, a driver that meets the same packet. Each failure fails one
//! waiter, and a handler that tries again, or the next waiter, would dial at once. So the dials after it wait, longer with
//! each panic in a row, whoever they are for; a connection ends the row.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Moment;
use crate::random;

/// Jittered, for a fleet panics together. Long enough that a login each (an observer, a driver that meets the login's last
/// packet) is no load, short enough that whoever waits hears of the cause and not of a timeout.
const BASE: Duration = Duration::from_millis(20);
const CAP: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Relapse(Mutex<Option<Row>>);

/// Panics in a row.
#[derive(Debug)]
struct Row {
    pauses: Backoff,
    last: Moment,
    pause: Duration,
}

impl Relapse {
    /// A dial has ended in a panic.
    pub(super) fn again(&self, now: Moment) {
        let mut row = self.lock();
        let mut pauses = match row.take() {
            Some(row) => row.pauses,
            None => Backoff::new(BASE, CAP, random::generator()),
        };
        let pause = pauses.next().unwrap_or(CAP);
        *row = Some(Row { pauses, last: now, pause });
    }

    /// A dial has succeeded.
    pub(super) fn over(&self) {
        *self.lock() = None;
    }

    /// How long the next dial waits.
    pub(super) fn pause(&self, now: Moment) -> Duration {
        self.lock().as_ref().map_or(Duration::ZERO, |row| row.pause.saturating_sub(now.since(row.last)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_each_panic_and_end_with_a_success() {
        let (relapse, now) = (Relapse::default(), Moment::at(Duration::from_secs(9)));
        assert_eq!(relapse.pause(now), Duration::ZERO);
        let pauses = (0..200).map(|_| {
            relapse.again(now);
            relapse.pause(now)
        });
        let pauses: Vec<_> = pauses.collect();
        assert!(pauses.iter().all(|pause| (BASE..=CAP).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().max() > Some(&(CAP / 2)), "{pauses:?}");
        let later = Moment::at(Duration::from_secs(9) + CAP);
        assert_eq!(relapse.pause(later), Duration::ZERO, "it is over by itself");
        relapse.over();
        relapse.again(later);
        assert!(relapse.pause(later) <= BASE * 3, "from the beginning");
    }
}
