//! Writes go to the writer, and what may be a moment old is read from a reader of the cluster.
//!
//! With `LAMBDA_RDS_READER_FALLBACK=true` the writer stands in where there is no reader.

use lambda_rds::{Error, Postgres, get_connection, get_reader, lambda};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let item = event.payload["item"].as_str().unwrap_or_default();
    let mut writer = get_connection::<Postgres>().await?;
    let insert = sqlx::query_scalar("insert into orders (item) values ($1) returning id");
    let id: i64 = insert.bind(item).fetch_one(&mut writer).await?;

    // Not for what was written just now: a reader may not have it yet.
    let mut reader = get_reader::<Postgres>().await?;
    let orders: i64 = sqlx::query_scalar("select count(*) from orders").fetch_one(&mut reader).await?;
    Ok(json!({"id": id, "orders": orders}))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    lambda_rds::init::<Postgres>().await?;
    lambda::run(service_fn(handler)).await
}
