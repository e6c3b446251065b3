//! A function for Lambda Managed Instances: one environment serves many invocations at a time, over fewer connections.
//!
//! On classic Lambda it serves one at a time, as `quickstart.rs` does; the table is the same.

use lambda_rds::{Error, Postgres, get_connection, lambda};
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
    tenant: String,
}

async fn handler(event: LambdaEvent<Order>) -> Result<Receipt, Error> {
    let mut conn = get_connection::<Postgres>().await?;
    // The session's own, whatever connection its statements run on.
    let tenant = "select set_config('app.tenant', $1, true)";
    let mut tx = conn.begin().await?;
    sqlx::query(tenant).bind(&event.payload.item).execute(&mut *tx).await?;
    let (id, tenant) =
        sqlx::query_as("insert into orders (item) values ($1) returning id, current_setting('app.tenant')")
            .bind(&event.payload.item)
            .fetch_one(&mut *tx)
            .await?;
    tx.commit().await?;
    let item = sqlx::query_scalar("select item from orders where id = $1").bind(id).fetch_one(&mut conn).await?;
    Ok(Receipt { id, item, tenant })
}

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    lambda_rds::init::<Postgres>().await?;
    lambda::run_concurrent(service_fn(handler)).await
}
