//! What fires when a transaction commits sees what the session has set, with a pooler in between and without.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use lambda_rds::{Connection, Error, Outcome, Postgres};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor, PgConnection, Row};

use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions};
use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

/// A deferred trigger that notes what is set where it fires, and a deferred constraint that only some settings satisfy.
const STAGE: &str = "
    create role app_auditor; grant app_auditor to app;
    create schema other;
    create function public.here() returns text language sql as 'select ''public''';
    create function other.here() returns text language sql as 'select ''other''';
    create table fires (n int); create table refuses (n int); create table noted (n int, saw text);
    create function note() returns trigger language plpgsql as $$
    begin
        insert into noted select new.n, concat_ws('|', here(), current_user, to_char(to_timestamp(0), 'HH24'),
            current_setting('timezone'), current_setting('search_path'), nullif(current_setting('app.tenant', true), ''),
            current_setting('datestyle'), current_setting('statement_timeout'), current_setting('synchronous_commit'),
            nullif(nullif(left(current_setting('application_name'), 6), 'lambda'), ''));
        return null;
    end $$;
    create function refuse() returns trigger language plpgsql as $$
    begin
        if current_setting('app.tenant', true) is distinct from 'q' then
            raise 'not of this tenant' using errcode = '23514';
        end if;
        return null;
    end $$;
    create constraint trigger notes after insert on fires deferrable initially deferred for each row execute function note();
    create constraint trigger checks after insert on refuses deferrable initially deferred for each row execute function refuse();
    create function for_now(name text, value text) returns text language sql as 'select set_config(name, value, true)';
    grant usage on schema other to public; grant all on all tables in schema public to public;";

/// What a session has set before its transaction.
const BEFORE: [&[&str]; 7] = [
    &[],
    &["set timezone = 'Asia/Tokyo'", "set search_path = other, public"],
    &["set app.tenant = 'q'", "set statement_timeout = '61s'", "set synchronous_commit = off"],
    &["set search_path = public, other", "set role app_auditor", "set datestyle = 'SQL, DMY'"],
    &["set time zone interval '+02:00' hour to minute", "select set_config('search_path', 'other,public', false)"],
    &["set \"app\".\"tenant\" = 'It''s \\'", "set role none", "set application_name to 'me'"],
    &["set timezone = 'Asia/Tokyo'", "reset all", "set datestyle = 'DMY'"],
];

/// And in it.
const WITHIN: [&[&str]; 8] = [
    &[],
    &["set local timezone = 'Europe/Berlin'", "set local search_path = public"],
    &["set timezone = 'America/Lima'", "set local timezone = 'Europe/Berlin'", "set app.tenant = 'r'"],
    &["set local app.tenant = 's'", "set app.tenant = 't'"],
    &["select for_now('timezone', 'Europe/Paris')", "select for_now('app.tenant', 'u')"],
    &["savepoint a", "set timezone = 'America/Lima'", "set role app_auditor", "rollback to a"],
    &["set search_path = other, public", "reset search_path", "reset timezone", "set datestyle to default"],
    &["set local role app_auditor", "set local synchronous_commit = local", "set statement_timeout = 0"],
];

/// How the transaction ends; none begins one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Guard,
    Text(&'static str),
    Alone,
}

const ENDS: [End; 4] = [End::Guard, End::Text("commit"), End::Text("commit and chain; rollback"), End::Alone];

async fn run<C>(conn: &mut C, sql: &str)
where
    for<'c> &'c mut C: Executor<'c, Database = Postgres>,
{
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// What fired saw on a connection of the server's own.
async fn bare(url: &str, before: &[&str], within: &[&str], end: End) {
    let mut conn = PgConnection::connect(url).await.unwrap();
    for sql in before {
        run(&mut conn, sql).await;
    }
    if end == End::Alone {
        run(&mut conn, "insert into public.fires values (1)").await;
    } else {
        run(&mut conn, "begin").await;
        for sql in within.iter().chain(&["insert into public.fires values (1)"]) {
            run(&mut conn, sql).await;
        }
        let end = if let End::Text(text) = end { text } else { "commit" };
        for text in end.split("; ") {
            run(&mut conn, text).await;
        }
    }
    conn.close().await.unwrap();
}

/// The same in a session of this crate's.
async fn shared(conn: &mut Connection<Postgres>, before: &[&str], within: &[&str], end: End) -> Result<(), Error> {
    for sql in before {
        run(conn, sql).await;
    }
    match end {
        End::Alone => run(conn, "insert into public.fires values (1)").await,
        End::Guard => {
            let mut tx = conn.begin().await?;
            for sql in within.iter().chain(&["insert into public.fires values (1)"]) {
                run(&mut *tx, sql).await;
            }
            tx.commit().await?;
        }
        End::Text(text) => {
            run(conn, "begin").await;
            for sql in within.iter().chain(&["insert into public.fires values (1)"]) {
                run(conn, sql).await;
            }
            for text in text.split("; ") {
                run(conn, text).await;
            }
        }
    }
    Ok(())
}

async fn saw(admin: &mut PgConnection) -> Vec<String> {
    let query = sqlx::query_scalar("with gone as (delete from noted returning saw) select saw from gone");
    query.fetch_all(admin).await.unwrap()
}

/// What a stranger finds set on each connection that the pooler has.
async fn left_behind(bouncer: &PgBouncer) -> BTreeSet<String> {
    let found = "begin; select concat_ws('|', current_setting('timezone'), current_setting('search_path'), \
                 current_user, nullif(current_setting('app.tenant', true), ''), current_setting('datestyle'), \
                 current_setting('statement_timeout'), current_setting('synchronous_commit'))";
    let strangers = join_all([bouncer.options().connect(), bouncer.options().connect()]).await;
    let mut strangers: Vec<_> = strangers.into_iter().map(|stranger| stranger.expect("connects")).collect();
    let mut seen = BTreeSet::new();
    for stranger in &mut strangers {
        seen.insert(stranger.fetch_one(sqlx::raw_sql(found)).await.expect("answers").get(0));
    }
    for stranger in &mut strangers {
        stranger.execute("rollback").await.expect("answers");
    }
    seen
}

#[tokio::test]
async fn what_fires_sees_what_its_session_has_set() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(STAGE).await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    let url = server.url_for("app", APP_PASSWORD, "app");
    let proxies = [("direct", proxy_to(&server)), ("through a pooler", bouncer.proxy())];
    let proxies = proxies.map(|(way, proxy)| (way, proxy.max_connections(2).build().expect("valid")));
    let untouched = left_behind(&bouncer).await;
    let mut admin = server.admin().await;
    for before in BEFORE {
        for within in WITHIN {
            for end in ENDS.into_iter().filter(|end| *end != End::Alone || within.is_empty()) {
                bare(&url, before, within, end).await;
                let expected = saw(&mut admin).await;
                assert_eq!(expected.len(), 1, "the stage");
                for (way, proxy) in &proxies {
                    let mut conn = proxy.get_connection().await?;
                    shared(&mut conn, before, within, end).await?;
                    // Something else of the same session.
                    run(&mut conn, "select 1").await;
                    assert_eq!(saw(&mut admin).await, expected, "{way}: {before:?}; {within:?}; {end:?}");
                }
            }
        }
    }
    assert_eq!(left_behind(&bouncer).await, untouched);
    Ok(())
}

/// What is refused at the commit is rolled back, and what is not is not, by what the session has set.
#[tokio::test]
async fn what_is_refused_at_the_commit_is_refused_by_the_sessions_own_settings() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(STAGE).await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    let untouched = left_behind(&bouncer).await;
    let proxy = bouncer.proxy().max_connections(1).build()?;
    for (tenant, is_kept) in [("q", true), ("r", false), ("q", true)] {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, &format!("set app.tenant = '{tenant}'")).await;
        for text in [None, Some("commit"), Some("commit and chain")] {
            let ended = if let Some(text) = text {
                run(&mut conn, "begin").await;
                run(&mut conn, "insert into refuses values (1)").await;
                let ended = conn.execute(sqlx::raw_sql(text)).await.map(|_| ()).map_err(Error::from);
                run(&mut conn, "rollback").await;
                ended
            } else {
                let mut tx = conn.begin().await?;
                run(&mut *tx, "insert into refuses values (1)").await;
                tx.commit().await
            };
            assert_eq!(ended.is_ok(), is_kept, "{tenant}: {text:?}: {ended:?}");
            if let Err(error) = ended {
                assert_eq!((error.sqlstate().as_deref(), error.outcome()), (Some("23514"), Outcome::RolledBack));
            }
            let kept: i64 =
                sqlx::query_scalar("with gone as (delete from refuses returning n) select count(*) from gone")
                    .fetch_one(&mut server.admin().await)
                    .await?;
            assert_eq!(kept, i64::from(is_kept), "{tenant}: {text:?}");
            let now: String = sqlx::query_scalar("select current_setting('app.tenant')").fetch_one(&mut conn).await?;
            assert_eq!(now, tenant, "the session goes on as it was");
        }
    }
    assert_eq!(left_behind(&bouncer).await, untouched);
    Ok(())
}
