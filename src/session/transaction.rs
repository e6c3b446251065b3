//! The guard of a transaction.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::Connection;
use crate::engine::Engine;
use crate::error::Error;

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
    /// [`Error::TransactionAborted`] when an earlier error had aborted the transaction: it is rolled back, and that is
    /// not a success; likewise when a text of the application had ended it before. [`Error::ConnectionLost`] when no answer came: the outcome of a commit is then
    /// [`Unknown`](crate::Outcome::Unknown). [`Error::Database`] when the server refused (a deferred constraint, a
    /// serialization failure): it has rolled back.
    ///
    /// # Cancel safety
    /// A commit whose future was dropped may or may not have happened. The connection is brought to rest before
    /// anybody else gets it.
    pub async fn commit(mut self) -> Result<(), Error> {
        let result = self.session.commit_at(self.depth).await;
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
        let result = self.session.rollback_at(self.depth).await;
        self.settle();
        result
    }

    /// Whatever could not be ended by the word just given is ended as if dropped.
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
