//! A transaction that borrows nothing: its session is shared by the savepoints inside it. What libraries want whose
//! transactions are values of their own.

use std::future::ready;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex as BlockingMutex, PoisonError};
use std::time::Duration;

use futures_core::Stream;
use futures_util::TryStreamExt as _;
use sqlx::{Error as Cause, Execute};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::timeout_at;

use super::answer::stream;
use super::connection::Connection;
use super::query::Query;
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{Error, Outcome, Phase};

/// A transaction, or a savepoint inside one. Dropped, it is rolled back, before the next statement of its session and before
/// anybody else gets the physical connection.
pub(crate) struct OwnedTransaction<DB: Engine> {
    shared: Arc<Shared<DB>>,
    place: Place,
}

/// Which one it is: another may be at its depth when it has ended.
#[derive(Debug, Clone, Copy)]
struct Place {
    depth: usize,
    serial: u64,
}

struct Shared<DB: Engine> {
    inside: Mutex<Inside<DB>>,
    /// So long somebody waits for the session while another uses it.
    patience: Duration,
    /// Those that were dropped, where the session could not be waited for.
    abandoned: BlockingMutex<Vec<Place>>,
}

/// A session, and who is at which depth of its transaction.
struct Inside<DB: Engine> {
    session: Connection<DB>,
    open: Vec<u64>,
    last: u64,
}

impl<DB: Engine> OwnedTransaction<DB> {
    /// Begins a transaction on this session, which is its own from here on.
    pub(crate) async fn begin(session: Connection<DB>) -> Result<Self, Error> {
        let patience = session.pool.borrow_timeout();
        let inside = Mutex::new(Inside { session, open: Vec::new(), last: 0 });
        let shared = Arc::new(Shared { inside, patience, abandoned: BlockingMutex::default() });
        let place = shared.inside.lock().await.begin().await?;
        Ok(Self { shared, place })
    }

    /// Sets a savepoint inside of this one.
    pub(crate) async fn begin_within(&self) -> Result<Self, Error> {
        let place = self.inside(Outcome::NotExecuted).await?.begin().await?;
        Ok(Self { shared: Arc::clone(&self.shared), place })
    }

    /// The session, in this transaction.
    ///
    /// # Errors
    /// The transaction around it has ended, and this one with it: a statement would be in none.
    pub(crate) async fn session(&self) -> Result<MappedMutexGuard<'_, Connection<DB>>, Error> {
        Ok(MutexGuard::map(self.inside(Outcome::NotExecuted).await?, |inside| &mut inside.session))
    }

    /// How many transactions and savepoints it is within, itself included.
    pub(crate) fn depth(&self) -> usize {
        self.place.depth
    }

    /// `outcome`: what is told of what was to be done where this one has ended with the one around it, which may have committed what was
    /// done in both.
    async fn inside(&self, outcome: Outcome) -> Result<MutexGuard<'_, Inside<DB>>, Error> {
        let deadline = Deadline::for_invocation(self.shared.patience)
            .map_err(|close| Error::too_close(Phase::InTransaction, close))?;
        let waited = timeout_at(deadline.instant(), self.shared.inside.lock()).await;
        let mut inside = waited.map_err(|_| Error::Refused {
            statement: String::from("a part of this transaction"),
            why: "has waited for another that has not ended, a stream for example, which holds the transaction's connection",
            cure: "read streams to their end, or drop them, before anything else is done in their transaction",
            source: None,
        })?;
        let abandoned = std::mem::take(&mut *self.shared.abandoned());
        for place in abandoned {
            inside.abandon(place);
        }
        if !inside.is_open(self.place) {
            let why = String::from("the transaction around it had ended before");
            return Err(Error::TransactionAborted { why, outcome });
        }
        Ok(inside)
    }

    /// Commits; what savepoints are open inside it belong to it.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        let mut ending = Ending { inside: self.inside(Outcome::Unknown).await?, place: self.place };
        ending.inside.session.commit_watched(self.place.depth).await
    }

    /// Rolls back, and everything inside it.
    pub(crate) async fn rollback(self) -> Result<(), Error> {
        let mut ending = Ending { inside: self.inside(Outcome::Unknown).await?, place: self.place };
        ending.inside.session.rollback_watched(self.place.depth).await
    }
}

/// A transaction while it ends. Whatever becomes of that, and if nobody waits for it, it has ended before anybody else has the session.
struct Ending<'i, DB: Engine> {
    inside: MutexGuard<'i, Inside<DB>>,
    place: Place,
}

impl<DB: Engine> Drop for Ending<'_, DB> {
    fn drop(&mut self) {
        self.inside.close_ended();
        self.inside.abandon(self.place);
    }
}

impl<DB: Engine> Drop for OwnedTransaction<DB> {
    fn drop(&mut self) {
        // Of one that has ended nothing is open any more.
        match self.shared.inside.try_lock() {
            Ok(mut inside) => inside.abandon(self.place),
            // Whoever uses the session next does it.
            Err(_) => self.shared.abandoned().push(self.place),
        }
    }
}

impl<DB: Engine> Shared<DB> {
    fn abandoned(&self) -> impl DerefMut<Target = Vec<Place>> + '_ {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Engine> Inside<DB> {
    async fn begin(&mut self) -> Result<Place, Error> {
        let depth = self.session.begin_watched().await?;
        self.last += 1;
        // A savepoint that was set by a text is nobody's here.
        self.open.resize(depth - 1, 0);
        self.open.push(self.last);
        Ok(Place { depth, serial: self.last })
    }

    fn is_open(&self, place: Place) -> bool {
        self.open.get(place.depth - 1) == Some(&place.serial)
    }

    fn abandon(&mut self, place: Place) {
        if self.is_open(place) {
            self.session.abandon(place.depth);
            self.open.truncate(place.depth - 1);
        }
    }

    /// What has ended is open no more. What the server was told to end, and has not answered, is ended as if dropped.
    fn close_ended(&mut self) {
        self.open.truncate(self.session.state.depth());
    }
}

/// The rows of a query, as a stream that holds the session that it runs on.
pub(crate) fn rows<'h, DB: Engine>(
    mut held: impl DerefMut<Target = Connection<DB>> + 'h,
    query: impl Execute<'static, DB>,
) -> impl Stream<Item = Result<DB::Row, Cause>> + 'h {
    let query = Query::take(query);
    let answer = stream(async move |mut sink| held.run(&query?, &mut sink).await);
    answer.try_filter_map(|item| ready(Ok(item.right())))
}
