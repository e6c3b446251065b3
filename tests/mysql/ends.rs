//! Where MySQL begins and ends transactions that nobody sees begin and end.

use std::sync::atomic::{AtomicU32, Ordering};

use lambda_rds::{Connection, Error, MySql, MySqlProxy, Outcome};
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, Row};

use super::stage::worded;
use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;
use crate::support::postgres::APP_PASSWORD;
use crate::support::until::until;

type Session = Connection<MySql>;

async fn run(conn: &mut Session, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn stage(settings: Vec<(&'static str, String)>) -> (MariaDb, MySqlProxy) {
    let server = MariaDb::start(MariaDbOptions { settings, ..MariaDbOptions::default() }).await;
    server.execute("create table app.ends (n int primary key)").await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build().unwrap();
    (server, proxy)
}

/// What is there, as everybody else sees it.
async fn rows(server: &MariaDb) -> Vec<i32> {
    server.rows("select n from app.ends order by n").await.iter().map(|row| row.get(0)).collect()
}

/// PostgreSQL refuses it; here it begins a transaction.
#[tokio::test]
async fn an_end_that_is_chained_to_nothing_begins_a_transaction() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    for text in ["commit and chain", "rollback and chain"] {
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, text).await?;
        run(&mut one, "insert into ends values (1)").await?;
        assert_eq!(proxy.status().leased, 1, "{text}: it stays with its session");
        drop(one);
        run(&mut other, "insert into ends values (2)").await?;
        assert_eq!(rows(&server).await, [2], "{text}");
        server.execute("delete from app.ends").await;
    }
    Ok(())
}

/// A deadlock after a procedure has committed: what it committed would be done twice.
#[tokio::test]
async fn a_closure_whose_procedure_has_committed_is_not_run_again() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    server
        .execute("create procedure app.ends_it() commit; create table app.runs (n int auto_increment primary key)")
        .await;
    for call in ["call ends_it()", "execute immediate 'call ends_it()'"] {
        if worded(call).is_none() {
            continue;
        }
        let runs = AtomicU32::new(0);
        let result: Result<(), Error> = proxy
            .transaction(|tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                Box::pin(async move {
                    run(tx, "insert into runs values ()").await?;
                    run(tx, call).await?;
                    run(tx, "signal sqlstate '40001' set mysql_errno = 1213").await
                })
            })
            .await;
        assert!(result.is_err(), "{call}");
        assert_eq!(runs.into_inner(), 1, "{call}");
        assert_eq!(server.rows("select n from app.runs").await.len(), 1, "{call}");
        server.execute("delete from app.runs").await;
        // And nothing says that it was taken back.
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        run(&mut tx, call).await?;
        run(&mut tx, "signal sqlstate '40001' set mysql_errno = 1213").await.unwrap_err();
        assert_eq!(run(&mut tx, "do 0").await.unwrap_err().outcome(), Outcome::Unknown, "{call}");
        assert_eq!(tx.commit().await.unwrap_err().outcome(), Outcome::Unknown, "{call}");
    }
    Ok(())
}

/// Whether the transaction is there cannot be asked: the question would begin another one.
#[tokio::test]
async fn without_autocommit_a_lock_that_was_not_had_in_time_ends_a_guards_transaction() -> Result<(), Error> {
    let (server, proxy) = stage(vec![("innodb_rollback_on_timeout", "ON".to_owned())]).await;
    server.execute("insert into app.ends values (1)").await;
    let mut admin = server.admin().await;
    sqlx::raw_sql("begin; update app.ends set n = 2 where n = 1").execute(&mut admin).await?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set innodb_lock_wait_timeout = 1").await?;
    run(&mut conn, "set autocommit = 0").await?;
    let mut tx = conn.begin().await?;
    run(&mut tx, "insert into ends values (7)").await?;
    run(&mut tx, "update ends set n = 3 where n = 1").await.unwrap_err();
    assert!(run(&mut tx, "insert into ends values (8)").await.is_err(), "it would be in another transaction");
    assert!(tx.commit().await.is_err());
    sqlx::raw_sql("rollback").execute(&mut admin).await?;
    assert_eq!(rows(&server).await, [1]);
    Ok(())
}

/// 1226: the statement was not executed, and the transaction stays open for whoever gets the connection next.
#[tokio::test]
async fn a_commit_that_the_server_did_not_execute_is_rolled_back_with_its_connection() -> Result<(), Error> {
    let (server, _) = stage(Vec::new()).await;
    server.open_account("few").await;
    server.set_password("few", APP_PASSWORD).await;
    server.execute("grant all on app.* to few@'%'; alter user few@'%' with max_queries_per_hour 30").await;
    let url = server.url_for("few", APP_PASSWORD, "app");
    let proxy = MySqlProxy::builder().url(url).ca_pem(server.ca_pem()).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    run(&mut tx, "insert into ends values (1)").await?;
    until("the account's queries are used up", async || run(&mut tx, "do 0").await.is_err()).await;
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { outcome: Outcome::RolledBack, .. }), "{error:?}");
    assert!(error.to_string().contains("commit"), "{error}");
    server.wait_until_sessions("few", 0).await;
    assert_eq!(rows(&server).await, [0; 0]);
    Ok(())
}

/// As one remembers how it was, and sets it back: whether a transaction begins by itself is not known from then on.
#[tokio::test]
async fn autocommit_that_is_set_among_variables_is_not_overlooked() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set @old = @@autocommit, autocommit = 0").await?;
    let error = conn.begin().await.unwrap_err();
    assert!(matches!(error, Error::ImplicitCommit { .. }), "{error:?}");
    run(&mut conn, "set autocommit = @old").await?;
    let mut tx = conn.begin().await?;
    run(&mut tx, "insert into ends values (1)").await?;
    run(&mut tx, "set @old = 0, autocommit = 0").await?;
    run(&mut tx, "set @old = 1, autocommit = 1").await?;
    let error = tx.rollback().await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert_eq!(rows(&server).await, [1], "that it was rolled back is not said of what the server has committed");
    drop(conn);
    let mut other = proxy.get_connection().await?;
    run(&mut other, "insert into ends values (2)").await?;
    assert_eq!(rows(&server).await, [1, 2]);
    Ok(())
}

/// The parameter group is not the application's.
#[tokio::test]
async fn the_servers_defaults_for_transactions_are_not_taken_over() -> Result<(), Error> {
    let settings = vec![("autocommit", "0".to_owned()), ("completion_type", "1".to_owned())];
    let (server, proxy) = stage(settings).await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "insert into ends values (1)").await?;
    assert_eq!(rows(&server).await, [1]);
    let mut tx = conn.begin().await?;
    run(&mut tx, "insert into ends values (2)").await?;
    tx.commit().await?;
    run(&mut conn, "insert into ends values (3)").await?;
    assert_eq!(rows(&server).await, [1, 2, 3]);
    // Set, and taken back for the next session.
    run(&mut conn, "set autocommit = 0").await?;
    run(&mut conn, "insert into ends values (4)").await?;
    run(&mut conn, "commit").await?;
    let mut other = proxy.get_connection().await?;
    run(&mut other, "insert into ends values (5)").await?;
    assert_eq!(rows(&server).await, [1, 2, 3, 4, 5]);
    Ok(())
}

/// What is done in a savepoint of it would go down with it, and its commit would say that it is done.
#[tokio::test]
async fn a_guard_does_not_begin_in_a_transaction_that_a_procedure_has_left_open() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    let sql = "create procedure app.leaves() begin start transaction; insert into ends values (1); end";
    server.execute(sql).await;
    for (end, kept) in [("rollback", vec![2]), ("commit", vec![1, 2])] {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "call leaves()").await?;
        let error = conn.begin().await.unwrap_err();
        assert!(matches!(error, Error::ImplicitCommit { .. }), "{error:?}");
        run(&mut conn, end).await?;
        let mut tx = conn.begin().await?;
        run(&mut tx, "insert into ends values (2)").await?;
        tx.commit().await?;
        drop(conn);
        assert_eq!(rows(&server).await, kept, "{end}");
        server.execute("delete from app.ends").await;
    }
    Ok(())
}

/// A switchover: whoever is still writing is refused at the commit. What the session had on that connection is lost.
#[tokio::test]
async fn a_commit_that_is_refused_loses_what_the_session_had_on_its_connection() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "set @x = 1").await?;
    let mut tx = conn.begin().await?;
    run(&mut tx, "insert into ends values (1)").await?;
    server.execute("set global read_only = 1").await;
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    server.execute("set global read_only = 0").await;
    assert_eq!(rows(&server).await, [0; 0]);
    let error = run(&mut conn, "do @x").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    Ok(())
}

/// The same inside a transaction of texts, which one of them may have ended.
#[tokio::test]
async fn what_failed_after_a_commit_is_not_called_taken_back() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    server
        .execute("create procedure app.fails() begin commit; signal sqlstate '40001' set mysql_errno = 1213; end")
        .await;
    let fails = "signal sqlstate '40001' set mysql_errno = 1213";
    for text in [
        format!("commit; {fails}"),
        format!("insert into ends values (2); create table if not exists app.more (n int); {fails}"),
        "call fails()".to_owned(),
    ] {
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "begin").await?;
        run(&mut conn, "insert into ends values (1)").await?;
        let error = run(&mut conn, &text).await.unwrap_err();
        assert_eq!((error.outcome(), error.is_retryable()), (Outcome::Unknown, false), "{text}");
        drop(conn);
        proxy.upkeep().await;
        assert!(rows(&server).await.contains(&1), "{text}");
        server.execute("delete from app.ends").await;
    }
    Ok(())
}

/// Those before the one that failed are done; so is what a procedure did.
#[tokio::test]
async fn what_failed_in_a_part_is_not_called_taken_back() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    server
        .execute(
            "create procedure app.halves() \
             begin insert into ends values (1); signal sqlstate '40001' set mysql_errno = 1213; end",
        )
        .await;
    let mut conn = proxy.get_connection().await?;
    for (text, code) in [
        ("insert into ends values (1); signal sqlstate '40001' set mysql_errno = 1213", 1213),
        ("insert into ends values (1); insert into ends values (1)", 1062),
        ("insert into ends values (1); start transaction read only; insert into ends values (2)", 1792),
        ("call halves()", 1213),
        ("execute immediate 'call halves()'", 1213),
    ] {
        let Some(text) = &worded(text) else { continue };
        let error = run(&mut conn, text).await.unwrap_err();
        let Error::Database(source) = &error else { panic!("{text}: {error:?}") };
        let server_error = source.as_database_error().expect("the server's").try_downcast_ref::<MySqlDatabaseError>();
        assert_eq!(server_error.expect("MySQL's").number(), code, "{text}");
        assert_eq!((error.outcome(), error.is_retryable()), (Outcome::Unknown, false), "{text}");
        conn = proxy.get_connection().await?;
        assert_eq!(rows(&server).await, [1], "{text}");
        server.execute("delete from app.ends").await;
    }
    let error = run(&mut conn, "signal sqlstate '40001' set mysql_errno = 1213").await.unwrap_err();
    assert!(error.is_retryable());
    Ok(())
}

/// It was the one that names without a database are looked up in.
#[tokio::test]
async fn a_database_that_was_dropped_and_made_again_is_there_for_the_next_session() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "drop database app").await?;
    run(&mut conn, "create database app").await?;
    run(&mut conn, "create table app.ends (n int)").await?;
    drop(conn);
    run(&mut proxy.get_connection().await?, "insert into ends values (1)").await?;
    assert_eq!(rows(&server).await, [1]);
    Ok(())
}

/// A deadlock of `GET_LOCK`s rolls nothing back. MariaDB calls it as it calls any other; MySQL has an error for it.
#[tokio::test]
async fn a_deadlock_that_ends_no_transaction_leaves_a_texts_transaction_with_its_session() -> Result<(), Error> {
    let (server, _) = stage(Vec::new()).await;
    let proxy = mysql_proxy_to(&server).max_connections(2).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut one, "begin").await?;
    run(&mut one, "insert into ends values (1)").await?;
    run(&mut one, "select get_lock('a', 1)").await?;
    run(&mut other, "select get_lock('b', 1)").await?;
    let waits = async {
        let waiting = "select 1 from information_schema.processlist where state = 'User lock'";
        until("the other session waits for the lock", async || !server.rows(waiting).await.is_empty()).await;
        let closes_the_circle = run(&mut one, "select get_lock('b', 20)").await;
        run(&mut one, "select release_all_locks()").await.expect("released");
        closes_the_circle
    };
    let (waited, refused) = tokio::join!(run(&mut other, "select get_lock('a', 20)"), waits);
    waited?;
    assert_eq!(refused.unwrap_err().sqlstate().as_deref(), Some(server.family().either("40001", "HY000")));
    drop(other);
    run(&mut one, "insert into ends values (2)").await?;
    assert_eq!(rows(&server).await, [0; 0], "it is still open, and this session's");
    run(&mut one, "commit").await?;
    assert_eq!(rows(&server).await, [1, 2]);
    Ok(())
}

/// MySQL's number for a session that it has ended for its silence is MariaDB's for a trigger that is not there.
#[tokio::test]
async fn a_trigger_that_is_not_there_ends_no_session() -> Result<(), Error> {
    let (_server, proxy) = stage(Vec::new()).await;
    let mut conn = proxy.get_connection().await?;
    let session = sqlx::query_scalar::<_, i64>("select cast(connection_id() as signed)").fetch_one(&mut conn).await?;
    let refused =
        run(&mut conn, "create trigger app.t before insert on app.ends for each row follows nobody set @a = 1");
    let error = refused.await.unwrap_err();
    assert!(matches!(&error, Error::Database(_)), "{error:?}");
    let then = sqlx::query_scalar::<_, i64>("select cast(connection_id() as signed)").fetch_one(&mut conn).await?;
    assert_eq!(then, session);
    Ok(())
}

/// MySQL 9 has libraries, and their definitions commit.
#[tokio::test]
async fn a_library_is_not_defined_inside_a_transaction() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.w (n int)").await;
    let mut sent = Vec::new();
    for text in [
        "create library l2 language javascript as 'export function f() { return 1 }'",
        "alter library l2 comment 'x'",
        "drop library if exists l2",
    ] {
        let proxy = mysql_proxy_to(&server).build().unwrap();
        let mut conn = proxy.get_connection().await.unwrap();
        let mut transaction = conn.begin().await.unwrap();
        sqlx::query("insert into w (n) values (1)").execute(&mut *transaction).await.unwrap();
        let did = sqlx::raw_sql(text).execute(&mut *transaction).await.map_err(Error::from);
        if !matches!(did, Err(Error::ImplicitCommit { .. })) {
            sent.push(format!("{text}: {did:?}"));
        }
    }
    assert!(sent.is_empty(), "{sent:#?}");
}

/// What was set after a savepoint goes with it, the mark of the guard's transaction too. Then nothing shows that it is still there.
#[tokio::test]
async fn a_savepoint_of_a_text_that_takes_the_mark_with_it_is_told_no_better_than_unknown() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    server.execute("create procedure app.quiet() insert into app.ends values (2)").await;
    for text in ["release savepoint a", "rollback to savepoint a"] {
        for commits in [true, false] {
            let mut conn = proxy.get_connection().await?;
            let mut guard = conn.begin().await?;
            run(&mut guard, "savepoint a").await?;
            run(&mut guard, "call quiet()").await?;
            run(&mut guard, text).await?;
            let told = if commits { guard.commit().await } else { guard.rollback().await };
            let told = told.expect_err(text);
            assert!(matches!(told, Error::TransactionAborted { .. }), "{told:?}");
            assert_eq!(told.outcome(), Outcome::Unknown, "{told}");
            drop(conn);
            assert!(rows(&server).await.is_empty(), "{text}");
        }
    }
    // A guard in the guard has no such trouble.
    let mut conn = proxy.get_connection().await?;
    let mut guard = conn.begin().await?;
    let mut inner = guard.begin().await?;
    run(&mut inner, "call quiet()").await?;
    inner.commit().await?;
    guard.commit().await?;
    assert_eq!(rows(&server).await, [2]);
    Ok(())
}

/// What the server keeps of a session's texts tells what marks its transaction.
#[tokio::test]
async fn a_rollback_does_not_believe_a_mark_that_a_text_may_have_set_in_the_next_transaction() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    for commits in [true, false] {
        let mut conn = proxy.get_connection().await?;
        let mut guard = conn.begin().await?;
        run(&mut guard, "insert into ends values (1)").await?;
        run(&mut guard, "set profiling = 1").await?;
        run(&mut guard, "set sql_mode = 'NO_BACKSLASH_ESCAPES'").await?;
        run(&mut guard, "select 1").await?;
        let profiles = sqlx::raw_sql("show profiles").fetch_all(&mut *guard).await?;
        let texts = profiles.iter().map(|row| row.get_unchecked::<String, _>("Query"));
        let mark =
            texts.filter_map(|text| Some(text.split_once("SAVEPOINT ")?.1.to_owned())).last().unwrap_or_default();
        run(&mut guard, &format!("select '\\'; commit; begin; savepoint {mark}; select '1'")).await.ok();
        let told = if commits { guard.commit().await } else { guard.rollback().await };
        let kept = rows(&server).await;
        match told {
            Ok(()) => assert_eq!(kept.len(), usize::from(commits), "{mark}: {kept:?}"),
            Err(told) => assert_eq!(told.outcome(), Outcome::Unknown, "{told}"),
        }
        drop(conn);
        server.execute("delete from app.ends").await;
    }
    Ok(())
}

/// A list that cannot be followed may begin and end transactions, whatever else it sets, and however that is spelt.
#[tokio::test]
async fn a_setting_that_ends_transactions_is_not_overlooked_in_any_list() -> Result<(), Error> {
    let (server, proxy) = stage(Vec::new()).await;
    for (first, text) in [
        ("set autocommit = 0", "set autocommit = 1, timestamp = default"),
        ("set autocommit = 0", "set sql_big_selects = 1, autocommit = 1"),
        ("set autocommit = 0", "set character_set_results = utf8mb4, autocommit = 1"),
        ("set autocommit = 0, character_set_results = null", "set autocommit = 1"),
        ("set autocommit = 0", "set @x = 1, `autocommit` = 1"),
        ("set autocommit = 0", "set @x = 1, `autocommit ` = 1"),
        ("set autocommit = 0", "set @x = 1, áutocommit = 1"),
        ("set @x = 1, áutocommit = 0", "set autocommit = 1"),
    ] {
        let mut conn = proxy.get_connection().await?;
        // Some servers do not know the name as it is spelt.
        if run(&mut conn, first).await.is_err() {
            continue;
        }
        if let Ok(mut tx) = conn.begin().await {
            run(&mut tx, "insert into ends values (1)").await?;
            let _ = run(&mut tx, text).await;
            let rolled_back = tx.rollback().await;
            let found = rows(&server).await;
            assert!(rolled_back.is_err() || found.is_empty(), "{first}; {text}: {rolled_back:?}, {found:?}");
        }
        drop(conn);
        proxy.upkeep().await;
        server.execute("delete from app.ends").await;
    }
    Ok(())
}
