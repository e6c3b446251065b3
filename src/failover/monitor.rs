//! Whether a host that owes an answer is still there.
//!
//! A host that has gone silent looks like one that is busy: TCP finds out after minutes, and a long statement must not be
//! killed for being long. So the host is asked something else meanwhile that a living server answers at once: on a fresh socket
//! without a login or, where the server counts such sockets against the client, over a second login (`liveness`). One question at a
//! time a host, whoever waits for it.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::future::join_all;
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::connector::Peer;
use crate::deadline::TimeToCancel;

/// Nobody asks before: almost every statement is answered by then.
const FIRST: Duration = Duration::from_millis(250);
/// Between two questions while the statement goes on.
const EVERY: Duration = Duration::from_millis(400);
/// Far above any round trip within a region, and above what a loaded server takes for a new socket.
const BOUND: Duration = Duration::from_millis(300);
/// If a bound is noticed this late, this process itself was held up, and the host is not to blame.
const LATE: Duration = Duration::from_millis(450);
/// Two unanswered questions in a row, so that one lost packet is no verdict.
const MOST_MISSED: u32 = 2;

/// A question that a living server answers at once.
pub(crate) trait Ask {
    /// What serves for the next question to the same host.
    type Side: Send;

    fn ask(&self, host: &Peer, side: &mut Option<Self::Side>) -> impl Future<Output = io::Result<()>> + Send;

    /// Nobody asks any more. Bounded by the caller.
    fn close(&self, side: Self::Side) -> impl Future<Output = ()> + Send;
}

/// What is known of hosts that are being asked.
pub(crate) struct HostMonitor<A: Ask> {
    asker: A,
    hosts: Mutex<HashMap<SocketAddr, Asked<A::Side>>>,
}

/// A host that somebody waits for, and how many do.
struct Asked<S> {
    waiting: usize,
    health: SharedHealth<S>,
}

impl<S> Default for Asked<S> {
    fn default() -> Self {
        Self { waiting: 0, health: Arc::default() }
    }
}

/// Held by whoever asks.
type SharedHealth<S> = Arc<tokio::sync::Mutex<Health<S>>>;

/// The last questions to one host.
struct Health<S> {
    missed: u32,
    last: Option<Instant>,
    side: Option<S>,
}

impl<S> Default for Health<S> {
    fn default() -> Self {
        Self { missed: 0, last: None, side: None }
    }
}

impl<A: Ask> HostMonitor<A> {
    pub(crate) fn new(asker: A) -> Self {
        Self { asker, hosts: Mutex::default() }
    }

    /// `work`, unless its host turns out to be gone: then an error of kind `HostUnreachable`. Or unless the alarm rings:
    /// then [`TimeToCancel`]. `heard`: set by `work` with each part of an answer; whatever was heard of the host, it is there,
    /// and nobody asks it for a while.
    ///
    /// # Cancel safety
    /// As `work`.
    pub(crate) fn attend<'a, T, W>(
        &'a self,
        host: Option<&'a Peer>,
        alarm: Option<Instant>,
        heard: Option<&'a AtomicBool>,
        work: W,
    ) -> Attended<'a, A, W>
    where
        W: Future<Output = Result<T, sqlx::Error>>,
    {
        Attended { monitor: self, host, alarm, heard, watch: None, work }
    }

    /// Ends when the host is gone or the alarm rings.
    async fn watch(&self, host: Option<&Peer>, alarm: Option<Instant>) -> sqlx::Error {
        let silence = async {
            match host {
                Some(host) => silent(self.silence(host).await),
                None => pending().await,
            }
        };
        let rung = async {
            match alarm {
                Some(alarm) => sleep_until(alarm).await,
                None => pending().await,
            }
        };
        // Until then nobody asks, and one timer does for both.
        let first = Instant::now() + FIRST;
        sleep_until(alarm.map_or(first, |alarm| first.min(alarm))).await;
        tokio::select! {
            biased;
            () = rung => TimeToCancel::error(),
            silent = silence => silent,
        }
    }

    /// Ends when the host is gone; with how long it has been asked.
    async fn silence(&self, host: &Peer) -> Duration {
        let started = Instant::now();
        let waiting = self.wait_for(host);
        while waiting.is_alive().await {
            sleep(EVERY).await;
        }
        FIRST + started.elapsed()
    }

    /// Closes what nobody needs any more: a connection for questions is a slot of the server, and one more than the pool's.
    ///
    /// # Cancel safety
    /// What was not closed politely is closed.
    pub(crate) async fn leave(&self) {
        let left: Vec<_> = self.hosts().extract_if(|_, asked| asked.waiting == 0).collect();
        let closed = left.into_iter().map(async |(_, asked)| {
            let side = asked.health.lock().await.side.take();
            if let Some(side) = side {
                self.asker.close(side).await;
            }
        });
        join_all(closed).await;
    }

    fn wait_for<'a>(&'a self, host: &'a Peer) -> Waiting<'a, A> {
        let mut hosts = self.hosts();
        let asked = hosts.entry(host.address).or_default();
        asked.waiting += 1;
        Waiting { monitor: self, host, health: Arc::clone(&asked.health) }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<SocketAddr, Asked<A::Side>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a host.
struct Waiting<'a, A: Ask> {
    monitor: &'a HostMonitor<A>,
    host: &'a Peer,
    health: SharedHealth<A::Side>,
}

impl<A: Ask> Drop for Waiting<'_, A> {
    fn drop(&mut self) {
        if let Some(asked) = self.monitor.hosts().get_mut(&self.host.address) {
            asked.waiting -= 1;
        }
    }
}

impl<A: Ask> Waiting<'_, A> {
    /// Whether the host has answered just now, to this caller or to another.
    async fn is_alive(&self) -> bool {
        let asked = Instant::now();
        let mut health = self.health.lock().await;
        if health.last.is_some_and(|last| last >= asked) {
            return health.missed < MOST_MISSED;
        }
        health.missed = 0;
        while health.missed < MOST_MISSED {
            let began = Instant::now();
            // Given up in the middle, it leaves what is of use for the next question.
            match timeout(BOUND, self.monitor.asker.ask(self.host, &mut health.side)).await {
                Ok(Ok(())) => {
                    health.missed = 0;
                    break;
                }
                Ok(Err(_)) => {
                    health.missed += 1;
                    // A refusal comes at once; a server that is restarting gets the time that a silent one gets.
                    sleep(BOUND.saturating_sub(began.elapsed())).await;
                }
                // This process has slept: frozen, or short of a processor. That says nothing about the host.
                Err(_) if began.elapsed() > LATE => {}
                Err(_) => health.missed += 1,
            }
        }
        health.last = Some(Instant::now());
        health.missed < MOST_MISSED
    }
}

pin_project! {
    /// Work that ends with its host. A type of its own, because an `async fn` would have room for the work twice, and every
    /// statement is some.
    pub(crate) struct Attended<'a, A: Ask, W> {
        monitor: &'a HostMonitor<A>,
        host: Option<&'a Peer>,
        alarm: Option<Instant>,
        heard: Option<&'a AtomicBool>,
        // Made when the first poll finds nothing: an answer that is there costs no timer.
        watch: Option<BoxFuture<'a, sqlx::Error>>,
        #[pin]
        work: W,
    }
}

impl<T, A: Ask + Sync, W: Future<Output = Result<T, sqlx::Error>>> Future for Attended<'_, A, W> {
    type Output = Result<T, sqlx::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.work.poll(context) {
            return Poll::Ready(done);
        }
        if this.heard.is_some_and(|heard| heard.swap(false, Ordering::Relaxed)) {
            *this.watch = None;
            TimeToCancel::check(*this.alarm)?;
        }
        let (monitor, host, alarm) = (*this.monitor, *this.host, *this.alarm);
        let watch = this.watch.get_or_insert_with(|| Box::pin(monitor.watch(host, alarm)));
        watch.as_mut().poll(context).map(Err)
    }
}

fn silent(silence: Duration) -> sqlx::Error {
    let message = format!("the host has gone silent: no answer for {silence:.1?}, and none on a new socket either");
    sqlx::Error::Io(io::Error::new(io::ErrorKind::HostUnreachable, message))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    static ALIVE: AtomicBool = AtomicBool::new(true);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    /// How many questions this process sleeps through.
    static SLEPT_THROUGH: AtomicUsize = AtomicUsize::new(0);

    struct Host;

    impl Ask for Host {
        type Side = ();

        async fn ask(&self, _: &Peer, _: &mut Option<()>) -> io::Result<()> {
            ASKED.fetch_add(1, Ordering::Relaxed);
            let sleeps = SLEPT_THROUGH.load(Ordering::Relaxed);
            if sleeps > 0 {
                SLEPT_THROUGH.store(sleeps - 1, Ordering::Relaxed);
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            if sleeps > 0 || !ALIVE.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            Ok(())
        }

        async fn close(&self, (): ()) {}
    }

    struct Living;

    impl Ask for Living {
        type Side = ();

        async fn ask(&self, _: &Peer, _: &mut Option<()>) -> io::Result<()> {
            Ok(())
        }

        async fn close(&self, (): ()) {}
    }

    /// Keeps something for the next question.
    struct Keeping(Arc<()>);

    impl Ask for Keeping {
        type Side = Arc<()>;

        async fn ask(&self, _: &Peer, side: &mut Option<Arc<()>>) -> io::Result<()> {
            side.get_or_insert_with(|| Arc::clone(&self.0));
            Ok(())
        }

        async fn close(&self, _: Arc<()>) {}
    }

    fn host() -> Peer {
        Peer { address: SocketAddr::from(([127, 0, 0, 1], 5432)), name: "localhost".to_owned() }
    }

    async fn after(span: Duration) -> Result<(), sqlx::Error> {
        sleep(span).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_rings_for_whoever_is_not_done_by_then() {
        for (host, alarm, rings) in [
            (Some(host()), 300, true),
            (None, 300, true),
            (Some(host()), 2000, true),
            (None, 2000, true),
            (Some(host()), 6000, false),
            (None, 6000, false),
        ] {
            let (monitor, started) = (HostMonitor::new(Living), Instant::now());
            let alarm = Duration::from_millis(alarm);
            let result =
                monitor.attend(host.as_ref(), Some(started + alarm), None, after(Duration::from_secs(5))).await;
            let error = result.err().map(|error| TimeToCancel::is_behind(&error));
            assert_eq!(error, rings.then_some(true), "{alarm:?}");
            let spent = alarm.min(Duration::from_secs(5));
            assert_eq!(started.elapsed(), spent);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_for_the_next_question_is_left_when_nobody_waits() {
        let kept = Arc::new(());
        let (monitor, host) = (HostMonitor::new(Keeping(Arc::clone(&kept))), host());
        let wait = |seconds| monitor.attend(Some(&host), None, None, after(Duration::from_secs(seconds)));
        // The test's own, and the asker's.
        let is_kept = || Arc::strong_count(&kept) > 2;
        let (first, dropped, last, ()) =
            tokio::join!(wait(1), timeout(Duration::from_secs(2), wait(9)), wait(3), async {
                for _ in 0..4 {
                    sleep(Duration::from_millis(600)).await;
                    monitor.leave().await;
                    assert!(is_kept());
                }
            });
        assert!(first.is_ok() && dropped.is_err() && last.is_ok());
        assert!(is_kept(), "for the next who waits");
        monitor.leave().await;
        assert!(!is_kept() && monitor.hosts().is_empty());
    }

    /// One test, for the host is one.
    #[tokio::test(start_paused = true)]
    async fn a_long_statement_lives_as_long_as_its_host_and_no_longer() {
        let (monitor, host) = (HostMonitor::new(Host), host());
        let host = Some(&host);
        assert!(monitor.attend(host, None, None, after(Duration::from_millis(200))).await.is_ok());
        assert_eq!(ASKED.load(Ordering::Relaxed), 0, "nobody asks for a short one");
        assert!(monitor.attend(host, None, None, after(Duration::from_secs(30))).await.is_ok());
        let asked = ASKED.swap(0, Ordering::Relaxed);
        assert!((60..=80).contains(&asked), "{asked} questions in 30 s");

        // Frozen again and again in the middle of a question.
        SLEPT_THROUGH.store(5, Ordering::Relaxed);
        assert!(monitor.attend(host, None, None, after(Duration::from_secs(30))).await.is_ok());
        assert_eq!(SLEPT_THROUGH.load(Ordering::Relaxed), 0);
        ASKED.store(0, Ordering::Relaxed);

        // Many wait, one asks.
        let crowd: Vec<_> = (0..64).map(|_| monitor.attend(host, None, None, after(Duration::from_secs(5)))).collect();
        assert!(join_all(crowd).await.iter().all(Result::is_ok));
        let asked = ASKED.swap(0, Ordering::Relaxed);
        assert!(asked <= 15, "{asked} questions for 64 statements of 5 s");

        // Case 23 of the drivers' tests: whenever it falls silent, it is known within a second.
        for silent_after in [0, 100, 249, 250, 1000, 5000, 30_000, 60_000].map(Duration::from_millis) {
            ALIVE.store(true, Ordering::Relaxed);
            let started = Instant::now();
            let (result, ()) = tokio::join!(monitor.attend(host, None, None, pending::<Result<(), _>>()), async {
                sleep(silent_after).await;
                ALIVE.store(false, Ordering::Relaxed);
            });
            let error = result.unwrap_err();
            assert!(matches!(&error, sqlx::Error::Io(io) if io.kind() == io::ErrorKind::HostUnreachable), "{error}");
            let noticed = started.elapsed() - silent_after;
            assert!(noticed <= FIRST.max(EVERY) + 2 * BOUND, "after {silent_after:?}: {noticed:?}");
        }
    }
}
