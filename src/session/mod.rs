//! What the application holds: a logical session, public as [`Connection`].
//!
//! A session borrows a physical connection for one statement, or for one transaction, and gives it back when that ends.
//! `state` keeps the account of transaction, settings and pin, `borrow` is one exchange with the connection, with what
//! comes before it in `settle` and what comes after in `conclude`; `generated` knows whose the numbers are that the server
//! remembers; `run` is the way of a `query` to its
//! `answer`, `pooled` what a transaction pooler makes of it; `executor` speaks sqlx's traits, `transaction` is the guard.

mod answer;
mod borrow;
mod conclude;
mod executor;
mod generated;
mod pooled;
mod query;
mod run;
mod settle;
mod state;
mod transaction;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::clock::Moment;
use crate::config::PinningFilter;
use crate::connector::{Connector, Unread, Wire};
use crate::engine::{Class, Control, Diagnosis, Engine, PinEnd, Question, Sequence, Settings, Staleness};
use crate::error::{Error, Outcome, Phase, Purpose, chain};
use crate::event::{Discard, Event};
use crate::failover::{self, Failover, Verdict, Work};
use crate::pin::{PinCause, PinReason, shorten};
use crate::pool::{Connect as _, Lease, Peek, Pool};

use self::borrow::Borrow;
use self::generated::Generated;
use self::state::{SettingChange, State};

pub use self::transaction::Transaction;

/// A session with the database: what [`get_connection`](crate::get_connection) returns.
///
/// `&mut Connection` is a [`sqlx::Executor`], so sqlx's queries, macros and streams run on it as on any connection. It
/// holds no physical connection until the first statement, holds one for the length of a statement or a transaction, and
/// shares it with other sessions in between. A statement that leaves something behind in the session *pins* it: from
/// then on the physical connection belongs to this session alone, and is cleaned when the session ends.
///
/// `'static` and [`Send`]: it can move into a task or a response stream. Dropping it never blocks. What was going on is
/// brought to rest (a transaction rolled back, rows read to the end) before anybody else gets the physical connection.
pub struct Connection<DB: Engine> {
    pool: Pool<Failover<DB>>,
    lease: Option<Lease<Failover<DB>>>,
    state: State,
    /// A statement was dropped half way; its answers are still to be read.
    interrupted: bool,
    pinned_at: Option<Moment>,
    id: u64,
    /// The connection that went home in the middle of something: what it still holds, locks above all, must not stand
    /// in this session's way.
    parted: Option<Parted>,
    /// What the server may remember of this session's statements, and where.
    generated: Generated,
    /// The server has refused to make a connection fit for this session, and that connection is closed.
    refused_connection: bool,
    /// How many texts were run that mean the same every time.
    texts: u64,
    /// A statement has failed by what was prepared or learnt under another definition or other settings.
    misled: bool,
}

/// A connection that a session has left in the middle of something.
struct Parted {
    wire: u64,
    /// Closes when the connection is at rest, or gone.
    at_rest: oneshot::Receiver<Infallible>,
}

/// A statement as its session sees it.
struct Intent<'a> {
    sql: &'a str,
    pin: Option<PinReason>,
    change: Option<SettingChange>,
    sequence: Sequence,
    control: Option<Control<'a>>,
    ends: Option<PinEnd>,
    uncacheable: bool,
    /// It commits whatever transaction is open.
    commits: bool,
    /// The first of its statements may be done when a later one is refused.
    several: bool,
    /// It leaves something behind that the session has been told not to be pinned for.
    leaves_untracked: bool,
    /// What it sets until the transaction ends makes this of what is prepared.
    replans: Staleness,
    /// It wants rows from the client, or sends it some, in a way of their own.
    copies: bool,
}

impl Intent<'_> {
    /// An exchange of the session's own.
    const NONE: Self = Self {
        sql: "",
        pin: None,
        change: None,
        sequence: Sequence::NONE,
        control: None,
        ends: None,
        uncacheable: false,
        commits: false,
        several: false,
        leaves_untracked: false,
        replans: Staleness::Fresh,
        copies: false,
    };
}

/// Tells sessions apart.
static SESSIONS: AtomicU64 = AtomicU64::new(1);

impl<DB: Engine> Connection<DB> {
    pub(crate) fn new(pool: Pool<Failover<DB>>) -> Self {
        let id = SESSIONS.fetch_add(1, Ordering::Relaxed);
        pool.opened();
        let state = State::of::<DB>();
        Self {
            pool,
            lease: None,
            state,
            interrupted: false,
            pinned_at: None,
            id,
            parted: None,
            generated: Generated::new(id, DB::RULES.refuses_ungenerated),
            refused_connection: false,
            texts: 0,
            misled: false,
        }
    }

    /// Begins a transaction, or a savepoint inside one.
    ///
    /// # Errors
    /// No connection could be had, or the server refused. Nothing was begun.
    ///
    /// # Cancel safety
    /// A dropped future leaves no open transaction behind: the connection is rolled back before anybody else gets it.
    pub async fn begin(&mut self) -> Result<Transaction<'_, DB>, Error> {
        let depth = match self.begin_deeper().await {
            // Lost before anything had begun: nothing was executed, and another connection may well work.
            Err(Error::ConnectionLost { .. }) if self.state.is_free() => self.begin_deeper().await?,
            begun => begun?,
        };
        Ok(Transaction::new(self, depth))
    }

    /// Runs `work` in a transaction: commits when it returns `Ok`, rolls back when it returns `Err`.
    ///
    /// ```no_run
    /// # async fn example(conn: &mut lambda_rds::Connection<lambda_rds::Postgres>) -> Result<(), lambda_rds::Error> {
    /// let id: i64 = conn
    ///     .transaction(|tx| Box::pin(async move {
    ///         sqlx::query_scalar("insert into orders (item) values ('tea') returning id").fetch_one(&mut **tx).await
    ///             .map_err(lambda_rds::Error::from)
    ///     }))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What `work` returned, or why there was no transaction or no commit.
    ///
    /// # Cancel safety
    /// As [`begin`](Self::begin) and [`Transaction::commit`].
    pub async fn transaction<F, R, E>(&mut self, work: F) -> Result<R, E>
    where
        F: for<'t> FnOnce(&'t mut Transaction<'_, DB>) -> futures_core::future::BoxFuture<'t, Result<R, E>>,
        E: From<Error>,
    {
        let mut transaction = self.begin().await?;
        match work(&mut transaction).await {
            Ok(result) => {
                transaction.commit().await?;
                Ok(result)
            }
            Err(error) => {
                // The error of the work is the one that counts; a failed rollback is made up for by the pool.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    /// The physical connection, this session's alone from now on: for `COPY`, `LISTEN`, migrations, and whatever wants
    /// sqlx's own connection type.
    ///
    /// # Errors
    /// No connection could be had.
    ///
    /// # Cancel safety
    /// A dropped future may leave the session pinned; nothing was sent.
    pub async fn pin(&mut self) -> Result<&mut DB::Connection, Error> {
        let reason = PinReason::new(PinCause::HandedOut, "");
        let intent = Intent { pin: Some(reason), ..Intent::NONE };
        let mut borrow = self.borrow(Phase::Statement, intent).await?;
        if borrow.wire().stale != Staleness::Fresh {
            // What others have prepared is not for what the caller makes of the connection.
            borrow.renew().await?;
        }
        borrow.finish();
        // What the caller leaves unread on it is not for the session's next statement.
        self.interrupted = true;
        match &mut self.lease {
            Some(lease) => Ok(&mut lease.conn().driver),
            None => Err(Error::Closed),
        }
    }

    /// Why this session is pinned, if it is.
    pub fn pin_reason(&self) -> Option<&PinReason> {
        self.state.pin_reason()
    }

    fn connector(&self) -> &Connector<DB> {
        self.pool.connector().connector()
    }

    /// What is done with a long answer that was dropped: a connection that this session is not bound to is not worth its reading.
    fn unread(&self) -> Unread {
        if self.state.is_free() { Unread::Close } else { Unread::Read }
    }

    /// Gives the connection back as it is, in the middle of something.
    fn part(&mut self) {
        self.interrupted = false;
        if let Some(mut lease) = self.lease.take() {
            let (unrest, at_rest) = oneshot::channel();
            let wire = lease.conn();
            wire.unrest = Some(unrest);
            self.parted = Some(Parted { wire: wire.id, at_rest });
        }
    }

    /// The connection that this session parted with, if it is still as it was left; otherwise it is waited for until
    /// whoever has it has brought it to rest, and is theirs.
    async fn reclaim(&mut self, purpose: Purpose) -> Option<Lease<Failover<DB>>> {
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + self.pool.borrow_timeout();
        while let Some(Parted { wire, at_rest }) = &mut self.parted {
            if matches!(at_rest.try_recv(), Err(oneshot::error::TryRecvError::Closed)) || Instant::now() >= deadline {
                break;
            }
            let id = *wire;
            let reclaimed = self.pool.reclaim(purpose, |wire| wire.id == id).await;
            if reclaimed.is_some() {
                self.parted = None;
                return reclaimed;
            }
            // Whoever has it may be dropped too, and then it lies there again as it was.
            let _ = timeout(LOOK_AGAIN, at_rest).await;
        }
        self.parted = None;
        None
    }

    /// What a statement does to this session.
    fn intent<'a>(&self, sql: &'a str) -> Intent<'a> {
        self.intent_of(DB::classify(sql), sql)
    }

    /// The same for a text of a class that is known.
    fn intent_of<'a>(&self, class: Class<'a>, sql: &'a str) -> Intent<'a> {
        let Class { pins, setting, sequence, control, ends, uncacheable, commits, several, replans, copies } = class;
        let mut change = setting.map(|setting| SettingChange::of::<DB>(setting));
        if ends == Some(PinEnd::Everything) {
            change = Some(SettingChange::Discard);
        }
        let filtered =
            pins == Some(PinCause::Setting) && self.connector().pinning_filter() == PinningFilter::ExcludeVariableSets;
        let pins = pins.filter(|_| !filtered);
        // On a connection with an `init_query`, what a reset goes back to is not what other sessions expect.
        let stray = self.connector().has_init_query() && change.as_ref().is_some_and(SettingChange::is_reset);
        let pins = if stray { Some(PinCause::UnknownStatement) } else { pins };
        // Too many are not carried along: the session stays where they were made.
        let crowded = change.take_if(|change| self.state.has_no_room_for(change)).map(|change| {
            let controls = change.sets(|name| DB::RULES.controlling_settings.contains(&name));
            if controls { PinCause::UnknownStatement } else { PinCause::Setting }
        });
        let pins = pins.or(crowded);
        let pin = pins.map(|cause| PinReason::new(cause, sql));
        let leaves_untracked = filtered;
        Intent {
            sql,
            pin,
            change,
            sequence,
            control,
            ends,
            uncacheable,
            commits,
            several,
            leaves_untracked,
            replans,
            copies,
        }
    }

    /// What the server has to be asked before a statement that pins only because its text does not tell what it sets.
    fn question(&self, intent: &Intent<'_>) -> Option<Question> {
        let unseen = intent.leaves_untracked || intent.pin.as_ref().is_some_and(|pin| pin.cause() == PinCause::Setting);
        if unseen { DB::question(intent.sql) } else { None }
    }

    /// Refuses what could not be right on this session, before it is sent.
    fn refuse(&self, intent: &Intent<'_>) -> Result<(), Error> {
        let refused = |why, cure| Err(Error::Refused { statement: shorten(intent.sql), why, cure, source: None });
        if intent.copies {
            return refused(
                "sends or wants rows in a way of their own, for which a statement's text has no place",
                "call copy_in_raw() or copy_out_raw() on the connection that pin() hands out",
            );
        }
        let pooled = self.connector().pools_transactions();
        // What SQL has prepared is looked for by `EXECUTE`, whoever has prepared it.
        let looks = intent.pin.is_some() || intent.leaves_untracked || pooled && intent.uncacheable;
        if !looks || self.state.is_handed_out() {
            return Ok(());
        }
        let leaves = DB::leaves(intent.sql);
        if leaves.contains(&PinCause::Listen) {
            return refused(
                "would be told of notifications that nobody receives",
                "use sqlx's PgListener on a connection of its own, or pin() the session and listen on what that hands out",
            );
        }
        if pooled && !leaves.is_empty() {
            return refused(
                "leaves something on the server's connection, which a pooler in between gives to others",
                "send a SET as a statement of its own, use what ends with its transaction (SET LOCAL, ON COMMIT DROP, \
                 pg_advisory_xact_lock), connect past the pooler, or pin() the session where the pooler keeps connections \
                 for sessions",
            );
        }
        Ok(())
    }

    /// The physical connection for the next exchange, with everything settled that an earlier one left open.
    async fn borrow(&mut self, phase: Phase, mut intent: Intent<'_>) -> Result<Borrow<'_, DB>, Error> {
        if self.state.is_lost() && !self.begins_anew(intent.control) {
            let phase = match intent.control {
                Some(Control::Commit { .. }) => Phase::Commit,
                _ if phase == Phase::Statement && self.state.depth() > 0 => Phase::InTransaction,
                _ => phase,
            };
            let error = self.gone(phase);
            if phase == Phase::Commit && self.state.is_begun_by_text() {
                // That was its last word.
                self.state.rolled_back(1);
            }
            return Err(error);
        }
        self.refuse_gone(phase)?;
        self.become_fit(phase, &intent).await?;
        let mut borrow = Borrow::new(self, phase);
        borrow.enter(&mut intent).await?;
        borrow.begin(intent);
        Ok(borrow)
    }

    /// Has a connection that is fit for the next exchange. One that turns out not to be, before anything of the session was
    /// sent, is exchanged for another where nothing binds the session to it.
    async fn become_fit(&mut self, phase: Phase, intent: &Intent<'_>) -> Result<(), Error> {
        const MOST_LOSSES: u32 = 2;
        let mut losses = 0;
        loop {
            let error = match self.lease_and_settle(phase, intent).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let refused = std::mem::take(&mut self.refused_connection);
            let lost = matches!(error, Error::ConnectionLost { outcome: Outcome::NotExecuted, .. });
            if !self.state.is_free() || !refused && (!lost || losses == MOST_LOSSES) {
                return Err(error);
            }
            losses += u32::from(lost);
        }
    }

    async fn lease_and_settle(&mut self, phase: Phase, intent: &Intent<'_>) -> Result<(), Error> {
        if self.lease.is_some() {
            self.look_at_socket(phase)?;
        } else {
            let purpose = if phase == Phase::Begin { Purpose::Transaction } else { Purpose::Statement };
            let reclaimed = match self.parted {
                Some(_) => Box::pin(self.reclaim(purpose)).await,
                None => None,
            };
            let mut lease = match reclaimed {
                Some(lease) => lease,
                None => self.pool.lease(purpose).await?,
            };
            while let Err(why) = self.take_over(&mut lease).await {
                Box::pin(lease.close(why)).await;
                lease = self.pool.lease(purpose).await?;
            }
            self.lease = Some(lease);
        }
        let mut borrow = Borrow::new(self, phase);
        borrow.settle().await?;
        if let Err(gone) = borrow.session.refuse_gone(phase) {
            borrow.rest();
            return Err(gone);
        }
        borrow.remember(intent).await?;
        // At rest, and still this session's.
        borrow.done = true;
        Ok(())
    }

    /// A connection that the session has kept may be closed by now, which costs nothing to see: then nothing is sent, and
    /// what becomes of the work in hand is known. So it is where the session has come to another runtime meanwhile. What
    /// the server has said unasked is read first.
    fn look_at_socket(&mut self, phase: Phase) -> Result<(), Error> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        if lease.is_foreign() {
            let message =
                "the session's connection belongs to the tokio runtime that it was opened on, and this is another";
            return Err(self.lose(phase, false, Duration::ZERO, sqlx::Error::Protocol(message.to_owned())));
        }
        match self.pool.connector().peek(lease.conn()) {
            Peek::Quiet => Ok(()),
            Peek::Talking => {
                self.interrupted = true;
                Ok(())
            }
            Peek::Closed => {
                let hung_up = sqlx::Error::Io(io::ErrorKind::ConnectionAborted.into());
                Err(self.lose(phase, false, Duration::ZERO, hung_up))
            }
        }
    }

    /// Makes a connection this session's, or says why it has to be closed.
    ///
    /// What was not worth a round trip at connect is asked when a second session has the connection: who the server is,
    /// and who its neighbours are. Nothing of the session has been sent by then, so that a look that fails costs the look,
    /// and at the worst the connection, and never a statement.
    async fn take_over(&self, lease: &mut Lease<Failover<DB>>) -> Result<(), Discard> {
        if self.is_beyond_cleaning(lease.conn()) {
            return Err(Discard::Unrecoverable);
        }
        lease.conn().come_into(self.id);
        let failover = self.pool.connector();
        if self.state.is_free() && failover.wants_a_look(lease.conn()) {
            // Dropped from here on, the connection is brought to rest before anybody has it.
            lease.begin();
            lease.conn().exchanges += 1;
            match Box::pin(failover.look(lease.conn())).await {
                // The server has refused to say: another session's time limit may still be set. It is at rest again.
                Err(Error::Database(refusal)) if DB::diagnose(&refusal).is_of_statement() => {}
                looked => {
                    looked.map_err(|_| Discard::Broken)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a connection would have to be cleaned for this session, and no statement does that.
    fn is_beyond_cleaning(&self, wire: &Wire<DB>) -> bool {
        // Strict isolation takes no statement's word for it: `DISCARD ALL` leaves a seed, sessions with other servers and
        // whatever an interpreter or a library keeps.
        let strict = self.connector().is_strict() && wire.is_anothers(self.id);
        // What a reset goes back to is not what the `init_query` had set.
        let initial = self.connector().has_init_query() && !wire.applied.is_empty();
        let wanted = self.state.settings();
        strict || !DB::RULES.has_session_reset && initial && wire.applied != *wanted || wire.cannot_go_to(wanted)
    }

    /// Where the server has rolled back by itself, what is sent now would be outside of any transaction, and stay.
    fn refuse_gone(&self, phase: Phase) -> Result<(), Error> {
        match self.state.gone() {
            Some(why) if !matches!(phase, Phase::Commit | Phase::Rollback) => {
                Err(Error::TransactionAborted { why: state::aborted_by(why), outcome: self.outcome_of_rollback() })
            }
            _ => Ok(()),
        }
    }

    /// A text from begin to end has no place for the settings that a pooler in between lets nobody keep.
    fn refuse_whole(&self, control: Option<Control<'_>>) -> Result<(), Error> {
        let begins = matches!(control, Some(Control::Whole | Control::Unclear { .. }));
        if !begins || self.state.depth() > 0 || self.state.settings().is_empty() {
            return Ok(());
        }
        let message =
            "behind a pooler a session that has settings begins and ends transactions with begin() and commit()";
        Err(Error::Database(sqlx::Error::InvalidArgument(message.to_owned())))
    }

    /// What the connection has as soon as the exchange under way has ended well. A pooler in between gives the server's
    /// connection to somebody else with the end of a transaction: nothing is left on it then.
    fn settings_applied(&self) -> Settings {
        let none = self.state.depth() == 0 && self.connector().pools_transactions();
        if none { Settings::default() } else { self.state.settings().clone() }
    }

    /// Whether a text puts an end to a lost transaction that a text had begun.
    fn begins_anew(&mut self, control: Option<Control<'_>>) -> bool {
        let anew = self.state.is_begun_by_text()
            && matches!(control, Some(Control::Begin | Control::Rollback { .. } | Control::Whole));
        if anew {
            self.state.rolled_back(1);
        }
        anew && !self.state.is_lost()
    }

    fn pin_for(&mut self, reason: PinReason) {
        if let Some(lease) = &mut self.lease {
            let wire = lease.conn();
            wire.cleanup = wire.cleanup.max(DB::cleanup_after(reason.cause()));
            // Whatever was sent may have opened a transaction; a rollback without one does nothing.
            wire.open();
            lease.note(Purpose::Pin);
        }
        if self.state.pin_reason().is_none() {
            self.pinned_at = Some(self.pool.clock().now());
            self.pool.events().emit(&Event::Pinned { reason: reason.clone() });
        }
        let may_control = DB::may_control(reason.cause());
        self.state.pin(reason, may_control);
    }

    /// What pinned the session is gone.
    fn unpinned(&mut self) {
        if let Some(since) = self.pinned_at.take() {
            let held = self.pool.clock().now().since(since);
            self.pool.events().emit(&Event::Unpinned { held });
        }
    }

    /// The connection is broken: closes it, and says what that means for the work in hand.
    fn lose(&mut self, phase: Phase, sent: bool, elapsed: Duration, source: sqlx::Error) -> Error {
        // Before it is sent a statement's phase is not yet the transaction's.
        let inside = phase == Phase::Statement && self.state.depth() > 0;
        let phase = if inside { Phase::InTransaction } else { phase };
        let work = self.work(phase, false, sent);
        let outcome = match failover::judge(DB::diagnose(&source), work, false) {
            Verdict::Again => Outcome::NotExecuted,
            Verdict::Tell(outcome) => outcome,
        };
        if let Some(mut lease) = self.lease.take() {
            let wire = lease.conn();
            // What the driver makes of an answer says nothing about the server.
            if !matches!(source, sqlx::Error::Protocol(_)) {
                self.pool.connector().suspect(wire.proof, &wire.at, &chain(&source));
            }
            lease.broke();
        }
        self.interrupted = false;
        self.state.lost();
        Error::ConnectionLost { phase, elapsed, outcome, source }
    }

    /// Whether a change of settings commits: the end of the time in which transactions begin by themselves does.
    fn commits_by(&self, change: Option<&SettingChange>) -> bool {
        let before = self.state.settings();
        change.is_some_and(|change| {
            DB::begins_by_itself(before) && !DB::begins_by_itself(&self.state.settings_after(change))
        })
    }

    /// A statement has failed on a connection that is fine. `whole`: it was a text from begin to end.
    fn note_failure(&mut self, diagnosis: Diagnosis, whole: bool, why: &str) {
        match diagnosis {
            _ if whole => self.state.failed_half_way(why),
            Diagnosis::RolledBack if self.state.has_guards() => self.state.rolled_back_by_server(why),
            // A deadlock may be one of locks that no transaction holds: of `GET_LOCK`'s in MariaDB.
            Diagnosis::RolledBack | Diagnosis::Unsure => self.state.failed_unsure(why),
            _ if DB::RULES.errors_abort => self.state.failed(why),
            _ => {}
        }
    }

    /// What is under way, for a verdict.
    fn work(&self, phase: Phase, handed_on: bool, sent: bool) -> Work {
        let bound = self.state.depth() > 0 || self.state.pin_reason().is_some();
        Work { phase, handed_on, bound, doubtful: self.state.is_doubtful(), sent }
    }

    /// The connection leads to a server that is not the one to talk to.
    fn leave(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            lease.broke();
        }
        self.state.lost();
    }

    fn gone(&self, phase: Phase) -> Error {
        let message = "the connection that held this session's transaction or pinned state was lost earlier";
        let outcome = if phase == Phase::Commit && !self.state.is_doubtful() {
            Outcome::RolledBack
        } else {
            Outcome::NotExecuted
        };
        Error::ConnectionLost {
            phase,
            elapsed: Duration::ZERO,
            outcome,
            source: sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, message)),
        }
    }
}

impl<DB: Engine> Drop for Connection<DB> {
    fn drop(&mut self) {
        if self.state.unpin() {
            self.unpinned();
        }
        if let Some(mut lease) = self.lease.take() {
            lease.begin();
        }
        self.pool.closed();
    }
}

impl<DB: Engine> fmt::Debug for Connection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and causes only: a setting's value may be a token, and an error's text may quote a row.
        f.debug_struct("Connection")
            .field("engine", &DB::RULES.family)
            .field("depth", &self.state.depth())
            .field("pinned", &self.state.pin_reason().map(PinReason::cause))
            .field("settings", self.state.settings())
            .field("borrowing", &self.lease.is_some())
            .finish_non_exhaustive()
    }
}
