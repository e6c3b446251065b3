//! Transactions that the application writes as text, in the session's account.

use super::{Aborted, Kind, Level, State, sql};
use crate::engine::{Class, Control};
use crate::error::Phase;

/// Transaction control as text, under way: noted when the server has agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) enum Turn {
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
    /// What is under way with it.
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Begin => Phase::Begin,
            Self::Commit { .. } => Phase::Commit,
            Self::Rollback { .. } => Phase::Rollback,
            Self::Whole => Phase::Statement,
            Self::Savepoint(_) | Self::RollbackTo(_) | Self::Release(_) => Phase::InTransaction,
        }
    }

    /// It is about the transaction as a whole.
    pub(in crate::session) fn is_of_transaction(&self) -> bool {
        !matches!(self, Self::Savepoint(_) | Self::RollbackTo(_) | Self::Release(_))
    }
}

/// What to make of transaction control as text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) enum Reading {
    /// It turns the session's account as it says.
    Turn(Turn),
    /// It changes nothing: a `BEGIN` inside a transaction, a `COMMIT` outside.
    Nothing,
    /// It cannot be followed, or would take a guard's transaction from it.
    Unclear { ends: bool },
}

impl State {
    /// What transaction control as text means here.
    pub(in crate::session) fn read(&self, control: Control<'_>) -> Reading {
        let turn = match control {
            Control::Unclear { ends } => return Reading::Unclear { ends },
            // No savepoint's text ends a transaction.
            Control::Savepoint(_) | Control::RollbackTo(_) | Control::Release(_) if self.doubtful => {
                return Reading::Unclear { ends: false };
            }
            // Behind a pooler the server was asked just now.
            Control::Begin if self.asks_for_open_transaction() && self.depth() == 0 => Turn::Begin,
            Control::Rollback { chain: false } if self.asks_for_open_transaction() && self.depth() > 0 => {
                Turn::Rollback { chain: false }
            }
            _ if self.doubtful => return Reading::Unclear { ends: true },
            Control::Begin if self.depth() > 0 => return Reading::Nothing,
            Control::Begin => Turn::Begin,
            Control::Whole if self.depth() > 0 => return Reading::Unclear { ends: true },
            Control::Whole => Turn::Whole,
            // PostgreSQL says no; MySQL begins a transaction by it.
            Control::Commit { chain: true } | Control::Rollback { chain: true } if self.depth() == 0 => Turn::Begin,
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
            // One of the guards' has that name, or will have, and both would be one to the server.
            Turn::Savepoint(name) if sql::is_guards(name) => Reading::Unclear { ends: true },
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
    pub(in crate::session) fn turned(&mut self, turn: Turn) {
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
    pub(in crate::session) fn failed_half_way(&mut self, why: &str) {
        self.half_done = Some(why.to_owned());
    }

    /// What the server said to that: whether a transaction is open, which then is aborted where errors do that.
    pub(in crate::session) fn found_half_done(&mut self, open: bool) {
        if let Some(why) = self.half_done.take()
            && open
        {
            self.push(Kind::Text(None));
            if !self.errors_pass {
                self.failed(&why);
            }
        }
    }

    /// The application has begun or ended transactions where the account does not follow it.
    pub(in crate::session) fn spoken_in_doubt(&mut self) {
        self.spoken = true;
    }

    /// Whether a transaction of texts is open, as the server says. `false` when nobody has said that one should be: what is
    /// done in it would go down with it.
    #[must_use]
    pub(in crate::session) fn found_in_doubt(&mut self, open: bool) -> bool {
        if open && self.depth() == 0 {
            if !self.spoken {
                return false;
            }
            self.push(Kind::Text(None));
        } else if !open {
            self.spoken = false;
            if self.depth() > 0 {
                self.rolled_back(1);
            }
        }
        true
    }

    /// Ends the account of a lost transaction that a text had begun, if this text ends it or begins another. Returns whether the session
    /// is usable again.
    pub(in crate::session) fn end_lost_transaction(&mut self, control: Option<Control<'_>>) -> bool {
        let anew = self.is_begun_by_text()
            && matches!(control, Some(Control::Begin | Control::Rollback { .. } | Control::Whole));
        if anew {
            self.rolled_back(1);
        }
        anew && !self.is_lost()
    }

    /// Whether the server is asked before each statement if a transaction is open: behind a pooler it has to be known, for what is
    /// set outside of one stays on a connection that is given to others.
    pub(in crate::session) fn asks_for_open_transaction(&self) -> bool {
        self.pooled && self.doubtful && !self.has_guards()
    }

    /// Whether a text is a commit and nothing else, before which the server is asked, so that the account can follow it.
    pub(in crate::session) fn follows_commit(&self, class: &Class<'_>) -> bool {
        let is_alone = class.control() == Some(Control::Commit { chain: false }) && class.begins_with_commit;
        is_alone && self.asks_for_open_transaction()
    }

    /// Nothing but the end of the transaction makes good what happened.
    pub(in crate::session) fn aborted_beyond_repair(&mut self, why: &str) {
        self.aborted = Some(Aborted { depth: 1, why: why.to_owned() });
    }
}
