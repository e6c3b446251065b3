//! Settings go with their session from one physical connection to another, and stay off everybody else's.
//!
//! Not here: roles and the like, for `SET ROLE` pins (`truth_table`); settings of one transaction, for there are none but
//! `SET TRANSACTION`, which pins; what the `init_query` sets, and numbers that another session drew, are in `leaks`.

use std::collections::BTreeMap;

use lambda_rds::{Connection, Error, Event, Isolation, MySql, PinCause, PinReason, Proxy};
use sqlx::{AssertSqlSafe, Executor, Row};

use super::replays;
use super::stage::{logging_statements, settings, texts, worded};
use crate::support::mariadb::{APP_PASSWORD, MariaDb, MariaDbOptions};
use crate::support::servers::Family;
use crate::support::{Recorder, mysql_proxy_to, mysql_server};

type Shown = BTreeMap<String, String>;

/// All that the server shows of a session's settings.
fn question() -> String {
    format!(
        "select name, value from {} where name not in ('timestamp', 'rand_seed1', 'rand_seed2', 'pseudo_thread_id', \
           'last_insert_id', 'identity', 'in_transaction', 'last_gtid') \
         union all select 'database()', ifnull(database(), '') limit 10000",
        settings()
    )
}

async fn run(conn: &mut Connection<MySql>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn look(conn: &mut Connection<MySql>) -> Result<Shown, Error> {
    let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(question()))).await?;
    let text = |row: &sqlx::mysql::MySqlRow, at: usize| {
        String::from_utf8_lossy(&row.get_unchecked::<Vec<u8>, _>(at)).into_owned()
    };
    Ok(rows.iter().map(|row| (text(row, 0), text(row, 1))).collect())
}

fn changed(before: &Shown, after: &Shown) -> Vec<String> {
    after.iter().filter(|(name, value)| before.get(*name) != Some(value)).map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn a_setting_is_its_sessions_and_nobody_elses() -> Result<(), Error> {
    let server = mysql_server().await;
    server.execute("create database if not exists `set``tings`; grant all on `set``tings`.* to app").await;
    let proxy = mysql_proxy_to(server).max_connections(1).build().unwrap();
    let mut other = proxy.get_connection().await?;
    let origin = look(&mut other).await?;
    for (text, names) in [
        ("set sql_mode = 'traditional'", vec!["sql_mode"]),
        ("set sql_mode = ''", vec!["sql_mode"]),
        ("set sql_mode = default", vec!["sql_mode"]),
        ("SET @@session . Time_Zone := '+07:00' -- x", vec!["time_zone"]),
        ("set time_zone = default;", vec!["time_zone"]),
        ("set wait_timeout = 77", vec!["wait_timeout"]),
        ("set idle_transaction_timeout = 77", vec!["idle_transaction_timeout"]),
        ("set group_concat_max_len = 7000 # x", vec!["group_concat_max_len"]),
        ("set storage_engine = 'aria'", vec!["default_storage_engine", "storage_engine"]),
        ("set default_storage_engine = myisam", vec!["default_storage_engine", "storage_engine"]),
        (
            "set names latin1",
            vec!["character_set_client", "character_set_connection", "character_set_results", "collation_connection"],
        ),
        ("set names utf8mb4 collate utf8mb4_bin", vec!["collation_connection"]),
        ("use `set``tings`", vec!["database()"]),
        ("set session transaction isolation level read committed", vec!["tx_isolation"]),
        ("set tx_isolation = 'serializable'", vec!["tx_isolation"]),
        ("set local transaction read only", vec!["tx_read_only"]),
        ("set @@session.tx_read_only = on", vec!["tx_read_only"]),
        ("set session transaction read only, isolation level read uncommitted", vec!["tx_isolation", "tx_read_only"]),
        ("set autocommit = 0", vec!["autocommit"]),
        (
            "set sql_mode = 'strict_all_tables', names utf8mb4 collate utf8mb4_bin, session sql_select_limit = 10000, \
             autocommit = off, @@session.tx_isolation = 'serializable'",
            vec!["autocommit", "collation_connection", "sql_mode", "sql_select_limit", "tx_isolation"],
        ),
    ] {
        let Some(text) = &worded(text) else { continue };
        // Some have another name, or one name only.
        let names: Vec<_> = names.into_iter().filter_map(worded).filter(|name| origin.contains_key(name)).collect();
        let mut own = proxy.get_connection().await?;
        run(&mut own, text).await?;
        let set = look(&mut own).await?;
        assert_eq!(changed(&origin, &set), names, "{text}");
        run(&mut own, "commit").await?;
        assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new(), "after {text}");
        assert_eq!(changed(&set, &look(&mut own).await?), Vec::<String>::new(), "{text}, again");
        run(&mut own, "commit").await?;
        assert_eq!(own.pin_reason().map(PinReason::cause), None, "{text}");
        drop(own);
        let mut next = proxy.get_connection().await?;
        assert_eq!(changed(&origin, &look(&mut next).await?), Vec::<String>::new(), "after the session of {text}");
        assert_eq!(proxy.status().connections, 1, "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_setting_that_is_refused_is_not_kept() -> Result<(), Error> {
    let proxy = mysql_proxy_to(mysql_server().await).max_connections(1).build().unwrap();
    let (mut own, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let origin = look(&mut own).await?;
    // All of a list are set, or none.
    for text in [
        "set sql_mode = 'nonsense'",
        "set group_concat_max_len = 7000, nothing_of_that_name = 1",
        "set group_concat_max_len = 7000, sql_mode = 'nonsense'",
        "use nothing_of_that_name",
    ] {
        assert!(run(&mut own, text).await.is_err(), "{text}");
        look(&mut other).await?;
        assert_eq!(changed(&origin, &look(&mut own).await?), Vec::<String>::new(), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_followed_pins() -> Result<(), Error> {
    let proxy = mysql_proxy_to(mysql_server().await).max_connections(1).build().unwrap();
    let origin = look(&mut proxy.get_connection().await?).await?;
    for (text, cause) in [
        ("set @a = 1", PinCause::UserVariable),
        ("set transaction isolation level serializable", PinCause::Setting),
        ("set optimizer_switch = 'mrr=on'", PinCause::Setting),
        ("set sql_mode = ansi_quotes", PinCause::UnknownStatement),
        ("set sql_mode = concat(@@sql_mode, ',ansi')", PinCause::UnknownStatement),
        ("set names default", PinCause::UnknownStatement),
        ("set character set latin1", PinCause::Setting),
        ("set sort_buffer_size = 2 * @@sort_buffer_size", PinCause::Setting),
        ("set sort_buffer_size = (select 70000)", PinCause::Setting),
        ("set @@tx_read_only = on", PinCause::Setting),
        ("set lock_wait_timeout = 7, @a = 1", PinCause::UserVariable),
        ("/*! set lock_wait_timeout = 7 */", PinCause::UnknownStatement),
        ("/*!50000 set */ lock_wait_timeout = 7", PinCause::UnknownStatement),
        ("set /*!99999 lock_wait_timeout = 7, */ net_read_timeout = 7", PinCause::UnknownStatement),
        ("set statement lock_wait_timeout = 7 for set net_read_timeout = 7", PinCause::UnknownStatement),
        ("set lock_wait_timeout = 7; set net_read_timeout = 7", PinCause::SeveralStatements),
    ] {
        let Some(text) = &worded(text) else { continue };
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, text).await?;
        assert_eq!(conn.pin_reason().map(PinReason::cause), Some(cause), "{text}");
        let set = look(&mut conn).await?;
        assert_eq!(changed(&set, &look(&mut conn).await?), Vec::<String>::new(), "{text}");
        drop(conn);
        let seen = look(&mut proxy.get_connection().await?).await?;
        assert_eq!(changed(&origin, &seen), Vec::<String>::new(), "after the session of {text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_set_whose_value_is_not_in_the_text_pins() -> Result<(), Error> {
    let proxy = mysql_proxy_to(mysql_server().await).max_connections(1).build()?;
    let mut other = proxy.get_connection().await?;
    let origin = look(&mut other).await?;
    let mut one = proxy.get_connection().await?;
    run(&mut one, "set net_read_timeout = 8").await?;
    sqlx::query("set lock_wait_timeout = ?").bind(7).execute(&mut one).await?;
    assert_eq!(one.pin_reason().map(PinReason::cause), Some(PinCause::Setting));
    let set = look(&mut one).await?;
    assert_eq!((set["lock_wait_timeout"].as_str(), set["net_read_timeout"].as_str()), ("7", "8"));
    drop(one);
    assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new());
    Ok(())
}

/// The first of them has set something when a later one fails.
#[tokio::test]
async fn a_text_that_failed_half_way_keeps_what_it_had_set_to_its_session() -> Result<(), Error> {
    let proxy = mysql_proxy_to(mysql_server().await).max_connections(2).build().unwrap();
    let origin = look(&mut proxy.get_connection().await?).await?;
    for text in [
        "set lock_wait_timeout = 7; select * from nothing_there",
        "set lock_wait_timeout = 7; set no_such_thing = 1; set lock_wait_timeout = 8",
        "begin; set lock_wait_timeout = 7; select * from nothing_there; commit",
    ] {
        let mut own = proxy.get_connection().await?;
        run(&mut own, "set time_zone = '+07:00'").await?;
        assert!(run(&mut own, text).await.is_err(), "{text}");
        let mut other = proxy.get_connection().await?;
        for _ in 0..2 {
            assert_eq!(changed(&origin, &look(&mut own).await?), ["lock_wait_timeout", "time_zone"], "{text}");
            assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new(), "{text}");
        }
        drop(own);
        assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new(), "after the session of {text}");
    }
    Ok(())
}

/// What is the server's is nobody's: sessions that are there keep their own, as on any connection.
#[tokio::test]
async fn a_setting_of_the_server_pins_nobody() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create user boss@'%' identified by 'x'; grant all on *.* to boss@'%'").await;
    let proxy = mysql_proxy_to(&server).url(server.url_for("boss", "x", "app")).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut one, "set lock_wait_timeout = 7").await?;
    for text in [
        "set global lock_wait_timeout = 9",
        "set @@global.lock_wait_timeout := 9",
        "set global lock_wait_timeout = 9, global net_read_timeout = 9",
        "set global transaction isolation level serializable",
        "set statement max_statement_time = 5 for select 1",
    ] {
        let Some(text) = &worded(text) else { continue };
        run(&mut one, text).await?;
        assert_eq!(one.pin_reason().map(PinReason::cause), None, "{text}");
        assert_eq!(look(&mut one).await?["lock_wait_timeout"], "7", "{text}");
        assert_ne!(look(&mut other).await?["lock_wait_timeout"], "7", "{text}");
    }
    // Whose the second one is depends on the server.
    run(&mut other, "set global lock_wait_timeout = 9, net_read_timeout = 9").await?;
    assert_eq!(other.pin_reason().map(PinReason::cause), Some(PinCause::Setting));
    Ok(())
}

/// A database that is not there any more is the server's to refuse, and nothing runs in another one.
#[tokio::test]
async fn a_setting_that_cannot_be_made_again_is_an_error_and_its_sessions_alone() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create database passing; grant all on passing.* to app; create table app.t (n int)").await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let (mut own, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut own, "use passing").await?;
    run(&mut own, "set lock_wait_timeout = 7").await?;
    let origin = look(&mut other).await?;
    server.execute("drop database passing").await;
    for _ in 0..2 {
        let refused = run(&mut own, "insert into t values (1)").await.unwrap_err();
        assert_eq!(refused.sqlstate().as_deref(), Some("42000"), "{refused:?}");
        assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new());
    }
    assert_eq!(server.rows("select * from app.t").await.len(), 0);
    server.execute("create database passing; create table passing.t (n int)").await;
    run(&mut own, "insert into t values (2)").await?;
    assert_eq!(look(&mut own).await?["lock_wait_timeout"], "7");
    assert_eq!(server.rows("select * from passing.t").await.len(), 1);
    Ok(())
}

#[tokio::test]
async fn strict_isolation_resets_what_a_function_hid() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    let body = "begin set @@group_concat_max_len = 77; return 1; end";
    server.execute(&format!("create function app.hide() returns int {body}")).await;
    for (isolation, seen) in [(Isolation::ByStatement, true), (Isolation::Strict, false)] {
        let proxy = mysql_proxy_to(&server).max_connections(1).isolation(isolation).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, "select hide()").await?;
        assert_eq!(look(&mut one).await?["group_concat_max_len"], "77", "its own, with nobody in between");
        assert_eq!(look(&mut other).await?["group_concat_max_len"] == "77", seen, "{isolation:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_is_pinned_later_keeps_what_it_had_set() -> Result<(), Error> {
    for isolation in [Isolation::ByStatement, Isolation::Strict] {
        let proxy = mysql_proxy_to(mysql_server().await).max_connections(1).isolation(isolation).build()?;
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, "set lock_wait_timeout = 7").await?;
        run(&mut other, "set lock_wait_timeout = 9").await?;
        run(&mut one, "create temporary table kept (n int)").await?;
        assert_eq!(look(&mut one).await?["lock_wait_timeout"], "7", "{isolation:?}");
        drop(one);
        let gone = run(&mut other, "select * from kept").await.unwrap_err();
        assert_eq!(gone.sqlstate().as_deref(), Some("42S02"), "{isolation:?}");
        assert_eq!(look(&mut other).await?["lock_wait_timeout"], "9", "{isolation:?}");
    }
    Ok(())
}

/// The server's log has every text, and the list its first lines.
#[tokio::test]
async fn only_what_differs_is_set_again_and_in_one_round_trip() -> Result<(), Error> {
    let server = MariaDb::start(logging_statements()).await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for text in ["set lock_wait_timeout = 7", "set time_zone = '+07:00'", "set net_read_timeout = 7", "do 1", "do 2"] {
        run(&mut one, text).await?;
    }
    run(&mut other, "set time_zone = '+07:00'").await?;
    run(&mut other, "do 3").await?;
    run(&mut one, "do 4").await?;
    let sent = texts(&server).into_iter().filter(|text| !text.starts_with("SELECT CAST((CONCAT(@@global.read_only)"));
    let sent: Vec<_> = sent.map(|text| text.trim_end_matches(';').to_owned()).collect();
    let from = sent.iter().position(|text| text == "set lock_wait_timeout = 7").expect("sent");
    // MySQL's log has the statements of a text one by one, and MariaDB's the whole text, of which these are first lines.
    let is_mysql = server.family() == Family::MySql;
    let expected = [
        ("set lock_wait_timeout = 7", true),
        ("set time_zone = '+07:00'", true),
        ("set net_read_timeout = 7", true),
        ("do 1", true),
        ("do 2", true),
        ("SET SESSION lock_wait_timeout = DEFAULT", true),
        ("SET time_zone = '+00:00'", is_mysql),
        ("SET SESSION net_read_timeout = DEFAULT", is_mysql),
        ("set time_zone = '+07:00'", true),
        ("do 3", true),
        ("SET SESSION lock_wait_timeout = 7", true),
        ("SET SESSION net_read_timeout = 7", is_mysql),
        ("do 4", true),
    ];
    let expected: Vec<_> = expected.into_iter().filter(|(_, is_there)| *is_there).map(|(text, _)| text).collect();
    assert_eq!(sent[from..], expected);
    if is_mysql {
        return Ok(());
    }
    let log = server.statements();
    let back =
        "SET SESSION lock_wait_timeout = DEFAULT;\nSET time_zone = '+00:00';\nSET SESSION net_read_timeout = DEFAULT\n";
    assert!(log.contains(back), "{log}");
    assert!(log.contains("SET SESSION lock_wait_timeout = 7;\nSET SESSION net_read_timeout = 7\n"), "{log}");
    Ok(())
}

/// No statement takes a session back to having no database: it keeps its connection.
#[tokio::test]
async fn a_database_stays_with_a_session_that_had_none() -> Result<(), Error> {
    let server = mysql_server().await;
    let url = server.url_for("app", APP_PASSWORD, "");
    let proxy = Proxy::<MySql>::builder().url(url).ca_pem(server.ca_pem()).max_connections(2).build().unwrap();
    let (mut own, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut own, "use app").await?;
    assert_eq!(look(&mut own).await?["database()"], "app");
    assert_eq!(own.pin_reason().map(PinReason::cause), Some(PinCause::Setting));
    assert_eq!(look(&mut other).await?["database()"], "");
    drop(own);
    assert_eq!(look(&mut proxy.get_connection().await?).await?["database()"], "");
    Ok(())
}

/// Everything that the texts below change, as the server has it. The last line is for `sql_select_limit`.
fn witness() -> String {
    format!(
        "select concat(name, '=', value) from {} \
           where name in ('sql_mode', 'time_zone', 'group_concat_max_len', 'lock_wait_timeout', 'long_query_time', \
           'max_statement_time', 'sql_select_limit', 'autocommit', 'tx_isolation', 'tx_read_only', 'lc_time_names', \
           'character_set_client', 'character_set_connection', 'character_set_results', 'collation_connection', \
           'foreign_key_checks', 'unique_checks', 'default_storage_engine', 'tmp_table_size', 'div_precision_increment', \
           'system_versioning_asof', 'low_priority_updates', 'sort_buffer_size', 'transaction_isolation', \
           'transaction_read_only', 'max_execution_time') \
         union all select concat('database()=', hex(ifnull(database(), ''))) order by 1 limit 10000",
        settings()
    )
}

async fn agree(scripts: &[replays::Script]) -> Result<(), Error> {
    let server = mysql_server().await;
    server.execute("create database if not exists `größe`; grant all on `größe`.* to app").await;
    for script in scripts {
        // In the server's words, which live as long as the process, as texts of a script do.
        let script = script.iter().filter_map(|text| Some(&*worded(text)?.leak())).collect::<Vec<&'static str>>();
        replays::agree(server, "app", witness().leak(), &[script.leak()]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn values_are_kept_in_every_spelling() -> Result<(), Error> {
    agree(&[
        &[
            "set sql_mode = 'traditional'",
            "SET SESSION sql_mode := 'strict_all_tables, no_zero_date'",
            "set sql_mode=''",
        ],
        &[
            "set time_zone = '+07:00'",
            "set time_zone = SYSTEM",
            "set time_zone = \"+05:00\"",
            "set local time_zone = '-3:30' /* ; */",
        ],
        &["SET @@TIME_ZONE = '+01:00';", "set @@session.time_zone := '+02:00' -- and; more", "set TIME_ZONE = 'utc'"],
        &["set lock_wait_timeout = 7", "set `lock_wait_timeout` = 8", "set @@session . LOCK_WAIT_timeout = 9"],
        &["set @@`lock_wait_timeout` = 10", "set session`lock_wait_timeout`=11", "set lock_wait_timeout = 0x0c"],
        &["set long_query_time = 1.5", "set long_query_time = 25e-1"],
        &["set sql_select_limit = 18446744073709551615", "set sql_select_limit = 1", "set sql_select_limit = default"],
        &[
            "set foreign_key_checks = off",
            "set foreign_key_checks = TRUE",
            "set unique_checks = 'off', unique_checks = 1",
        ],
        &["set names latin1", "set names 'utf8mb4' collate 'utf8mb4_bin'", "set names utf8mb4", "set names ascii"],
        &["set names utf8mb3 collate utf8mb3_bin", "set names binary", "set names latin1 collate latin1_german1_ci"],
        &["set lc_time_names = 'de_DE'", "set lc_time_names = ja_JP", "set lc_time_names = 5"],
        &["set default_storage_engine = memory", "set storage_engine = 'aria'", "set default_storage_engine = InnoDB"],
        &["use information_schema", "USE `app`;", "use nothing_there", "use app -- and; more"],
        &["set session transaction isolation level read committed", "set tx_isolation = 'serializable'"],
        &[
            "set @@session.tx_isolation = 'REPEATABLE-READ'",
            "set session transaction read only, isolation level serializable",
        ],
        &[
            "set session tx_read_only = 1",
            "set local transaction read write",
            "set tx_isolation = 0",
            "set tx_read_only = on",
        ],
        &["set autocommit = 0", "commit", "set autocommit = 1", "set @@autocommit := 'OFF'", "rollback"],
        &["set group_concat_max_len = 7000, session lock_wait_timeout = 7, @@local.time_zone = '+01:00', names latin1"],
        &[
            "set lock_wait_timeout = 5, lock_wait_timeout = 6",
            "set lock_wait_timeout = default, sort_buffer_size = 77777",
        ],
    ])
    .await
}

/// The same variable under its other name, and values that mean what other settings say at that moment.
#[tokio::test]
async fn whatever_was_set_last_holds() -> Result<(), Error> {
    agree(&[
        &["set tmp_table_size = 1048576", "set tmp_memory_table_size = 2097152", "set tmp_table_size = 3145728"],
        &["set sql_low_priority_updates = 1", "set low_priority_updates = 0", "set sql_low_priority_updates = on"],
        // The driver sends UTF-8 whatever it is said to be.
        &["use `größe`", "set names latin1", "select 1", "set names utf8mb4"],
        // A value out of bounds is cut to size, or refused in a strict mode.
        &["set sql_mode = ''", "set group_concat_max_len = 1", "set sql_mode = 'strict_all_tables'", "select 1"],
        &[
            "set sql_mode = ''",
            "set group_concat_max_len = 1, sql_mode = 'traditional'",
            "set group_concat_max_len = 1",
        ],
    ])
    .await
}

/// Whatever a session of this server can set, by any of its names, and not only what this crate has heard of. Left out is
/// the memory that a session may have: it would have none. On a server of its own, for MariaDB shows what one session sets
/// as its `max_relay_log_size` to all of them, on any connection.
#[tokio::test]
async fn every_setting_that_the_server_has_is_its_sessions_by_any_name() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    let rows = server.rows(server.family().either(MARIADBS_SETTINGS, MYSQLS_SETTINGS)).await;
    let mut values = BTreeMap::new();
    for row in &rows {
        let column = |at: usize| row.get_unchecked::<String, _>(at);
        let number = |at: usize| column(at).parse().unwrap_or(0_i128);
        let step = number(5).max(1);
        let next = |n: i128| if number(2) + n * step > number(6) { number(2) - n * step } else { number(2) + n * step };
        let others = match column(1).as_str() {
            "ENUM" | "BOOLEAN" => {
                let (all, now) = (column(3), column(2));
                let others: Vec<_> =
                    all.split(',').filter(|one| *one != now && !one.is_empty()).map(|one| format!("'{one}'")).collect();
                others
            }
            kind if kind.contains("INT") => (1..=2).map(|n| next(n).to_string()).collect(),
            _ => Vec::new(),
        };
        values.insert(column(0), others);
    }
    let (mut moved, mut aliases) = (0, Vec::new());
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let mut other = proxy.get_connection().await?;
    let origin = look(&mut other).await?;
    for (name, others) in &values {
        let mut own = proxy.get_connection().await?;
        let Some(first) = others.first() else { continue };
        if run(&mut own, &format!("set {name} = {first}")).await.is_err() || own.pin_reason().is_some() {
            continue;
        }
        moved += 1;
        let mut set = look(&mut own).await?;
        let names = changed(&origin, &set);
        // The same by its other name, which must be what holds from now on.
        for name in names.iter().filter(|other| *other != name) {
            let second = values.get(name).and_then(|others| others.last()).unwrap_or(first);
            if run(&mut own, &format!("set {name} = {second}")).await.is_ok() {
                set = look(&mut own).await?;
                aliases.push(name.clone());
            }
        }
        run(&mut own, "rollback").await?;
        let pinned = own.pin_reason().is_some();
        if !pinned {
            assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new(), "after {names:?}");
            assert_eq!(changed(&set, &look(&mut own).await?), Vec::<String>::new(), "{names:?}, again");
        }
        run(&mut own, "rollback").await?;
        drop(own);
        assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new(), "after the session of {names:?}");
    }
    println!("{moved} settings, {aliases:?}");
    // MySQL has fewer settings, and has given up their second names.
    let (most, has_aliases) = server.family().either((100, true), (60, false));
    assert!(moved > most && aliases.is_empty() != has_aliases, "{moved}, {aliases:?}");
    Ok(())
}

/// Name, kind, value, the values there are, and the bounds of a number.
const MARIADBS_SETTINGS: &str = "
    select lower(variable_name), variable_type, session_value, ifnull(enum_value_list, ''), \
      ifnull(numeric_min_value, '0'), ifnull(numeric_block_size, '1'), ifnull(numeric_max_value, '0') \
    from information_schema.system_variables \
    where session_value is not null and read_only = 'NO' and variable_scope <> 'GLOBAL' \
      and variable_name <> 'max_session_mem_used'";

/// It does not tell the values that a setting may have. The time that a statement may take is a minute and more: a loaded
/// machine does not answer within a millisecond, which is the next value after none.
const MYSQLS_SETTINGS: &str = "
    select m.variable_name, if(m.data_type = 'Integer', 'INT', 'BOOLEAN'), v.variable_value, \
      if(m.data_type = 'Boolean', 'ON,OFF', ''), ifnull(m.min_value, '0'), \
      if(m.variable_name = 'max_execution_time', '60000', '1'), ifnull(m.max_value, '0') \
    from performance_schema.variables_metadata m join performance_schema.variables_by_thread v \
      on v.variable_name = m.variable_name and v.thread_id = ps_current_thread_id() \
    where m.data_type in ('Integer', 'Boolean') and m.variable_scope <> 'GLOBAL'";

#[tokio::test]
async fn a_default_takes_back_in_every_spelling() -> Result<(), Error> {
    agree(&[
        &["set lock_wait_timeout = 7", "set lock_wait_timeout = default", "set session lock_wait_timeout = 7"],
        &[
            "set @@lock_wait_timeout = 7",
            "set @@session.lock_wait_timeout := DEFAULT",
            "set `lock_wait_timeout`=default;",
        ],
        &["set sql_mode = ''", "set sql_mode = default", "set time_zone = '+01:00'", "set time_zone = default"],
        // On a real MySQL this default is the opposite of the server's value, and never another session's.
        &["set foreign_key_checks = default", "set unique_checks = default, foreign_key_checks = 1", "select 1"],
        &["set storage_engine = aria", "set default_storage_engine = default", "set tx_isolation = default"],
        &["set session transaction read only", "set tx_read_only = default", "set autocommit = 1"],
        &["set group_concat_max_len = 7000", "(", "set group_concat_max_len = default", ") rollback", "select 1"],
        &["set group_concat_max_len = 7000", "(", "(", "set group_concat_max_len = default", ") drop", ") commit"],
    ])
    .await
}

/// No rollback takes a setting back on MySQL.
#[tokio::test]
async fn what_fails_leaves_what_was_before_and_what_is_rolled_back_does_not() -> Result<(), Error> {
    agree(&[
        &["set group_concat_max_len = 7000", "set group_concat_max_len = 'much'", "set no_such_thing = 1", "select 1"],
        &["set lock_wait_timeout = 5, sql_mode = 'nonsense'", "set lock_wait_timeout = 6, version = 'x'", "select 1"],
        &["set global group_concat_max_len = 7000", "set names latin1 collate utf8mb4_bin", "use nothing_there"],
        &["set tx_isolation = 'nonsense'"],
        &["(", "set group_concat_max_len = 7000", "set group_concat_max_len = 'much'", ") commit", "select 1"],
        &["(", "set group_concat_max_len = 7000", "select * from nothing_there", ") rollback", "select 1"],
        &[
            "(",
            "set time_zone = '+01:00'",
            "(",
            "set time_zone = '+02:00'",
            ") rollback",
            "use nothing_there",
            ") commit",
        ],
        &[
            "(",
            "set names latin1",
            "(",
            "set lock_wait_timeout = 9",
            ") commit",
            "(",
            "set lock_wait_timeout = 8",
            ") drop",
        ],
        &[
            "(",
            "(",
            "set sql_mode = ''",
            ") drop",
            ") drop",
            "select 1",
            "(",
            "use information_schema",
            ") drop",
            "select 1",
        ],
        &[
            "(",
            "set session transaction isolation level serializable",
            ") rollback",
            "(",
            "set tx_read_only = 1",
            ") commit",
        ],
    ])
    .await
}

/// Every import turns the checks off and on again. The server makes "off" of their default from then on.
#[tokio::test]
async fn checks_that_a_session_turned_off_and_on_are_on_for_the_next() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    for given in ["1", "0"] {
        // Whatever the server's own value is.
        server.execute(&format!("set global foreign_key_checks = {given}, global unique_checks = {given}")).await;
        let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
        for name in ["foreign_key_checks", "unique_checks"] {
            for last in ["0", "1", "default"] {
                let (mut own, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
                run(&mut own, &format!("set {name} = 0")).await?;
                run(&mut own, &format!("set {name} = 1")).await?;
                run(&mut own, &format!("set {name} = {last}")).await?;
                let shown = sqlx::query_scalar(AssertSqlSafe(format!("select cast(@@{name} + 0 as char)")));
                let shown: String = shown.fetch_one(&mut other).await?;
                assert_eq!(shown, given, "{name} after {last}");
            }
        }
    }
    Ok(())
}

/// What the server sets at a login is what every session begins with, and no word of its language goes back to it.
#[tokio::test]
async fn what_the_server_sets_at_each_login_is_everybodys() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server
        .execute(
            "set global init_connect = 'set group_concat_max_len = 7777, lock_wait_timeout = 77, \
               session transaction_prealloc_size = 8192'",
        )
        .await;
    let recorder = Recorder::default();
    let connects = || recorder.count(|event| matches!(event, Event::Connected { .. }));
    let proxy = mysql_proxy_to(&server).max_connections(1).observer(recorder.observer()).build()?;
    let (mut own, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let origin = look(&mut other).await?;
    assert_eq!(origin.get("group_concat_max_len").map(String::as_str), Some("7777"), "the stage is set");
    for text in ["set group_concat_max_len = 8888", "set sql_mode = '', lock_wait_timeout = 9"] {
        run(&mut own, text).await?;
        let set = look(&mut own).await?;
        for _ in 0..2 {
            assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new(), "after {text}");
            assert_eq!(changed(&set, &look(&mut own).await?), Vec::<String>::new(), "{text}, again");
        }
        assert_eq!(own.pin_reason().map(PinReason::cause), None, "{text}");
        own = proxy.get_connection().await?;
        assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new(), "after the session of {text}");
    }
    // What the login itself has set goes back, and costs no connection.
    let before = connects();
    run(&mut own, "set time_zone = '+07:00', sql_mode = ''").await?;
    for _ in 0..2 {
        assert_eq!(changed(&origin, &look(&mut other).await?), Vec::<String>::new());
        assert_eq!(changed(&origin, &look(&mut own).await?), ["sql_mode", "time_zone"]);
    }
    assert_eq!(connects(), before);
    Ok(())
}

/// MariaDB only: MySQL's accounts have no limit of the kind.
#[tokio::test]
async fn an_accounts_own_time_limit_is_everybodys() -> Result<(), Error> {
    let server = mysql_server().await;
    let create = format!(
        "create user hurried@'%' identified by '{APP_PASSWORD}' require ssl with max_statement_time 77; \
         grant all on app.* to hurried@'%'"
    );
    let created = sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut server.admin().await).await;
    if server.family() == Family::MySql {
        // No account of MySQL has one: the server cannot read the clause.
        let refusal = created.unwrap_err();
        assert_eq!(
            refusal.as_database_error().and_then(|refusal| refusal.code()).as_deref(),
            Some("42000"),
            "{refusal}"
        );
        return Ok(());
    }
    created?;
    let url = server.url_for("hurried", APP_PASSWORD, "app");
    let proxy = Proxy::<MySql>::builder().url(url).ca_pem(server.ca_pem()).max_connections(1).build()?;
    let (mut own, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut own, "set max_statement_time = 5").await?;
    let mut limits = Vec::new();
    for conn in [&mut other, &mut own] {
        limits.push(look(conn).await?.remove("max_statement_time").unwrap_or_default());
    }
    assert_eq!(limits, ["77.000000", "5.000000"]);
    Ok(())
}
