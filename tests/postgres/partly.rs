//! What a text has committed before it failed, or a statement that goes through several transactions, is not called rolled back:
//! done again, it would be done twice.

use std::time::Duration;

use lambda_rds::{Connection, Error, Outcome, PgProxy, Postgres, internals};
use sqlx::{AssertSqlSafe, Executor};

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::{chain, proxy_to};

const SCHEMA: &str = "create schema w authorization app; create table w.d (n int); alter table w.d owner to app; \
    create procedure w.p() language plpgsql as $$ begin insert into w.d values (1); commit; perform 1 / 0; end $$; \
    grant all on procedure w.p() to app; \
    create function w.conflict() returns int language plpgsql as $$ begin raise 'conflict' using errcode = '40001'; end $$";

async fn run(conn: &mut Connection<Postgres>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn count(server: &Server, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut server.admin().await).await.unwrap()
}

/// What a text fails with in a session of its own, in an invocation of so many seconds.
async fn attempt(proxy: &PgProxy, sql: &str, invocation: u64) -> Error {
    let mut conn = proxy.get_connection().await.unwrap();
    internals::invocation(Duration::from_secs(invocation), run(&mut conn, sql)).await.unwrap_err()
}

/// What an error says of work of which so much is there.
fn is_true(error: &Error, done: i64) -> bool {
    match error.outcome() {
        Outcome::Unknown => !error.is_retryable(),
        Outcome::RolledBack | Outcome::NotExecuted => done == 0,
        _ => false,
    }
}

#[tokio::test]
async fn what_a_text_has_committed_before_it_fails_is_not_called_rolled_back() {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(SCHEMA).await;
    let proxy = proxy_to(&server).build().unwrap();
    let mut wrong = Vec::new();
    for sql in [
        "insert into w.d values (1); commit; select 1 / 0",
        "insert into w.d values (1); commit; select w.conflict()",
        "begin; insert into w.d values (1); commit; select 1 / 0",
        "begin; insert into w.d values (1); commit; begin; select 1 / 0",
        "insert into w.d values (1); end; select 1 / 0",
        "do $$ begin insert into w.d values (1); commit; perform 1 / 0; end $$",
        "call w.p()",
        // All or nothing, or not even read, and told so.
        "selct 1",
        "vacuum (,) w.d",
        "insert into w.d values (1); select 1 / 0",
        "begin; insert into w.d values (1); select 1 / 0; commit",
        // Where there is an end.
        "insert into w.d values (1); commit; select pg_sleep(30)",
        "begin; insert into w.d values (1); commit; select pg_sleep(30)",
        "insert into w.d values (1); select pg_sleep(30)",
    ] {
        // A cancel that a busy machine does not answer before the invocation ends tells nothing: then it is tried again.
        let (mut invocation, tries) = if sql.contains("pg_sleep") { (1, 5) } else { (60, 1) };
        let (mut error, mut tried) = (attempt(&proxy, sql, invocation).await, 1);
        while tried < tries && error.outcome() == Outcome::Unknown && !sql.contains("commit") {
            server.execute("delete from w.d").await;
            // The margin for the cancel grows with it.
            invocation *= 2;
            (error, tried) = (attempt(&proxy, sql, invocation).await, tried + 1);
        }
        let done = count(&server, "with gone as (delete from w.d returning *) select count(*) from gone").await;
        if !is_true(&error, done) {
            wrong.push(format!("{sql}: {:?}, and {done} are there: {}", error.outcome(), chain(&error)));
        }
        if done == 0 && error.outcome() == Outcome::Unknown && !sql.contains("commit") {
            wrong.push(format!("{sql}: less is told than is known"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// It is there and invalid; done again with `if not exists` it would be called done.
#[tokio::test]
async fn an_index_that_was_left_invalid_is_not_called_rolled_back() {
    const INVALID: &str = "select count(*) from pg_index where not indisvalid";
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(SCHEMA).await;
    server.execute("insert into w.d values (1), (1)").await;
    let proxy = proxy_to(&server).build().unwrap();
    let mut conn = proxy.get_connection().await.unwrap();

    let error = run(&mut conn, "create unique index concurrently d_n on w.d (n)").await.unwrap_err();
    assert_eq!((count(&server, INVALID).await, error.outcome(), error.is_retryable()), (1, Outcome::Unknown, false));
    server.execute("drop index w.d_n").await;

    // Cancelled while it waits for somebody's rows.
    let mut holder = server.admin().await;
    holder.execute("begin; insert into w.d values (2)").await.unwrap();
    let sql = "create index concurrently d_n on w.d (n)";
    let error = internals::invocation(Duration::from_secs(2), run(&mut conn, sql)).await.unwrap_err();
    holder.execute("rollback").await.unwrap();
    assert!(is_true(&error, count(&server, INVALID).await), "{}", chain(&error));
    assert_eq!(error.outcome(), Outcome::Unknown, "{}", chain(&error));
}

/// The refusal of a statement inside of it reads like that of a plan or a name of the driver's.
#[tokio::test]
async fn what_a_procedure_or_a_function_has_done_is_not_done_again() {
    const GONE: &str = "execute 'execute gone'";
    const TAKEN: &str = "execute 'prepare sqlx_s_1 as select 1; prepare sqlx_s_1 as select 1'";
    const LOST: &str = "raise exception using errcode = 'XX000', message = 'cache lookup failed for type 7'";
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(SCHEMA).await;
    server.execute("create sequence w.s; grant all on sequence w.s to app").await;
    let proxy = proxy_to(&server).build().unwrap();
    for body in [GONE, "execute 'deallocate gone'", TAKEN, LOST] {
        let made = [
            format!(
                "create or replace procedure w.q() language plpgsql as $$ begin insert into w.d values (1); commit; {body}; end $$"
            ),
            format!(
                "create or replace function w.f() returns int language plpgsql as $$ begin perform nextval('w.s'); {body}; return 1; end $$"
            ),
            "grant all on procedure w.q() to app; alter sequence w.s restart".to_owned(),
        ];
        server.execute(&made.join("; ")).await;
        let block = format!("do $$ begin insert into w.d values (1); commit; {body}; end $$");
        for (sql, is_function) in [("call w.q()", false), (block.as_str(), false), ("select w.f()", true)] {
            let mut conn = proxy.get_connection().await.unwrap();
            let text = AssertSqlSafe(sql.to_owned());
            let error = Error::from(sqlx::query(text).execute(&mut conn).await.unwrap_err());
            let done = if is_function {
                count(&server, "select last_value from w.s").await
            } else {
                count(&server, "with gone as (delete from w.d returning *) select count(*) from gone").await
            };
            let outcome = if is_function { Outcome::RolledBack } else { Outcome::Unknown };
            assert_eq!((done, error.outcome()), (1, outcome), "{sql}, {body}: {}", chain(&error));
        }
    }
}

/// What the server says to a word of the text it says to a value too, when rows are there.
#[tokio::test]
async fn a_syntax_error_of_a_value_is_none_of_the_text() {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(SCHEMA).await;
    server.execute("create table w.t (t text); alter table w.t owner to app; insert into w.t values ('a b')").await;
    let proxy = proxy_to(&server).build().unwrap();
    for what in ["to_tsquery('simple', t)", "(t::tsquery)", "(t::jsonpath::text)"] {
        let mut conn = proxy.get_connection().await.unwrap();
        let error = run(&mut conn, &format!("create index concurrently q on w.t ({what})")).await.unwrap_err();
        let left = count(&server, "select count(*) from pg_index where not indisvalid").await;
        assert_eq!(
            (left, error.sqlstate().as_deref(), error.outcome()),
            (1, Some("42601"), Outcome::Unknown),
            "{what}"
        );
        server.execute("drop index w.q").await;
    }
}

/// `w.done` writes by a connection of its own: how often it was called shows, whatever is rolled back.
async fn with_work_elsewhere(server: &Server) {
    server.execute(SCHEMA).await;
    let place = format!("host=127.0.0.1 port={} dbname=app user=postgres sslmode=disable", server.port());
    server
        .execute(&format!(
            "create extension dblink; create table w.t (t text); insert into w.t values ('{{\"price\": \"US $5'); \
             alter table w.t owner to app; create sequence w.s; grant all on sequence w.s to app; \
             create schema a authorization app; create schema b authorization app; \
             create function w.done(t text) returns int language plpgsql security definer as $$ begin \
             perform public.dblink_exec('{place}', 'insert into w.d values (1)'); return t::int; end $$; \
             create function w.said(code text) returns int language plpgsql as $$ begin perform w.done('1'); \
             raise exception using errcode = code, message = 'said'; end $$; \
             create function w.began() returns event_trigger language plpgsql security definer as $$ begin \
             perform w.done('1'); end $$; \
             create event trigger began on ddl_command_start when tag in ('CREATE VIEW') execute function w.began()"
        ))
        .await;
}

/// How a statement is sent.
#[derive(Clone, Copy)]
enum Way {
    Text,
    Prepared,
    /// Which the statement has no place for.
    WithAValue,
}

/// Sessions whose paths differ share a connection: there the driver may know a type by a name that stands for another one. That
/// is told by what the server says before it executes anything, and by nothing that it says at work.
#[tokio::test]
async fn what_was_met_at_work_is_not_run_again_where_names_are_mixed() {
    let server = Server::start(PostgresOptions::default()).await;
    with_work_elsewhere(&server).await;
    for (text, way) in [
        ("select w.done('nonsense')", Way::Prepared),
        ("select w.said('22P02')", Way::Prepared),
        ("select w.said('42883')", Way::Prepared),
        ("select w.said('42704')", Way::Prepared),
        // No function of anybody's has met it.
        ("select w.done('1'), ((random() * 0)::text || 'x')::int", Way::Prepared),
        ("select w.done('1'), t::jsonb from w.t", Way::Prepared),
        ("select w.done('1'), array_in('{1}', 7, -1)::text", Way::Prepared),
        ("create view a.v as select nofn()", Way::Prepared),
        ("create view a.v as select 'x'::int", Way::WithAValue),
        // The next statement is read when the one before is done.
        ("select w.done('1'); select nofn()", Way::Text),
        ("select w.done('1'); select 'x'::int", Way::Text),
        ("explain analyze select w.done('1'); select null::nosuch", Way::Text),
    ] {
        server.execute("delete from w.d").await;
        let proxy = proxy_to(&server).max_connections(1).build().unwrap();
        let mut one = proxy.get_connection().await.unwrap();
        let mut other = proxy.get_connection().await.unwrap();
        run(&mut one, "set search_path = a, public").await.unwrap();
        run(&mut other, "set search_path = b, public").await.unwrap();
        for conn in [&mut one, &mut other] {
            sqlx::query("select 1").execute(conn).await.unwrap();
        }
        let ended = match way {
            Way::Text => sqlx::raw_sql(text).execute(&mut one).await,
            Way::Prepared => sqlx::query(text).execute(&mut one).await,
            Way::WithAValue => sqlx::query(text).bind("7").execute(&mut one).await,
        };
        let error = Error::from(ended.expect_err(text));
        let done = count(&server, "select count(*) from w.d").await;
        assert_eq!((done, error.outcome()), (1, Outcome::RolledBack), "{text}: {}", chain(&error));
    }
}

/// What `EXECUTE` is given is evaluated, and then its plan is found to be stale.
#[tokio::test]
async fn what_an_execute_was_given_is_not_evaluated_again() {
    let server = Server::start(PostgresOptions::default()).await;
    with_work_elsewhere(&server).await;
    server.execute("create table a.c (n int); alter table a.c owner to app").await;
    let proxy = proxy_to(&server).max_connections(1).build().unwrap();
    let mut conn = proxy.get_connection().await.unwrap();
    run(&mut conn, "prepare p (int) as select *, $1 from a.c").await.unwrap();
    run(&mut conn, "execute p(1)").await.unwrap();
    server.execute("alter table a.c add column m int").await;
    let text = "explain analyze execute p(w.done('1'))";
    let error = Error::from(sqlx::query(text).execute(&mut conn).await.unwrap_err());
    let done = count(&server, "select count(*) from w.d").await;
    assert_eq!((done, error.outcome()), (1, Outcome::RolledBack), "{}", chain(&error));
}

/// A reader refuses a command as a whole, and a function when it is called: what was done before that is done.
#[tokio::test]
async fn what_a_reader_had_begun_is_not_run_again() {
    let server = Server::start(PostgresOptions::default()).await;
    with_work_elsewhere(&server).await;
    let replica = server.replica().await;
    for text in [
        "select w.done('1'), nextval('w.s')",
        "select w.done('1'), pg_notify('x', 'y')",
        "select w.done('1'), txid_current()",
        "/* by a framework */ select w.done('1'), nextval('w.s')",
        "(select w.done('1'), nextval('w.s'))",
        "select w.done('1'); notify x",
        "select w.done('1'); insert into w.t values ('x')",
    ] {
        server.execute("delete from w.d").await;
        let builder = proxy_to(&replica).max_connections(1).failover_timeout(Duration::from_secs(1));
        let mut conn = builder.build().unwrap().get_connection().await.unwrap();
        let error = run(&mut conn, text).await.expect_err(text);
        let done = count(&server, "select count(*) from w.d").await;
        assert_eq!((done, error.outcome()), (1, Outcome::RolledBack), "{text}: {}", chain(&error));
    }
}

/// A text inside has committed: the closure's failure is not to be mended by running it once more.
#[tokio::test]
async fn what_a_closure_has_committed_is_not_to_be_done_again() {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(SCHEMA).await;
    server
        .execute(
            "create function w.said(code text) returns int language plpgsql as $$ begin \
             raise exception using errcode = code, message = 'said'; end $$",
        )
        .await;
    let proxy = proxy_to(&server).build().unwrap();
    for code in ["25006", "40001", "40P01"] {
        for first in [
            "insert into w.d values (1); commit; begin",
            "commit; insert into w.d values (1)",
            "insert into w.d values (1); commit and chain",
        ] {
            let result: Result<(), Error> = proxy
                .transaction(|tx| {
                    Box::pin(async move {
                        run(tx, first).await?;
                        sqlx::query("select w.said($1)").bind(code).execute(&mut **tx).await?;
                        Ok(())
                    })
                })
                .await;
            let error = result.expect_err("it says so");
            let done = count(&server, "with gone as (delete from w.d returning *) select count(*) from gone").await;
            assert_eq!((done, error.outcome()), (1, Outcome::Unknown), "{code}, {first}: {}", chain(&error));
            assert!(!error.is_retryable());
        }
    }
}

/// The cancel of a commit ends its wait for the standbys, and the server says no more than a warning.
#[tokio::test]
async fn what_no_standby_may_have_is_not_called_completed() {
    let settings = vec![("synchronous_standby_names", "nobody".to_owned())];
    let server = Server::start(PostgresOptions { settings, ..PostgresOptions::default() }).await;
    server.execute(&format!("set synchronous_commit = local; {SCHEMA}")).await;
    let proxy = proxy_to(&server).max_connections(1).build().unwrap();
    for texts in [
        &["insert into w.d values (1)"][..],
        &["begin", "insert into w.d values (1)", "commit"],
        &["begin; insert into w.d values (1); commit"],
        &["begin", "insert into w.d values (1); commit"],
        &["begin", "insert into w.d values (1)", "commit; select 1"],
        &["begin", "insert into w.d values (1)", "select 1; end"],
        &["begin", "insert into w.d values (1)", "commit; begin"],
    ] {
        let mut conn = proxy.get_connection().await.unwrap();
        let ended = internals::invocation(Duration::from_secs(2), async {
            for text in texts {
                run(&mut conn, text).await?;
            }
            Ok::<_, Error>(())
        });
        let error = ended.await.expect_err("no standby has it");
        assert_eq!((error.outcome(), error.is_retryable()), (Outcome::Unknown, false), "{texts:?}: {}", chain(&error));
        drop(conn);
        proxy.upkeep().await;
    }
}
