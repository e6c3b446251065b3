//! The account beside a plain model of a connection that is the session's alone: whatever is begun, set, failed, dropped and
//! ended, in whatever order, the account knows what the server would say.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::text::Turn;
use super::*;

/// What the session does next.
#[derive(Debug, Clone)]
enum Act {
    Set(u8, u8),
    Reset(u8),
    ResetAll,
    Fail,
    Begin,
    /// The innermost guard ends.
    Commit,
    Rollback,
    Drop,
    /// As texts.
    TextBegin,
    TextCommit(bool),
    TextRollback(bool),
    Savepoint(u8),
    RollbackTo(u8),
    Release(u8),
    /// From begin to end in one text, which fails in between if it says so.
    Whole(bool),
    Lose,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..3_u8, 0..4_u8).prop_map(|(name, value)| Act::Set(name, value)),
        1 => (0..3_u8).prop_map(Act::Reset),
        1 => Just(Act::ResetAll),
        2 => Just(Act::Fail),
        4 => Just(Act::Begin),
        2 => Just(Act::Commit),
        1 => Just(Act::Rollback),
        2 => Just(Act::Drop),
        2 => Just(Act::TextBegin),
        2 => any::<bool>().prop_map(Act::TextCommit),
        1 => any::<bool>().prop_map(Act::TextRollback),
        2 => (0..3_u8).prop_map(Act::Savepoint),
        2 => (0..3_u8).prop_map(Act::RollbackTo),
        1 => (0..3_u8).prop_map(Act::Release),
        1 => any::<bool>().prop_map(Act::Whole),
        1 => Just(Act::Lose),
    ];
    vec(act, 0..40)
}

/// What differs between the engines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) errors_abort: bool,
    pub(super) rollback_restores_settings: bool,
}

pub(super) type Values = BTreeMap<String, String>;

/// The server, as its manual has it: a transaction is a stack of savepoints, the first without a name.
#[derive(Debug, Clone)]
pub(super) struct Server {
    rules: Rules,
    pub(super) stack: Vec<(String, Values)>,
    pub(super) aborted: bool,
    pub(super) values: Values,
}

/// The server has refused.
#[derive(Debug)]
pub(super) struct Refused;

impl Server {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, stack: Vec::new(), aborted: false, values: Values::new() }
    }

    /// An error: of a text that was refused, or of its execution.
    pub(super) fn fail(&mut self) -> Result<(), Refused> {
        self.aborted |= self.rules.errors_abort && !self.stack.is_empty();
        Err(Refused)
    }

    pub(super) fn works(&self) -> Result<(), Refused> {
        if self.aborted { Err(Refused) } else { Ok(()) }
    }

    pub(super) fn set(&mut self, name: &str, value: Option<String>) -> Result<(), Refused> {
        self.works()?;
        match value {
            Some(value) => self.values.insert(name.to_owned(), value),
            None => self.values.remove(name),
        };
        Ok(())
    }

    pub(super) fn begin(&mut self, name: &str) -> Result<(), Refused> {
        self.works()?;
        self.stack.push((name.to_owned(), self.values.clone()));
        Ok(())
    }

    pub(super) fn back_to(&mut self, level: usize) {
        if self.rules.rollback_restores_settings {
            self.values = self.stack[level].1.clone();
        }
        self.stack.truncate(level);
        self.aborted = false;
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.stack.iter().rposition(|(known, _)| known == name)
    }

    /// `COMMIT`, which the server calls a success either way. Whether it has committed.
    pub(super) fn commit(&mut self) -> bool {
        let commits = !self.aborted;
        if !commits {
            self.back_to(0);
        }
        self.stack.clear();
        commits
    }

    pub(super) fn rollback(&mut self) {
        if !self.stack.is_empty() {
            self.back_to(0);
        }
    }

    pub(super) fn rollback_to(&mut self, name: &str) -> Result<(), Refused> {
        let Some(found) = self.find(name) else { return self.fail() };
        let kept = self.stack[found].1.clone();
        self.back_to(found);
        self.stack.push((name.to_owned(), kept));
        Ok(())
    }

    pub(super) fn release(&mut self, name: &str) -> Result<(), Refused> {
        self.works()?;
        let Some(found) = self.find(name) else { return self.fail() };
        self.stack.truncate(found);
        Ok(())
    }

    /// Outside a transaction PostgreSQL refuses to chain one, and MySQL begins one.
    pub(super) fn may_chain(&self, chain: bool) -> Result<(), Refused> {
        if chain && self.stack.is_empty() && self.rules.errors_abort { Err(Refused) } else { Ok(()) }
    }

    /// What the crate sends to roll this depth back and leave nothing of it.
    pub(super) fn roll_back(&mut self, depth: usize) {
        self.back_to(depth - 1);
    }
}

/// A session in both worlds.
struct Both {
    state: State,
    server: Server,
}

impl Both {
    fn new(rules: Rules) -> Self {
        let state = State {
            settings_stay: !rules.rollback_restores_settings,
            errors_pass: !rules.errors_abort,
            ..State::default()
        };
        Self { state, server: Server::new(rules) }
    }

    fn failed(&mut self) {
        if self.server.rules.errors_abort {
            self.state.failed("an error");
        }
    }

    /// What has to happen on the connection before the next exchange.
    fn settle(&mut self) {
        let mut taken = Taken::default();
        while let Some(step) = self.state.next(Facts::default(), &mut taken) {
            match step {
                Step::RollBack(depth) => {
                    self.server.roll_back(depth);
                    self.state.rolled_back_abandoned();
                }
                Step::AskAfterText => {
                    let open = !self.server.stack.is_empty();
                    self.state.found_half_done(open);
                }
                step => panic!("{step:?} has no cause here"),
            }
        }
    }

    fn innermost_guard(&self) -> Option<usize> {
        self.state.levels.iter().rposition(|level| level.kind == Kind::Guard).map(|at| at + 1)
    }

    fn guard_name(depth: usize) -> String {
        format!("lambda_rds_{depth}")
    }

    fn change(&mut self, change: SettingChange) {
        let answers: Vec<_> = match &change {
            SettingChange::Set(set) => {
                set.iter().map(|(name, value)| self.server.set(name, Some(value.clone()))).collect()
            }
            SettingChange::Reset(name) => vec![self.server.set(name, None)],
            _ => {
                let names: Vec<_> = self.server.values.keys().cloned().collect();
                let mut answers = vec![self.server.works()];
                answers.extend(names.iter().map(|name| self.server.set(name, None)));
                answers
            }
        };
        if answers.iter().all(Result::is_ok) {
            self.state.changed(change);
        } else {
            self.failed();
        }
    }

    /// Transaction control as a text. What is not followed is not played: it pins, and the server is asked from then on.
    fn text(&mut self, control: Control<'_>, send: impl FnOnce(&mut Server) -> Result<(), Refused>) {
        match self.state.read(control) {
            Reading::Unclear { .. } => {}
            Reading::Nothing => {
                let before = (self.server.stack.len(), self.server.aborted);
                if matches!(control, Control::Begin) || before.0 == 0 {
                    // A warning, or an error where there is no transaction to abort.
                    return;
                }
                let _ = send(&mut self.server);
                assert_eq!((self.server.stack.len(), self.server.aborted), before, "{control:?} changes nothing");
            }
            Reading::Turn(Turn::Commit { chain }) if matches!(self.state.commit_plan(1), CommitPlan::Refuse(_)) => {
                // Told to be refused, and sent as a rollback.
                assert!(self.server.aborted, "the server would not have refused");
                self.server.rollback();
                self.state.rolled_back(1);
                if chain {
                    self.server.begin("").expect("outside");
                    self.state.begun_by_text();
                }
            }
            Reading::Turn(turn) => match send(&mut self.server) {
                Ok(()) => self.state.turned(turn),
                Err(Refused) => self.failed(),
            },
        }
    }

    fn act(&mut self, act: &Act) {
        if !matches!(act, Act::Drop | Act::Lose) {
            self.settle();
        }
        let name = |n: &u8| format!("app.n{n}");
        let label = |n: &u8| ["a", "b", "c"][usize::from(*n)];
        match act {
            Act::Set(n, value) => self.change(SettingChange::Set(vec![(name(n), value.to_string())])),
            Act::Reset(n) => self.change(SettingChange::Reset(name(n))),
            Act::ResetAll => self.change(SettingChange::ResetAll),
            Act::Fail => {
                let _ = self.server.fail();
                self.failed();
            }
            Act::Begin => {
                let depth = self.state.depth() + 1;
                match self.server.begin(&Self::guard_name(depth)) {
                    Ok(()) => self.state.begun(),
                    Err(Refused) => self.failed(),
                }
            }
            Act::Commit => {
                let Some(depth) = self.innermost_guard() else { return };
                match self.state.commit_plan(depth) {
                    CommitPlan::Commit if depth == 1 => {
                        assert!(self.server.commit(), "said to be committed");
                        self.state.committed(1);
                    }
                    CommitPlan::Commit => {
                        self.server.release(&Self::guard_name(depth)).expect("a guard's savepoint is there");
                        self.state.committed(depth);
                    }
                    CommitPlan::Refuse(_) => {
                        assert!(self.server.aborted, "refused, and the server would have committed");
                        self.server.roll_back(depth);
                        self.state.rolled_back(depth);
                    }
                    plan => panic!("{plan:?} has no cause here"),
                }
            }
            Act::Rollback => {
                let Some(depth) = self.innermost_guard() else { return };
                self.server.roll_back(depth);
                self.state.rolled_back(depth);
            }
            Act::Drop => {
                if let Some(depth) = self.innermost_guard() {
                    self.state.abandon(depth);
                }
            }
            Act::TextBegin => self.text(Control::Begin, |server| server.begin("")),
            Act::TextCommit(chain) => self.text(Control::Commit { chain: *chain }, |server| {
                server.may_chain(*chain)?;
                server.commit();
                if *chain { server.begin("") } else { Ok(()) }
            }),
            Act::TextRollback(chain) => self.text(Control::Rollback { chain: *chain }, |server| {
                server.may_chain(*chain)?;
                server.rollback();
                if *chain { server.begin("") } else { Ok(()) }
            }),
            Act::Savepoint(n) => {
                self.text(Control::Savepoint(super::label(label(n))), |server| server.begin(label(n)));
            }
            Act::RollbackTo(n) => {
                self.text(Control::RollbackTo(super::label(label(n))), |server| server.rollback_to(label(n)));
            }
            Act::Release(n) => {
                self.text(Control::Release(super::label(label(n))), |server| server.release(label(n)));
            }
            Act::Whole(fails) => {
                if self.state.read(Control::Whole) == Reading::Turn(Turn::Whole) && *fails {
                    self.server.begin("").expect("outside");
                    let _ = self.server.fail();
                    self.state.failed_half_way("an error");
                }
            }
            Act::Lose => {
                let had = self.state.depth() > 0;
                let held = !self.server.stack.is_empty();
                // What a replay puts on the next connection.
                self.server = Server { values: self.values(), ..Server::new(self.server.rules) };
                self.state.lost();
                assert_eq!(self.state.is_lost(), had, "what had no transaction goes on elsewhere");
                assert!(held || !had);
                // Its guards end, and the session is as good as new.
                if had {
                    self.state.rolled_back(1);
                    self.server.values = self.values();
                }
            }
        }
    }

    fn values(&self) -> Values {
        self.state.settings().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn agree(&mut self, after: &Act) -> Result<(), TestCaseError> {
        if self.state.abandoned().is_some() || self.state.half_done.is_some() {
            self.settle();
        }
        prop_assert_eq!(self.state.depth(), self.server.stack.len(), "the depth after {:?}", after);
        prop_assert_eq!(self.state.is_aborted(), self.server.aborted, "aborted, after {:?}", after);
        let values = self.values();
        prop_assert_eq!(&values, &self.server.values, "the settings after {:?}", after);
        prop_assert_eq!(self.state.is_free(), self.server.stack.is_empty());
        prop_assert!(!self.state.is_lost() && self.state.gone().is_none());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_account_says_what_a_connection_of_its_own_would(
        acts in acts(),
        errors_abort in any::<bool>(),
        rollback_restores_settings in any::<bool>(),
        looks in vec(any::<bool>(), 40),
    ) {
        let mut both = Both::new(Rules { errors_abort, rollback_restores_settings });
        for (act, looks) in acts.iter().zip(looks) {
            both.act(act);
            // Not after each, so that what is left open stays so beside what comes next.
            if looks {
                both.agree(act)?;
            }
        }
        both.agree(&Act::Lose)?;
    }
}
