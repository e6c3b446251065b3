//! Every text and every guard in every state of a session, and what becomes of both when the server agrees, when it refuses, when the
//! connection is lost and when nobody waits for the answer: as a table, so that a change of the rules is a change that a reader sees.
//! Where something has to happen first, the table has that in their place.
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

fn ways<D: Dialect>() -> [Way<D>; 18] {
    [
        ("free", |_, _| {}),
        ("free, with a setting", |held, _| {
            held.state.changed(SettingChange::Set(vec![("x".into(), "set x = 1".into())]));
            held.carried.become_set::<D>(held.state.settings_at_rest());
        }),
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
        ("that one rolled back by the server, and nobody told", |held, _| {
            held.carried.open();
            held.state.begun_by_text();
            let _told_now = held.state.note_late(Diagnosis::RolledBack, false, "it failed");
            held.state.found_unsure(false);
        }),
        ("in a savepoint of texts", |held, _| {
            begun(held);
            turn(&mut held.state, Control::Savepoint(label("a")));
        }),
        ("rolled back by the server", |held, _| {
            begun(held);
            held.state.note_failure(Diagnosis::RolledBack, false, "it failed");
        }),
        ("pinned", |held, _| pinned::<D>(held, PinCause::TemporaryObject)),
        ("in doubt", |held, _| pinned::<D>(held, PinCause::UnknownStatement)),
        ("in doubt in a transaction", |held, _| {
            begun(held);
            pinned::<D>(held, PinCause::UnknownStatement);
        }),
        ("in one that a text has taken", |held, _| {
            begun(held);
            held.state.taken_from_guards();
        }),
        ("its guard was dropped", |held, _| {
            begun(held);
            held.state.abandon(1);
        }),
        ("a text from begin to end failed half way", |held, _| {
            held.carried.open();
            held.state.failed_half_way("it failed");
        }),
        ("a statement failed, and nobody knows how far", |held, _| {
            begun(held);
            held.state.failed_unsure("it failed", false);
        }),
        ("its connection was lost", |held, _| {
            begun(held);
            held.state.lost();
        }),
    ]
}

fn held<D: Dialect>(way: &Way<D>) -> Held {
    let mut held = Held { state: State::of::<D>(1, false), carried: Carried::of::<D>(false) };
    held.carried.come_into(1);
    (way.1)(&mut held, std::marker::PhantomData);
    held
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
    let mut held = held(way);
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

/// An answer, and what it makes of the session.
type Answer = (&'static str, fn(&mut Held));

/// What has to happen before anything else, and what becomes of the session by the answer.
fn first<D: Dialect>(way: &Way<D>) -> Option<String> {
    let step = held(way).state.next(Facts::default(), &mut Taken::default())?;
    let answers: &[Answer] = match step {
        Step::RollBack(_) => &[("agreed", |held| {
            held.state.rolled_back_abandoned();
            in_flight::abandoned_rolled_back::<D>(&mut held.state, &mut held.carried);
        })],
        Step::AskAfterText => &[
            ("it is open", |held| held.state.found_half_done(true)),
            ("it is not", |held| {
                held.state.found_half_done(false);
                in_flight::ended(&held.state, &mut held.carried);
            }),
        ],
        Step::AskAfterFailure => &[
            ("it is open", |held| held.state.found_unsure(true)),
            ("it is not", |held| {
                held.state.found_unsure(false);
                in_flight::ended(&held.state, &mut held.carried);
            }),
        ],
        Step::Drain | Step::Replan | Step::Replay => unreachable!("the connection's own steps"),
    };
    let mut rows = format!("  first {step:?}\n");
    for (answer, come_to) in answers {
        let mut held = held(way);
        come_to(&mut held);
        _ = writeln!(rows, "    {answer:17} {}", sketch(&held));
    }
    Some(rows)
}

/// What becomes of a text where the transaction is gone with its connection.
fn row_of_lost<D: Dialect>(way: &Way<D>, sql: &str) -> String {
    let mut held = held(way);
    let goes_on = held.state.end_lost_transaction(D::classify(sql).control());
    format!("    {:17} {}\n", if goes_on { "goes on" } else { "refused" }, sketch(&held))
}

/// What becomes of the session by what its guards do.
fn guards<D: Dialect>(way: &Way<D>) -> String {
    let mut rows = String::new();
    let mut add = |what: &str, came: String| _ = writeln!(rows, "  {what}\n    {came}");
    let mut begun = held(way);
    let asked = if begun.state.is_doubtful() { "asks first whether a transaction is open, then " } else { "" };
    begun.carried.open();
    begun.state.begun();
    add("begin()", format!("{asked}{}", sketch(&begun)));
    let innermost = |state: &State| state.levels.iter().rposition(|level| level.kind == Kind::Guard);
    let Some(depth) = innermost(&held(way).state).map(|at| at + 1) else { return rows };
    let mut ended = held(way);
    let plan = ended.state.commit_plan(depth);
    let Held { state, carried } = &mut ended;
    match &plan {
        CommitPlan::Commit => in_flight::committed(state, carried, depth),
        CommitPlan::Refuse(_) | CommitPlan::Disown => in_flight::rolled_back::<D>(state, carried, depth),
        // The answer decides.
        CommitPlan::Probe => {}
    }
    add("commit()", format!("{plan:?} -> {}", sketch(&ended)));
    let mut ended = held(way);
    in_flight::rolled_back::<D>(&mut ended.state, &mut ended.carried, depth);
    add("rollback()", sketch(&ended));
    let mut dropped = held(way);
    dropped.state.abandon(depth);
    add("drop", sketch(&dropped));
    rows
}

fn table<D: Dialect>(texts: &[&str]) -> String {
    let mut table = String::new();
    for way in ways::<D>() {
        _ = writeln!(table, "{}", way.0);
        if let Some(first) = first(&way) {
            table.push_str(&first);
            continue;
        }
        let is_lost = held(&way).state.is_lost();
        for sql in texts {
            let row = if is_lost { row_of_lost(&way, sql) } else { row(&way, sql) };
            _ = write!(table, "  {sql}\n{row}");
        }
        if !is_lost {
            table.push_str(&guards(&way));
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
