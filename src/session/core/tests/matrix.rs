//! Every text in every state of a session, and what becomes of both when the server agrees, when it refuses, when the connection
//! is lost and when nobody waits for the answer: as a table, so that a change of the rules is a change that a reader sees.
//!
//! `RENEW=1 cargo test --all-features --lib matrix` writes it anew.

use std::fmt::Write as _;

use super::*;
use crate::config::PinningFilter;
use crate::connector::Carried;
use crate::engine::{Cleanup, Diagnosis, Dialect};
use crate::error::Phase;

/// A session on a connection, without either.
struct Held {
    state: State,
    carried: Carried,
}

/// A state, and how a session comes into it.
type Way<D> = (&'static str, fn(&mut Held, std::marker::PhantomData<D>));

fn begun(held: &mut Held) {
    held.carried.open();
    held.state.begun();
}

fn pinned<D: Dialect>(held: &mut Held, cause: PinCause) {
    held.carried.soil(D::cleanup_after(cause));
    held.carried.open();
    held.state.pin(PinReason::new(cause, ""), D::may_control(cause));
}

fn ways<D: Dialect>() -> [Way<D>; 8] {
    [
        ("free", |_, _| {}),
        ("in a transaction", |held, _| begun(held)),
        ("in a savepoint", |held, _| {
            begun(held);
            begun(held);
        }),
        ("aborted", |held, _| {
            begun(held);
            held.state.note_failure(Diagnosis::Statement, false, "it failed");
        }),
        ("in a transaction of texts", |held, _| {
            held.carried.open();
            held.state.begun_by_text();
        }),
        ("that one aborted", |held, _| {
            held.carried.open();
            held.state.begun_by_text();
            held.state.note_failure(Diagnosis::Statement, false, "it failed");
        }),
        ("pinned", |held, _| pinned::<D>(held, PinCause::TemporaryObject)),
        ("in doubt", |held, _| pinned::<D>(held, PinCause::UnknownStatement)),
    ]
}

/// What a reader has to know of a session and its connection.
fn sketch(held: &Held) -> String {
    let Held { state, carried } = held;
    let mut sketch = match state.depth() {
        0 if state.is_free() => "free".to_owned(),
        0 => "alone".to_owned(),
        depth => format!("depth {depth}"),
    };
    let marks = [
        (state.is_lost(), "lost"),
        (state.is_aborted(), "aborted"),
        (state.is_doubtful(), "in doubt"),
        (state.half_done.is_some(), "to be asked"),
        (state.unsure.is_some(), "to be asked"),
        (state.abandoned().is_some(), "to be rolled back"),
        (!state.settings().is_empty(), "set"),
    ];
    for (_, mark) in marks.into_iter().filter(|(holds, _)| *holds) {
        _ = write!(sketch, ", {mark}");
    }
    let cleanup = match carried.cleanup() {
        Cleanup::None => "clean",
        Cleanup::KeepPlans => "to be reset",
        Cleanup::Full => "to be cleaned",
        Cleanup::Impossible => "to be closed",
    };
    let open = if carried.before_open().is_some() { "open, " } else { "" };
    format!("{sketch} / {open}{cleanup}")
}

/// The exchange of a text, up to its answer, and whether the server was asked before; `Err` is why it is not sent.
fn sent<D: Dialect>(way: &Way<D>, sql: &str) -> Result<(Held, InFlight, bool), String> {
    let mut held = Held { state: State::of::<D>(1, false), carried: Carried::of::<D>(false) };
    held.carried.come_into(1);
    (way.1)(&mut held, std::marker::PhantomData);
    let Held { state, carried } = &mut held;
    let mut intent = Intent::of::<D>(D::classify(sql), sql, state, PinningFilter::None, false);
    let mut flight = InFlight::new(Phase::Statement);
    let mut asked = false;
    match flight.enter::<D>(state, carried, &mut intent, &Settings::default()) {
        Gate::Open => {}
        Gate::Commit(turn) => flight.turn_to(turn, carried),
        Gate::Guarded => return Err("refused: it would commit".to_owned()),
        Gate::RollBack { chain, .. } => return Err(format!("a rollback in its place, chain: {chain}")),
        // Answered that nothing has aborted it.
        Gate::Ask { .. } => asked = true,
    }
    if let Some(reason) = intent.pin.take() {
        carried.outdate(D::staleness_by(reason.cause()));
        let controls = D::may_control(reason.cause());
        carried.soil(D::cleanup_after(reason.cause()));
        carried.open();
        state.pin(reason, controls);
    }
    flight.begin::<D>(state, carried, 1, &mut intent);
    Ok((held, flight, asked))
}

/// What becomes of the session and the connection, by what comes of the text.
fn row<D: Dialect>(way: &Way<D>, sql: &str) -> String {
    let (mut held, mut flight, asked) = match sent(way, sql) {
        Ok(sent) => sent,
        Err(why) => return format!("    {why}\n"),
    };
    let phase = flight.phase();
    flight.succeeded::<D>(&mut held.state, &mut held.carried);
    let mut came = vec![("agreed", sketch(&held))];
    for (name, diagnosis) in
        [("refused", Diagnosis::Statement), ("deadlock", Diagnosis::RolledBack), ("lost", Diagnosis::Dead)]
    {
        let (mut held, mut flight, _) = sent(way, sql).expect("sent before");
        let after = flight.failed::<D>(&mut held.state, &mut held.carried, diagnosis, "it failed");
        if after == After::Lose {
            held.state.lost();
            flight.lost(&mut held.state);
        }
        came.push((name, format!("{} -> {after:?}", sketch(&held))));
    }
    let (mut held, mut flight, _) = sent(way, sql).expect("sent before");
    let left = match flight.dropped::<D>(&mut held.state) {
        Left::Pin(reason) => format!("Pin({:?})", reason.cause()),
        left => format!("{left:?}"),
    };
    came.push(("dropped", format!("{} -> {left}", sketch(&held))));
    let rows = came.chunk_by(|one, other| one.1 == other.1).map(|same| {
        let names: Vec<_> = same.iter().map(|(name, _)| *name).collect();
        format!("    {:17} {}\n", names.join(", "), same[0].1)
    });
    let asked = if asked { ", if the server says that nothing has aborted it" } else { "" };
    format!("    as {phase:?}{asked}\n{}", rows.collect::<String>())
}

fn table<D: Dialect>(texts: &[&str]) -> String {
    let mut table = String::new();
    for way in ways::<D>() {
        _ = writeln!(table, "{}", way.0);
        for sql in texts {
            _ = write!(table, "  {sql}\n{}", row(&way, sql));
        }
    }
    table
}

fn is_kept(name: &str, table: &str, kept: &str) {
    let path = format!("{}/src/session/core/tests/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&path, table).expect("written");
        return;
    }
    let differs = table.lines().zip(kept.lines()).position(|(now, before)| now != before);
    let at = differs.unwrap_or_else(|| table.lines().count().min(kept.lines().count()));
    let around = |text: &str| text.lines().skip(at.saturating_sub(6)).take(8).collect::<Vec<_>>().join("\n");
    assert!(table == kept, "{path}, line {}, is now:\n{}\nand was:\n{}", at + 1, around(table), around(kept));
}

const TEXTS: [&str; 12] = [
    "select 1",
    "begin",
    "commit",
    "rollback",
    "commit and chain",
    "savepoint a",
    "rollback to a",
    "release savepoint a",
    "begin; select 1; commit",
    "begin; select 1",
    "create temporary table t (a int)",
    "create table t (a int)",
];

#[cfg(feature = "postgres")]
#[test]
fn every_text_in_every_state_on_postgres() {
    let texts = [&TEXTS[..], &["set timezone = 'UTC'", "reset timezone", "discard all", "call p()"]].concat();
    is_kept("postgres", &table::<sqlx::Postgres>(&texts), include_str!("postgres.txt"));
}

#[cfg(feature = "mysql")]
#[test]
fn every_text_in_every_state_on_mysql() {
    let texts = [
        &TEXTS[..],
        &["set time_zone = '+00:00'", "set autocommit = 0", "call p()", "insert into t values (1); select 1"],
    ]
    .concat();
    is_kept("mysql", &table::<sqlx::MySql>(&texts), include_str!("mysql.txt"));
}
