//! Random programs of several sessions at a time on two shared connections, and each session alone on a connection of
//! its own: every visible result, every setting and every committed row must be equal.
//!
//! `MODEL_PROGRAMS=10000 cargo test --all-features --test behaviour model` runs more of them than the default, and
//! `MODEL_SEED=7` others. A program is a value and holds all that happens but the interleaving, so a failing one
//! shrinks.
//!
//! Many sessions may pin, with two connections for all. That is no deadlock: whoever holds a connection waits for
//! nothing but the server (locks are only tried, on keys of the session's own or shared), never needs a second one,
//! and is dropped, which ends its pin, as soon as its steps are done. The others wait in the queue until then.
//!
//! What a dropped statement does may happen, not happen, or happen later. So it writes where nobody looks; a dropped
//! `SET` is followed by one that is not dropped; and inside a transaction it runs in a savepoint that is rolled back.
//!
//! A transaction that is dropped keeps its locks until its connection is taken up again, and its session may go on upon
//! another one. So the upkeep that follows each response is called after it.

use std::fmt::Write;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use lambda_rds::{Connection, Error, PgProxy, Postgres};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor, PgConnection, Row};

use crate::support::postgres::{Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

const PROGRAMS: u32 = 200;
const CONNECTIONS: usize = 2;

/// What each of several sessions does.
type Program = Vec<Vec<Step>>;

/// A step of a session. `{s}` in a text is the session's number.
#[derive(Debug, Clone)]
enum Step {
    /// What the session sees.
    Look,
    /// A statement that may fail.
    Run(Way, String),
    /// A stream of many rows, dropped after the first few.
    Stream(usize),
    /// A statement dropped after so many polls.
    Dropped(Lost, usize),
    /// A transaction, or a savepoint inside one, and how it ends.
    Nested(Vec<Self>, End),
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Execute,
    All,
    /// `fetch_optional`, which leaves bare sqlx with rows unread.
    First,
    /// Prepared without a name.
    Unnamed,
    /// With a parameter.
    Bound(u8),
    /// By the simple protocol.
    Raw,
}

#[derive(Debug, Clone, Copy)]
enum Lost {
    Sleep,
    Failure,
    Insert,
    Set,
    Begin,
    /// Pins, where the text was sent.
    TempTable,
    /// A stream of which nothing was read.
    Rows,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    Rollback,
    /// The guard is dropped.
    Drop,
}

/// The rows of `half` are those of dropped statements. The uniqueness of `notes` is looked at by the commit.
const SCHEMA: &str = "
    create role clerk; grant clerk to app;
    create table notes (session int, n int, unique (session, n) deferrable initially deferred);
    create table half (session int);
    grant all on notes, half to public";

/// What a session sees of itself. A custom setting that was never made may read as nothing or as empty.
const LOOK: &str = "select concat_ws(' ', current_user, session_user, \
    (select string_agg(name || '=' || current_setting(name), ' ' order by name) from unnest(array[ \
        'work_mem', 'lock_timeout', 'search_path', 'TimeZone', 'DateStyle', 'transaction_read_only' \
    ]) name), \
    coalesce(current_setting('app.tenant', true), ''), \
    to_regclass('pg_temp.mine')::text, \
    (select 'locks:' || string_agg(objid || mode, ',' order by objid, mode) from pg_locks \
     where pid = pg_backend_pid() and locktype = 'advisory'), \
    (select 'channels:' || string_agg(c, ',' order by c) from pg_listening_channels() c), \
    (select 'cursors:' || string_agg(name, ',' order by name) from pg_cursors where name <> ''), \
    (select 'prepared:' || string_agg(name, ',' order by name) from pg_prepared_statements where from_sql), \
    (select 'notes:' || string_agg(n::text, ',' order by n) from public.notes where session = {s}))";

const MANY_ROWS: &str = "select n::text from generate_series(1, 300) n";

/// What must not pin.
fn shared_statement() -> impl Strategy<Value = Step> {
    use Way::{All, Execute, First, Raw, Unnamed};
    let quiet = prop::sample::select(vec![Execute, All, First, Unnamed, Raw]);
    let settings = (1..9_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("set work_mem = '{n}MB'"),
            format!("set session lock_timeout to {n}000"),
            format!("set local work_mem = '{n}MB'"),
            format!("set local lock_timeout = '{n}s'"),
            format!("select set_config('app.tenant', '{{s}}.{n}', false)"),
            format!("select set_config('lock_timeout', '{n}s', true)"),
            format!("set app.tenant = '{n} of {{s}}'"),
            format!("set time zone {n}"),
            "reset work_mem".to_owned(),
            "reset all".to_owned(),
            "reset app.tenant".to_owned(),
            "set lock_timeout to default".to_owned(),
            "set search_path = pg_catalog, \"public\", \"B c\"".to_owned(),
            "set datestyle = 'German'".to_owned(),
            "set role clerk".to_owned(),
            "reset role".to_owned(),
            "set role none".to_owned(),
            "set session authorization default".to_owned(),
            "set transaction read only".to_owned(),
            "set work_mem = 'much'".to_owned(),
            "set role nobody_of_that_name".to_owned(),
        ])
    });
    let queries = (1..5_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("select '{n} of {{s}}'"),
            "show work_mem".to_owned(),
            "select 1 / 0".to_owned(),
            "select no_such_column".to_owned(),
            MANY_ROWS.to_owned(),
            format!("insert into public.notes values ({{s}}, {n}) returning n::text"),
            format!("delete from public.notes where session = {{s}} and n = {n}"),
            format!("update public.notes set n = n + 4 where session = {{s}} and n = {n} returning n::text"),
            "select pg_try_advisory_xact_lock({s})::text".to_owned(),
            "select pg_try_advisory_xact_lock_shared(1000)::text".to_owned(),
            "select pg_advisory_unlock({s})::text".to_owned(),
            "notify orders".to_owned(),
        ])
    });
    // By the simple protocol, because the driver keeps for good what columns a text had when it was prepared.
    let texts = (1..5_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("declare c cursor for select '{{s}}.' || n from generate_series({n}, 9) n"),
            "fetch 2 from c".to_owned(),
            "move 1 in c".to_owned(),
            "close c".to_owned(),
            format!("insert into public.notes values ({{s}}, {n}); select 'and {{s}}'"),
            format!("insert into public.notes values ({{s}}, {n}); select 1 / 0; select 'not reached'"),
            "select 'a'; select 'b'; select 'c'".to_owned(),
        ])
    });
    prop_oneof![
        4 => (quiet.clone(), settings).prop_map(|(way, sql)| Step::Run(way, sql)),
        3 => (quiet, queries).prop_map(|(way, sql)| Step::Run(way, sql)),
        2 => texts.prop_map(|sql| Step::Run(Raw, sql)),
    ]
}

/// What pins, and what is done with what pinned.
fn pinning_statement() -> impl Strategy<Value = Step> {
    let texts = (1..9_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            "create temp table mine (n int)".to_owned(),
            "create temp table mine (n int) on commit drop".to_owned(),
            format!("insert into mine values ({n})"),
            "select n::text from mine order by n".to_owned(),
            "drop table mine".to_owned(),
            "select pg_try_advisory_lock({s})::text".to_owned(),
            "select pg_try_advisory_lock_shared({s})::text".to_owned(),
            "select pg_try_advisory_lock_shared(1000)::text".to_owned(),
            "select pg_advisory_unlock({s})::text".to_owned(),
            "select pg_advisory_unlock_all()".to_owned(),
            "declare h cursor with hold for select '{s}.' || n from generate_series(1, 5) n".to_owned(),
            "fetch 2 from h".to_owned(),
            "close h".to_owned(),
            "listen orders_{s}".to_owned(),
            "unlisten *".to_owned(),
            format!("prepare p as select '{n} of {{s}}'"),
            "execute p".to_owned(),
            "deallocate p".to_owned(),
            "do $$ begin perform set_config('lock_timeout', '7s', false); end $$".to_owned(),
            format!("set work_mem = '{n}MB'; select 'set by {{s}}'"),
            format!("set work_mem = '{n}MB'; select 1 / 0"),
            format!("begin; insert into public.notes values ({{s}}, 1{n}); set lock_timeout = {n}; commit"),
        ])
    });
    let bound = (1..9_u8).prop_map(|n| {
        Step::Run(Way::Bound(n), "select set_config('lock_timeout', $1::int::text || 's', false)".to_owned())
    });
    prop_oneof![
        6 => texts.prop_map(|sql| Step::Run(Way::Raw, sql)),
        1 => bound,
    ]
}

fn steps(pins: bool) -> impl Strategy<Value = Vec<Step>> {
    use Lost::{Begin, Failure, Insert, Rows, Set, Sleep, TempTable};
    let mut lost = vec![Sleep, Failure, Insert, Set, Begin, Rows];
    lost.extend(pins.then_some(TempTable));
    let step = prop_oneof![
        5 => Just(Step::Look),
        8 => shared_statement(),
        if pins { 5 } else { 0 } => pinning_statement(),
        1 => (0..4_usize).prop_map(Step::Stream),
        2 => (prop::sample::select(lost), 0..5_usize).prop_map(|(what, polls)| Step::Dropped(what, polls)),
    ];
    let end = prop::sample::select(vec![End::Commit, End::Commit, End::Rollback, End::Drop]);
    let nested = step.prop_recursive(3, 24, 6, move |inner| {
        (vec(inner, 0..6), end.clone()).prop_map(|(steps, end)| Step::Nested(steps, end))
    });
    vec(nested, 1..8)
}

fn program() -> impl Strategy<Value = Program> {
    vec(prop_oneof![3 => steps(false), 2 => steps(true)], 2..=8)
}

/// A text as it is sent. Inside a guard the application's own `BEGIN` and `COMMIT` would end the guard's transaction.
fn text(sql: &str, session: usize, depth: usize) -> AssertSqlSafe<String> {
    let sql = if depth > 0 { sql.replace("begin; ", "").replace("; commit", "") } else { sql.to_owned() };
    AssertSqlSafe(sql.replace("{s}", &session.to_string()))
}

/// The rows' texts and the counts, as far as this way of running it shows them.
async fn run<'e>(
    executor: impl Executor<'e, Database = Postgres>,
    way: Way,
    sql: AssertSqlSafe<String>,
) -> Result<String, sqlx::Error> {
    fn cell(row: &sqlx::postgres::PgRow) -> String {
        row.try_get::<Option<String>, _>(0).map_or_else(|_| "?".to_owned(), Option::unwrap_or_default)
    }
    let rows = match way {
        Way::Execute => return Ok(sqlx::query(sql).execute(executor).await?.rows_affected().to_string()),
        Way::First => sqlx::query(sql).fetch_optional(executor).await?.into_iter().collect(),
        Way::All => sqlx::query(sql).fetch_all(executor).await?,
        Way::Unnamed => sqlx::query(sql).persistent(false).fetch_all(executor).await?,
        Way::Bound(n) => sqlx::query(sql).bind(i32::from(n)).fetch_all(executor).await?,
        Way::Raw => {
            let steps: Vec<_> = executor.fetch_many(sqlx::raw_sql(sql)).try_collect().await?;
            let shown = steps.iter().map(|step| match step {
                Either::Left(done) => format!("({})", done.rows_affected()),
                Either::Right(row) => cell(row),
            });
            return Ok(shown.collect::<Vec<_>>().join(" "));
        }
    };
    Ok(rows.iter().map(cell).collect::<Vec<_>>().join(" "))
}

/// The first rows of many.
async fn stream<'e>(executor: impl Executor<'e, Database = Postgres>, rows: usize) -> Result<String, sqlx::Error> {
    let mut stream = executor.fetch(MANY_ROWS);
    let mut read = String::new();
    while read.len() < rows
        && let Some(row) = stream.try_next().await?
    {
        read.push_str(row.get(0));
    }
    Ok(read)
}

/// An error is seen as its code.
fn seen(result: Result<String, sqlx::Error>) -> String {
    result.unwrap_or_else(|error| {
        error.as_database_error().and_then(|error| error.code()).map_or_else(|| error.to_string(), Into::into)
    })
}

/// Polls a future so many times, with time for an answer in between, and drops it.
async fn drop_after<F: Future>(polls: usize, future: F) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if futures_util::poll!(&mut future).is_ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn drop_statement(conn: &mut Connection<Postgres>, session: usize, what: Lost, polls: usize) {
    let sql = match what {
        Lost::Begin => return drop_after(polls, conn.begin()).await,
        Lost::Rows => {
            let mut rows = sqlx::query(MANY_ROWS).fetch(conn);
            return drop_after(polls, rows.try_next()).await;
        }
        Lost::Sleep => "select pg_sleep(0.002)",
        Lost::Failure => "select pg_sleep(0.001), 1 / (random() < 0)::int",
        Lost::Insert => "insert into public.half values ({s})",
        Lost::Set => "set work_mem = '9MB'",
        Lost::TempTable => "create temp table half_made (n int)",
    };
    drop_after(polls, sqlx::query(text(sql, session, 0)).execute(conn)).await;
}

/// After a `SET` that may have happened.
const SET_AGAIN: &str = "set work_mem = '1MB'";

/// A session in one of the two worlds.
struct Session<'a> {
    number: usize,
    log: &'a mut String,
}

impl Session<'_> {
    fn note(&mut self, what: impl std::fmt::Display) {
        writeln!(self.log, "{what}").unwrap();
    }

    /// The steps through this crate.
    fn shared<'a>(
        &'a mut self,
        proxy: &'a PgProxy,
        conn: &'a mut Connection<Postgres>,
        steps: &'a [Step],
        depth: usize,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for step in steps {
                match step {
                    Step::Look => {
                        let result = run(&mut *conn, Way::All, text(LOOK, self.number, depth)).await;
                        self.note(seen(result));
                    }
                    Step::Run(way, sql) => {
                        let result = run(&mut *conn, *way, text(sql, self.number, depth)).await;
                        self.note(format_args!("{sql}: {}", seen(result)));
                    }
                    Step::Stream(rows) => {
                        let result = stream(&mut *conn, *rows).await;
                        self.note(seen(result));
                    }
                    Step::Dropped(what, polls) if depth > 0 => {
                        // In an aborted transaction there is no savepoint to be had.
                        if let Ok(mut savepoint) = conn.begin().await {
                            drop_statement(&mut savepoint, self.number, *what, *polls).await;
                            if polls % 2 == 0 {
                                savepoint.rollback().await.expect("rolled back");
                            }
                        }
                    }
                    Step::Dropped(what, polls) => {
                        drop_statement(conn, self.number, *what, *polls).await;
                        if matches!(what, Lost::Set) {
                            let result = run(&mut *conn, Way::Execute, text(SET_AGAIN, self.number, depth)).await;
                            self.note(seen(result));
                        }
                    }
                    Step::Nested(steps, end) => {
                        let mut transaction = match conn.begin().await {
                            Ok(transaction) => transaction,
                            Err(error) => {
                                self.note(format_args!("no savepoint: {:?}", error.sqlstate()));
                                continue;
                            }
                        };
                        self.shared(proxy, &mut transaction, steps, depth + 1).await;
                        let ended = match end {
                            End::Commit => transaction.commit().await,
                            End::Rollback => transaction.rollback().await,
                            End::Drop => {
                                drop(transaction);
                                if depth == 0 {
                                    proxy.upkeep().await;
                                }
                                Ok(())
                            }
                        };
                        match (ended, end) {
                            (Ok(()), End::Commit) => self.note("kept"),
                            (Ok(()), _) | (Err(Error::TransactionAborted { .. }), End::Commit) => {
                                self.note("taken back");
                            }
                            (Err(error), _) => self.note(format_args!("refused: {:?}", error.sqlstate())),
                        }
                    }
                }
            }
        })
    }

    /// The same on a connection of its own, with the texts that the guards stand for. Whether the last error has
    /// aborted the transaction that the steps run in.
    fn alone<'a>(&'a mut self, conn: &'a mut PgConnection, steps: &'a [Step], depth: usize) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let mut aborted = false;
            for step in steps {
                match step {
                    Step::Look => {
                        let result = run(&mut *conn, Way::All, text(LOOK, self.number, depth)).await;
                        aborted |= result.is_err();
                        self.note(seen(result));
                    }
                    Step::Run(way, sql) => {
                        let result = run(&mut *conn, *way, text(sql, self.number, depth)).await;
                        aborted |= result.is_err();
                        self.note(format_args!("{sql}: {}", seen(result)));
                    }
                    Step::Stream(rows) => {
                        let result = stream(&mut *conn, *rows).await;
                        aborted |= result.is_err();
                        self.note(seen(result));
                    }
                    Step::Dropped(Lost::Set, _) if depth == 0 => {
                        let result = run(&mut *conn, Way::Execute, text(SET_AGAIN, self.number, depth)).await;
                        self.note(seen(result));
                    }
                    Step::Dropped(..) => {}
                    Step::Nested(steps, end) => {
                        let begin = if depth == 0 { "begin".to_owned() } else { format!("savepoint s{depth}") };
                        if let Err(error) = run(&mut *conn, Way::Raw, AssertSqlSafe(begin)).await {
                            let code = error.as_database_error().and_then(|error| error.code());
                            self.note(format_args!("no savepoint: {code:?}"));
                            continue;
                        }
                        let inner_aborted = self.alone(conn, steps, depth + 1).await;
                        let keep = matches!(end, End::Commit) && !inner_aborted;
                        let end = match (depth, keep) {
                            (0, true) => "commit".to_owned(),
                            (0, false) => "rollback".to_owned(),
                            (depth, true) => format!("release savepoint s{depth}"),
                            (depth, false) => format!("rollback to savepoint s{depth}; release savepoint s{depth}"),
                        };
                        match run(&mut *conn, Way::Raw, AssertSqlSafe(end)).await {
                            Ok(_) => self.note(if keep { "kept" } else { "taken back" }),
                            Err(error) => {
                                let code = error.as_database_error().and_then(|error| error.code());
                                self.note(format_args!("refused: {code:?}"));
                            }
                        }
                    }
                }
            }
            aborted && depth > 0
        })
    }
}

/// The two worlds.
struct Stage {
    server: Server,
    shared: PgProxy,
    own: PgConnection,
    admin: PgConnection,
}

impl Stage {
    async fn set() -> Self {
        let server = Server::start(PostgresOptions::default()).await;
        server.execute(SCHEMA).await;
        let (shared, own, admin) = (Self::proxy(&server), Self::connection(&server).await, server.admin().await);
        Self { server, shared, own, admin }
    }

    fn proxy(server: &Server) -> PgProxy {
        // Long, because sessions that pin make the others wait.
        let patient = Duration::from_secs(60);
        proxy_to(server).max_connections(CONNECTIONS).borrow_timeout(patient).build().expect("valid")
    }

    async fn connection(server: &Server) -> PgConnection {
        PgConnection::connect(&format!("{}?sslmode=require", server.url())).await.expect("connects")
    }

    /// What a program that failed left behind is not for the next.
    async fn renew(&mut self) {
        self.shared = Self::proxy(&self.server);
        self.own = Self::connection(&self.server).await;
        self.server.wait_until_sessions("app", 1).await;
        sqlx::raw_sql("delete from notes").execute(&mut self.admin).await.expect("an answer");
    }

    /// All that is committed, taken away.
    async fn harvest(&mut self) -> Vec<(i32, i32)> {
        let sql =
            "with gone as (delete from notes returning *), _ as (delete from half) select * from gone order by 1, 2";
        sqlx::query_as(sql).fetch_all(&mut self.admin).await.expect("an answer")
    }

    async fn play(&mut self, program: &Program) -> Result<(), TestCaseError> {
        let together = join_all(program.iter().enumerate().map(async |(number, steps)| {
            let mut log = String::new();
            let mut conn = self.shared.get_connection().await.expect("connects");
            Session { number, log: &mut log }.shared(&self.shared, &mut conn, steps, 0).await;
            log
        }))
        .await;
        // Rolls back what was left open: locks that a session of the same number is to take, rows that are to go.
        self.shared.upkeep().await;
        let kept_together = self.harvest().await;
        let mut alone = Vec::new();
        for (number, steps) in program.iter().enumerate() {
            let mut log = String::new();
            Session { number, log: &mut log }.alone(&mut self.own, steps, 0).await;
            alone.push(log);
            // As good as a new connection, and a hundred times faster than one with sqlx 0.9.0.
            self.own.clear_cached_statements().await.expect("forgets");
            sqlx::raw_sql("discard all").execute(&mut self.own).await.expect("is as good as new");
        }
        for (number, (together, alone)) in together.iter().zip(&alone).enumerate() {
            prop_assert_eq!(together, alone, "what session {} sees, together and alone", number);
        }
        prop_assert_eq!(kept_together, self.harvest().await, "what is committed, together and alone");
        let status = self.shared.status();
        prop_assert_eq!((status.leased, status.pinned), (0, 0));
        prop_assert!(status.connections <= CONNECTIONS);
        Ok(())
    }
}

/// A number from the environment.
fn variable(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn sessions_that_share_connections_see_what_they_would_see_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stage = std::cell::RefCell::new(runtime.block_on(Stage::set()));
    let config = Config {
        cases: variable("MODEL_PROGRAMS").unwrap_or(PROGRAMS),
        rng_seed: RngSeed::Fixed(variable("MODEL_SEED").unwrap_or_default().into()),
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&program(), |program| {
        let stage: &mut Stage = &mut stage.borrow_mut();
        runtime.block_on(async {
            let result = stage.play(&program).await;
            if result.is_err() {
                stage.renew().await;
            }
            result
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // The server and its connections end where they began.
    runtime.block_on(async { drop(stage) });
}
