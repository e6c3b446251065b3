//! A failure that is remembered: for how long it is the answer to whoever asks next.
//!
//! A secret that is denied, or a cluster of another name, stays so for longer than a handler takes to try again; a fleet
//! that asks for it at every invocation uses up what a whole account may ask. So the same answer is given again without a
//! call, for a second at first, and for twice as long with each failure after that, up to a minute. A success ends it.
//! Judged by the clock at the moment of use: nothing runs in a frozen environment.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::clock::Moment;

/// Short enough that whoever has just mended it sees that soon.
const BASE: Duration = Duration::from_secs(1);
/// Long enough that a thousand environments ask 17 times a second at the most, of 12 calls the RDS API has to give and
/// 10,000 that Secrets Manager has.
const CAP: Duration = Duration::from_secs(60);

/// When it failed last, and for how long nobody asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lapse {
    since: Moment,
    span: Duration,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// It will be the same for everybody who asks.
    Lasting,
    /// Too many ask at once, and must not come back at once: decorrelated jitter, drawn from 0 to 1. Only what comes after
    /// a refusal is spread; the first call of a cold start waits for nothing.
    Crowded(f64),
}

/// A failure that is not asked about again yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) ago: Duration,
    pub(crate) again: Duration,
}

impl Lapse {
    /// It has failed, after `previous` without a success in between.
    pub(crate) fn after(previous: Option<Self>, now: Moment, kind: Kind) -> Self {
        let span = match (previous, kind) {
            (None, Kind::Lasting) => BASE,
            (Some(previous), Kind::Lasting) => previous.span.saturating_mul(2),
            (previous, Kind::Crowded(drawn)) => {
                let widest = previous.map_or(BASE, |previous| previous.span).saturating_mul(3).min(CAP);
                BASE + (widest - BASE).mul_f64(drawn)
            }
        };
        Self { since: now, span: span.min(CAP) }
    }

    /// As long as a first one, from when it was.
    pub(crate) fn shortest(self) -> Self {
        Self { span: self.span.min(BASE), ..self }
    }

    /// `None` when it is time to ask again.
    pub(crate) fn pending(&self, now: Moment) -> Option<Pending> {
        let ago = now.since(self.since);
        let again = self.span.saturating_sub(ago);
        (!again.is_zero()).then_some(Pending { ago, again })
    }
}

/// The last failure in a row: what is told of it again, and what lay below it.
#[derive(Debug, Clone)]
pub(crate) struct Failure<T> {
    lapse: Lapse,
    pub(crate) told: T,
    cause: String,
}

impl<T> Failure<T> {
    /// It has failed, after `previous` without a success in between.
    pub(crate) fn after(previous: Option<Self>, now: Moment, kind: Kind, told: T, cause: String) -> Self {
        Self { lapse: Lapse::after(previous.map(|previous| previous.lapse), now, kind), told, cause }
    }

    /// What is said below the same answer, while nobody is to ask again.
    pub(crate) fn recall(&self, now: Moment) -> Option<Remembered> {
        Some(Remembered { pending: self.lapse.pending(now)?, cause: self.cause.clone() })
    }
}

/// The source of an error that is told again: the first had what the service said, the others have its text.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) pending: Pending,
    pub(crate) cause: String,
}

impl fmt::Display for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cause.is_empty() {
            return write!(f, "{}", self.pending);
        }
        write!(f, "{} ({})", self.cause, self.pending)
    }
}

impl Error for Remembered {}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "remembered from {:.1?} ago; asked again in {:.1?}", self.ago, self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::at(Duration::from_secs_f64(seconds))
    }

    fn seconds(lapse: Lapse) -> f64 {
        lapse.span.as_secs_f64()
    }

    #[test]
    fn each_failure_in_a_row_is_remembered_for_twice_as_long_up_to_a_minute() {
        let mut last = None;
        for span in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let lapse = Lapse::after(last, at(0.0), Kind::Lasting);
            assert_eq!(seconds(lapse), span);
            last = Some(lapse);
        }
        assert_eq!(seconds(Lapse::after(None, at(0.0), Kind::Lasting)), 1.0, "from the beginning after a success");
    }

    #[test]
    fn a_crowd_is_spread_after_a_refusal() {
        let first = Lapse::after(None, at(0.0), Kind::Lasting);
        let long = Lapse { span: CAP, ..first };
        for (previous, drawn, span) in [
            (None, 0.0, 1.0),
            (None, 1.0, 3.0),
            (Some(first), 0.5, 2.0),
            (Some(long), 0.0, 1.0),
            (Some(long), 1.0, 60.0),
        ] {
            let lapse = Lapse::after(previous, at(0.0), Kind::Crowded(drawn));
            assert_eq!(seconds(lapse), span, "{previous:?}, {drawn}");
        }
    }

    #[test]
    fn it_is_the_answer_until_its_span_is_over() {
        let lapse = Lapse::after(None, at(100.0), Kind::Lasting);
        for (now, again) in [
            (100.0, Some(1.0)),
            (100.75, Some(0.25)),
            (101.0, None),
            (5000.0, None),
            // The clock was set back: as if no time had passed.
            (40.0, Some(1.0)),
        ] {
            let pending = lapse.pending(at(now));
            assert_eq!(pending.map(|pending| pending.again.as_secs_f64()), again, "at {now}");
        }
        let text = lapse.pending(at(100.75)).unwrap().to_string();
        assert_eq!(text, "remembered from 750.0ms ago; asked again in 250.0ms");
    }
}
