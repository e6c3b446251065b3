//! Settings belong to the session that made them, wherever its statements run: they are replayed, never lost, never
//! seen by another, and none of them pins.

use lambda_rds::{Connection, Error, Isolation, PgProxy, PinCause, Postgres};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::replays::{self, Script};
use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};
use crate::support::{proxy_to, server};

/// All sessions share one physical connection: whatever could leak would.
async fn one_connection() -> PgProxy {
    proxy_to(server().await).max_connections(1).build().expect("valid")
}

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn show(conn: &mut Connection<Postgres>, name: &str) -> Result<Option<String>, Error> {
    Ok(sqlx::query_scalar("select current_setting($1, true)").bind(name).fetch_one(conn).await?)
}

/// What the next session's transaction goes back to is what was set when that began, and not what was when an earlier one did that
/// ended without its guard, or never began.
#[tokio::test]
async fn a_dropped_transaction_goes_back_to_what_was_set_when_it_began() -> Result<(), Error> {
    const SET: &str = "set work_mem = '1234kB'";
    for is_refused in [false, true] {
        let proxy = one_connection().await;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, SET).await?;
        if is_refused {
            // No isolation level is called so.
            sqlx::raw_sql("begin isolation level none").execute(&mut one).await.expect_err("refused");
        } else {
            drop(one.begin().await?);
            run(&mut one, "select 1").await?;
        }
        run(&mut other, "select 1").await?;
        let mut tx = other.begin().await?;
        run(&mut tx, SET).await?;
        drop(tx);
        drop(other);
        assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("1234kB"), "refused: {is_refused}");
    }
    Ok(())
}

#[tokio::test]
async fn two_sessions_on_one_connection_keep_their_own() -> Result<(), Error> {
    let proxy = one_connection().await;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for (sql, name, value) in [
        ("set search_path = pg_catalog, public", "search_path", "pg_catalog, public"),
        ("set session statement_timeout to '7s'", "statement_timeout", "7s"),
        ("set time zone 'Europe/Berlin'", "TimeZone", "Europe/Berlin"),
        ("set work_mem = '1234kB' -- with a comment", "work_mem", "1234kB"),
        ("select set_config('app.tenant', 'it''s 7', false)", "app.tenant", "it's 7"),
        ("set datestyle = 'German'", "DateStyle", "German, DMY"),
        ("set default_transaction_isolation = 'serializable'", "default_transaction_isolation", "serializable"),
    ] {
        let before = show(&mut other, name).await?;
        run(&mut one, sql).await?;
        // A custom setting that was never made reads as nothing or as empty: the server knows no way back.
        let unset = |value: Option<String>| value.filter(|value| !value.is_empty());
        assert_eq!(unset(show(&mut other, name).await?), unset(before.clone()), "{sql} is seen by another session");
        assert_eq!(show(&mut one, name).await?.as_deref(), Some(value), "{sql} is lost");
        assert_eq!(unset(show(&mut other, name).await?), unset(before), "{sql} is seen by another session");
    }
    assert_eq!((one.pin_reason(), other.pin_reason(), proxy.status().connections), (None, None, 1));
    run(&mut one, "reset all").await?;
    assert_ne!(show(&mut one, "work_mem").await?.as_deref(), Some("1234kB"));
    Ok(())
}

/// Each is copied with every change, and taken back by whoever comes next: with ten thousand that took seconds.
#[tokio::test]
async fn a_session_with_very_many_settings_keeps_its_connection() -> Result<(), Error> {
    const CARRIED: usize = 256;
    let proxy = one_connection().await;
    let mut conn = proxy.get_connection().await?;
    for n in 0..CARRIED {
        run(&mut conn, &format!("set many.n{n} = '{n}'")).await?;
    }
    run(&mut conn, "set many.n7 = 'seven'").await?;
    assert_eq!(conn.pin_reason(), None);
    run(&mut conn, &format!("set many.n{CARRIED} = 'one too many'")).await?;
    let reason = conn.pin_reason().expect("pinned");
    assert_eq!((reason.cause(), reason.statement()), (PinCause::Setting, "set many.n256 = '…'"));
    for (name, value) in [("many.n0", "0"), ("many.n7", "seven"), ("many.n256", "one too many")] {
        assert_eq!(show(&mut conn, name).await?.as_deref(), Some(value));
    }
    drop(conn);
    let mut next = proxy.get_connection().await?;
    for name in ["many.n7", "many.n256"] {
        let value = show(&mut next, name).await?;
        assert!(value.is_none_or(|value| value.is_empty()), "{name} is seen by the next session");
    }
    Ok(())
}

#[tokio::test]
async fn a_role_is_put_on_and_off() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create role clerk; grant clerk to app; create role boss; grant boss to app").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let who = async |conn: &mut Connection<Postgres>| -> Result<String, Error> {
        Ok(sqlx::query_scalar("select current_user::text").fetch_one(conn).await?)
    };
    run(&mut one, "set role clerk").await?;
    run(&mut one, "set work_mem = '2MB'").await?;
    assert_eq!((who(&mut one).await?.as_str(), who(&mut other).await?.as_str()), ("clerk", "app"));
    run(&mut other, "set role boss").await?;
    assert_eq!((who(&mut one).await?.as_str(), who(&mut other).await?.as_str()), ("clerk", "boss"));
    run(&mut one, "set role none").await?;
    assert_eq!((who(&mut one).await?.as_str(), who(&mut other).await?.as_str()), ("app", "boss"));
    assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("2MB"));
    // A role that may no longer be put on is the server's to refuse, and nothing runs as somebody else.
    server.execute("revoke boss from app").await;
    run(&mut one, "select 1").await?;
    let refused = run(&mut other, "select 1").await.unwrap_err();
    assert_eq!(refused.sqlstate().as_deref(), Some("42501"), "{refused:?}");
    assert_eq!(who(&mut one).await?, "app");
    Ok(())
}

#[tokio::test]
async fn a_rollback_takes_settings_back() -> Result<(), Error> {
    let proxy = one_connection().await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set work_mem = '1MB'").await?;
    let mut tx = conn.begin().await?;
    run(&mut tx, "set work_mem = '2MB'").await?;
    let mut inner = tx.begin().await?;
    run(&mut inner, "set work_mem = '3MB'").await?;
    assert_eq!(show(&mut inner, "work_mem").await?.as_deref(), Some("3MB"));
    inner.rollback().await?;
    assert_eq!(show(&mut tx, "work_mem").await?.as_deref(), Some("2MB"));
    {
        let mut dropped = tx.begin().await?;
        run(&mut dropped, "set work_mem = '4MB'").await?;
    }
    assert_eq!(show(&mut tx, "work_mem").await?.as_deref(), Some("2MB"));
    run(&mut tx, "set local work_mem = '5MB'").await?;
    assert_eq!(show(&mut tx, "work_mem").await?.as_deref(), Some("5MB"));
    tx.rollback().await?;
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("1MB"));

    {
        let mut tx = conn.begin().await?;
        run(&mut tx, "set work_mem = '6MB'").await?;
    }
    let mut other = proxy.get_connection().await?;
    let plain = show(&mut other, "work_mem").await?;
    assert_ne!(plain.as_deref(), Some("6MB"));
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("1MB"));

    let mut tx = conn.begin().await?;
    run(&mut tx, "set work_mem = '7MB'").await?;
    tx.commit().await?;
    assert_eq!(show(&mut other, "work_mem").await?, plain);
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("7MB"));
    Ok(())
}

#[tokio::test]
async fn a_set_that_failed_or_was_aborted_is_not_remembered() -> Result<(), Error> {
    let proxy = one_connection().await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set work_mem = '1MB'").await?;
    run(&mut conn, "set work_mem = 'much'").await.unwrap_err();
    run(&mut conn, "set no_such_setting = 1").await.unwrap_err();
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("1MB"));
    let mut tx = conn.begin().await?;
    run(&mut tx, "set work_mem = '2MB'").await?;
    run(&mut tx, "select 1 / 0").await.unwrap_err();
    assert!(matches!(tx.commit().await, Err(Error::TransactionAborted { .. })));
    let mut other = proxy.get_connection().await?;
    show(&mut other, "work_mem").await?;
    assert_eq!(show(&mut conn, "work_mem").await?.as_deref(), Some("1MB"));
    assert_eq!((conn.pin_reason(), proxy.status().connections), (None, 1));
    Ok(())
}

#[tokio::test]
async fn what_the_init_query_set_is_everybodys() -> Result<(), Error> {
    let proxy = proxy_to(server().await)
        .max_connections(1)
        .init_query("set work_mem = '9MB'; set seq_page_cost = 2")
        .build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut one, "set work_mem = '1MB'").await?;
    assert_eq!(show(&mut other, "work_mem").await?.as_deref(), Some("9MB"));
    assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("1MB"));
    drop(one);
    let mut third = proxy.get_connection().await?;
    run(&mut third, "reset work_mem").await?;
    assert!(third.pin_reason().is_some(), "what it goes back to is not what the others expect");
    drop(third);
    assert_eq!(show(&mut other, "work_mem").await?.as_deref(), Some("9MB"));
    assert_eq!(show(&mut other, "seq_page_cost").await?.as_deref(), Some("2"));
    Ok(())
}

#[tokio::test]
async fn a_question_for_another_sessions_sequence_is_refused() -> Result<(), Error> {
    let server = server().await;
    server.execute("create table if not exists drawn (id serial); grant all on drawn, drawn_id_seq to app").await;
    let proxy = proxy_to(server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let id: i32 = sqlx::query_scalar("insert into drawn default values returning id").fetch_one(&mut one).await?;
    let last: i64 = sqlx::query_scalar("select lastval()").fetch_one(&mut one).await?;
    assert_eq!(last, i64::from(id), "nobody was in between");
    run(&mut other, "insert into drawn default values").await?;
    let lost = Error::from(sqlx::query("select lastval()").execute(&mut one).await.unwrap_err());
    assert!(matches!(lost, Error::SessionStateLost { .. }), "{lost:?}");
    let mut tx = one.begin().await?;
    let id: i32 = sqlx::query_scalar("insert into drawn default values returning id").fetch_one(&mut *tx).await?;
    let last: i64 = sqlx::query_scalar("select currval('drawn_id_seq')").fetch_one(&mut *tx).await?;
    assert_eq!(last, i64::from(id));
    tx.commit().await?;
    Ok(())
}

#[tokio::test]
async fn strict_isolation_resets_what_a_function_hid() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server
        .execute(
            "create function hide() returns void language sql as $$ select set_config('work_mem', '3MB', false) $$; \
             grant execute on function hide() to app",
        )
        .await;
    for (isolation, seen) in [(Isolation::ByStatement, true), (Isolation::Strict, false)] {
        let proxy = proxy_to(&server).max_connections(1).isolation(isolation).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, "select hide()").await?;
        assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("3MB"), "its own, with nobody in between");
        assert_eq!(show(&mut other, "work_mem").await?.as_deref() == Some("3MB"), seen, "{isolation:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_is_pinned_later_keeps_what_it_had_set() -> Result<(), Error> {
    for isolation in [Isolation::ByStatement, Isolation::Strict] {
        let proxy = proxy_to(server().await).max_connections(1).isolation(isolation).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, "set work_mem = '3MB'").await?;
        run(&mut other, "set work_mem = '5MB'").await?;
        run(&mut one, "create temp table kept (n int)").await?;
        assert_eq!(show(&mut one, "work_mem").await?.as_deref(), Some("3MB"), "{isolation:?}");
        drop(one);
        let left: Option<String> = sqlx::query_scalar("select to_regclass('kept')::text").fetch_one(&mut other).await?;
        assert_eq!((left, show(&mut other, "work_mem").await?.as_deref()), (None, Some("5MB")), "{isolation:?}");
    }
    Ok(())
}

/// Everything that the texts below change, as the server has it.
const WITNESS: &str = "
    select concat_ws(' | ', session_user, current_user,
        (select string_agg(name || '=' || setting, ', ' order by name) from pg_settings
         where name in ('work_mem', 'search_path', 'TimeZone', 'DateStyle', 'lock_timeout', 'statement_timeout',
                        'random_page_cost', 'enable_seqscan', 'bytea_output', 'IntervalStyle')),
        coalesce(current_setting('app.tenant', true), ''), coalesce(current_setting('app.Tenant_X', true), ''))";

/// On this server `boss` is a superuser.
async fn agree(scripts: &[Script]) -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server
        .execute(&format!(
            "create role boss superuser login password '{APP_PASSWORD}'; \
             create role clerk; create role temp; grant temp to clerk"
        ))
        .await;
    replays::agree(&server, "boss", WITNESS, scripts).await
}

#[tokio::test]
async fn a_session_authorization_is_put_on_and_off() -> Result<(), Error> {
    agree(&[
        &["set session authorization clerk", "set role temp", "reset role", "reset session authorization"],
        &["set session authorization 'clerk'", "select 1", "set session authorization default", "reset work_mem"],
        &["set role clerk", "set session authorization temp", "reset role", "set session authorization default"],
        &[
            "set session authorization nobody_there",
            "set session authorization clerk",
            "set session authorization boss",
        ],
        &["(", "set session authorization clerk", ") rollback", "(", "set session authorization clerk", ") commit"],
        &["(", "set local session authorization clerk", ") commit", "select 1"],
        &["set session_authorization = temp", "reset session_authorization", "set session_authorization to 'clerk'"],
        &["set session authorization clerk", "reset all", "select set_config('role', 'temp', false)", "set role none"],
    ])
    .await
}

#[tokio::test]
async fn values_are_kept_in_every_spelling() -> Result<(), Error> {
    agree(&[
        &["set search_path = a, \"B c\"", "set search_path to 'it''s', public, \"$user\"", "set schema 'x y'"],
        &["set search_path = \"a;b\", pg_catalog -- and; more", "set search_path = ''", "SET SEARCH_PATH TO PUBLIC;"],
        &[
            "set \"work_mem\" = '3MB'",
            "set work_mem to 4096",
            "set WORK_MEM = '5MB' /* ; */",
            "set \"WORK_MEM\" = '6MB'",
        ],
        &["set datestyle to iso, dmy", "set datestyle = 'German', ymd", "set intervalstyle = iso_8601"],
        &["set time zone -7", "set time zone interval '-03:00' hour to minute", "set timezone = 'Asia/Tokyo'"],
        &[
            "set random_page_cost = 1.5",
            "set enable_seqscan = off",
            "set enable_seqscan to true",
            "set bytea_output = escape",
        ],
        &["set app.tenant = E'tab\\there'", "set app.tenant = U&'d\\0061t'", "set app.tenant = $x$a;b$x$"],
        &["set app.tenant = ''", "set app.tenant = 'a', 'b'", "set app.\"Tenant_X\" = 7", "set \"app\".tenant to on"],
        &["select set_config('App.Tenant', 'x', false)", "select set_config('search_path', 'a, \"B c\"', false);"],
        &["set lock_timeout = '1min'", "set local lock_timeout = '2min'", "set statement_timeout = 90000"],
    ])
    .await
}

#[tokio::test]
async fn a_reset_takes_back_in_every_spelling() -> Result<(), Error> {
    agree(&[
        &["set work_mem = '2MB'", "reset work_mem", "set work_mem = '2MB'", "set work_mem to default"],
        &["set work_mem = '2MB'", "set session work_mem = default", "set work_mem = '2MB'", "reset \"work_mem\";"],
        &["set time zone 3", "reset time zone", "set time zone 3", "set time zone local", "set time zone 3"],
        &["set time zone default", "set timezone = 'Asia/Tokyo'", "reset timezone", "set time zone 4", "reset all"],
        &["set search_path = a", "set search_path = default", "set schema 'b'", "reset search_path", "reset no_such"],
        &[
            "set app.tenant = 1",
            "reset app.tenant",
            "set app.tenant = 2",
            "set app.tenant to default",
            "reset app.\"tenant\"",
        ],
        &["set work_mem = '2MB'", "(", "reset work_mem", ") rollback", "(", "reset all", ") commit", "select 1"],
        &[
            "set work_mem = '2MB'",
            "(",
            "set local work_mem to default",
            ") commit",
            "(",
            "set local role clerk",
            ") drop",
        ],
        &[
            "set role clerk",
            "reset all",
            "reset role",
            "set role clerk",
            "set role to none",
            "set role = clerk",
            "reset role",
        ],
        &["set role 'clerk'", "set role 'none'", "set role \"temp\"", "select set_config('role', 'none', false)"],
    ])
    .await
}

#[tokio::test]
async fn what_fails_or_is_rolled_back_leaves_what_was_before() -> Result<(), Error> {
    agree(&[
        &[
            "set work_mem = '2MB'",
            "set work_mem = 'much'",
            "reset no_such_thing",
            "set nothing.of = 'x'",
            "set role nobody",
        ],
        &["(", "set work_mem = '2MB'", "set work_mem = 'much'", "set work_mem = '3MB'", ") commit", "select 1"],
        &["(", "set work_mem = '2MB'", "(", "set work_mem = 'much'", ") rollback", "set lock_timeout = 7", ") commit"],
        &["(", "set work_mem = '2MB'", "(", "set work_mem = '3MB'", ") rollback", "set lock_timeout = 7", ") commit"],
        &[
            "(",
            "(",
            "set work_mem = '3MB'",
            ") commit",
            "(",
            "reset work_mem",
            ") drop",
            "set app.tenant = 1",
            ") commit",
        ],
        &[
            "(",
            "(",
            "set work_mem = '3MB'",
            ") commit",
            ") rollback",
            "(",
            "(",
            "set role clerk",
            ") commit",
            ") commit",
        ],
        &[
            "set role clerk",
            "(",
            "reset role",
            "(",
            "set role temp",
            "select 1 / 0",
            ") commit",
            ") commit",
            "select 1",
        ],
        &["(", "set local work_mem = '2MB'", "(", "set work_mem = '3MB'", ") commit", ") commit", "select 1"],
        &["(", "set work_mem = '2MB'", "set local work_mem = '3MB'", "(", "reset work_mem", ") rollback", ") commit"],
        &[
            "(",
            "select set_config('work_mem', '2MB', true)",
            "(",
            "select set_config('work_mem', '3MB', false)",
            ") drop",
            ") commit",
        ],
        &[
            "(",
            "set local work_mem = '2MB'",
            "set lock_timeout = 3",
            "(",
            "(",
            "reset all",
            ") drop",
            ") commit",
            ") commit",
        ],
        &[
            "set app.tenant = 1",
            "(",
            "set app.tenant = 2",
            "(",
            "set app.tenant = 3",
            ") rollback",
            ") rollback",
            "select 1",
        ],
        &["set local work_mem = '2MB'", "select set_config('work_mem', 'much', false)", "set search_path = a b"],
    ])
    .await
}

/// The usual call before a query under row-level security. What is set is asked for, and then it is a setting like any other.
#[tokio::test]
async fn a_set_config_whose_arguments_are_bound_is_followed() -> Result<(), Error> {
    let proxy = one_connection().await;
    let mut other = proxy.get_connection().await?;
    let unset = |value: Option<String>| value.filter(|value| !value.is_empty());
    let seen = async |conn: &mut Connection<Postgres>| -> Result<_, Error> {
        let mut values = Vec::new();
        for name in ["app.tenant", "app.user", "lock_timeout"] {
            values.push(unset(show(conn, name).await?));
        }
        Ok(values)
    };
    let plain = seen(&mut other).await?;
    let mut bare = PgConnection::connect(&format!("{}?sslmode=require", server().await.url())).await?;
    let mut one = proxy.get_connection().await?;
    for (sql, arguments) in [
        ("select set_config('app.tenant', $1, false)", &[Some("it's 7; \\'")][..]),
        ("select set_config($1, $2, false)", &[Some("app.user"), Some("ü")]),
        (
            "select set_config('lock_timeout', $1, false), set_config('App.Tenant', $2::text, false)",
            &[Some("7s"), Some("8")],
        ),
        ("select set_config($1, $2, $3::bool)", &[Some("app.tenant"), Some("9"), Some("f")]),
        ("select set_config('app.tenant', $1, $2::bool)", &[Some("gone at once"), Some("t")]),
        ("select set_config('lock_timeout', $1, false)", &[Some("much")]),
        ("select set_config('app.user', $1, false)", &[None]),
        (
            "select pg_catalog.set_config('app.tenant', $1::uuid::text, false)",
            &[Some("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")],
        ),
    ] {
        let bind = || arguments.iter().fold(sqlx::query(sql), |query, argument| query.bind(*argument));
        let (here, there) = (bind().fetch_optional(&mut one).await, bind().fetch_optional(&mut bare).await);
        assert_eq!(here.is_ok(), there.is_ok(), "{sql}: {here:?}, bare {there:?}");
        assert_eq!(one.pin_reason(), None, "{sql}");
        assert_eq!(seen(&mut other).await?, plain, "{sql} is seen by another session");
        let mut expected = Vec::new();
        for name in ["app.tenant", "app.user", "lock_timeout"] {
            let value: Option<String> =
                sqlx::query_scalar("select current_setting($1, true)").bind(name).fetch_one(&mut bare).await?;
            expected.push(unset(value));
        }
        assert_eq!(seen(&mut one).await?, expected, "{sql} is lost");
    }
    // A rollback takes it back, and a number is bound as what it is.
    let mut tx = one.begin().await?;
    sqlx::query("select set_config('app.user', $1::int::text, false)").bind(7).execute(&mut *tx).await?;
    assert_eq!(show(&mut tx, "app.user").await?.as_deref(), Some("7"));
    tx.rollback().await?;
    assert_eq!(unset(show(&mut one, "app.user").await?), None);
    assert_eq!((one.pin_reason(), proxy.status().connections), (None, 1));
    Ok(())
}

#[tokio::test]
async fn a_set_config_that_no_answer_tells_pins() -> Result<(), Error> {
    let proxy = one_connection().await;
    let mut other = proxy.get_connection().await?;
    let plain = show(&mut other, "lock_timeout").await?;
    for (sql, arguments) in [
        ("select set_config('lock_timeout', $1 || '', true), set_config('lock_timeout', $1, false)", &["8s"][..]),
        ("select set_config($1, $2, false), 1", &["lock_timeout", "8s"]),
        ("select set_config($1, $2, false), set_config('lock_timeout', '8s', false)", &["client_encoding", "LATIN1"]),
    ] {
        let mut one = proxy.get_connection().await?;
        run(&mut one, "set work_mem = '3MB'").await?;
        arguments.iter().fold(sqlx::query(sql), |query, value| query.bind(*value)).execute(&mut one).await?;
        assert_eq!(one.pin_reason().map(lambda_rds::PinReason::cause), Some(PinCause::Setting), "{sql}");
        let kept = (show(&mut one, "lock_timeout").await?, show(&mut one, "work_mem").await?);
        assert_eq!(kept, (Some("8s".to_owned()), Some("3MB".to_owned())));
        drop(one);
        assert_eq!(show(&mut other, "lock_timeout").await?, plain);
    }
    let mut one = proxy.get_connection().await?;
    sqlx::query("select set_config($1, $2, false)").bind("search_path").bind("pg_temp").execute(&mut one).await?;
    assert_eq!(one.pin_reason().map(lambda_rds::PinReason::cause), Some(PinCause::UnknownStatement));
    Ok(())
}

#[tokio::test]
async fn what_a_dump_begins_with_pins_nobody() -> Result<(), Error> {
    let proxy = one_connection().await;
    let mut one = proxy.get_connection().await?;
    for sql in [
        "SET statement_timeout = 0",
        "SET lock_timeout = 0",
        "SET idle_in_transaction_session_timeout = 0",
        "SET client_encoding = 'UTF8'",
        "SET NAMES 'UTF8'",
        "SET standard_conforming_strings = on",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "SET check_function_bodies = false",
        "SET xmloption = content",
        "SET client_min_messages = warning",
        "SET row_security = off",
        "SET default_tablespace = ''",
    ] {
        run(&mut one, sql).await?;
        assert_eq!(one.pin_reason(), None, "{sql}");
    }
    assert_eq!(show(&mut one, "search_path").await?.as_deref(), Some(""));
    let whole = "set client_encoding = 'UTF8'; set standard_conforming_strings = on; select 1";
    sqlx::raw_sql(whole).execute(&mut one).await?;
    assert_eq!(one.pin_reason(), None);
    run(&mut one, "set client_encoding = 'LATIN1'").await?;
    assert_eq!(one.pin_reason().map(lambda_rds::PinReason::cause), Some(PinCause::Setting));
    Ok(())
}

#[tokio::test]
async fn half_a_date_style_and_the_characteristics_are_followed() -> Result<(), Error> {
    const SEEN: &str = "select concat_ws(' | ', current_setting('DateStyle'),
        current_setting('default_transaction_isolation'), current_setting('default_transaction_read_only'),
        current_setting('default_transaction_deferrable'))";
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create role boss login password 'unused'").await;
    let scripts: &[Script] = &[
        &[
            "set datestyle to iso",
            "set datestyle = 'DMY'",
            "set datestyle to sql",
            "reset datestyle",
            "set datestyle to ymd",
        ],
        &["select set_config('datestyle', 'German', false)", "set datestyle = iso", "set datestyle = mdy"],
        &["(", "set local datestyle = 'SQL, DMY'", "set datestyle = iso", ") commit", "set datestyle = 'Postgres'"],
        &["(", "set datestyle = dmy", ") rollback", "set session datestyle = dmy", "set local datestyle = sql"],
        &[
            "set session characteristics as transaction isolation level serializable, read only",
            "set session characteristics as transaction read write",
            "set session characteristics as transaction deferrable",
            "set default_transaction_isolation to default",
            "reset all",
        ],
        &["(", "set session characteristics as transaction isolation level repeatable read", ") rollback", "select 1"],
        &[
            "set session characteristics as transaction read only",
            "set local session characteristics as transaction read write",
        ],
    ];
    replays::agree(&server, "app", SEEN, scripts).await?;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut one = proxy.get_connection().await?;
    for sql in scripts.iter().flat_map(|script| script.iter()).filter(|sql| sql.starts_with("set")) {
        run(&mut one, sql).await?;
        assert_eq!(one.pin_reason(), None, "{sql}");
    }
    Ok(())
}
