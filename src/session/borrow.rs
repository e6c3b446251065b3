//! A session in the middle of an exchange with its physical connection.

use std::io;

use tokio::time::{Instant, timeout_at};

use super::state::{self, CommitPlan, Reading, SettingChange, Turn};
use super::{Connection, Intent, Possession};
use crate::connector::{Soil, Wire};
use crate::engine::{Diagnosis, End, Engine, Found, PinEnd, Sequence, Settings};
use crate::error::{Error, Outcome, Phase};
use crate::failover::{self, Failover, Told, Verdict, Work};
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

    /// Makes the connection fit for this session's next exchange. Mostly there is nothing to do, and what there is is
    /// boxed, so that no statement's future is as large as all of it.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        if self.session.interrupted || self.session.state.abandoned().is_some() {
            Box::pin(self.settle_dropped()).await?;
        }
        if self.session.state.is_half_done() {
            Box::pin(self.settle_half_done()).await?;
        }
        if self.wire().forgetful {
            Box::pin(self.forget()).await?;
        }
        if self.session.connector().is_strict() && self.wire().hands > 1 {
            Box::pin(self.clean()).await?;
        }
        let (failover, wire) = self.apart();
        if failover.wants_a_look(wire) && self.session.state.is_free() {
            Box::pin(self.look()).await?;
        }
        if self.has_other_settings() {
            Box::pin(self.replay()).await?;
        }
        Ok(())
    }

    /// Who the server is, and who its neighbours are: once, where nobody has looked at connect.
    async fn look(&mut self) -> Result<(), Error> {
        self.unrest();
        let (failover, wire) = self.apart();
        match failover.look(wire).await {
            Ok(_) => {
                self.session.interrupted = false;
                Ok(())
            }
            Err(Error::Database(source)) => Err(self.lose(source)),
            Err(error) => Err(error),
        }
    }

    /// Whether the connection may not have this session's settings. A pinned session's are where they were made.
    pub(super) fn has_other_settings(&mut self) -> bool {
        let state = &self.session.state;
        // Through a pooler they last as long as the transaction, and are needed only there.
        let elsewhere = if self.session.connector().via_proxy() {
            state.depth() == 0 || state.is_aborted()
        } else {
            state.pin_reason().is_some()
        };
        if elsewhere {
            return false;
        }
        let wanted = self.session.state.settings().clone();
        self.wire().applied != wanted
    }

    /// Reads what a dropped statement left on the wire, and sends the rollback that a dropped transaction left to send.
    pub(super) async fn settle_dropped(&mut self) -> Result<(), Error> {
        if self.session.interrupted {
            let pool = self.session.pool.clone();
            let deadline = self.deadline()?;
            let late = self.until(deadline, async |wire| pool.connector().connector().come_to_rest(wire).await).await?;
            // An error in a savepoint goes with it.
            if let Some(error) = late
                && self.session.state.abandoned().is_none()
            {
                self.session.state.failed(&summary(&error));
            }
            self.session.interrupted = false;
        }
        if let Some(depth) = self.session.state.abandoned() {
            let deadline = self.deadline()?;
            // It is sent at the first poll, and never twice: a savepoint that is gone cannot be rolled back to.
            self.session.state.rolled_back_abandoned();
            self.until(deadline, async |wire| DB::run(&mut wire.driver, state::rollback(depth)).await).await?;
            self.session.interrupted = false;
            let settings = self.session.settings_applied();
            self.wire().applied = settings;
        }
        Ok(())
    }

    /// Asks the server what became of a text that goes from begin to end and failed in between.
    async fn settle_half_done(&mut self) -> Result<(), Error> {
        let deadline = self.deadline()?;
        let found = self.until(deadline, async |wire| DB::probe(&mut wire.driver).await).await?;
        self.session.interrupted = false;
        self.session.state.found_half_done(found != Found::Nothing);
        if found == Found::Nothing {
            self.ended();
        }
        Ok(())
    }

    /// Makes the driver forget what the server has forgotten.
    async fn forget(&mut self) -> Result<(), Error> {
        let deadline = self.deadline()?;
        self.until(deadline, async |wire| DB::forget(&mut wire.driver).await).await?;
        self.session.interrupted = false;
        self.wire().forgetful = false;
        Ok(())
    }

    /// Takes everything that others left off the connection.
    pub(super) async fn clean(&mut self) -> Result<(), Error> {
        let pool = self.session.pool.clone();
        let deadline = self.deadline()?;
        self.until(deadline, async |wire| pool.connector().connector().clean(wire).await).await?;
        let id = self.session.id;
        self.wire().come_into(id);
        Ok(())
    }

    /// Sets what this session has set and the connection does not have, and takes back what others left; one round trip,
    /// none when equal.
    pub(super) async fn replay(&mut self) -> Result<(), Error> {
        let wanted = self.session.state.settings().clone();
        let text = match DB::replay(&self.wire().applied, &wanted) {
            None => {
                // Equal, and from here on seen at a glance.
                self.wire().applied = wanted;
                return Ok(());
            }
            // What a reset goes back to is not what the `init_query` had set.
            Some(_) if self.session.connector().has_init_query() && !self.wire().applied.is_empty() => {
                self.clean().await?;
                match DB::replay(&self.wire().applied, &wanted) {
                    Some(text) => text,
                    None => return Ok(()),
                }
            }
            Some(text) => text,
        };
        // All or nothing: several statements in one text are one transaction.
        let deadline = self.deadline()?;
        // Cut short, it may be there or not: then the connection is cleaned.
        let wire = self.wire();
        let soil = wire.soil;
        wire.soil = soil.max(Soil::Traces);
        let refused = self.until(deadline, async |wire| match DB::run(&mut wire.driver, text).await {
            Err(error) if DB::diagnose(&error).is_of_statement() => Ok(Some(error)),
            result => result.map(|()| None),
        });
        let refused = refused.await?;
        self.wire().soil = soil;
        if let Some(error) = refused {
            self.session.state.failed(&summary(&error));
            self.rest();
            return Err(error.into());
        }
        self.wire().applied = wanted;
        Ok(())
    }

    /// Before the end of a transaction through a pooler: takes back what is set, and the names that the driver has given
    /// to questions of its own, while they are still in reach. Whoever gets the server's connection next finds neither.
    pub(super) async fn tidy(&mut self) -> Result<(), Error> {
        if !self.session.connector().via_proxy() {
            return Ok(());
        }
        let deadline = self.deadline()?;
        // Nothing is sent where there are none.
        self.until(deadline, async |wire| DB::forget(&mut wire.driver).await).await?;
        let Some(text) = DB::replay(&self.wire().applied, &Settings::default()) else { return Ok(()) };
        let refused = self.until(deadline, async |wire| match DB::run(&mut wire.driver, text).await {
            Err(error) if DB::diagnose(&error).is_of_statement() => Ok(Some(error)),
            result => result.map(|()| None),
        });
        match refused.await? {
            None => {
                self.wire().applied = Settings::default();
                Ok(())
            }
            Some(error) => {
                self.session.state.failed(&summary(&error));
                self.rest();
                Err(error.into())
            }
        }
    }

    /// Refuses a question about an earlier number of a sequence where the answer could be another session's.
    pub(super) fn remember(&mut self, sequence: Sequence) -> Result<(), Error> {
        let wire = self.wire();
        let possession = Possession { wire: wire.id, hands: wire.hands };
        match sequence {
            Sequence::None => {}
            Sequence::Draws => self.session.drawn = Some(possession),
            // One pair of hands: nobody else has ever drawn on it.
            Sequence::Asks if possession.hands <= 1 || self.session.drawn == Some(possession) => {}
            Sequence::Asks => {
                self.rest();
                return Err(Error::SessionStateLost { state: "the last number of a sequence (currval, lastval)" });
            }
        }
        Ok(())
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

    /// Makes the server look at all names again: a temporary object may stand before what others' plans mean by one.
    async fn replan(&mut self) -> Result<(), Error> {
        let deadline = self.deadline()?;
        let refused = self.until(deadline, async |wire| match DB::replan(&mut wire.driver).await {
            // In an aborted transaction; then the statement is refused too.
            Err(error) if DB::diagnose(&error).is_of_statement() => Ok(()),
            result => result,
        });
        refused.await
    }

    /// Dropped from here on, the connection is not at rest.
    fn unrest(&mut self) {
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

    /// Makes the driver forget its prepared statements when one of them has become stale; then the same statement can be
    /// run again. Not inside a transaction, which the server has aborted by then.
    pub(super) async fn heal(&mut self, error: &sqlx::Error) -> bool {
        DB::diagnose(error) == Diagnosis::StalePlan
            && self.session.state.depth() == 0
            && !self.session.state.is_doubtful()
            && DB::forget(&mut self.wire().driver).await.is_ok()
    }

    /// Notes a failure, and says what it means.
    pub(super) fn fail(&mut self, error: sqlx::Error) -> Error {
        match DB::diagnose(&error) {
            // Refusals of a login are a last word too: a pooler says them in the middle of a session.
            Diagnosis::Dead
            | Diagnosis::Full
            | Diagnosis::NotReady
            | Diagnosis::Authentication
            | Diagnosis::UnknownDatabase
            | Diagnosis::TlsDemanded
            | Diagnosis::UnknownSetting => return self.lose(error),
            Diagnosis::NotSent => self.give_up_change(),
            // Left as it is: what is still on its way is read before the next use.
            Diagnosis::Interrupted => self.done = self.session.state.depth() > 0,
            // A server that refuses the commit has rolled back: https://www.postgresql.org/docs/current/sql-commit.html
            Diagnosis::Statement | Diagnosis::StalePlan | Diagnosis::ReadOnly if self.phase == Phase::Commit => {
                self.turn = None;
                self.rolled_back(1);
                self.rest();
            }
            Diagnosis::Statement | Diagnosis::StalePlan | Diagnosis::ReadOnly => {
                if let Some(Turn::Whole) = self.turn.take() {
                    self.session.state.failed_half_way(&summary(&error));
                } else {
                    self.session.state.failed(&summary(&error));
                }
                self.give_up_change();
            }
        }
        Error::from(error)
    }

    /// The end of a statement that failed: whether it is to be run again, and the error if it is not.
    pub(super) async fn judged(mut self, error: sqlx::Error, handed_on: bool) -> (Verdict, Error) {
        let diagnosis = DB::diagnose(&error);
        let mut work = self.session.work(self.phase, handed_on);
        // A text that goes from begin to end may have come half way.
        work.bound |= self.turn == Some(Turn::Whole);
        let reader = diagnosis == Diagnosis::ReadOnly && Box::pin(self.is_on_reader(work)).await;
        let verdict = failover::judge(diagnosis, work, reader);
        let error = self.fail(error);
        if reader {
            self.session.leave();
        }
        (verdict, error)
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
            self.wire().soil = before;
        }
        self.rest();
    }

    pub(super) fn lose(&mut self, source: sqlx::Error) -> Error {
        self.done = true;
        let error = self.session.lose(self.phase, self.started.elapsed(), source);
        if self.turn.take().is_some_and(|turn| turn.is_of_transaction()) {
            // Whatever became of it, it is over.
            self.session.state.rolled_back(1);
        }
        error
    }

    pub(super) fn committed(&mut self, depth: usize) {
        self.session.state.committed(depth);
        self.ended();
    }

    pub(super) fn rolled_back(&mut self, depth: usize) {
        self.session.state.rolled_back(depth);
        // The server took the settings back as well.
        let settings = self.session.settings_applied();
        self.wire().applied = settings;
        self.ended();
    }

    fn ended(&mut self) {
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
            self.wire().applied = settings;
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
        if let Some(change) = self.change.take() {
            self.session.state.changed(change);
            let (before, settings) = (self.before, self.session.settings_applied());
            let wire = self.wire();
            wire.applied = settings;
            wire.soil = before;
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
            && lease.conn().soil == Soil::None
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
        } else if self.unclear && self.session.state.depth() == 0 {
            // Whether a transaction is open now is not known: what the session did next could vanish with it.
            self.session.state.lost();
            self.session.interrupted = false;
            self.session.lease = None;
        } else if self.change.is_some() {
            // Inside a transaction it may or may not have been set: from here on only the server knows.
            self.session.pin_for(PinReason::new(PinCause::UnknownStatement, "a SET that was dropped half way"));
        }
    }
}

/// An error in a few words, without the server's detail, which may show values.
fn summary(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(database) => match database.code() {
            Some(code) => format!("{} ({code})", database.message()),
            None => database.message().to_owned(),
        },
        None => error.to_string(),
    }
}
