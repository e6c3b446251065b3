//! The pauses between attempts.

use std::time::Duration;

/// Who is turned away stays away for about so many times as long as that took.
const AWAY: f64 = 8.0;
/// And for no more than this share of the time that is left: there are a few attempts in any.
const MOST_OF_THE_REST: f64 = 1.0 / 3.0;
/// No connect takes less, whatever was measured.
const LEAST_USUAL: Duration = Duration::from_millis(1);

/// Decorrelated jitter: each pause is drawn between `base` and three times the pause before it, at most `cap`.
///
/// A fleet that was refused at the same moment must not come back at the same moment; decorrelated jitter spreads it
/// widest for the same mean (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    previous: Duration,
    /// How much slower than usual a refusal is believed to be: one that was slow is chance, several are a crowd.
    believed: f64,
    rng: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(base: Duration, cap: Duration, rng: fastrand::Rng) -> Self {
        Self { base, cap, previous: base, believed: 1.0, rng }
    }

    /// The next pause of somebody who was turned away, and has waited for this share of the budget, from 0 to 1: the cap comes
    /// down to three times the base by the half of it, so that who has waited longest tries most often.
    ///
    /// `cost` is how long it took to be turned away, `usual` how long a connect takes at its best, `left` what remains of the
    /// budget. An attempt holds one of the slots that it is after while it logs in, and the processors of those who are served:
    /// however many wait, most of them must not be at the door. How many they are nobody tells, but a server that takes twice
    /// as long to say no has too many before it. So the pause grows with the square of that, the more refusals bear it out.
    pub(crate) fn next_of(&mut self, waited: f64, cost: Duration, usual: Duration, left: Duration) -> Duration {
        let least = self.base * 3;
        let cap = self.cap.saturating_sub(least).mul_f64((1.0 - 2.0 * waited).max(0.0)) + least;
        let slower = (cost.as_secs_f64() / usual.max(LEAST_USUAL).as_secs_f64()).clamp(1.0, self.believed);
        self.believed *= 2.0;
        let away = cost.as_secs_f64() * AWAY * slower * slower * (0.5 + self.rng.f64());
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
    fn who_was_turned_away_slowly_comes_back_late() {
        let (base, cap) = (Duration::from_millis(20), Duration::from_millis(500));
        let (usual, left) = (Duration::from_millis(10), Duration::from_secs(9));
        let pauses = || Backoff::new(base, cap, fastrand::Rng::with_seed(7));
        let ms = Duration::from_millis;
        let mut quick = pauses();
        for waited in [0.0, 0.3, 0.9] {
            assert!(quick.next_of(waited, ms(1), usual, left) <= cap, "a quick refusal changes nothing");
        }
        assert!(quick.next_of(0.5, ms(0), usual, left) <= base * 3, "who has waited longest tries most often");
        let mut slow = pauses();
        for least in [80, 320, 320] {
            let pause = slow.next_of(0.9, ms(20), usual, left);
            assert!((ms(least)..=ms(least * 3)).contains(&pause), "twice as slow, four times the pause: {pause:?}");
        }
        let mut slower = pauses();
        for least in [400, 1600, 3000] {
            let pause = slower.next_of(0.9, ms(100), usual, left);
            assert!((ms(least)..=left / 3).contains(&pause), "some attempts are left: {pause:?}");
        }
        let zero = Duration::ZERO;
        assert!(pauses().next_of(0.5, left, zero, zero) <= base * 3, "no time, and nothing is usual");
        assert!(pauses().next_of(0.5, zero, zero, left) <= base * 3, "nothing took any time");
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
