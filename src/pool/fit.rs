//! The long road to a lease: one at rest, one that comes home or one that is dialled, and what must happen to it before it is lent.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::MutexGuard;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::fitness::Fitness;
use super::ledger::Ledger;
use super::queue::Waiter;
use super::{Connect, Lease, Peek, Pool, Sender, Standing};
use crate::deadline::Deadline;
use crate::error::{Error, Phase};
use crate::event::{Discard, Event};

/// A check that takes longer than this gets a dial beside it; the first that is done wins. A check that answers at all
/// answers within a round trip, so an ordinary thaw costs no second connection.
const HEDGE: Duration = Duration::from_millis(25);

impl<C: Connect> Pool<C> {
    /// As [`lease_fit`](Self::lease_fit), within `borrow_timeout` and the invocation, and counted.
    pub(super) async fn lease_in_time(&self) -> Result<Lease<C>, Error> {
        let deadline = Deadline::for_invocation(self.0.settings.borrow_timeout)
            .map_err(|close| Error::too_close(Phase::Waiting, close))?;
        let lease = self.lease_fit(deadline, false).await?;
        self.0.meter.borrows.record(deadline.spent());
        Ok(lease)
    }

    /// The long road: one at rest, one that comes home or one that is dialled, and fit to be lent.
    pub(super) async fn lease_fit(&self, deadline: Deadline, mut served_before: bool) -> Result<Lease<C>, Error> {
        loop {
            self.recover_all_but_one();
            let lease = match self.take_or_queue(served_before)? {
                Taken::Lease(lease) => lease,
                Taken::Queued(waiter) => waiter.served(deadline).await?,
            };
            if let Some(lease) = self.fit(lease, deadline).await? {
                return Ok(lease);
            }
            served_before = true;
        }
    }

    fn take_or_queue(&self, served_before: bool) -> Result<Taken<C>, Error> {
        let now = self.0.clock.now();
        let mut ledger = self.lock();
        if ledger.is_closed() {
            return Err(Error::Closed);
        }
        if let Some(physical) = ledger.take(now) {
            drop(ledger);
            return Ok(Taken::Lease(self.lend(physical, now)));
        }
        Ok(Taken::Queued(self.queue(ledger, served_before)))
    }

    fn queue(&self, mut ledger: MutexGuard<'_, Ledger<C::Conn, Sender<C>>>, served_before: bool) -> Waiter<C> {
        let (sender, receiver) = oneshot::channel();
        let id = ledger.enqueue(sender, served_before);
        drop(ledger);
        self.dial_for_waiters();
        Waiter { pool: self.clone(), id, receiver: Some(receiver) }
    }

    /// What must happen to a connection before it is lent; `None` when it was not fit and is gone.
    async fn fit(&self, lease: Lease<C>, deadline: Deadline) -> Result<Option<Lease<C>>, Error> {
        if lease.is_foreign() {
            return Ok(lease.discard_foreign());
        }
        let now = self.0.clock.now();
        let past = lease.physical().past;
        if let Some(frozen) = now.frozen_since(past.used) {
            self.0.events.emit(&Event::Thawed { frozen });
            self.thawed();
        }
        let fitness = self.0.settings.policy.judge(past, now);
        let standing = lease.standing();
        match fitness {
            _ if standing == Standing::Obsolete => return Ok(lease.discard(Discard::Obsolete, None)),
            Fitness::Fresh if standing == Standing::Good => return Ok(Some(lease)),
            Fitness::Idle => return Ok(lease.discard(Discard::Idle, None)),
            Fitness::Old => return Ok(lease.discard(Discard::Old, None)),
            Fitness::Fresh | Fitness::Look | Fitness::Doubtful => {}
        }
        match self.0.connector.peek(&lease.physical().conn) {
            Peek::Closed => Ok(lease.discard(Discard::ClosedByPeer, None)),
            Peek::Quiet if fitness == Fitness::Look && standing == Standing::Good => Ok(Some(lease)),
            Peek::Quiet | Peek::Talking => self.check_hedged(lease, deadline).await,
        }
    }

    /// A check, and beside it, if it is slow, the search for another connection.
    async fn check_hedged(&self, lease: Lease<C>, deadline: Deadline) -> Result<Option<Lease<C>>, Error> {
        let mut check = pin!(self.check_or_recover(lease));
        if let Ok(checked) = timeout_at(deadline.within(HEDGE).instant(), &mut check).await {
            return Ok(checked);
        }
        match select(check, self.replacement(deadline)).await {
            Either::Left((Some(checked), _)) => Ok(Some(checked)),
            Either::Left((None, replacement)) => replacement.await.map(Some),
            Either::Right((Ok(replacement), _)) => Ok(Some(replacement)),
            // That another cannot be had says nothing of the one at hand.
            Either::Right((Err(error), check)) => match timeout_at(deadline.instant(), check).await {
                Ok(Some(checked)) => Ok(Some(checked)),
                _ => Err(error),
            },
        }
    }

    /// A connection instead of one that is being checked. It may be doubtful or dirty itself and is treated like any
    /// other; boxed, because that may mean a check with a replacement of its own.
    fn replacement(&self, deadline: Deadline) -> Pin<Box<dyn Future<Output = Result<Lease<C>, Error>> + Send + '_>> {
        Box::pin(self.lease_fit(deadline, true))
    }

    /// As [`check`](Self::check). A dirty connection's goes on when this is dropped.
    pub(super) async fn check_or_recover(&self, lease: Lease<C>) -> Option<Lease<C>> {
        if lease.physical().past.dirty { self.recover(lease).await } else { self.check(lease).await }
    }

    /// Brings a connection to rest within the bound; `None` when that failed and it is gone. Dropped, the connection
    /// goes home dirty.
    pub(super) async fn check(&self, mut lease: Lease<C>) -> Option<Lease<C>> {
        if lease.is_foreign() {
            return lease.discard_foreign();
        }
        let past = lease.physical().past;
        let idle = self.0.clock.now().since(past.used);
        let started = Deadline::after(self.0.settings.policy.validate_timeout);
        lease.begin();
        let restored = timeout_at(started.instant(), self.0.connector.restore(&mut lease.physical_mut().conn)).await;
        let failed = if past.dirty { Discard::Unrecoverable } else { Discard::Silent };
        match restored {
            Ok(Ok(())) => {
                lease.end();
                let elapsed = started.spent();
                let event = if past.dirty { Event::Recovered { elapsed } } else { Event::Validated { idle, elapsed } };
                self.0.events.emit(&event);
                Some(lease)
            }
            Ok(Err(error)) => lease.discard(failed, Some(&error)),
            Err(_) => {
                lease.give_up();
                lease.discard(failed, None)
            }
        }
    }
}

enum Taken<C: Connect> {
    Lease(Lease<C>),
    Queued(Waiter<C>),
}
