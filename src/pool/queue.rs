//! A caller's place in the queue.

use tokio::sync::oneshot::error::RecvError;
use tokio::task::yield_now;
use tokio::time::timeout_at;

use super::ledger::Physical;
use super::{Connect, Lease, Pool, Receiver};
use crate::deadline::Deadline;
use crate::error::Error;

type Handed<C> = Result<Box<Physical<<C as Connect>::Conn>>, Error>;

/// A place in the queue. Dropped, it is given up, and what had been handed over already goes to the next.
pub(super) struct Waiter<C: Connect> {
    pub(super) pool: Pool<C>,
    pub(super) id: u64,
    pub(super) receiver: Option<Receiver<C>>,
}

impl<C: Connect> Waiter<C> {
    /// Waits for a connection, and dials where a slot has become vacant meanwhile.
    pub(super) async fn served(mut self, deadline: Deadline) -> Result<Lease<C>, Error> {
        let mut deadline = deadline;
        let served = loop {
            let served = timeout_at(deadline.instant(), self.handed_over()).await;
            // While the writer is being searched for, nothing is gained by giving up early.
            match self.pool.0.connector.patience().map(|patience| deadline.extended(patience)) {
                Some(extended) if served.is_err() && !extended.remaining().is_zero() => deadline = extended,
                _ => break served,
            }
        };
        let served = match served {
            Ok(served) => Some(served),
            Err(_) => self.handed_over_late().await.map(Ok),
        };
        match served {
            Some(Ok(Ok(physical))) => {
                self.receiver = None;
                Ok(self.pool.lend(physical, self.pool.0.clock.now()))
            }
            Some(Ok(Err(error))) => Err(error),
            // The sender goes only with the ledger.
            Some(Err(_)) => Err(Error::Closed),
            // Told before the place is given up, so that the numbers count the one who reports.
            None => Err(self.pool.exhausted(deadline)),
        }
    }

    /// After a freeze, or on a machine that is late, the time of a caller and of its dial are over at once. The dial is let
    /// speak first, for it knows why there is no connection.
    async fn handed_over_late(&mut self) -> Option<Handed<C>> {
        yield_now().await;
        self.receiver.as_mut()?.try_recv().ok()
    }

    async fn handed_over(&mut self) -> Result<Handed<C>, RecvError> {
        let Some(receiver) = &mut self.receiver else { return Ok(Err(Error::Closed)) };
        loop {
            tokio::select! {
                biased;
                handed = &mut *receiver => return handed,
                () = self.pool.0.vacancy.notified() => self.pool.dial_for_waiters(),
            }
        }
    }
}

impl<C: Connect> Drop for Waiter<C> {
    fn drop(&mut self) {
        let Some(mut receiver) = self.receiver.take() else { return };
        if !self.pool.lock().withdraw(self.id) {
            receiver.close();
            if let Ok(Ok(physical)) = receiver.try_recv() {
                self.pool.come_home(physical);
            }
        }
    }
}
