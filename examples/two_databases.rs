//! Two databases of one engine: the process-wide one from the environment, and one that is built in code. Each has a layer,
//! which is what `lambda::run` adds for the process-wide ones.

use lambda_rds::lambda::RdsLayer;
use lambda_rds::{Error, Postgres, Proxy};
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let shop = lambda_rds::init::<Postgres>().await?;
    let mut archive = Proxy::<Postgres>::builder().url(std::env::var("ARCHIVE_URL")?).max_connections(1);
    // Without it the roots of RDS are trusted.
    if let Ok(pem) = std::env::var("ARCHIVE_CA_PEM") {
        archive = archive.ca_pem(pem);
    }
    let archive = archive.build()?;

    let (from, to) = (&shop, &archive);
    let handler = async |_: LambdaEvent<Value>| -> Result<Value, Error> {
        let (mut shop, mut archive) = (from.get_connection().await?, to.get_connection().await?);
        let items: Vec<String> = sqlx::query_scalar("select item from orders").fetch_all(&mut shop).await?;
        let mut tx = archive.begin().await?;
        for item in &items {
            sqlx::query("insert into archived values ($1)").bind(item).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(json!({"archived": items.len()}))
    };
    let layers = (RdsLayer::new(shop.clone()), RdsLayer::new(archive.clone()));
    Runtime::new(service_fn(handler)).layer(layers.0).layer(layers.1).run().await
}
