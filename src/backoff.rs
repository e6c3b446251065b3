//! The pauses between attempts.

use std::time::Duration;

/// Who is turned away stays away for at least so many times as long as that took.
const AWAY: u32 = 8;

/// Decorrelated jitter: each pause is drawn between `base` and three times the pause before it, at most `cap`.
///
/// A fleet that was refused at the same moment must not come back at the same moment; decorrelated jitter spreads it
/// widest for the same mean (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    previous: Duration,
    rng: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(base: Duration, cap: Duration, rng: fastrand::Rng) -> Self {
        Self { base, cap, previous: base, rng }
    }

    /// The next pause of somebody who was turned away, and has waited for this share of the budget, from 0 to 1: the cap comes
    /// down to three times the base by the half of it, so that who has waited longest tries most often.
    ///
    /// `cost` is how long it took to be turned away. An attempt holds one of the slots that it is after while it logs in: however
    /// many wait, and however slow the server is by then, most of them are not at its door.
    pub(crate) fn next_of(&mut self, waited: f64, cost: Duration) -> Duration {
        let least = self.base * 3;
        let cap = self.cap.saturating_sub(least).mul_f64((1.0 - 2.0 * waited).max(0.0)) + least;
        self.drawn(cap).max(cost * AWAY)
    }

    fn drawn(&mut self, cap: Duration) -> Duration {
        let widest = (self.previous * 3).min(cap).max(self.base);
        let spread = (widest - self.base).as_secs_f64() * self.rng.f64();
        self.previous = self.base + Duration::from_secs_f64(spread);
        self.previous
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.drawn(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_turned_away_slowly_comes_back_late() {
        let (base, cap) = (Duration::from_millis(20), Duration::from_millis(500));
        let mut pauses = Backoff::new(base, cap, fastrand::Rng::with_seed(7));
        for waited in [0.0, 0.3, 0.9] {
            let pause = pauses.next_of(waited, Duration::from_millis(1));
            assert!(pause <= cap, "a quick refusal changes nothing: {pause:?}");
            assert!(pauses.next_of(waited, Duration::from_millis(100)) >= Duration::from_millis(800));
        }
        assert!(pauses.next_of(0.5, Duration::ZERO) <= base * 3, "who has waited longest tries most often");
    }

    #[test]
    fn pauses_stay_between_base_and_cap_and_feed_back() {
        let (base, cap) = (Duration::from_millis(10), Duration::from_millis(500));
        let pauses: Vec<_> = Backoff::new(base, cap, fastrand::Rng::with_seed(7)).take(500).collect();
        assert!(pauses.iter().all(|pause| (base..=cap).contains(pause)));
        assert!(pauses[0] <= base * 3, "the first pause comes from the base");
        assert!(pauses.iter().max() > Some(&(cap / 2)), "later pauses grow");
        let distinct: std::collections::HashSet<_> = pauses.iter().collect();
        assert!(distinct.len() > 400, "a fleet must be spread");
    }
}
