//! A streamed response: rows leave while the database still finds others. The session moves into the stream, and its
//! connection goes home when the stream ends.

use futures_util::TryStreamExt;
use lambda_rds::{Error, Postgres, get_connection, lambda};
use lambda_runtime::streaming::{Body, Response, channel};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

async fn handler(_: LambdaEvent<Value>) -> Result<Response<Body>, Error> {
    let mut conn = get_connection::<Postgres>().await?;
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        let mut rows = sqlx::query_scalar::<_, String>("select item from orders order by id").fetch(&mut conn);
        loop {
            match rows.try_next().await {
                Ok(Some(item)) if sender.send_data(format!("{item}\n").into()).await.is_ok() => {}
                // The client has gone, or there is no more.
                Ok(_) => return,
                Err(error) => {
                    lambda_runtime::tracing::error!("the stream was cut: {error:?}");
                    return sender.abort();
                }
            }
        }
    });
    Ok(Response::from(body))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    lambda_rds::init::<Postgres>().await?;
    lambda::run(service_fn(handler)).await
}
