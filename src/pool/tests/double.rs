//! A scripted double of [`Connect`]: a server that does as it is told, and counts.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{sleep, timeout_at};

use crate::clock::Moment;
use crate::error::{ConnectionLimit, Error, Phase, Unreachable};
use crate::occupancy::Occupancy;
use crate::pool::{Attempt, Connect, Peek, Standing};

/// How one operation goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gate {
    Ok,
    Err(Failure),
    /// Well, after this long.
    Slow(Duration),
    /// In a panic.
    Panic,
    /// Without an answer. A connect ends with its attempt, as [`Connect::connect`] promises.
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    /// The server is full for now.
    Refusal,
    /// Another attempt would not help.
    Fatal,
}

/// What has a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Restore,
    Close,
    Settle,
    Ask,
    /// What a connect logs in with.
    Secret,
}

const STEPS: usize = 6;

/// The server. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Double(Arc<Mutex<Stage>>);

#[derive(Debug, Default)]
struct Stage {
    scripts: [Script; STEPS],
    peeks: HashMap<u32, Peek>,
    standings: HashMap<u32, Standing>,
    patience: Option<Duration>,
    occupancy: Option<Occupancy>,
    asked: usize,
    terms: Vec<(u32, Duration)>,
    connects: usize,
    opened: u32,
    open: usize,
    most_open: usize,
    restored: Vec<u32>,
    given_up: Vec<u32>,
    farewells: Vec<u32>,
}

/// The gates of the next operations, and of all after them.
#[derive(Debug)]
struct Script {
    next: VecDeque<Gate>,
    then: Gate,
}

impl Default for Script {
    fn default() -> Self {
        Self { next: VecDeque::new(), then: Gate::Ok }
    }
}

/// A connection to it; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Conn {
    /// 0 is the first that was opened.
    pub(super) id: u32,
    /// Nothing is going on; a restore makes it true.
    pub(super) at_rest: bool,
    server: Double,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.server.stage().open -= 1;
    }
}

impl Double {
    /// From now on the step goes so.
    pub(super) fn always(&self, step: Step, gate: Gate) {
        self.stage().scripts[step as usize] = Script { next: VecDeque::new(), then: gate };
    }

    /// The next times the step goes so, then as before.
    pub(super) fn next<const N: usize>(&self, step: Step, gates: [Gate; N]) {
        self.stage().scripts[step as usize].next.extend(gates);
    }

    /// Connects are begun and never answered.
    pub(super) fn stall_connects(&self) {
        self.always(Step::Connect, Gate::Never);
    }

    pub(super) fn slow_connects(&self, span: Duration) {
        self.always(Step::Connect, Gate::Slow(span));
    }

    /// The server is full and stays so.
    pub(super) fn refuse_connects(&self) {
        self.always(Step::Connect, Gate::Err(Failure::Refusal));
    }

    /// The server is full for the next connects.
    pub(super) fn refuse<const N: usize>(&self) {
        self.next(Step::Connect, [Gate::Err(Failure::Refusal); N]);
    }

    /// The next connects fail for good.
    pub(super) fn fail_connects<const N: usize>(&self) {
        self.next(Step::Connect, [Gate::Err(Failure::Fatal); N]);
    }

    /// Connections stay open and no longer answer.
    pub(super) fn fall_silent(&self) {
        self.always(Step::Restore, Gate::Never);
    }

    /// The peer of this connection is gone, and the socket says so.
    pub(super) fn hang_up(&self, id: u32) {
        self.stage().peeks.insert(id, Peek::Closed);
    }

    /// The peer of this connection says something that nobody asked for.
    pub(super) fn chatter(&self, id: u32) {
        self.stage().peeks.insert(id, Peek::Talking);
    }

    /// What is known of this connection's server; a restore settles a doubt.
    pub(super) fn stands(&self, id: u32, standing: Standing) {
        self.stage().standings.insert(id, standing);
    }

    /// The way to it is searched for, and callers may wait for so long.
    pub(super) fn searches(&self, patience: Option<Duration>) {
        self.stage().patience = patience;
    }

    /// How full it is, when it is asked.
    pub(super) fn has(&self, sessions: u32, limit: u32) {
        self.stage().occupancy = Some(Occupancy { sessions, limit, ours: None });
    }

    /// Questions how full it is are not answered.
    pub(super) fn silence_questions(&self) {
        self.always(Step::Ask, Gate::Never);
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.stage().asked
    }

    /// For how long connections were let, in order.
    pub(super) fn terms(&self) -> Vec<(u32, Duration)> {
        self.stage().terms.clone()
    }

    /// Whatever begins from now on goes well.
    pub(super) fn recover(&self) {
        self.stage().scripts = Default::default();
    }

    /// Connects begun, whatever came of them.
    pub(super) fn connects(&self) -> usize {
        self.stage().connects
    }

    /// Connections that exist.
    pub(super) fn open(&self) -> usize {
        self.stage().open
    }

    /// The most that ever existed at the same time.
    pub(super) fn most_open(&self) -> usize {
        self.stage().most_open
    }

    /// The connections that a restore was begun on, in order.
    pub(super) fn given_up(&self) -> Vec<u32> {
        self.stage().given_up.clone()
    }

    pub(super) fn restored(&self) -> Vec<u32> {
        self.stage().restored.clone()
    }

    /// The connections that said goodbye, in order.
    pub(super) fn farewells(&self) -> Vec<u32> {
        self.stage().farewells.clone()
    }

    fn open_one(&self) -> Conn {
        let mut stage = self.stage();
        let id = stage.opened;
        stage.opened += 1;
        stage.open += 1;
        stage.most_open = stage.most_open.max(stage.open);
        Conn { id, at_rest: true, server: self.clone() }
    }

    async fn pass(&self, step: Step) -> Result<(), Error> {
        let gate = {
            let script = &mut self.stage().scripts[step as usize];
            script.next.pop_front().unwrap_or(script.then)
        };
        match gate {
            Gate::Ok => {}
            Gate::Err(Failure::Refusal) => return Err(full()),
            Gate::Err(Failure::Fatal) => return Err(unreachable(Unreachable::Refused)),
            Gate::Panic => panic!("the double was told to"),
            Gate::Slow(span) => sleep(span).await,
            Gate::Never => pending().await,
        }
        Ok(())
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap()
    }
}

impl Connect for Double {
    type Conn = Conn;

    async fn connect(&self, attempt: &Attempt) -> Result<Conn, Error> {
        self.stage().connects += 1;
        attempt.enter(Phase::Credentials);
        self.pass(Step::Secret).await?;
        attempt.enter(Phase::Dialling);
        attempt.enter(Phase::Handshake);
        match timeout_at(attempt.deadline.instant(), self.pass(Step::Connect)).await {
            Ok(passed) => passed.map(|()| self.open_one()),
            Err(_) => Err(unreachable(Unreachable::Silent)),
        }
    }

    fn standing(&self, conn: &Conn) -> Standing {
        self.stage().standings.get(&conn.id).copied().unwrap_or(Standing::Good)
    }

    fn patience(&self) -> Option<Duration> {
        self.stage().patience
    }

    fn obstacle(&self, _: Duration) -> Option<Error> {
        None
    }

    fn peek(&self, conn: &Conn) -> Peek {
        self.stage().peeks.get(&conn.id).copied().unwrap_or(Peek::Quiet)
    }

    async fn restore(&self, conn: &mut Conn) -> Result<(), Error> {
        self.stage().restored.push(conn.id);
        self.pass(Step::Restore).await?;
        self.stage().standings.retain(|id, standing| *id != conn.id || *standing == Standing::Obsolete);
        conn.at_rest = true;
        Ok(())
    }

    fn give_up(&self, conn: &mut Conn) {
        self.stage().given_up.push(conn.id);
    }

    async fn occupancy(&self, _: &mut Conn) -> Result<Option<Occupancy>, Error> {
        self.stage().asked += 1;
        self.pass(Step::Ask).await?;
        Ok(self.stage().occupancy)
    }

    async fn set_idle_term(&self, conn: &mut Conn, term: Duration, _: Moment) -> Result<(), Error> {
        self.stage().terms.push((conn.id, term));
        self.pass(Step::Ask).await
    }

    async fn settled(&self) {
        // The script's errors have no meaning here either.
        let _ = self.pass(Step::Settle).await;
    }

    async fn close(&self, conn: Conn) {
        // The script's errors have no meaning here: a goodbye has no answer.
        let _ = self.pass(Step::Close).await;
        self.stage().farewells.push(conn.id);
    }
}

fn full() -> Error {
    let source = sqlx::Error::Protocol("sorry, too many clients already".into());
    Error::TooManyConnections {
        host: "db".into(),
        elapsed: Duration::ZERO,
        limit: ConnectionLimit::Server,
        seen: None,
        source,
    }
}

fn unreachable(reason: Unreachable) -> Error {
    let (host, phase, elapsed) = ("db".into(), Phase::Handshake, Duration::ZERO);
    Error::Unreachable { host, port: 5432, reason, phase, elapsed, source: None }
}
