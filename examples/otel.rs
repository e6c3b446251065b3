//! One trace of an invocation and of what it does: `lambda_runtime`'s layer has the span of the invocation, this crate's feature
//! `otel` those of statements and connects in it.

use lambda_rds::lambda::RdsLayer;
use lambda_rds::{Error, Postgres, get_connection};
use lambda_runtime::layers::OpenTelemetryLayer;
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

async fn handler(_: LambdaEvent<Value>) -> Result<i64, Error> {
    let mut conn = get_connection::<Postgres>().await?;
    Ok(sqlx::query_scalar("select count(*) from orders").fetch_one(&mut conn).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    // In the place of stdout: an OTLP exporter to a collector, or to the extension that Lambda's layers bring.
    let exporter = opentelemetry_stdout::SpanExporter::default();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let tracer = provider.tracer("orders");
    let spans = tracing_opentelemetry::layer().with_tracer(tracer);
    // The function's log, beside the spans.
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(LevelFilter::INFO).with(spans).with(log).init();
    let proxy = lambda_rds::init::<Postgres>().await?;
    // The one added last is around the others: its span has theirs in it, and it flushes when all is done, before the freeze.
    let flush = move || {
        if let Err(error) = provider.force_flush() {
            tracing::warn!("spans were not sent: {error}");
        }
    };
    Runtime::new(service_fn(handler)).layer(RdsLayer::new(proxy)).layer(OpenTelemetryLayer::new(flush)).run().await
}
