//! What a session knows of its transaction and its pin. Pure: nothing here awaits or sends.
//!
//! Why does a session keep its own account? The driver's counts only transactions that the driver began, and calls a
//! `COMMIT` that the server answered with a rollback a success (sqlx 0.9.0). So every error inside a transaction is
//! noted where it happened, and `commit` asks this account first.

mod text;

use crate::engine::{PinEnd, Setting, Settings};
use crate::pin::{PinCause, PinReason};

pub(super) use self::text::{Reading, Turn};

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
mod tests;
