//! The service: one database with so many slots, perhaps a PgBouncer before it, and how functions get there.

use std::time::Duration;

use sqlx::Row;

use crate::arguments::Arguments;
use crate::counts::Counts;
use crate::function::{BUSY, MODE, PATIENCE, ROOTS, URL};
use crate::scenario::Fleet;
use crate::subject::Subject;
use crate::support::lambda::FunctionSpec;
use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions};
use crate::support::postgres::{Postgres, PostgresOptions};
use crate::support::servers::Servers;
use crate::support::{on_mysql, on_postgres};

/// What PostgreSQL keeps for superusers.
const RESERVED: u16 = 3;

/// What an invocation may take beyond the wait for a connection.
const BEYOND: Duration = Duration::from_secs(6);

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) subject: Subject,
    server: Server,
    /// Dropped after the functions and before the server.
    _bouncer: Option<PgBouncer>,
    function: FunctionSpec,
}

#[derive(Debug)]
enum Server {
    Postgres(Box<Postgres>),
    MySql(Box<MariaDb>),
}

impl Service {
    pub(crate) async fn open(subject: Subject, arguments: &Arguments, fleet: &Fleet) -> Self {
        let slots = u16::try_from(fleet.slots).expect("so many slots as a server may have");
        let (server, url, roots, bouncer) = if arguments.mysql {
            let options = MariaDbOptions { max_connections: slots, ..on_mysql::logging_connections() };
            let server = MariaDb::start(options).await;
            let (url, roots) = (server.url(), server.ca_pem().to_vec());
            (Server::MySql(Box::new(server)), url, roots, None)
        } else {
            let options = PostgresOptions { max_connections: slots + RESERVED, ..on_postgres::logging_connections() };
            let server = Postgres::start(options).await;
            let (mut url, mut roots) = (server.url(), server.ca_pem().to_vec());
            let mut bouncer = None;
            if subject.is_pooled() {
                let options = PgBouncerOptions { pool_size: slots, ..PgBouncerOptions::default() };
                let started = PgBouncer::start(&server, options).await;
                (url, roots) = (started.url(), started.ca_pem().to_vec());
                bouncer = Some(started);
            }
            (Server::Postgres(Box::new(server)), url, roots, bouncer)
        };
        let function = function(subject, arguments, fleet, url, &roots);
        Self { subject, server, _bouncer: bouncer, function }
    }

    pub(crate) fn function(&self) -> FunctionSpec {
        self.function.clone()
    }

    pub(crate) fn engine(&self) -> &'static str {
        match self.server {
            Server::Postgres(_) => "PostgreSQL",
            Server::MySql(_) => Servers::family().either("MariaDB", "MySQL"),
        }
    }

    /// What the server has counted so far. Nobody of ours stays connected: a superuser would take one of the slots.
    pub(crate) async fn counts(&self) -> Counts {
        match &self.server {
            Server::Postgres(server) => Counts::of_postgres(&server.log()),
            Server::MySql(server) => {
                let rows = server.rows("show global status like 'Connection_errors_max_connections'").await;
                let refused = rows.first().and_then(|row| row.try_get::<String, _>(1).ok()?.parse().ok());
                Counts::of_mysql(&server.statements(), refused.unwrap_or_default())
            }
        }
    }

    /// From now on statements are counted. That costs time.
    pub(crate) async fn log_statements(&self) {
        // MariaDB's general log has them anyway.
        if let Server::Postgres(server) = &self.server {
            server.execute("alter system set log_statement = 'all'").await;
            server.execute("select pg_reload_conf()").await;
            // Sessions read it before their next statement, once the postmaster has told them.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

fn function(subject: Subject, arguments: &Arguments, fleet: &Fleet, url: String, roots: &[u8]) -> FunctionSpec {
    let this = std::env::current_exe().expect("a bench knows its binary");
    let mut function = FunctionSpec::new(this);
    let patience = fleet.patience.as_millis();
    function.timeout = fleet.patience + BEYOND;
    let mut set = |name: &str, value: String| function.env.push((name.to_owned(), value));
    set(MODE, subject.name().to_owned());
    set(BUSY, fleet.busy.as_millis().to_string());
    set(URL, url);
    set(ROOTS, String::from_utf8_lossy(roots).into_owned());
    if subject.is_ours() {
        set("LAMBDA_RDS_BORROW_TIMEOUT", format!("{patience}ms"));
        if subject.is_pooled() {
            set("LAMBDA_RDS_VIA_PROXY", "true".to_owned());
        }
        function.env.extend(arguments.set.iter().cloned());
    } else {
        set(PATIENCE, patience.to_string());
    }
    function
}
