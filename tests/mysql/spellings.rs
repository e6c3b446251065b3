//! Words that the server reads otherwise than they are written: names in hints, with accents, with blanks at their end.

use lambda_rds::{Connection, Error, MySql};
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;

async fn run(conn: &mut Connection<MySql>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn ask(conn: &mut Connection<MySql>, sql: &str) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select cast(({sql}) as char)"))).fetch_one(conn).await?)
}

/// What shows of a session in the next one.
const LOOK: &str = "concat_ws(' ', @h, @@autocommit, @@sql_mode, @@insert_id, @@unique_checks, \
                    if(is_used_lock('h') = connection_id(), 'HELD', 'free'))";

/// Each text on a session, and what the next one, which gets its connection, sees of it.
async fn left(server: &MariaDb, texts: &[&str]) -> Vec<String> {
    let clean = {
        let proxy = mysql_proxy_to(server).max_connections(1).build().unwrap();
        ask(&mut proxy.get_connection().await.unwrap(), LOOK).await.unwrap()
    };
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    for text in texts {
        let proxy = mysql_proxy_to(server).max_connections(1).build().unwrap();
        let mut one = proxy.get_connection().await.unwrap();
        // What a server does not understand leaves nothing: each of them knows some of these spellings.
        accepted += usize::from(run(&mut one, text).await.is_ok());
        drop(one);
        let mut next = proxy.get_connection().await.unwrap();
        let seen = ask(&mut next, LOOK).await.unwrap_or_else(|error| error.to_string());
        if seen != clean {
            wrong.push(format!("{text}: {seen}"));
        }
    }
    assert!(accepted >= 2, "{accepted} of {texts:?}");
    wrong
}

/// A hint ends at the first `*/`, for the server as for the crate, also where that stands in a name in quotes.
#[tokio::test]
async fn a_quoted_name_in_a_hint_hides_nothing() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.t (n int); insert into app.t values (1)").await;
    let wrong = left(
        &server,
        &[
            "select /*+ qb_name(`*/ '`) */ get_lock('h', 0), ' '",
            "select /*+ qb_name(\"*/ '\") */ get_lock('h', 0), ' '",
            "select /*+ set_var(sort_buffer_size='*/ \"') */ get_lock(\"h\", 0), \" \"",
            "select /*+ qb_name(`*/ '`) */ 1; set @h = 5; select ' '",
            "select /*+ qb_name(`*/ '`) */ 1; set autocommit = 0; select ' '",
            "update /*+ qb_name(`*/ '`) */ t set n = get_lock('h', 0) where '' = ' '",
            "select /*+ qb_name(`*/ #`) */ get_lock('h', 0)",
            "select /*+ qb_name(`*/ -- `) */ get_lock('h', 0)",
            "select /*+ qb_name(`*/ /*`) */ get_lock('h', 0)",
            "select /*+ qb_name(`/*!99999 `) */ get_lock('h', 0) /* */",
        ],
    )
    .await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// MySQL compares the names of settings by a collation of its own: without accents and blanks at the end.
#[tokio::test]
async fn a_name_that_the_server_takes_for_another_hides_nothing() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.t (n int auto_increment primary key)").await;
    let wrong = left(
        &server,
        &[
            "select g\u{e9}t_lock('h', 0)",
            "select get_loc\u{212a}('h', 0)",
            "select `get_lock `('h', 0)",
            "select `get_lock`('h', 0)",
            "select /*! get_lock('h', 0) */",
            "set \u{e1}utocommit = 0",
            "set `autocommit ` = 0",
            "set unique_chec\u{212a}s = 0",
            "set \u{fa}nique_checks = 0",
            "set sql_mod\u{e9} = 'ansi_quotes'",
            "set `sql_mode ` = 'ansi_quotes'",
            "set ins\u{e9}rt_id = 77",
            "set `insert_id ` = 77",
            "set @@session.ins\u{e9}rt_id = 77",
        ],
    )
    .await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a text answers, the last column of each row, or why it has none.
async fn answers(conn: &mut Connection<MySql>, sql: &str) -> Vec<String> {
    match conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await {
        Ok(rows) => rows
            .iter()
            .map(|row| String::from_utf8_lossy(&row.get_unchecked::<Vec<u8>, _>(row.len() - 1)).into_owned())
            .collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// MySQL compares the names of variables without accents and without blanks at the end. `@@last_insert_id` is refused where
/// it would be another session's, which README promises. (The tables of variables have it too, and README says so.)
#[tokio::test]
async fn the_number_that_another_session_drew_is_read_by_no_spelling_of_its_name() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.drawn (id int auto_increment primary key) auto_increment = 4711").await;
    let mut told = Vec::new();
    for question in [
        "select last_insert_id()",
        "select @@last_insert_id",
        "select @@l\u{e1}st_insert_id",
        "select @@session.l\u{e1}st_insert_id",
        "select @@`last_insert_id `",
        "select @@session.`identity `",
        "select @@id\u{e9}ntity",
        "show variables like 'last_insert_id'",
        "show variables like 'l\u{e1}st_insert_id'",
        "show variables like 'id\u{e9}ntity'",
        "show variables like 'last\\_insert\\_id'",
        "show variables where variable_name = 'identity'",
    ] {
        let proxy = mysql_proxy_to(&server).max_connections(1).build().unwrap();
        let (mut one, mut other) = (proxy.get_connection().await.unwrap(), proxy.get_connection().await.unwrap());
        run(&mut other, "do 0").await.unwrap();
        run(&mut one, "insert into drawn values ()").await.unwrap();
        let answers = answers(&mut other, question).await;
        if answers.iter().any(|answer| answer.starts_with("47")) {
            told.push(format!("{question}: {answers:?}"));
        }
    }
    assert!(told.is_empty(), "{told:#?}");
}
