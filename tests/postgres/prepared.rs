//! What was prepared, planned or looked up under one session's settings does not serve another's.

use lambda_rds::{Connection, Error, PgProxy, Postgres};
use sqlx::AssertSqlSafe;

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}

async fn stage(setup: &str) -> (Server, PgProxy) {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(setup).await;
    let proxy = proxy_to(&server).max_connections(1).build().expect("valid");
    (server, proxy)
}

/// What the text `2024-07-01 09:00` is to whoever inserts it.
const INSERT: &str = "insert into ev values ($1, '2024-07-01 09:00')";

#[tokio::test]
async fn a_literal_is_read_in_the_time_zone_of_its_session() -> Result<(), Error> {
    let (server, proxy) = stage("create table ev (n int, at timestamptz); grant all on ev to app").await;
    let zones = [("UTC", 9), ("America/New_York", 13), ("Asia/Tokyo", 0), ("Europe/Berlin", 7)];
    let mut sessions = Vec::new();
    for (zone, hour) in zones {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, &format!("set time zone '{zone}'")).await?;
        sessions.push((conn, hour));
    }
    for n in 0..20 {
        let (conn, hour) = &mut sessions[n % zones.len()];
        sqlx::query(INSERT).bind(*hour).execute(conn).await?;
    }
    // By ways that tell nobody: until the end of a transaction, and by parameters.
    let mut conn = proxy.get_connection().await?;
    for text in ["set local time zone 'Asia/Tokyo'", "select set_config('timezone', 'Asia/Tokyo', true)"] {
        let mut tx = conn.begin().await?;
        run(&mut tx, text).await?;
        sqlx::query(INSERT).bind(0).execute(&mut *tx).await?;
        tx.commit().await?;
        sqlx::query(INSERT).bind(9).execute(&mut conn).await?;
    }
    run(&mut conn, "begin; set time zone 'Asia/Tokyo'").await?;
    sqlx::query(INSERT).bind(0).execute(&mut conn).await?;
    run(&mut conn, "rollback").await?;
    drop(conn);
    let mut conn = proxy.get_connection().await?;
    sqlx::query(INSERT).bind(9).execute(&mut conn).await?;
    let wrong: Vec<(i32, f64)> =
        sqlx::query_as("select n, extract(hour from at at time zone 'UTC')::float8 from ev where n <> extract(hour from at at time zone 'UTC')")
            .fetch_all(&mut server.admin().await)
            .await?;
    assert_eq!(wrong, []);
    Ok(())
}

#[tokio::test]
async fn a_date_is_read_in_the_style_of_its_session() -> Result<(), Error> {
    let (_server, proxy) = stage("").await;
    let month = "select extract(month from date '01/02/2024')::int where $1::int is not null";
    for style in ["set datestyle = 'ISO, DMY'", "set datestyle = dmy"] {
        let mut a = proxy.get_connection().await?;
        run(&mut a, style).await?;
        let own: i32 = sqlx::query_scalar(month).bind(1).fetch_one(&mut a).await?;
        assert_eq!(own, 2, "{style}");
        drop(a);
        let mut b = proxy.get_connection().await?;
        let own: i32 = sqlx::query_scalar(month).bind(1).fetch_one(&mut b).await?;
        assert_eq!(own, 1, "{style}");
    }
    Ok(())
}

#[derive(Debug, PartialEq, sqlx::Type)]
#[sqlx(type_name = "mood", rename_all = "lowercase")]
enum Mood {
    Happy,
    Sad,
}

/// A type of the same name in each schema: bare sqlx has one connection for each tenant.
#[tokio::test]
async fn a_type_is_the_one_in_the_sessions_own_schema() -> Result<(), Error> {
    let (_server, proxy) = stage(
        "create schema ta; create schema tb; create type ta.mood as enum ('happy'); create type tb.mood as enum ('sad', 'happy'); \
         create table ta.t (m ta.mood); create table tb.t (m tb.mood); \
         grant usage on schema ta, tb to app; grant all on ta.t, tb.t to app",
    )
    .await;
    let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut a, "set search_path = ta").await?;
    run(&mut b, "set search_path = tb").await?;
    for _ in 0..3 {
        sqlx::query("insert into t values ($1)").bind(Mood::Happy).execute(&mut a).await?;
        sqlx::query("insert into t values ($1)").bind(Mood::Sad).execute(&mut b).await?;
        let last: Vec<Mood> = sqlx::query_scalar("select m from t").fetch_all(&mut b).await?;
        assert!(last.iter().all(|mood| *mood == Mood::Sad));
    }
    // In a guard it is an error once at the most; the next transaction works.
    let mut failed = 0;
    for _ in 0..4 {
        for (conn, mood) in [(&mut a, Mood::Happy), (&mut b, Mood::Sad)] {
            let mut tx = conn.begin().await?;
            match sqlx::query("insert into t values ($1)").bind(mood).execute(&mut *tx).await {
                Ok(_) => tx.commit().await?,
                Err(_) => failed += 1,
            }
        }
    }
    assert!(failed <= 4, "{failed} of 8");
    Ok(())
}

#[tokio::test]
async fn a_type_that_is_made_again_is_looked_up_again() -> Result<(), Error> {
    let (server, proxy) =
        stage("create type mood as enum ('happy', 'sad'); create table t (m mood); grant all on t to app").await;
    let insert = "insert into t values ($1)";
    for _ in 0..3 {
        let mut conn = proxy.get_connection().await?;
        sqlx::query(insert).bind(Mood::Happy).execute(&mut conn).await?;
        server
            .execute(
                "drop table t; drop type mood; create type mood as enum ('happy', 'sad'); create table t (m mood); \
                 grant all on t to app",
            )
            .await;
    }
    Ok(())
}

/// In a transaction it cannot be healed, but the next run finds it healed, and `Proxy::transaction` is the next run.
#[tokio::test]
async fn a_transaction_that_met_a_stale_plan_is_run_again() -> Result<(), Error> {
    let (server, proxy) = stage("create table t (a int); insert into t values (1); grant all on t to app").await;
    for n in 0..5 {
        let rows = proxy
            .transaction(|tx| {
                Box::pin(
                    async move { Ok::<_, Error>(sqlx::query("select * from t").fetch_all(&mut **tx).await?.len()) },
                )
            })
            .await?;
        assert_eq!(rows, 1);
        server.execute(&format!("alter table t add column c{n} int")).await;
    }
    Ok(())
}

/// Without any definition: another session's path, or its temporary table, stands before.
#[tokio::test]
async fn a_plan_is_the_sessions_own_where_names_stand_for_different_things() -> Result<(), Error> {
    let (_server, proxy) = stage(
        "create schema ta; create schema tb; create table ta.t (a int); create table tb.t (a int, b text); \
         insert into ta.t values (1); insert into tb.t values (1, 'x'); grant usage on schema ta, tb to app; \
         grant select on ta.t, tb.t to app",
    )
    .await;
    let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut a, "set search_path = ta").await?;
    run(&mut b, "set search_path = tb").await?;
    for _ in 0..3 {
        for (conn, columns) in [(&mut a, 1), (&mut b, 2)] {
            let mut tx = conn.begin().await?;
            let row = sqlx::query("select * from t").fetch_one(&mut *tx).await?;
            assert_eq!(sqlx::Row::len(&row), columns);
            tx.commit().await?;
        }
    }
    run(&mut b, "create temp table t (c text)").await?;
    let mut tx = b.begin().await?;
    assert!(sqlx::query("select * from t").fetch_optional(&mut *tx).await?.is_none());
    tx.commit().await?;
    drop(b);
    let mut tx = a.begin().await?;
    assert_eq!(sqlx::Row::len(&sqlx::query("select * from t").fetch_one(&mut *tx).await?), 1);
    tx.commit().await?;
    Ok(())
}

/// The driver asks the server about a type that it meets for the first time.
#[tokio::test]
async fn a_cursors_row_may_have_a_type_that_the_driver_does_not_know_yet() -> Result<(), Error> {
    let (_server, proxy) = stage("create type mood as enum ('happy', 'sad')").await;
    let mut conn = proxy.get_connection().await?;
    for n in 0..3 {
        let mut tx = conn.begin().await?;
        let text = if n == 1 { "select 7 as m" } else { "select 'sad'::mood as m from generate_series(1, 3)" };
        run(&mut tx, &format!("declare c cursor for {text}")).await?;
        if n == 1 {
            let seven: i32 = sqlx::query_scalar("fetch 1 from c -- of seven").fetch_one(&mut *tx).await?;
            assert_eq!(seven, 7);
        } else {
            for _ in 0..3 {
                let mood: Mood = sqlx::query_scalar("fetch 1 from c").fetch_one(&mut *tx).await?;
                assert_eq!(mood, Mood::Sad);
            }
        }
        tx.commit().await?;
    }
    Ok(())
}
