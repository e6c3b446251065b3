//! The physical connection in the application's hands.

use tokio::time::timeout_at;

use super::connection::Connection;
use super::core::Intent;
use crate::deadline::Deadline;
use crate::engine::{Engine, Staleness};
use crate::error::{Error, Phase, timed_out};
use crate::pin::{PinCause, PinReason};

impl<DB: Engine> Connection<DB> {
    /// The physical connection, this session's alone from now on: for `COPY`, `LISTEN`, migrations, and whatever wants
    /// sqlx's own connection type.
    ///
    /// The connection is closed when the session ends, and the next session pays for a new one: this crate does not see what you do
    /// on it, and no statement could undo all of that.
    ///
    /// If you end a guard's transaction on it, that guard's `commit` or `rollback` returns an error. There are two limits:
    ///
    /// * You end the guard's transaction, begin another, and an error aborts that one: [`rollback`](crate::Transaction::rollback) then
    ///   rolls back the other one and returns `Ok`.
    /// * On PostgreSQL, after `RESET ALL` or a rollback to a savepoint that is older than the pin, the server no longer shows that the
    ///   transaction is the guard's: its commit is rolled back and returns
    ///   [`TransactionAborted`](crate::Error::TransactionAborted). On MySQL the same holds for a rollback to such a savepoint and for
    ///   its `RELEASE SAVEPOINT`.
    ///
    /// Run as statements of the session, `RESET ALL` and PostgreSQL's rollback to a savepoint are safe, except for a rollback to a
    /// savepoint after an error on the handed-out connection. A guard inside the guard is safe everywhere.
    ///
    /// On PostgreSQL, if `SET LOCAL` has changed a time zone, a search path or a role and the transaction has read nothing yet, this
    /// call takes the transaction's snapshot: take locks that must come first before calling it.
    ///
    /// # Errors
    /// No connection could be had; or, on PostgreSQL after `SET LOCAL`, the server has refused to plan anew (a cancel from outside, a
    /// limit of time): the session may stay pinned then.
    ///
    /// # Cancel safety
    /// A dropped future may leave the session pinned; nothing was sent.
    pub async fn pin(&mut self) -> Result<&mut DB::Connection, Error> {
        let reason = PinReason::new(PinCause::HandedOut, "");
        let mut intent = Intent { pin: Some(reason), ..Intent::none() };
        let mut borrow = self.borrow(Phase::Statement, &mut intent).await?;
        if borrow.wire().carried.staleness() != Staleness::Fresh {
            // What others have prepared is not for what the caller makes of the connection.
            borrow.replan(&Intent::none()).await?;
        }
        // What types the caller looks up by their names is not seen.
        borrow.wire().carried.prepared.forget_names();
        borrow.finish();
        let wire = self.lease.as_mut().ok_or(Error::Closed)?.conn();
        // What the caller leaves unread on it is not for the session's next statement.
        wire.in_flight = true;
        Ok(&mut wire.driver)
    }

    /// Applies the migrations that are missing (`sqlx::migrate!`), as `Migrator::run` does, which a handler's future cannot
    /// call: for a `&mut` of any connection the compiler does not see that it is `Send`
    /// (<https://github.com/rust-lang/rust/issues/100013>). The session is pinned by it.
    ///
    /// ```no_run
    /// # async fn example(migrator: &'static sqlx::migrate::Migrator) -> Result<(), lambda_rds::Error> {
    /// let mut conn = lambda_rds::get_connection::<lambda_rds::Postgres>().await?;
    /// conn.migrate(migrator).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// No connection could be had, or the migrator's: `sqlx::Error::Migrate` in [`Error::Database`]. Migrations before the
    /// one that failed are applied.
    ///
    /// # Cancel safety
    /// What a dropped future has applied is applied, and noted by the migrator; the migration under way is rolled back where
    /// the database can do that with definitions, which MySQL cannot.
    #[cfg(feature = "migrate")]
    pub async fn migrate(&mut self, migrator: &sqlx::migrate::Migrator) -> Result<(), Error>
    where
        DB::Connection: sqlx::migrate::Migrate,
    {
        use sqlx::migrate::MigrateError;

        let driver = self.pin().await?;
        // What `run` itself calls once it has a connection, and all that it adds (sqlx 0.9.0).
        match migrator.run_direct(None, driver, false).await {
            Ok(()) => Ok(()),
            Err(MigrateError::Execute(error)) => Err(error.into()),
            Err(error) => Err(sqlx::Error::Migrate(Box::new(error)).into()),
        }
    }

    /// Begins a transaction of sqlx's own on the connection, which is handed out with it.
    pub(super) async fn begin_handed_out(&mut self) -> Result<sqlx::Transaction<'_, DB>, sqlx::Error> {
        if self.state.depth() > 0 {
            // The driver knows nothing of our transaction: its commit would end ours.
            let message = "a sqlx transaction inside one of lambda-rds would end it; use its begin()";
            return Err(sqlx::Error::InvalidArgument(message.to_owned()));
        }
        self.pin().await?;
        // Dropped from here on, the begin is taken back before the session's next statement: the driver forgets it
        // (sqlx 0.9.0).
        self.state.abandon(1);
        let deadline = Deadline::for_invocation(self.pool.borrow_timeout())
            .map_err(|close| Error::too_close(Phase::Begin, close))?;
        let Self { pool, lease, state, .. } = self;
        let wire = lease.as_mut().ok_or(Error::Closed)?.conn();
        let begin = sqlx::Transaction::begin(&mut wire.driver, None);
        let begun = timeout_at(deadline.instant(), pool.connector().attend(wire.peer.as_deref(), begin)).await;
        let transaction = begun.unwrap_or_else(|_| Err(timed_out()))?;
        state.rolled_back_abandoned();
        Ok(transaction)
    }
}
