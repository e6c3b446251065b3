//! What a session knows of its transaction, its settings and its pin, and what that means. Pure: nothing here awaits or sends.
//!
//! In the order of a statement: `intent` is what its text does, `plan` what has to happen on the connection before it, `enter`
//! what it does to the account as it is sent, `in_flight` what it has done when the server agrees or nobody waits any more, and
//! `failed` what a refusal leaves. `text` follows transactions that are written as text, `sentinel` tells whether a guard's is
//! still its own, `settings` and `pins` have what they say, `generated` the numbers and diagnostics that the server remembers.
//!
//! Why does a session keep its own account? The driver's counts only transactions that the driver began, and calls a
//! `COMMIT` that the server answered with a rollback a success (sqlx 0.9.0). So every error inside a transaction is
//! noted where it happened, and `commit` asks this account first.

mod enter;
mod failed;
pub(super) mod generated;
pub(super) mod in_flight;
mod intent;
mod pins;
mod plan;
mod sentinel;
mod settings;
mod sql;
mod text;

use self::generated::Generated;
use self::sentinel::Interference;
pub(super) use self::sentinel::Sentinel;
use crate::engine::{Dialect, Settings};
use crate::pin::{PinCause, PinReason};

pub(super) use self::enter::Gate;
pub(super) use self::failed::After;
pub(super) use self::in_flight::{InFlight, Left};
pub(super) use self::intent::Intent;
pub(super) use self::plan::{Facts, Step, Taken};
pub(super) use self::settings::SettingChange;
pub(super) use self::sql::{ENDED_BEFORE, aborted_by, begin, commit, rollback};
pub(super) use self::text::{Reading, Turn};

/// A session's account.
#[derive(Debug, Default)]
pub(in crate::session) struct State {
    /// The open transaction, and the savepoints in it.
    levels: Vec<Level>,
    /// What aborted the transaction, and how deep.
    aborted: Option<Aborted>,
    /// The server has rolled the transaction back by itself: what is sent now would be outside of any.
    gone: bool,
    /// The server may have done so: it has to be asked.
    unsure: Option<Unsure>,
    /// The server's view may differ from this one: a text that is not understood may have begun or ended a transaction,
    /// or the physical connection was handed out.
    doubtful: bool,
    /// Set for the rest of the session once it was pinned by something that can begin and end transactions itself (a procedure, the
    /// connection that was handed out): from then on work may be committed without any guard's `commit()`. Other pins do not set it,
    /// because the server refuses transaction control inside them.
    pinned_in_doubt: bool,
    /// What shows whether the guard's transaction is still there.
    sentinel: Sentinel,
    /// The random number with which the current sentinel was set. Only this session knows it, so that nobody else can forge the
    /// sentinel.
    mark: u64,
    /// Whether something has ended the transaction of the guards behind their back.
    interference: Interference,
    /// A text that begins a transaction and ends it has failed in between: it may still be open, aborted.
    half_done: Option<String>,
    /// The application has controlled transactions where the account cannot follow it. A transaction that the server then reports open
    /// is taken for the application's own.
    spoken: bool,
    /// A dropped transaction or savepoint whose rollback is still to be sent: the depth it had.
    abandoned: Option<usize>,
    /// A temporary table was made that goes with the transaction that is open, or may be.
    passing_table: bool,
    /// The savepoint whose end is on its way: sent, and not answered yet.
    ending: Option<Ending>,
    /// Why the session is pinned, the oldest reason first; one of each cause.
    pins: Vec<PinReason>,
    /// The connection broke, and with it the transaction or the pinned state: nothing may go on as if it were there.
    lost: bool,
    /// A rollback leaves the settings as they are.
    settings_stay: bool,
    /// A transaction goes on after an error.
    errors_pass: bool,
    /// What the session has set, each with the statement that sets it again.
    settings: Settings,
    /// A pooler in between keeps a connection of the server for the length of a transaction only.
    pooled: bool,
    /// What the server may remember of this session's statements, and where.
    pub(in crate::session) generated: Generated,
}

/// A transaction or savepoint.
#[derive(Debug)]
struct Level {
    kind: Kind,
    /// What was set when it began: a rollback takes the settings back too.
    settings: Settings,
    /// How much memory that takes, in bytes, those around it included.
    kept: usize,
}

/// How a level came to be, and so who ends it.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// [`begin`](super::Connection::begin): its guard ends it.
    Guard,
    /// `BEGIN` as text, or `SAVEPOINT` with a name: another text ends it.
    Text(Option<String>),
}

/// The end of a savepoint that is on its way.
#[derive(Debug, Clone, Copy)]
struct Ending {
    depth: usize,
    commits: bool,
}

/// The server may have taken a transaction back.
#[derive(Debug, Clone)]
struct Unsure {
    why: String,
    untold: bool,
}

#[derive(Debug, Clone)]
struct Aborted {
    depth: usize,
    why: String,
}

/// What a commit has to do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) enum CommitPlan {
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
    pub(in crate::session) fn of<D: Dialect>(session: u64, pooled: bool) -> Self {
        Self {
            pooled,
            generated: Generated::new(session, D::RULES.refuses_ungenerated),
            settings_stay: !D::RULES.rollback_restores_settings,
            errors_pass: !D::RULES.errors_abort,
            ..Self::default()
        }
    }

    /// 0 outside a transaction, 1 in one, more in savepoints.
    pub(in crate::session) fn depth(&self) -> usize {
        self.levels.len()
    }

    pub(in crate::session) fn is_free(&self) -> bool {
        self.levels.is_empty() && self.pins.is_empty() && self.abandoned.is_none() && self.half_done.is_none()
    }

    pub(in crate::session) fn is_aborted(&self) -> bool {
        self.aborted.is_some()
    }

    pub(in crate::session) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(in crate::session) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether something may have been committed that no guard was told to commit.
    pub(in crate::session) fn may_have_committed(&self) -> bool {
        self.pinned_in_doubt || self.is_taken_from_guards()
    }

    pub(in crate::session) fn pin_reason(&self) -> Option<&PinReason> {
        self.pins.first()
    }

    /// Whether the application has the physical connection, and does with it what it likes.
    pub(in crate::session) fn is_handed_out(&self) -> bool {
        self.pins.iter().any(|pin| pin.cause() == PinCause::HandedOut)
    }

    /// Whether the open transaction was begun by a text, so that a text ends it.
    pub(in crate::session) fn is_begun_by_text(&self) -> bool {
        matches!(self.levels.first(), Some(Level { kind: Kind::Text(_), .. }))
    }

    pub(in crate::session) fn has_guards(&self) -> bool {
        self.levels.iter().any(|level| level.kind == Kind::Guard)
    }

    /// Free -> in a transaction -> in a savepoint -> …
    pub(in crate::session) fn begun(&mut self) {
        self.push(Kind::Guard);
    }

    fn push(&mut self, kind: Kind) {
        let (around, shared) = match self.levels.last() {
            Some(level) => (level.kept, level.settings.is_shared_with(&self.settings)),
            None => (0, false),
        };
        let kept = around + if shared { 0 } else { self.settings.bytes() };
        self.levels.push(Level { kind, settings: self.settings.clone(), kept });
    }

    /// The transaction or savepoint at `depth` is committed, and everything inside it.
    pub(in crate::session) fn committed(&mut self, depth: usize) {
        self.leave(depth);
    }

    /// The transaction or savepoint at `depth` is rolled back, or will be before anything else happens.
    pub(in crate::session) fn rolled_back(&mut self, depth: usize) {
        if let Some(level) = self.levels.get(depth - 1)
            && !self.settings_stay
        {
            self.settings = level.settings.clone();
        }
        self.leave(depth);
    }

    fn leave(&mut self, depth: usize) {
        self.sentinel_leaves(depth);
        self.levels.truncate(depth - 1);
        self.ended();
    }

    fn ended(&mut self) {
        if self.aborted.as_ref().is_some_and(|aborted| aborted.depth > self.levels.len()) {
            self.aborted = None;
        }
        if !self.has_guards() {
            self.interference = Interference::None;
        }
        if self.levels.is_empty() {
            (self.gone, self.unsure, self.sentinel) = (false, None, Sentinel::None);
            self.lost = self.lost && !self.pins.is_empty();
            self.doubtful = self.pinned_in_doubt;
            self.passing_table &= self.doubtful;
        }
    }

    /// A temporary table is made. Where no transaction is open it goes with its statement.
    pub(in crate::session) fn made_passing_table(&mut self) {
        self.passing_table |= self.doubtful || !self.levels.is_empty();
    }

    /// Whether what is defined now may be temporary as a table of the transaction is.
    pub(in crate::session) fn has_passing_table(&self) -> bool {
        self.passing_table
    }

    /// A statement has failed on a connection that is fine. The innermost savepoint can still be rolled back to.
    pub(in crate::session) fn failed(&mut self, why: &str) {
        if !self.levels.is_empty() && self.aborted.is_none() {
            self.aborted = Some(Aborted { depth: self.levels.len(), why: why.to_owned() });
        }
    }

    /// The server has taken the whole transaction back. Where somebody misses it, it cannot go on, and what comes next in it hears of that:
    /// a guard, or a text whose application was not told. Otherwise it is over.
    pub(in crate::session) fn rolled_back_by_server(&mut self, why: &str, untold: bool) {
        if self.levels.is_empty() {
            return;
        }
        if self.has_guards() || untold {
            self.aborted_beyond_repair(why);
            self.gone = true;
        } else {
            self.rolled_back(1);
        }
    }

    /// The server may have taken the whole transaction back. `untold`: the error that says so was read when nobody waited for it any
    /// more.
    pub(in crate::session) fn failed_unsure(&mut self, why: &str, untold: bool) {
        if !self.levels.is_empty() {
            self.unsure = Some(Unsure { why: why.to_owned(), untold });
        }
    }

    /// Whether a transaction that may be gone is missed by somebody, so that the next one cannot take its place.
    pub(in crate::session) fn would_be_missed(&self) -> bool {
        self.has_guards() || self.unsure.as_ref().is_some_and(|unsure| unsure.untold)
    }

    /// What the server said to that.
    pub(in crate::session) fn found_unsure(&mut self, open: bool) {
        if let Some(Unsure { why, untold }) = self.unsure.take()
            && !open
        {
            self.rolled_back_by_server(&why, untold);
        }
    }

    /// Why nothing more may be sent in this transaction: the server has none any more.
    pub(in crate::session) fn gone(&self) -> Option<&str> {
        self.aborted.as_ref().filter(|_| self.gone).map(|aborted| aborted.why.as_str())
    }

    /// A transaction begins that no guard has begun.
    pub(in crate::session) fn begun_by_text(&mut self) {
        self.push(Kind::Text(None));
    }

    /// The connection is gone. A free session just takes another; one that had state must not.
    pub(in crate::session) fn lost(&mut self) {
        self.abandoned = None;
        self.half_done = None;
        self.lost = !self.levels.is_empty() || !self.pins.is_empty();
    }

    /// The end of the savepoint at `depth` is sent with the next poll. Should it be dropped before the answer, it is not sent again: the
    /// second time it would fail, and abort the transaction around it.
    pub(in crate::session) fn ending(&mut self, depth: usize, commits: bool) {
        self.ending = (depth > 1).then_some(Ending { depth, commits });
    }

    /// The answer to that is there.
    pub(in crate::session) fn answered(&mut self) {
        self.ending = None;
    }

    /// A transaction was dropped without a word; its rollback is sent before anything else is.
    pub(in crate::session) fn abandon(&mut self, depth: usize) {
        match self.ending.take() {
            // Sent already; should it have failed, the next answer says so and counts against the transaction around it.
            Some(Ending { depth: sent, commits: true }) if sent == depth => self.committed(depth),
            Some(Ending { depth: sent, .. }) if sent == depth => self.rolled_back(depth),
            _ => {
                self.rolled_back(depth);
                if !self.lost {
                    self.abandoned = Some(self.abandoned.map_or(depth, |abandoned| abandoned.min(depth)));
                }
                return;
            }
        }
        self.sentinel_set_anew();
    }

    /// The rollback that is still to be sent.
    pub(in crate::session) fn abandoned(&self) -> Option<usize> {
        self.abandoned
    }

    pub(in crate::session) fn rolled_back_abandoned(&mut self) {
        self.abandoned = None;
    }

    pub(in crate::session) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(in crate::session) fn commit_plan(&self, depth: usize) -> CommitPlan {
        match &self.aborted {
            _ if self.is_taken_from_guards() && depth == 1 => CommitPlan::Disown,
            Some(aborted) if aborted.depth >= depth => CommitPlan::Refuse(aborted.why.clone()),
            _ if self.doubtful && depth == 1 => CommitPlan::Probe,
            _ => CommitPlan::Commit,
        }
    }
}

#[cfg(test)]
mod tests;
