//! Credentials from a place of one's own, here a file that something else renews.
//!
//! The provider is asked whenever a connection is made, so it may be slow, and should remember. After a refusal it is asked
//! again, with the refused ones in the request.

use lambda_rds::credentials::{CredentialsFuture, CredentialsRequest};
use lambda_rds::{Credentials, CredentialsError, CredentialsProvider, Error, Postgres, ProxyBuilder, lambda};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

#[derive(Debug)]
struct File(String);

impl CredentialsProvider for File {
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        Box::pin(async move {
            let password =
                std::fs::read_to_string(&self.0).map_err(|error| CredentialsError::Provider(error.into()))?;
            let credentials = Credentials::new(request.user.as_deref().unwrap_or("app"), password.trim());
            // The same as were refused: there are no others, and the database's answer is the error.
            if request.refused.contains(&credentials) { Err(CredentialsError::Exhausted) } else { Ok(credentials) }
        })
    }
}

async fn handler(_: LambdaEvent<Value>) -> Result<String, Error> {
    let mut conn = lambda_rds::get_connection::<Postgres>().await?;
    Ok(sqlx::query_scalar("select current_user::text").fetch_one(&mut conn).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let file = File(std::env::var("PASSWORD_FILE")?);
    lambda_rds::init_with(ProxyBuilder::<Postgres>::from_env()?.credentials(file)).await?;
    lambda::run(service_fn(handler)).await
}
