//! sqlx's `Executor` and `Acquire` for a session, one implementation an engine.
//!
//! A macro and not a blanket implementation: with the latter, callers that are generic over the executor run into
//! endless recursion in trait selection (E0275).

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::TryStreamExt;
use sqlx::{Arguments, ColumnIndex, Database, Decode, Either, Error, Execute, Row, SqlStr, Type};
use tokio::task::coop::consume_budget;
use tokio::time::timeout_at;

use super::{Borrow, Connection, Intent};
use crate::engine::{Diagnosis, Driver, Engine, PinEnd, Question};
use crate::error::{Phase, timed_out};
use crate::failover::Verdict;
use crate::pin::shorten;
use crate::retry::Deadline;

/// A query, taken apart to see its text, and put together again for the driver.
struct Parts<DB: Database> {
    sql: SqlStr,
    arguments: Option<DB::Arguments>,
    statement: Option<DB::Statement>,
    persistent: bool,
    /// Not to be put into a transaction.
    alone: bool,
    /// It has been run before.
    again: bool,
}

impl<DB: Database> Parts<DB>
where
    DB::Arguments: Clone,
{
    /// A copy for a second run.
    fn spare(&self) -> Self {
        Self {
            arguments: self.arguments.clone(),
            sql: self.sql.clone(),
            statement: self.statement.clone(),
            persistent: self.persistent,
            alone: self.alone,
            again: self.again,
        }
    }

    /// Only what the driver prepares can have become stale.
    fn is_prepared(&self) -> bool {
        self.arguments.is_some()
    }
}

impl<DB: Database> Parts<DB> {
    fn take<'q, E: Execute<'q, DB>>(mut query: E) -> Result<Self, Error> {
        // NOTE: the order matters. The arguments are encoded on taking, and `sql` consumes the query.
        let statement = query.statement().cloned();
        let arguments = query.take_arguments().map_err(Error::Encode)?;
        let persistent = query.persistent();
        Ok(Self { sql: query.sql(), arguments, statement, persistent, alone: false, again: false })
    }

    fn has_values(&self) -> bool {
        self.arguments.as_ref().is_some_and(|arguments| arguments.len() > 0)
    }
}

impl<DB: Database> Execute<'_, DB> for Parts<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, sqlx::error::BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

type Step<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

/// A statement is run as often at the most: two failovers in a row are rare, and three runs were none to believe in.
const MOST_RUNS: usize = 3;

/// What the driver has to exchange with the server before a statement. Until it is over, and where the driver prepares
/// and executes in one go until that is, a dropped future leaves the driver out of step.
async fn ahead<DB: Engine>(borrow: &mut Borrow<'_, DB>, parts: &Parts<DB>) -> Result<(), Error> {
    let Some(arguments) = parts.arguments.as_ref().filter(|_| DB::PREPARES_AHEAD) else { return Ok(()) };
    // What fails here has executed nothing.
    borrow.sent = !parts.persistent;
    let (failover, wire) = borrow.apart();
    wire.out_of_step = true;
    if parts.persistent {
        let prepared = DB::prepare(&mut wire.driver, parts.sql.clone(), arguments.len());
        // What is not kept is prepared again, and executed in one go with that.
        wire.out_of_step = !failover.attend(wire.peer.as_deref(), prepared).await?;
    }
    borrow.sent = true;
    Ok(())
}

/// The next step of an answer. What the driver has in its buffer is there at once, however much it is: without a share of
/// the runtime's budget an answer without end would keep every timer of the thread from firing.
async fn next_of<T>(steps: &mut BoxStream<'_, Result<T, Error>>) -> Result<Option<T>, Error> {
    consume_budget().await;
    steps.try_next().await
}

async fn execute<'c, 'q: 'c, DB, E>(conn: E, query: impl Execute<'q, DB> + 'q) -> Result<DB::QueryResult, Error>
where
    DB: Database,
    E: sqlx::Executor<'c, Database = DB>,
{
    let mut steps = conn.fetch_many(query);
    let mut all = DB::QueryResult::default();
    while let Some(step) = next_of(&mut steps).await? {
        if let Either::Left(done) = step {
            all.extend([done]);
        }
    }
    Ok(all)
}

async fn fetch_all<'c, 'q: 'c, DB, E>(conn: E, query: impl Execute<'q, DB> + 'q) -> Result<Vec<DB::Row>, Error>
where
    DB: Database,
    E: sqlx::Executor<'c, Database = DB>,
{
    let mut steps = conn.fetch_many(query);
    let mut rows = Vec::new();
    while let Some(step) = next_of(&mut steps).await? {
        rows.extend(step.right());
    }
    Ok(rows)
}

/// Reads all rows to the end: MySQL's driver stops at the first, and leaves the rest on the wire (sqlx 0.9.0).
async fn fetch_optional<'c, 'q: 'c, DB, E>(conn: E, query: impl Execute<'q, DB> + 'q) -> Result<Option<DB::Row>, Error>
where
    DB: Database,
    E: sqlx::Executor<'c, Database = DB>,
{
    let mut steps = conn.fetch_many(query);
    let mut first = None;
    while let Some(step) = next_of(&mut steps).await? {
        first = first.or_else(|| step.right());
    }
    Ok(first)
}

/// A statement with the server's answers in the place of what its text does not tell; `None` where they are of no use.
fn spell<DB: Engine>(sql: &str, answers: &DB::Row) -> Option<String>
where
    usize: ColumnIndex<DB::Row>,
    for<'r> Option<String>: Decode<'r, DB> + Type<DB>,
{
    let answers: Result<Vec<_>, _> = (0..answers.len()).map(|n| answers.try_get(n)).collect();
    DB::spelled(sql, &answers.ok()?)
}

/// A query whose answer is read to the end in one call of the driver's `$method`. A stale plan is run again once, and
/// what the server provably did not execute on another connection.
macro_rules! whole {
    ($session:ident, $query:ident, $method:ident) => {{
        let parts = Parts::take($query);
        Box::pin(async move {
            let mut parts = parts?;
            while $session.would_be_torn(&parts) {
                let spare = parts.spare();
                let mut transaction = $session.begin().await?;
                let error = match $method(&mut *transaction, parts).await {
                    Ok(value) => {
                        transaction.commit().await?;
                        return Ok(value);
                    }
                    Err(error) => error,
                };
                // The error of the statement is the one that counts; a failed rollback is made up for by the pool.
                let _ = transaction.rollback().await;
                parts = $session.once_more(spare, error)?;
            }
            for run in 1.. {
                let (mut borrow, ready) = $session.ready_for(parts).await?;
                let mut spare = ready.spare();
                let mut result = match ahead(&mut borrow, &ready).await {
                    Ok(()) => {
                        let (failover, wire) = borrow.apart();
                        failover.attend_statement(wire.peer.as_deref(), $method(&mut wire.driver, ready)).await
                    }
                    Err(error) => Err(error),
                };
                borrow.wire().out_of_step = false;
                if let Err(error) = &result
                    && spare.is_prepared()
                    && borrow.heal(error).await
                {
                    let again = spare.spare();
                    let next = std::mem::replace(&mut spare, again);
                    result = match ahead(&mut borrow, &next).await {
                        Ok(()) => {
                            let (failover, wire) = borrow.apart();
                            failover.attend_statement(wire.peer.as_deref(), $method(&mut wire.driver, next)).await
                        }
                        Err(error) => Err(error),
                    };
                    borrow.wire().out_of_step = false;
                }
                let error = match result {
                    Ok(value) => {
                        borrow.finish();
                        return Ok(value);
                    }
                    Err(error) => error,
                };
                match borrow.judged(error, false).await {
                    (Verdict::Again, _) if run < MOST_RUNS => parts = spare,
                    (_, error) => return Err(error.into()),
                }
            }
            Err(Error::WorkerCrashed)
        })
    }};
}

macro_rules! executor {
    ($engine:ty) => {
        impl Connection<$engine> {
            /// A borrowed connection for this query, and the query as it will be sent.
            async fn ready_for(
                &mut self,
                mut parts: Parts<$engine>,
            ) -> Result<(Borrow<'_, $engine>, Parts<$engine>), Error> {
                // A pooler in between may run the next statement elsewhere: nothing named is left on the server.
                parts.persistent &= !self.connector().is_forgetful();
                let mut intent = self.intent(parts.sql.as_str());
                let spelled = match self.question(&intent) {
                    Some(question) => Box::pin(self.ask(question, &parts)).await?,
                    None => None,
                };
                if let Some(spelled) = &spelled {
                    intent = self.intent_of(<$engine>::classify(spelled), parts.sql.as_str());
                }
                self.refuse(&intent)?;
                let shifting = intent.shifting;
                self.texts += u64::from(!shifting);
                if self.connector().is_forgetful() && intent.control.is_some() {
                    self.refuse_whole(intent.control)?;
                    if !parts.has_values() {
                        // In one exchange: between two, what it begins or ends could be another's.
                        (parts.arguments, parts.statement) = (None, None);
                    }
                }
                let borrow = self.borrow(Phase::Statement, intent).await?;
                if shifting {
                    borrow.session.set_apart(&mut parts);
                }
                Ok((borrow, parts))
            }

            /// What the server says to a question about a statement, in the place of what the statement's text does not tell.
            /// Why before it, and not after? What it sets is known when it is sent, like that of any other one, whatever
            /// becomes of its answer; and a question that fails has executed nothing.
            async fn ask(
                &mut self,
                question: Question,
                parts: &Parts<$engine>,
            ) -> Result<Option<String>, Error> {
                if question.given && parts.arguments.is_none() {
                    // The server will refuse it.
                    return Ok(None);
                }
                let mut run = 0;
                loop {
                    run += 1;
                    let mut asked = parts.spare();
                    asked.sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(question.text.clone()));
                    asked.statement = None;
                    if !question.given {
                        asked.arguments = None;
                    }
                    let mut borrow = self.borrow(Phase::Statement, Intent::NONE).await?;
                    borrow.sent = false;
                    let (failover, wire) = borrow.apart();
                    let answer = failover.attend(wire.peer.as_deref(), fetch_optional(&mut wire.driver, asked)).await;
                    let error = match answer {
                        Ok(row) => {
                            borrow.finish();
                            return Ok(row.and_then(|row| spell::<$engine>(parts.sql.as_str(), &row)));
                        }
                        Err(error) => error,
                    };
                    if run < MOST_RUNS && borrow.heal(&error).await {
                        borrow.finish();
                        continue;
                    }
                    match borrow.judged(error, false).await {
                        (Verdict::Again, _) if run < MOST_RUNS => {}
                        (_, error) => return Err(error.into()),
                    }
                }
            }

            /// The same text may have other columns the next time, those of another cursor, so that what is prepared for it
            /// must not be found again. Without a name of its own it would be lost when the driver asks the server about a
            /// type in between (sqlx 0.9.0); so it gets a text of its own, which serves until something else was run.
            fn set_apart(&self, parts: &mut Parts<$engine>) {
                if <$engine>::PREPARES_AHEAD || !parts.persistent {
                    parts.persistent = false;
                    return;
                }
                let text = format!("{}\n/* {}.{} */", parts.sql.as_str(), self.id, self.texts);
                parts.sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(text));
                parts.statement = None;
            }

            /// Whether a pooler in between may take this statement apart. The driver prepares in one exchange and executes
            /// in another: the second may reach a connection of the server that knows nothing of the first, or that has
            /// prepared somebody else's statement meanwhile. Settings are in the same danger. A transaction keeps all of
            /// them together.
            fn would_be_torn(&self, parts: &Parts<$engine>) -> bool {
                if !self.connector().is_forgetful() || self.state.depth() > 0 || parts.alone {
                    return false;
                }
                let class = <$engine>::classify(parts.sql.as_str());
                let settings = class.setting.is_some() || !self.state.settings().is_empty();
                class.control.is_none() && (parts.is_prepared() || settings)
            }

            /// The statement as it can be run once more, where the transaction made for it was what it failed by.
            fn once_more(&self, parts: Parts<$engine>, error: Error) -> Result<Parts<$engine>, Error> {
                if !parts.again && <$engine>::diagnose(&error) == Diagnosis::StalePlan {
                    // The driver asked the server about a type, and by that lost what it had prepared without a name
                    // (sqlx 0.9.0). Now it knows the type.
                    return Ok(Parts { again: true, ..parts });
                }
                // By itself, and in one exchange: for what the server refuses in a transaction.
                let discards = <$engine>::classify(parts.sql.as_str()).ends == Some(PinEnd::Everything);
                let settled = discards || self.state.settings().is_empty();
                if parts.has_values() || !<$engine>::wants_no_transaction(&error) {
                    return Err(error);
                }
                if !settled {
                    let error = super::Error::Refused {
                        statement: shorten(parts.sql.as_str()),
                        why: "may not run in a transaction, and behind a pooler a session's settings last no longer than one",
                        cure: "run it in a session that has set nothing, or RESET ALL before it",
                        source: Some(error),
                    };
                    return Err(error.into());
                }
                Ok(Parts { arguments: None, statement: None, alone: true, ..parts })
            }

            /// The driver prepares under a name. A pooler in between keeps the server's connection, and with it the
            /// name, no longer than a transaction, so that one is needed to take the name away again.
            fn leaves_names_behind(&self) -> bool {
                self.connector().is_forgetful() && self.state.is_free()
            }

            /// Preparing runs nothing: no text pins by it.
            async fn prepare_here(
                &mut self,
                sql: SqlStr,
                parameters: &[<$engine as Database>::TypeInfo],
            ) -> Result<<$engine as Database>::Statement, Error> {
                let forgetful = self.connector().is_forgetful();
                let mut borrow = self.borrow(Phase::Statement, Intent::NONE).await?;
                let (failover, wire) = borrow.apart();
                wire.out_of_step = <$engine>::PREPARES_AHEAD;
                let prepare = sqlx::Executor::prepare_with(&mut wire.driver, sql, parameters);
                let mut prepared = failover.attend(wire.peer.as_deref(), prepare).await;
                wire.out_of_step = false;
                if forgetful && prepared.is_ok() {
                    prepared = borrow.forget_names().await.and(prepared);
                }
                borrow.concluded(prepared)
            }

            async fn describe_here(&mut self, sql: SqlStr) -> Result<sqlx::Describe<$engine>, Error> {
                let forgetful = self.connector().is_forgetful();
                let mut borrow = self.borrow(Phase::Statement, Intent::NONE).await?;
                let (failover, wire) = borrow.apart();
                wire.out_of_step = <$engine>::PREPARES_AHEAD;
                let describe = sqlx::Executor::describe(&mut wire.driver, sql);
                let mut described = failover.attend(wire.peer.as_deref(), describe).await;
                wire.out_of_step = false;
                if forgetful && described.is_ok() {
                    described = borrow.forget_names().await.and(described);
                }
                borrow.concluded(described)
            }
        }

        impl<'c> sqlx::Executor<'c> for &'c mut Connection<$engine> {
            type Database = $engine;

            fn execute<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<<$engine as Database>::QueryResult, Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $engine>,
            {
                whole!(self, query, execute)
            }

            fn fetch_many<'e, 'q, E>(self, query: E) -> BoxStream<'e, Result<Step<$engine>, Error>>
            where
                'c: 'e,
                E: Execute<'q, $engine>,
                'q: 'e,
                E: 'q,
            {
                let parts = Parts::take(query);
                Box::pin(async_stream::try_stream! {
                    let mut parts = parts?;
                    while self.would_be_torn(&parts) {
                        let spare = parts.spare();
                        let mut transaction = self.begin().await?;
                        let mut fresh = true;
                        let failed = {
                            let mut steps = sqlx::Executor::fetch_many(&mut *transaction, parts);
                            loop {
                                match steps.try_next().await {
                                    Ok(Some(step)) => {
                                        fresh = false;
                                        yield step;
                                    }
                                    Ok(None) => break None,
                                    Err(error) => break Some(error),
                                }
                            }
                        };
                        let Some(error) = failed else {
                            transaction.commit().await?;
                            return;
                        };
                        // As above.
                        let _ = transaction.rollback().await;
                        parts = if fresh { self.once_more(spare, error)? } else { Err(error)? };
                    }
                    let mut run = 1;
                    let mut healed = false;
                    loop {
                        let (mut borrow, ready) = self.ready_for(parts).await?;
                        let mut spare = ready.spare();
                        let mut next = ready;
                        let failed = loop {
                            // Nothing was handed on yet: only then can the statement be run again unnoticed.
                            let mut fresh = true;
                            let failed = 'run: {
                                if let Err(error) = ahead(&mut borrow, &next).await {
                                    borrow.wire().out_of_step = false;
                                    break 'run Some(error);
                                }
                                let (failover, wire) = borrow.apart();
                                let (peer, out_of_step) = (wire.peer.as_deref(), &mut wire.out_of_step);
                                let mut steps = (&mut wire.driver).fetch_many(next);
                                loop {
                                    match failover.attend_statement(peer, next_of(&mut steps)).await {
                                        Ok(Some(step)) => {
                                            fresh = false;
                                            *out_of_step = false;
                                            yield step;
                                        }
                                        Ok(None) => break None,
                                        Err(error) => {
                                            *out_of_step = false;
                                            break Some(error);
                                        }
                                    }
                                }
                            };
                            match failed {
                                Some(error) if fresh && !healed && spare.is_prepared() && borrow.heal(&error).await => {
                                    healed = true;
                                    let again = spare.spare();
                                    next = std::mem::replace(&mut spare, again);
                                }
                                failed => break failed.map(|error| (error, !fresh)),
                            }
                        };
                        let Some((error, handed_on)) = failed else {
                            borrow.finish();
                            break;
                        };
                        match borrow.judged(error, handed_on).await {
                            (Verdict::Again, _) if run < MOST_RUNS => {
                                run += 1;
                                parts = spare;
                                continue;
                            }
                            (_, error) => Err(Error::from(error))?,
                        }
                        break;
                    }
                })
            }

            fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<<$engine as Database>::Row>, Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $engine>,
            {
                whole!(self, query, fetch_all)
            }

            /// Reads all rows to the end and returns the first: a deferred error may come after it.
            fn fetch_optional<'e, 'q, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Option<<$engine as Database>::Row>, Error>>
            where
                'c: 'e,
                E: Execute<'q, $engine>,
                'q: 'e,
                E: 'q,
            {
                whole!(self, query, fetch_optional)
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$engine as Database>::TypeInfo],
            ) -> BoxFuture<'e, Result<<$engine as Database>::Statement, Error>>
            where
                'c: 'e,
            {
                Box::pin(async move {
                    if !self.leaves_names_behind() {
                        return self.prepare_here(sql, parameters).await;
                    }
                    let mut transaction = self.begin().await?;
                    let statement = transaction.prepare_here(sql, parameters).await?;
                    transaction.commit().await?;
                    Ok(statement)
                })
            }

            #[doc(hidden)]
            fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<$engine>, Error>>
            where
                'c: 'e,
            {
                Box::pin(async move {
                    if !self.leaves_names_behind() {
                        return self.describe_here(sql).await;
                    }
                    let mut transaction = self.begin().await?;
                    let description = transaction.describe_here(sql).await?;
                    transaction.commit().await?;
                    Ok(description)
                })
            }
        }

        /// For code that wants sqlx's own connection or transaction type (migrations, generic libraries). What runs on
        /// it is not seen by the session, so this pins; [`Connection::begin`] and [`Connection::transaction`] do not.
        /// Inside a transaction of this crate `Acquire::begin` is refused: its [`begin`](Connection::begin) nests.
        impl<'c> sqlx::Acquire<'c> for &'c mut Connection<$engine> {
            type Database = $engine;
            type Connection = &'c mut <$engine as Database>::Connection;

            fn acquire(self) -> BoxFuture<'c, Result<Self::Connection, Error>> {
                Box::pin(async move { Ok(self.pin().await?) })
            }

            fn begin(self) -> BoxFuture<'c, Result<sqlx::Transaction<'c, $engine>, Error>> {
                Box::pin(async move {
                    if self.state.depth() > 0 {
                        // The driver knows nothing of our transaction: its commit would end ours.
                        let message = "a sqlx transaction inside one of lambda-rds would end it; use its begin()";
                        return Err(Error::InvalidArgument(message.to_owned()));
                    }
                    self.pin().await?;
                    // Dropped from here on, the begin is taken back before the session's next statement: the driver
                    // forgets it (sqlx 0.9.0).
                    self.state.abandon(1);
                    let deadline = Deadline::for_invocation(self.pool.borrow_timeout(), Phase::Begin)?;
                    let Connection { pool, lease, state, .. } = self;
                    let wire = lease.as_mut().ok_or(super::Error::Closed)?.conn();
                    let begin = sqlx::Transaction::begin(&mut wire.driver, None);
                    let begun =
                        timeout_at(deadline.instant(), pool.connector().attend(wire.peer.as_deref(), begin)).await;
                    let transaction = begun.unwrap_or_else(|_| Err(timed_out()))?;
                    state.rolled_back_abandoned();
                    Ok(transaction)
                })
            }
        }
    };
}

#[cfg(feature = "postgres")]
executor!(sqlx::Postgres);

#[cfg(feature = "mysql")]
executor!(sqlx::MySql);
