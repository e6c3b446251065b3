//! The layer around every invocation.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use lambda_runtime::LambdaInvocation;
use lambda_runtime::tower::{Layer, Service};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::proxy::Proxy;
use crate::retry::INVOCATION;

/// Kept free at the end of an invocation for the handler to answer with an error of its own.
const MARGIN: Duration = Duration::from_millis(50);

/// A deadline this long ago was never meant: emulators send one of 1970.
const ABSURD: Duration = Duration::from_secs(24 * 3600);

/// Brings a proxy into step with invocations: before each a look at what is idle, around it the deadline, after it, with
/// the response on its way, [`upkeep`](Proxy::upkeep).
///
/// ```no_run
/// use lambda_rds::{Postgres, lambda::RdsLayer};
/// use lambda_runtime::{LambdaEvent, Runtime, service_fn};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), lambda_runtime::Error> {
///     let proxy = lambda_rds::init::<Postgres>().await?;
///     let handler = service_fn(async |_: LambdaEvent<()>| Ok::<(), lambda_rds::Error>(()));
///     Runtime::new(handler).layer(RdsLayer::new(proxy)).run().await
/// }
/// ```
#[derive(Debug)]
pub struct RdsLayer<DB: Engine> {
    proxy: Proxy<DB>,
}

// By hand: a derived one asks for `DB: Clone`, which no engine is, and `run_concurrent` for a service that can be cloned.
impl<DB: Engine> Clone for RdsLayer<DB> {
    fn clone(&self) -> Self {
        Self { proxy: self.proxy.clone() }
    }
}

impl<DB: Engine> RdsLayer<DB> {
    /// A layer for this proxy.
    pub fn new(proxy: Proxy<DB>) -> Self {
        Self { proxy }
    }
}

impl<DB: Engine, S> Layer<S> for RdsLayer<DB> {
    type Service = RdsService<DB, S>;

    fn layer(&self, inner: S) -> Self::Service {
        RdsService { proxy: self.proxy.clone(), inner }
    }
}

/// The service that [`RdsLayer`] makes.
#[derive(Debug)]
pub struct RdsService<DB: Engine, S> {
    proxy: Proxy<DB>,
    inner: S,
}

impl<DB: Engine, S: Clone> Clone for RdsService<DB, S> {
    fn clone(&self) -> Self {
        Self { proxy: self.proxy.clone(), inner: self.inner.clone() }
    }
}

impl<DB: Engine, S> Service<LambdaInvocation> for RdsService<DB, S>
where
    S: Service<LambdaInvocation, Response = ()>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = ();
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        self.proxy.thawed();
        let deadline = deadline(invocation.context.deadline(), SystemTime::now());
        let work = self.inner.call(invocation);
        let proxy = self.proxy.clone();
        Box::pin(async move {
            let result = match deadline {
                Some(left) => INVOCATION.scope(Instant::now() + left, work).await,
                None => work.await,
            };
            proxy.upkeep().await;
            result
        })
    }
}

/// What is left of the invocation, judged once by the wall clock; `None` when the deadline cannot be meant.
fn deadline(deadline: SystemTime, now: SystemTime) -> Option<Duration> {
    match deadline.duration_since(now) {
        Ok(left) => Some(left.saturating_sub(MARGIN)),
        Err(past) if past.duration() > ABSURD => None,
        Err(_) => Some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_1970_is_none_and_one_just_past_is_over() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (at, left) in [
            (now + Duration::from_secs(3), Some(Duration::from_millis(2950))),
            (now + Duration::from_millis(20), Some(Duration::ZERO)),
            (now - Duration::from_secs(1), Some(Duration::ZERO)),
            (SystemTime::UNIX_EPOCH + Duration::from_secs(600), None),
            (SystemTime::UNIX_EPOCH, None),
        ] {
            assert_eq!(deadline(at, now), left);
        }
    }
}
