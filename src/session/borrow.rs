//! A session in the middle of an exchange with its physical connection.

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout_at};

use super::answer::Done;
use super::connection::Connection;
use super::core::{self, Gate, InFlight, Intent, State, Turn};
use super::query::Query;
use crate::connector::{Carried, Wire};
use crate::deadline::{Deadline, TimeToCancel, by_the_clock, time_to_cancel};
use crate::engine::{Engine, Found};
use crate::error::{Error, Outcome, Phase, timed_out};
use crate::failover::Failover;
#[cfg(feature = "testing")]
use crate::faults::{Fault, lost};
use crate::pin::shorten;

/// A session in the middle of an exchange. Dropped before [`finish`](Self::finish), it leaves word that the connection
/// is not at rest: a free session gives it back as it is, one in a transaction settles it at its next use.
pub(super) struct Borrow<'s, DB: Engine> {
    pub(super) session: &'s mut Connection<DB>,
    pub(super) started: Instant,
    pub(super) flight: InFlight,
    pub(super) done: bool,
}

/// What a session in the middle of an exchange is made of.
pub(super) struct Parts<'b, DB: Engine> {
    pub(super) failover: &'b Failover<DB>,
    pub(super) flight: &'b mut InFlight,
    state: &'b mut State,
    pub(super) wire: &'b mut Wire<DB>,
}

impl<'s, DB: Engine> Borrow<'s, DB> {
    pub(super) fn new(session: &'s mut Connection<DB>, phase: Phase) -> Self {
        Self { session, started: Instant::now(), flight: InFlight::new(phase), done: false }
    }

    pub(super) fn parts(&mut self) -> Parts<'_, DB> {
        let Connection { pool, lease, state, .. } = &mut *self.session;
        // INVARIANT: `borrow` puts a lease there, and only `lose`, `finish` and `drop` take it, which end the borrow.
        let wire = lease.as_mut().expect("BUG: a borrow without a lease").conn();
        Parts { failover: pool.connector(), flight: &mut self.flight, state, wire }
    }

    pub(super) fn wire(&mut self) -> &mut Wire<DB> {
        self.parts().wire
    }

    /// The way to the writer, and the connection.
    pub(super) fn connected(&mut self) -> (&Failover<DB>, &mut Wire<DB>) {
        let Parts { failover, wire, .. } = self.parts();
        (failover, wire)
    }

    /// What decides about an exchange: the exchange itself, the session's account, and what the connection carries.
    pub(super) fn deciding(&mut self) -> (&mut InFlight, &mut State, &mut Carried) {
        let Parts { flight, state, wire, .. } = self.parts();
        (flight, state, &mut wire.carried)
    }

    /// What a statement does to transaction and pins, before it is sent. What is rare is boxed, as in [`settle`](Self::settle).
    pub(super) async fn enter(&mut self, intent: &mut Intent<'_>) -> Result<(), Error> {
        match self.gate(intent) {
            Gate::Open => {}
            Gate::Guarded => {
                self.rest();
                return Err(Error::ImplicitCommit { statement: shorten(intent.sql) });
            }
            Gate::Commit(turn) => {
                Box::pin(self.tidy()).await?;
                let (flight, _, carried) = self.deciding();
                flight.turn_to(turn, carried);
            }
            Gate::RollBack { why, chain } => return Err(Box::pin(self.roll_back_instead(why, chain)).await?),
            Gate::Ask { chain, turns } => {
                Box::pin(self.refuse_aborted(chain)).await?;
                if turns {
                    Box::pin(self.tidy()).await?;
                    let (flight, _, carried) = self.deciding();
                    flight.turn_to(Turn::Commit { chain }, carried);
                }
            }
        }
        self.stay_marked(intent).await?;
        // After the settings are there: from here on they are not replayed any more.
        if let Some(reason) = intent.pin.take() {
            self.wire().carried.outdate_for_transaction(DB::staleness_by(reason.cause()));
            self.session.pin_for(reason);
        }
        Ok(())
    }

    fn gate(&mut self, intent: &mut Intent<'_>) -> Gate {
        let Parts { flight, state, wire, .. } = self.parts();
        flight.enter::<DB>(state, &mut wire.carried, intent, &wire.login_defaults)
    }

    /// Rolls back in the place of a `COMMIT` of an aborted transaction: the server would roll back too, and report success. Returns the
    /// error that tells the application so.
    async fn roll_back_instead(&mut self, why: String, chain: bool) -> Result<Error, Error> {
        self.start_exchange();
        self.roll_back(1).await?;
        self.rolled_back(1);
        if chain {
            // The next transaction begins with it, as the server would have done: what follows is in one.
            self.begin_after_refusal().await?;
        }
        self.rest();
        Ok(Error::TransactionAborted { why: core::aborted_by(&why), outcome: self.session.outcome_of_rollback() })
    }

    /// Asks the server, before a commit as text, whether an error that this session has not seen has aborted the transaction. If so,
    /// rolls back and returns the error. A guard's transaction is only refused here: its guard rolls it back.
    async fn refuse_aborted(&mut self, chain: bool) -> Result<(), Error> {
        if self.probe().await? != Found::Aborted {
            return Ok(());
        }
        let why = "an error on the connection that was handed out, or in a text that was not followed".to_owned();
        let state = &self.session.state;
        if state.has_guards() {
            let outcome = if state.may_have_committed() { Outcome::Unknown } else { Outcome::NotExecuted };
            self.rest();
            return Err(Error::TransactionAborted { why: core::aborted_by(&why), outcome });
        }
        Err(self.roll_back_instead(why, chain).await?)
    }

    async fn begin_after_refusal(&mut self) -> Result<(), Error> {
        let deadline = self.deadline()?;
        self.wire().carried.open();
        self.start_exchange();
        self.flight.set_begins(true);
        self.run_until(deadline, core::begin(1)).await?;
        self.flight.set_begins(false);
        self.session.state.begun_by_text();
        Ok(())
    }

    /// Dropped from here on, the connection is not at rest.
    pub(super) fn start_exchange(&mut self) {
        if let Some(lease) = &mut self.session.lease {
            lease.begin();
            let wire = lease.conn();
            wire.in_flight = true;
            wire.carried.exchange();
        }
    }

    /// From here on the server may be working.
    pub(super) fn start(&mut self, intent: &mut Intent<'_>) {
        if let Some(lease) = &mut self.session.lease {
            lease.begin();
        }
        let Parts { flight, state, wire, .. } = self.parts();
        wire.in_flight = true;
        flight.begin::<DB>(state, &mut wire.carried, wire.id, intent);
    }

    /// What this session has to do by itself must end within `borrow_timeout`.
    pub(super) fn deadline(&self) -> Result<Deadline, Error> {
        Deadline::for_invocation(self.session.pool.borrow_timeout())
            .map_err(|close| Error::too_close(self.flight.phase(), close))
    }

    /// An exchange that must end in time, or the connection is given up.
    pub(super) async fn until<T>(
        &mut self,
        deadline: Deadline,
        exchange: impl AsyncFnOnce(&mut Wire<DB>) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        self.wire().carried.exchange();
        self.within(deadline, exchange).await.map_err(|source| self.lose(source))
    }

    /// Something with the server that must end in time. Afterwards its own answer is read, and whether anything else is unread is
    /// as it was before.
    pub(super) async fn within<T>(
        &mut self,
        deadline: Deadline,
        exchange: impl AsyncFnOnce(&mut Wire<DB>) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        if let Some(lease) = &mut self.session.lease {
            lease.begin();
        }
        let (failover, wire) = self.connected();
        let was_in_flight = std::mem::replace(&mut wire.in_flight, true);
        let peer = wire.peer.clone();
        let answered = by_the_clock(deadline.instant(), failover.attend(peer.as_deref(), exchange(wire))).await;
        let answer = answered.unwrap_or_else(|| Err(timed_out()))?;
        self.wire().in_flight &= was_in_flight;
        Ok(answer)
    }

    /// Waits until what is sent next is sent at the first poll. Mostly it is so already.
    pub(super) async fn be_ready(&mut self) -> Result<(), Error> {
        let is_ready = match DB::ready(&mut self.wire().driver).now_or_never() {
            Some(ready) => ready,
            None => {
                let deadline = self.deadline()?;
                Box::pin(self.within(deadline, async |wire| DB::ready(&mut wire.driver).await)).await
            }
        };
        is_ready.map_err(|source| self.lose(source))
    }

    pub(super) async fn run(&mut self, sql: String) -> Result<(), Error> {
        #[cfg(feature = "testing")]
        let (sql, is_lost) = self.spoilt(sql);
        let alarm = time_to_cancel(self.wire().login);
        let result = self.read(&Query::of(sql), &mut Done(DB::QueryResult::default()), alarm).await;
        #[cfg(feature = "testing")]
        let result = if is_lost { Err(lost()) } else { result };
        result.map_err(|error| self.unanswered(error))
    }

    /// The failure of a commit. One that is under way when the end of the invocation is near is not cancelled, for it may be
    /// done: its connection is closed, and what became of it is said as far as it is known.
    pub(super) fn unanswered(&mut self, error: sqlx::Error) -> Error {
        if !TimeToCancel::is_behind(&error) {
            return self.fail(error, None);
        }
        match self.lose(error) {
            Error::ConnectionLost { phase, elapsed, outcome, source } => {
                Error::DeadlineReached { phase, elapsed, outcome, source: Some(source) }
            }
            error => error,
        }
    }

    /// The text of a commit whose answer a test wants to be lost, and whether it is.
    #[cfg(feature = "testing")]
    fn spoilt(&self, sql: String) -> (String, bool) {
        let of_commit = |fault| match fault {
            Fault::CommitUnknown { executed } if self.flight.phase() == Phase::Commit => Some(executed),
            _ => None,
        };
        match self.session.connector().faults().strike(of_commit) {
            None => (sql, false),
            Some(true) => (sql, true),
            Some(false) => ("ROLLBACK".to_owned(), true),
        }
    }

    /// A statement that gets no answer, where a test wants that.
    #[cfg(feature = "testing")]
    pub(super) fn lose_if_asked(&mut self) -> Result<(), sqlx::Error> {
        let loses = |fault| matches!(fault, Fault::ConnectionLost | Fault::Failover).then_some(fault);
        let Some(struck) = self.session.connector().faults().strike(loses) else { return Ok(()) };
        if struck == Fault::Failover {
            self.session.pool.break_idle();
        }
        self.flight.set_sent(true);
        Err(lost())
    }

    /// As [`run`](Self::run), for what a server that is alive answers at once: a silent one is given up.
    pub(super) async fn run_until(&mut self, deadline: Deadline, sql: String) -> Result<(), Error> {
        let (failover, wire) = self.connected();
        wire.in_flight = true;
        let run = failover.attend(wire.peer.as_deref(), DB::run(&mut wire.driver, sql));
        let answered = timeout_at(deadline.instant(), run).await;
        let silent = |_| Err(timed_out());
        answered.unwrap_or_else(silent).map_err(|error| self.fail(error, None))
    }

    /// Rolls back, and says whether there was anything to roll back.
    pub(super) async fn roll_back(&mut self, depth: usize) -> Result<Found, Error> {
        let deadline = Deadline::after(self.session.pool.borrow_timeout());
        if depth > 1 && self.session.state.gone().is_some() {
            return Ok(if self.session.state.may_have_committed() { Found::Nothing } else { Found::Healthy });
        }
        let takes_sentinel = self.session.state.takes_sentinel(depth);
        let text = self.with_sentinel(core::rollback(depth), takes_sentinel);
        self.session.state.ending(depth, false);
        let rolled_back = self.run_until(deadline, text).await;
        self.session.state.answered();
        found_savepoint::<DB>(depth, rolled_back)
    }
}

/// Whether the savepoint of a guard was there, by the answer to its end.
pub(super) fn found_savepoint<DB: Engine>(depth: usize, ended: Result<(), Error>) -> Result<Found, Error> {
    match ended {
        Err(Error::Database(refusal)) if depth > 1 && DB::is_no_savepoint(&refusal) => Ok(Found::Nothing),
        ended => ended.map(|()| Found::Healthy),
    }
}

/// An error in a few words, without the server's detail, which may show values.
pub(super) fn summary(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(database) => match database.code() {
            Some(code) => format!("{} ({code})", database.message()),
            None => database.message().to_owned(),
        },
        None => error.to_string(),
    }
}
