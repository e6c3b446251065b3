//! A session in the middle of an exchange with its physical connection.

use std::io;

use tokio::time::{Instant, timeout_at};

use super::state::{self, CommitPlan, Reading, SettingChange, Turn};
use super::{Connection, Intent};
use crate::connector::{Soil, Wire};
use crate::engine::{End, Engine, Found, PinEnd};
use crate::error::{Error, Outcome, Phase};
use crate::failover::Failover;
use crate::pin::{PinCause, PinReason};
use crate::retry::Deadline;

/// A session in the middle of an exchange. Dropped before [`finish`](Self::finish), it leaves word that the connection
/// is not at rest: a free session gives it back as it is, one in a transaction settles it at its next use.
pub(super) struct Borrow<'s, DB: Engine> {
    pub(super) session: &'s mut Connection<DB>,
    pub(super) phase: Phase,
    pub(super) started: Instant,
    /// The setting that the statement under way changes.
    pub(super) change: Option<SettingChange>,
    /// The transaction control that is under way as text.
    pub(super) turn: Option<Turn>,
    /// The text under way may begin or end a transaction, and is not understood.
    pub(super) unclear: bool,
    /// What the statement under way takes away of the session's pins.
    pub(super) ends: Option<PinEnd>,
    /// How soiled the connection was before the statement.
    pub(super) before: Soil,
    pub(super) done: bool,
}

impl<'s, DB: Engine> Borrow<'s, DB> {
    pub(super) fn new(session: &'s mut Connection<DB>, phase: Phase) -> Self {
        Self {
            session,
            phase,
            started: Instant::now(),
            change: None,
            turn: None,
            unclear: false,
            ends: None,
            before: Soil::None,
            done: false,
        }
    }

    pub(super) fn wire(&mut self) -> &mut Wire<DB> {
        // INVARIANT: `borrow` puts a lease there, and only `lose`, `finish` and `drop` take it, which end the borrow.
        self.session.lease.as_mut().expect("BUG: a borrow without a lease").conn()
    }

    /// The way to the writer, and the connection.
    pub(super) fn apart(&mut self) -> (&Failover<DB>, &mut Wire<DB>) {
        let Connection { pool, lease, .. } = &mut *self.session;
        // INVARIANT: as in `wire`.
        (pool.connector(), lease.as_mut().expect("BUG: a borrow without a lease").conn())
    }

    /// What a statement does to transaction and pins, before it is sent.
    pub(super) async fn enter(&mut self, intent: &mut Intent<'_>) -> Result<(), Error> {
        if let Some(control) = intent.control {
            match self.session.state.read(control) {
                Reading::Nothing => {}
                Reading::Turn(turn) => self.turn_to(turn).await?,
                Reading::Unclear { ends } => {
                    self.unclear = true;
                    if ends {
                        self.session.state.taken_from_guard();
                    }
                    let pin = || PinReason::new(PinCause::RawTransaction, intent.sql);
                    intent.pin = Some(intent.pin.take().unwrap_or_else(pin));
                }
            }
        }
        if self.phase == Phase::Statement && self.session.state.depth() > 0 {
            self.phase = Phase::InTransaction;
        }
        // After the settings are there: from here on they are not replayed any more.
        if let Some(reason) = intent.pin.take() {
            if reason.cause() == PinCause::TemporaryObject && self.wire().hands > 1 {
                Box::pin(self.replan()).await?;
            }
            self.session.pin_for(reason);
        }
        Ok(())
    }

    /// Transaction control as text that the session's account follows.
    async fn turn_to(&mut self, turn: Turn) -> Result<(), Error> {
        self.phase = match &turn {
            Turn::Begin => Phase::Begin,
            Turn::Commit { .. } => Phase::Commit,
            Turn::Rollback { .. } => Phase::Rollback,
            Turn::Whole => Phase::Statement,
            Turn::Savepoint(_) | Turn::RollbackTo(_) | Turn::Release(_) => Phase::InTransaction,
        };
        if let Turn::Commit { .. } = turn
            && let CommitPlan::Refuse(why) = self.session.state.commit_plan(1)
        {
            // The server would roll back as well, and call it a success.
            self.phase = Phase::Rollback;
            self.roll_back(1).await?;
            self.rolled_back(1);
            self.rest();
            return Err(Error::TransactionAborted { why: state::aborted_by(&why), outcome: Outcome::RolledBack });
        }
        if let Turn::Commit { .. } = turn {
            self.tidy().await?;
        }
        if let Turn::Begin | Turn::Whole = turn {
            self.wire().open();
        }
        self.turn = Some(turn);
        Ok(())
    }

    /// Dropped from here on, the connection is not at rest.
    pub(super) fn unrest(&mut self) {
        self.session.interrupted = true;
        if let Some(lease) = &mut self.session.lease {
            lease.begin();
        }
    }

    /// From here on the server may be working.
    pub(super) fn begin(&mut self, intent: Intent<'_>) {
        self.session.interrupted = true;
        if let Some(lease) = &mut self.session.lease {
            lease.begin();
            let wire = lease.conn();
            self.before = wire.soil;
            // Whether a dropped `SET` happened is not known: then the connection is cleaned.
            if intent.change.is_some() {
                wire.soil = wire.soil.max(Soil::Traces);
            }
            if intent.soils {
                wire.soil = wire.soil.max(Soil::Traces);
                self.before = wire.soil;
            }
            wire.forgetful |= intent.ends.is_some();
        }
        self.change = intent.change;
        self.ends = intent.ends;
    }

    /// What this session has to do by itself must end within `borrow_timeout`.
    pub(super) fn deadline(&self) -> Result<Deadline, Error> {
        Deadline::for_invocation(self.session.pool.borrow_timeout(), self.phase)
    }

    /// An exchange that must end in time, or the connection is given up.
    pub(super) async fn until<T>(
        &mut self,
        deadline: Deadline,
        exchange: impl AsyncFnOnce(&mut Wire<DB>) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        self.unrest();
        let (failover, wire) = self.apart();
        let peer = wire.peer;
        let answered = timeout_at(deadline.instant(), failover.attend(peer, exchange(wire))).await;
        let source = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(source)) => source,
            Err(_) => sqlx::Error::Io(io::ErrorKind::TimedOut.into()),
        };
        Err(self.lose(source))
    }

    pub(super) async fn run(&mut self, sql: String) -> Result<(), Error> {
        let (failover, wire) = self.apart();
        let result = failover.attend(wire.peer, DB::run(&mut wire.driver, sql)).await;
        result.map_err(|error| self.fail(error))
    }

    /// As [`run`](Self::run), for what a server that is alive answers at once: a silent one is given up.
    pub(super) async fn run_until(&mut self, deadline: Deadline, sql: String) -> Result<(), Error> {
        let (failover, wire) = self.apart();
        let run = failover.attend(wire.peer, DB::run(&mut wire.driver, sql));
        let answered = timeout_at(deadline.instant(), run).await;
        let silent = |_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
        answered.unwrap_or_else(silent).map_err(|error| self.fail(error))
    }

    pub(super) async fn roll_back(&mut self, depth: usize) -> Result<(), Error> {
        let deadline = Deadline::after(self.session.pool.borrow_timeout());
        self.session.state.ending(depth, false);
        let rolled_back = self.run_until(deadline, state::rollback(depth)).await;
        self.session.state.answered();
        rolled_back
    }

    pub(super) async fn end_doubtful(&mut self, end: End) -> Result<Found, Error> {
        let (failover, wire) = self.apart();
        let result = failover.attend(wire.peer, DB::end_doubtful(&mut wire.driver, end)).await;
        result.map_err(|error| self.fail(error))
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
