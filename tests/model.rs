//! Random programs of several sessions at a time on two shared connections, and each session alone on a connection of
//! its own: every visible result, every setting and every committed row must be equal. What the sessions say is each
//! engine's own; the same programs are played on both.
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
use lambda_rds::{Connection, Error};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use sqlx::{AssertSqlSafe, Database, Either, Executor, Row};

use super::language;
use super::stage::{Db, DbProxy, Server};

const PROGRAMS: u32 = 200;
const CONNECTIONS: usize = 2;
pub(super) const MOST_SESSIONS: usize = 8;

type Driver = <Db as Database>::Connection;

/// What each of several sessions does.
type Program = Vec<Vec<Step>>;

/// A step of a session. `{s}` in a text is the session's number.
#[derive(Debug, Clone)]
pub(super) enum Step {
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
pub(super) enum Way {
    Execute,
    All,
    /// `fetch_optional`, which leaves bare sqlx with rows unread.
    First,
    /// Not kept prepared.
    Unnamed,
    /// With a parameter.
    Bound(u8),
    /// As a text.
    Raw,
}

impl Way {
    /// On bare sqlx: what is not kept is closed there in a packet of its own, and the next one waits for its
    /// acknowledgement (sqlx 0.9.0 leaves `TCP_NODELAY` off).
    fn alone(self) -> Self {
        if matches!(self, Self::Unnamed) && language::PREPARES_AHEAD { Self::All } else { self }
    }
}

/// A statement that is dropped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lost {
    /// This text.
    Text(&'static str),
    /// A text that sets what [`language::SET_AGAIN`] sets.
    Set(&'static str),
    Begin,
    /// A stream of which nothing was read.
    Rows,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Commit,
    Rollback,
    /// The guard is dropped.
    Drop,
}

/// One of several kinds of sessions: how many there are of it, and what they do.
pub(super) struct Kind {
    pub(super) weight: u32,
    /// Against 5 looks.
    pub(super) weight_of_statements: u32,
    pub(super) statements: BoxedStrategy<Step>,
    pub(super) lost: Vec<Lost>,
}

/// What a session's texts alone tell of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Account {
    /// Its transactions begin by themselves.
    pub(super) autocommit_off: bool,
    /// A text, or nothing at all, has begun the transaction that it is in.
    pub(super) open: bool,
    /// One of its texts may have begun or ended one.
    pub(super) spoken: bool,
}

impl Account {
    /// Whether something that may happen or not would decide whether a transaction begins.
    fn wavers(self) -> bool {
        self.autocommit_off && !self.open
    }
}

fn steps(kind: Kind) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Look),
        kind.weight_of_statements => kind.statements,
        1 => (0..4_usize).prop_map(Step::Stream),
        2 => (prop::sample::select(kind.lost), 0..5_usize).prop_map(|(what, polls)| Step::Dropped(what, polls)),
    ];
    let end = prop::sample::select(vec![End::Commit, End::Commit, End::Rollback, End::Drop]);
    let nested = step.prop_recursive(3, 24, 6, move |inner| {
        (vec(inner, 0..6), end.clone()).prop_map(|(steps, end)| Step::Nested(steps, end))
    });
    vec(nested, 1..8)
}

fn program() -> impl Strategy<Value = Program> {
    let kinds = language::kinds().into_iter().map(|kind| (kind.weight, steps(kind).boxed()));
    vec(prop::strategy::Union::new_weighted(kinds.collect()), 2..=MOST_SESSIONS)
}

fn text(sql: &str, session: usize, depth: usize) -> AssertSqlSafe<String> {
    AssertSqlSafe(language::spoken(sql, depth).replace("{s}", &session.to_string()))
}

/// The rows' texts and the counts, as far as this way of running it shows them.
async fn run<'e>(
    executor: impl Executor<'e, Database = Db>,
    way: Way,
    sql: AssertSqlSafe<String>,
) -> Result<String, sqlx::Error> {
    fn cell(row: &<Db as Database>::Row) -> String {
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
async fn stream<'e>(executor: impl Executor<'e, Database = Db>, rows: usize) -> Result<String, sqlx::Error> {
    let mut stream = executor.fetch(language::MANY_ROWS);
    let mut read = String::new();
    while read.len() < rows
        && let Some(row) = stream.try_next().await?
    {
        read.push_str(row.get(0));
    }
    Ok(read)
}

const REFUSED: &str = "refused, for another session was in between";

/// An error is seen as its code.
fn seen(result: Result<String, sqlx::Error>) -> String {
    result.unwrap_or_else(|error| match Error::from(error) {
        Error::ImplicitCommit { .. } => language::COMMITS.to_owned(),
        Error::SessionStateLost { .. } => REFUSED.to_owned(),
        error => code(&error.into()),
    })
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), language::code)
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

/// `prepares`: not where the loss of the connection would be seen. One that is dropped while it prepares ahead is lost.
async fn drop_statement(conn: &mut Connection<Db>, session: usize, what: Lost, polls: usize, prepares: bool) {
    let sql = match what {
        Lost::Begin => return drop_after(polls, conn.begin()).await,
        Lost::Rows if prepares => {
            let mut rows = sqlx::query(language::MANY_ROWS).fetch(conn);
            return drop_after(polls, rows.try_next()).await;
        }
        Lost::Rows => {
            let mut rows = sqlx::raw_sql(language::MANY_ROWS).fetch(conn);
            return drop_after(polls, rows.try_next()).await;
        }
        Lost::Text(sql) | Lost::Set(sql) => text(sql, session, 0),
    };
    if prepares {
        drop_after(polls, sqlx::query(sql).execute(conn)).await;
    } else {
        drop_after(polls, sqlx::raw_sql(sql).execute(conn)).await;
    }
}

/// A session in one of the two worlds.
struct Session<'a> {
    number: usize,
    log: &'a mut String,
    account: Account,
    /// Its connection is nobody's but for a moment.
    is_quiet: bool,
    /// Some of its statements are dropped.
    drops: bool,
    /// Alone: how many texts it has sent.
    texts: usize,
}

impl<'a> Session<'a> {
    fn new(number: usize, steps: &[Step], log: &'a mut String) -> Self {
        Self {
            number,
            log,
            account: Account::default(),
            is_quiet: steps.iter().all(is_quiet),
            drops: steps.iter().any(drops),
            texts: 0,
        }
    }

    /// Whether the two worlds may well differ in the answer, or in what comes of the question.
    fn is_unfair(&self, sql: &str) -> bool {
        self.account.wavers() && language::is_question(sql) || self.drops && language::is_about_all(sql)
    }

    fn note(&mut self, what: impl std::fmt::Display) {
        writeln!(self.log, "{what}").unwrap();
    }

    /// The steps through this crate.
    fn shared<'b>(
        &'b mut self,
        proxy: &'b DbProxy,
        conn: &'b mut Connection<Db>,
        steps: &'b [Step],
        depth: usize,
    ) -> BoxFuture<'b, ()> {
        Box::pin(async move {
            for step in steps {
                match step {
                    Step::Look => {
                        let result = run(&mut *conn, Way::All, text(&language::look(), self.number, depth)).await;
                        language::account(&mut self.account, &language::look(), depth, result.is_ok());
                        self.note(seen(result));
                    }
                    Step::Run(_, sql) if self.is_unfair(sql) => {}
                    Step::Run(way, sql) => {
                        let result = run(&mut *conn, *way, text(sql, self.number, depth)).await;
                        language::account(&mut self.account, sql, depth, result.is_ok());
                        self.note(format_args!("{sql}: {}", seen(result)));
                    }
                    Step::Stream(_) | Step::Dropped(..) if self.account.wavers() && depth == 0 => {}
                    Step::Stream(rows) => {
                        let result = stream(&mut *conn, *rows).await;
                        self.note(seen(result));
                    }
                    Step::Dropped(what, polls) => {
                        self.lose(conn, *what, *polls, depth).await;
                        if matches!(what, Lost::Set(_)) && (depth == 0 || !language::ROLLBACK_RESETS) {
                            let result =
                                run(&mut *conn, Way::Execute, text(language::SET_AGAIN, self.number, depth)).await;
                            self.note(seen(result));
                        }
                    }
                    Step::Nested(steps, end) => {
                        let mut transaction = match conn.begin().await {
                            Ok(transaction) => transaction,
                            Err(error) => {
                                self.note(format_args!("no savepoint: {}", code(&error.into())));
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
                            (Err(error), _) => self.note(format_args!("refused: {}", code(&error.into()))),
                        }
                    }
                }
            }
        })
    }

    async fn lose(&self, conn: &mut Connection<Db>, what: Lost, polls: usize, depth: usize) {
        let prepares = !language::PREPARES_AHEAD || depth == 0 && self.is_quiet;
        if depth == 0 {
            return drop_statement(conn, self.number, what, polls, prepares).await;
        }
        // In an aborted transaction there is no savepoint to be had.
        if let Ok(mut savepoint) = conn.begin().await {
            drop_statement(&mut savepoint, self.number, what, polls, prepares).await;
            if polls.is_multiple_of(2) {
                savepoint.rollback().await.expect("rolled back");
            }
        }
    }

    /// A text that the driver has not prepared before, where the server would execute it as it was read then. Here it is
    /// read anew once what it was read by has changed.
    fn anew(&mut self, sql: &str, depth: usize) -> AssertSqlSafe<String> {
        let AssertSqlSafe(mut text) = text(sql, self.number, depth);
        if language::PREPARES_AHEAD || language::is_read_early(sql) {
            self.texts += 1;
            write!(text, " /* {} */", self.texts).unwrap();
        }
        AssertSqlSafe(text)
    }

    /// The same on a connection of its own, with the texts that the guards stand for. `level`: how many transactions and
    /// savepoints the steps are in, those of texts included. Whether the last error has aborted the transaction that the
    /// steps run in.
    fn alone<'b>(
        &'b mut self,
        conn: &'b mut Driver,
        steps: &'b [Step],
        depth: usize,
        level: usize,
    ) -> BoxFuture<'b, bool> {
        Box::pin(async move {
            let mut aborted = false;
            for step in steps {
                match step {
                    Step::Look => {
                        let result = run(&mut *conn, Way::All, self.anew(&language::look(), depth)).await;
                        aborted |= result.is_err();
                        language::account(&mut self.account, &language::look(), depth, result.is_ok());
                        self.note(seen(result));
                    }
                    Step::Run(_, sql) if self.is_unfair(sql) => {}
                    Step::Run(_, sql) if depth > 0 && language::is_refused(self.account, sql) => {
                        self.note(format_args!("{sql}: {}", language::COMMITS));
                    }
                    Step::Run(way, sql) => {
                        let result = run(&mut *conn, way.alone(), self.anew(sql, depth)).await;
                        aborted |= result.is_err();
                        language::account(&mut self.account, sql, depth, result.is_ok());
                        self.note(format_args!("{sql}: {}", seen(result)));
                    }
                    Step::Stream(_) | Step::Dropped(..) if self.account.wavers() && depth == 0 => {}
                    Step::Stream(rows) => {
                        let result = stream(&mut *conn, *rows).await;
                        aborted |= result.is_err();
                        self.note(seen(result));
                    }
                    Step::Dropped(Lost::Set(_), _) if depth == 0 || !language::ROLLBACK_RESETS => {
                        let result = run(&mut *conn, Way::Execute, text(language::SET_AGAIN, self.number, depth)).await;
                        self.note(seen(result));
                    }
                    Step::Dropped(..) => {}
                    Step::Nested(steps, end) => {
                        // Not asked without need: `FOUND_ROWS()` would be about the question.
                        let may_be_open = depth == 0 && self.account.spoken;
                        let open = may_be_open && language::is_open(conn, self.account).await;
                        let level = level + usize::from(open);
                        let begin = if level == 0 { "begin".to_owned() } else { format!("savepoint s{level}") };
                        if let Err(error) = run(&mut *conn, Way::Raw, AssertSqlSafe(begin)).await {
                            self.note(format_args!("no savepoint: {}", code(&error)));
                            continue;
                        }
                        let inner_aborted = self.alone(conn, steps, depth + 1, level + 1).await;
                        let keep = matches!(end, End::Commit) && !(inner_aborted && language::ERRORS_ABORT);
                        let end = match (level, keep) {
                            (0, true) => "commit".to_owned(),
                            (0, false) => "rollback".to_owned(),
                            (level, true) => format!("release savepoint s{level}"),
                            (level, false) => format!("rollback to savepoint s{level}; release savepoint s{level}"),
                        };
                        match run(&mut *conn, Way::Raw, AssertSqlSafe(end)).await {
                            Ok(_) => self.note(if keep { "kept" } else { "taken back" }),
                            Err(error) => self.note(format_args!("refused: {}", code(&error))),
                        }
                    }
                }
            }
            aborted && depth > 0
        })
    }
}

/// Whether a session that does this neither pins nor begins a transaction but by a guard.
fn is_quiet(step: &Step) -> bool {
    match step {
        Step::Run(_, sql) => language::is_quiet(sql),
        Step::Nested(steps, _) => steps.iter().all(is_quiet),
        Step::Dropped(Lost::Text(sql), _) => language::is_quiet(sql),
        // Whether it has happened is found out, or the session stays where it may have.
        Step::Dropped(Lost::Set(_), _) => false,
        Step::Look | Step::Stream(_) | Step::Dropped(..) => true,
    }
}

fn drops(step: &Step) -> bool {
    match step {
        Step::Dropped(..) => true,
        Step::Nested(steps, _) => steps.iter().any(drops),
        Step::Look | Step::Run(..) | Step::Stream(_) => false,
    }
}

/// The two worlds.
struct Stage {
    server: Server,
    shared: DbProxy,
    own: Driver,
    admin: Driver,
}

impl Stage {
    async fn set() -> Self {
        let server = language::start().await;
        let (shared, own, admin) = (Self::proxy(&server), language::connect(&server).await, server.admin().await);
        Self { server, shared, own, admin }
    }

    fn proxy(server: &Server) -> DbProxy {
        // Long, because sessions that pin make the others wait.
        let patient = Duration::from_secs(60);
        language::proxy(server).max_connections(CONNECTIONS).borrow_timeout(patient).build().expect("valid")
    }

    /// What a program that failed left behind is not for the next.
    async fn renew(&mut self) {
        self.shared = Self::proxy(&self.server);
        self.own = language::connect(&self.server).await;
        self.server.wait_until_sessions(language::USER, 1).await;
        language::harvest(&mut self.admin, MOST_SESSIONS).await;
    }

    /// A connection that was closed is over: its locks are gone.
    async fn settle(&self) {
        let ours = self.shared.status().connections + 1;
        self.server.wait_until_sessions(language::USER, i64::try_from(ours).expect("few")).await;
    }

    async fn play(&mut self, program: &Program) -> Result<(), TestCaseError> {
        let together = join_all(program.iter().enumerate().map(async |(number, steps)| {
            let mut log = String::new();
            let mut conn = self.shared.get_connection().await.expect("connects");
            Session::new(number, steps, &mut log).shared(&self.shared, &mut conn, steps, 0).await;
            log
        }))
        .await;
        // Rolls back what was left open: locks that a session of the same number is to take, rows that are to go.
        self.shared.upkeep().await;
        self.settle().await;
        let kept_together = language::harvest(&mut self.admin, program.len()).await;
        let mut alone = Vec::new();
        for (number, steps) in program.iter().enumerate() {
            let mut log = String::new();
            Session::new(number, steps, &mut log).alone(&mut self.own, steps, 0, 0).await;
            alone.push(log);
            language::refresh(&mut self.own, &self.server).await;
        }
        for (number, (together, alone)) in together.iter().zip(&alone).enumerate() {
            prop_assert!(
                is_same(together, alone),
                "what session {} sees, together and alone:\n{}\n{}",
                number,
                together,
                alone
            );
        }
        self.settle().await;
        let kept_alone = language::harvest(&mut self.admin, program.len()).await;
        prop_assert_eq!(kept_together, kept_alone, "what is committed, together and alone");
        let status = self.shared.status();
        prop_assert_eq!((status.leased, status.pinned), (0, 0));
        prop_assert!(status.connections <= CONNECTIONS);
        Ok(())
    }
}

/// Whether a log says the same as the other, or that it was refused to say it. What is asked next is asked after another
/// statement then.
fn is_same(together: &str, alone: &str) -> bool {
    let (mut together, mut alone) = (together.lines(), alone.lines());
    let mut refused = false;
    loop {
        let (one, other) = match (together.next(), alone.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) => (one, other),
            _ => return false,
        };
        let question = one.split(": ").next().filter(|text| language::is_question(text));
        let same = question.is_some_and(|question| other.starts_with(question));
        if one != other && !(same && (refused || one.ends_with(REFUSED))) && !is_refused_by_both(one, other) {
            return false;
        }
        refused = question.is_some() && (refused || one.ends_with(REFUSED));
    }
}

/// An aborted transaction is told nothing, alone. Shared, a text that would be is refused before it is sent: there the server
/// cannot be told to forget another session's numbers either.
fn is_refused_by_both(together: &str, alone: &str) -> bool {
    let text = together.strip_suffix(REFUSED);
    text.is_some_and(|text| language::ABORTED.is_some_and(|code| alone.strip_suffix(code) == Some(text)))
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
