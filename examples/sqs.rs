//! A batch of an SQS queue: messages that failed are reported one by one, and only those come again.
//!
//! `ReportBatchItemFailures` has to be on at the event source. The table has the message's identifier as its key, so that one
//! that comes twice is done once.

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_rds::{Error, Postgres, Proxy, Transaction, lambda};
use lambda_runtime::{LambdaEvent, service_fn};

async fn handle(tx: &mut Transaction<'_, Postgres>, id: &str, body: &str) -> Result<(), Error> {
    let insert = "insert into messages (id, body) values ($1, $2) on conflict (id) do nothing";
    sqlx::query(insert).bind(id).bind(body).execute(&mut **tx).await?;
    Ok(())
}

async fn handle_message(proxy: &Proxy<Postgres>, message: SqsMessage) -> Result<(), Error> {
    let (id, body) = (message.message_id.unwrap_or_default(), message.body.unwrap_or_default());
    // Run again by itself after a failover, a deadlock, a serialization failure.
    proxy
        .transaction(|tx| {
            let (id, body) = (id.clone(), body.clone());
            Box::pin(async move { handle(tx, &id, &body).await })
        })
        .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let proxy = &lambda_rds::init::<Postgres>().await?;
    let handler = async |event: LambdaEvent<SqsEvent>| -> Result<SqsBatchResponse, Error> {
        let mut failed = SqsBatchResponse::default();
        for message in event.payload.records {
            let id = message.message_id.clone().unwrap_or_default();
            if let Err(error) = handle_message(proxy, message).await {
                lambda_runtime::tracing::warn!("message {id} comes again: {error:?}");
                let mut item = BatchItemFailure::default();
                item.item_identifier = id;
                failed.batch_item_failures.push(item);
            }
        }
        Ok(failed)
    };
    lambda::run(service_fn(handler)).await
}
