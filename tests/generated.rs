//! Numbers that the server generates and remembers for its session: what a session reads is its own, as on a connection of
//! its own, or refused with `SessionStateLost`.
//!
//! `NUMBERS_PROGRAMS=1000 cargo test --all-features --test behaviour generated` plays more random programs than the
//! default, and `NUMBERS_SEED=7` others.

use std::fmt::Write;

use futures_util::TryStreamExt;
use lambda_rds::{Connection, Error};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use sqlx::{AssertSqlSafe, Connection as _, Database, Either, Executor, Row};

use super::numbers::{
    self, INSERT, INSERT_ELSEWHERE, INSERT_IN_VAIN, INSERT_LAST, INSERT_WITHOUT, LAST, LAST_OF_TABLE,
};
use super::numbers::{NEWEST, PIN, UPDATE};
use super::stage::*;

const PROGRAMS: u32 = 150;
const SESSIONS: usize = 3;

type Driver = <Db as Database>::Connection;

/// The rows' texts, each statement's in brackets.
async fn run<'e>(executor: impl Executor<'e, Database = Db>, sql: &str) -> Result<String, Error> {
    let mut steps = executor.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())));
    let mut read = String::new();
    while let Some(step) = steps.try_next().await? {
        match step {
            Either::Left(_) => read.push(';'),
            Either::Right(row) => read.push_str(
                &row.try_get::<Option<String>, _>(0).map_or_else(|_| "?".to_owned(), Option::unwrap_or_default),
            ),
        }
    }
    Ok(read)
}

async fn read(conn: &mut Connection<Db>, sql: &str) -> Result<String, Error> {
    Ok(run(conn, sql).await?.trim_matches(';').to_owned())
}

fn is_refused<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::SessionStateLost { .. }))
}

async fn one(server: &Server) -> Result<[Connection<Db>; 2], Error> {
    let proxy = proxy_to(server).max_connections(1).build()?;
    Ok([proxy.get_connection().await?, proxy.get_connection().await?])
}

#[tokio::test]
async fn a_number_that_others_have_overwritten_is_refused_whatever_came_after() -> Result<(), Error> {
    let server = numbers::start().await;
    let [mut a, mut b] = one(&server).await?;
    for after in [INSERT_ELSEWHERE, INSERT_WITHOUT, INSERT_IN_VAIN, UPDATE, "select 1"] {
        for question in [LAST_OF_TABLE, LAST, INSERT_LAST] {
            run(&mut a, INSERT).await?;
            run(&mut b, INSERT).await?;
            let others = read(&mut b, NEWEST).await?;
            let _ = run(&mut a, after).await;
            let answer = read(&mut a, question).await;
            // The number of another table is its own.
            assert!(
                is_refused(&answer) || answer.as_ref().is_ok_and(|own| *own != others),
                "{after}, {question}: {answer:?}"
            );
            let stored = "select concat(count(*), '') from plain where n = ".to_owned() + &others;
            assert_eq!(read(&mut a, &stored).await?, "0", "{after}, {question}");
            server.execute(&format!("delete from {}.plain", numbers::WORLDS[0])).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_number_is_told_to_one_session_after_the_other_on_one_connection() -> Result<(), Error> {
    let server = numbers::start().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for pins in [false, true] {
        for round in 0..3 {
            let mut conn = proxy.get_connection().await?;
            if round == 2 {
                // What the server remembers is nobody's before.
                let answer = read(&mut conn, LAST).await;
                assert!(!matches!(&answer, Ok(number) if number != "0"), "{answer:?}");
            }
            run(&mut conn, INSERT).await?;
            let own = read(&mut conn, NEWEST).await?;
            for question in [LAST, LAST_OF_TABLE, LAST] {
                assert_eq!(read(&mut conn, question).await?, own, "{pins} {round}");
            }
            if pins {
                run(&mut conn, PIN).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_number_is_told_in_the_transaction_that_has_generated_it() -> Result<(), Error> {
    let server = numbers::start().await;
    let [mut a, mut b] = one(&server).await?;
    for round in 0..3 {
        run(&mut b, INSERT).await?;
        for guard in [true, false] {
            let own = if guard {
                let mut tx = a.begin().await?;
                run(&mut *tx, INSERT).await?;
                let own =
                    (read(&mut tx, LAST_OF_TABLE).await?, read(&mut tx, LAST).await?, read(&mut tx, NEWEST).await?);
                tx.commit().await?;
                own
            } else {
                run(&mut a, "begin").await?;
                run(&mut a, INSERT).await?;
                let own = (read(&mut a, LAST_OF_TABLE).await?, read(&mut a, LAST).await?, read(&mut a, NEWEST).await?);
                run(&mut a, "commit").await?;
                own
            };
            assert_eq!((&own.0, &own.1), (&own.2, &own.2), "{round} {guard}");
            run(&mut b, INSERT).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_text_that_generates_and_reads_is_answered_where_it_is_the_sessions_first() -> Result<(), Error> {
    let server = numbers::start().await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for _ in 0..3 {
        let mut conn = proxy.get_connection().await?;
        let told = run(&mut conn, &format!("{INSERT}; {LAST}")).await?;
        assert_eq!(told.trim_matches(';'), read(&mut conn, NEWEST).await?);
    }
    Ok(())
}

/// The number was generated on a connection that others have by now.
#[tokio::test]
async fn a_number_that_was_generated_on_another_connection_is_refused() -> Result<(), Error> {
    let server = numbers::start().await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
    // The driver may say the text of a question first.
    let _ = run(&mut a, &format!("{INSERT}; {LAST}")).await?;
    run(&mut b, "begin").await?;
    for question in [LAST, INSERT_LAST] {
        let answer = read(&mut a, question).await;
        assert!(is_refused(&answer), "{question}: {answer:?}");
    }
    run(&mut b, "commit").await?;
    assert_eq!(read(&mut a, "select concat(count(*), '') from plain where n = 0").await?, "0");
    Ok(())
}

/// A step of a random program.
#[derive(Debug, Clone)]
enum Step {
    Text(usize, Vec<&'static str>),
    /// It holds its connection.
    Begin(usize),
    End(usize, bool),
    Pin(usize),
    /// The session ends, and there is another one.
    Renew(usize),
}

fn program() -> impl Strategy<Value = (u32, Vec<Step>)> {
    let session = || 0..SESSIONS;
    let text = prop::collection::vec(prop::sample::select(numbers::statements()), 1..=3);
    let alone = prop::sample::select(numbers::statements()).prop_map(|statement| vec![statement]);
    let step = prop_oneof![
        10 => (session(), alone).prop_map(|(session, text)| Step::Text(session, text)),
        5 => (session(), text).prop_map(|(session, text)| Step::Text(session, text)),
        2 => session().prop_map(Step::Begin),
        2 => (session(), any::<bool>()).prop_map(|(session, commits)| Step::End(session, commits)),
        1 => session().prop_map(Step::Pin),
        1 => session().prop_map(Step::Renew),
    ];
    (1..=2_u32, prop::collection::vec(step, 4..24))
}

/// The two worlds: sessions that share connections, and sessions that have one each.
struct Stage {
    server: Server,
    admin: Driver,
    alone: Vec<Driver>,
    /// How many answers were compared, and how many were refused.
    answered: u32,
    refused: u32,
}

fn code(error: &Error) -> String {
    error.sqlstate().map_or_else(|| error.to_string(), |code| code.into_owned())
}

impl Stage {
    async fn connect(server: &Server) -> Driver {
        let mut conn = Driver::connect(&format!("{}{}", server.url(), numbers::parameters())).await.expect("connects");
        run(&mut conn, numbers::MOVE).await.expect("moves");
        conn
    }

    async fn set() -> Self {
        let server = numbers::start().await;
        let admin = server.admin().await;
        let mut alone = Vec::new();
        for _ in 0..SESSIONS {
            alone.push(Self::connect(&server).await);
        }
        Self { server, admin, alone, answered: 0, refused: 0 }
    }

    /// Another session, in both worlds.
    async fn renew(&mut self, proxy: &DbProxy, session: usize) -> Connection<Db> {
        let _ = run(&mut self.alone[session], "rollback").await;
        match numbers::RENEW {
            Some(text) => {
                run(&mut self.alone[session], text).await.expect("is as good as new");
                run(&mut self.alone[session], numbers::MOVE).await.expect("moves");
            }
            None => self.alone[session] = Self::connect(&self.server).await,
        }
        let mut conn = proxy.get_connection().await.expect("connects");
        if let Some(hello) = numbers::HELLO {
            run(&mut conn, hello).await.expect("an answer");
            run(&mut self.alone[session], hello).await.expect("an answer");
        }
        conn
    }

    async fn play(&mut self, connections: u32, steps: &[Step]) -> Result<(), TestCaseError> {
        let proxy = proxy_to(&self.server).max_connections(connections as usize).build().expect("valid");
        let mut sessions = Vec::new();
        for session in 0..SESSIONS {
            sessions.push(self.renew(&proxy, session).await);
        }
        numbers::align(&mut self.admin).await;
        // Who holds a connection, and whether in a transaction.
        let mut holder: Option<(usize, bool)> = None;
        let mut said = String::new();
        for step in steps {
            let (Step::Text(session, _)
            | Step::Begin(session)
            | Step::End(session, _)
            | Step::Pin(session)
            | Step::Renew(session)) = *step;
            let held = holder.filter(|(holder, _)| *holder == session);
            if holder.is_some() && held.is_none() && connections == 1 {
                // There is no other connection to be had.
                continue;
            }
            let text = match step {
                Step::Text(_, statements) => statements.join("; "),
                Step::Begin(_) if holder.is_none() => {
                    holder = Some((session, true));
                    "begin".to_owned()
                }
                Step::End(_, commits) if held.is_some_and(|(_, open)| open) => {
                    holder = None;
                    if *commits { "commit" } else { "rollback" }.to_owned()
                }
                Step::Pin(_) if holder.is_none() => {
                    holder = Some((session, false));
                    PIN.to_owned()
                }
                Step::Renew(_) => {
                    if held.is_some() {
                        holder = None;
                    }
                    // It ends before there is another.
                    sessions[session] = proxy.get_connection().await.expect("connects");
                    sessions[session] = self.renew(&proxy, session).await;
                    continue;
                }
                _ => continue,
            };
            let waits = ["update", "replace", "(1)"].iter().any(|part| text.contains(part));
            if waits && holder.is_some_and(|(holder, open)| open && holder != session) {
                // For rows that the other one has locked.
                continue;
            }
            let before = numbers::reached(&mut self.admin, numbers::WORLDS[0]).await;
            let together = run(&mut sessions[session], &text).await;
            writeln!(said, "{session} says {text:?}: {together:?}").unwrap();
            if is_refused(&together) {
                self.refused += 1;
                if before != numbers::reached(&mut self.admin, numbers::WORLDS[0]).await {
                    // By the server, half way.
                    for text in ["begin", &text, "rollback"] {
                        let _ = run(&mut self.alone[session], text).await;
                    }
                }
                if let Some((_, true)) = held {
                    holder = None;
                    let _ = run(&mut sessions[session], "rollback").await;
                    let _ = run(&mut self.alone[session], "rollback").await;
                }
                numbers::align(&mut self.admin).await;
                continue;
            }
            let alone = run(&mut self.alone[session], &text).await;
            if let (Err(Error::TransactionAborted { .. }), Step::End(..)) = (&together, step) {
                // What the server calls a success.
                continue;
            }
            let (together, alone) = (together.map_err(|error| code(&error)), alone.map_err(|error| code(&error)));
            self.answered += 1;
            prop_assert_eq!(together, alone, "on {} connections:\n{}", connections, said);
        }
        Ok(())
    }
}

fn variable(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn sessions_read_what_they_would_read_on_connections_of_their_own() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stage = std::cell::RefCell::new(runtime.block_on(Stage::set()));
    let config = Config {
        cases: variable("NUMBERS_PROGRAMS").unwrap_or(PROGRAMS),
        rng_seed: RngSeed::Fixed(variable("NUMBERS_SEED").unwrap_or_default().into()),
        failure_persistence: None,
        max_shrink_iters: variable("NUMBERS_SHRINKS").unwrap_or(64),
        ..Config::default()
    };
    let result = TestRunner::new(config)
        .run(&program(), |(connections, steps)| runtime.block_on(stage.borrow_mut().play(connections, &steps)));
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let stage = stage.into_inner();
    assert!(stage.answered > stage.refused, "{} answered, {} refused", stage.answered, stage.refused);
    // The server and its connections end where they began.
    runtime.block_on(async { drop(stage) });
}
