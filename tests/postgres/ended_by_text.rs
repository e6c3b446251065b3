//! A text of the application ends a guard's transaction, or the error that aborted one was not this session's to see: whatever
//! is said afterwards, by the guards, by a closure or by a text, is not better than what became of the rows.

use std::net::SocketAddr;
use std::time::Duration;

use lambda_rds::{Connection, Error, Outcome, Postgres, Transaction};
use sqlx::AssertSqlSafe;

use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;
use crate::support::until::polled;

pub(super) async fn stage() -> Server {
    let options =
        PostgresOptions { settings: vec![("max_prepared_transactions", "9".into())], ..PostgresOptions::default() };
    let server = Server::start(options).await;
    server.execute("create table kept (n int); grant all on kept to app").await;
    server
}

pub(super) async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn insert(conn: &mut Connection<Postgres>, n: i32) -> Result<(), Error> {
    sqlx::query("insert into kept values ($1)").bind(n).execute(conn).await?;
    Ok(())
}

/// What is in the table, which is empty afterwards.
pub(super) async fn kept(server: &Server) -> Vec<i32> {
    let mut admin = server.admin().await;
    let mut kept: Vec<i32> =
        sqlx::query_scalar("delete from kept returning n").fetch_all(&mut admin).await.expect("asks");
    kept.sort_unstable();
    kept
}

/// Texts that end the transaction they are sent in, some of which begin another.
const ENDS: [&str; 12] = [
    "commit",
    "end",
    "select 1; commit; select 1",
    "commit and chain",
    "commit; begin",
    "select 1; end; start transaction",
    "rollback",
    "abort; select 1",
    "rollback and chain",
    "rollback; begin",
    "savepoint a; commit; begin; savepoint b",
    "create temp table passing (n int) on commit drop; commit and chain",
];

/// How the guards end, the inner one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    RollBack,
    Drop,
}

impl End {
    const ALL: [Self; 3] = [Self::Commit, Self::RollBack, Self::Drop];

    async fn of(self, guard: Transaction<'_, Postgres>) -> Result<(), Error> {
        match self {
            Self::Commit => guard.commit().await,
            Self::RollBack => guard.rollback().await,
            Self::Drop => Ok(()),
        }
    }
}

/// Whether somebody who is told this would believe that nothing was kept.
fn says_that_nothing_was_kept(told: &Error) -> bool {
    told.is_retryable() || matches!(told.outcome(), Outcome::NotExecuted | Outcome::RolledBack)
}

#[tokio::test]
async fn guards_around_a_text_that_ends_their_transaction_never_say_better_than_the_truth() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for text in ENDS {
        for (inner_end, outer_end) in End::ALL.into_iter().flat_map(|inner| End::ALL.map(|outer| (inner, outer))) {
            let what = format!("{text}; inner {inner_end:?}, outer {outer_end:?}");
            let mut conn = proxy.get_connection().await?;
            let mut outer = conn.begin().await?;
            insert(&mut outer, 1).await?;
            let mut inner = outer.begin().await?;
            run(&mut inner, text).await?;
            // Where the text began no other transaction it stays, as on a connection of one's own.
            insert(&mut inner, 2).await?;
            let inner_told = inner_end.of(inner).await;
            let _ = insert(&mut outer, 3).await;
            let outer_told = outer_end.of(outer).await;
            drop(conn);
            proxy.upkeep().await;
            let kept = kept(&server).await;
            assert!(inner_end == End::Drop || inner_told.is_err(), "{what}: the inner guard says Ok");
            assert!(outer_end == End::Drop || outer_told.is_err(), "{what}: the outer guard says Ok, {kept:?}");
            if let Err(told) = outer_told {
                assert!(!says_that_nothing_was_kept(&told), "{what}: {told}, {kept:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_guard_whose_transaction_a_text_has_ended_cannot_be_rolled_back() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for text in ENDS {
        for end in [End::Commit, End::RollBack] {
            let mut conn = proxy.get_connection().await?;
            let mut guard = conn.begin().await?;
            insert(&mut guard, 1).await?;
            run(&mut guard, text).await?;
            let told = end.of(guard).await.expect_err(text);
            assert!(matches!(told, Error::TransactionAborted { .. }), "{text}, {end:?}: {told:?}");
            assert!(!says_that_nothing_was_kept(&told), "{text}, {end:?}: {told}, {:?}", kept(&server).await);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_closure_that_goes_on_after_such_a_text_is_run_once_and_told_the_truth() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for text in ENDS {
        let mut runs = 0;
        let told = proxy
            .transaction(|tx| {
                runs += 1;
                Box::pin(async move {
                    insert(tx, 1).await?;
                    let mut inner = tx.begin().await?;
                    run(&mut inner, text).await?;
                    let _ = inner.commit().await;
                    insert(tx, 2).await?;
                    Ok::<_, Error>(())
                })
            })
            .await
            .expect_err(text);
        let kept = kept(&server).await;
        assert_eq!(runs, 1, "{text}: {kept:?}");
        assert!(!says_that_nothing_was_kept(&told), "{text}: {told}, {kept:?}");
    }
    Ok(())
}

/// The server says in its own words that it has refused a commit, also where it says what it says of a missing savepoint.
#[tokio::test]
async fn a_refused_commit_is_no_missing_savepoint() -> Result<(), Error> {
    let server = stage().await;
    server
        .execute(
            "create table refusing (code text); grant all on refusing to app; create function refuse() returns trigger \
             language plpgsql as $$ begin raise exception using errcode = new.code; end $$; create constraint trigger late \
             after insert on refusing deferrable initially deferred for each row execute function refuse()",
        )
        .await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    for code in ["3B001", "25P01", "40001", "57014"] {
        let mut guard = conn.begin().await?;
        insert(&mut guard, 1).await?;
        sqlx::query("insert into refusing values ($1)").bind(code).execute(&mut *guard).await?;
        let told = guard.commit().await.expect_err(code);
        assert_eq!((told.sqlstate().as_deref(), told.outcome()), (Some(code), Outcome::RolledBack), "{told:?}");
        assert!(kept(&server).await.is_empty(), "{code}");
    }
    Ok(())
}

/// What tells whether a transaction is still the guard's is a setting, which other things than its end take back.
#[tokio::test]
async fn a_reset_of_all_settings_or_a_rollback_to_a_savepoint_ends_no_guards_transaction() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for text in ["reset all", "select 1; reset all", "Reset All; set work_mem = '1MB'", "rollback to a"] {
        for end in [End::Commit, End::RollBack] {
            let mut conn = proxy.get_connection().await?;
            let mut guard = conn.begin().await?;
            insert(&mut guard, 1).await?;
            run(&mut guard, "savepoint a").await?;
            let _ = guard.pin().await?;
            run(&mut guard, text).await?;
            end.of(guard).await?;
            assert_eq!(kept(&server).await, if end == End::Commit { &[1][..] } else { &[] }, "{text}");
        }
    }
    Ok(())
}

/// A guard in a transaction that this session only suspects is a savepoint in it, and ends no more than itself.
#[tokio::test]
async fn a_guard_takes_over_no_transaction_that_a_text_has_begun_unseen() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for begin in
        ["select 1; begin", "commit; begin", "begin; savepoint a; release a", "do 'begin end'; begin", "handed out"]
    {
        for (end, expected) in [(End::Commit, &[1, 2][..]), (End::RollBack, &[1]), (End::Drop, &[1])] {
            for commits in [true, false] {
                let mut conn = proxy.get_connection().await?;
                if begin == "handed out" {
                    sqlx::raw_sql("begin").execute(conn.pin().await?).await?;
                } else {
                    run(&mut conn, begin).await?;
                }
                insert(&mut conn, 1).await?;
                let mut guard = conn.begin().await?;
                insert(&mut guard, 2).await?;
                end.of(guard).await?;
                run(&mut conn, if commits { "commit" } else { "rollback" }).await?;
                let expected = if commits { expected } else { &[] };
                assert_eq!(kept(&server).await, expected, "{begin}, {end:?}, {commits}");
            }
        }
    }
    Ok(())
}

/// What fails on the connection that was handed out, where the session does not see it.
#[derive(Debug, Clone, Copy)]
enum Unseen {
    Text,
    Prepared,
    CopyGivenUp,
}

async fn fail_unseen(conn: &mut Connection<Postgres>, how: Unseen) -> Result<(), Error> {
    let pinned = conn.pin().await?;
    match how {
        Unseen::Text => drop(sqlx::raw_sql("select 1 / 0").execute(&mut *pinned).await),
        Unseen::Prepared => drop(sqlx::query("select 1 / $1").bind(0_i32).execute(&mut *pinned).await),
        Unseen::CopyGivenUp => pinned.copy_in_raw("copy kept from stdin").await?.abort("not today").await?,
    }
    Ok(())
}

#[tokio::test]
async fn a_commit_as_text_of_what_an_unseen_error_has_aborted_is_an_error() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for commit in ["commit", "end work", "commit and chain", "commit; select 1", "prepare transaction 'p'"] {
        for how in [Unseen::Text, Unseen::Prepared, Unseen::CopyGivenUp] {
            let mut conn = proxy.get_connection().await?;
            run(&mut conn, "begin").await?;
            insert(&mut conn, 1).await?;
            fail_unseen(&mut conn, how).await?;
            let told = run(&mut conn, commit).await.expect_err(commit);
            assert!(matches!(told, Error::TransactionAborted { .. }), "{commit}, {how:?}: {told:?}");
            // What follows is in the next transaction, if one begins with it.
            insert(&mut conn, 2).await?;
            run(&mut conn, "commit").await?;
            assert_eq!(kept(&server).await, [2], "{commit}, {how:?}");
        }
        // One that nothing has aborted is committed.
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "begin").await?;
        let _ = conn.pin().await?;
        insert(&mut conn, 1).await?;
        run(&mut conn, commit).await?;
        drop(conn);
        if commit.starts_with("prepare") {
            server.execute("commit prepared 'p'").await;
        }
        assert_eq!(kept(&server).await, [1], "{commit}");
    }
    Ok(())
}

#[tokio::test]
async fn a_text_that_begins_with_a_commit_is_no_success_where_an_error_was_seen_either() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "begin").await?;
    insert(&mut conn, 1).await?;
    run(&mut conn, "select 1 / 0").await.expect_err("divides by zero");
    let told = run(&mut conn, "commit; insert into kept values (2)").await.expect_err("aborted");
    assert!(matches!(told, Error::TransactionAborted { .. }), "{told:?}");
    drop(conn);
    assert!(kept(&server).await.is_empty());

    // A guard's is refused, and goes on being the guard's.
    let mut conn = proxy.get_connection().await?;
    let mut guard = conn.begin().await?;
    insert(&mut guard, 1).await?;
    run(&mut guard, "select 1 / 0").await.expect_err("divides by zero");
    let told = run(&mut guard, "commit").await.expect_err("aborted");
    assert!(matches!(told, Error::TransactionAborted { .. }), "{told:?}");
    guard.rollback().await?;
    insert(&mut conn, 3).await?;
    assert_eq!(kept(&server).await, [3]);
    Ok(())
}

/// The commit of an aborted transaction is refused, and what is chained to it begins all the same. Where nobody waits for that, the
/// session's next statement is not in a transaction that it knows nothing of.
#[tokio::test]
async fn what_begins_behind_a_refused_commit_is_not_left_open_by_a_dropped_future() -> Result<(), Error> {
    let server = stage().await;
    let way = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let proxy = proxy_to(&server).port(way.port()).max_connections(1).build()?;
    for pinned in [true, false] {
        for polls in 1..=12 {
            let mut conn = proxy.get_connection().await?;
            if pinned {
                run(&mut conn, "create temp table scratch (n int)").await?;
            }
            run(&mut conn, "begin").await?;
            run(&mut conn, "select 1 / 0").await.unwrap_err();
            way.delay(Duration::from_millis(1));
            let told = polled(polls, run(&mut conn, "commit and chain")).await;
            way.pass();
            if told.is_some() {
                run(&mut conn, "rollback").await?;
                continue;
            }
            let inserted = run(&mut conn, "insert into kept values (1)").await;
            drop(conn);
            proxy.upkeep().await;
            let rows = kept(&server).await;
            assert_eq!(inserted.is_ok(), rows == [1], "{pinned}, {polls}: {inserted:?}, {rows:?}");
        }
    }
    Ok(())
}
