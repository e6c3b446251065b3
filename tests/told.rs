//! Programs by chance of guards in guards, texts that begin and end transactions, the connection that is handed out, calls and
//! failures. Each row has a number of its own. What was told is held against what an administrator finds in the end: what was
//! acknowledged is there, what was called rolled back or not executed is not, and nobody who lost a transaction is told `Ok`.
//! Every other program drops some of its futures, also in turns of the task in which they cannot come far.
//!
//! `MODEL_PROGRAMS=2000 MODEL_SEED=7` runs more of them, and others.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::BoxFuture;
use lambda_rds::{Connection, Error, Outcome};
use sqlx::AssertSqlSafe;

use super::stage::*;
use crate::support::fault_proxy::FaultProxy;
use crate::support::until::{polled, polled_late_in_turns};

const PROGRAMS: u32 = 150;

/// Texts that end the transaction they are sent in, the last ones begin another.
const ENDS: [&str; 8] = [
    "commit",
    "rollback",
    "select 1; rollback",
    "commit; select nowhere",
    "start transaction; commit",
    "commit and chain",
    "rollback and chain",
    "commit; begin",
];
/// So many of them begin none. Of one that was begun on the connection that is handed out, and then aborted by an error, nobody
/// can tell that it is another: `pin` says so.
const BEGIN_NONE: usize = 5;

/// Texts that begin a transaction, some of which are not followed.
const BEGINS: [&str; 4] = ["begin", "start transaction", "select 1; begin", "begin; select 1"];

/// How long somebody waits for something.
#[derive(Debug, Clone, Copy)]
enum Patience {
    Endless,
    Polls(usize),
    /// In turns of the task in which it has no share of the runtime left.
    LatePolls(usize),
}

impl Patience {
    /// What it came to, or `None` where nobody waited for it.
    async fn wait<T>(self, future: impl Future<Output = T>) -> Option<T> {
        match self {
            Self::Endless => Some(future.await),
            Self::Polls(polls) => polled(polls, future).await,
            Self::LatePolls(polls) => polled_late_in_turns(polls, future).await,
        }
    }
}

/// One program's session, and what it was told.
struct Program {
    rng: Rng,
    /// Some of its futures are dropped.
    drops: bool,
    next: i32,
    /// From which row on a transaction of texts is open.
    open: Option<i32>,
    /// How often something has ended the transaction of the guards that were open.
    takes: usize,
    /// Rows whose statement was `Ok`, and that no guard has rolled back.
    acknowledged: BTreeSet<i32>,
    present: BTreeSet<i32>,
    absent: BTreeSet<i32>,
    log: Vec<String>,
    wrong: Vec<String>,
}

/// Whether somebody who is told this would believe that nothing was kept.
fn says_that_nothing_was_kept(told: &Error) -> bool {
    told.is_retryable() || matches!(told.outcome(), Outcome::NotExecuted | Outcome::RolledBack)
}

async fn run(conn: &mut Connection<Db>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

async fn run_handed_out(conn: &mut Connection<Db>, sql: &str) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn.pin().await?).await?;
    Ok(())
}

impl Program {
    fn new(rng: Rng, drops: bool) -> Self {
        Self {
            rng,
            drops,
            next: 0,
            open: None,
            takes: 0,
            acknowledged: BTreeSet::new(),
            present: BTreeSet::new(),
            absent: BTreeSet::new(),
            log: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn patience(&mut self) -> Patience {
        if !self.drops || self.rng.u8(..4) > 0 {
            return Patience::Endless;
        }
        let polls = self.rng.usize(1..5);
        if self.rng.bool() { Patience::Polls(polls) } else { Patience::LatePolls(polls) }
    }

    fn note_dropped(&mut self, what: impl Debug, patience: Patience) {
        self.log.push(format!("{what:?} dropped after {patience:?}"));
    }

    fn note(&mut self, what: impl Debug, told: &Result<(), Error>) {
        let told = match told {
            Ok(()) => "Ok".to_owned(),
            Err(error) => format!("{:?}, retryable {}: {error}", error.outcome(), error.is_retryable()),
        };
        self.log.push(format!("{what:?} -> {told}"));
    }

    fn kept(&mut self, rows: Range<i32>) {
        self.present.extend(self.acknowledged.range(rows));
    }

    fn not_kept(&mut self, rows: Range<i32>) {
        self.absent.extend(rows);
    }

    async fn insert(&mut self, conn: &mut Connection<Db>, guards: usize) {
        let n = self.next;
        self.next += 1;
        let (patience, text) = (self.patience(), format!("insert into told values ({n})"));
        let Some(told) = patience.wait(run(conn, &text)).await else {
            return self.note_dropped(("insert", n), patience);
        };
        self.note(("insert", n), &told);
        match told {
            Ok(()) => {
                self.acknowledged.insert(n);
                if guards == 0 && self.open.is_none() {
                    self.kept(n..n + 1);
                }
            }
            Err(error) if says_that_nothing_was_kept(&error) => self.not_kept(n..n + 1),
            Err(_) => {}
        }
    }

    /// Something that ends the transaction of the guards, by a text, on the connection that is handed out, or by a call.
    async fn take(&mut self, conn: &mut Connection<Db>) {
        let mut text = ENDS[self.rng.usize(..ENDS.len())];
        let told = match self.rng.u8(..3) {
            0 => {
                text = ENDS[self.rng.usize(..BEGIN_NONE)];
                run_handed_out(conn, text).await
            }
            1 if !CALLS.is_empty() => run(conn, CALLS[self.rng.usize(..CALLS.len())]).await,
            _ => run(conn, text).await,
        };
        self.note(("take", text), &told);
        // Where it has failed it may have ended it too.
        // Not sent, or refused as a whole.
        let is_refused = |error: Error| {
            ["ImplicitCommit", "TransactionAborted"].contains(&error.kind())
                || error.sqlstate().as_deref() == Some("25P02")
        };
        self.takes += usize::from(!told.is_err_and(is_refused));
    }

    /// The next step of a transaction of texts.
    async fn control(&mut self, conn: &mut Connection<Db>) {
        let Some(from) = self.open else {
            let text = BEGINS[self.rng.usize(..BEGINS.len())];
            let told = if self.rng.bool() { run(conn, text).await } else { run_handed_out(conn, text).await };
            self.note(text, &told);
            self.open = told.is_ok().then_some(self.next);
            return;
        };
        let (commits, rows) = (self.rng.bool(), from..self.next);
        let patience = self.patience();
        let Some(told) = patience.wait(run(conn, if commits { "commit" } else { "rollback" })).await else {
            self.note_dropped(("end", commits), patience);
            if !commits {
                self.not_kept(rows);
            }
            self.open = None;
            return self.settle(conn).await;
        };
        self.note(("end", commits), &told);
        match &told {
            Ok(()) if commits => self.kept(rows),
            Ok(()) => self.not_kept(rows),
            Err(error) if says_that_nothing_was_kept(error) => self.not_kept(rows),
            Err(_) => {}
        }
        if told.is_err() {
            self.settle(conn).await;
        }
        self.open = None;
    }

    /// No transaction is open from here on.
    async fn settle(&mut self, conn: &mut Connection<Db>) {
        let told = run(conn, "rollback").await;
        self.note("settle", &told);
    }

    async fn guard(&mut self, conn: &mut Connection<Db>, guards: usize, steps: usize) {
        let (from, takes) = (self.next, self.takes);
        let patience = self.patience();
        let mut guard = match patience.wait(conn.begin()).await {
            Some(Ok(guard)) => guard,
            Some(Err(error)) => return self.note("begin", &Err(error)),
            None => return self.note_dropped("begin", patience),
        };
        self.note("begin", &Ok(()));
        self.steps(&mut guard, guards + 1, steps).await;
        let (end, patience) = (self.rng.u8(..3), self.patience());
        let told = match end {
            0 => patience.wait(guard.commit()).await,
            1 => patience.wait(guard.rollback()).await,
            _ => {
                drop(guard);
                Some(Ok(()))
            }
        };
        let what = (["guard.commit", "guard.rollback", "drop(guard)"][usize::from(end)], guards + 1);
        let (rows, is_taken) = (from..self.next, self.takes > takes);
        let Some(told) = told else {
            self.note_dropped(what, patience);
            if end == 1 && !is_taken {
                self.not_kept(rows.clone());
            }
            self.acknowledged.retain(|row| !rows.contains(row));
            if guards == 0 && is_taken {
                self.settle(conn).await;
                self.open = None;
            }
            return;
        };
        self.note(what, &told);
        match &told {
            Ok(()) if is_taken && end < 2 => {
                self.wrong.push(format!("Ok of what was taken away, line {}", self.log.len()))
            }
            Ok(()) if end == 0 => {
                if guards == 0 && self.open.is_none() {
                    self.kept(rows.clone());
                }
            }
            Ok(()) if is_taken => {}
            Ok(()) => self.not_kept(rows.clone()),
            Err(error) if says_that_nothing_was_kept(error) => self.not_kept(rows.clone()),
            Err(_) => {}
        }
        if end > 0 || told.is_err() {
            // Nobody may rely on them any more.
            self.acknowledged.retain(|row| !rows.contains(row));
        }
        if guards == 0 && (is_taken || told.is_err()) {
            self.settle(conn).await;
            self.open = None;
        }
    }

    fn steps<'a>(&'a mut self, conn: &'a mut Connection<Db>, guards: usize, steps: usize) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for _ in 0..steps {
                match self.rng.u8(..10) {
                    0..4 => self.insert(conn, guards).await,
                    4 => {
                        let told = run(conn, "select nowhere").await;
                        self.note("fail", &told);
                    }
                    5 if guards > 0 => self.take(conn).await,
                    5 | 6 if guards == 0 => self.control(conn).await,
                    7.. if guards < 3 => self.guard(conn, guards, steps / 2).await,
                    _ => {}
                }
            }
        })
    }
}

fn variable(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[tokio::test]
async fn nobody_is_told_better_than_the_truth_of_the_rows() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(&numbers("told")).await;
    for call in PROCEDURES {
        server.execute(call).await;
    }
    let mut admin = server.admin().await;
    let way = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let proxy = proxy_to(&server).port(way.port()).max_connections(1).build()?;
    let seed = u64::from(variable("MODEL_SEED").unwrap_or(1));
    for n in 0..variable("MODEL_PROGRAMS").unwrap_or(PROGRAMS) {
        // Of those that drop futures, some meet a server whose answers come in two parts.
        way.limp(Duration::from_millis(u64::from(n % 4 == 3)));
        let mut program = Program::new(Rng::with_seed(seed << 32 | u64::from(n)), n % 2 == 1);
        let mut conn = proxy.get_connection().await?;
        program.steps(&mut conn, 0, 8).await;
        drop(conn);
        proxy.upkeep().await;
        let rows: BTreeSet<i32> = sqlx::query_scalar("select n from told")
            .fetch_all(&mut admin)
            .await
            .expect("an answer")
            .into_iter()
            .collect();
        server.execute(&format!("delete from {}told", if FAMILY == "mysql" { "app." } else { "" })).await;
        let lost: Vec<_> = program.present.difference(&rows).collect();
        let stayed: Vec<_> = program.absent.intersection(&rows).collect();
        let log = program.log.join("\n");
        assert!(
            lost.is_empty() && stayed.is_empty() && program.wrong.is_empty(),
            "program {n}: lost {lost:?}, stayed {stayed:?}, {:?}\n{log}\nrows {rows:?}",
            program.wrong
        );
    }
    Ok(())
}

/// A text may take the name that a guard's savepoint has: then a rollback to that is one to the text's.
#[tokio::test]
async fn a_text_that_takes_the_name_of_a_guards_savepoint_does_not_make_its_rollback_a_lie() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(TABLE).await;
    let proxy = proxy_to(&server).build()?;
    for name in ["lambda_rds_2", "LAMBDA_RDS_2"] {
        let mut conn = proxy.get_connection().await?;
        let mut tx = conn.begin().await?;
        let mut inner = tx.begin().await?;
        run(&mut inner, "insert into ledger values (1)").await?;
        run(&mut inner, &format!("savepoint {name}")).await?;
        let rolled_back = inner.rollback().await;
        let committed = tx.commit().await;
        let found: i64 = sqlx::query_scalar("select count(*) from ledger").fetch_one(&mut conn).await?;
        let is_true = found == 0 || rolled_back.is_err() && committed.is_err();
        assert!(is_true, "{name}: {rolled_back:?}, {committed:?}, {found}");
        assert!(committed.is_ok() || found == 0, "{name}");
    }
    Ok(())
}
