//! What a session does behind a transaction pooler, which may run each exchange elsewhere.

use sqlx::{Error, SqlStr};

use super::answer::Sink;
use super::connection::Connection;
use super::core::Intent;
use super::prepared::Parameters;
use super::query::Query;
use crate::engine::{Bound, Diagnosis, Engine, Found, PinEnd, Settings};
use crate::error::{Outcome, Phase};
use crate::pin::{PinCause, shorten};

impl<DB: Engine> Connection<DB> {
    /// Whether a pooler in between may take this statement apart. The driver prepares in one exchange and executes in
    /// another: the second may reach a connection of the server that knows nothing of the first, or that has prepared
    /// somebody else's statement meanwhile. Settings are in the same danger. A transaction keeps all of them together.
    pub(super) fn would_be_torn(&self, query: &Query<DB>) -> bool {
        if !self.connector().pools_transactions() || self.state.depth() > 0 || query.alone {
            return false;
        }
        let class = DB::classify(query.sql.as_str());
        // What is set is followed where the text says it, or the server does when it is asked.
        let sets = class.setting().is_some() || class.pins == Some(PinCause::Setting);
        let settings = sets || !self.state.settings().is_empty();
        class.control().is_none() && (query.is_prepared() || settings)
    }

    /// Asks the server whether a transaction is open, where something may have begun or ended one unseen.
    pub(super) async fn ask_for_open_transaction(&mut self) -> Result<(), Error> {
        let mut borrow = self.borrow(Phase::Statement, &mut Intent::none()).await?;
        let is_open = borrow.probe().await? != Found::Nothing;
        // A transaction that no text has asked for is left alone; `begin()` is refused while it is open.
        let _known = borrow.session.state.found_in_doubt(is_open);
        if !is_open {
            borrow.wire().carried.agree_on(Settings::default());
            borrow.ended();
        }
        borrow.finish();
        Ok(())
    }

    /// Runs a query in a transaction of its own; by itself where it may not run in one.
    pub(super) async fn run_together<S: Sink<DB>>(&mut self, query: &Query<DB>, sink: &mut S) -> Result<(), Error> {
        if DB::classify(query.sql.as_str()).needs_transaction {
            return Err(Error::from(crate::error::Error::Refused {
                statement: shorten(query.sql.as_str()),
                why: "does nothing outside of a transaction",
                cure: "begin one before it, with begin() or as a text",
                source: None,
            }));
        }
        let mut query = query.clone();
        while self.would_be_torn(&query) {
            let mut transaction = self.begin().await?;
            let Err(error) = transaction.run_here(&query, sink).await else {
                return Ok(transaction.commit().await?);
            };
            // The error of the statement is the one that counts; a failed rollback is made up for by the pool.
            let _ = transaction.rollback().await;
            let error = of_taken_back(error);
            if sink.is_handed_on() {
                return Err(error);
            }
            query = self.once_more(query, error)?;
        }
        self.run_here(&query, sink).await
    }

    /// The query as it can be run once more, where the transaction made for it was what it failed by.
    fn once_more(&self, query: Query<DB>, error: Error) -> Result<Query<DB>, Error> {
        // Each connection's driver learns a type once, and every run may get another connection.
        if query.taught < self.pool.numbers().limit && DB::diagnose(&error) == Diagnosis::StalePlan {
            // The driver asked the server about a type, and by that lost what it had prepared without a name
            // (sqlx 0.9.0). Now it knows the type.
            return Ok(Query { taught: query.taught + 1, ..query });
        }
        // By itself, and in one exchange: for what the server refuses in a transaction.
        let discards = DB::classify(query.sql.as_str()).ends() == Some(PinEnd::Everything);
        let settled = discards || self.state.settings().is_empty();
        if !DB::wants_no_transaction(&error) {
            return Err(error);
        }
        let refused = if query.has_values() {
            Some((
                "may not run in a transaction, and behind a pooler what has values runs in one",
                "write its values into its text (sqlx::raw_sql), or connect past the pooler",
            ))
        } else if !settled {
            Some((
                "may not run in a transaction, and behind a pooler a session's settings last no longer than one",
                "run it in a session that has set nothing, or RESET ALL before it",
            ))
        } else {
            None
        };
        if let Some((why, cure)) = refused {
            let statement = shorten(query.sql.as_str());
            return Err(crate::error::Error::Refused { statement, why, cure, source: Some(error) }.into());
        }
        Ok(Query { alone: true, ..query.unprepared() })
    }

    /// Prepares something, in a transaction where the driver leaves a name behind: a pooler keeps the server's connection,
    /// and with it the name, no longer than a transaction, so that one is needed to take the name away again.
    pub(super) async fn prepare_together<T>(
        &mut self,
        sql: SqlStr,
        given: Option<Bound>,
        prepare: impl AsyncFnOnce(&mut DB::Connection, SqlStr) -> Result<T, Error>,
        parameters: impl Fn(&T) -> Parameters<'_, DB>,
    ) -> Result<T, Error> {
        if !self.connector().pools_transactions() || !self.state.is_free() {
            return self.prepare_here(sql, given, prepare, parameters).await;
        }
        let mut transaction = self.begin().await?;
        let prepared = transaction.prepare_here(sql, given, prepare, parameters).await?;
        transaction.commit().await?;
        Ok(prepared)
    }
}

/// What is said of a statement whose own transaction is rolled back, or never committed.
fn of_taken_back(error: Error) -> Error {
    let error = match crate::error::Error::from(error) {
        // It had come to its end, too late to be committed.
        crate::error::Error::DeadlineReached { phase, elapsed, outcome: Outcome::Completed, source } => {
            crate::error::Error::DeadlineReached { phase, elapsed, outcome: Outcome::RolledBack, source }
        }
        error => error,
    };
    error.into()
}
