//! What a text leaves with a pooler, whatever it is and however it is sent: another client looks at the one connection of the
//! server that there is, while the session is there, and when it has gone.

use lambda_rds::{Connection, Error, Postgres};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions};
use crate::support::postgres::{Postgres as Server, PostgresOptions};

/// How a text goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Raw,
    Prepared,
    Unnamed,
}

async fn send(conn: &mut Connection<Postgres>, text: &str, way: Way) -> Result<(), sqlx::Error> {
    let text = AssertSqlSafe(text.to_owned());
    match way {
        Way::Raw => sqlx::raw_sql(text).execute(conn).await.map(|_| ()),
        Way::Prepared => sqlx::query(text).execute(conn).await.map(|_| ()),
        Way::Unnamed => sqlx::query(text).persistent(false).fetch_all(conn).await.map(|_| ()),
    }
}

const LOOK: &str = "select concat_ws('|', current_setting('lock_timeout'), coalesce(current_setting('app.x', true), ''), \
    (select count(*) from pg_locks where locktype = 'advisory'), (select count(*) from pg_cursors), \
    (select count(*) from pg_prepared_statements), (select count(*) from pg_listening_channels()), \
    (select string_agg(relname, ',') from pg_class where relpersistence = 't'), current_user, \
    current_setting('search_path'), current_setting('datestyle'), now() = statement_timestamp())";

/// Whatever the outcome: a refusal leaves nothing either.
const TEXTS: &[&str] = &[
    "update pg_settings set setting = '7s' where name = 'lock_timeout'",
    "with u as (update pg_settings set setting = '7s' where name = 'lock_timeout' returning 1) select * from u",
    "update pg_catalog.\"pg_settings\" as p set setting = '7s' where name = 'lock_timeout'",
    "merge into pg_settings p using (select 1) s on p.name = 'lock_timeout' when matched then update set setting = '7s'",
    "select pg_catalog . \"set_config\" ('lock_timeout', '7s', false)",
    "select U&\"set\\005fconfig\"('lock_timeout', '7s', false)",
    "select * from set_config('lock_timeout', '7s', false)",
    "select set_config(name, '7s', false) from pg_settings where name = 'lock_timeout'",
    "select set_config('lock_timeout', case when true then '7s' end, false), set_config('app.x', '1', false)",
    "select set_config('lock_timeout', '7s', 1 = 2)",
    "explain analyze select set_config('app.x', '1', false)",
    "create table made as select set_config('app.x', '1', false); drop table made",
    "insert into written select length(set_config('app.x', '1', false)) returning n",
    "values (set_config('app.x', '1', false))",
    "table written; set app.x = 1",
    "do $$ begin perform set_config('app.x', '1', false); end $$",
    "do $$ begin set app.x = 1; end $$",
    // Words that begin statements are names of variables and labels as well.
    "do $$ declare a int; comment text := set_config('app.x', '1', false); begin end $$",
    "do $$ declare revoke text; begin perform 1; revoke := set_config('app.x', '1', false); end $$",
    "do $$ declare a int; drop bool := pg_try_advisory_lock(7); begin end $$",
    "do $$ declare a int; comment text = query_to_xml('select set_con' || 'fig(''app.x'', ''1'', false)', true, true, ''); \
     begin end $$",
    "do $$ <<drop>> declare drop text; begin null; drop.drop = set_config('app.x', '1', false); end $$",
    // What belonged to a table that is dropped at the commit.
    "begin; create temp table tt (n serial) on commit drop; alter sequence tt_n_seq owned by none; commit",
    "begin; create temp table tt (n int) on commit drop; alter table tt add k serial; alter sequence tt_k_seq owned by none; \
     commit",
    "begin; create temp table tt (n serial) on commit drop; do 'begin alter sequence tt_n_seq owned by none; end'; commit",
    "begin; create temp table tt (n serial) on commit drop; alter sequence tt_n_seq increment 2 owned by \"none\" cache 2; commit",
    "begin; create temp table tt (n serial) on commit drop; create view tv as select last_value as n from tt_n_seq; \
     alter sequence tt_n_seq owned by tv.n; commit",
    "begin; create temp table tt (n int) on commit drop; create view tv as table tt; create or replace view tv as table tv; \
     commit",
    "create temp table tt (n int) on commit drop; create view tv as table tt; create or replace view tv as table tv",
    "begin; create temp table tt (n int) on commit drop; create view tv as select n from tt; create or replace rule \"_RETURN\" \
     as on select to tv do instead select 1 as n; commit",
    "do 'begin perform ''--''; set app.x = 1; end'",
    "do $$ begin execute 'set app.x' || ' = 1'; end $$",
    "do $$ begin if (select 1 as case) = 1 then set app.x = 1; end if; end $$",
    "do $$ declare function text := 'set app.x = 1'; begin execute function using 1; end $$",
    "do $$ begin if false then create function made() returns int language sql begin atomic (select 1); declare c cursor \
     for select 1; end; end if; set app.x = 1; end $$",
    "begin; set local check_function_bodies = off; do $$ begin if false then create rule r as on insert to t do also (select 1; \
     declare c cursor for select 1); end if; set app.x = 1; end $$; commit",
    "prepare p as select query_to_xml('select 1', true, true, '')",
    "do $$ begin for r in select 1 as case loop listen x; end loop; end $$",
    "do $$ declare r record; begin for r in execute 'select set_con' || 'fig(''app.x'', ''1'', false)' loop null; end loop; end $$",
    "do $$ declare c refcursor; x text; begin open c for execute 'select set_con' || 'fig(''app.x'', ''1'', false)'; \
     fetch c into x; close c; end $$",
    "select query_to_xml('select set_con' || 'fig(''app.x'', ''1'', false)', true, true, '')",
    "select query_to_xml('select pg_advisory_lo'\n'ck(7)', true, true, '')",
    "begin; set local app.text = 'select pg_advisory_lock(7)'; select query_to_xml(current_setting('app.text'), true, true, ''); \
     commit",
    "select * from ts_stat(concat('select pg_advisory_lock(7)::text::tsvector'))",
    "do 'begin create temp table tt (n int); end'",
    "do $$ begin perform pg_advisory_lock(7); end $$",
    "declare c scroll insensitive cursor with hold for select generate_series(1, 3)",
    "begin; declare c cursor with hold for select 1; commit",
    "create local temp sequence ts",
    "create view pg_temp.tv as select 1",
    "create function pg_temp.f() returns int language sql as 'select 1'",
    "set search_path = pg_temp; create table tt (n int)",
    "begin; set local search_path = 'pg_'\n'temp'; create table tt (n int); commit",
    "begin; set local schema e'pg_te' \n -- x\n 'mp'; create type te as enum ('a'); commit",
    "set session search_path to public, 'pg_'\n'temp'; create sequence ts",
    "select 1 into temporary tt",
    "select \"pg_try_advisory_lock\"(n) from generate_series(1, 3) n",
    "set session authorization app",
    "set session characteristics as transaction read only",
    "set local lock_timeout = '7s'; commit; set lock_timeout = '7s'",
    "prepare p as select 1",
    "listen x",
    "begin; listen x; commit",
    "select query_to_xml('select set_config(''app.x'', ''1'', false)', true, true, '')",
    "select query_to_xml($q$select pg_advisory_lock(7)$q$, true, true, '')",
    "savepoint x",
    "begin",
    "begin; select 1",
    "start transaction; set lock_timeout = '7s'",
    "commit and chain",
    "begin; commit and chain",
    "begin; rollback and chain",
    "reset all",
    "discard all",
    "set role app",
    "set constraints all deferred",
    "select lo_open(1, 131072)",
    "select pg_export_snapshot()",
    "begin; prepare transaction 'x'",
    "set time zone 'Asia/Tokyo'",
    "set datestyle = 'SQL'",
    "set client_encoding = 'LATIN1'",
];

/// Of a guard's transaction, one after the other, each beside a temporary table `tt` that is dropped at its commit. What they
/// define is temporary as that is, and does not all go with it.
const FOLLOWING: &[&[&str]] = &[
    &["alter sequence tt_n_seq owned by none"],
    &["alter sequence if exists tt_n_seq increment 2 owned by \"none\" cache 2"],
    &["alter table tt add k serial", "alter sequence tt_k_seq owned by none"],
    &["do $$ begin alter sequence tt_n_seq owned by none; end $$"],
    &["create view tv as select last_value as n from tt_n_seq", "alter sequence tt_n_seq owned by tv.n"],
    &["create view tv as table tt", "create or replace view tv as table tv"],
    &["savepoint s", "create view tv as table tt", "release s", "create or replace view tv as select a.n from tv a"],
    &[
        "create view tv as table tt",
        "create view tw as table tv",
        "create or replace view tv as table tw",
        "drop table tt",
    ],
    &["create view tv as table tt", "create or replace rule \"_RETURN\" as on select to tv do instead select 1 as n"],
];

#[tokio::test]
async fn nothing_beside_a_table_that_goes_with_its_transaction() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    let pooled = bouncer.proxy().max_connections(1).build()?;
    let shared = crate::support::proxy_to(&server).max_connections(1).build()?;
    for (proxy, is_pooled) in [(&pooled, true), (&shared, false)] {
        for texts in FOLLOWING {
            for table in [
                "create temp table tt (n serial) on commit drop",
                "create local temporary table tt (n serial) on commit drop",
            ] {
                let mut conn = proxy.get_connection().await?;
                let mut transaction = conn.begin().await?;
                sqlx::query(table).execute(&mut *transaction).await?;
                sqlx::query("insert into tt default values").execute(&mut *transaction).await?;
                let mut done = Ok(());
                for text in *texts {
                    done = done.and(send(&mut transaction, text, Way::Prepared).await);
                }
                if is_pooled {
                    assert!(done.is_err(), "{texts:?}");
                    transaction.rollback().await?;
                } else {
                    done?;
                    transaction.commit().await?;
                }
                drop(conn);
                let mut next = proxy.get_connection().await?;
                let left: Option<String> =
                    sqlx::query_scalar("select string_agg(relname, ',') from pg_class where relpersistence = 't'")
                        .fetch_one(&mut next)
                        .await?;
                assert_eq!(left, None, "{texts:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn nothing_whatever_is_sent_and_however() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let bouncer = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    server.execute("create table written (n int8); grant all on written to app").await;
    let proxy = bouncer.proxy().max_connections(3).build()?;
    let look = async || {
        let mut stranger = bouncer.options().connect().await.expect("connects");
        let row = sqlx::raw_sql(LOOK).fetch_one(&mut stranger).await.expect("answers");
        row.get::<String, _>(0)
    };
    let clean = look().await;
    for text in TEXTS {
        for way in [Way::Raw, Way::Prepared, Way::Unnamed] {
            let mut conn = proxy.get_connection().await?;
            // What became of it is told elsewhere.
            let done = send(&mut conn, text, way).await;
            // In a transaction it holds the only connection.
            if !["begin", "start", "savepoint"].iter().any(|word| text.starts_with(word)) {
                assert_eq!(look().await, clean, "meanwhile: {text}, {way:?}: {done:?}");
            }
            drop(conn);
            proxy.upkeep().await;
            assert_eq!(look().await, clean, "{text}, {way:?}: {done:?}");
        }
    }
    Ok(())
}

/// How a transaction begins, in which a text may end it unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Guard,
    Nested,
    Text,
    /// As a text, after something that nobody could follow.
    InDoubt,
    HandedOut,
}

/// What a session has set is in none but its own transactions, whatever ends them: it is taken away, or the text is refused.
#[tokio::test]
async fn no_setting_is_left_with_a_pooler_by_the_end_of_a_transaction_in_doubt() -> Result<(), Error> {
    const SEEN: &str = "select concat(current_setting('app.tenant', true), current_setting('role'))";
    let options =
        PostgresOptions { settings: vec![("max_prepared_transactions", "9".into())], ..PostgresOptions::default() };
    let server = Server::start(options).await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    let pooler = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    let proxy = pooler.proxy().max_connections(4).build()?;
    let mut refused = 0;
    for text in [
        "select 1",
        "do $$ begin perform 1; end $$; select 1",
        "savepoint a; release a",
        "select 1; savepoint a",
        "release b",
        "commit",
        "end",
        "rollback",
        "commit and chain; rollback",
        "select 1; commit",
        "commit; select 1",
        "prepare transaction 'x'",
        "commit; begin; rollback",
    ] {
        for begun in [Begun::Guard, Begun::Nested, Begun::Text, Begun::InDoubt, Begun::HandedOut] {
            let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
            send(&mut one, "set app.tenant = 'blue'", Way::Raw).await?;
            send(&mut one, "set role app", Way::Raw).await?;
            let doubt = "do $$ begin perform 1; end $$; select 1";
            let sent = match begun {
                Begun::Guard => {
                    let mut guard = one.begin().await?;
                    let sent = send(&mut guard, text, Way::Raw).await;
                    send(&mut guard, "insert into kept values (1)", Way::Prepared).await.ok();
                    guard.commit().await.ok();
                    sent
                }
                Begun::Nested => {
                    let mut guard = one.begin().await?;
                    let mut inner = guard.begin().await?;
                    let sent = send(&mut inner, text, Way::Raw).await;
                    send(&mut inner, "insert into kept values (1)", Way::Prepared).await.ok();
                    inner.commit().await.ok();
                    guard.commit().await.ok();
                    sent
                }
                Begun::Text | Begun::InDoubt => {
                    send(&mut one, "begin", Way::Raw).await?;
                    if begun == Begun::InDoubt {
                        send(&mut one, doubt, Way::Raw).await.ok();
                    }
                    let sent = send(&mut one, text, Way::Raw).await;
                    send(&mut one, "insert into kept values (1)", Way::Prepared).await.ok();
                    send(&mut one, "commit", Way::Raw).await.ok();
                    sent
                }
                Begun::HandedOut => {
                    let mut guard = one.begin().await?;
                    guard.pin().await?;
                    let sent = send(&mut guard, text, Way::Raw).await;
                    send(&mut guard, "insert into kept values (1)", Way::Prepared).await.ok();
                    guard.commit().await.ok();
                    sent
                }
            };
            refused += usize::from(sent.is_err());
            let what = format!("{begun:?}, {text}, {sent:?}");
            let seen: String = sqlx::query_scalar(SEEN).fetch_one(&mut other).await?;
            assert_eq!(seen, "none", "{what}: another session sees it");
            let mut own = match proxy.get_connection().await {
                Ok(conn) => conn,
                Err(error) => panic!("{what}: {error}"),
            };
            drop(own.begin().await?);
            if one.pin_reason().is_none() {
                let mut next = one.begin().await?;
                let seen: String = sqlx::query_scalar(SEEN).fetch_one(&mut *next).await?;
                assert_eq!(seen, "blueapp", "{what}: the session has lost it");
            }
            drop(one);
            proxy.upkeep().await;
            let seen: String = sqlx::query_scalar(SEEN).fetch_one(&mut other).await?;
            assert_eq!(seen, "none", "{what}: it stays when the session has gone");
            let prepared = "select count(*) from pg_prepared_xacts";
            let prepared: i64 =
                sqlx::query_scalar(prepared).fetch_one(&mut server.admin().await).await.expect("answers");
            if prepared > 0 {
                server.execute("rollback prepared 'x'").await;
            }
        }
    }
    assert!(refused > 20, "{refused}");
    Ok(())
}

/// The same where the doubt is older than the setting: the server is asked before anything is set outside of a transaction.
#[tokio::test]
async fn no_setting_is_left_with_a_pooler_after_a_transaction_in_doubt() -> Result<(), Error> {
    const SEEN: &str = "select concat(current_setting('app.tenant', true), current_setting('role'))";
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    let pooler = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    let proxy = pooler.proxy().max_connections(2).build()?;
    let do_nothing = "do $$ begin perform 1; end $$; select 1";
    let set = "set app.tenant = 'blue'";
    let choose = "select set_config('app.tenant', 'blue', false)";
    let insert = "insert into kept values (1)";
    for (texts, kept) in [
        (&["begin", "insert into kept values (1); commit", set][..], 1),
        (&["begin", "insert into kept values (1); commit", choose], 1),
        (&["begin", "commit; select 1", set, insert], 1),
        (&["begin", "insert into kept values (1); rollback", set], 0),
        (&["begin", do_nothing, set, insert, "commit"], 1),
        (&["begin", do_nothing, set, insert, "rollback"], 0),
        (&["begin", do_nothing, insert, "commit", set], 1),
        (&["select 1; begin", set, insert, "commit"], 1),
        (&["select 1; begin", insert, choose, "rollback"], 0),
        (&["begin; select 1", set, insert, "end"], 1),
        (&[do_nothing, set, "begin", insert, "commit"], 1),
        (&[set, "begin", do_nothing, insert, "commit"], 1),
    ] {
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        for text in texts {
            let sent = send(&mut one, text, Way::Raw).await;
            assert!(sent.is_ok(), "{texts:?}, {text}: {sent:?}");
        }
        let seen: String = sqlx::query_scalar(SEEN).fetch_one(&mut other).await?;
        assert_eq!(seen, "none", "{texts:?}: another session sees it");
        let mut next = one.begin().await?;
        let seen: String = sqlx::query_scalar(SEEN).fetch_one(&mut *next).await?;
        // A rollback takes it back.
        let own = if texts.last() == Some(&"rollback") { "none" } else { "bluenone" };
        assert_eq!(seen, own, "{texts:?}: the session's own");
        next.rollback().await?;
        drop(one);
        proxy.upkeep().await;
        let seen: String = sqlx::query_scalar(SEEN).fetch_one(&mut other).await?;
        assert_eq!(seen, "none", "{texts:?}: it stays when the session has gone");
        let gone = "with gone as (delete from kept returning 1) select count(*) from gone";
        let found: i64 = sqlx::query_scalar(gone).fetch_one(&mut server.admin().await).await.expect("answers");
        assert_eq!(found, kept, "{texts:?}");
    }
    // In a guard nobody ends what the guard has begun, and what was ended all the same takes no setting.
    for ended_by in ["select 1; commit", "commit", "rollback", "handed out"] {
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        let mut guard = one.begin().await?;
        if ended_by == "handed out" {
            sqlx::raw_sql("commit").execute(guard.pin().await?).await?;
        } else {
            send(&mut guard, ended_by, Way::Raw).await?;
        }
        let sent = send(&mut guard, set, Way::Raw).await;
        assert!(sent.is_err(), "{ended_by}: {sent:?}");
        guard.rollback().await.expect_err(ended_by);
        let seen: String = sqlx::query_scalar(SEEN).fetch_one(&mut other).await?;
        assert_eq!(seen, "none", "{ended_by}: another session sees it");
    }
    Ok(())
}

/// A pooler sets what the driver has logged in with, and `RESET` goes to the server's own there: neither the next session nor the
/// one that resets sees that.
#[tokio::test]
async fn what_the_driver_has_logged_in_with_stays_with_a_pooler() -> Result<(), Error> {
    const SEEN: &str = "select concat_ws('|', current_setting('timezone'), current_setting('datestyle'), \
        current_setting('client_encoding'), split_part(current_setting('application_name'), '#', 1))";
    let server = Server::start(PostgresOptions::default()).await;
    for setting in
        ["timezone = 'Asia/Tokyo'", "datestyle = 'german'", "client_encoding = 'LATIN1'", "application_name = 'its'"]
    {
        server.execute(&format!("alter role app set {setting}")).await;
    }
    let pooler = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    for (texts, resets) in [
        (&["set time zone 'Europe/Paris'"][..], false),
        (&["select set_config('timezone', 'Europe/Paris', false)"], false),
        (&["set datestyle = 'iso, dmy'"], false),
        (&["set datestyle = 'dmy'"], false),
        (&["set datestyle to ymd"], false),
        (&["set datestyle = sql"], false),
        (&["select set_config('datestyle', 'dmy', false)"], false),
        (&["begin", "set datestyle = 'dmy'", "commit"], false),
        (&["set application_name = 'mine'"], false),
        (&["reset time zone"], true),
        (&["reset timezone"], true),
        (&["reset datestyle"], true),
        (&["reset application_name"], true),
        (&["set time zone default"], true),
        (&["set time zone local"], true),
        (&["set datestyle to default"], true),
        (&["reset all"], true),
        (&["discard all"], true),
        (&["set time zone 'Europe/Paris'", "reset time zone"], true),
        (&["set lock_timeout = '7s'", "reset all"], true),
        (&["set lock_timeout = '7s'", "discard all"], true),
        (&["begin", "reset all", "commit"], true),
        (&["begin", "reset all", "rollback"], true),
        (&["begin", "savepoint a", "reset time zone", "rollback to a", "commit"], true),
        (&["begin", "savepoint a", "reset time zone", "release a", "commit"], true),
        (&["begin", "set local time zone 'Europe/Paris'", "reset time zone", "commit"], true),
    ] {
        for way in [Way::Raw, Way::Prepared, Way::Unnamed] {
            let proxy = pooler.proxy().max_connections(2).build()?;
            let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
            let before: String = sqlx::query_scalar(SEEN).fetch_one(&mut other).await?;
            assert!(before.starts_with("UTC|ISO, MDY|UTF8|lambda-rds"), "{before}");
            for text in texts {
                send(&mut one, text, way).await?;
            }
            // In a transaction of its own, and in none.
            for look in [Way::Raw, Way::Prepared] {
                if resets {
                    let seen: String = match look {
                        Way::Raw => sqlx::raw_sql(SEEN).fetch_one(&mut one).await?.get(0),
                        _ => sqlx::query_scalar(SEEN).fetch_one(&mut one).await?,
                    };
                    assert_eq!(seen, before, "{texts:?}, {way:?}: by itself, {look:?}");
                }
            }
            let seen: String = sqlx::query_scalar(SEEN).fetch_one(&mut other).await?;
            assert_eq!(seen, before, "{texts:?}, {way:?}");
            drop(one);
            proxy.upkeep().await;
            let seen: String = sqlx::raw_sql(SEEN).fetch_one(&mut other).await?.get(0);
            assert_eq!(seen, before, "{texts:?}, {way:?}, and the session has gone");
            let mut next = proxy.get_connection().await?;
            let seen: String = sqlx::raw_sql(SEEN).fetch_one(&mut next).await?.get(0);
            assert_eq!(seen, before, "{texts:?}, {way:?}, to the next session");
        }
    }
    Ok(())
}
