//! What was counted since a proxy was made: always on, for it costs a few nanoseconds a statement.
//!
//! Counts only grow. Whoever wants to know what happened in between keeps the last reading and takes the
//! [difference](Usage::since), so that nobody takes a count away from anybody else.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Below this a length is as good as nothing: 16 µs.
const SHORTEST: u64 = 1 << SHORTEST_POWER;
const SHORTEST_POWER: u32 = 4;
/// Each doubling of a length is cut into as many parts: a value is known to an eighth.
const PARTS: u32 = 4;
/// From 16 µs to 268 s.
const DOUBLINGS: u32 = 24;
/// What is longer than that, twelve days, is counted as that long.
const LONGEST: u64 = 1 << 40;
/// And one below and one above. CloudWatch takes a hundred values of a distribution.
const BUCKETS: usize = (DOUBLINGS * PARTS + 2) as usize;

/// Where lengths of time are counted.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(crate) fn record(&self, length: Duration) {
        // So many of the longest fit into a sum that none overflows it.
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX).min(LONGEST);
        self.counts[bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// One that took no time, without a look at the clock.
    pub(crate) fn record_none(&self) {
        self.counts[0].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Distribution {
        Distribution {
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            micros: self.micros.load(Ordering::Relaxed),
        }
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < SHORTEST {
        return 0;
    }
    let power = micros.ilog2();
    let part = (micros >> (power - 2)) & u64::from(PARTS - 1);
    let bucket = 1 + u64::from((power - SHORTEST_POWER) * PARTS) + part;
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The middle of a bucket, in microseconds.
fn middle_of(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(1).and_then(|above| u32::try_from(above).ok()) else { return 0 };
    let power = SHORTEST_POWER + above / PARTS;
    let width = 1_u64 << (power - 2);
    u64::from(PARTS + above % PARTS) * width + width / 2
}

/// Lengths of time, each known to an eighth; those below 16 µs count as zero, those above 268 s as that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    counts: Vec<u64>,
    micros: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], micros: 0 }
    }
}

impl Distribution {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// The length that this share of them does not exceed (`0.99` for the 99th percentile); `None` when there were none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let mut seen = 0;
        let reached = |seen: u64| seen as f64 >= share.clamp(0.0, 1.0) * count as f64;
        let (bucket, _) = self.counts.iter().enumerate().filter(|(_, count)| **count > 0).find(|(_, count)| {
            seen += **count;
            reached(seen)
        })?;
        Some(Duration::from_micros(middle_of(bucket)))
    }

    /// Each length that occurred, in microseconds, and how often.
    pub fn values(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let occurred = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        occurred.map(|(bucket, count)| (middle_of(bucket), *count))
    }

    fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        Self { counts, micros: self.micros.saturating_sub(earlier.micros) }
    }
}

/// `p50 0.4 ms, p99 3 ms of 1234`
impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.quantile(0.5), self.quantile(0.99)) {
            (Some(median), Some(slow)) => write!(f, "p50 {median:.1?}, p99 {slow:.1?} of {}", self.count()),
            _ => write!(f, "none"),
        }
    }
}

/// Where a pool and its sessions count.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Waits for a connection that ended with one.
    pub(crate) borrows: Histogram,
    pub(crate) borrows_failed: AtomicU64,
    /// From the moment when a connection was had to the end of the answer.
    pub(crate) answers: Histogram,
    /// Statements that were run again by themselves.
    pub(crate) reruns: AtomicU64,
    /// Settings that were put on another connection.
    pub(crate) replays: AtomicU64,
}

impl Meter {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Usage {
        Usage {
            borrow_latency: self.borrows.read(),
            borrows_failed: self.borrows_failed.load(Ordering::Relaxed),
            response_latency: self.answers.read(),
            reruns: self.reruns.load(Ordering::Relaxed),
            replays: self.replays.load(Ordering::Relaxed),
        }
    }
}

/// What a proxy and its sessions have done since the proxy was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// How long callers have waited for a connection that they got: credentials, dial and validation included.
    pub borrow_latency: Distribution,
    /// How many of them got none.
    pub borrows_failed: u64,
    /// From the moment when a statement had its connection to the end of its answer, whatever the answer was: replayed
    /// settings, and the application's pauses in the reading of a stream, are part of it.
    pub response_latency: Distribution,
    /// Statements that were run again by themselves, as the server had not executed them.
    pub reruns: u64,
    /// How often the settings of a session were put on another connection: a round trip each.
    pub replays: u64,
}

impl Usage {
    /// What has come since an earlier reading of the same proxy.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            borrow_latency: self.borrow_latency.since(&earlier.borrow_latency),
            borrows_failed: self.borrows_failed.saturating_sub(earlier.borrows_failed),
            response_latency: self.response_latency.since(&earlier.response_latency),
            reruns: self.reruns.saturating_sub(earlier.reruns),
            replays: self.replays.saturating_sub(earlier.replays),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_known_to_an_eighth() {
        for micros in (0..40).map(|power| 1_u64 << power).flat_map(|two| [two, two + two / 3, two * 2 - 1]) {
            let told = middle_of(bucket_of(micros));
            match micros {
                0..SHORTEST => assert_eq!(told, 0),
                SHORTEST..268_435_456 => assert!(told.abs_diff(micros) * 8 <= micros, "{micros} is told as {told}"),
                _ => assert!(told >= 268_435_456, "{micros} is told as {told}"),
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        const { assert!(BUCKETS <= 100) };
    }

    #[test]
    fn quantiles_and_differences_are_of_what_was_counted() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile(0.5), None);
        for _ in 0..98 {
            histogram.record(Duration::from_millis(1));
        }
        let before = histogram.read();
        histogram.record_none();
        histogram.record(Duration::from_secs(1));
        let all = histogram.read();
        assert_eq!((all.count(), all.total()), (100, Duration::from_millis(1098)));
        assert_eq!(all.quantile(0.0), Some(Duration::ZERO));
        let told = |share| all.quantile(share).map(|length| length.as_millis());
        assert!(matches!((told(0.5), told(0.99), told(1.0)), (Some(0..=1), Some(0..=1), Some(875..=1125))), "{all}");
        let since = all.since(&before);
        assert_eq!((since.count(), since.total()), (2, Duration::from_secs(1)));
    }
}
