//! The pool in virtual time, over a server that does as it is told.

mod cancellation;
mod checking;
mod double;
mod fleet;
mod lending;
mod panics;
mod queueing;
mod recovery;
mod runtimes;
mod standing;
mod upkeep;
mod work;

use std::future::Future;
use std::future::poll_fn;
use std::ops::{Deref, RangeInclusive};
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::clock::VirtualClock;

use self::double::{Double, Failure, Gate, Step};

const BORROW_TIMEOUT: Duration = Duration::from_secs(1);
const VALIDATE_AFTER: Duration = Duration::from_secs(1);
const VALIDATE_TIMEOUT: Duration = Duration::from_millis(250);
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const MAX_LIFETIME: Duration = Duration::from_secs(1800);

/// A pool, the server it dials, the clock it reads and what it reported.
struct Rig {
    pool: Pool<Double>,
    server: Double,
    clock: Arc<VirtualClock>,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Rig {
    fn new(limit: usize) -> Self {
        let (server, clock) = (Double::default(), VirtualClock::new());
        let seen = Arc::<Mutex<Vec<Event>>>::default();
        let log = Arc::clone(&seen);
        let events = Events::new(vec![Box::new(move |event: &Event| log.lock().unwrap().push(event.clone()))]);
        let policy = Policy {
            validate_after: VALIDATE_AFTER,
            validate_timeout: VALIDATE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            max_lifetime: MAX_LIFETIME,
        };
        let settings = Settings { limit, borrow_timeout: BORROW_TIMEOUT, policy };
        let pool = Pool::new(server.clone(), settings, Clock::Virtual(Arc::clone(&clock)), events);
        Self { pool, server, clock, seen }
    }

    /// With `idle` connections at rest that were used just now.
    async fn warm(limit: usize, idle: usize) -> Self {
        let rig = Self::new(limit);
        drop(rig.borrow(idle).await);
        rig
    }

    /// As many connections on loan at once, for a transaction each.
    async fn borrow(&self, count: usize) -> Vec<Lease<Double>> {
        let leases = join_all((0..count).map(|_| self.lease(Purpose::Transaction))).await;
        leases.into_iter().map(|lease| lease.expect("nothing stands in the way")).collect()
    }

    /// A lease on loan, for a statement.
    async fn lend(&self) -> Lease<Double> {
        self.lease(Purpose::Statement).await.expect("nothing stands in the way")
    }

    /// A caller in a task of its own, in the queue (or served) when this returns.
    async fn caller(&self) -> JoinHandle<Result<Lease<Double>, Error>> {
        let pool = self.pool.clone();
        let caller = tokio::spawn(async move { pool.lease(Purpose::Statement).await });
        settle().await;
        caller
    }

    /// A connection at rest that somebody left in the middle of something.
    async fn soiled(limit: usize) -> Self {
        let rig = Self::new(limit);
        let mut lease = rig.lend().await;
        lease.conn().at_rest = false;
        lease.begin();
        drop(lease);
        rig
    }

    fn discards(&self) -> Vec<Discard> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter_map(|event| if let Event::Discarded { why, .. } = event { Some(*why) } else { None })
            .collect()
    }

    fn saw(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.seen.lock().unwrap().iter().any(wanted)
    }

    /// Nobody waits or dials, nothing is on loan, and every connection ever made is at rest or gone.
    fn assert_at_rest(&self, context: &str) {
        let numbers = self.numbers();
        assert!(
            numbers.holders.is_empty() && numbers.connecting.is_empty() && numbers.waiting == 0,
            "{context}: {numbers}"
        );
        assert_eq!(self.server.open(), numbers.idle, "{context}: connections open and at rest");
    }
}

impl Deref for Rig {
    type Target = Pool<Double>;

    fn deref(&self) -> &Self::Target {
        &self.pool
    }
}

/// Lets every task run until it waits for something.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Polls once.
async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// The runtime's timers tick once a millisecond, so that a span may end a tick late.
fn about(millis: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(millis)..=Duration::from_millis(millis + 2)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[track_caller]
fn assert_took(started: Instant, millis: u64) {
    let elapsed = started.elapsed();
    assert!(about(millis).contains(&elapsed), "took {elapsed:?} and not {millis} ms");
}
