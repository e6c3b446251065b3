//! What has to happen on a connection before a session's next exchange, and in which order. Pure: whoever performs a step
//! notes its answer in the account, and asks again.

use super::State;

/// What is done next to make the connection fit. Most steps take one exchange; some find out that none is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Step {
    /// Read to its end what a dropped statement left on its way.
    Drain,
    /// Send the rollback of a transaction, or of a savepoint, that was dropped at this depth.
    RollBack(usize),
    /// Ask whether a transaction is open: a text from begin to end failed half way.
    AskAfterText,
    /// Ask whether the transaction is still open in which a statement failed.
    AskAfterFailure,
    /// Make what is prepared mean again what its text says.
    Replan,
    /// Put the session's settings on the connection, and take others' off.
    Replay,
}

/// What the connection adds to what the session knows.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::session) struct Facts {
    /// An exchange on it was not read to its end.
    pub(in crate::session) in_flight: bool,
    /// What is prepared on it may mean something else by now.
    pub(in crate::session) stale: bool,
    /// It has other settings than the session, and is to have the session's.
    pub(in crate::session) other_settings: bool,
}

/// The steps that are taken at most once before a statement. If the server refuses one, it would refuse a second too, and the
/// statement itself then shows the error.
#[derive(Debug, Default)]
pub(in crate::session) struct Taken {
    replan: bool,
    replay: bool,
}

impl State {
    /// The next step, or `None` when the connection is fit.
    ///
    /// The order is the rule: nothing is sent before the answers to what was sent are read; nothing is asked in a transaction
    /// that is to be rolled back; whether one is open is known before plans and settings are looked at, for a rollback takes
    /// settings back.
    pub(in crate::session) fn next(&mut self, facts: Facts, taken: &mut Taken) -> Option<Step> {
        if facts.in_flight {
            return Some(Step::Drain);
        }
        if self.gone {
            // The server has rolled back further already.
            self.abandoned = None;
        }
        if let Some(depth) = self.abandoned {
            return Some(Step::RollBack(depth));
        }
        if self.half_done.is_some() {
            return Some(Step::AskAfterText);
        }
        if self.unsure.is_some() {
            return Some(Step::AskAfterFailure);
        }
        if facts.stale && !std::mem::replace(&mut taken.replan, true) {
            return Some(Step::Replan);
        }
        if facts.other_settings && !std::mem::replace(&mut taken.replay, true) {
            return Some(Step::Replay);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::core::{SettingChange, Unsure};

    /// All that can be the case before an exchange.
    #[derive(Debug, Clone, Copy)]
    struct Case {
        in_flight: bool,
        abandoned: Option<usize>,
        gone: bool,
        half_done: bool,
        unsure: bool,
        stale: bool,
        other_settings: bool,
    }

    fn cases() -> impl Iterator<Item = Case> {
        let flags = |n: u32, bit: u32| n & (1 << bit) != 0;
        let all = (0..64).flat_map(|n| [None, Some(1), Some(2)].map(|abandoned| (n, abandoned)));
        all.map(move |(n, abandoned)| Case {
            in_flight: flags(n, 0),
            abandoned,
            gone: flags(n, 1),
            half_done: flags(n, 2),
            unsure: flags(n, 3),
            stale: flags(n, 4),
            other_settings: flags(n, 5),
        })
    }

    fn account(case: Case) -> State {
        let mut state = State::default();
        state.begun();
        state.changed(SettingChange::Set(vec![("x".into(), "set x = 1".into())]));
        state.abandoned = case.abandoned;
        state.gone = case.gone;
        state.half_done = case.half_done.then(|| "half".to_owned());
        state.unsure = case.unsure.then(|| Unsure { why: "unsure".to_owned(), untold: false });
        state
    }

    /// Takes all steps, and every one is answered as well as it can be, or not at all for the better.
    fn steps(case: Case, heals: bool) -> Vec<Step> {
        let (mut state, mut taken, mut steps) = (account(case), Taken::default(), Vec::new());
        let mut facts = Facts { in_flight: case.in_flight, stale: case.stale, other_settings: case.other_settings };
        while let Some(step) = state.next(facts, &mut taken) {
            steps.push(step);
            match step {
                Step::Drain => facts.in_flight = false,
                Step::RollBack(_) => state.rolled_back_abandoned(),
                Step::AskAfterText => state.found_half_done(heals),
                Step::AskAfterFailure => state.found_unsure(heals),
                Step::Replan => facts.stale &= !heals,
                Step::Replay => facts.other_settings &= !heals,
            }
            assert!(steps.len() <= 6, "{case:?} has no end: {steps:?}");
        }
        steps
    }

    #[test]
    fn each_step_has_its_cause_and_its_place_whatever_else_is_the_case() {
        let mut seen = 0;
        for case in cases() {
            let expected: Vec<_> = [
                case.in_flight.then_some(Step::Drain),
                case.abandoned.filter(|_| !case.gone).map(Step::RollBack),
                case.half_done.then_some(Step::AskAfterText),
                case.unsure.then_some(Step::AskAfterFailure),
                case.stale.then_some(Step::Replan),
                case.other_settings.then_some(Step::Replay),
            ]
            .into_iter()
            .flatten()
            .collect();
            for heals in [true, false] {
                assert_eq!(steps(case, heals), expected, "{case:?}, {heals}");
            }
            seen += 1;
        }
        assert_eq!(seen, 192);
    }

    #[test]
    fn a_connection_at_rest_with_the_sessions_settings_takes_no_step() {
        let mut state = State::default();
        assert_eq!(state.next(Facts::default(), &mut Taken::default()), None);
        state.begun();
        state.failed("22012");
        assert_eq!(state.next(Facts::default(), &mut Taken::default()), None, "the server says the rest");
    }
}
