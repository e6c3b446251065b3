//! The guard of a transaction, and how the session begins and ends what it guards.

use std::fmt;
use std::ops::{Deref, DerefMut};

use tokio::time::Instant;

use super::borrow::{Borrow, found_savepoint};
use super::connection::Connection;
use super::core::{self, CommitPlan, Intent};
use crate::engine::{Engine, Found};
use crate::error::{Error, Outcome, Phase};
use crate::span::Watch;

/// A transaction, or a savepoint inside one.
///
/// Derefs to [`Connection`], so `&mut *tx` runs queries and `tx.begin()` sets a savepoint. Dropped, it is rolled back:
/// before the next statement of its session, and before anybody else gets the physical connection.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<'c, DB: Engine> {
    session: &'c mut Connection<DB>,
    depth: usize,
    open: bool,
}

impl<'c, DB: Engine> Transaction<'c, DB> {
    pub(super) fn new(session: &'c mut Connection<DB>, depth: usize) -> Self {
        Self { session, depth, open: true }
    }

    /// Commits.
    ///
    /// # Errors
    /// [`Error::TransactionAborted`] when an earlier error had aborted the transaction, which is then rolled back, or when a text of the
    /// application had ended it before. [`Error::ConnectionLost`] when no answer came: the outcome of a commit is then
    /// [`Unknown`](crate::Outcome::Unknown). [`Error::Database`] when the server refused (a deferred constraint, a serialization
    /// failure): it has rolled back.
    ///
    /// # Cancel safety
    /// A commit whose future was dropped may or may not have happened. The connection is brought to rest before
    /// anybody else gets it.
    pub async fn commit(mut self) -> Result<(), Error> {
        let result = self.session.commit_watched(self.depth).await;
        self.settle();
        result
    }

    /// Rolls back.
    ///
    /// # Errors
    /// [`Error::ConnectionLost`]: then the server has rolled back, or will when it notices.
    /// [`Error::TransactionAborted`] when a text of the application had ended the transaction before, so that there was
    /// nothing left to roll back.
    ///
    /// # Cancel safety
    /// The rollback is made up for before anybody else gets the connection.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let result = self.session.rollback_watched(self.depth).await;
        self.settle();
        result
    }

    /// Notes whether the transaction has ended. If the commit or rollback failed before it ended, dropping the guard rolls it back.
    fn settle(&mut self) {
        self.open = self.session.state.depth() >= self.depth;
    }
}

impl<DB: Engine> Deref for Transaction<'_, DB> {
    type Target = Connection<DB>;

    fn deref(&self) -> &Connection<DB> {
        self.session
    }
}

impl<DB: Engine> DerefMut for Transaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut Connection<DB> {
        self.session
    }
}

impl<DB: Engine> Drop for Transaction<'_, DB> {
    fn drop(&mut self) {
        if self.open {
            self.session.abandon(self.depth);
        }
    }
}

impl<DB: Engine> fmt::Debug for Transaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("depth", &self.depth).field("session", &self.session).finish()
    }
}

impl<DB: Engine> Connection<DB> {
    /// Begins a transaction, or a savepoint inside one.
    ///
    /// # Errors
    /// No connection could be had, or the server refused. Nothing was begun.
    ///
    /// # Cancel safety
    /// A dropped future leaves no open transaction behind: the connection is rolled back before anybody else gets it.
    pub async fn begin(&mut self) -> Result<Transaction<'_, DB>, Error> {
        let depth = self.begin_watched().await?;
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

    /// Begins a transaction, or a savepoint, and says how deep it is.
    pub(super) async fn begin_watched(&mut self) -> Result<usize, Error> {
        let begin = async {
            match self.begin_deeper().await {
                // Lost before anything had begun: nothing was executed, and another connection may well work.
                Err(Error::ConnectionLost { .. }) if self.state.is_free() => self.begin_deeper().await,
                begun => begun,
            }
        };
        Watch::statement(DB::RULES.family, "begin").over(begin).await
    }

    async fn begin_deeper(&mut self) -> Result<usize, Error> {
        let mut borrow = self.borrow(Phase::Begin, &mut Intent::none()).await?;
        borrow.settle_doubt().await?;
        // NOTE: the depth is read only now, because settling may have shown that a transaction is open, or that one is gone.
        let depth = borrow.session.state.depth() + 1;
        borrow.wire().carried.open();
        let deadline = borrow.deadline()?;
        let mut text = core::begin(depth);
        // The session is pinned by something that can end this transaction unseen, so the sentinel is set in the same text as `BEGIN`.
        let needs_sentinel = depth == 1 && borrow.session.state.is_doubtful();
        if needs_sentinel {
            text = borrow.with_sentinel(text, true);
        }
        borrow.flight.set_begins(depth == 1);
        borrow.run_until(deadline, text).await?;
        borrow.flight.set_begins(false);
        borrow.session.state.begun();
        if needs_sentinel {
            borrow.session.state.sentinel_set();
        }
        borrow.finish();
        Ok(depth)
    }

    /// Commits the transaction or savepoint at `depth`, and everything inside it.
    pub(super) async fn commit_watched(&mut self, depth: usize) -> Result<(), Error> {
        let begun = Instant::now();
        let result = Watch::statement(DB::RULES.family, "commit").over(self.commit_at(depth)).await;
        self.tell_if_slow("commit", begun);
        result
    }

    /// Rolls the transaction or savepoint at `depth` back, and everything inside it.
    pub(super) async fn rollback_watched(&mut self, depth: usize) -> Result<(), Error> {
        Watch::statement(DB::RULES.family, "rollback").over(self.rollback_at(depth)).await
    }

    async fn commit_at(&mut self, depth: usize) -> Result<(), Error> {
        // A savepoint that is released commits nothing yet.
        let phase = if depth == 1 { Phase::Commit } else { Phase::InTransaction };
        let mut borrow = self.borrow(phase, &mut Intent::none()).await?;
        let plan = borrow.session.state.commit_plan(depth);
        if depth == 1 && plan == CommitPlan::Commit {
            borrow.tidy().await?;
        }
        let failure = match plan {
            CommitPlan::Commit => {
                // Bounded by the end of the invocation alone: a commit may take its time, and nobody would know what became of it.
                let takes_sentinel = borrow.session.state.takes_sentinel(depth);
                let text = borrow.with_sentinel(core::commit(depth), takes_sentinel);
                let text = if depth == 1 { borrow.and_hand_over(text, false) } else { text };
                borrow.session.state.ending(depth, true);
                let committed = borrow.run(text).await;
                borrow.session.state.answered();
                match found_savepoint::<DB>(depth, committed)? {
                    Found::Nothing => Some(NotEnded::Before),
                    Found::Healthy | Found::Aborted => None,
                }
            }
            CommitPlan::Probe => match borrow.end_doubtful(true).await? {
                Found::Healthy => None,
                Found::Aborted => {
                    let why = String::from("it had been aborted by a statement of its own");
                    Some(NotEnded::Aborted(why, borrow.session.outcome_of_rollback()))
                }
                Found::Nothing => Some(NotEnded::Before),
            },
            CommitPlan::Refuse(why) => {
                borrow.flight.becomes_rollback();
                match borrow.roll_back(depth).await? {
                    Found::Nothing => Some(NotEnded::Before),
                    Found::Healthy | Found::Aborted => {
                        Some(NotEnded::Aborted(core::aborted_by(&why), borrow.session.outcome_of_rollback()))
                    }
                }
            }
            CommitPlan::Disown => {
                borrow.end_doubtful(false).await?;
                Some(NotEnded::Before)
            }
        };
        match failure {
            None => {
                borrow.committed(depth);
                borrow.finish();
                Ok(())
            }
            Some(failure) => {
                borrow.rolled_back(depth);
                // The closure saw the statement's own error and went on regardless: running it again is not this crate's to decide.
                borrow.session.may_succeed_again = false;
                Err(borrow.finish_not_ended(failure))
            }
        }
    }

    async fn rollback_at(&mut self, depth: usize) -> Result<(), Error> {
        let mut borrow = self.borrow(Phase::Rollback, &mut Intent::none()).await?;
        let found = if depth == 1 && borrow.session.state.is_doubtful() {
            let is_taken = borrow.session.state.is_taken_from_guards();
            let found = borrow.end_doubtful(false).await?;
            // A text that may have ended the guard's transaction may have begun another and set the sentinel in that, so that the
            // sentinel proves nothing here.
            if is_taken { Found::Nothing } else { found }
        } else {
            borrow.roll_back(depth).await?
        };
        borrow.rolled_back(depth);
        match found {
            Found::Healthy | Found::Aborted => {
                borrow.finish();
                Ok(())
            }
            Found::Nothing => Err(borrow.finish_not_ended(NotEnded::Before)),
        }
    }

    /// What a rollback has achieved for all that was done since the transaction began.
    pub(super) fn outcome_of_rollback(&self) -> Outcome {
        if self.state.may_have_committed() { Outcome::Unknown } else { Outcome::RolledBack }
    }

    /// Whether something that was run on this session may have committed without being told to by a guard.
    fn may_have_committed(&self) -> bool {
        self.state.may_have_committed()
    }

    /// Whether the same work, done again from the start, may succeed, and nothing of it was kept: the last failure was a
    /// serialization failure, a deadlock, a lost connection, a server that has become read-only, or came of what was
    /// prepared or learnt under another definition or other settings.
    pub(crate) fn may_succeed_again(&self) -> bool {
        self.may_succeed_again && !self.may_have_committed()
    }

    /// A transaction guard was dropped. Sends nothing: that is for the next use, or for the pool.
    pub(super) fn abandon(&mut self, depth: usize) {
        self.state.abandon(depth);
        if self.state.depth() == 0 && self.state.pin_reason().is_none() {
            self.state.rolled_back_abandoned();
            // Goes home dirty, with its transaction open; nobody gets it before it is rolled back.
            self.part();
        }
    }
}

/// Why a transaction or a savepoint could not be ended as told.
enum NotEnded {
    /// An error had aborted it: it is rolled back.
    Aborted(String, Outcome),
    /// It was not there any more.
    Before,
}

impl<DB: Engine> Borrow<'_, DB> {
    fn finish_not_ended(self, failure: NotEnded) -> Error {
        let (why, outcome) = match failure {
            NotEnded::Aborted(why, outcome) => (why, outcome),
            NotEnded::Before => {
                self.session.state.missed_savepoint();
                (core::ENDED_BEFORE.to_owned(), Outcome::Unknown)
            }
        };
        self.finish();
        Error::TransactionAborted { why, outcome }
    }
}
