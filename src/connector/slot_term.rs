//! For how long a connection that is kept in a crowd may lie idle before the server closes it.
//!
//! The term is a setting of the server's session, and nobody of those who come next has set it: it is taken back before their
//! first statement, like any setting of somebody else, and set anew after their last one. Those are two round trips that the
//! processors of a crowded server have to serve beside each statement, and an environment that sends one statement in an
//! invocation would pay three for one. So what has turned out to be one statement alone runs under the term, as long as less
//! than half of that is gone: then nothing is sent but the statement. Whoever sends a second one has the term taken back, for
//! it would lose the connection when it computes for longer in between.

use std::time::Duration;

use crate::clock::Moment;
use crate::engine::Settings;

/// A term that a connection was let for.
#[derive(Debug)]
pub(super) struct SlotTerm {
    /// What the connection was set to, the term with it.
    settings: Settings,
    span: Duration,
    since: Moment,
    /// How often the connection had been lent by then.
    loans: u64,
    /// The work before it was one statement.
    was_alone: bool,
}

impl SlotTerm {
    pub(super) fn new(settings: Settings, span: Duration, since: Moment, loans: u64) -> Self {
        Self { settings, span, since, loans, was_alone: false }
    }

    /// The work since the term began is over: notes whether it was one statement, and counts the term from here.
    pub(super) fn after_work(&mut self, used: Moment, loans: u64) {
        (self.was_alone, self.since, self.loans) = (self.was_for_one(loans), used, loans);
    }

    /// As `after_work`, for the term in whose place this one stands.
    pub(super) fn following(self, former: Option<Self>) -> Self {
        let was_alone = former.is_some_and(|former| former.was_for_one(self.loans));
        Self { was_alone, ..self }
    }

    /// Whether these settings are still those of the term, and it is about as long as one that is wanted. The wanted one
    /// is an estimate, and not worth a round trip for less than a factor of two.
    pub(super) fn serves(&self, settings: &Settings, wanted: Duration) -> bool {
        self.is_in_place(settings) && self.span <= wanted * 2 && wanted <= self.span * 2
    }

    /// Whether a statement may run under it: the first since it was set, of an environment that has sent one alone the last
    /// time, and soon enough that the server cannot be closing the connection.
    pub(super) fn bears_one(&self, settings: &Settings, now: Moment, loans: u64) -> bool {
        let is_all = self.settings.len() == 1 && self.is_in_place(settings);
        is_all && self.was_alone && loans == self.loans + 1 && now.since(self.since) <= self.span / 2
    }

    /// Whether the work since it began was one statement: a session takes the connection for each.
    fn was_for_one(&self, loans: u64) -> bool {
        loans - self.loans <= 1
    }

    fn is_in_place(&self, settings: &Settings) -> bool {
        !settings.is_empty() && self.settings.is_shared_with(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(400);

    fn at(milliseconds: u64) -> Moment {
        Moment::at(Duration::from_millis(milliseconds))
    }

    fn settings(names: &[&str]) -> Settings {
        let mut settings = Settings::default();
        for name in names {
            settings.set((*name).to_owned(), "set".to_owned());
        }
        settings
    }

    #[test]
    fn one_statement_alone_runs_under_it_and_the_second_does_not() {
        let with_term = settings(&["term"]);
        let mut term = SlotTerm::new(with_term.clone(), SPAN, at(0), 7);
        assert!(!term.bears_one(&with_term, at(1), 8), "nothing is known of the work before");
        for (loans, was_alone) in [(8, true), (10, false), (11, true), (11, true)] {
            term.after_work(at(1000), loans);
            for (after, lent, bears) in [(0, 1, true), (200, 1, true), (201, 1, false), (0, 2, false), (0, 3, false)] {
                let seen = term.bears_one(&with_term, at(1000 + after), loans + lent);
                assert_eq!(seen, bears && was_alone, "{loans} loans, the {lent}. after {after} ms");
            }
        }
    }

    #[test]
    fn it_bears_nothing_beside_other_settings_or_when_it_was_taken_back() {
        let both = settings(&["other", "term"]);
        let mut term = SlotTerm::new(both.clone(), SPAN, at(0), 0);
        term.after_work(at(0), 1);
        assert!(!term.bears_one(&both, at(0), 2));
        let with_term = settings(&["term"]);
        let mut term = SlotTerm::new(with_term, SPAN, at(0), 0);
        term.after_work(at(0), 1);
        for settings in [Settings::default(), settings(&["term"]), settings(&["another"])] {
            assert!(!term.bears_one(&settings, at(0), 2), "{settings:?} are not the very ones");
            assert!(!term.serves(&settings, SPAN));
        }
    }

    #[test]
    fn a_term_that_is_about_right_is_not_set_again() {
        let with_term = settings(&["term"]);
        let term = SlotTerm::new(with_term.clone(), SPAN, at(0), 0);
        for (wanted, serves) in [(199, false), (200, true), (400, true), (800, true), (801, false)] {
            assert_eq!(term.serves(&with_term, Duration::from_millis(wanted)), serves, "{wanted} ms");
        }
    }

    #[test]
    fn what_was_one_statement_is_known_though_the_term_was_taken_back_in_between() {
        let with_term = settings(&["term"]);
        for (loans, was_alone) in [(4, true), (5, true), (6, false)] {
            let former = SlotTerm::new(settings(&["term"]), SPAN, at(0), 4);
            let term = SlotTerm::new(with_term.clone(), SPAN, at(500), loans).following(Some(former));
            assert_eq!(term.bears_one(&with_term, at(500), loans + 1), was_alone, "{loans} loans");
        }
        assert!(!SlotTerm::new(with_term.clone(), SPAN, at(0), 1).following(None).bears_one(&with_term, at(0), 2));
    }
}
