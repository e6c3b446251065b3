//! Whether a connection at rest is worth the slot that it takes up on the server.
//!
//! Environments do not know each other, and a frozen one cannot act: what it keeps while it is frozen nobody else gets.
//! So each decides at the end of its work, from what it knows by itself: how full the server was when it was last asked,
//! whether it was turned away, how long it usually lies idle, what a connect costs it.
//!
//! | the server | what happens |
//! |---|---|
//! | is at most half full, or at most 30 % for a while after a crowd | the connection is kept |
//! | is fuller, or has turned this environment away lately | it is kept by who comes back sooner than a connect is worth, and given back by everybody else |
//! | stays full, or nearly | who keeps one lets it go now and then: somebody may be waiting who cannot say so |
//! | is more than half full | the server closes what is kept when it has been idle for [`TERM`]: a frozen environment cannot |
//! | is more than three quarters full, or has turned this environment away lately | the server closes what is kept after [`GAPS`] times its usual idle time, at least [`LEAST_TERM`], at most [`TERM`] |
//! | is more than an eighth full | the server closes the connection of an environment that has worked only once after [`FIRST_TERM`] |
//!
//! Why half? The other half is enough for those who come and go: as long as an environment works for less than half of its
//! time, all of them are served. Each connect that is refused halves the gap up to which a connection is kept, for others need
//! the slot more; each connect that is not refused widens it again.

use std::time::Duration;

use super::gaps::Gaps;
use crate::clock::Moment;
use crate::occupancy::Occupancy;

/// Up to this share everybody keeps what they have.
const ROOMY: f64 = 0.5;
/// While a crowd is remembered, connections are kept only up to this share: with the other one the fleet would swing.
const ROOMY_AGAIN: f64 = 0.3;
/// From this share on the server is remembered as crowded.
const CROWDED: f64 = 0.75;
/// For how long.
const MEMORY: Duration = Duration::from_secs(20);
/// How old an answer may be: a second, and after each answer that shows room twice as long, up to the latest. The question costs
/// a round trip after the response.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_AT_LATEST: Duration = Duration::from_secs(16);
/// A connect takes up a slot and two processors, so that an idle connection is worth its slot for this many times as long as a
/// connect takes.
const WORTH: u32 = 8;
/// The bounds of that worth: a login on a busy processor is no measure.
const LEAST_WORTH: Duration = Duration::from_millis(250);
const MOST_WORTH: Duration = Duration::from_secs(1);
/// Factors of the readiness to keep: one of each refused connect, one of each that is not refused.
const CUT: f64 = 0.5;
const GROWTH: f64 = 1.25;
const LEAST_READINESS: f64 = 1.0 / 8.0;
/// An environment that keeps a connection in a crowd normally comes back within this time. One that does not is frozen and cannot
/// give its slot back, so the server closes the connection.
pub(super) const TERM: Duration = Duration::from_secs(2);
/// In a crowd: Lambda calls the environment that worked last, so that the one that has not worked for longest stays idle, and the
/// longer the more there are. Its slot goes to those who wait, and not the slot of one that is about to be called.
const GAPS: u32 = 4;
const LEAST_TERM: Duration = Duration::from_millis(50);
/// Who has served once may have been made for a crowd that is over. Until it has come a second time the server waits no longer
/// than this, unless it is nearly empty: then nobody minds.
const FIRST_TERM: Duration = Duration::from_secs(10);
const NEARLY_EMPTY: f64 = 0.125;
/// From this share on a server counts as full. It is not 1: the others see the one slot that somebody has let go, and would not
/// let go of theirs.
const FULL: f64 = 0.9;
/// A server that is full for so long at each look may have somebody waiting before it. Spread from half to one and a half
/// times that, so that not all let go at once.
const BORNE: Duration = Duration::from_secs(4);

/// What to do with connections at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    GiveBack,
}

/// What work is. The kinds are kept apart because the pause between `main`'s session and the first invocation does not recur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Invocation,
    Session,
}

/// One environment's account of its server.
#[derive(Debug)]
pub(super) struct Retention {
    rng: fastrand::Rng,
    /// The last answer, if there was one, and when it was asked for.
    asked: Option<(Option<Occupancy>, Moment)>,
    /// A connection was made that the last answer does not count.
    uncounted: bool,
    /// How old the last answer may become.
    ask_after: Duration,
    /// The last refusal, or the last look at a crowded server.
    crowded: Option<Moment>,
    refused: Option<Moment>,
    /// Since when every look has shown a full server, and for how long that is borne.
    full: Option<(Moment, Duration)>,
    /// The end of the last work, and how long after one the next has begun, lately.
    ended: Option<(Kind, Moment)>,
    gaps: Gaps,
    cheapest: Option<Duration>,
    /// From 0 to 1: the share of a connect's worth within which the next work must usually begin for a connection to be kept.
    readiness: f64,
}

impl Retention {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self {
            rng,
            asked: None,
            uncounted: false,
            ask_after: ASK_AGAIN,
            crowded: None,
            refused: None,
            full: None,
            ended: None,
            gaps: Gaps::default(),
            cheapest: None,
            readiness: 1.0,
        }
    }

    /// Work begins: an invocation, or a session outside of any.
    pub(super) fn began(&mut self, work: Kind, now: Moment) {
        let Some((_, ended)) = self.ended.take().filter(|(kind, _)| *kind == work) else { return };
        self.gaps.note(now.since(ended));
    }

    /// The work is done.
    pub(super) fn ended(&mut self, work: Kind, now: Moment) {
        self.ended = Some((work, now));
    }

    /// A connect has succeeded, the first attempt or after refusals.
    pub(super) fn connected(&mut self, took: Duration, was_refused: bool) {
        self.uncounted = true;
        if !was_refused {
            self.cheapest = Some(self.cheapest.map_or(took, |cheapest| cheapest.min(took)));
            if self.crowded.is_some() {
                self.readiness = (self.readiness * GROWTH).min(1.0);
            }
        }
    }

    /// The server has turned a connect away: the first of it, or one more.
    pub(super) fn refused(&mut self, is_first: bool, now: Moment) {
        (self.crowded, self.refused) = (Some(now), Some(now));
        if is_first {
            self.readiness = (self.readiness * CUT).max(LEAST_READINESS);
        }
    }

    /// Whether the server is to be asked how full it is. It costs a round trip that nobody waits for.
    pub(super) fn wants_to_know(&self, now: Moment) -> bool {
        let Some((seen, asked)) = self.asked else { return true };
        // In a crowd nearly every invocation has a connect; asking after each would be a load of its own.
        let is_news = self.uncounted && seen.is_some() && !self.is_crowded(now);
        is_news || now.since(asked) >= self.ask_after
    }

    /// The server has not answered in time, or not at all: it has enough to do.
    pub(super) fn unanswered(&mut self, now: Moment) {
        self.crowded = Some(now);
        self.refused = Some(now);
    }

    /// The server's answer.
    pub(super) fn told(&mut self, occupancy: Option<Occupancy>, now: Moment) {
        self.asked = Some((occupancy, now));
        self.uncounted = false;
        let is_roomy = occupancy.is_none_or(|occupancy| occupancy.share() <= ROOMY);
        self.ask_after = if is_roomy { (self.ask_after * 2).min(ASK_AT_LATEST) } else { ASK_AGAIN };
        let Some(occupancy) = occupancy else { return };
        if occupancy.share() > CROWDED {
            self.crowded = Some(now);
        }
        if occupancy.share() < FULL {
            self.full = None;
        } else if self.full.is_none() {
            self.full = Some((now, BORNE.mul_f64(0.5 + self.rng.f64())));
        }
    }

    /// What the server was last seen like, and how long ago.
    pub(super) fn seen(&self, now: Moment) -> Option<(Occupancy, Duration)> {
        self.asked.and_then(|(occupancy, at)| Some((occupancy?, now.since(at))))
    }

    /// Whether the ends of sessions are worth a thought.
    pub(super) fn is_pressed(&self, now: Moment) -> bool {
        self.is_crowded(now) || self.seen(now).is_some_and(|(seen, _)| seen.share() > ROOMY)
    }

    /// For how long what is kept may lie idle, where that is not for `idle_timeout`.
    pub(super) fn idle_term(&self, now: Moment) -> Option<Duration> {
        if self.is_pressed(now) {
            let usual = self.gaps.usual().filter(|_| self.is_crowded(now));
            return Some(usual.map_or(TERM, |gap| gap.saturating_mul(GAPS).clamp(LEAST_TERM, TERM)));
        }
        let is_first = self.gaps.usual().is_none();
        let is_used = self.seen(now).is_some_and(|(seen, _)| seen.share() > NEARLY_EMPTY);
        (is_first && is_used).then_some(FIRST_TERM)
    }

    /// What to do with what is at rest, at the end of the work.
    pub(super) fn judge(&mut self, now: Moment) -> Decision {
        let refused = self.refused.map(|refused| now.since(refused)).filter(|ago| *ago < MEMORY);
        let share = match (self.seen(now), refused) {
            (Some((seen, asked)), Some(refused)) if asked <= refused => seen.share(),
            (_, Some(_)) => 1.0,
            (Some((seen, _)), None) => seen.share(),
            (None, None) => return Decision::Keep,
        };
        if share <= if self.is_crowded(now) { ROOMY_AGAIN } else { ROOMY } {
            return Decision::Keep;
        }
        let is_borne = self.full.is_none_or(|(since, bound)| now.since(since) < bound);
        if self.comes_back() && is_borne {
            return Decision::Keep;
        }
        self.full = None;
        Decision::GiveBack
    }

    /// Whether the next work usually begins sooner than a connect is worth.
    fn comes_back(&self) -> bool {
        let worth = self.cheapest.map_or(LEAST_WORTH, |cheapest| (cheapest * WORTH).clamp(LEAST_WORTH, MOST_WORTH));
        self.gaps.usual().is_some_and(|gap| gap <= worth.mul_f64(self.readiness))
    }

    fn is_crowded(&self, now: Moment) -> bool {
        self.crowded.is_some_and(|at| now.since(at) < MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::at(Duration::from_secs_f64(seconds))
    }

    fn of_a_hundred(sessions: u32) -> Option<Occupancy> {
        Some(Occupancy { sessions, limit: 100, ours: None })
    }

    /// One that is invoked every `gap` seconds, for a while, and was told so at the end of each.
    fn invoked_every(gap: f64, sessions: u32) -> (Retention, f64) {
        let mut retention = Retention::new(fastrand::Rng::with_seed(1));
        retention.connected(Duration::from_millis(20), false);
        let mut now = 0.0;
        for _ in 0..5 {
            retention.began(Kind::Invocation, at(now));
            retention.told(of_a_hundred(sessions), at(now));
            retention.ended(Kind::Invocation, at(now));
            now += gap;
        }
        retention.began(Kind::Invocation, at(now));
        (retention, now)
    }

    #[test]
    fn a_slot_is_kept_by_whoever_needs_it_soonest() {
        for (gap, sessions, verdict) in [
            (0.1, 10, Decision::Keep),
            (60.0, 10, Decision::Keep),
            (60.0, 50, Decision::Keep),
            (60.0, 51, Decision::GiveBack),
            (0.3, 60, Decision::GiveBack),
            (0.1, 60, Decision::Keep),
            (0.1, 99, Decision::Keep),
            (0.3, 99, Decision::GiveBack),
            (60.0, 100, Decision::GiveBack),
        ] {
            let (mut retention, now) = invoked_every(gap, sessions);
            retention.told(of_a_hundred(sessions), at(now));
            assert_eq!(retention.judge(at(now)), verdict, "every {gap} s, {sessions} of 100");
        }
    }

    #[test]
    fn what_is_kept_in_a_crowd_is_let_for_a_few_of_its_gaps() {
        for (gap, sessions, term) in [
            (0.1, 10, None),
            (0.1, 70, Some(2000)),
            (0.001, 80, Some(50)),
            (0.1, 80, Some(400)),
            (0.2, 100, Some(800)),
            (60.0, 100, Some(2000)),
        ] {
            let (mut retention, now) = invoked_every(gap, sessions);
            retention.told(of_a_hundred(sessions), at(now));
            assert_eq!(
                retention.idle_term(at(now)),
                term.map(Duration::from_millis),
                "every {gap} s, {sessions} of 100"
            );
        }
    }

    #[test]
    fn from_the_init_to_the_first_invocation_is_no_gap() {
        let mut retention = Retention::new(fastrand::Rng::with_seed(1));
        retention.connected(Duration::from_millis(20), false);
        retention.ended(Kind::Session, at(0.0));
        retention.began(Kind::Invocation, at(0.001));
        retention.told(of_a_hundred(80), at(0.05));
        assert_eq!(retention.judge(at(0.05)), Decision::GiveBack);
    }

    #[test]
    fn nothing_is_given_back_while_nothing_is_known() {
        let mut retention = Retention::new(fastrand::Rng::with_seed(1));
        assert_eq!(retention.judge(at(0.0)), Decision::Keep);
        retention.told(None, at(1.0));
        assert_eq!(retention.judge(at(1.0)), Decision::Keep);
        assert!(!retention.is_pressed(at(1.0)));
    }

    #[test]
    fn who_was_turned_away_gives_back_and_goes_on_to_until_there_is_much_room() {
        let (mut retention, now) = invoked_every(0.2, 40);
        retention.refused(true, at(now));
        assert_eq!(retention.judge(at(now)), Decision::GiveBack, "whatever was seen before");
        for (sessions, verdict) in [(40, Decision::GiveBack), (31, Decision::GiveBack), (30, Decision::Keep)] {
            retention.told(of_a_hundred(sessions), at(now));
            assert_eq!(retention.judge(at(now)), verdict, "{sessions} of 100");
        }
        let later = now + MEMORY.as_secs_f64();
        retention.told(of_a_hundred(50), at(later));
        assert_eq!(retention.judge(at(later)), Decision::Keep, "forgotten");
    }

    #[test]
    fn connects_without_a_refusal_bring_the_readiness_back() {
        let (mut retention, now) = invoked_every(0.2, 90);
        for first in [true, false, false, true, true] {
            retention.refused(first, at(now));
        }
        retention.told(of_a_hundred(90), at(now));
        let mut connects = 0;
        while retention.judge(at(now)) == Decision::GiveBack {
            retention.connected(Duration::from_millis(20), false);
            connects += 1;
            assert!(connects < 20, "it never comes back");
        }
        assert!(connects >= 4, "after {connects} connects only");
    }

    #[test]
    fn a_last_slot_that_stays_taken_is_let_go_now_and_then() {
        let (mut retention, start) = invoked_every(0.1, 100);
        let (mut kept, mut given) = (0, 0);
        for n in 0..600 {
            let now = at(start + f64::from(n) * 0.1);
            retention.began(Kind::Invocation, now);
            retention.told(of_a_hundred(100), now);
            match retention.judge(now) {
                Decision::Keep => kept += 1,
                Decision::GiveBack => given += 1,
            }
            retention.ended(Kind::Invocation, now);
        }
        assert!((10..=60).contains(&given), "{given} of {}", given + kept);
    }

    #[test]
    fn the_question_is_rare_where_there_is_room() {
        let (mut retention, now) = invoked_every(0.1, 50);
        retention.told(of_a_hundred(50), at(now));
        for (after, wants) in [(0.0, false), (15.9, false), (16.0, true)] {
            assert_eq!(retention.wants_to_know(at(now + after)), wants, "after {after} s");
        }
        retention.connected(Duration::from_millis(20), false);
        assert!(retention.wants_to_know(at(now)), "one more is there now");
        retention.told(of_a_hundred(51), at(now));
        assert!(!retention.wants_to_know(at(now + 0.9)) && retention.wants_to_know(at(now + 1.0)), "it fills up");
        retention.told(None, at(now));
        assert!(!retention.wants_to_know(at(now)), "it does not say");
        retention.told(of_a_hundred(90), at(now));
        retention.connected(Duration::from_millis(20), false);
        assert!(!retention.wants_to_know(at(now)), "there is a crowd, and it is known");
    }
}
