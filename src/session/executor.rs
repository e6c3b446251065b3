//! sqlx's `Executor` and `Acquire` for a session, one implementation an engine.
//!
//! A macro and not a blanket implementation: with the latter, callers that are generic over the executor run into
//! endless recursion in trait selection (E0275). All that it does is to pass on.

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::{Database, Error, Execute, SqlStr, Statement};

use super::answer::{self, Done, First, Rows};
use super::connection::Connection;
use super::query::Query;
use crate::engine::{Dialect, Item};

macro_rules! executor {
    ($engine:ty) => {
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
                let query = Query::take(query);
                Box::pin(async move { Ok(self.collect(&query?, Done(Default::default())).await?.0) })
            }

            fn fetch_many<'e, 'q, E>(self, query: E) -> BoxStream<'e, Result<Item<$engine>, Error>>
            where
                'c: 'e,
                E: Execute<'q, $engine>,
                'q: 'e,
                E: 'q,
            {
                let query = Query::take(query);
                Box::pin(answer::stream(async move |mut sink| self.run(&query?, &mut sink).await))
            }

            fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<<$engine as Database>::Row>, Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $engine>,
            {
                let query = Query::take(query);
                Box::pin(async move { Ok(self.collect(&query?, Rows(Vec::new())).await?.0) })
            }

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
                let query = Query::take(query);
                Box::pin(async move { Ok(self.collect(&query?, First(None)).await?.0) })
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$engine as Database>::TypeInfo],
            ) -> BoxFuture<'e, Result<<$engine as Database>::Statement, Error>>
            where
                'c: 'e,
            {
                let given = <$engine>::prepared_for(parameters);
                let prepare = async move |driver: &mut <$engine as Database>::Connection, sql| {
                    sqlx::Executor::prepare_with(driver, sql, parameters).await
                };
                Box::pin(self.prepare_together(sql, given, prepare, Statement::parameters))
            }

            #[doc(hidden)]
            fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<$engine>, Error>>
            where
                'c: 'e,
            {
                let given = <$engine>::prepared_for(&[]);
                let describe = async move |driver: &mut <$engine as Database>::Connection, sql| {
                    sqlx::Executor::describe(driver, sql).await
                };
                Box::pin(self.prepare_together(sql, given, describe, sqlx::Describe::parameters))
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
                Box::pin(self.begin_handed_out())
            }
        }
    };
}

#[cfg(feature = "postgres")]
executor!(sqlx::Postgres);

#[cfg(feature = "mysql")]
executor!(sqlx::MySql);
