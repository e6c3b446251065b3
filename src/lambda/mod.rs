//! The life of a function: what this crate does at which moment.
//!
//! ```text
//! init       init::<DB>()                 credentials, DNS, TLS, login
//! invoke     layer: thaw check, deadline   a look at idle sockets; waits end with the invocation
//!            handler                       get_connection(), statements
//!            response is sent
//!            layer: upkeep                 dropped transactions rolled back, dials ended
//! freeze     nothing runs
//! shutdown   shutdown()                    a goodbye per connection
//! ```
//!
//! The layer wraps the service *after* the response was posted and before the next event is asked for; that is the only
//! moment between the answer and the freeze.

mod attendant;
mod diagnostic;
#[cfg(feature = "http")]
mod http;
mod layer;
mod run;
mod snapstart;

#[cfg(feature = "http")]
pub use http::run_http;
pub use layer::{RdsLayer, RdsService, Serving};
pub use run::{run, run_concurrent};

use crate::engine::Engine;
use crate::proxy::Proxy;

/// Closes `proxy` when Lambda ends this environment. Await it in `main`, before the runtime runs.
///
/// Lambda sends `SIGTERM` to a function only when an extension is registered; `lambda_runtime` registers an empty one
/// here, and gives 300-500 ms: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>.
///
/// # Panics
/// Outside Lambda: `lambda_runtime` panics where there is no Extensions API (`cargo lambda watch` has one).
///
/// # Cancel safety
/// Dropped before it is ready, nothing is registered.
#[cfg(unix)]
pub async fn close_on_shutdown<DB: Engine>(proxy: Proxy<DB>) {
    lambda_runtime::spawn_graceful_shutdown_handler(move || async move { proxy.close().await }).await;
}
