//! What random programs of sessions found wrong once, each on its own. What they found on both engines is in `replays`.
//!
//! Not here: the end of a session authorization, and the columns of a cursor, for sessions have neither; `DEALLOCATE`, which
//! reaches no statement of the driver's.

use std::time::Duration;

use lambda_rds::{Connection, Error, MySql};
use sqlx::AssertSqlSafe;

use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::{mysql_proxy_to, mysql_server};

async fn run(conn: &mut Connection<MySql>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn ask(conn: &mut Connection<MySql>, sql: &str) -> Result<String, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!("select cast(({sql}) as char)"))).fetch_one(conn).await?)
}

/// What takes locks away leaves settings as they are, and the connection's account said that there were none.
#[tokio::test]
async fn settings_that_were_made_before_a_lock_do_not_outlive_their_session() -> Result<(), Error> {
    let server = mysql_server().await;
    server.execute("create table if not exists app.locked (n int)").await;
    for pin in ["select get_lock('leaks', 1)", "lock tables locked read"] {
        let proxy = mysql_proxy_to(server).max_connections(1).build()?;
        let mut one = proxy.get_connection().await?;
        run(&mut one, "set group_concat_max_len = 77").await?;
        run(&mut one, pin).await?;
        run(&mut one, "set sql_mode = ''").await?;
        drop(one);
        let mut other = proxy.get_connection().await?;
        assert_ne!(ask(&mut other, "@@group_concat_max_len").await?, "77", "{pin}");
        assert_ne!(ask(&mut other, "@@sql_mode").await?, "", "{pin}");
        assert_eq!(ask(&mut other, "is_free_lock('leaks')").await?, "1", "{pin}");
    }
    Ok(())
}

/// As above, where the setting cannot be taken back: what it goes back to is the `init_query`'s.
#[tokio::test]
async fn what_the_init_query_set_is_everybodys() -> Result<(), Error> {
    let init = "set group_concat_max_len = 99";
    let proxy = mysql_proxy_to(mysql_server().await).max_connections(1).init_query(init).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for pin in ["do 0", "select get_lock('initial', 1)"] {
        run(&mut one, "set group_concat_max_len = 77").await?;
        run(&mut one, pin).await?;
        assert_eq!(ask(&mut one, "@@group_concat_max_len").await?, "77", "{pin}");
        one = proxy.get_connection().await?;
        assert_eq!(ask(&mut other, "@@group_concat_max_len").await?, "99", "{pin}");
    }
    run(&mut one, "set lock_wait_timeout = 7").await?;
    for _ in 0..2 {
        assert_eq!(ask(&mut other, "@@group_concat_max_len").await?, "99");
        assert_eq!(ask(&mut one, "concat(@@group_concat_max_len, ' ', @@lock_wait_timeout)").await?, "99 7");
    }
    Ok(())
}

/// The number that the server remembers is whoever's drew last: a statement that may draw need not have drawn.
#[tokio::test]
async fn a_number_that_another_session_drew_is_not_taken_for_ones_own() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server
        .execute("create table app.numbered (id int auto_increment primary key); create table app.plain (n int)")
        .await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let last = "last_insert_id()";
    let refused = |answer: Result<String, Error>| matches!(answer, Err(Error::SessionStateLost { .. }));
    for sql in
        ["insert into plain values (1)", "insert into numbered values (77)", "insert into numbered values (77), (77)"]
    {
        let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
        run(&mut one, "insert into numbered values ()").await?;
        assert!(ask(&mut one, last).await.is_ok());
        let _ = run(&mut other, sql).await;
        // It has generated none, as on a connection of its own.
        assert_eq!(ask(&mut other, last).await?, "0", "{sql}");
        assert!(ask(&mut other, "concat(last_insert_id(), row_count())").await?.starts_with("0-"), "{sql}");
        assert!(refused(ask(&mut one, last).await), "{sql}");
        let own = sqlx::query("insert into numbered values ()").execute(&mut other).await?.last_insert_id();
        assert_eq!(ask(&mut other, last).await?, own.to_string(), "{sql}");
        // It stays so.
        assert!(run(&mut other, "insert into numbered values (1)").await.is_err());
        run(&mut other, "insert into plain values (1)").await?;
        assert!(ask(&mut other, last).await.is_ok(), "{sql}");
        server.execute("delete from app.numbered where id = 77").await;
    }
    // And is nobody's after a session that was pinned.
    let mut one = proxy.get_connection().await?;
    run(&mut one, "insert into numbered values ()").await?;
    run(&mut one, "select get_lock('numbered', 1)").await?;
    drop(one);
    assert_eq!(ask(&mut proxy.get_connection().await?, last).await?, "0");
    Ok(())
}

/// Some statements leave standing what an earlier one has left; that one may have run elsewhere.
#[tokio::test]
async fn rows_that_were_found_on_another_connection_are_not_told_from_this_one() -> Result<(), Error> {
    let proxy = mysql_proxy_to(mysql_server().await).max_connections(2).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut one, "select seq from seq_1_to_7").await?;
    assert_eq!(ask(&mut one, "found_rows()").await?, "7");
    run(&mut one, "select seq from seq_1_to_7").await?;
    let tx = other.begin().await?;
    run(&mut one, "do 0").await?;
    let asked = ask(&mut one, "found_rows()").await;
    assert!(matches!(asked, Err(Error::SessionStateLost { .. })), "{asked:?}");
    tx.commit().await
}

/// The savepoint that shows whether a transaction is still there goes with the savepoint that it was set in.
#[tokio::test]
async fn a_doubtful_statement_in_a_guard_in_a_guard_does_not_cost_the_transaction() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.doubted (n int); create procedure app.ends() commit").await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    for (end, ends) in ["commit", "rollback", "drop", "polled"].into_iter().flat_map(|end| [(end, false), (end, true)])
    {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        run(&mut tx, "insert into doubted values (1)").await?;
        let mut inner = tx.begin().await?;
        run(&mut inner, "prepare p from 'do 0'").await?;
        run(&mut inner, "execute p").await?;
        if ends {
            run(&mut inner, "call ends()").await?;
        }
        let ended = match end {
            "commit" => inner.commit().await,
            "rollback" => inner.rollback().await,
            "drop" => {
                drop(inner);
                Ok(())
            }
            _ => {
                // Sent, and no answer is waited for.
                let _ = futures_util::poll!(Box::pin(inner.commit()));
                Ok(())
            }
        };
        assert!(ended.is_ok() || ends, "{end}: {ended:?}");
        let committed = tx.commit().await;
        assert_eq!(committed.is_err(), ends, "{end}: {committed:?}");
        if !ends {
            let tx = conn.begin().await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

/// The driver counts no answer of a ping that was dropped: the next statement would get it, and the next one that one's.
#[tokio::test]
async fn whatever_is_dropped_while_another_dropped_statement_is_settled_shifts_no_answer() -> Result<(), Error> {
    let proxy = mysql_proxy_to(mysql_server().await).max_connections(1).build()?;
    for polls in 0..12 {
        let mut conn = proxy.get_connection().await?;
        for _ in 0..3 {
            let slow = sqlx::raw_sql("select sleep(0.002)").execute(&mut conn);
            let mut slow = Box::pin(slow);
            for _ in 0..polls {
                if futures_util::poll!(&mut slow).is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        }
        for n in 0..3 {
            assert_eq!(ask(&mut conn, &n.to_string()).await?, n.to_string(), "{polls} polls");
        }
    }
    Ok(())
}
