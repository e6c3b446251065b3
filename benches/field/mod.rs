//! Who takes part in the benches: lambda-rds, and the pools it is compared with, on one server.
#![allow(dead_code, unreachable_pub, reason = "each bench takes a part of it")]

use futures_util::future::join_all;
use lambda_rds::{PgProxy, Postgres};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{Connection, Executor};

use crate::support;
use crate::support::postgres::Postgres as Server;

pub const CONNECTIONS: u32 = 4;

/// deadpool and bb8 know sqlx's connection by these few lines.
#[derive(Debug, Clone)]
pub struct Manager(PgConnectOptions);

impl deadpool::managed::Manager for Manager {
    type Type = PgConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&self.0).await
    }

    async fn recycle(
        &self,
        _: &mut PgConnection,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<sqlx::Error> {
        Ok(())
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = PgConnection;
    type Error = sqlx::Error;

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&self.0).await
    }

    async fn is_valid(&self, _: &mut PgConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn has_broken(&self, _: &mut PgConnection) -> bool {
        false
    }
}

/// The contestants, each at its fastest: no check of a connection before it is lent.
#[derive(Clone)]
pub struct Field {
    pub ours: PgProxy,
    pub sqlx: PgPool,
    pub deadpool: deadpool::managed::Pool<Manager>,
    pub bb8: bb8::Pool<Manager>,
}

impl Field {
    pub async fn on(server: &Server) -> Self {
        let options = options(server);
        let manager = Manager(options.clone());
        let field = Self {
            ours: support::proxy_to(server).max_connections(CONNECTIONS as usize).build().expect("valid"),
            sqlx: PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .test_before_acquire(false)
                .connect_with(options)
                .await
                .expect("connects"),
            deadpool: deadpool::managed::Pool::builder(manager.clone())
                .max_size(CONNECTIONS as usize)
                .build()
                .expect("valid"),
            bb8: bb8::Pool::builder()
                .max_size(CONNECTIONS)
                .test_on_check_out(false)
                .build(manager)
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
                select(&mut self.ours.get_connection().await.expect("connects")).await;
                select(&mut *self.deadpool.get().await.expect("lent").as_mut()).await;
                select(&mut *self.bb8.get().await.expect("lent")).await;
                select(&self.sqlx).await;
            }))
            .await;
        }
    }
}

/// The way in for all but us.
pub fn options(server: &Server) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(server.host())
        .port(server.port())
        .username("app")
        .password(support::postgres::APP_PASSWORD)
        .database("app")
        .ssl_mode(PgSslMode::VerifyFull)
        .ssl_root_cert_from_pem(server.ca_pem().to_vec())
}

/// One short statement with a parameter.
pub async fn select<'e>(executor: impl Executor<'e, Database = Postgres>) -> i32 {
    sqlx::query_scalar("select $1::int").bind(1_i32).fetch_one(executor).await.expect("answers")
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
