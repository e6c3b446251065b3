//! A transaction sees what it would see on a connection of its own: nothing that the session does not read takes its snapshot.

use lambda_rds::{Error, Postgres};
use sqlx::{AssertSqlSafe, Connection as _, Executor, PgConnection};

use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions};
use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};
use crate::support::proxy_to;
use crate::support::until::until;

/// What a session has set before its transaction.
const BEFORE: [&str; 6] = [
    "select 1",
    "set timezone = 'Asia/Tokyo'",
    "set statement_timeout = '60s'",
    "set search_path = public",
    "select set_config('app.tenant', 'q', false)",
    "select set_config('timezone', 'Asia/Tokyo', false)",
];

/// And in it, before it locks.
const WITHIN: [&[&str]; 7] = [
    &[],
    &["set local timezone = 'Europe/Berlin'"],
    &["set local search_path = public"],
    &["savepoint a", "set local timezone = 'Europe/Berlin'", "savepoint b", "rollback to a"],
    &["set datestyle = 'DMY'", "show datestyle"],
    &["set local timezone = 'Europe/Berlin'", "set constraints all deferred", "", ";"],
    &["set local role none", "set transaction isolation level repeatable read", "unlisten there"],
];

const LOCK: &str = "lock table q in share row exclusive mode";

/// What a text is answered: the first column of its rows as texts, or the error.
async fn said<C>(conn: &mut C, sql: &str) -> String
where
    for<'c> &'c mut C: Executor<'c, Database = Postgres>,
{
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(conn).await;
    match rows {
        Ok(rows) => format!("{:?}", rows.iter().map(text_of).collect::<Vec<_>>()),
        Err(error) => {
            error.as_database_error().map_or_else(|| error.to_string(), |refusal| refusal.message().to_owned())
        }
    }
}

fn text_of(row: &sqlx::postgres::PgRow) -> String {
    sqlx::Row::try_get_unchecked(row, 0).unwrap_or_default()
}

/// Locks a table while somebody else writes to it, and only then reads.
async fn locks_before_it_reads<C>(conn: &mut C, server: &Server, before: &str, within: &[&str]) -> Vec<String>
where
    for<'c> &'c mut C: Executor<'c, Database = Postgres>,
{
    let mut other = server.admin().await;
    other.execute("truncate q").await.unwrap();
    let mut all = vec![said(conn, before).await, said(conn, "begin isolation level repeatable read").await];
    for sql in within {
        all.push(said(conn, sql).await);
    }
    other.execute("begin; insert into q values (1)").await.unwrap();
    let waits = "select count(*) from pg_locks where not granted";
    let (_, locked) = tokio::join!(
        async {
            until("somebody waits for the lock", async || {
                let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&mut server.admin().await).await.unwrap();
                waiting == 1
            })
            .await;
            other.execute("commit").await.unwrap();
        },
        said(conn, LOCK)
    );
    all.push(locked);
    for sql in [
        "select count(*)::text from q",
        "select current_setting('timezone') || ' ' || current_setting('datestyle') || coalesce(current_setting('app.tenant', true), '')",
        "insert into q select 100 + count(*) from q",
        "commit",
        "select string_agg(n::text, ' ' order by n) from q",
    ] {
        all.push(said(conn, sql).await);
    }
    all
}

#[tokio::test]
async fn what_is_locked_first_is_read_as_it_is_then() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table q (n int); grant all on q to public").await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    let url = server.url_for("app", APP_PASSWORD, "app");
    for before in BEFORE {
        for within in WITHIN {
            let mut bare = PgConnection::connect(&url).await?;
            let alone = locks_before_it_reads(&mut bare, &server, before, within).await;
            bare.close().await?;
            assert_eq!(alone.last().map(String::as_str), Some(r#"["1 101"]"#), "the stage: {alone:?}");
            for (way, proxy) in [("direct", proxy_to(&server)), ("through a pooler", bouncer.proxy())] {
                let proxy = proxy.max_connections(1).build()?;
                // Another session has had the connection.
                said(&mut proxy.get_connection().await?, "set timezone = 'UTC'").await;
                let shared = locks_before_it_reads(&mut proxy.get_connection().await?, &server, before, within).await;
                assert_eq!(shared, alone, "{way}: {before}; {within:?}");
            }
        }
    }
    Ok(())
}

/// Its isolation can be chosen as long as nothing was read.
#[tokio::test]
async fn the_isolation_is_chosen_before_anything_is_read() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    let choose = "set transaction isolation level serializable, read only, deferrable";
    for (way, proxy) in [("direct", proxy_to(&server)), ("through a pooler", bouncer.proxy())] {
        let proxy = proxy.max_connections(1).build()?;
        for before in BEFORE {
            for within in WITHIN {
                let mut conn = proxy.get_connection().await?;
                said(&mut conn, before).await;
                let mut tx = conn.begin().await?;
                let mut inner = tx.begin().await?;
                for sql in within {
                    said(&mut *inner, sql).await;
                }
                inner.rollback().await?;
                assert_eq!(said(&mut *tx, choose).await, "[]", "{way}: {before}; {within:?}");
                assert_eq!(said(&mut *tx, "show transaction_isolation").await, r#"["serializable"]"#);
                tx.commit().await?;
            }
        }
    }
    Ok(())
}

/// What is planned has to be planned anew between the lock and the query, and nothing can be said in the middle of a text.
#[tokio::test]
async fn a_text_that_locks_and_reads_is_refused_where_plans_are_not_those_of_its_settings() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table q (n int); grant all on q to public").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let text = "lock table q in share mode; select count(*) from q";
    let mut tx = conn.begin().await?;
    sqlx::raw_sql(text).execute(&mut *tx).await?;
    sqlx::raw_sql("set local timezone = 'Europe/Berlin'").execute(&mut *tx).await?;
    let refused = Error::from(sqlx::raw_sql(text).execute(&mut *tx).await.unwrap_err());
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
    assert_eq!(refused.outcome(), lambda_rds::Outcome::NotExecuted);
    sqlx::raw_sql(LOCK).execute(&mut *tx).await?;
    sqlx::raw_sql("select count(*) from q").execute(&mut *tx).await?;
    sqlx::raw_sql(text).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// The server reads it before the session's settings are there: nothing is weaker than it was asked for.
#[tokio::test]
async fn through_a_pooler_no_default_of_transactions_is_lost() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    let proxy = bouncer.proxy().max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    for sql in [
        "set default_transaction_isolation = 'repeatable read'",
        "set default_transaction_read_only = on",
        "select set_config('default_transaction_deferrable', 'on', false)",
        "set session characteristics as transaction isolation level serializable",
    ] {
        let refused = Error::from(sqlx::raw_sql(sql).execute(&mut conn).await.unwrap_err());
        assert!(matches!(refused, Error::Refused { .. }), "{sql}: {refused:?}");
    }
    // Back to what it is anyhow.
    sqlx::raw_sql("set default_transaction_isolation to default").execute(&mut conn).await?;
    assert_eq!(said(&mut conn, "show default_transaction_isolation").await, r#"["read committed"]"#);
    Ok(())
}
