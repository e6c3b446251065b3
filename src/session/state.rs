//! What a session knows of its transaction and its pin. Pure: nothing here awaits or sends.
//!
//! Why does a session keep its own account? The driver's counts only transactions that the driver began, and calls a
//! `COMMIT` that the server answered with a rollback a success (sqlx 0.9.0). So every error inside a transaction is
//! noted where it happened, and `commit` asks this account first.

use crate::engine::{Control, PinEnd, Setting, Settings};
use crate::pin::{PinCause, PinReason};

/// A session's account.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The open transaction, and the savepoints in it.
    levels: Vec<Level>,
    /// What aborted the transaction, and how deep.
    aborted: Option<Aborted>,
    /// The server's view may differ from this one: a text that is not understood may have begun or ended a transaction,
    /// or the physical connection was handed out.
    doubtful: bool,
    /// A text has ended, or may have ended, the transaction of a guard behind its back.
    ended_by_text: bool,
    /// A text that begins a transaction and ends it has failed in between: it may still be open, aborted.
    half_done: Option<String>,
    /// Something that may have committed by itself went by: transaction control as text, or whatever was done on the
    /// physical connection.
    may_have_committed: bool,
    /// A dropped transaction or savepoint whose rollback is still to be sent: the depth it had.
    abandoned: Option<usize>,
    /// The savepoint whose end is on its way: sent, and not answered yet.
    ending: Option<Ending>,
    /// Why the session is pinned, the oldest reason first; one of each cause.
    pins: Vec<PinReason>,
    /// The connection broke, and with it the transaction or the pinned state: nothing may go on as if it were there.
    lost: bool,
    /// What the session has set, each with the statement that sets it again.
    settings: Settings,
}

/// A transaction or savepoint.
#[derive(Debug)]
struct Level {
    kind: Kind,
    /// What was set when it began: a rollback takes the settings back too.
    settings: Settings,
}

/// How a level came to be, and so who ends it.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// [`begin`](super::Connection::begin): its guard ends it.
    Guard,
    /// `BEGIN` as text, or `SAVEPOINT` with a name: another text ends it.
    Text(Option<String>),
}

/// A change of a setting that is under way: noted when the server has agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SettingChange {
    Set(String, String),
    Reset(String),
    ResetAll,
    /// `RESET ALL`, and who the session acts as.
    Discard,
}

impl SettingChange {
    pub(super) fn is_reset(&self) -> bool {
        !matches!(self, Self::Set(..))
    }
}

impl From<Setting<'_>> for SettingChange {
    fn from(setting: Setting<'_>) -> Self {
        match setting {
            Setting::Set { name, statement } => Self::Set(name.key(), statement.to_owned()),
            Setting::Reset(name) => Self::Reset(name.key()),
            Setting::ResetAll => Self::ResetAll,
        }
    }
}

/// Transaction control as text, under way: noted when the server has agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    Begin,
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    RollbackTo(String),
    Release(String),
    /// From begin to end in one text.
    Whole,
}

impl Turn {
    /// It is about the transaction as a whole.
    pub(super) fn is_of_transaction(&self) -> bool {
        !matches!(self, Self::Savepoint(_) | Self::RollbackTo(_) | Self::Release(_))
    }
}

/// What to make of transaction control as text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It turns the session's account as it says.
    Turn(Turn),
    /// It changes nothing: a `BEGIN` inside a transaction, a `COMMIT` outside.
    Nothing,
    /// It cannot be followed, or would take a guard's transaction from it.
    Unclear { ends: bool },
}

/// Settings that `RESET ALL` leaves: who the session acts as.
const IDENTITY: [&str; 2] = ["role", "session_authorization"];

/// The end of a savepoint that is on its way.
#[derive(Debug, Clone, Copy)]
struct Ending {
    depth: usize,
    commits: bool,
}

#[derive(Debug, Clone)]
struct Aborted {
    depth: usize,
    why: String,
}

/// What a commit has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CommitPlan {
    /// Send it.
    Commit,
    /// Ask the server first.
    Probe,
    /// Roll back: an error has aborted the transaction.
    Refuse(String),
    /// Roll back: what is open now is not what the guard had begun.
    Disown,
}

impl State {
    /// 0 outside a transaction, 1 in one, more in savepoints.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    pub(super) fn is_free(&self) -> bool {
        self.levels.is_empty() && self.pins.is_empty() && self.abandoned.is_none() && self.half_done.is_none()
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.is_some()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    pub(super) fn may_have_committed(&self) -> bool {
        self.may_have_committed
    }

    pub(super) fn pin_reason(&self) -> Option<&PinReason> {
        self.pins.first()
    }

    /// Whether the open transaction was begun by a text, so that a text ends it.
    pub(super) fn is_begun_by_text(&self) -> bool {
        matches!(self.levels.first(), Some(Level { kind: Kind::Text(_), .. }))
    }

    fn has_guards(&self) -> bool {
        self.levels.iter().any(|level| level.kind == Kind::Guard)
    }

    /// Free -> in a transaction -> in a savepoint -> …
    pub(super) fn begun(&mut self) {
        self.push(Kind::Guard);
    }

    fn push(&mut self, kind: Kind) {
        self.levels.push(Level { kind, settings: self.settings.clone() });
    }

    /// The transaction or savepoint at `depth` is committed, and everything inside it.
    pub(super) fn committed(&mut self, depth: usize) {
        self.levels.truncate(depth - 1);
        self.ended();
    }

    /// The transaction or savepoint at `depth` is rolled back, or will be before anything else happens.
    pub(super) fn rolled_back(&mut self, depth: usize) {
        if let Some(level) = self.levels.get(depth - 1) {
            self.settings = level.settings.clone();
        }
        self.levels.truncate(depth - 1);
        self.ended();
    }

    fn ended(&mut self) {
        if self.aborted.as_ref().is_some_and(|aborted| aborted.depth > self.levels.len()) {
            self.aborted = None;
        }
        if self.levels.is_empty() {
            self.lost = self.lost && !self.pins.is_empty();
            self.doubtful = self.pins.iter().any(|pin| pin.cause().may_control());
            self.ended_by_text = false;
        }
    }

    /// What transaction control as text means here.
    pub(super) fn read(&self, control: Control<'_>) -> Reading {
        let turn = match control {
            Control::Unclear { ends } => return Reading::Unclear { ends },
            _ if self.doubtful => return Reading::Unclear { ends: true },
            Control::Begin if self.depth() > 0 => return Reading::Nothing,
            Control::Begin => Turn::Begin,
            Control::Whole if self.depth() > 0 => return Reading::Unclear { ends: true },
            Control::Whole => Turn::Whole,
            // The server says no, or warns.
            _ if self.depth() == 0 => return Reading::Nothing,
            Control::Commit { .. } | Control::Rollback { .. } if self.has_guards() => {
                return Reading::Unclear { ends: true };
            }
            Control::Commit { chain } => Turn::Commit { chain },
            Control::Rollback { chain } => Turn::Rollback { chain },
            Control::Savepoint(label) => Turn::Savepoint(label.key()),
            Control::RollbackTo(label) => Turn::RollbackTo(label.key()),
            Control::Release(label) => Turn::Release(label.key()),
        };
        match &turn {
            Turn::RollbackTo(name) | Turn::Release(name) if self.find(name).is_none() => {
                // Not one of a text: the server does not know it either, or it is a guard's or lies outside of one.
                Reading::Unclear { ends: false }
            }
            _ => Reading::Turn(turn),
        }
    }

    /// The innermost savepoint of this name, if no guard's lies in it.
    fn find(&self, name: &str) -> Option<usize> {
        let innermost = self.levels.iter().rposition(|level| level.kind == Kind::Guard).map_or(0, |guard| guard + 1);
        let named = |level: &Level| matches!(&level.kind, Kind::Text(Some(known)) if known == name);
        self.levels.iter().rposition(named).filter(|found| *found >= innermost)
    }

    /// The server has agreed to transaction control.
    pub(super) fn turned(&mut self, turn: Turn) {
        match turn {
            Turn::Begin => self.push(Kind::Text(None)),
            Turn::Whole => {}
            Turn::Commit { chain } => {
                self.committed(1);
                if chain {
                    self.push(Kind::Text(None));
                }
            }
            Turn::Rollback { chain } => {
                self.rolled_back(1);
                if chain {
                    self.push(Kind::Text(None));
                }
            }
            Turn::Savepoint(name) => self.push(Kind::Text(Some(name))),
            Turn::RollbackTo(name) => {
                if let Some(found) = self.find(&name) {
                    self.rolled_back(found + 1);
                    self.push(Kind::Text(Some(name)));
                }
            }
            Turn::Release(name) => {
                if let Some(found) = self.find(&name) {
                    self.committed(found + 1);
                }
            }
        }
    }

    /// A text that goes from begin to end has failed: the server knows where.
    pub(super) fn failed_half_way(&mut self, why: &str) {
        self.half_done = Some(why.to_owned());
    }

    pub(super) fn is_half_done(&self) -> bool {
        self.half_done.is_some()
    }

    /// What the server said to that: whether a transaction is open, which then is aborted.
    pub(super) fn found_half_done(&mut self, open: bool) {
        if let Some(why) = self.half_done.take()
            && open
        {
            self.push(Kind::Text(None));
            self.failed(&why);
        }
    }

    /// Nothing but the end of the transaction makes good what happened.
    pub(super) fn aborted_beyond_repair(&mut self, why: &str) {
        self.aborted = Some(Aborted { depth: 1, why: why.to_owned() });
    }

    /// A text may have ended the transaction of a guard.
    pub(super) fn taken_from_guard(&mut self) {
        self.ended_by_text |= self.has_guards();
    }

    /// A statement has failed on a connection that is fine. The innermost savepoint can still be rolled back to.
    pub(super) fn failed(&mut self, why: &str) {
        if !self.levels.is_empty() && self.aborted.is_none() {
            self.aborted = Some(Aborted { depth: self.levels.len(), why: why.to_owned() });
        }
    }

    /// The connection is gone. A free session just takes another; one that had state must not.
    pub(super) fn lost(&mut self) {
        self.abandoned = None;
        self.half_done = None;
        self.lost = !self.levels.is_empty() || !self.pins.is_empty();
    }

    /// The end of the savepoint at `depth` is sent. Should it be dropped before the answer, it is not sent again: the
    /// second time it would fail, and abort the transaction around it.
    pub(super) fn ending(&mut self, depth: usize, commits: bool) {
        self.ending = (depth > 1).then_some(Ending { depth, commits });
    }

    /// The answer to that is there.
    pub(super) fn answered(&mut self) {
        self.ending = None;
    }

    /// A transaction was dropped without a word; its rollback is sent before anything else is.
    pub(super) fn abandon(&mut self, depth: usize) {
        match self.ending.take() {
            // Sent already; should it have failed, the next answer says so and counts against the transaction around it.
            Some(Ending { depth: sent, commits: true }) if sent == depth => self.committed(depth),
            Some(Ending { depth: sent, .. }) if sent == depth => self.rolled_back(depth),
            _ => {
                self.rolled_back(depth);
                if !self.lost {
                    self.abandoned = Some(self.abandoned.map_or(depth, |abandoned| abandoned.min(depth)));
                }
            }
        }
    }

    /// The rollback that is still to be sent.
    pub(super) fn abandoned(&self) -> Option<usize> {
        self.abandoned
    }

    pub(super) fn rolled_back_abandoned(&mut self) {
        self.abandoned = None;
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The server has agreed to a change of a setting.
    pub(super) fn changed(&mut self, change: SettingChange) {
        let settings = std::sync::Arc::make_mut(&mut self.settings);
        match change {
            SettingChange::Set(name, statement) => {
                if name == IDENTITY[1] {
                    // Becoming another session user ends the role: https://www.postgresql.org/docs/current/sql-set-role.html
                    settings.remove(IDENTITY[0]);
                }
                settings.insert(name, statement);
            }
            SettingChange::Reset(name) => {
                if name == IDENTITY[1] {
                    settings.remove(IDENTITY[0]);
                }
                settings.remove(&name);
            }
            SettingChange::ResetAll => settings.retain(|name, _| IDENTITY.contains(&name.as_str())),
            SettingChange::Discard => settings.clear(),
        }
    }

    pub(super) fn pin(&mut self, reason: PinReason) {
        self.doubtful |= reason.cause().may_control();
        // Any other statement is refused by the server where it would end a transaction.
        self.may_have_committed |=
            matches!(reason.cause(), PinCause::HandedOut | PinCause::RawTransaction | PinCause::SeveralStatements);
        if self.pins.iter().all(|pin| pin.cause() != reason.cause()) {
            self.pins.push(reason);
        }
    }

    /// A statement has taken away what these causes had left behind. Not inside a transaction: a rollback would bring
    /// some of it back, so there the pin stays. Returns whether the session is free of pins by it.
    pub(super) fn pins_ended(&mut self, end: PinEnd) -> bool {
        if self.pins.is_empty() || !self.levels.is_empty() || self.doubtful {
            return false;
        }
        self.pins.retain(|pin| match end {
            PinEnd::Of(cause) => pin.cause() != cause,
            PinEnd::Everything => !pin.cause().can_end(),
            PinEnd::Other => true,
        });
        self.pins.is_empty()
    }

    pub(super) fn unpin(&mut self) -> bool {
        !std::mem::take(&mut self.pins).is_empty()
    }

    pub(super) fn commit_plan(&self, depth: usize) -> CommitPlan {
        match &self.aborted {
            _ if self.ended_by_text && depth == 1 => CommitPlan::Disown,
            Some(aborted) if aborted.depth >= depth => CommitPlan::Refuse(aborted.why.clone()),
            _ if self.doubtful && depth == 1 => CommitPlan::Probe,
            _ => CommitPlan::Commit,
        }
    }
}

/// Why a transaction did not commit.
pub(super) fn aborted_by(why: &str) -> String {
    format!("it was aborted by an earlier error, {why}")
}

/// The text that begins at this depth.
pub(super) fn begin(depth: usize) -> String {
    if depth == 1 { "BEGIN".to_owned() } else { format!("SAVEPOINT lambda_rds_{depth}") }
}

/// The text that commits this depth.
pub(super) fn commit(depth: usize) -> String {
    if depth == 1 { "COMMIT".to_owned() } else { format!("RELEASE SAVEPOINT lambda_rds_{depth}") }
}

/// The text that rolls this depth back and leaves nothing of it.
pub(super) fn rollback(depth: usize) -> String {
    if depth == 1 {
        "ROLLBACK".to_owned()
    } else {
        format!("ROLLBACK TO SAVEPOINT lambda_rds_{depth}; RELEASE SAVEPOINT lambda_rds_{depth}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Label;

    fn in_transaction(depth: usize) -> State {
        let mut state = State::default();
        (0..depth).for_each(|_| state.begun());
        state
    }

    #[test]
    fn an_error_aborts_its_savepoint_and_what_lies_inside_it() {
        let mut state = in_transaction(2);
        state.failed("22012");
        state.failed("25P02");
        assert_eq!(state.commit_plan(2), CommitPlan::Refuse("22012".into()), "the first error is the cause");
        state.rolled_back(2);
        assert_eq!(state.commit_plan(1), CommitPlan::Commit, "rolled back to the savepoint, the rest is healthy");
    }

    #[test]
    fn an_error_outside_a_savepoint_aborts_everything() {
        let mut state = in_transaction(1);
        state.failed("23505");
        state.begun();
        assert!(matches!(state.commit_plan(1), CommitPlan::Refuse(_)));
    }

    #[test]
    fn an_error_outside_a_transaction_leaves_nothing() {
        let mut state = State::default();
        state.failed("22012");
        state.begun();
        assert_eq!(state.commit_plan(1), CommitPlan::Commit);
    }

    #[test]
    fn doubt_is_settled_by_the_server() {
        let mut state = in_transaction(1);
        state.pin(PinReason::new(PinCause::RawTransaction, "commit"));
        assert_eq!(state.commit_plan(1), CommitPlan::Probe);
        assert!(!state.is_free());
    }

    #[test]
    fn a_rollback_takes_settings_back_and_a_commit_keeps_them() {
        let set = |value: &str| SettingChange::Set("x".into(), format!("set x = {value}"));
        let x = |state: &State| state.settings().get("x").cloned();
        let mut state = State::default();
        state.changed(set("1"));
        state.begun();
        state.changed(set("2"));
        state.begun();
        state.changed(set("3"));
        state.rolled_back(2);
        assert_eq!(x(&state).as_deref(), Some("set x = 2"));
        state.begun();
        state.changed(SettingChange::Reset("x".into()));
        state.committed(2);
        assert_eq!(x(&state), None);
        state.rolled_back(1);
        assert_eq!(x(&state).as_deref(), Some("set x = 1"));
        state.begun();
        state.changed(set("4"));
        state.committed(1);
        assert_eq!(x(&state).as_deref(), Some("set x = 4"));
        state.changed(SettingChange::Set("role".into(), "set role r".into()));
        state.changed(SettingChange::ResetAll);
        assert_eq!(state.settings().keys().collect::<Vec<_>>(), ["role"]);
    }

    #[test]
    fn a_dropped_transaction_is_rolled_back_from_the_outermost() {
        let mut state = in_transaction(3);
        state.abandon(3);
        state.abandon(2);
        assert_eq!((state.abandoned(), state.depth()), (Some(2), 1));
        state.rolled_back_abandoned();
        assert_eq!(state.commit_plan(1), CommitPlan::Commit);

        let mut state = in_transaction(2);
        state.ending(2, true);
        state.abandon(2);
        assert_eq!((state.abandoned(), state.depth()), (None, 1), "its end is on its way");
        state.failed("3B001");
        assert!(matches!(state.commit_plan(1), CommitPlan::Refuse(_)), "and if it failed, that counts");
    }

    #[test]
    fn a_lost_transaction_is_never_continued_elsewhere() {
        let mut state = in_transaction(1);
        state.lost();
        assert!(state.is_lost());
        state.rolled_back(1);
        assert!(!state.is_lost() && state.is_free(), "after it has ended the session is free again");

        let mut state = State::default();
        state.lost();
        assert!(!state.is_lost(), "a free session loses nothing");

        let mut state = State::default();
        state.pin(PinReason::new(PinCause::HandedOut, ""));
        state.lost();
        state.begun();
        state.rolled_back(1);
        assert!(state.is_lost(), "a pinned session's state does not come back");
    }

    fn turn(state: &mut State, control: Control<'_>) {
        match state.read(control) {
            Reading::Turn(turn) => state.turned(turn),
            reading => panic!("{reading:?}"),
        }
    }

    fn label(name: &str) -> Label<'_> {
        Label { name, folds: true }
    }

    #[test]
    fn a_transaction_as_text_is_followed_and_ends_as_it_says() {
        let set = |state: &mut State, value: &str| state.changed(SettingChange::Set("x".into(), value.into()));
        let x = |state: &State| state.settings().get("x").cloned();
        let mut state = State::default();
        turn(&mut state, Control::Begin);
        assert!(!state.is_free() && state.is_begun_by_text());
        assert_eq!(state.read(Control::Begin), Reading::Nothing, "the server only warns");
        set(&mut state, "1");
        turn(&mut state, Control::Savepoint(label("A")));
        set(&mut state, "2");
        state.failed("22012");
        turn(&mut state, Control::RollbackTo(label("a")));
        assert_eq!((x(&state).as_deref(), state.commit_plan(1)), (Some("1"), CommitPlan::Commit));
        turn(&mut state, Control::Release(label("a")));
        assert_eq!(state.read(Control::Release(label("a"))), Reading::Unclear { ends: false }, "it is gone");
        turn(&mut state, Control::Commit { chain: true });
        assert_eq!((state.depth(), x(&state).as_deref()), (1, Some("1")));
        set(&mut state, "3");
        turn(&mut state, Control::Rollback { chain: false });
        assert_eq!((state.is_free(), x(&state).as_deref()), (true, Some("1")));
        assert_eq!(state.read(Control::Commit { chain: false }), Reading::Nothing, "there is none to commit");
    }

    #[test]
    fn a_text_that_takes_a_guards_transaction_is_never_followed() {
        let mut state = in_transaction(1);
        assert_eq!(state.read(Control::Commit { chain: false }), Reading::Unclear { ends: true });
        assert_eq!(state.read(Control::Whole), Reading::Unclear { ends: true });
        turn(&mut state, Control::Savepoint(label("a")));
        state.begun();
        assert_eq!(
            state.read(Control::RollbackTo(label("a"))),
            Reading::Unclear { ends: false },
            "a guard's lies in it"
        );
        state.taken_from_guard();
        assert_eq!(state.commit_plan(1), CommitPlan::Disown);
        state.rolled_back(1);
        assert_eq!(in_transaction(1).commit_plan(1), CommitPlan::Commit);
    }

    #[test]
    fn pins_end_by_cause_outside_transactions_and_never_in_doubt() {
        let pinned = |causes: &[PinCause]| {
            let mut state = State::default();
            causes.iter().for_each(|cause| state.pin(PinReason::new(*cause, "")));
            state
        };
        let mut both = pinned(&[PinCause::Listen, PinCause::TemporaryObject]);
        assert!(!both.pins_ended(PinEnd::Of(PinCause::Listen)));
        both.begun();
        assert!(!both.pins_ended(PinEnd::Of(PinCause::TemporaryObject)), "a rollback would bring it back");
        both.committed(1);
        assert!(both.pins_ended(PinEnd::Of(PinCause::TemporaryObject)) && both.is_free());
        assert!(pinned(&[PinCause::Listen, PinCause::AdvisoryLock]).pins_ended(PinEnd::Everything));
        assert!(!pinned(&[PinCause::Library]).pins_ended(PinEnd::Everything), "a library stays");
        assert!(!pinned(&[PinCause::HandedOut]).pins_ended(PinEnd::Everything), "nobody knows what was done");
    }

    #[test]
    fn a_text_that_failed_half_way_leaves_what_the_server_says() {
        for (open, depth) in [(true, 1), (false, 0)] {
            let mut state = State::default();
            state.failed_half_way("22012");
            assert!(!state.is_free() && state.is_half_done());
            state.found_half_done(open);
            assert_eq!((state.depth(), state.is_half_done()), (depth, false));
        }
    }
}
