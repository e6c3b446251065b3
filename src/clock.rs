//! The wall clock, the monotonic clock and the gap between them.
//!
//! Why two clocks? Between two invocations a Lambda environment is frozen. The monotonic clock may or may not advance
//! meanwhile (it does not in reports from real functions, it does under `SIGSTOP`), the wall clock always does, and the
//! wall clock may also step backwards when it is corrected. So a span of time is the *longer* of the two readings, and
//! a wall clock that ran ahead of the monotonic one is the trace of a freeze. No other file reads a clock to judge a rule.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A wall clock that is ahead of the monotonic clock by less than this was corrected, not frozen.
///
/// Time synchronisation slews by well under 1 ms a second; the shortest freeze worth a validation is far longer.
const FREEZE: Duration = Duration::from_millis(100);

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    monotonic: Duration,
    wall: Duration,
}

impl Moment {
    /// A moment without a freeze behind it.
    #[cfg(test)]
    pub(crate) fn at(elapsed: Duration) -> Self {
        Self { monotonic: elapsed, wall: elapsed }
    }

    /// What the wall clock says, for what others have dated; a clock that stands before 1970 says zero.
    pub(crate) fn since_1970(self) -> Duration {
        self.wall
    }

    /// How long ago `earlier` was: the longer of what the two clocks say.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let monotonic = self.monotonic.saturating_sub(earlier.monotonic);
        monotonic.max(self.wall.saturating_sub(earlier.wall))
    }

    /// How long the environment was frozen between `earlier` and now, as far as the clocks can tell.
    pub(crate) fn frozen_since(self, earlier: Self) -> Option<Duration> {
        let monotonic = self.monotonic.saturating_sub(earlier.monotonic);
        let gap = self.wall.saturating_sub(earlier.wall).saturating_sub(monotonic);
        (gap >= FREEZE).then_some(gap)
    }
}

/// Where moments come from.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// The machine's clocks; the instant is the origin of the monotonic reading.
    System(Instant),
    /// Tokio's (pausable) clock, and a wall clock that a test moves apart from it.
    #[cfg(test)]
    Virtual(std::sync::Arc<VirtualClock>),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System(Instant::now())
    }

    pub(crate) fn now(&self) -> Moment {
        match self {
            Self::System(origin) => Moment {
                monotonic: origin.elapsed(),
                // Before 1970 the wall clock is useless; zero leaves the judgement to the monotonic clock.
                wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            },
            #[cfg(test)]
            Self::Virtual(clock) => clock.now(),
        }
    }
}

/// A clock whose freezes a test makes.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct VirtualClock {
    origin: tokio::time::Instant,
    frozen: std::sync::Mutex<Duration>,
}

#[cfg(test)]
impl VirtualClock {
    pub(crate) fn new() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { origin: tokio::time::Instant::now(), frozen: std::sync::Mutex::default() })
    }

    /// The wall clock goes on, the monotonic clock stands still.
    pub(crate) fn freeze(&self, span: Duration) {
        *self.frozen.lock().unwrap() += span;
    }

    fn now(&self) -> Moment {
        let monotonic = self.origin.elapsed();
        Moment { monotonic, wall: Duration::from_secs(1_000_000) + monotonic + *self.frozen.lock().unwrap() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(monotonic: u64, wall: u64) -> Moment {
        Moment { monotonic: Duration::from_millis(monotonic), wall: Duration::from_millis(wall) }
    }

    #[test]
    fn a_span_is_the_longer_of_the_two_clocks() {
        for (earlier, later, span) in [
            (moment(0, 5_000), moment(10, 5_010), 10),
            (moment(0, 5_000), moment(10, 65_000), 60_000), // frozen: the monotonic clock stood still
            (moment(0, 5_000), moment(700, 4_000), 700),    // the wall clock was set back
            (moment(9, 5_000), moment(9, 5_000), 0),
        ] {
            assert_eq!(later.since(earlier), Duration::from_millis(span), "{earlier:?} -> {later:?}");
        }
    }

    #[test]
    fn a_freeze_is_a_wall_clock_that_ran_ahead() {
        assert_eq!(moment(10, 60_010).frozen_since(moment(0, 0)), Some(Duration::from_secs(60)));
        assert_eq!(moment(1_000, 1_040).frozen_since(moment(0, 0)), None, "a correction is no freeze");
        assert_eq!(moment(1_000, 0).frozen_since(moment(0, 5_000)), None, "a step back is no freeze");
        assert_eq!(moment(60_000, 60_000).frozen_since(moment(0, 0)), None, "idle is not frozen");
    }
}
