//! The handle on everything: pool, connector, events. Cheap to clone, one per database.

mod assemble;
mod build;
mod builder;
mod environment;
mod global;
mod report;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use crate::config::{Config, ConfigError};
use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{Error, PoolNumbers, Purpose};
use crate::event::{Event, Recent};
use crate::failover::Failover;
#[cfg(feature = "lambda")]
use crate::pool::Invocation;
use crate::pool::{Lease, Pool};
use crate::session::{Connection, Transaction};
use crate::status::Status;

pub use builder::ProxyBuilder;
#[cfg(feature = "lambda")]
pub(crate) use global::installed;
pub use global::{get_connection, get_reader, init, init_with, install};
pub use report::Report;

/// Upkeep that takes longer is put off: it runs in billed time, after the response.
const UPKEEP_BOUND: Duration = Duration::from_millis(500);

/// A proxy for one database: what Amazon RDS Proxy is, inside the function.
///
/// # Runtimes
/// A connection belongs to the tokio runtime that it was opened on. Where another runtime asks, as each `#[tokio::test]` has
/// one of its own, it is closed and another is opened; a session in a transaction, or pinned, that comes to another runtime
/// loses its connection before anything is sent. Runtimes that work side by side had better have a proxy each.
///
/// # Clone
/// Clones share everything. Dropping the last one closes the connections at rest without a goodbye;
/// [`close`](Self::close) says one.
pub struct Proxy<DB: Engine>(Arc<Inner<DB>>);

struct Inner<DB: Engine> {
    pool: Pool<Failover<DB>>,
    /// Connections to readers; as many at the most.
    readers: Pool<Failover<DB>>,
    recent: Recent,
}

/// A [`Proxy`] for MySQL and MariaDB.
#[cfg(feature = "mysql")]
pub type MySqlProxy = Proxy<sqlx::MySql>;

/// A [`Proxy`] for PostgreSQL.
#[cfg(feature = "postgres")]
pub type PgProxy = Proxy<sqlx::Postgres>;

impl<DB: Engine> Proxy<DB> {
    /// A proxy configured in code.
    pub fn builder() -> ProxyBuilder<DB> {
        ProxyBuilder::new(Config::default())
    }

    /// A proxy configured by the environment; see [`VARIABLES`](crate::VARIABLES). Does no I/O.
    ///
    /// # Errors
    /// The first variable that is not understood, or what is missing or contradictory.
    pub fn from_env() -> Result<Self, ConfigError> {
        ProxyBuilder::from_env()?.build()
    }

    fn new(pool: Pool<Failover<DB>>, readers: Pool<Failover<DB>>, recent: Recent) -> Self {
        Self(Arc::new(Inner { pool, readers, recent }))
    }

    /// A session with the database, once the database is known to answer: connects, or validates an idle connection
    /// that was not used within `validate_after`. A warm call does no I/O.
    ///
    /// # Errors
    /// Why the database does not answer: every variant that [`Error`] has for configuration, credentials, the way
    /// there, TLS, the login, and the pool.
    ///
    /// # Cancel safety
    /// Nothing is left behind; a connect that was begun goes on, and its connection serves the next caller.
    pub async fn get_connection(&self) -> Result<Connection<DB>, Error> {
        self.0.pool.ready().await?;
        Ok(Connection::new(self.0.pool.clone()))
    }

    /// A session with one of the cluster's readers, the one with the fewest connections. It is read-only by its settings, which a
    /// statement may undo: where the writer stands in, that writes. A reader that was promoted or does not answer is left for
    /// another. Connections to readers have a pool of their own, of `max_connections` too. What a reader shows may be a moment older than what the writer has:
    /// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Replication.html>.
    ///
    /// # Errors
    /// [`Error::NoReader`] when there is none and [`reader_fallback`](ProxyBuilder::reader_fallback) is off; what else
    /// stands in the way, as for [`get_connection`](Self::get_connection).
    ///
    /// # Cancel safety
    /// As [`get_connection`](Self::get_connection).
    pub async fn get_reader(&self) -> Result<Connection<DB>, Error> {
        self.0.readers.ready().await?;
        Ok(Connection::new(self.0.readers.clone()))
    }

    /// Runs `work` in a transaction of a session of its own, and again, from the start, when the server provably took
    /// back or never began what was done: a serialization failure, a deadlock, a connection lost before the commit was
    /// sent. Never after [`Outcome::Unknown`](crate::Outcome::Unknown), nor when `work` has sent transaction control as
    /// text or used the physical connection. At most three times.
    ///
    /// The error may be the application's own: whether to run again is the session's to know, whatever `work` makes of
    /// the error that it got. An error that is no failure of the database (an order that is refused) rolls back and is
    /// returned at once.
    ///
    /// A commit without an answer is `Unknown`. An idempotency key that is written in the same transaction makes that
    /// harmless: who tries again finds it.
    ///
    /// ```no_run
    /// # use lambda_rds::{PgProxy, Error};
    /// #[derive(Debug, thiserror::Error)]
    /// enum OrderError {
    ///     #[error("out of stock")]
    ///     OutOfStock,
    ///     #[error(transparent)]
    ///     Database(#[from] Error),
    /// }
    ///
    /// // sqlx's calls return `sqlx::Error`: what `?` needs.
    /// impl From<sqlx::Error> for OrderError {
    ///     fn from(error: sqlx::Error) -> Self {
    ///         Self::Database(error.into())
    ///     }
    /// }
    ///
    /// async fn order(proxy: &PgProxy, key: &str, item: i64) -> Result<(), OrderError> {
    ///     let key = key.to_owned();
    ///     proxy
    ///         .transaction(|tx| {
    ///             let key = key.clone();
    ///             Box::pin(async move {
    ///                 let insert = "insert into orders (key, item) values ($1, $2) on conflict (key) do nothing";
    ///                 let new = sqlx::query(insert).bind(&key).bind(item).execute(&mut **tx).await?.rows_affected();
    ///                 if new == 0 {
    ///                     return Ok(()); // It was done before.
    ///                 }
    ///                 let take = "update stock set left = left - 1 where item = $1 and left > 0";
    ///                 match sqlx::query(take).bind(item).execute(&mut **tx).await?.rows_affected() {
    ///                     0 => Err(OrderError::OutOfStock),
    ///                     _ => Ok(()),
    ///                 }
    ///             })
    ///         })
    ///         .await
    /// }
    /// ```
    ///
    /// Why is `key` cloned? `work` may run again, and its future is boxed for a lifetime of the transaction's own, which
    /// nothing that is borrowed from around it outlives.
    ///
    /// # Errors
    /// What `work` returned at last, or why there was no transaction or no commit.
    ///
    /// # Cancel safety
    /// As [`Transaction::commit`].
    pub async fn transaction<F, R, E>(&self, mut work: F) -> Result<R, E>
    where
        F: for<'t> FnMut(&'t mut Transaction<'_, DB>) -> futures_core::future::BoxFuture<'t, Result<R, E>>,
        E: From<Error>,
    {
        const MOST_RUNS: usize = 3;
        let mut runs = 1;
        loop {
            let mut session = self.get_connection().await?;
            match session.transaction(&mut work).await {
                Err(_) if session.may_succeed_again() && runs < MOST_RUNS => runs += 1,
                result => return result,
            }
        }
    }

    /// The pool, the pins and the target at this instant.
    pub fn status(&self) -> Status {
        self.status_with(self.0.pool.peak())
    }

    fn status_with(&self, most_leased: usize) -> Status {
        let PoolNumbers { limit, idle, holders, waiting, .. } = self.0.pool.numbers();
        let readers = self.0.readers.numbers();
        let (leased, failover) = (holders.len(), self.0.pool.connector());
        Status {
            connections: idle + leased,
            max_connections: limit,
            idle,
            leased,
            pinned: holders.iter().filter(|holder| holder.purpose == Purpose::Pin).count(),
            waiting,
            reader_connections: readers.idle + readers.holders.len(),
            epoch: failover.epoch(),
            writer: failover.writer(),
            most_leased,
            occupancy: self.0.pool.occupancy(),
            encrypted: failover.connector().is_encrypted(),
            usage: self.0.pool.meter().read(),
            reader_usage: self.0.readers.meter().read(),
        }
    }

    /// Work that must not wait for the next invocation: rolls back transactions that were dropped, reads dropped
    /// statements to their end, closes what has served its term. Takes half a second at the most, mostly nothing.
    ///
    /// The [`lambda`](crate::lambda) layer calls it after each response; a function without the layer may call it itself.
    ///
    /// # Cancel safety
    /// What was not done is done at the next moment.
    pub async fn upkeep(&self) {
        let deadline = Deadline::after(UPKEEP_BOUND);
        tokio::join!(self.0.pool.upkeep(UPKEEP_BOUND), self.0.readers.upkeep(UPKEEP_BOUND));
        let failover = self.0.pool.connector();
        let mut lease = self.0.pool.lease_idle(Purpose::Check);
        if let Some(lease) = &mut lease {
            lease.begin();
        }
        let watch = failover.watch(lease.as_mut().map(Lease::conn), deadline);
        // What was not looked at is looked at next time.
        let rests = timeout_at(deadline.instant(), watch).await;
        if rests == Ok(true)
            && let Some(lease) = &mut lease
        {
            lease.end();
        }
        drop(lease);
        tokio::join!(self.0.pool.rest(deadline), self.0.readers.rest(deadline));
        let status = Box::new(self.status_with(self.0.pool.take_peak()));
        self.0.pool.events().emit(&Event::UpkeepDone { status });
    }

    /// A lease and its return, for the benches.
    #[cfg(feature = "_internals")]
    #[doc(hidden)]
    pub async fn lease_and_return(&self) -> Result<(), Error> {
        self.0.pool.lease(Purpose::Statement).await.map(drop)
    }

    /// Looks at idle connections after a freeze, without a round trip.
    #[cfg(feature = "lambda")]
    pub(crate) fn thawed(&self) {
        self.0.pool.thawed();
        self.0.readers.thawed();
    }

    /// A snapshot is about to be taken: no connection and no fetched credentials are part of it.
    #[cfg(feature = "lambda")]
    pub(crate) async fn before_snapshot(&self) {
        tokio::join!(self.0.pool.part_with_all(), self.0.readers.part_with_all());
        self.0.pool.connector().connector().forget_credentials();
    }

    /// The environment was made of a snapshot.
    #[cfg(feature = "lambda")]
    pub(crate) fn restored(&self) {
        self.0.pool.restored();
        self.0.readers.restored();
    }

    /// An invocation begins; it ends when what is returned is dropped.
    #[cfg(feature = "lambda")]
    pub(crate) fn invoked(&self) -> (Invocation<Failover<DB>>, Invocation<Failover<DB>>) {
        (self.0.pool.invoked(), self.0.readers.invoked())
    }

    /// Closes the proxy: those who wait get [`Error::Closed`], idle connections are closed politely within 200 ms,
    /// those in use when they come home. Close it after the sessions: a statement
    /// that was dropped and whose connection comes home later is not cancelled any more, and may run to its end on the server.
    ///
    /// # Cancel safety
    /// The proxy is closed at the first poll; a dropped future leaves out the goodbyes.
    pub async fn close(&self) {
        tokio::join!(self.0.pool.close(), self.0.readers.close());
    }
}

impl<DB: Engine> Clone for Proxy<DB> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<DB: Engine> fmt::Debug for Proxy<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("engine", &DB::RULES.family).field("status", &self.status()).finish()
    }
}
