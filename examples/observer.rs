//! Seeing what happens: metrics for CloudWatch, an observer of one's own, and the proxy's numbers as a table.

use lambda_rds::metrics::Emf;
use lambda_rds::{Error, Event, Postgres, ProxyBuilder, lambda};
use lambda_runtime::{LambdaEvent, service_fn, tracing};
use serde_json::Value;

/// Called where it happens, so it must not wait: a counter, a line, a channel.
fn watch(event: &Event) {
    match event {
        Event::WriterFound { host, moved: true, elapsed, .. } => {
            tracing::warn!("failed over to {host} in {elapsed:.0?}");
        }
        Event::Pinned { reason, .. } => tracing::info!("pinned: {reason}"),
        _ => {}
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    tracing::init_default_subscriber();
    // The environment's variables first, and what code adds. `Emf` writes a line after each response.
    let builder = ProxyBuilder::<Postgres>::from_env()?.observer(Emf::new("Shop").named("orders")).observer(watch);
    let proxy = &lambda_rds::init_with(builder).await?;
    let handler = async |_: LambdaEvent<Value>| -> Result<String, Error> {
        let mut conn = proxy.get_connection().await?;
        sqlx::query("create temporary table seen (n int)").execute(&mut conn).await?;
        drop(conn);
        Ok(proxy.status().to_string())
    };
    lambda::run(service_fn(handler)).await
}
