//! The function: what runs in each environment's process. This binary is started again for it, told who it is by its
//! environment.

use std::time::Duration;

use lambda_rds::lambda::RdsLayer;
use lambda_rds::{MySql, Postgres, get_connection};
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use serde_json::Value;
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Pool};

use crate::engine::Fleet;
use crate::subject::Subject;

/// The subject's name, for a process that is a function.
pub(crate) const MODE: &str = "FLEET_FUNCTION";
/// How long a statement keeps the database busy, in milliseconds.
pub(crate) const BUSY: &str = "FLEET_BUSY";
/// How long to wait for a connection, in milliseconds, for those that have no variable of their own for it.
pub(crate) const PATIENCE: &str = "FLEET_PATIENCE";
/// Where the database is; all read ours.
pub(crate) const URL: &str = "LAMBDA_RDS_URL";
pub(crate) const ROOTS: &str = "LAMBDA_RDS_CA_PEM";

pub(crate) type Outcome = Result<(), lambda_runtime::Error>;

pub(crate) fn asked_for() -> Option<String> {
    std::env::var(MODE).ok()
}

/// Serves until the environment ends.
pub(crate) fn run(mode: &str) -> Outcome {
    let subject = Subject::named(mode).expect("the service names a subject");
    if variable(URL).starts_with("mysql") { serve::<MySql>(subject) } else { serve::<Postgres>(subject) }
}

#[tokio::main(flavor = "current_thread")]
async fn serve<DB: Fleet>(subject: Subject) -> Outcome
where
    for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
{
    // What the invoker of a failed invocation is not told stands in the log.
    lambda_runtime::tracing::init_default_subscriber();
    let busy = Duration::from_millis(variable(BUSY).parse().expect("a number")).as_secs_f64();
    let sql: &'static str = DB::statement(busy).leak();
    match subject {
        Subject::Ours | Subject::OursPooled => ours::<DB>(sql).await,
        Subject::Pool => pool::<DB>(sql, false).await,
        Subject::PoolPooled => pool::<DB>(sql, true).await,
        Subject::Each => each::<DB>(sql).await,
    }
}

/// As the quickstart.
async fn ours<DB: Fleet>(sql: &'static str) -> Outcome {
    let handler = async move |_: LambdaEvent<Value>| -> Result<i64, lambda_rds::Error> {
        let mut conn = get_connection::<DB>().await?;
        Ok(DB::ask_session(&mut conn, sql).await?)
    };
    let proxy = lambda_rds::init::<DB>().await?;
    Runtime::new(service_fn(handler)).layer(RdsLayer::new(proxy)).run().await
}

/// As one writes it by hand: a pool beside the handler, which connects when it is first asked.
async fn pool<DB: Fleet>(sql: &'static str, simply: bool) -> Outcome {
    let patience = Duration::from_millis(variable(PATIENCE).parse()?);
    let pool: Pool<DB> = PoolOptions::new()
        .max_connections(1)
        .acquire_timeout(patience)
        .connect_lazy_with(DB::options(&variable(URL), variable(ROOTS)));
    let pool = &pool;
    let handler = async |_: LambdaEvent<Value>| -> Result<i64, lambda_runtime::Error> {
        let mut conn = pool.acquire().await?;
        Ok(if simply { DB::ask_simply(&mut conn, sql).await? } else { DB::ask(&mut conn, sql).await? })
    };
    lambda_runtime::run(service_fn(handler)).await
}

/// As one writes it by hand who has heard that Lambda has no place for a pool.
async fn each<DB: Fleet>(sql: &'static str) -> Outcome {
    let options = DB::options(&variable(URL), variable(ROOTS));
    let handler = async |_: LambdaEvent<Value>| -> Result<i64, lambda_runtime::Error> {
        let mut conn = DB::Connection::connect_with(&options).await?;
        let session = DB::ask(&mut conn, sql).await?;
        conn.close().await?;
        Ok(session)
    };
    lambda_runtime::run(service_fn(handler)).await
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("the service sets {name}"))
}
