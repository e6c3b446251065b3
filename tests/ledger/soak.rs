//! A fault every few seconds, for as long as is asked: nothing lost, nothing doubled, and neither memory nor descriptors grow.
//!
//! `sh tests/soak.sh --hours 1` plays it for an hour on each engine, alone in its process, and prints the report.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lambda_rds::{Error, internals};

use super::super::stage::*;
use super::{Book, Sums, close, settle, writers};
use crate::support::fault_proxy::FaultProxy;

/// Between two writes of one writer.
const PAUSE: Duration = Duration::from_millis(15);
/// Before a fault and after it, for writes that nobody disturbs.
const REST: Duration = Duration::from_millis(250);
/// How long a fault stays that stays.
const SPAN: Duration = Duration::from_millis(500);

/// What each write has, as a function has. A connection that somebody in between has forgotten owes an answer for ever: that
/// ends with the invocation.
const INVOCATION: Duration = Duration::from_secs(3);

/// Of what the first rounds took, so much the last ones may take.
const GROWTH: f64 = 1.25;
/// Descriptors come and go with connections.
const SPARE_DESCRIPTORS: usize = 16;

#[derive(Debug, Clone, Copy)]
enum Fault {
    SessionsTerminated,
    Reset,
    HungUp,
    Silent,
    Forgotten,
    AnswersLost,
    Late,
    Refused,
    PacketsLost,
    ServerKilled,
    ServerStopped,
}

impl Fault {
    const ALL: [Self; 11] = [
        Self::SessionsTerminated,
        Self::Reset,
        Self::HungUp,
        Self::Silent,
        Self::Forgotten,
        Self::AnswersLost,
        Self::Late,
        Self::Refused,
        Self::PacketsLost,
        Self::ServerKilled,
        Self::ServerStopped,
    ];

    async fn strike(self, server: &Server, way: &FaultProxy) {
        match self {
            Self::SessionsTerminated => {
                server.terminate_sessions("app").await;
            }
            Self::Reset => way.reset(),
            Self::HungUp => way.cut(),
            Self::Forgotten => way.forget(),
            Self::Silent => way.hang(),
            Self::AnswersLost => way.mute(),
            Self::Late => way.delay(Duration::from_millis(40)),
            Self::Refused => {
                way.refuse().await;
                way.cut();
            }
            Self::PacketsLost => way.drop_packets().await,
            Self::ServerKilled => {
                server.kill().await;
                server.start_again().await;
            }
            Self::ServerStopped => {
                server.stop().await;
                server.start_again().await;
            }
        }
        tokio::time::sleep(SPAN).await;
        way.pass();
    }
}

/// What this process has: memory in KiB, and open descriptors.
fn footprint() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
    let kib = resident.trim().trim_end_matches("kB").trim().parse().expect("a number");
    (kib, std::fs::read_dir("/proc/self/fd").expect("Linux").count())
}

/// So often a round is asked for its account: the question may meet what the fault has left, as any other statement.
const ATTEMPTS: usize = 5;

async fn settled(proxy: &DbProxy, book: &Book, first: i64) -> Result<Sums, Error> {
    for _ in 1..ATTEMPTS {
        if let Ok(sums) = internals::invocation(INVOCATION, settle(proxy, book, first)).await {
            return Ok(sums);
        }
    }
    internals::invocation(INVOCATION, settle(proxy, book, first)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_every_few_seconds_loses_nothing_and_leaves_nothing() -> Result<(), Error> {
    let seconds: Option<u64> = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let server = Server::start(ServerOptions::default()).await;
    server.execute(LEDGER).await;
    let way = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let proxy = proxy_to(&server)
        .port(way.port())
        .max_connections(6)
        .borrow_timeout(Duration::from_secs(5))
        .idle_in_transaction_timeout(Duration::from_secs(2))
        .build()?;
    let (began, mut first) = (Instant::now(), 0);
    let (mut total, mut prints) = (Sums::default(), Vec::new());
    // Once each where nobody has asked for more, beside the other tests.
    let goes_on = |round: usize| match seconds {
        Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
        None => round < Fault::ALL.len(),
    };
    let mut round = 0;
    while goes_on(round) {
        let fault = Fault::ALL[round % Fault::ALL.len()];
        let book = Arc::new(Book::default());
        book.next.store(first, std::sync::atomic::Ordering::Relaxed);
        let writers = writers(&proxy, &book, PAUSE, Some(INVOCATION));
        tokio::time::sleep(REST).await;
        fault.strike(&server, &way).await;
        tokio::time::sleep(REST).await;
        close(&book, writers).await;
        proxy.upkeep().await;
        let sums = settled(&proxy, &book, first).await?;
        assert!(sums.every_kind_succeeded(0), "{fault:?}: {sums:?}");
        first = book.next.load(std::sync::atomic::Ordering::Relaxed);
        total.add(sums);
        prints.push(footprint());
        round += 1;
    }
    println!("{round} faults in {:.0?}, {first} writes", began.elapsed());
    total.print();
    let third = prints.len() / 3;
    // The first cycle fills caches and buffers.
    if seconds.is_some() && third > Fault::ALL.len() {
        let most = |prints: &[(u64, usize)]| {
            let (kib, descriptors) = prints.iter().copied().unzip::<_, _, Vec<_>, Vec<_>>();
            (kib.into_iter().max().expect("some"), descriptors.into_iter().max().expect("some"))
        };
        let (early, late) = (most(&prints[Fault::ALL.len()..third]), most(&prints[2 * third..]));
        println!("memory: {} KiB in the first third, {} KiB in the last", early.0, late.0);
        println!("descriptors: {} in the first third, {} in the last", early.1, late.1);
        assert!(late.0 as f64 <= early.0 as f64 * GROWTH, "it grows: {prints:?}");
        assert!(late.1 <= early.1 + SPARE_DESCRIPTORS, "it grows: {prints:?}");
    }
    Ok(())
}
