//! A step that is done once, whatever fails: a commit without an answer is `Unknown`, and the key that is written in the same
//! transaction makes it harmless to do the step again.
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

/// A payment that is there already stays as it is.
async fn pay(tx: &mut Transaction<'_, Postgres>, payment: &Payment) -> Result<(), Error> {
    let insert = "insert into payments (key, amount) values ($1, $2) on conflict (key) do nothing";
    sqlx::query(insert).bind(&payment.key).bind(payment.amount).execute(&mut **tx).await?;
    Ok(())
}

/// The payment is in the table, by this call or by an earlier one.
async fn once(proxy: &Proxy<Postgres>, payment: &Payment) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let paid = proxy.transaction(|tx| {
            let payment = payment.clone();
            Box::pin(async move { pay(tx, &payment).await })
        });
        match paid.await {
            // By itself it is not run again, for it may have been done. The key makes that harmless: the second insert waits for a
            // first one that is still under way, and changes nothing then.
            Err(error) if error.outcome() == Outcome::Unknown && tries < 3 => {}
            paid => return paid,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let proxy = &lambda_rds::init::<Postgres>().await?;
    let handler = async |event: LambdaEvent<Payment>| once(proxy, &event.payload).await;
    lambda::run(service_fn(handler)).await
}
