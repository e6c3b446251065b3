//! Who writes: the same load over each of the contestants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lambda_rds::PgProxy;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::peer::Peer;
use crate::support::postgres::{APP_PASSWORD, Postgres};

pub(crate) const TASKS: u32 = 4;
const EVERY: Duration = Duration::from_millis(10);

/// Says who took the write.
pub(crate) const SHORT: &str = "insert into ledger default values returning inet_server_port()";
const LONG: &str = "insert into ledger select from pg_sleep(30) returning inet_server_port()";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Ours,
    /// sqlx's pool on an endpoint.
    PgPool,
    /// The AWS Advanced Python wrapper, over psycopg.
    Python,
    /// The AWS Advanced Node.js wrapper, over pg.
    Node,
}

impl Contestant {
    pub(crate) const ALL: [Self; 4] = [Self::Ours, Self::PgPool, Self::Python, Self::Node];

    pub(crate) fn is_ours(self) -> bool {
        self == Self::Ours
    }

    pub(crate) fn is_wrapper(self) -> bool {
        matches!(self, Self::Python | Self::Node)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "lambda-rds",
            Self::PgPool => "PgPool on the endpoint",
            Self::Python => "AWS Python wrapper",
            Self::Node => "AWS Node.js wrapper",
        }
    }
}

/// One write, as the application saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) ended: Instant,
    /// The port of the server that took it; none if it failed.
    pub(crate) taken_by: Option<u16>,
}

#[derive(Clone)]
pub(crate) enum Application {
    Ours(PgProxy),
    PgPool(PgPool),
    Wrapper(Peer),
}

impl Application {
    /// A proxy that was given the members' addresses; the endpoint leads nowhere after the failover.
    pub(crate) fn ours(server: &Postgres, writer: u16, members: Vec<(String, String, u16)>) -> Self {
        let url = format!("postgres://app:{APP_PASSWORD}@{}:{writer}/app", server.host());
        let proxy = crate::support::proxy_to(server).url(url).instances(members).max_connections(TASKS as usize);
        Self::Ours(proxy.build().expect("valid"))
    }

    pub(crate) async fn pg_pool(server: &Postgres, endpoint: u16) -> Self {
        let options = PgConnectOptions::new_without_pgpass()
            .host(server.host())
            .port(endpoint)
            .username("app")
            .password(APP_PASSWORD)
            .database("app")
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(server.ca_pem().to_vec());
        Self::PgPool(PgPoolOptions::new().max_connections(TASKS).connect_with(options).await.expect("connects"))
    }

    async fn write(&self, sql: &'static str) -> Option<u16> {
        let port: Result<i32, sqlx::Error> = match self {
            Self::Ours(proxy) => match proxy.get_connection().await {
                Ok(mut session) => sqlx::query_scalar(sql).fetch_one(&mut session).await,
                Err(_) => return None,
            },
            Self::PgPool(pool) => sqlx::query_scalar(sql).fetch_one(pool).await,
            Self::Wrapper(_) => return None,
        };
        port.ok().and_then(|port| u16::try_from(port).ok())
    }

    /// Writes until the set is dropped. While `long` is set, each task begins no more than one long statement;
    /// a wrapper's none.
    pub(crate) fn load(self, long: &Arc<AtomicBool>, done: &UnboundedSender<Request>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if let Self::Wrapper(peer) = self {
            tasks.spawn(peer.load(done.clone()));
            return tasks;
        }
        for _ in 0..TASKS {
            let (application, long, done) = (self.clone(), Arc::clone(long), done.clone());
            tasks.spawn(async move {
                let mut ticks = interval(EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut was_long = false;
                loop {
                    ticks.tick().await;
                    let is_long = !was_long && long.load(Ordering::Relaxed);
                    was_long |= is_long;
                    let taken_by = application.write(if is_long { LONG } else { SHORT }).await;
                    if done.send(Request { ended: Instant::now(), taken_by }).is_err() {
                        return;
                    }
                }
            });
        }
        tasks
    }
}
