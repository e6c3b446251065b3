//! Lambda SnapStart: an environment is made of a snapshot that was taken after the init phase, and so are many others.
//! <https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html>

use std::sync::Arc;

use futures_util::future::join_all;
use lambda_runtime::{BoxFuture, Error, SnapStartResource};

use super::attendant::{Attendant, Proxies};
use crate::engine::Engine;
use crate::proxy::Proxy;

/// Connections are closed and credentials forgotten before the snapshot. What is drawn at random is seeded by the system whenever it
/// is needed, so that environments of one snapshot do not knock at the same moments. The first invocation connects, with credentials of its own. [`run`](super::run) has it built in; with a runtime of one's own,
/// `Runtime::new(handler).layer(..).register_snapstart_resource(Arc::new(proxy))`.
impl<DB: Engine> SnapStartResource for Proxy<DB> {
    fn before_snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            Self::before_snapshot(self).await;
            Ok(())
        })
    }

    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        Self::restored(self);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl SnapStartResource for Proxies {
    fn before_snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        let proxies = self.now();
        Box::pin(async move {
            join_all(proxies.iter().cloned().map(Attendant::before_snapshot)).await;
            Ok(())
        })
    }

    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.now().iter().for_each(|proxy| proxy.restored());
        Box::pin(std::future::ready(Ok(())))
    }
}

/// As the runtime wants it.
pub(super) fn process_wide() -> Arc<dyn SnapStartResource> {
    Arc::new(Proxies::ProcessWide)
}
