//! When this environment may ask the RDS API.
//!
//! Why so rarely? All calls of an account in a region share a bucket of 300 that fills at 12 a second
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-api-throttling.html>), deployments and dashboards
//! included. A fleet cannot agree on turns, since its environments do not know each other; but each can tell how many
//! there are, from the sessions that the writer shows, and keep to its share. The whole fleet then looks twice a second
//! at the most, which is four calls where addresses are asked for too: a third of what there is.

use std::time::Duration;

use crate::clock::Moment;
use crate::error::EndpointProblem;

/// Of the whole fleet, each of one or two calls.
const LOOKS_PER_SECOND: f64 = 2.0;
/// Without any count the fleet may be as large as this: a thousand is Lambda's default quota of concurrency, and ten
/// times that a common raise (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const UNKNOWN_FLEET: u32 = 10_000;
/// A smaller count is not believed for this long after a suspicion: a new writer shows few sessions while the fleet is
/// still on its way to it. As long as an environment's sessions live without use.
const MEMORY: Duration = Duration::from_secs(300);
/// What cannot be asked is left alone for this long; a repaired role or route is noticed in the end.
const GIVEN_UP: Duration = Duration::from_secs(3600);
/// Each throttled look doubles the interval, up to 64 times.
const MOST_STRIKES: u32 = 6;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// It is not this environment's turn.
    Wait,
    /// It would be its turn, but its count of the fleet is old: count again, on a connection to the writer, and ask for
    /// advice again. Where there is none the count stands.
    Count,
    /// Ask. The turn is taken.
    Ask,
}

#[derive(Debug)]
pub(crate) struct ApiBudget {
    interval: Duration,
    rng: fastrand::Rng,
    /// How many sessions the fleet has, and when that was counted.
    fleet: Option<(u32, Moment)>,
    /// The last turn, or the beginning.
    last: Moment,
    has_asked: bool,
    /// Where between one and two intervals the next turn is.
    draw: f64,
    /// A suspicion's own turn: since when, and where in the fleet's window.
    suspicion: Option<(Moment, f64)>,
    /// The last suspicion, settled or not.
    suspected: Option<Moment>,
    strikes: u32,
    given_up: Option<Moment>,
}

impl ApiBudget {
    pub(crate) fn new(interval: Duration, now: Moment, mut rng: fastrand::Rng) -> Self {
        let draw = rng.f64();
        Self {
            interval,
            rng,
            fleet: None,
            last: now,
            has_asked: false,
            draw,
            suspicion: None,
            suspected: None,
            strikes: 0,
            given_up: None,
        }
    }

    /// How many sessions the writer shows.
    pub(crate) fn count(&mut self, sessions: u32, now: Moment) {
        let is_unsettled = self.suspected.is_some_and(|at| now.since(at) < MEMORY);
        let known = self.fleet.filter(|_| is_unsettled).map_or(1, |(known, _)| known);
        self.fleet = Some((sessions.max(known), now));
    }

    /// The writer is in doubt. One suspicion is one turn, however often it is raised.
    pub(crate) fn suspect(&mut self, now: Moment) {
        self.suspected = Some(now);
        if self.suspicion.is_none() {
            self.suspicion = Some((now, self.rng.f64()));
        }
    }

    /// The writer is found: most of a fleet never needs its turn.
    pub(crate) fn settle(&mut self) {
        self.suspicion = None;
    }

    /// Whether to ask now. `can_count`: there is a connection to the writer.
    pub(crate) fn advise(&mut self, can_count: bool, now: Moment) -> Advice {
        if self.given_up.is_some_and(|since| now.since(since) < GIVEN_UP) {
            return Advice::Wait;
        }
        if !self.left(now).is_zero() {
            return Advice::Wait;
        }
        let is_old = self.fleet.is_none_or(|(_, counted)| now.since(counted) > self.interval);
        if can_count && is_old && self.suspicion.is_none() {
            return Advice::Count;
        }
        (self.last, self.has_asked, self.draw, self.suspicion) = (now, true, self.rng.f64(), None);
        Advice::Ask
    }

    /// The API has answered.
    pub(crate) fn answered(&mut self) {
        (self.strikes, self.given_up) = (0, None);
    }

    /// The API has not. True when that is the end of asking, for a long while.
    pub(crate) fn failed(&mut self, problem: EndpointProblem, now: Moment) -> bool {
        match problem {
            EndpointProblem::Denied | EndpointProblem::NoAnswer | EndpointProblem::NotFound => {
                self.given_up = Some(now);
                true
            }
            _ => {
                self.strikes = (self.strikes + 1).min(MOST_STRIKES);
                false
            }
        }
    }

    /// How long until the next turn. A suspicion's comes in the place of the usual one.
    fn left(&self, now: Moment) -> Duration {
        let (window, penalty) = (self.window(), f64::from(1 << self.strikes));
        let Some((since, draw)) = self.suspicion else {
            // Never twice within an interval of one's own because the fleet seems small.
            let usual = self.interval.max(window).mul_f64((1.0 + self.draw) * penalty);
            return usual.saturating_sub(now.since(self.last));
        };
        // Who has asked lately waits for one share first, and then as long as everybody: a whole fleet that has, and
        // came to nothing, does not come back all at once.
        let share = if self.has_asked { window.mul_f64(penalty) } else { Duration::ZERO };
        let asked = now.since(self.last);
        let waited = now.since(since).min(asked.saturating_sub(share));
        share.saturating_sub(asked) + window.mul_f64(draw).saturating_sub(waited)
    }

    /// How long the fleet takes for one look each.
    fn window(&self) -> Duration {
        let fleet = self.fleet.map_or(UNKNOWN_FLEET, |(sessions, _)| sessions);
        Duration::from_secs_f64(f64::from(fleet) / LOOKS_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn second(n: u64) -> Moment {
        Moment::at(Duration::from_secs(n))
    }

    /// Runs a fleet in virtual time and gives the calls of each second. `sessions` is what a writer shows at a time;
    /// without one nobody can count.
    fn calls(fleet: &mut [ApiBudget], span: Range<u64>, sessions: impl Fn(u64) -> Option<u32>) -> Vec<u32> {
        let mut calls = vec![0; usize::try_from(span.end - span.start).unwrap()];
        for environment in fleet {
            let mut now = span.start;
            while now < span.end {
                let left = environment.left(second(now));
                if !left.is_zero() {
                    now += left.as_secs() + 1;
                    continue;
                }
                let writer = sessions(now);
                let mut advice = environment.advise(writer.is_some(), second(now));
                if let (Advice::Count, Some(sessions)) = (advice, writer) {
                    environment.count(sessions, second(now));
                    advice = environment.advise(true, second(now));
                }
                if advice == Advice::Ask {
                    environment.answered();
                    // The cluster, and its members' addresses.
                    calls[usize::try_from(now - span.start).unwrap()] += 2;
                }
            }
        }
        calls
    }

    /// Small seeds next to each other give first numbers next to each other.
    fn rng(n: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn environments(count: u64) -> Vec<ApiBudget> {
        (0..count).map(|n| ApiBudget::new(INTERVAL, second(0), rng(n))).collect()
    }

    /// The lowest level of AWS's bucket, which begins full.
    fn lowest_level(calls: &[u32]) -> i64 {
        let mut level = 300_i64;
        let levels = calls.iter().map(|calls| {
            level = (level - i64::from(*calls)).min(300);
            let lowest = level;
            level = (level + 12).min(300);
            lowest
        });
        levels.min().unwrap_or(300)
    }

    fn busiest_minute(calls: &[u32]) -> f64 {
        calls.windows(60).map(|minute| f64::from(minute.iter().sum::<u32>()) / 60.0).fold(0.0, f64::max)
    }

    #[test]
    fn ten_thousand_environments_stay_under_half_of_the_rate() {
        let mut fleet = environments(10_000);
        // They all begin at once, and the first ones see few sessions: the count before the turn corrects that.
        for (n, environment) in fleet.iter_mut().enumerate() {
            environment.count(u32::try_from(n).unwrap(), second(0));
        }
        let steady = calls(&mut fleet, 0..20_000, |_| Some(10_000));
        assert!(busiest_minute(&steady) < 6.0, "{}", busiest_minute(&steady));
        assert!(lowest_level(&steady) > 270, "{}", lowest_level(&steady));
        let total: u32 = steady.iter().sum();
        assert!(total >= 2 * 10_000, "everybody has looked: {total}");

        for environment in &mut fleet {
            environment.suspect(second(20_000));
        }
        // Nobody finds the writer for half a minute, and then it shows hardly any session.
        let failover = calls(&mut fleet, 20_000..26_000, |now| match now {
            ..20_030 => None,
            20_030..20_200 => Some(10),
            _ => Some(10_000),
        });
        assert!(busiest_minute(&failover) < 6.0, "{}", busiest_minute(&failover));
        assert!(lowest_level(&failover) > 270, "{}", lowest_level(&failover));
    }

    #[test]
    fn ten_thousand_that_know_nothing_stay_under_it_too() {
        let mut fleet = environments(10_000);
        for environment in &mut fleet {
            environment.suspect(second(0));
        }
        let cold = calls(&mut fleet, 0..6_000, |_| None);
        assert!(busiest_minute(&cold) < 6.0, "{}", busiest_minute(&cold));
        assert!(lowest_level(&cold) > 270, "{}", lowest_level(&cold));
    }

    #[test]
    fn a_small_fleet_learns_within_seconds() {
        let mut fleet = environments(10);
        for environment in &mut fleet {
            environment.count(20, second(0));
            environment.suspect(second(0));
        }
        let first_turn =
            |one: &mut ApiBudget| (0..60).find(|now| one.advise(false, second(*now)) == Advice::Ask).unwrap();
        let mut waits: Vec<u64> = fleet.iter_mut().map(first_turn).collect();
        waits.sort_unstable();
        assert!(waits[0] <= 4 && waits[9] <= 10, "{waits:?}");
    }

    #[test]
    fn a_suspicion_is_one_turn_and_none_when_it_is_settled() {
        let mut one = ApiBudget::new(INTERVAL, second(0), fastrand::Rng::with_seed(1));
        one.count(1, second(0));
        one.suspect(second(1));
        one.suspect(second(1));
        assert_eq!(one.advise(true, second(2)), Advice::Ask);
        assert_eq!(one.advise(true, second(2)), Advice::Wait);
        one.suspect(second(2));
        assert_eq!(one.advise(true, second(2)), Advice::Wait, "a hunt that goes on has its share, no more");
        one.suspect(second(3));
        one.settle();
        assert_eq!(one.advise(true, second(4)), Advice::Wait);
    }

    #[test]
    fn turns_are_an_interval_apart_and_counted_for() {
        let mut one = ApiBudget::new(INTERVAL, second(0), fastrand::Rng::with_seed(1));
        one.count(1, second(0));
        assert_eq!(one.advise(true, second(29)), Advice::Wait);
        assert_eq!(one.advise(true, second(61)), Advice::Count);
        one.count(1_000, second(61));
        assert_eq!(one.advise(true, second(61)), Advice::Wait, "the fleet has grown");
        assert_eq!(one.advise(false, second(1_100)), Advice::Ask, "an old count is better than none");
    }

    #[test]
    fn a_smaller_count_is_believed_later() {
        let mut one = ApiBudget::new(INTERVAL, second(0), fastrand::Rng::with_seed(1));
        one.count(5_000, second(0));
        one.suspect(second(1_000));
        one.count(3, second(1_010));
        assert_eq!(one.fleet.map(|(sessions, _)| sessions), Some(5_000), "a new writer's sessions are still coming");
        one.count(3, second(1_400));
        assert_eq!(one.fleet.map(|(sessions, _)| sessions), Some(3));
    }

    #[test]
    fn what_is_denied_is_not_asked_again_and_throttling_spreads() {
        let mut one = ApiBudget::new(INTERVAL, second(0), fastrand::Rng::with_seed(1));
        one.count(1, second(0));
        assert!(one.failed(EndpointProblem::Denied, second(0)));
        assert_eq!(one.advise(false, second(3_000)), Advice::Wait);
        assert_eq!(one.advise(false, second(3_601)), Advice::Ask, "the role may have been repaired");
        one.answered();
        for _ in 0..20 {
            assert!(!one.failed(EndpointProblem::Throttled, second(3_601)));
        }
        assert_eq!(one.advise(false, second(3_601 + 64 * 29)), Advice::Wait);
        assert_eq!(one.advise(false, second(3_601 + 64 * 61)), Advice::Ask, "never quite given up");
    }
}
