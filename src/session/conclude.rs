//! After an exchange: what its answer changes in the session's account, what its error means, and whether the connection
//! goes home.

use tokio::time::timeout_at;

use super::borrow::{Borrow, summary};
use super::core::Turn;
use crate::deadline::TimeToCancel;
use crate::engine::{Cleanup, Diagnosis, Engine, Staleness};
use crate::error::{Error, HalfDone, Outcome, Phase, outcome_of, timed_out};
use crate::failover::{self, Told, Verdict, Work};
use crate::pin::{PinCause, PinReason};

impl<DB: Engine> Borrow<'_, DB> {
    /// Makes the driver forget its prepared statements when one of them has become stale; then the same statement can be
    /// run again. Not inside a transaction, which the server has aborted by then.
    pub(super) async fn heal(&mut self, error: &sqlx::Error) -> bool {
        let heals = DB::diagnose(error) == Diagnosis::StalePlan
            && self.session.state.depth() == 0
            && !self.session.state.is_doubtful();
        if !heals {
            return false;
        }
        let forgotten = self.forget_names().await.is_ok();
        if !forgotten && let Some(lease) = &mut self.session.lease {
            // What is still on its way is not known.
            lease.broke();
        }
        forgotten
    }

    /// Makes the driver forget what it has prepared, within `borrow_timeout`.
    pub(super) async fn forget_names(&mut self) -> Result<(), sqlx::Error> {
        let deadline = self.deadline().map_err(|_| timed_out())?;
        let (failover, wire) = self.apart();
        let forget = failover.attend(wire.peer.as_deref(), DB::forget(&mut wire.driver));
        timeout_at(deadline.instant(), forget).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Notes a failure, and says what it means.
    pub(super) fn fail(&mut self, error: sqlx::Error) -> Error {
        let diagnosis = self.diagnose(&error);
        let misled = matches!(diagnosis, Diagnosis::StalePlan | Diagnosis::Misled);
        let error = self.account_for(error, diagnosis);
        self.session.may_succeed_again = error.may_pass() || misled && error.outcome() != Outcome::Unknown;
        error
    }

    /// What a failure changes in the session's account, and what it is called.
    fn account_for(&mut self, error: sqlx::Error, diagnosis: Diagnosis) -> Error {
        // What came before the part that failed may be committed.
        let state = &self.session.state;
        let half = self.unatomic && (self.phase == Phase::Commit || state.depth() == 0 || state.is_doubtful());
        let ungenerated = DB::is_ungenerated(&error);
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
            | Diagnosis::Pooler => return self.lose(error),
            // The driver may have begun, and stopped before the statement: how far it came a question shows.
            Diagnosis::NotSent => {
                if self.change.take().is_some() {
                    let before = self.before;
                    self.wire().cleanup = before;
                }
            }
            // Left as it is: what is still on its way is read before the next use.
            Diagnosis::Interrupted => self.done = self.session.state.depth() > 0,
            // A text that was to commit may not even have been understood, and a definition may have committed before it was
            // refused: only the server knows.
            _ if self.phase == Phase::Commit && !DB::RULES.errors_abort && self.turn.is_some() => {
                self.turn = None;
                self.session.state.failed_unsure(&summary(&error));
                self.rest();
            }
            // As far as is known it has rolled back; then nothing more is done on that connection, in whatever it is.
            Diagnosis::RolledBack | Diagnosis::ReadOnly if self.phase == Phase::Commit && !DB::RULES.errors_abort => {
                self.rolled_back(1);
                let (failover, wire) = self.apart();
                if diagnosis == Diagnosis::ReadOnly && failover.expects_writes() {
                    failover.suspect(wire.proof, &wire.at, "it refused to commit");
                }
                self.session.leave();
                self.rest();
            }
            // A `COMMIT` that was not executed leaves the transaction open until the connection is closed: a user's queries
            // in an hour are used up (1226).
            _ if self.phase == Phase::Commit && !DB::RULES.errors_abort => return self.lose(error),
            // A server that refuses the commit has rolled back: https://www.postgresql.org/docs/current/sql-commit.html
            _ if self.phase == Phase::Commit => {
                self.turn = None;
                self.rolled_back(1);
                self.rest();
            }
            _ => {
                let whole = matches!(self.turn.take(), Some(Turn::Whole));
                self.session.note_failure(diagnosis, whole, &summary(&error));
                match diagnosis {
                    // In a transaction nothing heals it, but the next one need not fail likewise.
                    Diagnosis::StalePlan => self.wire().outdate(Staleness::Statements),
                    // Somebody has prepared statements under the driver's names, or a type's name stands for another one: no
                    // statement makes the driver forget that.
                    Diagnosis::Misled => {
                        self.before = Cleanup::Impossible;
                        self.wire().cleanup = Cleanup::Impossible;
                    }
                    _ => {}
                }
                self.give_up_change();
            }
        }
        let lost = self.session.generated.failed(ungenerated);
        if let Some(state) = lost.filter(|_| !half) {
            return Error::SessionStateLost { state };
        }
        if half {
            return HalfDone::mark(error).into();
        }
        Error::from(error)
    }

    /// What an error means for this connection.
    fn diagnose(&mut self, error: &sqlx::Error) -> Diagnosis {
        let diagnosis = DB::diagnose(error);
        if diagnosis == Diagnosis::Statement && self.wire().mixed && DB::may_be_misled(error) {
            return Diagnosis::Misled;
        }
        diagnosis
    }

    /// The end of a statement that failed: whether it is to be run again, and the error if it is not.
    pub(super) async fn judged(mut self, error: sqlx::Error, handed_on: bool) -> (Verdict, Error) {
        if TimeToCancel::is_behind(&error) {
            let error = Box::pin(self.cancelled()).await;
            return (Verdict::Tell(error.outcome()), error);
        }
        let diagnosis = self.diagnose(&error);
        let mut work = self.session.work(self.phase, handed_on, self.sent);
        // A text that goes from begin to end may have come half way.
        work.bound |= self.turn == Some(Turn::Whole) || self.unatomic;
        let reader = diagnosis == Diagnosis::ReadOnly && Box::pin(self.is_on_reader(work)).await;
        let verdict = failover::judge(diagnosis, work, reader);
        let error = self.fail(error);
        if reader {
            self.session.leave();
        }
        (verdict, error)
    }

    /// The end of the invocation is near: ends the statement on the server, and says what the server says of it.
    async fn cancelled(mut self) -> Error {
        let (phase, elapsed) = (self.phase, self.started.elapsed());
        let pool = self.session.pool.clone();
        let answered = match self.deadline() {
            Ok(deadline) => {
                let unread = self.session.unread();
                let ended = pool.connector().connector().come_to_rest(self.wire(), unread);
                timeout_at(deadline.instant(), ended).await.unwrap_or_else(|_| Err(timed_out()))
            }
            Err(_) => Err(timed_out()),
        };
        let reached = |outcome, source| Error::DeadlineReached { phase, elapsed, outcome, source };
        match answered {
            // It has come to its end before the cancel did.
            Ok(None) => {
                self.finish();
                reached(Outcome::Completed, None)
            }
            Ok(Some(refusal)) => {
                let code = refusal.as_database_error().and_then(|refusal| refusal.code());
                let is_cancelled = code.as_deref() == Some(DB::RULES.cancelled);
                match self.fail(refusal) {
                    Error::Database(source) if is_cancelled => reached(outcome_of(&source), Some(source)),
                    error => error,
                }
            }
            Err(source) => match self.lose(source) {
                Error::ConnectionLost { outcome, source, .. } => reached(outcome, Some(source)),
                error => error,
            },
        }
    }

    /// Whether the server that refused to write is none that writes: the application's own read-only transaction gets
    /// the same refusal.
    async fn is_on_reader(&mut self, work: Work) -> bool {
        let (failover, wire) = self.apart();
        if !failover.expects_writes() {
            return false;
        }
        if work.bound {
            // It cannot be asked now: its connection is, and all others are, before they are lent again.
            failover.suspect(wire.proof, &wire.at, "it refused to write");
            return false;
        }
        let told = failover.look(wire).await;
        let reader = matches!(told, Ok(Told::Reader));
        if reader {
            failover.suspect(wire.proof, &wire.at, "it refused to write, and is a reader");
        } else if told.is_err() {
            // It may still be answering.
            failover.suspect(wire.proof, &wire.at, "it refused to write, and does not say what it is");
            if let Some(lease) = &mut self.session.lease {
                lease.broke();
            }
        }
        reader
    }

    /// The end of a statement, one way or the other.
    pub(super) fn concluded<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        match result {
            Ok(value) => {
                self.finish();
                Ok(value)
            }
            Err(error) => Err(self.fail(error).into()),
        }
    }

    /// The server refused the statement, and the change of a setting with it.
    pub(super) fn give_up_change(&mut self) {
        if self.change.take().is_some() {
            let before = self.before;
            self.wire().cleanup = before;
        }
        self.rest();
    }

    pub(super) fn lose(&mut self, source: sqlx::Error) -> Error {
        self.done = true;
        let error = self.session.lose(self.phase, self.sent, self.started.elapsed(), source);
        if self.turn.take().is_some_and(|turn| turn.is_of_transaction()) {
            // Whatever became of it, it is over.
            self.session.state.rolled_back(1);
        }
        error
    }

    pub(super) fn committed(&mut self, depth: usize) {
        self.session.state.committed(depth);
        self.sentinel_set_anew();
        self.ended();
    }

    /// The savepoint that has ended took the sentinel with it; there is a new one.
    fn sentinel_set_anew(&mut self) {
        if self.session.state.has_lost_sentinel() {
            self.session.state.sentinel_set();
        }
    }

    pub(super) fn rolled_back(&mut self, depth: usize) {
        self.session.state.rolled_back(depth);
        self.session.may_succeed_again &= depth == 1;
        self.sentinel_set_anew();
        // The server took the settings back as well.
        let settings = self.session.settings_applied();
        self.wire().become_set(settings);
        self.ended();
    }

    pub(super) fn ended(&mut self) {
        if self.session.state.depth() == 0 && self.session.state.pin_reason().is_none() {
            self.wire().open = None;
        }
    }

    /// The server has agreed to transaction control.
    fn turned(&mut self, turn: Turn) {
        let ends = matches!(turn, Turn::Commit { .. } | Turn::Rollback { .. });
        let takes_back = matches!(turn, Turn::Rollback { .. } | Turn::RollbackTo(_));
        self.session.state.turned(turn);
        if takes_back {
            let settings = self.session.settings_applied();
            self.wire().become_set(settings);
        }
        self.ended();
        if ends && self.session.state.depth() > 0 {
            // The next one has begun with it.
            let wire = self.wire();
            wire.open = None;
            wire.open();
        }
    }

    pub(super) fn finish(mut self) {
        self.session.generated.succeeded();
        if let Some(change) = self.change.take() {
            self.session.state.changed(change);
            let (before, settings) = (self.before, self.session.settings_applied());
            let wire = self.wire();
            wire.become_set(settings);
            wire.cleanup = before;
        }
        if let Some(turn) = self.turn.take() {
            self.turned(turn);
        }
        if let Some(end) = self.ends.take()
            && self.session.state.pins_ended(end)
        {
            // Still to be cleaned: what the pin covered is gone as far as statements tell.
            self.wire().open = None;
            self.session.unpinned();
        }
        self.rest();
    }

    /// The connection is at rest: it goes home unless the session still needs it.
    pub(super) fn rest(&mut self) {
        self.done = true;
        self.session.interrupted = false;
        if self.session.state.is_free()
            && let Some(mut lease) = self.session.lease.take()
            && lease.conn().cleanup == Cleanup::None
        {
            lease.end();
        }
    }
}

impl<DB: Engine> Drop for Borrow<'_, DB> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        match self.turn.take() {
            // Whatever of it has happened, no transaction goes on by it.
            Some(turn) if turn.is_of_transaction() => return self.session.abandon(1),
            Some(_) => self.session.state.aborted_beyond_repair("a savepoint's text was dropped half way"),
            None => {}
        }
        if self.session.state.is_free() {
            self.session.part();
        } else if self.begins {
            // What the session did next would vanish with it.
            self.session.abandon(1);
        } else if self.unclear && self.session.state.depth() == 0 {
            // Whether a transaction is open now is not known: what the session did next could vanish with it.
            self.session.state.lost();
            self.session.interrupted = false;
            self.session.lease = None;
        } else if let Some(change) = &self.change {
            // Inside a transaction it may or may not have been set: from here on only the server knows. That a transaction is
            // still there is in doubt where they may begin by themselves from here on.
            let state = &self.session.state;
            let begins = DB::begins_by_itself(&state.settings_after(change));
            let cause = if begins == DB::begins_by_itself(state.settings()) {
                PinCause::Setting
            } else {
                PinCause::UnknownStatement
            };
            self.session.pin_for(PinReason::new(cause, "a SET that was dropped half way"));
        }
    }
}
