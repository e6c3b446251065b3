//! A session in the middle of an exchange with its physical connection.

use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::core::generated::Exchange;
use super::core::{self, CommitPlan, Reading, SettingChange, Turn};
use super::intent::Intent;
use crate::connector::Wire;
use crate::deadline::{Deadline, TimeToCancel, time_to_cancel};
use crate::engine::{Cleanup, Control, End, Engine, Found, PinEnd, Staleness};
use crate::error::{Error, Outcome, Phase, timed_out};
use crate::failover::Failover;
#[cfg(feature = "testing")]
use crate::faults::{Fault, lost};
use crate::pin::{PinCause, PinReason, shorten};

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
    /// The text under way is several statements, or calls several, and those before the one that fails are done.
    pub(super) unatomic: bool,
    /// A guard's `BEGIN` is under way.
    pub(super) begins: bool,
    /// What the statement under way takes away of the session's pins.
    pub(super) ends: Option<PinEnd>,
    /// What the connection had to be cleaned of before the statement.
    pub(super) before: Cleanup,
    /// The statement itself may have reached the server; until then there are only exchanges that make the connection fit.
    pub(super) sent: bool,
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
            unatomic: false,
            begins: false,
            ends: None,
            before: Cleanup::None,
            sent: false,
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
        let commits = intent.commits || self.session.commits_by(intent.change.as_ref());
        if commits && self.session.state.has_guards() {
            self.rest();
            return Err(Error::ImplicitCommit { statement: shorten(intent.sql) });
        }
        if commits && intent.several && DB::begins_by_itself(self.session.state.settings()) {
            // What comes after the one that commits begins the next transaction.
            intent.control = Some(Control::Unclear { ends: true });
        }
        let followed = !self.session.state.is_doubtful() && !matches!(intent.control, Some(Control::Unclear { .. }));
        if commits && self.session.state.depth() > 0 && followed {
            self.turn_to(Turn::Commit { chain: intent.control == Some(Control::Begin) }).await?;
        } else if let Some(control) = intent.control {
            match self.session.state.read(control) {
                Reading::Nothing => {}
                Reading::Turn(turn) => self.turn_to(turn).await?,
                Reading::Unclear { ends } => {
                    self.unclear = true;
                    self.session.state.spoken_in_doubt();
                    if ends {
                        self.session.state.taken_from_guard();
                    }
                    let pin = || PinReason::new(PinCause::RawTransaction, intent.sql);
                    intent.pin = Some(intent.pin.take().unwrap_or_else(pin));
                }
            }
        }
        self.unatomic = intent.several && (!DB::RULES.texts_are_atomic || self.unclear)
            || intent.pin.as_ref().is_some_and(|reason| match reason.cause() {
                PinCause::Procedure => true,
                PinCause::PreparedStatement => !DB::RULES.texts_are_atomic,
                _ => false,
            });
        self.stay_without_a_login_default(intent);
        self.begin_by_itself(intent);
        if self.phase == Phase::Statement && self.session.state.depth() > 0 {
            self.phase = Phase::InTransaction;
        }
        if intent.pin.as_ref().is_some_and(|reason| DB::may_control(reason.cause())) && self.set_sentinel().await? {
            // What it asks about is the sentinel now.
            self.remember(intent).await?;
        }
        // After the settings are there: from here on they are not replayed any more.
        if let Some(reason) = intent.pin.take() {
            self.wire().outdate(DB::staleness_by(reason.cause()));
            self.session.pin_for(reason);
        }
        Ok(())
    }

    /// A setting that this connection could not take back is not moved: the session stays where it was made.
    fn stay_without_a_login_default(&mut self, intent: &mut Intent<'_>) {
        let login_defaults = &self.wire().login_defaults;
        let stays = |name: &str| DB::RULES.resettable_only_from_login.contains(&name) && !login_defaults.contains(name);
        if intent.change.as_ref().is_some_and(|change| change.sets(stays)) {
            intent.change = None;
            intent.pin = Some(intent.pin.take().unwrap_or_else(|| PinReason::new(PinCause::Setting, intent.sql)));
        }
    }

    /// With `autocommit` off whatever is sent outside a transaction begins one.
    fn begin_by_itself(&mut self, intent: &Intent<'_>) {
        let state = &self.session.state;
        let sent = self.phase == Phase::Statement && intent.control.is_none() && intent.change.is_none();
        if sent && !intent.commits && state.depth() == 0 && DB::begins_by_itself(state.settings()) {
            self.wire().open();
            self.session.state.begun_by_text();
        }
    }

    /// Where the server does not tell whether a transaction is still the same, a savepoint does: set before something that
    /// may end a guard's transaction unseen. Whether it was set just now.
    pub(super) async fn set_sentinel(&mut self) -> Result<bool, Error> {
        let state = &self.session.state;
        let Some(sentinel) = DB::RULES
            .sentinel_savepoint
            .filter(|_| state.has_guards() && !state.has_sentinel() && !state.is_doubtful())
        else {
            return Ok(false);
        };
        let deadline = self.deadline()?;
        self.unrest();
        self.run_until(deadline, sentinel.to_owned()).await?;
        self.session.interrupted = false;
        self.session.state.sentinel_set();
        Ok(true)
    }

    /// The end of a savepoint, with a new sentinel where it takes the one that there was.
    pub(super) fn with_sentinel(&self, end: String, takes_sentinel: bool) -> String {
        match DB::RULES.sentinel_savepoint.filter(|_| takes_sentinel) {
            Some(sentinel) => format!("{end}; {sentinel}"),
            None => end,
        }
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
        if let Turn::Commit { chain } = turn
            && let CommitPlan::Refuse(why) = self.session.state.commit_plan(1)
        {
            // The server would roll back as well, and call it a success.
            self.phase = Phase::Rollback;
            self.unrest();
            self.roll_back(1).await?;
            self.rolled_back(1);
            if chain {
                // The next transaction begins with it, as the server would have done: what follows is in one.
                self.begin_after_refusal().await?;
            }
            self.rest();
            return Err(Error::TransactionAborted { why: core::aborted_by(&why), outcome: Outcome::RolledBack });
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

    async fn begin_after_refusal(&mut self) -> Result<(), Error> {
        let deadline = self.deadline()?;
        self.wire().open();
        self.unrest();
        self.run_until(deadline, core::begin(1)).await?;
        self.session.state.begun_by_text();
        Ok(())
    }

    /// Dropped from here on, the connection is not at rest.
    pub(super) fn unrest(&mut self) {
        self.session.interrupted = true;
        if let Some(lease) = &mut self.session.lease {
            lease.begin();
            lease.conn().exchanges += 1;
        }
    }

    /// From here on the server may be working.
    pub(super) fn begin(&mut self, intent: Intent<'_>) {
        self.session.interrupted = true;
        if let Some(lease) = &mut self.session.lease {
            lease.begin();
            let wire = lease.conn();
            let before = Exchange { wire: wire.id, number: wire.exchanges };
            wire.exchanges += 1;
            self.session.generated.sent(before, Exchange { wire: wire.id, number: wire.exchanges });
            self.before = wire.cleanup;
            // Whether a dropped `SET` happened is not known: then the connection is cleaned.
            if let Some(change) = &intent.change {
                wire.cleanup = wire.cleanup.max(DB::cleanup_after(PinCause::Setting));
                let state = &self.session.state;
                wire.outdate(DB::staleness(state.settings(), &state.settings_after(change)));
            }
            if intent.leaves_untracked {
                wire.cleanup = wire.cleanup.max(DB::cleanup_after(PinCause::Setting));
                self.before = wire.cleanup;
            }
            if intent.ends.is_some() {
                wire.outdate(Staleness::Statements);
            }
            wire.outdate(intent.replans);
            wire.local = wire.local.max(intent.replans);
        }
        self.sent = true;
        self.change = intent.change;
        self.ends = intent.ends;
    }

    /// What this session has to do by itself must end within `borrow_timeout`.
    pub(super) fn deadline(&self) -> Result<Deadline, Error> {
        Deadline::for_invocation(self.session.pool.borrow_timeout())
            .map_err(|close| Error::too_close(self.phase, close))
    }

    /// An exchange that must end in time, or the connection is given up.
    pub(super) async fn until<T>(
        &mut self,
        deadline: Deadline,
        exchange: impl AsyncFnOnce(&mut Wire<DB>) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        self.unrest();
        let (failover, wire) = self.apart();
        let peer = wire.peer.clone();
        let answered = timeout_at(deadline.instant(), failover.attend(peer.as_deref(), exchange(wire))).await;
        let source = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(source)) => source,
            Err(_) => timed_out(),
        };
        Err(self.lose(source))
    }

    pub(super) async fn run(&mut self, sql: String) -> Result<(), Error> {
        #[cfg(feature = "testing")]
        let (sql, is_lost) = self.spoilt(sql);
        let (failover, wire) = self.apart();
        let run = DB::run(&mut wire.driver, sql);
        let result = failover.attend_until(time_to_cancel(), wire.peer.as_deref(), run).await;
        #[cfg(feature = "testing")]
        let result = if is_lost { Err(lost()) } else { result };
        result.map_err(|error| self.unanswered(error))
    }

    /// The failure of a commit. One that is under way when the end of the invocation is near is not cancelled, for it may be
    /// done: its connection is closed, and what became of it is said as far as it is known.
    fn unanswered(&mut self, error: sqlx::Error) -> Error {
        if !TimeToCancel::is_behind(&error) {
            return self.fail(error);
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
            Fault::CommitUnknown { executed } if self.phase == Phase::Commit => Some(executed),
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
        let struck = self.session.connector().faults().strike(|fault| (fault == Fault::ConnectionLost).then_some(()));
        self.sent |= struck.is_some();
        struck.map_or(Ok(()), |()| Err(lost()))
    }

    /// As [`run`](Self::run), for what a server that is alive answers at once: a silent one is given up.
    pub(super) async fn run_until(&mut self, deadline: Deadline, sql: String) -> Result<(), Error> {
        let (failover, wire) = self.apart();
        let run = failover.attend(wire.peer.as_deref(), DB::run(&mut wire.driver, sql));
        let answered = timeout_at(deadline.instant(), run).await;
        let silent = |_| Err(timed_out());
        answered.unwrap_or_else(silent).map_err(|error| self.fail(error))
    }

    pub(super) async fn roll_back(&mut self, depth: usize) -> Result<(), Error> {
        let deadline = Deadline::after(self.session.pool.borrow_timeout());
        if depth > 1 && self.session.state.gone().is_some() {
            return Ok(());
        }
        let text = self.with_sentinel(core::rollback(depth), self.session.state.takes_sentinel(depth));
        self.session.state.ending(depth, false);
        let rolled_back = self.run_until(deadline, text).await;
        self.session.state.answered();
        rolled_back
    }

    pub(super) async fn end_doubtful(&mut self, end: End) -> Result<Found, Error> {
        let deadline = Deadline::after(self.session.pool.borrow_timeout());
        let (failover, wire) = self.apart();
        let alarm = if end == End::Commit { time_to_cancel() } else { None };
        let ended = failover.attend_until(alarm, wire.peer.as_deref(), DB::end_doubtful(&mut wire.driver, end));
        let result = match end {
            // A commit may take its time, and nobody would know what became of it.
            End::Commit => ended.await,
            End::Rollback => {
                let answered = timeout_at(deadline.instant(), ended).await;
                answered.unwrap_or_else(|_| Err(timed_out()))
            }
        };
        result.map_err(|error| self.unanswered(error))
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
