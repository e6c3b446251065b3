//! The same on MySQL.

use lambda_rds::{MySql, MySqlProxy};

use super::*;
use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mariadb_cluster::{Imitation, MariaDbCluster};
use crate::support::mysql_proxy_to;

async fn run(conn: &mut Connection<MySql>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

#[tokio::test]
async fn no_spelling_of_a_host_leads_the_password_to_a_stranger() -> Result<(), Error> {
    let cluster = MariaDbCluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    let stranger = MariaDb::start(MariaDbOptions::default()).await;
    let door = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], stranger.port()))).await;
    for (number, host) in HOSTS.into_iter().enumerate() {
        let host = host.replace('\n', "\\n");
        let member = format!("({}, {}, {})", number + 100, quoted(&host), door.port());
        // Not every table takes every letter.
        let named = format!("insert into mysql.rds_topology values {member}");
        let _ = sqlx::raw_sql(AssertSqlSafe(named)).execute(&mut server.admin().await).await;
    }
    server.execute(&format!("update mysql.rds_topology set port = {} where id = 100", door.port())).await;
    let authorities = [cluster.ca_pem(), stranger.ca_pem()].concat();
    for given in [None, Some(("stage-1", "localhost", server.port()))] {
        let seen = Recorder::default();
        let proxy = mysql_proxy_to(server)
            .ca_pem(&authorities)
            .instances(given)
            .watch_interval(Duration::from_millis(1))
            .validate_after(Duration::ZERO)
            .observer(seen.observer())
            .failover_timeout(Duration::from_secs(2))
            .build()?;
        for _ in 0..3 {
            let mut conn = proxy.get_connection().await?;
            run(&mut conn, "select 1").await?;
            drop(conn);
            assert!(proxy.get_reader().await.is_err());
        }
        let mut conn = proxy.get_connection().await?;
        let _ = run(&mut conn, "kill connection_id()").await;
        drop(conn);
        let mut conn = proxy.get_connection().await?;
        let long = sqlx::query("select sleep(20)").execute(&mut conn);
        assert!(timeout(Duration::from_millis(50), long).await.is_err());
        drop(conn);
        proxy.upkeep().await;
        let ignored = seen.count(|event| matches!(event, Event::ClaimIgnored { .. }));
        assert!(ignored > 0);
        assert_eq!(door.connections(), 0, "{given:?}");
    }
    Ok(())
}

/// Tables called as AWS's are, in schemas of anybody's, functions called as the server's own are, and modes of a session
/// by which the crate's texts could be read otherwise.
#[tokio::test]
async fn no_schema_and_no_mode_changes_what_the_crate_asks() -> Result<(), Error> {
    let cluster = MariaDbCluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    server
        .execute(
            "create table app.rds_topology as select 66 as id, 'localhost' as endpoint, 1 as port; \
             create table app.replica_host_status as select 'evil' as server_id, 'MASTER_SESSION_ID' as session_id, \
               now() as last_update_timestamp, 0 as replica_lag_in_milliseconds; \
             create table app.processlist as select 1 as id; create table app.tables as select 1 as id; \
             create function app.evil() returns int deterministic return 1",
        )
        .await;
    for function in ["user", "concat", "length", "count", "substring_index", "sleep", "now", "unix_timestamp"] {
        let made = format!("create function app.{function} () returns int deterministic return 1 / 0");
        // What cannot be made is no attack.
        let _ = sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut server.admin().await).await;
    }
    let mut bad = Vec::new();
    for mode in [
        "select 1",
        "set sql_mode = 'ansi_quotes'",
        "set sql_mode = 'no_backslash_escapes'",
        "set sql_mode = 'ansi,traditional'",
        "set sql_mode = 'oracle'",
        "set sql_mode = 'pad_char_to_full_length'",
        "set sql_mode = 'high_not_precedence,no_unsigned_subtraction'",
        "set sql_mode = 'empty_string_is_null'",
        "set max_join_size = 1",
        "set sql_big_selects = 0, max_join_size = 1",
        "set sql_select_limit = 0",
        "set sql_safe_updates = 1",
        "set group_concat_max_len = 4",
        // Of 1 ms it would end a look, which costs that look and no more.
        "set max_execution_time = 1000",
        "set names latin1",
        "set names utf8mb4 collate utf8mb4_bin",
        "set collation_connection = 'latin1_bin'",
        "set character_set_connection = 'ucs2'",
        "set time_zone = '+13:00'",
        "set timestamp = 1",
        "set div_precision_increment = 0",
        "set max_allowed_packet = 1024",
        "set session transaction read only",
        "set autocommit = 0",
        "set max_sort_length = 8",
        "set sql_quote_show_create = 0",
        "set tmp_table_size = 1024, max_heap_table_size = 16384",
    ] {
        // A login that a busy machine lets take long is a suspicion too, but not each time.
        let mut wrong = what_is_wrong_after(mode, &cluster).await?;
        for _ in 0..2 {
            if !wrong.is_empty() {
                wrong = what_is_wrong_after(mode, &cluster).await?;
            }
        }
        bad.append(&mut wrong);
    }
    assert!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

/// What speaks against the writer, or of a look that failed, where sessions have left `mode` on its only connection.
async fn what_is_wrong_after(mode: &'static str, cluster: &MariaDbCluster) -> Result<Vec<String>, Error> {
    let mut bad = Vec::new();
    let seen = Recorder::default();
    let proxy = mysql_proxy_to(cluster.node(0))
        .max_connections(1)
        .instances(cluster.instances())
        .watch_interval(Duration::from_millis(1))
        .validate_after(Duration::ZERO)
        .observer(seen.observer())
        .build()?;
    for _ in 0..2 {
        let mut conn = proxy.get_connection().await?;
        // Not every server knows every one of them.
        let _ = run(&mut conn, mode).await;
        drop(conn);
        sleep(Duration::from_millis(2)).await;
        proxy.upkeep().await;
        let mut other = proxy.get_connection().await?;
        run(&mut other, "select 1").await?;
        drop(other);
        sleep(Duration::from_millis(2)).await;
    }
    for event in seen.events() {
        if matches!(event, Event::LookFailed { .. } | Event::ClaimIgnored { .. } | Event::Suspected { .. }) {
            bad.push(format!("{mode}: {event:?}"));
        }
    }
    Ok(bad)
}

#[tokio::test]
async fn a_strict_sessions_connection_is_nobody_elses_however_it_ends() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    let proxy: MySqlProxy = mysql_proxy_to(&server).max_connections(1).isolation(Isolation::Strict).build()?;
    let number = "select cast(connection_id() as signed)";
    for end in [
        "select 1",
        "begin",
        "begin; commit",
        "select get_lock('1', 1)",
        "set autocommit = 0",
        "select no_such",
        "dropped",
    ] {
        let mut a = proxy.get_connection().await?;
        let before: i64 = sqlx::query_scalar(number).fetch_one(&mut a).await?;
        if end == "dropped" {
            let slow = sqlx::query("select sleep(0.05)").execute(&mut a);
            let _ = timeout(Duration::from_millis(20), slow).await;
        } else {
            let _ = run(&mut a, end).await;
        }
        drop(a);
        let mut b = proxy.get_connection().await?;
        let after: i64 = sqlx::query_scalar(number).fetch_one(&mut b).await?;
        assert_ne!(before, after, "{end}");
    }
    Ok(())
}

/// Values that stand for something else at the moment at which they are set.
#[tokio::test]
async fn a_setting_that_depends_on_others_stays_what_it_was() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server
        .execute(
            "create database other character set latin1 collate latin1_bin; grant all on other.* to app@'%'; \
             alter database app character set utf8mb4 collate utf8mb4_unicode_ci",
        )
        .await;
    let (mut bad, mut moved) = (Vec::new(), Vec::new());
    for (texts, name) in [
        (&["set character set utf8mb4"][..], "collation_connection"),
        (&["set character set utf8mb4", "use other"], "collation_connection"),
        (&["use other", "set character set utf8mb4", "use app"], "collation_connection"),
        (&["set names default", "use other"], "collation_connection"),
        (&["set collation_connection = @@collation_database", "use other"], "collation_connection"),
        (&["set collation_connection = utf8mb4_bin", "set names utf8mb4"], "collation_connection"),
        (&["set names utf8mb4", "set collation_connection = utf8mb4_bin"], "collation_connection"),
        (&["set lock_wait_timeout = @@innodb_lock_wait_timeout"], "lock_wait_timeout"),
        (&["set lock_wait_timeout = @@wait_timeout + 1"], "lock_wait_timeout"),
        (&["set group_concat_max_len = 1000 + connection_id()"], "group_concat_max_len"),
        (&["set time_zone = @@global.time_zone"], "time_zone"),
        (&["set time_zone = '+05:00', time_zone = @@time_zone"], "time_zone"),
        (&["set sql_mode = concat(@@sql_mode, ',ansi_quotes')"], "sql_mode"),
        (&["set sql_mode = 'ansi'", "set sql_mode = @@sql_mode"], "sql_mode"),
        (&["set session transaction isolation level read committed, read only"], "transaction_isolation"),
        (&["set transaction isolation level read committed"], "transaction_isolation"),
        (&["set global_x.y = 1", "set sort_buffer_size = 65536"], "sort_buffer_size"),
    ] {
        let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
        let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
        for text in texts {
            let _ = run(&mut a, text).await;
        }
        if a.pin_reason().is_some() {
            // It stays where it was set.
            continue;
        }
        moved.push(texts.concat());
        // MariaDB 10.11 has the older name.
        let name = if name == "transaction_isolation" {
            crate::support::servers::Servers::family().either("tx_isolation", name)
        } else {
            name
        };
        let question = format!("select cast(@@{name} as char)");
        let before: String = sqlx::query_scalar(AssertSqlSafe(question.clone())).fetch_one(&mut a).await?;
        for text in [
            "use app",
            "set names latin1",
            "set sql_mode = 'traditional'",
            "set innodb_lock_wait_timeout = 3",
            "set time_zone = '+09:00'",
        ] {
            let _ = run(&mut b, text).await;
        }
        let after: String = sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut a).await?;
        if before != after {
            bad.push(format!("{texts:?}: {before} and then {after}"));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(
        moved,
        ["set session transaction isolation level read committed, read only"],
        "all others pin: what they set depends on something else, or a text that is not understood came before"
    );
    Ok(())
}

/// As on PostgreSQL: a member that refuses the password says so of itself.
#[tokio::test]
async fn a_reader_that_refuses_the_password_does_not_lock_the_writer() -> Result<(), Error> {
    let aws = Aws::start().await;
    let (writer, refuses) =
        (MariaDb::start(MariaDbOptions::default()).await, MariaDb::start(MariaDbOptions::default()).await);
    refuses.set_password("app", "of another world").await;
    aws.secret(SECRET).put(json!({"username": "app", "password": APP_PASSWORD}));
    let proxy = MySqlProxy::builder()
        .host(writer.host())
        .port(writer.port())
        .database("app")
        .ca_pem(writer.ca_pem())
        .add_ca_pem(refuses.ca_pem())
        .secret(SECRET)
        .aws_config(aws.sdk_config())
        .instances([("a", "localhost", writer.port()), ("b", "localhost", refuses.port())])
        .max_connections(4)
        .build()?;
    let mut first = proxy.get_connection().await?;
    first.pin().await?;
    assert!(proxy.get_reader().await.is_err());
    let second = proxy.get_connection().await;
    assert!(second.is_ok(), "{}", chain(&second.unwrap_err()));
    Ok(())
}
