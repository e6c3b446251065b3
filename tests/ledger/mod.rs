//! Continuous writes through failover after failover, and an account of each: what was acknowledged is there once, what was
//! not executed or rolled back is not there, and what is unknown is there at most once.
//!
//! `LEDGER_FAILOVERS=30 cargo test --all-features --test behaviour ledger -- --nocapture` goes on for longer.
//!
//! The new writer is a synchronous standby, so that the server itself loses nothing that it has acknowledged: at AWS the
//! storage sees to that.

mod soak;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lambda_rds::{Connection, Error, Outcome, internals};
use sqlx::AssertSqlSafe;
use tokio::task::JoinHandle;

use super::stage::*;
use crate::support::http::lock;
use crate::support::until::until_paced;

const FAILOVERS: usize = 3;
/// Of each kind.
const WRITERS: usize = 4;
/// Rows of one transaction: all of them are there, or none.
const ROWS: usize = 3;
/// Between two failovers, for writes that nobody disturbs.
const REST: Duration = Duration::from_millis(500);

/// A look whether it goes on.
const PAUSED: Duration = Duration::from_millis(5);

/// How a write is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Statement,
    Guard,
    Closure,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Statement, Self::Guard, Self::Closure];

    fn rows(self) -> usize {
        if self == Self::Statement { 1 } else { ROWS }
    }
}

/// What the application was told of one write.
#[derive(Debug)]
struct Entry {
    kind: Kind,
    /// `Ok`, or what the error says of the outcome.
    told: Result<(), Outcome>,
    text: String,
}

#[derive(Default)]
struct Book {
    next: AtomicI64,
    closed: AtomicBool,
    /// While one that was the writer gets all that it lacks. After many failovers it would never have it, if ever more were
    /// written; after a few it has it soon, and writes go on all the while.
    paused: AtomicBool,
    entries: Mutex<BTreeMap<i64, Entry>>,
    /// The longest time in which nobody's write was acknowledged, and since when that is.
    gap: Mutex<(Duration, Option<Instant>)>,
}

impl Book {
    fn pause(&self, paused: bool) {
        if self.paused.swap(paused, Ordering::Relaxed) {
            // That nobody wrote was asked for.
            lock(&self.gap).1 = None;
        }
    }

    fn enter(&self, id: i64, kind: Kind, result: Result<(), Error>) {
        let text = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let told = result.map_err(|error| error.outcome());
        if told.is_ok() {
            let mut gap = lock(&self.gap);
            let now = Instant::now();
            gap.0 = gap.0.max(gap.1.map_or(Duration::ZERO, |last| now - last));
            gap.1 = Some(now);
        }
        assert!(lock(&self.entries).insert(id, Entry { kind, told, text }).is_none());
    }
}

async fn insert(conn: &mut Connection<Db>, id: i64) -> Result<(), Error> {
    sqlx::query(INSERT).bind(id).execute(conn).await?;
    Ok(())
}

async fn write(proxy: &DbProxy, kind: Kind, id: i64) -> Result<(), Error> {
    match kind {
        Kind::Statement => insert(&mut proxy.get_connection().await?, id).await,
        Kind::Guard => {
            let mut conn = proxy.get_connection().await?;
            let mut tx = conn.begin().await?;
            for _ in 0..ROWS {
                insert(&mut tx, id).await?;
            }
            tx.commit().await
        }
        Kind::Closure => {
            let work = proxy.transaction(|tx| {
                Box::pin(async move {
                    for _ in 0..ROWS {
                        insert(tx, id).await?;
                    }
                    Ok(())
                })
            });
            work.await
        }
    }
}

/// One who writes until the book is closed, with a pause after each write.
/// In an invocation of so much time where there is one.
async fn keep_writing(proxy: DbProxy, book: Arc<Book>, kind: Kind, pause: Duration, invocation: Option<Duration>) {
    while !book.closed.load(Ordering::Relaxed) {
        if book.paused.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSED).await;
            continue;
        }
        let id = book.next.fetch_add(1, Ordering::Relaxed);
        let result = match invocation {
            Some(time) => internals::invocation(time, write(&proxy, kind, id)).await,
            None => write(&proxy, kind, id).await,
        };
        book.enter(id, kind, result);
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_is_accounted_for_through_failovers() -> Result<(), Error> {
    let failovers = std::env::var("LEDGER_FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(FAILOVERS);
    let cluster = Cluster::start(CLUSTERED, 1).await;
    cluster.node(0).execute(LEDGER).await;
    cluster.wait_until_follows(1, 0).await;
    synchronize(&cluster, 0, 1).await;
    let proxy = proxy_to(cluster.node(0)).instances(cluster.instances()).max_connections(6).build()?;
    let book = Arc::new(Book::default());
    let writers = writers(&proxy, &book, PAUSE, None);
    let mut spans = Vec::new();
    for turn in 0..failovers {
        let (from, to) = (turn % 2, (turn + 1) % 2);
        tokio::time::sleep(REST).await;
        let (promoted, found) =
            tokio::join!(cluster.fail_over(from, to), promoted_and_found(&proxy, cluster.node(to).port()));
        spans.push(found.saturating_duration_since(promoted));
        if failovers > FAILOVERS {
            tokio::time::sleep(REST).await;
            book.pause(true);
        }
        cluster.rejoin(from, to).await;
        synchronize(&cluster, to, from).await;
        book.pause(false);
    }
    tokio::time::sleep(REST).await;
    close(&book, writers).await;
    let sums = settle(&proxy, &book, 0).await?;
    println!("{} failovers, found after {spans:?}", spans.len());
    sums.print();
    for entry in lock(&book.entries).values().filter(|entry| entry.told == Err(Outcome::NotExecuted)).take(5) {
        println!("not executed: {}", entry.text);
    }
    println!("longest time without an acknowledged write: {:?}", lock(&book.gap).0);
    assert!(sums.every_kind_succeeded(spans.len()));
    Ok(())
}

fn writers(proxy: &DbProxy, book: &Arc<Book>, pause: Duration, invocation: Option<Duration>) -> Vec<JoinHandle<()>> {
    let kinds = (0..WRITERS).flat_map(|_| Kind::ALL);
    kinds.map(|kind| tokio::spawn(keep_writing(proxy.clone(), Arc::clone(book), kind, pause, invocation))).collect()
}

async fn close(book: &Book, writers: Vec<JoinHandle<()>>) {
    book.closed.store(true, Ordering::Relaxed);
    for writer in join_all(writers).await {
        writer.unwrap();
    }
}

/// When a read by way of the proxy first comes from the new writer.
async fn promoted_and_found(proxy: &DbProxy, port: u16) -> Instant {
    until_paced(Duration::from_millis(1), "reads come from the new writer", async || {
        let at = async {
            let mut conn = proxy.get_connection().await?;
            let at: i64 = sqlx::query_scalar(PORT).fetch_one(&mut conn).await?;
            Ok::<_, Error>(at)
        };
        at.await.is_ok_and(|at| at == i64::from(port))
    })
    .await;
    Instant::now()
}

/// What was told, how often, and how often the rows are there.
#[derive(Debug, Default)]
struct Sums(BTreeMap<(Kind, String), (usize, usize)>);

impl Sums {
    fn print(&self) {
        for ((kind, told), (count, there)) in &self.0 {
            println!("{kind:?} {told}: {count}, {there} of them there");
        }
    }

    fn add(&mut self, others: Self) {
        for (told, (count, there)) in others.0 {
            let sum = self.0.entry(told).or_default();
            *sum = (sum.0 + count, sum.1 + there);
        }
    }

    /// Whether more than so many of each kind were acknowledged.
    fn every_kind_succeeded(&self, more_than: usize) -> bool {
        let acknowledged = |kind: &Kind| self.0.get(&(*kind, "Ok(())".to_owned())).is_some_and(|sum| sum.0 > more_than);
        Kind::ALL.iter().all(acknowledged)
    }
}

/// Compares the book with the table, from this number on.
async fn settle(proxy: &DbProxy, book: &Book, first: i64) -> Result<Sums, Error> {
    let mut conn = proxy.get_connection().await?;
    let text = format!("select id, count(*) from ledger where id >= {first} group by id");
    let rows: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(text)).fetch_all(&mut conn).await?;
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    let entries = lock(&book.entries);
    let mut sums = Sums::default();
    let mut wrong = Vec::new();
    for (id, entry) in entries.iter() {
        let there = rows.get(id).map_or(0, |count| usize::try_from(*count).unwrap_or(usize::MAX));
        let (once, none) = (there == entry.kind.rows(), there == 0);
        let right = match entry.told {
            Ok(()) | Err(Outcome::Completed) => once,
            Err(Outcome::NotExecuted | Outcome::RolledBack) => none,
            Err(_) => once || none,
        };
        if !right {
            wrong.push(format!("{id}: {there} rows, {entry:?}"));
        }
        let sum = sums.0.entry((entry.kind, format!("{:?}", entry.told))).or_default();
        *sum = (sum.0 + 1, sum.1 + usize::from(once));
    }
    let unheard: Vec<_> = rows.keys().filter(|id| !entries.contains_key(id)).collect();
    assert!(wrong.is_empty() && unheard.is_empty(), "{wrong:#?} {unheard:?}");
    Ok(sums)
}
