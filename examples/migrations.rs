//! Migrations as a function of their own, which the deployment invokes before it shifts traffic: inside the VPC, with the same
//! credentials, and once, as the migrator holds a lock.
//!
//! In a program of yours the migrations are a folder: `static MIGRATOR: Migrator = sqlx::migrate!("./migrations");`

use std::borrow::Cow;

use lambda_rds::{Error, Postgres, get_connection, lambda};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

fn migrator() -> Migrator {
    let of = |version, description, sql: &'static str| {
        Migration::new(version, Cow::Borrowed(description), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        of(1, "customers", "create table customers (id bigint generated always as identity primary key, name text)"),
        of(2, "their mail", "alter table customers add column mail text"),
    ])
}

/// How many migrations are applied by now.
async fn handler(_: LambdaEvent<Value>) -> Result<i64, Error> {
    let mut conn = get_connection::<Postgres>().await?;
    conn.migrate(&migrator()).await?;
    Ok(sqlx::query_scalar("select count(*) from _sqlx_migrations where success").fetch_one(&mut conn).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    lambda_rds::init::<Postgres>().await?;
    lambda::run(service_fn(handler)).await
}
