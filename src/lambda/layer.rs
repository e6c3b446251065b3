//! The layer around every invocation.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use lambda_runtime::LambdaInvocation;
use lambda_runtime::tower::{Layer, Service};
use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

use super::attendant::{Attendant, Invoked, Proxies};
use crate::deadline::INVOCATION;
use crate::engine::Engine;
use crate::proxy::Proxy;

/// Kept free at the end of an invocation for the handler to answer with an error of its own.
const MARGIN: Duration = Duration::from_millis(50);

/// A deadline this long ago was never meant: emulators send one of 1970.
const ABSURD: Duration = Duration::from_secs(24 * 3600);

/// Brings a proxy into step with invocations: before each a look at what is idle, around it the deadline, after it, with
/// the response on its way, [`upkeep`](Proxy::upkeep). [`run`](super::run) has it built in.
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
pub struct RdsLayer<DB> {
    proxies: Proxies,
    engine: PhantomData<fn() -> DB>,
}

// By hand: a derived one asks for `DB: Clone`, which no engine is, and `run_concurrent` for a service that can be cloned.
impl<DB> Clone for RdsLayer<DB> {
    fn clone(&self) -> Self {
        Self { proxies: self.proxies.clone(), engine: PhantomData }
    }
}

impl<DB> fmt::Debug for RdsLayer<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdsLayer").finish_non_exhaustive()
    }
}

impl<DB: Engine> RdsLayer<DB> {
    /// A layer for this proxy.
    pub fn new(proxy: Proxy<DB>) -> Self {
        let one: Arc<dyn Attendant> = Arc::new(proxy);
        Self { proxies: Proxies::These(Arc::new([one])), engine: PhantomData }
    }
}

impl RdsLayer<()> {
    /// A layer for the process-wide proxies, whichever there are at the time.
    pub(super) fn process_wide() -> Self {
        Self { proxies: Proxies::ProcessWide, engine: PhantomData }
    }
}

impl<DB, S> Layer<S> for RdsLayer<DB> {
    type Service = RdsService<DB, S>;

    fn layer(&self, inner: S) -> Self::Service {
        RdsService { layer: self.clone(), inner }
    }
}

/// The service that [`RdsLayer`] makes.
#[derive(Debug)]
pub struct RdsService<DB, S> {
    layer: RdsLayer<DB>,
    inner: S,
}

impl<DB, S: Clone> Clone for RdsService<DB, S> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone(), inner: self.inner.clone() }
    }
}

/// What the runtime asks for, and nothing more: neither `Send` nor `'static`.
impl<DB, S: Service<LambdaInvocation, Response = ()>> Service<LambdaInvocation> for RdsService<DB, S> {
    type Response = ();
    type Error = S::Error;
    type Future = Serving<S::Future, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let proxies = self.layer.proxies.clone();
        let invoked = proxies.now().iter().map(|proxy| proxy.invoked()).collect();
        // An invocation without a deadline has one that no budget reaches.
        let left = deadline(invocation.context.deadline(), SystemTime::now()).unwrap_or(ABSURD);
        let work = Box::pin(INVOCATION.scope(Instant::now() + left, self.inner.call(invocation)));
        Serving { proxies, invoked, stage: Stage::Work(work) }
    }
}

/// An invocation under way: the handler's work and then the upkeep.
///
/// # Cancel safety
/// Dropped, the work is dropped, and what it left is brought to rest by the next invocation.
pub struct Serving<F, E> {
    proxies: Proxies,
    invoked: Vec<Box<dyn Invoked>>,
    stage: Stage<F, E>,
}

enum Stage<F, E> {
    Work(Pin<Box<TaskLocalFuture<Instant, F>>>),
    Upkeep { result: Option<Result<(), E>>, upkeep: Pin<Box<dyn Future<Output = ()> + Send>> },
}

// Nothing in it is pinned but what its boxes hold.
impl<F, E> Unpin for Serving<F, E> {}

impl<F, E> Future for Serving<F, E>
where
    F: Future<Output = Result<(), E>>,
{
    type Output = Result<(), E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.stage {
                Stage::Work(work) => {
                    let result = ready!(work.as_mut().poll(context));
                    self.invoked.clear();
                    let upkeep = self.proxies.clone().upkeep();
                    self.stage = Stage::Upkeep { result: Some(result), upkeep };
                }
                Stage::Upkeep { result, upkeep } => {
                    ready!(upkeep.as_mut().poll(context));
                    return result.take().map_or(Poll::Pending, Poll::Ready);
                }
            }
        }
    }
}

impl<F, E> fmt::Debug for Serving<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
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
