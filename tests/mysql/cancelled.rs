//! A session of which a future was dropped, at each of its awaits; and the cancel that ends the statement on the server,
//! which hits nobody else.

use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use lambda_rds::{Connection, Error, Event, MySql, MySqlProxy, Outcome, Proxy, internals};
use sqlx::{AssertSqlSafe, Connection as _, Executor, MySqlConnection, Row};
use tokio::time::{sleep, timeout};

use super::stage::{in_transaction, running};
use crate::support::fault_proxy::FaultProxy;
use crate::support::mariadb::{APP_PASSWORD, MariaDb, MariaDbOptions};
use crate::support::until::{polled, until};
use crate::support::{Recorder, chain, mysql_proxy_to};

async fn stage() -> MariaDb {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.t (n int, part int)").await;
    server
}

async fn insert(conn: &mut Connection<MySql>, n: i32, part: i32) -> Result<(), Error> {
    // A text of its own, so that it is prepared.
    let text = format!("insert into t values (?, ?) /* {n} {part} */");
    sqlx::query(AssertSqlSafe(text)).bind(n).bind(part).execute(conn).await?;
    Ok(())
}

async fn run(conn: &mut Connection<MySql>, text: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(conn).await?;
    Ok(())
}

/// A transaction with all that a session does: one part is taken back, two stay.
async fn with_guards(conn: &mut Connection<MySql>, n: i32) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    insert(&mut tx, n, 1).await?;
    let mut inner = tx.begin().await?;
    insert(&mut inner, n, 2).await?;
    inner.rollback().await?;
    let rows: Vec<_> = sqlx::query("select seq, ? from seq_1_to_300").bind(n).fetch(&mut *tx).try_collect().await?;
    assert_eq!(rows.len(), 300);
    let mut inner = tx.begin().await?;
    insert(&mut inner, n, 3).await?;
    inner.commit().await?;
    tx.prepare(sqlx::SqlSafeStr::into_sql_str("select ? + ? + ?")).await?;
    tx.commit().await
}

/// The same, as text.
async fn as_text(conn: &mut Connection<MySql>, n: i32) -> Result<(), Error> {
    run(conn, "start transaction").await?;
    insert(conn, n, 1).await?;
    run(conn, "savepoint a").await?;
    insert(conn, n, 2).await?;
    run(conn, "rollback to a").await?;
    run(conn, &format!("set group_concat_max_len = {}", 1000 + n)).await?;
    insert(conn, n, 3).await?;
    run(conn, "release savepoint a").await?;
    run(conn, "commit").await
}

/// What became of it is one thing or the other, and the sessions after it are not disturbed.
async fn all_or_nothing(work: impl AsyncFn(&mut Connection<MySql>, i32) -> Result<(), Error>) -> Result<(), Error> {
    let server = stage().await;
    // It passes things on when it is its turn on this thread: no answer is there before it was waited for.
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let recorder = Recorder::default();
    let builder = mysql_proxy_to(&server).port(way.port()).max_connections(1).observer(recorder.observer());
    let proxy = builder.build()?;
    let cut_short = || recorder.count(|event| matches!(event, Event::UpkeepCutShort { .. }));
    let mut other = proxy.get_connection().await?;
    for n in 1.. {
        let mut one = proxy.get_connection().await?;
        let done = polled(usize::try_from(n).unwrap(), work(&mut one, n)).await.transpose()?.is_some();
        // By turns: the same session goes on, another one does, or the environment is frozen first.
        match n % 3 {
            0 => drop(one),
            1 => {
                let answer = sqlx::query_scalar::<_, i32>("select ? + 1").bind(n).fetch_one(&mut one).await;
                match answer.map_err(Error::from) {
                    Ok(answer) => assert_eq!(answer, n + 1, "after {n} polls"),
                    Err(error) => assert!(matches!(error, Error::ConnectionLost { .. }), "{n} polls: {error:?}"),
                }
                drop(one);
            }
            _ => {
                drop(one);
                // One that a busy machine cuts short is gone on with by the next.
                loop {
                    let before = cut_short();
                    proxy.upkeep().await;
                    if cut_short() == before {
                        break;
                    }
                }
                assert_eq!(proxy.status().leased, 0, "after {n} polls");
                // Where its connection was closed, the server has still to notice.
                let sessions = i64::try_from(proxy.status().connections).unwrap();
                server.wait_until_sessions("app", sessions).await;
                // A server's thread that has answered, and had to leave its processor then, is still shown at work.
                until("nothing runs on", async || running(&server).await == 0).await;
                assert_eq!(in_transaction(&server).await, 0, "after {n} polls");
            }
        }
        let is_default = "select cast(@@group_concat_max_len = @@global.group_concat_max_len as signed)";
        assert_eq!(sqlx::query_scalar::<_, i64>(is_default).fetch_one(&mut other).await?, 1, "after {n} polls");
        let parts: Vec<i32> =
            sqlx::query_scalar("select part from t where n = ? order by part").bind(n).fetch_all(&mut other).await?;
        assert!(if done { parts == [1, 3] } else { parts.is_empty() || parts == [1, 3] }, "{n} polls: {parts:?}");
        insert(&mut other, -n, 0).await?;
        assert_eq!(in_transaction(&server).await, 0, "after {n} polls");
        if done {
            let count = server.rows("select count(*) from app.t where n < 0").await;
            assert_eq!(Row::get_unchecked::<i64, _>(&count[0], 0), i64::from(n), "no write was swallowed");
            assert!(n > 11, "{n} polls are too few for so many awaits");
            return Ok(());
        }
    }
    unreachable!("it is done at last")
}

#[tokio::test]
async fn a_transaction_dropped_at_any_await_is_there_or_not() -> Result<(), Error> {
    all_or_nothing(with_guards).await
}

#[tokio::test]
async fn a_transaction_as_text_dropped_at_any_await_is_there_or_not() -> Result<(), Error> {
    all_or_nothing(as_text).await
}

/// A value that reads like the answers to other statements, where the head of its row's packet was read and the rest was
/// not: the end of rows, then an answer to a ping, then one row with the text "forged".
fn forgery() -> String {
    let packet = |number: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[length, 0, 0, number], payload].concat()
    };
    let end = [0xfe, 0, 0, 2, 0, 0, 0];
    let column = b"\x03def\0\0\0\x01x\0\x0c\x2d\0\xff\0\0\0\xfd\0\0\0\0\0";
    let answers = [
        packet(1, &[0, 0, 0, 2, 0, 0, 0]),
        packet(1, &[1]),
        packet(2, column),
        packet(3, b"\x06forged"),
        packet(4, &end),
        packet(1, &[1]),
        packet(2, column),
        packet(3, b"\x06forged"),
        packet(4, &end),
    ];
    // The first value's length and two of its bytes are the head of a packet of eight bytes.
    let (first, second) = ([0, 0, 1, 0xfe, 0, 0, 2, 0], [&[0, 0], &answers.concat()[..]].concat());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("select unhex('{}') as a, unhex('{}') as b", hex(&first), hex(&second))
}

/// As [`forgery`], a packet that is nothing but the head of an error. The driver does not survive that.
fn crash() -> String {
    "select unhex('00') as a, '' as b, unhex('ff') as c".to_owned()
}

/// The driver reads a packet in two steps. Wherever it was dropped, nothing that somebody has stored is taken for an
/// answer.
#[tokio::test]
async fn an_answer_of_which_a_part_was_read_is_nobody_elses() -> Result<(), Error> {
    const QUESTION: &str = "select 'genuine'";
    let server = stage().await;
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let plain = format!("mysql://plain:{APP_PASSWORD}@127.0.0.1:{}/app?ssl-mode=DISABLED", way.port());
    let mut forged = 0;
    for bytes in 1..120 {
        let mut bare = MySqlConnection::connect(&plain).await?;
        way.hush(bytes);
        let text = AssertSqlSafe(forgery());
        assert!(timeout(Duration::from_millis(5), bare.fetch_all(sqlx::raw_sql(text))).await.is_err());
        way.pass();
        let ask = async {
            bare.ping().await?;
            Row::try_get::<String, _>(&bare.fetch_one(QUESTION).await?, 0)
        };
        let answer = timeout(Duration::from_millis(50), ask).await;
        forged += i32::from(matches!(answer, Ok(Ok(text)) if text == "forged"));
    }
    assert!(forged > 0, "bare sqlx reads stored text as an answer");

    let proxy = Proxy::<MySql>::builder().url(plain).max_connections(1).build()?;
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for bytes in 1..120 {
        for (stored, patience) in [(forgery(), 0), (forgery(), 45), (crash(), 0)] {
            way.hush(bytes);
            let text = AssertSqlSafe(stored);
            // The shorter one may be there in whole.
            let _ = timeout(Duration::from_millis(5), (&mut one).fetch_all(sqlx::raw_sql(text))).await;
            // The next one finds what is late, or waits for it.
            let next = if bytes % 2 == 0 { &mut one } else { &mut other };
            let next = async {
                let mut answers = Vec::new();
                for _ in 0..3 {
                    answers.push(Row::try_get::<String, _>(&(&mut *next).fetch_one(QUESTION).await?, 0)?);
                }
                Ok::<_, Error>(answers)
            };
            let late = async {
                sleep(Duration::from_millis(patience)).await;
                way.pass();
            };
            let (answers, ()) = tokio::join!(next, late);
            assert_eq!(answers?, ["genuine"; 3], "{bytes} bytes");
        }
    }
    Ok(())
}

/// It ends with 1, or with an error, when somebody cancels it.
async fn nap(conn: &mut Connection<MySql>, milliseconds: u64) -> Result<(), Error> {
    let text = format!("select sleep({})", Duration::from_millis(milliseconds).as_secs_f64());
    let interrupted: i32 = sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(conn).await?;
    assert_eq!(interrupted, 0, "somebody else's cancel");
    Ok(())
}

async fn drop_a_nap(proxy: &MySqlProxy, nap_of: u64, drop_after: u64) -> Result<(), Error> {
    let mut conn = proxy.get_connection().await?;
    let dropped = timeout(Duration::from_millis(drop_after), nap(&mut conn, nap_of)).await;
    assert!(dropped.is_err() || nap_of <= drop_after + 10, "{dropped:?}");
    Ok(())
}

#[tokio::test]
async fn a_cancel_hits_nobody_else() -> Result<(), Error> {
    const TASKS: u64 = 6;
    let server = stage().await;
    let seen = Recorder::default();
    let proxy = mysql_proxy_to(&server)
        .max_connections(3)
        .validate_timeout(Duration::from_secs(5))
        .borrow_timeout(Duration::from_secs(60))
        .observer(seen.observer())
        .build()?;
    try_join_all((0..TASKS).map(|task| {
        let proxy = &proxy;
        async move {
            for round in 0..8 {
                // From what ends by itself, through what ends while its cancel is on the way, to what must be cancelled.
                drop_a_nap(proxy, 20 + 9 * (task + round), 8).await?;
                let mut conn = proxy.get_connection().await?;
                nap(&mut conn, 10 + 5 * task).await?;
                let mut tx = conn.begin().await?;
                insert(&mut tx, i32::try_from(task).unwrap(), 1).await?;
                nap(&mut tx, 15).await?;
                tx.commit().await?;
            }
            Ok::<_, Error>(())
        }
    }))
    .await?;
    assert_eq!(seen.count(|event| matches!(event, Event::CancelFailed { .. })), 0, "{:?}", seen.events());
    let count = server.rows("select count(*) from app.t").await;
    assert_eq!(Row::get_unchecked::<i64, _>(&count[0], 0), 48);
    Ok(())
}

/// Sessions are numbered from one again when a server was started anew: under the old number there is somebody else.
#[tokio::test]
async fn a_cancel_does_not_survive_its_server() -> Result<(), Error> {
    let server = stage().await;
    let bare = || async { MySqlConnection::connect(&format!("{}?ssl-mode=REQUIRED", server.url())).await };
    let number = "select cast(connection_id() as signed)";
    for _ in 0..30 {
        bare().await?;
    }
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let proxy = mysql_proxy_to(&server).port(way.port()).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let old: i64 = sqlx::query_scalar(number).fetch_one(&mut conn).await?;
    assert!(timeout(Duration::from_millis(50), nap(&mut conn, 20_000)).await.is_err());
    way.forget();
    // In another second than it was started in for the first time.
    sleep(Duration::from_secs(1)).await;
    server.kill().await;
    server.start_again().await;
    let mut victim = loop {
        let mut conn = bare().await?;
        let new: i64 = sqlx::query_scalar(number).fetch_one(&mut conn).await?;
        assert!(new <= old, "the new server has come to {new} before it could have {old}");
        if new == old {
            break conn;
        }
    };
    drop(conn);
    let (slept, ()) =
        tokio::join!(sqlx::query_scalar::<_, i32>("select sleep(2)").fetch_one(&mut victim), proxy.upkeep());
    assert_eq!(slept?, 0, "a cancel of {old} has come");
    let mut next = proxy.get_connection().await?;
    nap(&mut next, 1).await
}

/// The question by which a session finds its place asks for its row itself.
#[tokio::test]
async fn a_statement_is_dropped_where_no_rows_are_wanted_and_the_transaction_goes_on() -> Result<(), Error> {
    let server = stage().await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    let mut tx = conn.begin().await?;
    insert(&mut tx, 1, 0).await?;
    run(&mut tx, "set sql_select_limit = 0").await?;
    // A real MySQL does nothing for a `DO` under such a limit.
    let slow = "update t set n = n where n = 1 and sleep(0.1) = 0";
    assert!(timeout(Duration::from_millis(20), run(&mut tx, slow)).await.is_err());
    insert(&mut tx, 2, 0).await?;
    tx.commit().await?;
    assert_eq!(server.rows("select n from app.t").await.len(), 2);
    Ok(())
}

/// Dropped between the head of a packet and the rest of it, the driver takes values for heads, and waits for what nobody
/// will send. That is noticed: its server has nothing more to say.
#[tokio::test]
async fn a_driver_that_has_lost_its_place_is_not_waited_for() -> Result<(), Error> {
    let server = stage().await;
    let seen = Recorder::default();
    let way = FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
    let plain = format!("mysql://plain:{APP_PASSWORD}@127.0.0.1:{}/app?ssl-mode=DISABLED", way.port());
    let patient = Duration::from_secs(30);
    let builder = Proxy::<MySql>::builder().url(plain).max_connections(1).observer(seen.observer());
    let proxy = builder.validate_timeout(patient).borrow_timeout(patient).build()?;
    let mut conn = proxy.get_connection().await?;
    for bytes in (1000..24_000).step_by(3001) {
        way.hush(bytes);
        // The head of a packet, and values that read as heads of large ones; not so much of them that the connection is not worth
        // its reading.
        let rows = sqlx::raw_sql("select repeat('x', 4000) as x from seq_1_to_7").fetch_all(&mut conn);
        assert!(timeout(Duration::from_millis(20), rows).await.is_err());
        way.pass();
        nap(&mut conn, 1).await?;
    }
    let lost = seen.count(
        |event| matches!(event, Event::Discarded { error: Some(error), .. } if error.contains("waits for more")),
    );
    assert!(lost > 0, "{:?}", seen.events());
    let waited_for = seen.count(|event| matches!(event, Event::Discarded { error: None, .. }));
    assert_eq!(waited_for, 0, "{:?}", seen.events());
    Ok(())
}

/// A definition that waits for somebody makes everybody wait, and the driver asks the server about a statement before it sends it.
#[tokio::test]
async fn a_preparation_ends_with_its_invocation() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create table app.k (n int); insert into app.k values (1)").await;
    let proxy = mysql_proxy_to(&server).max_connections(2).build().unwrap();
    let mut holder = server.admin().await;
    holder.execute("begin").await.unwrap();
    holder.fetch_all("select * from app.k").await.unwrap();
    let mut changer = server.admin().await;
    let change = tokio::spawn(async move { changer.execute("alter table app.k add column m int").await.map(|_| ()) });
    let waiting = "select count(*) from information_schema.processlist where info like concat('%from ', 'k%') and command <> 'Sleep'";
    let altering =
        "select count(*) from information_schema.processlist where info like 'alter%' and state like 'Waiting%'";
    until("it alters", async || server.rows(altering).await[0].get::<i64, _>(0) == 1).await;
    for prepares in [false, true] {
        let mut conn = proxy.get_connection().await.unwrap();
        let work = async {
            if prepares {
                let sql = sqlx::SqlStr::from_static("select * from k");
                Executor::prepare(&mut conn, sql).await.map(|_| ())
            } else {
                sqlx::query("select * from k where n = ?").bind(1).execute(&mut conn).await.map(|_| ())
            }
        };
        let error = Error::from(internals::invocation(Duration::from_secs(2), work).await.unwrap_err());
        let told = matches!(error, Error::DeadlineReached { outcome: Outcome::NotExecuted, .. });
        assert!(told, "{prepares}: {}", chain(&error));
    }
    until("nobody waits", async || server.rows(waiting).await[0].get::<i64, _>(0) == 0).await;
    holder.execute("rollback").await.unwrap();
    change.await.unwrap().unwrap();
}

/// A routine that runs as whoever has defined it is not the login's to end: the handler hears that in time, and no writer is
/// suspected for it.
#[tokio::test]
async fn what_the_login_may_not_end_is_unknown_while_the_handler_can_hear_it() -> Result<(), Error> {
    let server = stage().await;
    server.execute("create procedure app.sleeps() begin do sleep(60); end; grant all on app.* to app@'%'").await;
    let left = Duration::from_secs(2);
    // On a busy machine the login of a cancel may take longer than there is time for one; then nothing was refused.
    for _ in 0..10 {
        let seen = Recorder::default();
        let proxy = mysql_proxy_to(&server).max_connections(1).observer(seen.observer()).build()?;
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "select 1").await?;
        let called = timeout(10 * left, internals::invocation(left, run(&mut conn, "call sleeps()")));
        let error = called.await.expect("long before the procedure is over").expect_err("it goes on");
        assert!(matches!(error, Error::DeadlineReached { outcome: Outcome::Unknown, .. }), "{error:?}");
        drop(conn);
        run(&mut proxy.get_connection().await?, "select 1").await?;
        let events = seen.events();
        if events.iter().any(|event| matches!(event, Event::CancelFailed { .. })) {
            assert!(!events.iter().any(|event| matches!(event, Event::Suspected { .. })), "{events:?}");
            return Ok(());
        }
    }
    panic!("no cancel was refused in time")
}
