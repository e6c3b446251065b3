//! What shows whether a guard's transaction is still its own cannot be forged, needs nobody's leave, and hides no other answer.

use lambda_rds::{Connection, Error, Isolation, Outcome, Postgres, Proxy, Transaction};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row};

use super::ended_by_text::{kept, run, stage};
use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions};
use crate::support::postgres::Postgres as Server;
use crate::support::{chain, proxy_to};

/// One row, what ends the guard's transaction behind its back, another row, the end of the guard.
async fn end_behind(conn: &mut Connection<Postgres>, handed: bool, end: &str, commits: bool) -> Result<(), Error> {
    let mut guard = conn.begin().await?;
    run(&mut guard, "insert into kept values (1)").await?;
    let driver = guard.pin().await?;
    if handed {
        sqlx::raw_sql(AssertSqlSafe(end.to_owned())).execute(driver).await?;
    } else {
        run(&mut guard, end).await?;
    }
    run(&mut guard, "insert into kept values (2)").await?;
    if commits { guard.commit().await } else { guard.rollback().await }
}

/// Everything that may end a transaction, with this in the place of a mark. `leave`: a session before has done so.
async fn nothing_is_believed(server: &Server, proxy: &Proxy<Postgres>, what: &str, leave: Option<&str>, own: &str) {
    for (handed, commits) in [(true, true), (true, false), (false, true), (false, false)] {
        for end in ["rollback; begin", "commit; begin", "rollback", "commit"] {
            if let Some(leave) = leave {
                run(&mut proxy.get_connection().await.unwrap(), leave).await.unwrap();
            }
            let mut conn = proxy.get_connection().await.unwrap();
            run(&mut conn, own).await.unwrap();
            let told = end_behind(&mut conn, handed, end, commits).await.expect_err(what);
            assert_eq!(told.outcome(), Outcome::Unknown, "{what}, {end}, {:?}: {told}", kept(server).await);
            assert!(!told.is_retryable(), "{what}, {end}: {told}");
            drop(conn);
            proxy.upkeep().await;
            kept(server).await;
        }
    }
}

#[tokio::test]
async fn a_mark_that_somebody_else_has_left_shows_nothing() {
    let server = stage().await;
    server
        .execute(
            "create function hide() returns text language sql as \
             $$ select pg_catalog.set_config('lambda_rds.mark', 'here', false) $$",
        )
        .await;
    let set = "set lambda_rds.mark = 'here'";
    let alone = || proxy_to(&server).max_connections(1);
    let none = "select 1";
    for (what, builder, leave, own) in [
        ("the session's own", alone(), None, set),
        ("hidden in a function", alone(), None, "select hide()"),
        ("hidden in another session's", alone(), Some("select hide()"), none),
        ("what each login begins with", alone().init_query(set), None, none),
    ] {
        nothing_is_believed(&server, &builder.build().unwrap(), what, leave, own).await;
    }
    for whose in ["role app", "database app", "role app in database app"] {
        server.execute(&format!("alter {whose} {set}")).await;
        nothing_is_believed(&server, &alone().build().unwrap(), whose, None, none).await;
        server.execute(&format!("alter {whose} reset all")).await;
    }
}

#[tokio::test]
async fn a_mark_that_is_left_with_a_pooler_shows_nothing() {
    let server = stage().await;
    let pooler = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    let mut stranger = PgConnection::connect_with(&pooler.options()).await.unwrap();
    sqlx::raw_sql("set lambda_rds.mark = 'here'").execute(&mut stranger).await.unwrap();
    stranger.close().await.unwrap();
    let proxy = pooler.proxy().max_connections(1).build().unwrap();
    for end in ["rollback; begin", "commit; begin"] {
        for commits in [true, false] {
            let mut conn = proxy.get_connection().await.unwrap();
            let told = end_behind(&mut conn, true, end, commits).await.expect_err(end);
            assert_eq!(told.outcome(), Outcome::Unknown, "{end}, {:?}: {told}", kept(&server).await);
            drop(conn);
            proxy.upkeep().await;
            kept(&server).await;
        }
    }
}

/// A trigger that waits for the commit can fail with the code of any answer.
#[tokio::test]
async fn a_refused_commit_is_no_answer_about_the_mark() {
    let server = stage().await;
    server
        .execute(
            "create table refusing (code text); grant all on refusing to app; create function refuse() returns trigger \
             language plpgsql as $$ begin raise exception using errcode = new.code; end $$; create constraint trigger late \
             after insert on refusing deferrable initially deferred for each row execute function refuse()",
        )
        .await;
    let proxy = proxy_to(&server).max_connections(1).build().unwrap();
    for code in ["22012", "25P01", "25P02", "3B001", "42704", "23505", "40001", "57014", "42501"] {
        for pins in [false, true] {
            let mut conn = proxy.get_connection().await.unwrap();
            let mut guard = conn.begin().await.unwrap();
            run(&mut guard, "insert into kept values (1)").await.unwrap();
            if pins {
                guard.pin().await.unwrap();
            }
            run(&mut guard, &format!("insert into refusing values ('{code}')")).await.unwrap();
            let told = guard.commit().await.expect_err(code);
            assert_eq!(told.sqlstate().as_deref(), Some(code), "pinned {pins}: {told}");
            assert_eq!(told.outcome(), Outcome::RolledBack, "{code}, pinned {pins}: {told}");
            assert!(kept(&server).await.is_empty());
            run(&mut conn, "select 1").await.unwrap();
        }
    }
}

/// Guards around a connection that is handed out, sessions that take turns, locks, what is dropped.
async fn a_life(proxy: &Proxy<Postgres>) -> Result<(), Error> {
    let (mut one, mut other) = (proxy.get_connection().await?, proxy.get_connection().await?);
    run(&mut one, "set app.x = 'one'").await?;
    run(&mut other, "select 1").await?;
    run(&mut one, "select pg_catalog.pg_advisory_lock(1)").await?;
    drop(one);
    other.pin().await?;
    drop(other);
    let mut conn = proxy.get_connection().await?;
    for commits in [true, false] {
        let mut guard = conn.begin().await?;
        guard.pin().await?;
        run(&mut guard, "insert into kept values (1)").await?;
        if commits {
            guard.commit().await?
        } else {
            guard.rollback().await?
        }
        run(&mut conn, "select 1").await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_everybody_may_call_can_be_forbidden() {
    let server = stage().await;
    for gone in [
        "setseed(float8)",
        "current_setting(text, bool)",
        "length(text)",
        "pg_advisory_unlock_all()",
        "int4div(int, int)",
    ] {
        server.execute(&format!("revoke execute on function pg_catalog.{gone} from public")).await;
        for isolation in [Isolation::ByStatement, Isolation::Strict] {
            let plain = || proxy_to(&server).max_connections(1).isolation(isolation);
            for builder in [plain(), plain().init_query("set geqo_seed = 0.5")] {
                let proxy = builder.build().unwrap();
                for _ in 0..2 {
                    let lived = a_life(&proxy).await;
                    assert!(lived.is_ok(), "{gone}, {isolation:?}: {}", chain(&lived.unwrap_err()));
                }
                assert_eq!(kept(&server).await, [1, 1]);
            }
        }
        server.execute(&format!("grant execute on function pg_catalog.{gone} to public")).await;
    }
}

/// A question that fails has aborted what it was asked in.
#[tokio::test]
async fn a_question_about_the_mark_that_is_refused_leaves_nothing_open() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for commits in [true, false] {
        let mut conn = proxy.get_connection().await?;
        let mut guard = conn.begin().await?;
        run(&mut guard, "insert into kept values (1)").await?;
        // Nothing can be done in so little time.
        sqlx::raw_sql("set local statement_timeout = '1ms'; select 1").execute(guard.pin().await?).await.ok();
        let told = if commits { guard.commit().await } else { guard.rollback().await };
        let rows = kept(&server).await;
        match &told {
            Ok(()) => assert_eq!(rows.len(), usize::from(commits)),
            Err(told) => assert!(rows.is_empty() && told.outcome() != Outcome::NotExecuted, "{told}: {rows:?}"),
        }
        let mut guard = conn.begin().await?;
        run(&mut guard, "insert into kept values (2)").await?;
        guard.commit().await?;
        assert_eq!(kept(&server).await, [2]);
    }
    Ok(())
}

/// What replaces the guard's transaction on the connection that is handed out.
const REPLACED: [&str; 4] =
    ["rollback; begin", "commit; begin", "rollback; insert into kept values (9); begin", "rollback and chain"];

/// The guard's transaction is replaced, and its end is told no better than the rows.
async fn replace(server: &Server, mut guard: Transaction<'_, Postgres>, with: &str, commits: bool, what: &str) {
    for text in with.split("; ") {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(guard.pin().await.unwrap()).await.unwrap();
    }
    run(&mut guard, "insert into kept values (2)").await.ok();
    let told = if commits { guard.commit().await } else { guard.rollback().await };
    let what = format!("{what} | {with} | commits {commits}: {told:?}");
    let told = told.expect_err(&what);
    assert_eq!(told.outcome(), Outcome::Unknown, "{what}, {:?}", kept(server).await);
    assert!(!told.is_retryable(), "{what}");
}

/// Texts take the mark away although the transaction goes on; then another is set.
#[tokio::test]
async fn a_guard_whose_mark_a_text_has_taken_away_is_marked_again() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for text in ["reset all", "rollback to a", "select 1; reset all", "select 'reset'", "select 1 as rollback"] {
        for (with, commits) in REPLACED.into_iter().flat_map(|with| [(with, true), (with, false)]) {
            let mut conn = proxy.get_connection().await?;
            let mut guard = conn.begin().await?;
            run(&mut guard, "insert into kept values (1); savepoint a").await?;
            guard.pin().await?;
            run(&mut guard, text).await?;
            replace(&server, guard, with, commits, text).await;
            drop(conn);
            proxy.upkeep().await;
            kept(&server).await;
        }
    }
    // Where nothing has replaced it, it is kept.
    for text in ["reset all", "rollback to a", "select 'reset'", "select 1 as rollback"] {
        let mut conn = proxy.get_connection().await?;
        let mut guard = conn.begin().await?;
        run(&mut guard, "insert into kept values (1)").await?;
        run(&mut guard, "savepoint a").await?;
        guard.pin().await?;
        run(&mut guard, text).await?;
        guard.pin().await?;
        guard.commit().await?;
        assert_eq!(kept(&server).await, [1], "{text}");
    }
    Ok(())
}

/// An aborted transaction takes no mark, and a savepoint's end makes it whole again.
#[tokio::test]
async fn a_guard_that_was_handed_out_aborted_is_marked_when_it_is_whole_again() -> Result<(), Error> {
    let server = stage().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for healed_by in ["a rollback", "a drop", "nothing", "a text"] {
        for (with, commits) in REPLACED.into_iter().flat_map(|with| [(with, true), (with, false)]) {
            let mut conn = proxy.get_connection().await?;
            let mut guard = conn.begin().await?;
            run(&mut guard, "insert into kept values (1)").await?;
            if healed_by == "a text" {
                run(&mut guard, "savepoint a").await?;
            }
            if let "nothing" | "a text" = healed_by {
                run(&mut guard, "select 1 / 0").await.expect_err("divides by zero");
                guard.pin().await?;
                if healed_by == "a text" {
                    run(&mut guard, "rollback to a").await?;
                }
            } else {
                let mut inner = guard.begin().await?;
                run(&mut inner, "select 1 / 0").await.expect_err("divides by zero");
                inner.pin().await?;
                if healed_by == "a rollback" {
                    inner.rollback().await?;
                } else {
                    drop(inner);
                    run(&mut guard, "select 1").await?;
                }
            }
            replace(&server, guard, with, commits, healed_by).await;
            drop(conn);
            proxy.upkeep().await;
            kept(&server).await;
        }
    }
    let mut conn = proxy.get_connection().await?;
    let mut guard = conn.begin().await?;
    run(&mut guard, "insert into kept values (1)").await?;
    let mut inner = guard.begin().await?;
    run(&mut inner, "select 1 / 0").await.expect_err("divides by zero");
    inner.pin().await?;
    inner.rollback().await?;
    guard.commit().await?;
    assert_eq!(kept(&server).await, [1], "nothing has replaced it");
    Ok(())
}

/// A text that may end the transaction can read what marks it, and set that in the next one.
#[tokio::test]
async fn a_rollback_does_not_believe_a_mark_after_a_text_that_may_have_ended_the_transaction() -> Result<(), Error> {
    let server = stage().await;
    let pooler = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    for (proxy, way) in [(proxy_to(&server), "directly"), (pooler.proxy(), "pooled")] {
        let proxy = proxy.max_connections(1).build()?;
        for forges in [false, true] {
            for commits in [true, false] {
                let mut conn = proxy.get_connection().await?;
                let mut guard = conn.begin().await?;
                run(&mut guard, "insert into kept values (1)").await?;
                let asked = "savepoint s; release s; select coalesce(current_setting('lambda_rds.mark', true), '')";
                let mark: String = sqlx::raw_sql(asked).fetch_one(&mut *guard).await?.get(0);
                let forged = format!("select 1; commit; begin; set local lambda_rds.mark = '{mark}'");
                let kept_mark =
                    "select set_config('lambda_rds.mark', current_setting('lambda_rds.mark'), false); commit; begin";
                run(&mut guard, if forges { &forged } else { kept_mark }).await.ok();
                let told = if commits { guard.commit().await } else { guard.rollback().await };
                let rows = kept(&server).await;
                match told {
                    Ok(()) => assert_eq!(rows.len(), usize::from(commits), "{way}, {forges}: {rows:?}"),
                    Err(told) => assert_eq!(told.outcome(), Outcome::Unknown, "{way}, {forges}: {told}"),
                }
            }
        }
    }
    Ok(())
}
