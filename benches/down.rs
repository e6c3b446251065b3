//! What an application sees of a database that is away, and when it is well again, with this crate and with the pools it is
//! compared with: the connections are cut, reset or forgotten, the server refuses, is silent, restarts, answers as a reader,
//! or has ended half of the sessions.
//!
//! `cargo bench --features _internals,mysql --bench down`. All wait 5 s for a connection at the most; apart from that each is as
//! it comes, and deadpool and bb8 ask every connection before they lend it. The application asks again at once after an
//! error, and waits 10 ms after an answer.
#![allow(clippy::print_stdout, missing_docs, reason = "a program for a person at a terminal")]

mod field;
#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use field::{Arena as _, Manager};
use futures_util::future::join_all;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres};
use support::fault_proxy::FaultProxy;
use support::postgres::{Postgres as Server, PostgresOptions};
use tokio::time::{sleep, timeout};

/// How long anybody waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// And how long for somebody to recover.
const END: Duration = Duration::from_secs(20);
/// How long a fault stands that ends by itself.
const OUTAGE: Duration = Duration::from_secs(1);
/// How long connections are unused that a NAT forgets. Five minutes in life; here, more than any of the pools calls fresh.
const SILENCE: Duration = Duration::from_millis(1500);
const CONNECTIONS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Cut,
    Reset,
    Forgotten,
    Refused,
    Silent,
    Restarted,
    Reader,
    HalfEnded,
}

const FAULTS: [(Fault, &str); 8] = [
    (Fault::Cut, "connections closed (FIN)"),
    (Fault::Reset, "connections reset (RST)"),
    (Fault::Forgotten, "connections forgotten, as by a NAT"),
    (Fault::HalfEnded, "half of the sessions ended by the server"),
    (Fault::Restarted, "away for 1 s: refuses"),
    (Fault::Silent, "silent for 1 s: packets are dropped"),
    (Fault::Refused, "away: refuses"),
    (Fault::Reader, "its name leads to a reader"),
];

/// Who takes part.
enum Contestant {
    Ours(lambda_rds::Proxy<Postgres>),
    Sqlx(PgPool),
    Deadpool(deadpool::managed::Pool<Manager<Postgres>>),
    Bb8(bb8::Pool<Manager<Postgres>>),
}

const NAMES: [&str; 4] = ["lambda-rds", "sqlx PgPool", "deadpool", "bb8"];
const WRITE: &str = "insert into down default values";

impl Contestant {
    async fn new(which: usize, server: &Server, port: u16) -> Self {
        let options = Postgres::options(server).port(port);
        let limit = u32::try_from(CONNECTIONS).expect("few");
        match which {
            0 => {
                let proxy = support::proxy_to(server).port(port).max_connections(CONNECTIONS).borrow_timeout(PATIENCE);
                Self::Ours(proxy.build().expect("valid"))
            }
            1 => Self::Sqlx(
                PgPoolOptions::new().max_connections(limit).acquire_timeout(PATIENCE).connect_lazy_with(options),
            ),
            2 => Self::Deadpool(
                deadpool::managed::Pool::builder(Manager { options, asks: true })
                    .max_size(CONNECTIONS)
                    .runtime(deadpool::Runtime::Tokio1)
                    .timeouts(deadpool::managed::Timeouts {
                        wait: Some(PATIENCE),
                        create: Some(PATIENCE),
                        recycle: Some(PATIENCE),
                    })
                    .build()
                    .expect("valid"),
            ),
            _ => Self::Bb8(
                bb8::Pool::builder()
                    .max_size(limit)
                    .connection_timeout(PATIENCE)
                    .build_unchecked(Manager { options, asks: true }),
            ),
        }
    }

    /// A write on whatever connection is lent.
    async fn write(&self) -> Result<(), String> {
        let written = match self {
            Self::Ours(proxy) => match proxy.get_connection().await {
                Ok(mut conn) => {
                    sqlx::query(WRITE).execute(&mut conn).await.map_err(|e| lambda_rds::Error::from(e).to_string())
                }
                Err(error) => Err(error.to_string()),
            },
            Self::Sqlx(pool) => sqlx::query(WRITE).execute(pool).await.map_err(|error| error.to_string()),
            Self::Deadpool(pool) => match pool.get().await {
                Ok(mut conn) => match sqlx::query(WRITE).execute(conn.as_mut()).await {
                    Err(error) => {
                        // As its users do with a connection that has failed them.
                        drop(deadpool::managed::Object::take(conn));
                        Err(error.to_string())
                    }
                    written => written.map_err(|error| error.to_string()),
                },
                Err(error) => Err(error.to_string()),
            },
            Self::Bb8(pool) => match pool.get().await {
                Ok(mut conn) => sqlx::query(WRITE).execute(&mut *conn).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            },
        };
        written.map(drop)
    }
}

/// What an application has seen.
struct Seen {
    /// Until the first word, good or bad.
    first: Duration,
    /// Until the first write that succeeded, from the end of the fault where it ends by itself.
    good: Option<Duration>,
    errors: usize,
    says: Option<String>,
}

async fn apply(fault: Fault, way: &FaultProxy, server: &Server, reader: SocketAddr) {
    match fault {
        Fault::Cut => way.cut(),
        Fault::Reset => way.reset(),
        Fault::Forgotten => way.forget(),
        Fault::Refused | Fault::Restarted => {
            way.refuse().await;
            way.cut();
        }
        Fault::Silent => way.drop_packets().await,
        Fault::Reader => {
            way.upstream(reader);
            way.cut();
        }
        Fault::HalfEnded => {
            server.execute("select pg_terminate_backend(pid) from (select pid from pg_stat_activity where usename = 'app' limit 2) as half").await;
        }
    }
}

/// Writes until it is well again, and twenty times more, for what is poisoned may come later.
async fn watch(contestant: &Contestant, ends: Option<Duration>) -> Seen {
    let begun = Instant::now();
    let mut seen = Seen { first: Duration::ZERO, good: None, errors: 0, says: None };
    let mut goods = 0;
    while begun.elapsed() < END && goods < 20 {
        let written = contestant.write().await;
        if seen.first.is_zero() {
            seen.first = begun.elapsed();
        }
        match written {
            Ok(()) => {
                let since = begun.elapsed().saturating_sub(ends.unwrap_or_default());
                seen.good.get_or_insert(since);
                goods += 1;
                sleep(Duration::from_millis(10)).await;
            }
            Err(error) => {
                seen.errors += 1;
                seen.says.get_or_insert(error);
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
    seen
}

async fn trial(fault: Fault, which: usize, server: &Server, replica: &Server) -> Seen {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let way = FaultProxy::start(address(server.port())).await;
    let contestant = Contestant::new(which, server, way.port()).await;
    for written in join_all((0..CONNECTIONS).map(|_| contestant.write())).await {
        written.expect("it is well before");
    }
    apply(fault, &way, server, address(replica.port())).await;
    if fault == Fault::Forgotten {
        // What forgets a connection forgets it for being silent.
        sleep(SILENCE).await;
    }
    let ends = matches!(fault, Fault::Restarted | Fault::Silent).then_some(OUTAGE);
    let over = async {
        if let Some(ends) = ends {
            sleep(ends).await;
            way.pass();
        }
    };
    let (seen, ()) = tokio::join!(watch(&contestant, ends), over);
    let _ = timeout(PATIENCE, async { drop(contestant) }).await;
    seen
}

fn shown(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{:.0} ms", span.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::start(PostgresOptions::default()).await;
        server.execute("create table down (id bigserial); grant all on down, down_id_seq to app").await;
        let replica = server.replica().await;
        println!("| the database | | first word after | errors | good after | says first |\n|---|---|---|---|---|---|");
        for (fault, name) in FAULTS {
            for (which, contestant) in NAMES.into_iter().enumerate() {
                let Seen { first, good, errors, says } = trial(fault, which, &server, &replica).await;
                let good = good.map_or_else(|| "-".to_owned(), shown);
                let says = says.unwrap_or_default().replace('|', "/");
                println!("| {name} | {contestant} | {} | {errors} | {good} | {says} |", shown(first));
            }
        }
    });
}
