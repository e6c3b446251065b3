//! What the session has set is there to the very end of its transactions, and not beyond it, with a pooler in between and without.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use lambda_rds::{Connection, Error, Outcome, Postgres};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor, PgConnection, Row};

use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions};
use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};
use crate::support::proxy_to;
use crate::support::until::polled;

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

const TEXTS: [End; 4] = [
    End::Text("commit -- and that is all"),
    End::Text("commit and chain; rollback"),
    // What is inserted in a transaction that has begun with the end of another one.
    End::Text("rollback and chain; insert into public.fires values (2); commit"),
    End::Text("commit and chain; rollback and chain; insert into public.fires values (2); commit"),
];

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
    for (nth, before) in BEFORE.into_iter().enumerate() {
        for (mth, within) in WITHIN.into_iter().enumerate() {
            let alone = within.is_empty().then_some(End::Alone);
            for end in [End::Guard, TEXTS[(nth + mth) % TEXTS.len()]].into_iter().chain(alone) {
                bare(&url, before, within, end).await;
                let expected = saw(&mut admin).await;
                assert!(matches!(expected.len(), 1 | 2), "the stage");
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
    let mut conn = proxy.get_connection().await?;
    for sql in ["set app.tenant = 'q'", "begin"] {
        run(&mut conn, sql).await;
    }
    let answers: Vec<_> = conn.fetch_many(sqlx::raw_sql("commit")).try_collect().await?;
    assert_eq!(answers.len(), 1, "nothing of what is sent behind it is seen");
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

/// What is told of a setting on the one connection that the pooler has, from which its value came among it.
async fn told_of(bouncer: &PgBouncer, name: &str) -> String {
    let mut stranger = bouncer.options().connect().await.unwrap();
    let sql = format!("select concat_ws('|', source, setting) from pg_settings where name = '{name}'");
    let told = stranger.fetch_optional(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    told.map(|row| row.get(0)).unwrap_or_default()
}

/// Nothing is frozen as it was, needs a right that the transaction has given up, waits for others, or names what is gone.
#[tokio::test]
async fn a_commit_is_what_it_would_be_whatever_its_session_has_set() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(STAGE).await;
    server.execute("grant create on schema public to app").await;
    server.execute("create text search configuration public.cfg (copy = simple); alter text search configuration public.cfg owner to app").await;
    server.execute("grant set on parameter log_duration to app").await;
    server.execute("create role app_su superuser; grant app_su to app").await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    let mut writer = server.admin().await;
    writer.execute("begin isolation level serializable; insert into refuses values (1)").await.unwrap();
    let url = server.url_for("app", APP_PASSWORD, "app");
    for (name, program) in [
        ("work_mem", "set work_mem = '64MB'; select 1"),
        ("work_mem", "set work_mem = '64MB'; begin; set local work_mem = '32MB'; select 1; commit"),
        ("app.t", "begin isolation level serializable read only deferrable; set app.t = 'q'; commit; select 1"),
        (
            "log_duration",
            "set log_duration = on; begin; set local role app_auditor; insert into refuses select where false; commit",
        ),
        (
            "log_min_duration_statement",
            "set role app_su; set log_min_duration_statement = '1h'; begin; set local role app_auditor; commit; reset role",
        ),
        (
            "default_text_search_config",
            "set default_text_search_config = 'public.cfg'; begin; drop text search configuration public.cfg; commit",
        ),
    ] {
        let before = told_of(&bouncer, name).await;
        let mut conn = bouncer.proxy().max_connections(1).build()?.get_connection().await?;
        for sql in program.split("; ") {
            run(&mut conn, sql).await;
        }
        drop(conn);
        assert_eq!(told_of(&bouncer, name).await, before, "{program}");
        if name != "default_text_search_config" {
            let mut bare = PgConnection::connect(&url).await?;
            for sql in program.split("; ") {
                run(&mut bare, sql).await;
            }
        }
    }
    Ok(())
}

/// What cannot be taken back is on a connection that is closed: the commit is done, and nobody finds anything.
#[tokio::test]
async fn what_cannot_be_taken_back_after_a_commit_is_left_to_nobody() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    // The first function in PL/pgSQL takes away the settings of that name that are none of its own.
    server.execute("create function speaks() returns int language plpgsql as 'begin return 1; end'").await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    let untouched = told_of(&bouncer, "work_mem").await;
    for end in ["guard", "commit", "commit and chain"] {
        let proxy = bouncer.proxy().max_connections(1).build()?;
        let mut conn = proxy.get_connection().await?;
        if end == "guard" {
            let mut tx = conn.begin().await?;
            for sql in
                ["set plpgsql.nonsense = 1", "set work_mem = '64MB'", "select speaks()", "insert into kept values (1)"]
            {
                run(&mut *tx, sql).await;
            }
            tx.commit().await?;
        } else {
            for sql in [
                "begin",
                "set plpgsql.nonsense = 1",
                "set work_mem = '64MB'",
                "select speaks()",
                "insert into kept values (1)",
                end,
            ] {
                run(&mut conn, sql).await;
            }
        }
        let next = conn.execute("select 1").await.map(drop).map_err(Error::from);
        match next {
            Ok(()) => assert_ne!(end, "commit and chain"),
            Err(lost) => {
                assert!(matches!(lost, Error::ConnectionLost { .. }), "what was begun with it is gone: {lost:?}")
            }
        }
        drop(conn);
        assert_eq!(told_of(&bouncer, "work_mem").await, untouched, "{end}");
        let kept: i64 = sqlx::query_scalar("with gone as (delete from kept returning n) select count(*) from gone")
            .fetch_one(&mut server.admin().await)
            .await?;
        assert_eq!(kept, 1, "{end}");
    }
    Ok(())
}

/// Dropped at each poll, a commit is done or not, and nothing is left behind, where it cannot be taken back either.
#[tokio::test]
async fn a_commit_that_is_dropped_leaves_nothing_with_a_pooler() -> Result<(), Error> {
    const TAKEN_BACK: &[&str] = &["insert into kept values (1)"];
    const NOT_TAKEN_BACK: &[&str] = &["set plpgsql.nonsense = 1", "set work_mem = '64MB'", "select speaks()"];
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    server.execute("create function speaks() returns int language plpgsql as 'begin return 1; end'").await;
    for polls in 0..8 {
        for (text, within) in [(false, TAKEN_BACK), (true, TAKEN_BACK), (false, NOT_TAKEN_BACK), (true, NOT_TAKEN_BACK)]
        {
            // With a connection of its own: once a function in PL/pgSQL was called, nobody sets what is none of its settings.
            let options = PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() };
            let bouncer = PgBouncer::start(&server, options).await;
            let untouched = told_of(&bouncer, "work_mem").await;
            let proxy = bouncer.proxy().max_connections(1).build()?;
            let mut conn = proxy.get_connection().await?;
            run(&mut conn, "set work_mem = '64MB'").await;
            if text {
                for sql in ["begin"].iter().chain(within) {
                    run(&mut conn, sql).await;
                }
                let _ = polled(polls, conn.execute("commit")).await;
                // It may not even have been sent.
                run(&mut conn, "rollback").await;
            } else {
                let mut tx = conn.begin().await?;
                for sql in within {
                    run(&mut *tx, sql).await;
                }
                let _ = polled(polls, tx.commit()).await;
            }
            if within == TAKEN_BACK {
                let now: String = sqlx::query_scalar("select current_setting('work_mem')").fetch_one(&mut conn).await?;
                assert_eq!(now, "64MB", "{polls} polls");
            }
            drop(conn);
            proxy.upkeep().await;
            assert_eq!(told_of(&bouncer, "work_mem").await, untouched, "{polls} polls, {text}, {within:?}");
        }
    }
    Ok(())
}

/// Where the end of the invocation is near while it commits, what is read on belongs to the same connection, or that is closed.
#[cfg(feature = "_internals")]
#[tokio::test]
async fn a_commit_that_outlives_its_invocation_leaves_nothing_with_a_pooler() -> Result<(), Error> {
    use std::time::Duration;

    let server = Server::start(PostgresOptions::default()).await;
    server
        .execute(
            "create table slow (n int); grant all on slow to app;
            create function waits() returns trigger language plpgsql as $$
            begin perform pg_advisory_xact_lock(7); return null; end $$;
            create constraint trigger waits after insert on slow deferrable initially deferred
            for each row execute function waits();",
        )
        .await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    let untouched = told_of(&bouncer, "work_mem").await;
    let proxy = bouncer.proxy().max_connections(1).build()?;
    let mut holder = server.admin().await;
    for (text, held) in [
        (None, 1900),
        (Some("commit"), 1900),
        (Some("commit and chain"), 1900),
        (None, 3000),
        (Some("commit"), 3000),
        (Some("commit and chain"), 3000),
    ] {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "set work_mem = '64MB'").await;
        holder.execute("select pg_advisory_lock(7)").await.unwrap();
        let commits = async {
            if let Some(text) = text {
                run(&mut conn, "begin").await;
                run(&mut conn, "insert into slow values (1)").await;
                conn.execute(text).await.map(drop).map_err(Error::from)
            } else {
                let mut tx = conn.begin().await?;
                run(&mut *tx, "insert into slow values (1)").await;
                tx.commit().await
            }
        };
        let release = async {
            tokio::time::sleep(Duration::from_millis(held)).await;
            holder.execute("select pg_advisory_unlock(7)").await.unwrap();
        };
        let (ended, ()) = tokio::join!(lambda_rds::internals::invocation(Duration::from_secs(2), commits), release);
        let told = ended.map_err(|error| error.outcome());
        assert!(told != Err(Outcome::RolledBack) && told != Err(Outcome::NotExecuted), "{text:?}, {held}: {told:?}");
        let now = sqlx::query_scalar::<_, String>("select current_setting('work_mem')").fetch_one(&mut conn).await;
        match now.map_err(Error::from) {
            Ok(now) => assert_eq!(now, "64MB", "{text:?}, {held}: {told:?}"),
            // What was begun with the commit may be gone.
            Err(lost) => assert!(matches!(lost, Error::ConnectionLost { .. }), "{text:?}, {held}: {lost:?}"),
        }
        drop(conn);
        proxy.upkeep().await;
        assert_eq!(told_of(&bouncer, "work_mem").await, untouched, "{text:?}, {held}: {told:?}");
    }
    Ok(())
}

/// Whoever has seen that a commit is done, and reads no further, goes on behind it.
#[tokio::test]
async fn a_commit_whose_answer_was_seen_is_done() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    for (way, proxy) in [("direct", proxy_to(&server)), ("through a pooler", bouncer.proxy())] {
        let proxy = proxy.max_connections(1).build()?;
        for (end, then, rows) in
            [("commit", "rollback", 2), ("commit and chain", "rollback", 1), ("rollback and chain", "rollback", 0)]
        {
            server.execute("truncate kept").await;
            let mut conn = proxy.get_connection().await?;
            for sql in ["begin", "set timezone = 'America/Lima'", "insert into kept values (1)"] {
                run(&mut conn, sql).await;
            }
            {
                let mut answer = conn.fetch_many(sqlx::raw_sql(end));
                assert!(answer.try_next().await?.is_some());
            }
            run(&mut conn, "insert into kept values (2)").await;
            let zone: String = sqlx::query_scalar("select current_setting('timezone')").fetch_one(&mut conn).await?;
            assert_eq!(zone == "America/Lima", end != "rollback and chain", "{way}: {end}");
            run(&mut conn, then).await;
            let kept: i64 =
                sqlx::query_scalar("select count(*) from kept").fetch_one(&mut server.admin().await).await?;
            assert_eq!(kept, rows, "{way}: {end}");
        }
    }
    Ok(())
}

/// A prepared statement is one statement, with a pooler in between as without.
#[tokio::test]
async fn several_statements_are_not_prepared() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions::default()).await;
    for (way, proxy) in [("direct", proxy_to(&server)), ("through a pooler", bouncer.proxy())] {
        let mut conn = proxy.max_connections(1).build()?.get_connection().await?;
        for sql in [
            "commit; insert into kept values (1)",
            "select 1; commit; insert into kept values (1)",
            "begin; insert into kept values (1); commit",
        ] {
            run(&mut conn, "begin").await;
            let refused = sqlx::query(sql).execute(&mut conn).await.map_err(Error::from);
            assert_eq!(refused.unwrap_err().sqlstate().as_deref(), Some("42601"), "{way}: {sql}");
            run(&mut conn, "rollback").await;
        }
        let kept: i64 = sqlx::query_scalar("select count(*) from kept").fetch_one(&mut server.admin().await).await?;
        assert_eq!(kept, 0, "{way}");
    }
    Ok(())
}
