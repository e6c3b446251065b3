//! [SeaORM 2](https://docs.rs/sea-orm/2) on a [`Proxy`]: what takes `&impl ConnectionTrait` takes `&proxy`.
//!
//! ```toml
//! lambda-rds = { version = "0.1", features = ["sea-orm"] }
//! sea-orm = { version = "2", default-features = false, features = ["macros"] }
//! ```
//!
//! ```no_run
//! use lambda_rds::{Postgres, Proxy, lambda};
//! use lambda_runtime::{LambdaEvent, service_fn};
//! use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait, TransactionTrait};
//!
//! mod orders {
//!     use sea_orm::entity::prelude::*;
//!
//!     #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
//!     #[sea_orm(table_name = "orders")]
//!     pub struct Model {
//!         #[sea_orm(primary_key)]
//!         pub id: i64,
//!         pub item: String,
//!     }
//!
//!     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
//!     pub enum Relation {}
//!
//!     impl ActiveModelBehavior for ActiveModel {}
//! }
//!
//! async fn handler(db: &Proxy<Postgres>, event: LambdaEvent<String>) -> Result<usize, lambda_rds::Error> {
//!     let tx = db.begin().await?;
//!     let order = orders::ActiveModel { item: Set(event.payload), ..Default::default() };
//!     order.insert(&tx).await?;
//!     tx.commit().await?;
//!     Ok(orders::Entity::find().all(db).await?.len())
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), lambda_runtime::Error> {
//!     // The process-wide proxy: `get_connection` and the layer serve the same connections.
//!     let db = &lambda_rds::init::<Postgres>().await?;
//!     lambda::run(service_fn(|event| handler(db, event))).await
//! }
//! ```
//!
//! As with SeaORM's own pool, each statement on the proxy has a session of its own: what one sets, the next does not find. What
//! belongs together is a transaction; `SET LOCAL` and `set_config(…, true)` last as long as it does.
//!
//! A [`Transaction`] that is dropped is rolled back. One whose surrounding transaction has ended refuses its statements, which
//! would be in no transaction at all. A proxy has a [`transaction`](Proxy::transaction) of this crate's, which is run again after
//! a failover; SeaORM's is `TransactionTrait::transaction(&db, …)`.
//!
//! # Errors
//! An error of this crate is inside the [`DbErr`], and comes out of it by `lambda_rds::Error::from`: with its
//! [`outcome`](Error::outcome). `DbErr::sql_err` reads the server's errors as it does without this crate.
//!
//! # Cancel safety
//! As that of [`Connection`] and of its [`Transaction`](crate::Transaction).

use std::fmt;
use std::ops::DerefMut;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::TryStreamExt as _;
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult, RuntimeErr, Statement,
    StreamTrait, TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::engine::Engine;
use crate::error::Error;
use crate::proxy::Proxy;
use crate::session::{Connection, OwnedTransaction, rows};

/// A transaction of SeaORM's, or a savepoint inside one.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<DB: Engine>(OwnedTransaction<DB>);

impl<DB: Engine> Transaction<DB> {
    /// Commits, as [`Transaction::commit`](crate::Transaction::commit) does.
    ///
    /// # Errors
    /// Those of [`Transaction::commit`](crate::Transaction::commit), within SeaORM's; or the transaction around it has ended.
    ///
    /// # Cancel safety
    /// A commit whose future was dropped may or may not have happened.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.0.commit().await.map_err(as_kind(DbErr::Exec))
    }

    /// Rolls back.
    ///
    /// # Errors
    /// Those of [`Transaction::rollback`](crate::Transaction::rollback), within SeaORM's.
    ///
    /// # Cancel safety
    /// The rollback is made up for before anybody else gets the connection.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.0.rollback().await.map_err(as_kind(DbErr::Exec))
    }
}

impl<DB: Engine> fmt::Debug for Transaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("depth", &self.0.depth()).finish_non_exhaustive()
    }
}

impl From<DbErr> for Error {
    /// Takes an error of ours, or the driver's, out of the error of SeaORM's that it travelled in; wraps any other. What has been
    /// cloned is wrapped too, and its outcome is [`Unknown`](crate::Outcome::Unknown).
    fn from(error: DbErr) -> Self {
        let (kind, shared): (fn(RuntimeErr) -> DbErr, _) = match error {
            DbErr::Conn(RuntimeErr::SqlxError(shared)) => (DbErr::Conn, shared),
            DbErr::Exec(RuntimeErr::SqlxError(shared)) => (DbErr::Exec, shared),
            DbErr::Query(RuntimeErr::SqlxError(shared)) => (DbErr::Query, shared),
            DbErr::RecordNotFound(_) => return Self::from(sqlx::Error::RowNotFound),
            other => return wrapped(other),
        };
        match Arc::try_unwrap(shared) {
            Ok(error) => Self::from(error),
            Err(shared) => wrapped(kind(RuntimeErr::SqlxError(shared))),
        }
    }
}

fn wrapped(error: DbErr) -> Error {
    Error::from(sqlx::Error::AnyDriverError(Box::new(error)))
}

/// What SeaORM calls an error of its connection, of something executed, and of a question.
fn as_kind<E: Into<sqlx::Error>>(kind: fn(RuntimeErr) -> DbErr) -> impl Fn(E) -> DbErr {
    move |error| kind(RuntimeErr::SqlxError(Arc::new(error.into())))
}

/// A session to run on: of a proxy, one of its own.
async fn session_of<DB: Engine>(proxy: &Proxy<DB>) -> Result<Box<Connection<DB>>, DbErr> {
    proxy.get_connection().await.map(Box::new).map_err(as_kind(DbErr::Conn))
}

/// The same of a transaction: the one that it is on.
async fn session_in<DB: Engine>(
    transaction: &Transaction<DB>,
) -> Result<impl DerefMut<Target = Connection<DB>> + '_, DbErr> {
    transaction.0.session().await.map_err(as_kind(DbErr::Conn))
}

fn query<DB: Engine>(statement: Statement) -> sqlx::query::Query<'static, DB, SqlxValues>
where
    SqlxValues: sqlx::IntoArguments<DB>,
{
    let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

/// What comes of a transaction that the application's work is done in: the error of the work is the one that counts, and a failed
/// rollback is made up for before anybody else has the connection.
async fn over<DB, F, T, E>(transaction: Transaction<DB>, work: F) -> Result<T, TransactionError<E>>
where
    DB: Engine,
    F: for<'c> FnOnce(&'c Transaction<DB>) -> BoxFuture<'c, Result<T, E>>,
    E: fmt::Display + fmt::Debug,
{
    let result = work(&transaction).await;
    if result.is_ok() {
        transaction.commit().await.map_err(TransactionError::Connection)?;
    } else {
        let _ = transaction.rollback().await;
    }
    result.map_err(TransactionError::Transaction)
}

/// How a transaction is to be begun, as `SET TRANSACTION` says it.
fn characteristics(options: TransactionOptions) -> Option<String> {
    let level = options.isolation_level.map(|level| format!("ISOLATION LEVEL {level}"));
    let access = options.access_mode.map(|access| access.to_string());
    let all: Vec<_> = level.into_iter().chain(access).collect();
    (!all.is_empty()).then(|| format!("SET TRANSACTION {}", all.join(", ")))
}

macro_rules! connection {
    ($engine:ty, $backend:expr, $of:ty, $session:path) => {
        #[async_trait]
        impl ConnectionTrait for $of {
            fn get_database_backend(&self) -> DbBackend {
                $backend
            }

            async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
                let mut session = $session(self).await?;
                let done = (&mut *session).execute(query(statement)).await;
                done.map(ExecResult::from).map_err(as_kind(DbErr::Exec))
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                let mut session = $session(self).await?;
                let done = (&mut *session).execute(AssertSqlSafe(sql)).await;
                done.map(ExecResult::from).map_err(as_kind(DbErr::Exec))
            }

            async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
                let mut session = $session(self).await?;
                let row = (&mut *session).fetch_optional(query(statement)).await;
                row.map(|row| row.map(QueryResult::from)).map_err(as_kind(DbErr::Query))
            }

            async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
                let mut session = $session(self).await?;
                let rows = (&mut *session).fetch_all(query(statement)).await;
                let rows = rows.map_err(as_kind(DbErr::Query))?;
                Ok(rows.into_iter().map(QueryResult::from).collect())
            }
        }

        impl StreamTrait for $of {
            type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

            fn get_database_backend(&self) -> DbBackend {
                $backend
            }

            fn stream_raw<'a>(&'a self, statement: Statement) -> BoxFuture<'a, Result<Self::Stream<'a>, DbErr>> {
                Box::pin(async move {
                    let session = $session(self).await?;
                    let rows = rows::<$engine>(session, query(statement));
                    let rows = rows.map_ok(QueryResult::from).map_err(as_kind(DbErr::Query));
                    Ok(Box::pin(rows) as Self::Stream<'a>)
                })
            }
        }

        #[async_trait]
        impl TransactionTrait for $of {
            type Transaction = Transaction<$engine>;

            async fn begin(&self) -> Result<Transaction<$engine>, DbErr> {
                self.begin_with_options(TransactionOptions::default()).await
            }

            async fn begin_with_config(
                &self,
                isolation_level: Option<IsolationLevel>,
                access_mode: Option<AccessMode>,
            ) -> Result<Transaction<$engine>, DbErr> {
                let sqlite_transaction_mode = None;
                let options = TransactionOptions { isolation_level, access_mode, sqlite_transaction_mode };
                self.begin_with_options(options).await
            }

            async fn begin_with_options(&self, options: TransactionOptions) -> Result<Transaction<$engine>, DbErr> {
                self.begun(characteristics(options)).await
            }

            async fn transaction<F, T, E>(&self, work: F) -> Result<T, TransactionError<E>>
            where
                F: for<'c> FnOnce(&'c Transaction<$engine>) -> BoxFuture<'c, Result<T, E>> + Send,
                T: Send,
                E: fmt::Display + fmt::Debug + Send,
            {
                let transaction = self.begin().await.map_err(TransactionError::Connection)?;
                over(transaction, work).await
            }

            async fn transaction_with_config<F, T, E>(
                &self,
                work: F,
                isolation_level: Option<IsolationLevel>,
                access_mode: Option<AccessMode>,
            ) -> Result<T, TransactionError<E>>
            where
                F: for<'c> FnOnce(&'c Transaction<$engine>) -> BoxFuture<'c, Result<T, E>> + Send,
                T: Send,
                E: fmt::Display + fmt::Debug + Send,
            {
                let transaction = self.begin_with_config(isolation_level, access_mode).await;
                over(transaction.map_err(TransactionError::Connection)?, work).await
            }
        }
    };
}

macro_rules! begin {
    ($engine:ty, $before:literal) => {
        impl Proxy<$engine> {
            /// What a transaction is to be like is said inside it, or with MySQL before it.
            async fn begun(&self, characteristics: Option<String>) -> Result<Transaction<$engine>, DbErr> {
                let mut session = session_of(self).await?;
                let (before, inside) = if $before { (characteristics, None) } else { (None, characteristics) };
                if let Some(text) = before {
                    (&mut *session).execute(AssertSqlSafe(text)).await.map_err(as_kind(DbErr::Exec))?;
                }
                let begun = OwnedTransaction::begin(*session).await.map_err(as_kind(DbErr::Query))?;
                let begun = Transaction(begun);
                if let Some(text) = inside {
                    begun.execute_unprepared(&text).await?;
                }
                Ok(begun)
            }
        }

        impl Transaction<$engine> {
            /// A savepoint; the server refuses what is not to be said inside of a transaction.
            async fn begun(&self, characteristics: Option<String>) -> Result<Self, DbErr> {
                let begun = Self(self.0.begin_within().await.map_err(as_kind(DbErr::Query))?);
                if let Some(text) = characteristics {
                    begun.execute_unprepared(&text).await?;
                }
                Ok(begun)
            }
        }

        #[async_trait]
        impl TransactionSession for Transaction<$engine> {
            async fn commit(self) -> Result<(), DbErr> {
                self.commit().await
            }

            async fn rollback(self) -> Result<(), DbErr> {
                self.rollback().await
            }
        }
    };
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;
    begin!(sqlx::Postgres, false);
    connection!(sqlx::Postgres, DbBackend::Postgres, Proxy<sqlx::Postgres>, session_of);
    connection!(sqlx::Postgres, DbBackend::Postgres, Transaction<sqlx::Postgres>, session_in);
}

#[cfg(feature = "mysql")]
mod mysql {
    use super::*;
    begin!(sqlx::MySql, true);
    connection!(sqlx::MySql, DbBackend::MySql, Proxy<sqlx::MySql>, session_of);
    connection!(sqlx::MySql, DbBackend::MySql, Transaction<sqlx::MySql>, session_in);
}
