//! A dirty connection on its way back to rest. The recovery belongs to the pool, not to whoever began it: the locks that
//! the connection holds may be what its beginner waits for on another connection.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::{Connect, Lease, Pool};
use crate::error::Purpose;

/// Those under way.
#[derive(Debug, Default)]
pub(super) struct Recoveries {
    count: watch::Sender<usize>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Recoveries {
    /// Waits until none is under way.
    pub(super) async fn ended(&self) {
        // The sender is this one's.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Ends them half way: their connections go home as they are, and whoever comes next begins again.
    pub(super) fn abort(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            task.abort();
        }
    }

    fn add(&self, task: AbortHandle) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }
}

/// Counts a recovery as long as it lives, whatever ends it.
struct UnderWay<C: Connect>(Pool<C>);

impl<C: Connect> UnderWay<C> {
    fn new(pool: Pool<C>) -> Self {
        pool.0.recoveries.count.send_modify(|count| *count += 1);
        Self(pool)
    }
}

impl<C: Connect> Drop for UnderWay<C> {
    fn drop(&mut self) {
        self.0.0.recoveries.count.send_modify(|count| *count -= 1);
    }
}

impl<C: Connect> Pool<C> {
    /// Brings a dirty connection to rest; `None` when that failed and it is gone, or nobody is left to do it and it is at
    /// home again.
    ///
    /// # Cancel safety
    /// It goes on, and the connection goes home.
    pub(super) fn recover(&self, lease: Lease<C>) -> impl Future<Output = Option<Lease<C>>> + Send + use<C> {
        let (hand, recovered) = oneshot::channel();
        lease.note(Purpose::Check);
        // Dropped after the lease, wherever it is ended.
        let under_way = UnderWay::new(self.clone());
        let recovery = tokio::spawn(async move {
            let under_way = under_way;
            // What nobody takes goes home, or is gone.
            let _ = hand.send(under_way.0.check(lease).await);
        });
        self.0.recoveries.add(recovery.abort_handle());
        async move { recovered.await.ok().flatten() }
    }

    /// Begins to bring to rest what lies there dirty, all but one: that is for the caller.
    pub(super) fn recover_all_but_one(&self) {
        let now = self.0.clock.now();
        while let Some(physical) = { self.lock().take_spare_dirty(now) } {
            drop(self.recover(self.lend(physical, now)));
        }
    }
}
