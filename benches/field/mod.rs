//! Who takes part in the benches: lambda-rds, and the pools it is compared with, on one server of either engine.
#![allow(dead_code, unreachable_pub, reason = "each bench takes a part of it")]

use std::future::Future;

use futures_util::future::join_all;
use lambda_rds::{Engine, Proxy, ProxyBuilder};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, MySql, Pool, Postgres};

use crate::support;
use crate::support::mariadb::MariaDb;
use crate::support::postgres::{APP_PASSWORD, Postgres as Server};

pub const CONNECTIONS: u32 = 4;

/// How one gets into an engine's connection without us.
pub type Options<DB> = <<DB as sqlx::Database>::Connection as Connection>::Options;

/// An engine to compete on: the way in, and one short statement with a parameter, asked of whatever may be asked.
pub trait Arena: Engine {
    type Server: Sync;

    /// The way in for all but us.
    fn options(server: &Self::Server) -> Options<Self>;
    fn proxy(server: &Self::Server) -> ProxyBuilder<Self>;

    fn ask(conn: &mut Self::Connection) -> impl Future<Output = i32> + Send;
    fn ask_session(session: &mut lambda_rds::Connection<Self>) -> impl Future<Output = i32> + Send;
    fn ask_pool(pool: &Pool<Self>) -> impl Future<Output = i32> + Send;

    /// A setting that each task may make its own, and what it is.
    fn setting(task: usize) -> String;
    fn set(conn: &mut Self::Connection, sql: String) -> impl Future<Output = ()> + Send;
    fn set_session(session: &mut lambda_rds::Connection<Self>, sql: String) -> impl Future<Output = String> + Send;
}

/// What does not differ but by its types.
macro_rules! asks {
    (select $select:literal, setting $setting:literal) => {
        async fn ask(conn: &mut Self::Connection) -> i32 {
            sqlx::query_scalar($select).bind(1_i32).fetch_one(conn).await.expect("answers")
        }

        async fn ask_session(session: &mut lambda_rds::Connection<Self>) -> i32 {
            sqlx::query_scalar($select).bind(1_i32).fetch_one(session).await.expect("answers")
        }

        async fn ask_pool(pool: &Pool<Self>) -> i32 {
            sqlx::query_scalar($select).bind(1_i32).fetch_one(pool).await.expect("answers")
        }

        async fn set(conn: &mut Self::Connection, sql: String) {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.expect("answers");
        }

        async fn set_session(session: &mut lambda_rds::Connection<Self>, sql: String) -> String {
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *session).await.expect("answers");
            sqlx::query_scalar($setting).fetch_one(session).await.expect("answers")
        }
    };
}

impl Arena for Postgres {
    type Server = Server;

    fn options(server: &Server) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host(server.host())
            .port(server.port())
            .username("app")
            .password(APP_PASSWORD)
            .database("app")
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(server.ca_pem().to_vec())
    }

    fn proxy(server: &Server) -> ProxyBuilder<Self> {
        support::proxy_to(server)
    }

    fn setting(task: usize) -> String {
        format!("set app.tenant = '{task}'")
    }

    asks!(select "select $1::int", setting "select current_setting('app.tenant')");
}

impl Arena for MySql {
    type Server = MariaDb;

    fn options(server: &MariaDb) -> MySqlConnectOptions {
        MySqlConnectOptions::new()
            .host(server.host())
            .port(server.port())
            .username("app")
            .password(APP_PASSWORD)
            .database("app")
            .ssl_mode(MySqlSslMode::VerifyIdentity)
            .ssl_ca_from_pem(server.ca_pem().to_vec())
    }

    fn proxy(server: &MariaDb) -> ProxyBuilder<Self> {
        support::mysql_proxy_to(server)
    }

    fn setting(task: usize) -> String {
        // One that no statement is read by: others cost the prepared statements.
        format!("set lock_wait_timeout = {}", 1000 + task)
    }

    asks!(select "select cast(? as int)", setting "select cast(@@lock_wait_timeout - 1000 as char)");
}

/// deadpool and bb8 know sqlx's connection by these few lines.
pub struct Manager<DB: Arena> {
    pub options: Options<DB>,
    /// A connection is asked whether it is there before it is lent.
    pub asks: bool,
}

impl<DB: Arena> Manager<DB> {
    async fn ask(&self, conn: &mut DB::Connection) -> Result<(), sqlx::Error> {
        if self.asks { conn.ping().await } else { Ok(()) }
    }
}

impl<DB: Arena> deadpool::managed::Manager for Manager<DB> {
    type Type = DB::Connection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<DB::Connection, sqlx::Error> {
        DB::Connection::connect_with(&self.options).await
    }

    async fn recycle(
        &self,
        conn: &mut DB::Connection,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<sqlx::Error> {
        Ok(self.ask(conn).await?)
    }
}

impl<DB: Arena> bb8::ManageConnection for Manager<DB> {
    type Connection = DB::Connection;
    type Error = sqlx::Error;

    async fn connect(&self) -> Result<DB::Connection, sqlx::Error> {
        DB::Connection::connect_with(&self.options).await
    }

    async fn is_valid(&self, conn: &mut DB::Connection) -> Result<(), sqlx::Error> {
        self.ask(conn).await
    }

    fn has_broken(&self, _: &mut DB::Connection) -> bool {
        false
    }
}

/// The contestants, each at its fastest: no check of a connection before it is lent.
pub struct Field<DB: Arena> {
    pub ours: Proxy<DB>,
    pub sqlx: Pool<DB>,
    pub deadpool: deadpool::managed::Pool<Manager<DB>>,
    pub bb8: bb8::Pool<Manager<DB>>,
}

impl<DB: Arena> Field<DB> {
    pub async fn on(server: &DB::Server) -> Self {
        let options = || DB::options(server);
        let field = Self {
            ours: DB::proxy(server).max_connections(CONNECTIONS as usize).build().expect("valid"),
            sqlx: sqlx::pool::PoolOptions::new()
                .max_connections(CONNECTIONS)
                .test_before_acquire(false)
                .connect_with(options())
                .await
                .expect("connects"),
            deadpool: deadpool::managed::Pool::builder(Manager { options: options(), asks: false })
                .max_size(CONNECTIONS as usize)
                .build()
                .expect("valid"),
            bb8: bb8::Pool::builder()
                .max_size(CONNECTIONS)
                .test_on_check_out(false)
                .build(Manager { options: options(), asks: false })
                .await
                .expect("connects"),
        };
        field.warm().await;
        field
    }

    /// All connections are open, and have prepared the statement, before anything is measured.
    async fn warm(&self) {
        let at_a_time = CONNECTIONS as usize * 16;
        for _ in 0..16 {
            join_all((0..at_a_time).map(|_| async {
                DB::ask_session(&mut self.ours.get_connection().await.expect("connects")).await;
                DB::ask(self.deadpool.get().await.expect("lent").as_mut()).await;
                DB::ask(&mut *self.bb8.get().await.expect("lent")).await;
                DB::ask_pool(&self.sqlx).await;
            }))
            .await;
        }
    }
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
