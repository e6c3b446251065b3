//! A function that writes an order, reads it back, and answers with it.
//!
//! Run it on a local stage with `sh examples/demo.sh`, or under `cargo lambda watch` as `src/guide/local.md` shows. It needs one
//! variable that says where the database is (see `src/guide/configuration.md`) and a table:
//! `create table orders (id bigint generated always as identity primary key, item text not null)`.

use lambda_rds::{Postgres, get_connection, lambda};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    item: String,
}

#[derive(Serialize)]
struct Receipt {
    id: i64,
    item: String,
}

async fn handler(event: LambdaEvent<Order>) -> Result<Receipt, lambda_rds::Error> {
    let mut conn = get_connection::<Postgres>().await?;
    let id: i64 = sqlx::query_scalar("insert into orders (item) values ($1) returning id")
        .bind(&event.payload.item)
        .fetch_one(&mut conn)
        .await?;
    let item = sqlx::query_scalar("select item from orders where id = $1").bind(id).fetch_one(&mut conn).await?;
    Ok(Receipt { id, item })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    // What the invoker of a failed invocation is not told stands in the log.
    lambda_runtime::tracing::init_default_subscriber();
    // Credentials, DNS, TLS and login in the init phase.
    lambda_rds::init::<Postgres>().await?;
    lambda::run(service_fn(handler)).await
}
