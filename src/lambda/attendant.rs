//! Proxies as the layer sees them: of whatever engine, and however many.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::engine::Engine;
use crate::proxy::{Proxy, installed};

/// Something that has to be told of invocations.
pub(super) trait Attendant: Send + Sync {
    /// One begins, perhaps after a freeze. It ends when what is returned is dropped.
    fn invoked(&self) -> Box<dyn Invoked>;

    /// The response is on its way.
    fn upkeep(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// A snapshot is about to be taken.
    fn before_snapshot(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// The environment was made of a snapshot.
    fn restored(&self);

    /// The environment ends.
    fn close(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// An invocation under way, for as long as it is there.
pub(super) trait Invoked: Send {}

impl<T: Send> Invoked for T {}

impl<DB: Engine> Attendant for Proxy<DB> {
    fn invoked(&self) -> Box<dyn Invoked> {
        self.thawed();
        Box::new(Self::invoked(self))
    }

    fn upkeep(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { Self::upkeep(&self).await })
    }

    fn before_snapshot(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { Self::before_snapshot(&self).await })
    }

    fn restored(&self) {
        Self::restored(self);
    }

    fn close(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { Self::close(&self).await })
    }
}

/// The process-wide proxy of an engine, if there is one.
type Known = fn() -> Option<Arc<dyn Attendant>>;

/// Which they are.
#[derive(Clone)]
pub(super) enum Proxies {
    These(Arc<[Arc<dyn Attendant>]>),
    /// Those that the process has at the time: the first call of `get_connection` makes one.
    ProcessWide,
}

impl Proxies {
    pub(super) fn now(&self) -> Arc<[Arc<dyn Attendant>]> {
        match self {
            Self::These(proxies) => Arc::clone(proxies),
            Self::ProcessWide => {
                let engines: &[Known] = &[
                    #[cfg(feature = "postgres")]
                    process_wide::<sqlx::Postgres>,
                    #[cfg(feature = "mysql")]
                    process_wide::<sqlx::MySql>,
                ];
                engines.iter().filter_map(|proxy| proxy()).collect()
            }
        }
    }

    pub(super) fn upkeep(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            join_all(self.now().iter().cloned().map(Attendant::upkeep)).await;
        })
    }

    pub(super) async fn close(self) {
        join_all(self.now().iter().cloned().map(Attendant::close)).await;
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn process_wide<DB: Engine>() -> Option<Arc<dyn Attendant>> {
    let proxy: Arc<dyn Attendant> = Arc::new(installed::<DB>()?.clone());
    Some(proxy)
}
