//! After an exchange: what its answer changes in the session's account, what its error means, and whether the connection
//! goes home.

use super::answer::First;
use super::borrow::{Borrow, summary};
use super::core::{After, Left, in_flight};
use super::query::Query;
use crate::connector::{Rested, Unread};
use crate::deadline::{TimeToCancel, by_the_clock};
use crate::engine::{Diagnosis, Engine};
use crate::error::{Error, Judged, Outcome, outcome_of, timed_out};
use crate::failover::{self, Told, Verdict, Work};
use crate::pool::{Connect as _, Peek};

impl<DB: Engine> Borrow<'_, DB> {
    /// Makes the driver forget its prepared statements when one of them has become stale. Whether the same statement can be run
    /// again then. Not inside a transaction, which the server has aborted by then.
    pub(super) async fn heal(&mut self, error: &sqlx::Error, sql: &str) -> bool {
        let heals = DB::diagnose(error) == Diagnosis::StalePlan
            && self.session.state.depth() == 0
            && !self.session.state.is_doubtful()
            // A procedure may have committed before a statement of its own was refused so.
            && !self.flight.is_unatomic();
        if !heals {
            return false;
        }
        let forgotten = self.forget_names().await.is_ok();
        if !forgotten && let Some(lease) = &mut self.session.lease {
            // What is still on its way is not known.
            lease.broke();
        }
        forgotten && DB::is_stale_before_execution(sql)
    }

    /// Makes the driver forget what it has prepared, within `borrow_timeout`.
    pub(super) async fn forget_names(&mut self) -> Result<(), sqlx::Error> {
        let deadline = self.deadline().map_err(|_| timed_out())?;
        self.within(deadline, async |wire| DB::forget(&mut wire.driver).await).await
    }

    /// Notes a failure, and says what it means. `query`: what has failed, if it is the application's.
    pub(super) fn fail(&mut self, error: sqlx::Error, query: Option<&Query<DB>>) -> Error {
        let diagnosis = self.diagnose(&error, query);
        let misled = diagnosis == Diagnosis::StalePlan || diagnosis == Diagnosis::Misled && is_misled(&error, query);
        let error = self.account_for(error, diagnosis, text_of(query));
        self.session.may_succeed_again = error.may_pass() || misled && error.outcome() != Outcome::Unknown;
        error
    }

    /// What a failure changes in the session's account, and what it is called.
    fn account_for(&mut self, error: sqlx::Error, diagnosis: Diagnosis, sql: &str) -> Error {
        let ungenerated = DB::is_ungenerated(&error);
        let (flight, state, carried) = self.deciding();
        let half = flight.is_half_done(state, diagnosis, DB::is_misread(&error, sql));
        let after = flight.failed::<DB>(state, carried, diagnosis, &summary(&error));
        match after {
            After::Lose => return self.lose(error),
            After::Leave { reader } => {
                let (failover, wire) = self.connected();
                if reader && failover.expects_writes() {
                    failover.suspect(wire.proof, &wire.at, "it refused to commit");
                }
                self.session.leave();
                self.rest();
            }
            After::Rest => self.rest(),
            After::Unread => self.done = true,
            After::Drop => {}
        }
        let state = &self.session.state;
        if let Some(state) = state.generated.failed(ungenerated).filter(|_| !half) {
            return Error::SessionStateLost { state };
        }
        // What a text has committed before is not to be done again with the rest of its guard's transaction.
        let kept = state.has_guards() && state.may_have_committed();
        let error = Error::from(if half { Judged::with_outcome(error, Outcome::Unknown) } else { error });
        if kept && error.may_pass() { error.half_done() } else { error }
    }

    /// What an error means for this connection.
    fn diagnose(&mut self, error: &sqlx::Error, query: Option<&Query<DB>>) -> Diagnosis {
        let diagnosis = DB::diagnose(error);
        // Here a function can raise the server's last words itself. Only a closed or readable socket shows that they are real.
        if diagnosis == Diagnosis::HungUp && DB::RULES.functions_say_anything && !self.is_hung_up() {
            return Diagnosis::Dead;
        }
        if diagnosis == Diagnosis::Statement && self.wire().carried.is_mixed() && is_misled(error, query) {
            return Diagnosis::Misled;
        }
        diagnosis
    }

    /// Whether the server refuses an `EXPLAIN` of the statement with the same code, which proves that nothing was executed. The text alone
    /// does not show it, because the statement may have failed on the type of a bound value, which the text does not name.
    async fn is_refused_unexecuted(&mut self, query: &Query<DB>, error: &sqlx::Error) -> bool {
        let (Some(text), Ok(deadline)) = (DB::unexecuted(query.sql.as_str()), self.deadline()) else { return false };
        if !query.has_values() {
            return false;
        }
        let asked = Query { persistent: false, ..query.clone().reworded(text) };
        let mut plan = First(None);
        let code = |error: &sqlx::Error| error.as_database_error().and_then(|refusal| refusal.code().map(String::from));
        match by_the_clock(deadline.instant(), self.read(&asked, &mut plan, None)).await {
            Some(Ok(())) => false,
            Some(Err(again)) if DB::diagnose(&again).is_of_statement() => code(&again) == code(error),
            _ => {
                if let Some(lease) = &mut self.session.lease {
                    lease.broke();
                }
                false
            }
        }
    }

    /// Whether the server has closed the connection, or says goodbye.
    fn is_hung_up(&mut self) -> bool {
        let (failover, wire) = self.connected();
        failover.peek(wire) != Peek::Quiet
    }

    /// The end of a statement that failed: whether it is to be run again, and the error if it is not. `query`: it, if it is the
    /// application's.
    pub(super) async fn judged(
        mut self,
        error: sqlx::Error,
        query: Option<&Query<DB>>,
        handed_on: bool,
    ) -> (Verdict, Error) {
        if TimeToCancel::is_behind(&error) {
            let error = Box::pin(self.cancelled(query)).await;
            return (Verdict::Tell(error.outcome()), error);
        }
        let diagnosis = self.diagnose(&error, query);
        let work = self.flight.work(&self.session.state, handed_on);
        let unexecuted = match query {
            Some(query) if diagnosis == Diagnosis::Misled && !work.bound => {
                is_misled(&error, Some(query)) || Box::pin(self.is_refused_unexecuted(query, &error)).await
            }
            _ => false,
        };
        let work = Work { unexecuted, ..work };
        let reader = diagnosis == Diagnosis::ReadOnly && Box::pin(self.is_on_reader(work)).await;
        // Before the refusal a function in the statement may have done something that the rollback of the statement does not undo.
        let begun = diagnosis == Diagnosis::ReadOnly && DB::may_have_begun(&error, text_of(query), reader);
        let verdict = failover::judge(diagnosis, work, reader && !begun);
        let error = self.fail(error, query);
        let error = if begun { error.begun() } else { error };
        if reader {
            self.session.leave();
        }
        (verdict, error)
    }

    /// The end of the invocation is near: ends the statement on the server, and says what the server says of it.
    async fn cancelled(mut self, query: Option<&Query<DB>>) -> Error {
        let (phase, may_commit, elapsed) = (self.flight.phase(), self.flight.may_commit(), self.started.elapsed());
        let pool = self.session.pool.clone();
        let answered = match self.deadline() {
            Ok(deadline) => {
                let ended = pool.connector().connector().come_to_rest(self.wire(), Unread::End);
                by_the_clock(deadline.instant(), ended).await.unwrap_or_else(|| Err(timed_out()))
            }
            Err(_) => Err(timed_out()),
        };
        let reached = |outcome, source| Error::DeadlineReached { phase, elapsed, outcome, source };
        let prepared = !DB::RULES.prepares_ahead && query.is_some_and(Query::is_prepared);
        match answered {
            // Nobody knows whether it was sent. From here on it is as if its answer was not waited for.
            Ok(Rested { late: None, .. }) if !self.flight.is_executed_at_rest(prepared) => {
                let outcome = if self.flight.is_sent() { Outcome::Unknown } else { Outcome::NotExecuted };
                reached(outcome, None)
            }
            // It has come to its end, before the cancel did or in spite of it.
            Ok(Rested { late: None, cancelled }) => {
                self.finish();
                reached(failover::ended(phase, cancelled, may_commit), None)
            }
            Ok(Rested { late: Some(refusal), .. }) => {
                let code = refusal.as_database_error().and_then(|refusal| refusal.code());
                let is_cancelled = code.as_deref() == Some(DB::RULES.cancelled);
                match self.fail(refusal, query) {
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
        let (failover, wire) = self.connected();
        if !failover.expects_writes() {
            return false;
        }
        if work.bound {
            // This connection holds a transaction or a pin and cannot be asked now. The suspicion has it and all others asked before
            // they are lent again.
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
    pub(super) async fn concluded<T>(self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        match result {
            Ok(value) => {
                self.finish();
                Ok(value)
            }
            Err(error) => Err(self.judged(error, None, false).await.1.into()),
        }
    }

    pub(super) fn lose(&mut self, source: sqlx::Error) -> Error {
        self.done = true;
        let diagnosis = self.diagnose(&source, None);
        let (phase, sent) = (self.flight.phase(), self.flight.is_sent());
        let error = self.session.lose(phase, sent, self.started.elapsed(), source, diagnosis);
        self.flight.lost(&mut self.session.state);
        error
    }

    pub(super) fn committed(&mut self, depth: usize) {
        let (_, state, carried) = self.deciding();
        in_flight::committed(state, carried, depth);
    }

    pub(super) fn rolled_back(&mut self, depth: usize) {
        let (_, state, carried) = self.deciding();
        in_flight::rolled_back::<DB>(state, carried, depth);
        self.session.may_succeed_again &= depth == 1;
    }

    pub(super) fn ended(&mut self) {
        let (_, state, carried) = self.deciding();
        in_flight::ended(state, carried);
    }

    pub(super) fn finish(mut self) {
        let (flight, state, carried) = self.deciding();
        if flight.succeeded::<DB>(state, carried) {
            self.session.unpinned();
        }
        self.rest();
    }

    /// The connection is at rest: it goes home unless the session still needs it.
    pub(super) fn rest(&mut self) {
        self.done = true;
        if let Some(lease) = &mut self.session.lease {
            lease.conn().in_flight = false;
        }
        if self.session.state.is_free()
            && let Some(mut lease) = self.session.lease.take()
            && lease.conn().carried.is_at_rest()
        {
            lease.end();
        }
        // `COMMIT AND CHAIN` has committed, but the settings could not be taken off the connection, which is closed for that reason
        // (`read_handing_over`). The transaction that began with the commit is lost with it.
        if self.session.lease.as_mut().is_some_and(|lease| lease.conn().carried.hands_over()) {
            self.session.lease = None;
            self.session.state.lost();
        }
    }
}

/// Whether a refusal shows that nothing was executed, and comes of names that the driver has learnt.
fn is_misled<DB: Engine>(error: &sqlx::Error, query: Option<&Query<DB>>) -> bool {
    query.is_some_and(|query| query.is_prepared() && DB::is_misled(error, query.sql.as_str(), query.has_values()))
}

fn text_of<DB: Engine>(query: Option<&Query<DB>>) -> &str {
    query.map_or("", |query| query.sql.as_str())
}

impl<DB: Engine> Drop for Borrow<'_, DB> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        match self.flight.dropped::<DB>(&mut self.session.state) {
            Left::Unread => {}
            Left::Part => self.session.part(),
            Left::Abandon => self.session.abandon(1),
            Left::Close => self.session.lease = None,
            Left::Pin(reason) => self.session.pin_for(reason),
        }
    }
}
