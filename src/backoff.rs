//! The pauses between attempts.

use std::time::Duration;

/// Who is turned away stays away for about so many times as long as that took,
const AWAY: f64 = 8.0;
/// and each time so many times longer,
const GROWTH: f64 = 3.0;
/// but for no more than this share of the time that is left: there are a few attempts in any.
const MOST_OF_THE_REST: f64 = 0.5;

/// Decorrelated jitter: each pause is drawn between `base` and three times the pause before it, at most `cap`.
///
/// A fleet that was refused at the same moment must not come back at the same moment; decorrelated jitter spreads it
/// widest for the same mean (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    previous: Duration,
    /// How many times as long as a refusal took the next pause is.
    away: f64,
    rng: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(base: Duration, cap: Duration, rng: fastrand::Rng) -> Self {
        Self { base, cap, previous: base, away: AWAY, rng }
    }

    /// The next pause of somebody who was turned away, which took `cost`, and has `left` of the budget. `waited`: the share of the
    /// budget that is gone, from 0 to 1; the cap comes down to three times the base by the half of it, and what bounds the pauses
    /// is a share of what is left, so that who has waited longest tries most often.
    ///
    /// An attempt holds one of the slots that it is after while it logs in, and the processors of those who are served: however
    /// many wait, most of them must not be at the door. How many they are nobody tells; but where one waits the second attempt
    /// finds a slot, and where hundreds do each is turned away again and again, and more slowly. So the pause follows both.
    pub(crate) fn next_of(&mut self, waited: f64, cost: Duration, left: Duration) -> Duration {
        let least = self.base * 3;
        let cap = self.cap.saturating_sub(least).mul_f64((1.0 - 2.0 * waited).max(0.0)) + least;
        let away = cost.as_secs_f64() * self.away * (0.5 + self.rng.f64());
        self.away *= GROWTH;
        let bound = left.as_secs_f64() * MOST_OF_THE_REST;
        self.drawn(cap).max(Duration::from_secs_f64(away.min(bound)))
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
    fn who_is_turned_away_slowly_or_again_comes_back_late() {
        let (base, cap, left) = (Duration::from_millis(20), Duration::from_millis(500), Duration::from_secs(9));
        let ms = Duration::from_millis;
        let pauses = || Backoff::new(base, cap, fastrand::Rng::with_seed(7));
        let mut quick = pauses();
        for waited in [0.0, 0.3, 0.9] {
            assert!(quick.next_of(waited, ms(1), left) <= cap, "a few quick refusals change nothing");
        }
        assert!(quick.next_of(0.5, ms(0), left) <= base * 3, "who has waited longest tries most often");
        for (cost, expected) in [(ms(10), [80, 240, 720, 2160]), (ms(50), [400, 1200, 3600, 4500])] {
            let mut slow = pauses();
            for about in expected {
                let pause = slow.next_of(0.9, cost, left);
                let widest = ms(about * 3 / 2).min(left.mul_f64(MOST_OF_THE_REST));
                assert!((ms(about / 2)..=widest).contains(&pause), "{cost:?}, about {about} ms: {pause:?}");
            }
        }
        let mut late = pauses();
        for left in [4000, 1000, 250, 60, 1].map(ms) {
            let pause = late.next_of(0.9, ms(500), left);
            assert!(
                pause <= (left.mul_f64(MOST_OF_THE_REST)).max(base * 3),
                "some attempts are left: {pause:?} of {left:?}"
            );
        }
        let zero = Duration::ZERO;
        assert!(pauses().next_of(0.5, left, zero) <= base * 3, "no time");
        assert!(pauses().next_of(0.5, zero, left) <= base * 3, "nothing took any time");
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
