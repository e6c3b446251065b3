//! Who writes: the same load over each of the contestants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lambda_rds::{Engine, MySqlProxy, PgProxy, Proxy, ProxyBuilder};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::peer::Peer;
use crate::rig::Rig;
use crate::support::postgres::APP_PASSWORD;

pub(crate) const TASKS: u32 = 4;
const EVERY: Duration = Duration::from_millis(10);

/// Says who took the write.
pub(crate) const SHORT: &str = "insert into ledger default values returning inet_server_port()";
const LONG: &str = "insert into ledger select from pg_sleep(30) returning inet_server_port()";
/// The same on MariaDB.
const SHORT_ON_MARIADB: &str = "insert into ledger values () returning cast(@@port as signed)";
const LONG_ON_MARIADB: &str =
    "insert into ledger select now() from (select sleep(30)) slow returning cast(@@port as signed)";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Ours,
    OursOnMariaDb,
    /// sqlx's pool on an endpoint.
    PgPool,
    /// The AWS Advanced Python wrapper, over psycopg.
    Python,
    /// The AWS Advanced Node.js wrapper, over pg.
    Node,
}

impl Contestant {
    pub(crate) const ALL: [Self; 5] = [Self::Ours, Self::OursOnMariaDb, Self::PgPool, Self::Python, Self::Node];

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursOnMariaDb)
    }

    pub(crate) fn is_wrapper(self) -> bool {
        matches!(self, Self::Python | Self::Node)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "lambda-rds",
            Self::OursOnMariaDb => "lambda-rds on MariaDB",
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
    OursOnMariaDb(MySqlProxy),
    PgPool(PgPool),
    Wrapper(Peer),
}

impl Application {
    /// A proxy that was given the members' addresses; the endpoint leads nowhere after the failover.
    pub(crate) fn ours(rig: &Rig, members: Vec<(String, String, u16)>) -> Self {
        Self::Ours(builder(rig, "postgres", members).build().expect("valid"))
    }

    pub(crate) fn ours_on_mariadb(rig: &Rig, members: Vec<(String, String, u16)>) -> Self {
        Self::OursOnMariaDb(builder(rig, "mysql", members).build().expect("valid"))
    }

    pub(crate) async fn pg_pool(rig: &Rig, endpoint: u16) -> Self {
        let options = PgConnectOptions::new_without_pgpass()
            .host(rig.host())
            .port(endpoint)
            .username("app")
            .password(APP_PASSWORD)
            .database("app")
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(rig.ca_pem().to_vec());
        Self::PgPool(PgPoolOptions::new().max_connections(TASKS).connect_with(options).await.expect("connects"))
    }

    async fn write(&self, long: bool) -> Option<u16> {
        let sql = if long { LONG } else { SHORT };
        let port: Result<i64, sqlx::Error> = match self {
            Self::Ours(proxy) => match proxy.get_connection().await {
                Ok(mut session) => sqlx::query_scalar::<_, i32>(sql).fetch_one(&mut session).await.map(i64::from),
                Err(_) => return None,
            },
            Self::OursOnMariaDb(proxy) => match proxy.get_connection().await {
                Ok(mut session) => {
                    let sql = if long { LONG_ON_MARIADB } else { SHORT_ON_MARIADB };
                    sqlx::query_scalar(sql).fetch_one(&mut session).await
                }
                Err(_) => return None,
            },
            Self::PgPool(pool) => sqlx::query_scalar::<_, i32>(sql).fetch_one(pool).await.map(i64::from),
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
                    let taken_by = application.write(is_long).await;
                    if done.send(Request { ended: Instant::now(), taken_by }).is_err() {
                        return;
                    }
                }
            });
        }
        tasks
    }
}

fn builder<DB: Engine>(rig: &Rig, scheme: &str, members: Vec<(String, String, u16)>) -> ProxyBuilder<DB> {
    let url = format!("{scheme}://app:{APP_PASSWORD}@{}:{}/app", rig.host(), members[0].2);
    Proxy::builder().url(url).ca_pem(rig.ca_pem()).instances(members).max_connections(TASKS as usize)
}
