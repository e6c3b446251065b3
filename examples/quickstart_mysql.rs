//! A function that writes an order, reads it back, and answers with it.
//!
//! As `quickstart.rs`, on MySQL or MariaDB. Run it on a local stage with `sh examples/demo.sh --engine mysql`, or under `cargo lambda watch` as `src/guide/local.md` shows. It needs one
//! variable that says where the database is (see `src/guide/configuration.md`) and a table:
//! `create table orders (id bigint unsigned auto_increment primary key, item text not null)`.

use lambda_rds::{MySql, get_connection, lambda};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    item: String,
}

#[derive(Serialize)]
struct Receipt {
    id: u64,
    item: String,
}

async fn handler(event: LambdaEvent<Order>) -> Result<Receipt, lambda_rds::Error> {
    let mut conn = get_connection::<MySql>().await?;
    let done = sqlx::query("insert into orders (item) values (?)").bind(&event.payload.item).execute(&mut conn).await?;
    // The answer to the insert tells it; `LAST_INSERT_ID()` would have to ask the same connection.
    let id = done.last_insert_id();
    let item = sqlx::query_scalar("select item from orders where id = ?").bind(id).fetch_one(&mut conn).await?;
    Ok(Receipt { id, item })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    // What the invoker of a failed invocation is not told stands in the log.
    lambda_runtime::tracing::init_default_subscriber();
    // Credentials, DNS, TLS and login in the init phase.
    lambda_rds::init::<MySql>().await?;
    lambda::run(service_fn(handler)).await
}
