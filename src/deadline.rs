//! When a piece of work gives up: its own budget, and the end of the invocation that it serves.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// As good as never, where a budget is longer than a clock can count.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// With less than this left of an invocation nothing is begun that takes a round trip.
const TOO_LITTLE: Duration = Duration::from_millis(10);

tokio::task_local! {
    /// When the invocation that this task serves ends. Set by the Lambda layer for the duration of the handler.
    pub(crate) static INVOCATION: Instant;
}

/// So long before the end of an invocation a statement under way is cancelled, at least: time for a login, which a cancel takes,
/// and for the answer. Where the connection's own login took longer than half of that it is twice as long as that login.
const TO_CANCEL: Duration = Duration::from_millis(200);
/// And so long at the most: a login may have been slow for a reason of its own.
const MOST_TO_CANCEL: Duration = Duration::from_secs(1);

/// A statement is still under way when the end of the invocation is near.
#[derive(Debug, thiserror::Error)]
#[error("the invocation's deadline has come")]
pub(crate) struct TimeToCancel;

impl TimeToCancel {
    /// Whether it has come by the clock. Timers alone do not tell: they share the task's budget with what it is busy with.
    pub(crate) fn check(alarm: Option<Instant>) -> Result<(), sqlx::Error> {
        if alarm.is_some_and(|alarm| Instant::now() >= alarm) { Err(Self::error()) } else { Ok(()) }
    }

    pub(crate) fn error() -> sqlx::Error {
        sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, Self))
    }

    pub(crate) fn is_behind(error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::Io(error) if error.get_ref().is_some_and(|error| error.is::<Self>()))
    }
}

/// When a statement that is under way now is to be cancelled, if an invocation is served. One that begins late has half of
/// what is left. `login`: how long its connection took to log in.
pub(crate) fn time_to_cancel(login: Duration) -> Option<Instant> {
    let end = INVOCATION.try_with(|end| *end).ok()?;
    let left = end.saturating_duration_since(Instant::now());
    let takes = (login * 2).clamp(TO_CANCEL, MOST_TO_CANCEL);
    Some(end.checked_sub(takes.min(left / 2)).unwrap_or(end))
}

/// What work comes to, if it does by then: by the clock, for a timer alone does not tell where work is never kept waiting. They
/// share the task's budget.
pub(crate) async fn by_the_clock<F: Future>(end: Instant, work: F) -> Option<F::Output> {
    let (mut work, mut timer) = (pin!(work), pin!(sleep_until(end)));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        if Instant::now() >= end {
            return Poll::Ready(None);
        }
        timer.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// So little is left of the invocation that nothing is begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooClose {
    pub(crate) remaining: Duration,
}

/// The instant at which a piece of work gives up. Everything below it shares what is left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    started: Instant,
    ends: Instant,
}

impl Deadline {
    pub(crate) fn after(budget: Duration) -> Self {
        let started = Instant::now();
        Self { started, ends: later(started, budget) }
    }

    /// `budget` from now, but not past the end of the invocation; the error when there is no point in beginning anything.
    pub(crate) fn for_invocation(budget: Duration) -> Result<Self, TooClose> {
        let deadline = Self::after(budget);
        let Ok(end) = INVOCATION.try_with(|end| *end) else { return Ok(deadline) };
        let remaining = end.saturating_duration_since(deadline.started);
        if remaining < TOO_LITTLE {
            return Err(TooClose { remaining });
        }
        Ok(Self { ends: deadline.ends.min(end), ..deadline })
    }

    /// The earlier of this deadline and `budget` from now; time spent is counted from now.
    pub(crate) fn within(self, budget: Duration) -> Self {
        let inner = Self::after(budget);
        Self { ends: inner.ends.min(self.ends), ..inner }
    }

    /// `budget` from its beginning, but not past the end of the invocation.
    pub(crate) fn extended(self, budget: Duration) -> Self {
        let ends = self.ends.max(later(self.started, budget));
        Self { ends: INVOCATION.try_with(|end| ends.min(*end)).unwrap_or(ends), ..self }
    }

    pub(crate) fn instant(self) -> Instant {
        self.ends
    }

    pub(crate) fn remaining(self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// The share of the budget that is spent, from 0 to 1.
    pub(crate) fn share(self) -> f64 {
        let budget = self.ends.saturating_duration_since(self.started);
        if budget.is_zero() { 1.0 } else { (self.spent().as_secs_f64() / budget.as_secs_f64()).min(1.0) }
    }

    pub(crate) fn spent(self) -> Duration {
        self.started.elapsed()
    }
}

fn later(instant: Instant, span: Duration) -> Instant {
    instant.checked_add(span).unwrap_or_else(|| instant + FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_beyond_all_clocks_is_as_good_as_none() {
        for budget in [Duration::from_secs(u64::MAX), Duration::MAX] {
            let deadline = Deadline::after(budget);
            assert!(deadline.remaining() >= FAR);
            assert!(deadline.within(budget).remaining() >= FAR);
            assert!(Deadline::after(Duration::ZERO).extended(budget).remaining() >= FAR);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_is_cancelled_while_there_is_time_for_it() {
        assert_eq!(time_to_cancel(Duration::ZERO), None, "no invocation is served");
        for (login, left, until) in [
            (0, 5000, 4800),
            (100, 5000, 4800),
            (250, 5000, 4500),
            (3000, 5000, 4000),
            (0, 400, 200),
            (0, 300, 150),
            (250, 300, 150),
            (0, 10, 5),
            (0, 0, 0),
        ] {
            let [login, left, until] = [login, left, until].map(Duration::from_millis);
            let now = Instant::now();
            let at = INVOCATION.sync_scope(now + left, || time_to_cancel(login));
            assert_eq!(at, Some(now + until), "{login:?}, {left:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_within_another_never_outlives_it() {
        let outer = Deadline::after(Duration::from_secs(1));
        tokio::time::advance(Duration::from_millis(800)).await;
        let inner = outer.within(Duration::from_secs(5));
        assert_eq!(inner.remaining(), Duration::from_millis(200));
        assert_eq!((inner.spent(), outer.spent()), (Duration::ZERO, Duration::from_millis(800)));
    }
}
