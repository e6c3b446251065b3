//! A definition of which a part was done before it failed is not called rolled back.

use lambda_rds::{Error, Outcome};
use sqlx::{AssertSqlSafe, Row};

use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::{chain, mysql_proxy_to};

#[tokio::test]
async fn a_definition_that_is_half_done_is_not_called_rolled_back() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    let proxy = mysql_proxy_to(&server).build().unwrap();
    let mut wrong = Vec::new();
    // What there was, what is done, and whether less than that is known to be there when it fails: not on all servers.
    for (before, sql, is_known) in [
        ("create table d (n int)", "drop table d, missing", false),
        ("create view d as select 1 as n", "drop view d, missing", false),
        (
            "create table d (n int); create table p (n int primary key); \
             create table c (n int, foreign key (n) references p (n))",
            "drop table d, p",
            false,
        ),
        ("create table d (n int)", "create or replace table d (n int, n int)", false),
        (
            "create table d (n int)",
            "create or replace table d (n int primary key) select 1 as n union all select 1",
            false,
        ),
        ("create table d (n int)", "create table d (n int)", true),
        ("create table d (n int)", "alter table d add column m int, add column n int", true),
        ("create table d (n int)", "drop table missing", true),
        ("create table d (n int)", "insert into d values (1), (1 / 0, 2)", true),
    ] {
        server.execute("drop database app; create database app; use app").await;
        let mut conn = proxy.get_connection().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("use app; {before}"))).execute(&mut conn).await.unwrap();
        let failed = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await;
        let error = Error::from(failed.expect_err(sql));
        let looked = "select count(*) from information_schema.tables where table_schema = 'app' and table_name = 'd'";
        let left: i64 = server.rows(looked).await[0].get(0);
        let told = error.outcome();
        let expected = if is_known { Outcome::RolledBack } else { Outcome::Unknown };
        if told != expected || left == 0 && told != Outcome::Unknown {
            wrong.push(format!("{sql}: {told:?}, left: {left}: {}", chain(&error)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
