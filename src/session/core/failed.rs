//! What a refusal means: for the account, for what the connection carries, and for the connection. Pure.

use super::in_flight::rolled_back;
use super::{InFlight, State, Turn};
use crate::connector::Carried;
use crate::engine::{Cleanup, Diagnosis, Dialect, Staleness};
use crate::error::Phase;
use crate::failover::Work;

/// What is done with the connection after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum After {
    /// It is broken.
    Lose,
    /// It is left, whatever may be open on it. `reader`: its server does not write.
    Leave { reader: bool },
    /// It is at rest.
    Rest,
    /// What is still on its way is read before its next use.
    Unread,
    /// As when nobody waits for the answer any more: [`dropped`](InFlight::dropped).
    Drop,
}

impl InFlight {
    /// Whether what came before the part that fails now may be committed, or stay in its transaction. `misread`: the server could
    /// not read a statement.
    pub(in crate::session) fn is_half_done(&self, state: &State, diagnosis: Diagnosis, misread: bool) -> bool {
        let begun = self.unatomic || self.partly && !misread;
        // A guard's transaction that the server has taken back is rolled back whatever is said of it.
        let stays = state.errors_pass && !(state.has_guards() && diagnosis == Diagnosis::RolledBack);
        begun && (self.phase == Phase::Commit || state.depth() == 0 || state.is_doubtful() || stays)
    }

    /// For a verdict on a failure.
    pub(in crate::session) fn work(&self, state: &State, handed_on: bool) -> Work {
        let work = state.work(self.phase, handed_on, self.sent);
        // A text that goes from begin to end may have come half way.
        Work { bound: work.bound || self.turn == Some(Turn::Whole) || self.is_unatomic(), ..work }
    }

    /// The server has refused, or the driver.
    pub(in crate::session) fn failed<D: Dialect>(
        &mut self,
        state: &mut State,
        carried: &mut Carried,
        diagnosis: Diagnosis,
        why: &str,
    ) -> After {
        match diagnosis {
            // Refusals of a login are a last word too: a pooler says them in the middle of a session.
            Diagnosis::Dead
            | Diagnosis::HungUp
            | Diagnosis::Full
            | Diagnosis::NotReady
            | Diagnosis::Authentication
            | Diagnosis::UnknownDatabase
            | Diagnosis::TlsDemanded
            | Diagnosis::UnknownSetting
            | Diagnosis::Pooler => After::Lose,
            // The driver may have begun, and stopped before the statement: how far it came a question shows.
            Diagnosis::NotSent => {
                self.give_up_change(carried);
                After::Drop
            }
            Diagnosis::Interrupted if state.depth() > 0 => After::Unread,
            Diagnosis::Interrupted => After::Drop,
            _ if self.phase == Phase::Commit => self.failed_to_commit::<D>(state, carried, diagnosis, why),
            _ => {
                let whole = matches!(self.turn.take(), Some(Turn::Whole));
                state.note_failure(diagnosis, whole, why);
                match diagnosis {
                    // Inside a transaction nothing can be prepared anew, but the next transaction need not fail for the same reason.
                    Diagnosis::StalePlan => carried.outdate(Staleness::Statements),
                    // Somebody has prepared statements under the driver's names, or a type's name stands for another one: no
                    // statement makes the driver forget that.
                    Diagnosis::Misled => {
                        carried.soil(Cleanup::Impossible);
                        self.before = Cleanup::Impossible;
                    }
                    _ => {}
                }
                self.give_up_change(carried);
                After::Rest
            }
        }
    }

    /// What a commit's refusal leaves.
    fn failed_to_commit<D: Dialect>(
        &mut self,
        state: &mut State,
        carried: &mut Carried,
        diagnosis: Diagnosis,
        why: &str,
    ) -> After {
        let as_text = self.turn.take().is_some();
        if D::RULES.errors_abort {
            // A server that refuses the commit has rolled back: https://www.postgresql.org/docs/current/sql-commit.html
            rolled_back::<D>(state, carried, 1);
            return After::Rest;
        }
        match diagnosis {
            // A text that was to commit may not even have been understood, and a definition may have committed before it was
            // refused: only the server knows.
            _ if as_text => {
                state.failed_unsure(why, false);
                After::Rest
            }
            // As far as is known it has rolled back; then nothing more is done on that connection, in whatever it is.
            Diagnosis::RolledBack | Diagnosis::ReadOnly => {
                rolled_back::<D>(state, carried, 1);
                After::Leave { reader: diagnosis == Diagnosis::ReadOnly }
            }
            // A `COMMIT` that was not executed leaves the transaction open until the connection is closed: a user's queries
            // in an hour are used up (1226).
            _ => After::Lose,
        }
    }

    /// The statement was refused, and the change of a setting with it.
    fn give_up_change(&mut self, carried: &mut Carried) {
        if self.change.take().is_some() {
            carried.unsoil(self.before);
        }
    }
}

impl State {
    /// What is under way, for a verdict.
    pub(in crate::session) fn work(&self, phase: Phase, handed_on: bool, sent: bool) -> Work {
        let bound = self.depth() > 0 || self.pin_reason().is_some();
        Work { phase, handed_on, bound, doubtful: self.is_doubtful(), sent, unexecuted: false, pooled: self.pooled }
    }

    /// The error of something that was dropped has come. `no_savepoint`: it names one that is not there, which for the end of a guard's
    /// savepoint means that the transaction is not the guard's any more. Whether there is nobody to remember it, so that it has to be told
    /// now: a transaction may be gone of which the account does not know that it was there.
    #[must_use]
    pub(in crate::session) fn note_late(&mut self, diagnosis: Diagnosis, no_savepoint: bool, why: &str) -> bool {
        let takes_all = matches!(diagnosis, Diagnosis::RolledBack | Diagnosis::Unsure);
        match self.abandoned() {
            // The rollback to come undoes an error within what it takes back. What has taken more back is another matter.
            Some(1) => {}
            Some(_) if !takes_all => {}
            None if no_savepoint && self.errors_pass => self.missed_savepoint(),
            _ if takes_all && self.depth() == 0 => return self.is_doubtful(),
            _ if takes_all && !self.has_guards() => self.failed_unsure(why, true),
            _ => self.note_failure(diagnosis, false, why),
        }
        false
    }

    /// A statement has failed on a connection that is fine. `whole`: it was a text from begin to end.
    pub(in crate::session) fn note_failure(&mut self, diagnosis: Diagnosis, whole: bool, why: &str) {
        match diagnosis {
            _ if whole => self.failed_half_way(why),
            Diagnosis::RolledBack if self.has_guards() => self.rolled_back_by_server(why, false),
            // A deadlock may be one of locks that no transaction holds: of `GET_LOCK`'s in MariaDB.
            Diagnosis::RolledBack | Diagnosis::Unsure => self.failed_unsure(why, false),
            _ if !self.errors_pass => self.failed(why),
            _ => {}
        }
    }
}
