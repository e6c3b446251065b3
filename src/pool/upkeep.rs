//! What a pool does at known moments: between invocations, after a freeze, around a snapshot, at its end.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::timeout;

use super::connect::{Connect, Peek, Standing};
use super::fitness::Fitness;
use super::ledger::Physical;
#[cfg(feature = "lambda")]
use super::retention::Retention;
use super::{CLOSE_BOUND, Pool};
use crate::error::{Error, Purpose};
use crate::event::{Discard, Event};
#[cfg(feature = "lambda")]
use crate::random;

impl<C: Connect> Pool<C> {
    /// Work that needs a known moment, within `bound`: dials under way are awaited or ended, what came home in the
    /// middle of something is brought to rest, what has served its term is closed.
    ///
    /// # Cancel safety
    /// What was taken up goes home as it is and is looked at again.
    pub(crate) async fn upkeep(&self, bound: Duration) {
        let work = async {
            loop {
                // NOTE: before the look, so that a dial that ends between look and wait is not missed.
                let ended = self.0.dial_ended.notified();
                if self.lock().dialling().next().is_none() {
                    break;
                }
                ended.await;
            }
            self.0.recoveries.ended().await;
            let now = self.0.clock.now();
            let policy = self.0.settings.policy;
            let unfit = |physical: &Physical<C::Conn>| {
                let fitness = policy.judge(physical.past, now);
                let obsolete = self.0.connector.standing(&physical.conn) == Standing::Obsolete;
                physical.past.dirty || obsolete || matches!(fitness, Fitness::Idle | Fitness::Old)
            };
            let taken: Vec<_> = self.lock().take_where(now, unfit).into_iter().map(|p| self.lend(p, now)).collect();
            join_all(taken.into_iter().map(|lease| async move {
                lease.note(Purpose::Check);
                match self.0.settings.policy.judge(lease.physical().past, now) {
                    Fitness::Idle => lease.close(Discard::Idle).await,
                    Fitness::Old => lease.close(Discard::Old).await,
                    _ if lease.standing() == Standing::Obsolete => lease.close(Discard::Obsolete).await,
                    _ => drop(self.check(lease).await),
                }
            }))
            .await;
            self.0.connector.settled().await;
        };
        if timeout(bound, work).await.is_err() {
            self.0.events.emit(&Event::UpkeepCutShort { bound });
            let nobody_waits = self.lock().waiting() == 0;
            if nobody_waits {
                self.abort_dials();
                self.0.recoveries.abort();
            }
        }
    }

    /// After a freeze: one look at everything at rest, so that the dead are gone before anybody asks for one.
    pub(crate) fn thawed(&self) {
        let now = self.0.clock.now();
        let dead = self.lock().take_where(now, |physical| self.0.connector.peek(&physical.conn) == Peek::Closed);
        for physical in dead {
            self.lend(physical, now).discard(Discard::ClosedByPeer, None);
        }
    }

    /// Ends the pool: waiters get [`Error::Closed`], connections at rest are closed politely and within a bound, those
    /// on loan when they come home.
    ///
    /// # Cancel safety
    /// The pool is closed at the first poll; a dropped future closes the remaining sockets without a goodbye.
    pub(crate) async fn close(&self) {
        let (idle, waiters) = self.lock().close();
        self.abort_dials();
        for waiter in waiters {
            // A waiter that gave up meanwhile needs no answer.
            let _ = waiter.send(Err(Error::Closed));
        }
        let goodbyes = idle.into_iter().map(|mut physical| {
            self.give_up(&mut physical);
            self.0.connector.close(physical.conn)
        });
        // A socket that does not take the goodbye is closed without one.
        let _ = timeout(CLOSE_BOUND, join(join_all(goodbyes), self.0.connector.settled())).await;
    }

    /// Has the server end what may still go on on a connection that came home in the middle of something, and is closed now.
    pub(super) fn give_up(&self, physical: &mut Physical<C::Conn>) {
        if physical.past.dirty {
            self.0.connector.give_up(&mut physical.conn);
        }
    }

    /// Breaks everything at rest, as a server that is gone does.
    #[cfg(feature = "testing")]
    pub(crate) fn break_idle(&self) {
        let now = self.0.clock.now();
        let idle = self.lock().take_where(now, |_| true);
        for physical in idle {
            self.lend(physical, now).discard(Discard::Broken, None);
        }
    }

    /// Closes everything at rest with a goodbye, and goes on: a snapshot is about to be taken, and a socket is no part of it.
    /// Sessions that hold a connection keep it, and find it dead.
    ///
    /// # Cancel safety
    /// A dropped future closes the remaining sockets without a goodbye.
    #[cfg(feature = "lambda")]
    pub(crate) async fn part_with_all(&self) {
        self.abort_dials();
        self.0.recoveries.abort();
        let now = self.0.clock.now();
        let idle = self.lock().take_where(now, |_| true);
        let goodbyes = idle.into_iter().map(|physical| {
            let mut lease = self.lend(physical, now);
            lease.give_up();
            lease.close(Discard::Snapshot)
        });
        join_all(goodbyes).await;
        // What is not over by then is cut off by the snapshot.
        let _ = timeout(CLOSE_BOUND, self.0.connector.settled()).await;
    }

    /// This environment is one of many that were made of the same snapshot: what it has seen of the server is old, and what it
    /// draws is its own from here on.
    #[cfg(feature = "lambda")]
    pub(crate) fn restored(&self) {
        *self.retention() = Retention::new(random::generator());
    }
}
