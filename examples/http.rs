//! An HTTP API: axum's router, behind API Gateway, a load balancer or a function URL.
//!
//! It takes the feature `http` and `axum = { version = "0.8", default-features = false }`. The table is the quickstart's.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lambda_rds::{Error, Outcome, Postgres, get_connection, lambda};

/// What the caller is told: whether it helps to try again, and nothing of the database.
struct Failure(Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        lambda_runtime::tracing::error!("{:?}", self.0);
        match self.0.outcome() {
            Outcome::NotExecuted | Outcome::RolledBack if self.0.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
        .into_response()
    }
}

async fn add(item: String) -> Result<String, Failure> {
    let mut conn = get_connection::<Postgres>().await?;
    let insert = sqlx::query_scalar("insert into orders (item) values ($1) returning id");
    let id: i64 = insert.bind(item).fetch_one(&mut conn).await?;
    Ok(id.to_string())
}

async fn show(Path(id): Path<i64>) -> Result<Response, Failure> {
    let mut conn = get_connection::<Postgres>().await?;
    let select = sqlx::query_scalar("select item from orders where id = $1");
    let item: Option<String> = select.bind(id).fetch_optional(&mut conn).await?;
    Ok(item.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    lambda_rds::init::<Postgres>().await?;
    lambda::run_http(Router::new().route("/orders", post(add)).route("/orders/{id}", get(show))).await
}
