//! The paved path: `lambda_runtime`'s runtime with everything that this crate does around an invocation.

use std::fmt::Debug;
use std::future::Future;

use bytes::Bytes;
use futures_core::Stream;
use lambda_runtime::layers::TracingLayer;
use lambda_runtime::tower::Service;
use lambda_runtime::{Diagnostic, Error, IntoFunctionResponse, LambdaEvent, Runtime};
use serde::{Deserialize, Serialize};

use super::attendant::Proxies;
use super::layer::RdsLayer;
use super::snapstart;
use crate::panicked::caught;

/// Runs a function: [`lambda_runtime::run`] with the process-wide proxies attended to. Around each invocation: a look at
/// what a freeze has left, the deadline; after the response: what was left open is rolled back, what others need more is
/// given back, what is old is closed. At the end of the environment a goodbye for each connection. With SnapStart connections
/// are closed and credentials forgotten before the snapshot.
///
/// ```no_run
/// use lambda_rds::{Error, Postgres, get_connection, lambda};
/// use lambda_runtime::{LambdaEvent, service_fn};
///
/// async fn handler(event: LambdaEvent<String>) -> Result<i64, Error> {
///     let mut conn = get_connection::<Postgres>().await?;
///     let id = sqlx::query_scalar("insert into orders (item) values ($1) returning id");
///     Ok(id.bind(&event.payload).fetch_one(&mut conn).await?)
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), lambda_runtime::Error> {
///     lambda_rds::init::<Postgres>().await?;
///     lambda::run(service_fn(handler)).await
/// }
/// ```
///
/// `lambda_http`'s services are run through its `Adapter`: `lambda::run(lambda_http::Adapter::from(service))`.
///
/// # Errors
/// As [`lambda_runtime::run`]: what the Runtime API refuses. A handler's errors are answers.
///
/// # Panics
/// Without the variables that Lambda sets, as [`lambda_runtime::run`].
///
/// # Cancel safety
/// Not meant to be dropped; dropped, the invocation under way is.
pub async fn run<A, F, R, B, S, D, E>(handler: F) -> Result<(), Error>
where
    F: Service<LambdaEvent<A>, Response = R>,
    F::Future: Future<Output = Result<R, F::Error>>,
    F::Error: Into<Diagnostic> + Debug,
    A: for<'de> Deserialize<'de>,
    R: IntoFunctionResponse<B, S>,
    B: Serialize,
    S: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    goodbye_at_shutdown().await;
    let runtime = Runtime::new(handler).layer(TracingLayer::new()).layer(RdsLayer::process_wide());
    runtime.register_snapstart_resource(snapstart::process_wide()).run().await
}

/// As [`run`], for Lambda Managed Instances too: as many invocations at a time as `AWS_LAMBDA_MAX_CONCURRENCY` says.
/// [`lambda_runtime::run_concurrent`] with the process-wide proxies attended to.
///
/// # Errors
/// As [`run`].
///
/// # Panics
/// As [`run`], and outside of a tokio runtime.
///
/// # Cancel safety
/// As [`run`].
pub async fn run_concurrent<A, F, R, B, S, D, E>(handler: F) -> Result<(), Error>
where
    F: Service<LambdaEvent<A>, Response = R> + Clone + Send + 'static,
    F::Future: Future<Output = Result<R, F::Error>> + Send + 'static,
    F::Error: Into<Diagnostic> + Debug,
    A: for<'de> Deserialize<'de> + Send + 'static,
    R: IntoFunctionResponse<B, S> + Send + 'static,
    B: Serialize + Send + 'static,
    S: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send + 'static,
    E: Into<Error> + Send + Debug + 'static,
{
    goodbye_at_shutdown().await;
    let runtime = Runtime::new(handler).layer(TracingLayer::new()).layer(RdsLayer::process_wide());
    runtime.register_snapstart_resource(snapstart::process_wide()).run_concurrent().await
}

/// Lambda sends `SIGTERM` to a function only when an extension is registered. Emulators without an Extensions API are no
/// reason not to serve.
async fn goodbye_at_shutdown() {
    #[cfg(unix)]
    {
        let registered = lambda_runtime::spawn_graceful_shutdown_handler(|| Proxies::ProcessWide.close());
        if let Err(panicked) = caught("the registration for a goodbye", registered).await {
            tracing::warn!(target: "lambda_rds", %panicked, "connections will be closed without a goodbye");
        }
    }
}
