//! Settings go with their session from one physical connection to another, and stay off everybody else's.

use std::collections::BTreeMap;

use lambda_rds::{Connection, Error, MySql, PinCause, PinReason, Proxy};
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::support::mariadb::APP_PASSWORD;
use crate::support::{mysql_proxy_to, mysql_server};

type Shown = BTreeMap<String, String>;

/// All that the server shows of a session's settings.
const LOOK: &str = "
    select lower(variable_name), session_value from information_schema.system_variables
        where session_value is not null and variable_name not in ('TIMESTAMP', 'RAND_SEED1', 'RAND_SEED2',
        'PSEUDO_THREAD_ID', 'LAST_INSERT_ID', 'IDENTITY', 'IN_TRANSACTION', 'LAST_GTID')
    union all select 'database()', ifnull(database(), '')
    limit 10000";

async fn run(conn: &mut Connection<MySql>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn look(conn: &mut Connection<MySql>) -> Result<Shown, Error> {
    let rows = conn.fetch_all(sqlx::raw_sql(LOOK)).await?;
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
    let proxy = mysql_proxy_to(mysql_server().await).max_connections(2).build().unwrap();
    for (text, cause) in [
        ("set @a = 1", PinCause::UserVariable),
        ("set transaction isolation level serializable", PinCause::Setting),
        ("set optimizer_switch = 'mrr=on'", PinCause::Setting),
        ("set sql_mode = ansi_quotes", PinCause::UnknownStatement),
    ] {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, text).await?;
        assert_eq!(conn.pin_reason().map(PinReason::cause), Some(cause), "{text}");
    }
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
