//! How often this environment has something to do.

use std::time::Duration;

/// How long this environment was idle between its works, the last three times.
///
/// The middle one is the usual one. A mean would remember the hour before a crowd for as long as the crowd lasts, and the
/// last one alone is chance.
#[derive(Debug, Default)]
pub(super) struct Gaps([Option<Duration>; 3]);

impl Gaps {
    pub(super) fn note(&mut self, gap: Duration) {
        let [_, older, old] = self.0;
        self.0 = [older, old, Some(gap)];
    }

    /// The usual one so far. Of two the shorter one: that the second has come so soon is news.
    pub(super) fn usual(&self) -> Option<Duration> {
        match self.0 {
            [Some(one), Some(other), Some(last)] => Some(one.max(other).min(one.min(other).max(last))),
            [_, Some(old), Some(last)] => Some(old.min(last)),
            [.., last] => last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_gap_follows_a_crowd_at_once_and_is_not_fooled_by_one() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.usual(), None);
        for (gap, usual) in [(3600, 3600), (1, 1), (1, 1), (900, 1), (1, 1), (60, 60), (60, 60), (2, 60), (50, 50)] {
            gaps.note(Duration::from_secs(gap));
            assert_eq!(gaps.usual(), Some(Duration::from_secs(usual)), "after {gap}");
        }
    }
}
