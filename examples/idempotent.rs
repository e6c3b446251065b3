//! A step that is done once, whatever fails: a commit without an answer is `Unknown`, and the key that was written in the same
//! transaction tells what became of it.
//!
//! ```sql
//! create table payments (key text primary key, amount bigint not null);
//! ```

use lambda_rds::{Error, Outcome, Postgres, Proxy, Transaction, lambda};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Deserialize;

#[derive(Clone, Deserialize)]
struct Payment {
    key: String,
    amount: i64,
}

/// Whether it was new.
async fn pay(tx: &mut Transaction<'_, Postgres>, payment: &Payment) -> Result<bool, Error> {
    let insert = "insert into payments (key, amount) values ($1, $2) on conflict (key) do nothing";
    let done = sqlx::query(insert).bind(&payment.key).bind(payment.amount).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

async fn once(proxy: &Proxy<Postgres>, payment: &Payment) -> Result<bool, Error> {
    let paid = proxy.transaction(|tx| {
        let payment = payment.clone();
        Box::pin(async move { pay(tx, &payment).await })
    });
    match paid.await {
        // Not run again by itself, for it may have been done. Here it may be: what was done is found by its key.
        Err(error) if error.outcome() == Outcome::Unknown => {
            let mut conn = proxy.get_connection().await?;
            let look = sqlx::query_scalar("select exists (select from payments where key = $1)");
            let is_done: bool = look.bind(&payment.key).fetch_one(&mut conn).await?;
            if is_done { Ok(true) } else { Err(error) }
        }
        paid => paid,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let proxy = &lambda_rds::init::<Postgres>().await?;
    let handler = async |event: LambdaEvent<Payment>| once(proxy, &event.payload).await;
    lambda::run(service_fn(handler)).await
}
