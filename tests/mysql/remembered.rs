//! What the server remembers of one session is told to no other: names in quotes, settings of a single statement, texts in a
//! text, MariaDB's Oracle mode.

use lambda_rds::{Connection, MySql};
use sqlx::{AssertSqlSafe, Connection as _, Executor, MySqlConnection, Row};

use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;
use crate::support::servers::{Family, Servers};

/// All columns of all rows, or why there are none.
async fn answers(conn: &mut Connection<MySql>, sql: &str) -> Vec<String> {
    let text = |row: &sqlx::mysql::MySqlRow| {
        let column = |at| row.get_unchecked::<Option<Vec<u8>>, _>(at).unwrap_or_default();
        let columns = (0..row.len()).map(|at| String::from_utf8_lossy(&column(at)).into_owned());
        columns.collect::<Vec<_>>().join("|")
    };
    match conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await {
        Ok(rows) => rows.iter().map(text).collect(),
        Err(error) => vec![format!("ERR {error}")],
    }
}

/// What a session is told of what another one has done on the same connection, by each question; those whose answer has one
/// of the marks.
async fn told(server: &MariaDb, before: &str, questions: &[&str], marks: &[&str]) -> Vec<String> {
    let mut told = Vec::new();
    for question in questions {
        let proxy = mysql_proxy_to(server).max_connections(1).build().unwrap();
        let (mut one, mut other) = (proxy.get_connection().await.unwrap(), proxy.get_connection().await.unwrap());
        let _ = answers(&mut other, "do 0").await;
        let did = answers(&mut one, before).await;
        assert!(!did.iter().any(|one| one.starts_with("ERR")), "{before}: {did:?}");
        let answers = answers(&mut other, question).await;
        if answers.iter().any(|answer| !answer.starts_with("ERR") && marks.iter().any(|mark| answer.contains(mark))) {
            told.push(format!("{question}: {answers:?}"));
        }
    }
    told
}

/// Each number is 47 and something.
const DRAWN: &str = "create table app.drawn (id int auto_increment primary key) auto_increment = 4711; \
                     insert into app.drawn values ()";
const DRAW: &str = "insert into drawn values ()";

/// After a scope the server takes the name of a variable in quotes as well.
#[tokio::test]
async fn the_name_of_a_variable_in_quotes_tells_no_number_of_another_session() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(DRAWN).await;
    let questions = [
        "select @@session.\"identity\"",
        "select @@local.\"last_insert_id\"",
        "select @@session.'identity'",
        "select @@session . /**/ 'LAST_INSERT_ID'",
        "show variables like '_dentity'",
        "select @@session.\"id\u{e9}ntity\"",
        "select @@session.n'identity'",
        "select @@session.\"identity \"",
    ];
    let numbers = told(&server, DRAW, &questions, &["47"]).await;
    server.execute("create table app.n (n int)").await;
    let counts = ["select concat('w', @@session.\"warning_count\")", "select concat('w', @@session.'warning_count')"];
    let warned = told(&server, "insert ignore into n values ('x1'), ('x2'), ('x3')", &counts, &["w3"]).await;
    assert!(numbers.is_empty() && warned.is_empty(), "{numbers:#?} {warned:#?}");
}

/// With `sql_auto_is_null`, `id is null` asks for the row of the last number: set by the text itself, or by the server.
#[tokio::test]
async fn null_is_no_number_of_another_session() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(DRAWN).await;
    let by_text = [
        "set statement sql_auto_is_null = 1 for select * from drawn where id is null",
        "select /*+ set_var(sql_auto_is_null = 1) */ * from drawn where id is null",
        "select /*+ set_var(sql_auto_is_null = on) */ * from drawn where (id) is null",
    ];
    let by_text = told(&server, DRAW, &by_text, &["47"]).await;
    server.execute("set global sql_auto_is_null = 1").await;
    let by_server = told(&server, DRAW, &["select * from drawn where id is null"], &["47"]).await;
    assert!(by_text.is_empty() && by_server.is_empty(), "{by_text:#?} {by_server:#?}");
}

/// What a text that pins asks in a text of its own: the numbers are forgotten before it, warnings and rows found are not.
#[tokio::test]
async fn what_another_session_left_is_read_by_no_text_in_a_text() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server
        .execute(
            "create table app.n (n int); \
             create table app.m (n int); insert into app.m values (1),(2),(3),(4),(5),(6),(7); \
             create procedure app.warned() show warnings; create procedure app.found() select found_rows() + 100; \
             create procedure app.counted() begin get diagnostics @a = number; select concat('n', @a); end; ",
        )
        .await;
    let warned = [
        "execute immediate 'show warnings'",
        "begin not atomic show warnings; end",
        "prepare q from 'show warnings'; execute q",
        "prepare q from 'select concat(''n'', @@warning_count)'; execute q",
        "call warned()",
        "call counted()",
    ];
    let found = [
        "execute immediate 'select found_rows() + 100'",
        "begin not atomic select found_rows() + 100; end",
        "prepare q from 'select found_rows() + 100'; execute q",
        "set @q = 'select found_rows() + 100'; prepare q from @q; execute q",
        "call found()",
    ];
    let warned = told(&server, "insert ignore into n values ('x1'), ('x2'), ('x3')", &warned, &["x1", "n3"]).await;
    let found = told(&server, "select sql_calc_found_rows n from m limit 1", &found, &["107"]).await;
    assert!(warned.is_empty() && found.is_empty(), "{warned:#?} {found:#?}");
}

/// MariaDB's Oracle mode has words of its own, and its servers tell their last GTID in every mode.
#[tokio::test]
async fn no_word_of_mariadb_alone_tells_of_another_session() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(DRAWN).await;
    let gtids = ["select concat('g', @@last_gtid)", "select concat('g', @@session.last_gtid)"];
    let gtids = told(&server, DRAW, &gtids, &["g0-"]).await;
    assert!(gtids.is_empty(), "{gtids:#?}");
    if Servers::family() == Family::MySql {
        // It has neither sequences nor that mode.
        return;
    }
    server.execute("create sequence app.s start with 4711; set global sql_mode = 'ORACLE'").await;
    let numbers = ["select s.currval", "select `s`.`currval`", "select app.s.currval"];
    let numbers = told(&server, "select nextval(s)", &numbers, &["47"]).await;
    let counted = ["select sql%rowcount", "select 100 + sql % rowcount"];
    let counted = told(&server, "insert into drawn select null from seq_1_to_77", &counted, &["77"]).await;
    assert!(numbers.is_empty() && counted.is_empty(), "{numbers:#?} {counted:#?}");
}

/// A session that lets no query compute anything gets no other's number either.
#[tokio::test]
async fn a_session_that_selects_no_rows_reads_no_number_of_another() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(DRAWN).await;
    server.execute("create table app.seen (n bigint)").await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build().unwrap();
    let (mut one, mut other) = (proxy.get_connection().await.unwrap(), proxy.get_connection().await.unwrap());
    answers(&mut other, "set sql_select_limit = 0").await;
    answers(&mut one, DRAW).await;
    let hidden = "prepare q from 'insert into seen values (last_insert_id())'; execute q";
    assert!(answers(&mut other, hidden).await.is_empty(), "it is executed");
    let seen: i64 = server.rows("select n from app.seen").await[0].get(0);
    assert_eq!(seen, 0);
}

/// What is set for one statement goes back after it; what it has brought about does not: a trace of the text itself.
#[tokio::test]
async fn a_setting_of_one_statement_leaves_nothing_to_others() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(DRAWN).await;
    let befores: &[&str] = match Servers::family() {
        Family::MariaDb => &[
            "set statement optimizer_trace = 'enabled=on' for select 'geheim' from drawn",
            "set statement max_statement_time = 5, optimizer_trace = 'enabled=on' for select 'geheim' from drawn",
        ],
        Family::MySql => &["select /*+ set_var(optimizer_trace = 'enabled=on') */ 'geheim' from drawn"],
    };
    for before in befores {
        let questions = ["select query from information_schema.optimizer_trace"];
        let seen = told(&server, before, &questions, &["geheim"]).await;
        assert!(seen.is_empty(), "{before}: {seen:#?}");
    }
}

/// A number that one session has given to its own statement is no row's of another.
#[tokio::test]
async fn a_number_that_a_hint_has_set_is_nobody_elses() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(DRAWN).await;
    let proxy = mysql_proxy_to(&server).max_connections(2).build().unwrap();
    for (hint, pins) in [
        ("set_var(insert_id = 7)", true),
        ("SET_VAR ( `insert_id` = 7)", true),
        ("set_var(max_execution_time = 1000) set_var(insert_id=7)", true),
        ("set_var(max_execution_time = 1000)", false),
    ] {
        let mut one = proxy.get_connection().await.unwrap();
        let mut other = proxy.get_connection().await.unwrap();
        assert_eq!(answers(&mut one, &format!("select /*+ {hint} */ 1")).await, ["1"]);
        assert_eq!(one.pin_reason().is_some(), pins, "{hint}");
        drop(one);
        assert!(answers(&mut other, "insert into drawn values ()").await.is_empty());
    }
    let rows = server.rows("select count(*), count(if(id < 4711, 1, null)) from app.drawn").await;
    assert_eq!((rows[0].get::<i64, _>(0), rows[0].get::<i64, _>(1)), (5, 0), "rows, and those with another number");
}

/// What the login itself has asked for is no rows that anybody has found. A bare connection to MariaDB is told what another one has
/// left there, and no more is known of it.
#[tokio::test]
async fn before_any_query_no_rows_have_been_found() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.unfound (n int)").await;
    for before in ["do 0", "insert into unfound values (1)", "set @@session.lock_wait_timeout = 7"] {
        let mut bare = MySqlConnection::connect(&format!("{}?ssl-mode=REQUIRED", server.url())).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(before)).execute(&mut bare).await.unwrap();
        let found = sqlx::raw_sql("select found_rows()").fetch_one(&mut bare).await.unwrap();
        let alone = found.get_unchecked::<i64, _>(0).to_string();
        let proxy = mysql_proxy_to(&server).max_connections(1).build().unwrap();
        let mut one = proxy.get_connection().await.unwrap();
        answers(&mut one, before).await;
        let found = answers(&mut one, "select found_rows()").await;
        assert_eq!(found, [server.family().either("0", alone.as_str())], "after {before}");
    }
}
