//! HTTP APIs.

use std::fmt::Debug;

use lambda_http::{Adapter, IntoResponse, Request};
use lambda_runtime::tower::Service;
use lambda_runtime::{Diagnostic, Error};

/// As [`run`](super::run), for a service of HTTP requests, such as axum's router, behind API Gateway, a load balancer or a
/// function URL: [`lambda_http::run`] with the process-wide proxies attended to.
///
/// ```no_run
/// use lambda_http::{Body, Request, Response, service_fn};
/// use lambda_rds::{Postgres, get_connection, lambda};
///
/// async fn handler(_: Request) -> Result<Response<Body>, lambda_rds::Error> {
///     let mut conn = get_connection::<Postgres>().await?;
///     let orders: i64 = sqlx::query_scalar("select count(*) from orders").fetch_one(&mut conn).await?;
///     Ok(Response::new(Body::from(orders.to_string())))
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), lambda_runtime::Error> {
///     lambda_rds::init::<Postgres>().await?;
///     lambda::run_http(service_fn(handler)).await
/// }
/// ```
///
/// # Errors
/// As [`run`](super::run).
///
/// # Panics
/// As [`run`](super::run).
///
/// # Cancel safety
/// As [`run`](super::run).
pub async fn run_http<'a, R, S, E>(service: S) -> Result<(), Error>
where
    S: Service<Request, Response = R, Error = E>,
    S::Future: Send + 'a,
    R: IntoResponse,
    E: Debug + Into<Diagnostic>,
{
    super::run(Adapter::from(service)).await
}
