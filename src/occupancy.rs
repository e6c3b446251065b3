//! How full a server is, as it says itself.

use std::fmt;

/// The sessions of a server and how many it admits: of all users, or of this login's role or database where that limit
/// is the nearer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occupancy {
    /// Sessions that are there.
    pub sessions: u32,
    /// The most that this login could see there, reserved slots not counted.
    pub limit: u32,
    /// How many of the sessions call themselves after this crate, where that was counted.
    pub ours: Option<u32>,
}

impl Occupancy {
    /// Of several limits the one with the least room left.
    pub(crate) fn nearest(limits: impl IntoIterator<Item = (i64, i64)>, ours: Option<i64>) -> Option<Self> {
        let number = |value: i64| u32::try_from(value.max(0)).unwrap_or(u32::MAX);
        let (sessions, limit) = limits.into_iter().min_by_key(|(sessions, limit)| limit.saturating_sub(*sessions))?;
        Some(Self { sessions: number(sessions), limit: number(limit), ours: ours.map(number) })
    }

    /// Whether the environments of this crate that are there could not all have as many connections as each may. Of how many
    /// environments the sessions are is not seen: the fewest are counted that can be.
    pub(crate) fn is_outgrown_by(self, most_of_each: usize) -> bool {
        let (ours, most) = (u64::from(self.ours.unwrap_or_default().max(1)), most_of_each.max(1) as u64);
        let others = u64::from(self.sessions).saturating_sub(ours);
        others + ours.div_ceil(most).saturating_mul(most) > u64::from(self.limit)
    }

    /// The share of the slots that is taken; a limit of none is full.
    pub(crate) fn share(self) -> f64 {
        if self.limit == 0 { 1.0 } else { f64::from(self.sessions) / f64::from(self.limit) }
    }
}

impl fmt::Display for Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} sessions", self.sessions, self.limit)?;
        match self.ours {
            Some(ours) => write!(f, ", {ours} of them of lambda-rds"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_with_the_least_room_counts() {
        let of = |sessions, limit| Some(Occupancy { sessions, limit, ours: None });
        assert_eq!(Occupancy::nearest([(50, 97)], None), of(50, 97));
        assert_eq!(Occupancy::nearest([(50, 97), (4, 5)], None), of(4, 5));
        assert_eq!(Occupancy::nearest([(20, 17), (4, 5)], None), of(20, 17));
        assert_eq!(Occupancy::nearest([], None), None);
    }

    #[test]
    fn a_server_is_outgrown_where_those_that_are_there_could_not_have_what_each_may() {
        for (sessions, ours, limit, most, outgrown) in [
            (1, Some(1), 17, 17, false),
            (1, Some(1), 17, 18, true),
            (10, Some(1), 17, 8, false),
            (10, Some(1), 17, 9, true),
            (10, Some(10), 17, 10, false),
            (11, Some(11), 17, 10, true),
            (17, Some(17), 17, 1, false),
            (3, None, 17, 16, true),
            (0, None, 0, 1, true),
        ] {
            let occupancy = Occupancy { sessions, limit, ours };
            assert_eq!(occupancy.is_outgrown_by(most), outgrown, "{occupancy}, {most} each");
        }
        assert!(Occupancy { sessions: u32::MAX, limit: 0, ours: Some(u32::MAX) }.is_outgrown_by(usize::MAX));
    }

    #[test]
    fn numbers_that_make_no_sense_are_no_panic() {
        for (sessions, limit) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, 0), (-1, -1)] {
            let occupancy = Occupancy::nearest([(sessions, limit)], Some(i64::MIN)).unwrap();
            assert!(occupancy.share() >= 0.0, "{occupancy}");
        }
    }
}
