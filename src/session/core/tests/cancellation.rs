//! Every text in every state, agreed to, refused, lost, or dropped before the server has executed it and after: what the
//! account and the connection know is then enough to bring the session, and whoever gets the connection next, to what the
//! server has. No server takes part, and no time passes.

use super::dedicated::{Rules, Server};
use super::*;
use crate::config::PinningFilter;
use crate::connector::Carried;
use crate::engine::{Cleanup, Diagnosis, Dialect};
use crate::error::Phase;

/// What comes of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Refused,
    /// Nobody waits for the answer, and the server has executed it, or never will.
    Dropped {
        executed: bool,
    },
    Lost {
        executed: bool,
    },
}

const FATES: [Fate; 6] = [
    Fate::Answered,
    Fate::Refused,
    Fate::Dropped { executed: true },
    Fate::Dropped { executed: false },
    Fate::Lost { executed: true },
    Fate::Lost { executed: false },
];

/// A session, its connection, and the server at the other end.
struct World {
    state: State,
    carried: Carried,
    server: Server,
    /// What is set when the connection is as good as new: nothing.
    connected: bool,
    /// The connection went home as it is.
    parted: bool,
}

impl World {
    fn new<D: Dialect>() -> Self {
        let mut carried = Carried::of::<D>(false);
        carried.come_into(1);
        let rules = Rules {
            errors_abort: D::RULES.errors_abort,
            rollback_restores_settings: D::RULES.rollback_restores_settings,
        };
        let state = State::of::<D>(1, false);
        Self { state, carried, server: Server::new(rules), connected: true, parted: false }
    }

    /// What the server does with a text.
    fn execute<D: Dialect>(&mut self, sql: &str) {
        let server = &mut self.server;
        let words: Vec<_> = sql.split(' ').collect();
        // What it refuses, it says; the account is told the same by `answer`.
        let _ = match words[..] {
            // PostgreSQL warns inside a transaction, and MySQL commits it.
            ["begin"] if D::RULES.errors_abort && !server.stack.is_empty() => Ok(()),
            ["begin"] => {
                server.commit();
                server.begin("")
            }
            ["commit"] => {
                server.commit();
                Ok(())
            }
            ["rollback"] => {
                server.rollback();
                Ok(())
            }
            ["savepoint", name] if !server.stack.is_empty() => server.begin(name),
            ["rollback", "to", name] => server.rollback_to(name),
            ["release", "savepoint", name] => server.release(name),
            ["set", ..] => {
                let (name, statement) = D::settings_of(sql).remove(0);
                server.set(&name, Some(statement))
            }
            _ => Ok(()),
        };
    }

    /// Runs a text to its fate. `false` where it is not sent.
    fn run<D: Dialect>(&mut self, sql: &str, fate: Fate) -> bool {
        self.settle();
        let Self { state, carried, .. } = self;
        let mut intent = Intent::of::<D>(D::classify(sql), sql, state, PinningFilter::None, false);
        let mut flight = InFlight::new(Phase::Statement);
        match flight.enter::<D>(state, carried, &mut intent, &Settings::default()) {
            // Answered that nothing has aborted it.
            Gate::Open | Gate::Ask { .. } => {}
            Gate::Commit(turn) => flight.turn_to(turn, carried),
            Gate::Guarded | Gate::RollBack { .. } => return false,
        }
        if let Some(reason) = intent.pin.take() {
            self.pin::<D>(reason);
        }
        flight.begin::<D>(&mut self.state, &mut self.carried, 1, &mut intent);
        if matches!(fate, Fate::Answered | Fate::Dropped { executed: true } | Fate::Lost { executed: true }) {
            self.execute::<D>(sql);
        }
        if fate == Fate::Refused {
            let _ = self.server.fail();
            if sql == "commit" && D::RULES.errors_abort {
                // https://www.postgresql.org/docs/current/sql-commit.html
                self.server.rollback();
            }
        }
        self.answer::<D>(flight, fate);
        true
    }

    fn answer<D: Dialect>(&mut self, mut flight: InFlight, fate: Fate) {
        let Self { state, carried, .. } = self;
        match fate {
            Fate::Answered => _ = flight.succeeded::<D>(state, carried),
            Fate::Refused => {
                let after = flight.failed::<D>(state, carried, Diagnosis::Statement, "it failed");
                if after == After::Lose {
                    self.lose(&mut flight);
                }
            }
            Fate::Lost { .. } => {
                assert_eq!(flight.failed::<D>(state, carried, Diagnosis::Dead, "it is gone"), After::Lose);
                self.lose(&mut flight);
            }
            Fate::Dropped { .. } => match flight.dropped::<D>(state) {
                Left::Unread => {}
                Left::Part => self.parted = true,
                Left::Abandon => self.abandon(),
                Left::Close => self.connected = false,
                Left::Pin(reason) => self.pin::<D>(reason),
            },
        }
    }

    fn pin<D: Dialect>(&mut self, reason: PinReason) {
        self.carried.soil(D::cleanup_after(reason.cause()));
        self.carried.open();
        let controls = D::may_control(reason.cause());
        self.state.pin(reason, controls);
    }

    fn lose(&mut self, flight: &mut InFlight) {
        self.connected = false;
        self.state.lost();
        flight.lost(&mut self.state);
    }

    fn abandon(&mut self) {
        self.state.abandon(1);
        if self.state.depth() == 0 && self.state.pin_reason().is_none() {
            self.state.rolled_back_abandoned();
            self.parted = true;
        }
    }

    /// What the session does before its next exchange, as far as no other connection is needed.
    fn settle(&mut self) {
        let mut taken = Taken::default();
        while let Some(step) = self.state.next(Facts::default(), &mut taken) {
            let open = !self.server.stack.is_empty();
            match step {
                Step::RollBack(depth) => {
                    self.state.rolled_back_abandoned();
                    if open {
                        self.server.roll_back(depth);
                    }
                }
                Step::AskAfterText => self.state.found_half_done(open),
                Step::AskAfterFailure => self.state.found_unsure(open),
                step => panic!("{step:?} has no cause here"),
            }
        }
    }

    /// What the pool does with the connection before another session has it. Whether it can be had.
    fn restore<D: Dialect>(&mut self) -> bool {
        if !self.connected {
            return false;
        }
        if let Some(before) = self.carried.before_open().cloned() {
            self.server.rollback();
            if D::RULES.rollback_restores_settings && *self.carried.settings() != before {
                self.carried.soil(Cleanup::KeepPlans);
            }
            self.carried.close();
        }
        match self.carried.cleanup() {
            Cleanup::None => {}
            Cleanup::Impossible => return false,
            _ if !D::RULES.has_session_reset => return false,
            _ => {
                self.server.values.clear();
                self.carried.cleaned(Some(Settings::default()));
            }
        }
        true
    }

    /// What the server has set, as the account words it.
    fn values(&self) -> Vec<(&str, &str)> {
        self.server.values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

/// The texts that bring a session into a state.
const WAYS: [&[&str]; 8] = [
    &[],
    &["SET"],
    &["begin"],
    &["begin", "SET"],
    &["SET", "begin", "savepoint a"],
    &["begin", "savepoint a", "SET"],
    &["GUARD"],
    &["GUARD", "SET", "GUARD"],
];

const TEXTS: [&str; 9] = [
    "select 1",
    "SET",
    "OTHER SET",
    "begin",
    "commit",
    "rollback",
    "savepoint a",
    "rollback to a",
    "release savepoint a",
];

fn arrive<D: Dialect>(way: &[&str], set: &str) -> World {
    let mut world = World::new::<D>();
    for text in way {
        match *text {
            "GUARD" => {
                let depth = world.state.depth() + 1;
                world.carried.open();
                world.server.begin(&format!("lambda_rds_{depth}")).expect("works");
                world.state.begun();
            }
            "SET" => assert!(world.run::<D>(set, Fate::Answered)),
            text => assert!(world.run::<D>(text, Fate::Answered)),
        }
    }
    world
}

/// `sets`: two texts that set the same.
fn every_fate<D: Dialect>(sets: [&str; 2]) {
    let mut seen = 0;
    for way in WAYS {
        for text in TEXTS {
            for fate in FATES {
                let sql = match text {
                    "SET" => sets[0],
                    "OTHER SET" => sets[1],
                    text => text,
                };
                let context = format!("{way:?}, then {sql}: {fate:?}");
                let mut world = arrive::<D>(way, sets[0]);
                if !world.run::<D>(sql, fate) {
                    continue;
                }
                seen += 1;
                // The session goes on where it is.
                if world.connected && !world.parted {
                    world.settle();
                    let state = &world.state;
                    // What is aborted as far as the session knows is not committed, whatever the server would do.
                    if !state.is_doubtful() && !state.is_aborted() {
                        assert_eq!(state.depth(), world.server.stack.len(), "{context}: how deep it is");
                        assert!(!world.server.aborted, "{context}: it is aborted");
                    }
                    if state.pin_reason().is_none() && !state.is_aborted() {
                        assert_eq!(
                            state.settings().iter().collect::<Vec<_>>(),
                            world.values(),
                            "{context}: its settings"
                        );
                    }
                } else if !world.connected {
                    let had = !way.is_empty() && way[..] != ["SET"];
                    let state = &world.state;
                    assert!(
                        !had || state.is_lost() || state.is_free(),
                        "{context}: it does not go on as if nothing had been"
                    );
                }
                // It ends, and another one gets the connection.
                if world.restore::<D>() {
                    assert!(world.server.stack.is_empty(), "{context}: a transaction is handed on");
                    let carried: Vec<_> = world.carried.settings().iter().collect();
                    assert_eq!(carried, world.values(), "{context}: what the connection is thought to have set");
                }
            }
        }
    }
    assert!(seen > 300, "{seen}");
}

#[cfg(feature = "postgres")]
#[test]
fn whatever_becomes_of_a_text_nobody_is_misled_on_postgres() {
    every_fate::<sqlx::Postgres>(["set timezone = 'UTC'", "set timezone = 'Asia/Tokyo'"]);
}

#[cfg(feature = "mysql")]
#[test]
fn whatever_becomes_of_a_text_nobody_is_misled_on_mysql() {
    every_fate::<sqlx::MySql>(["set time_zone = '+00:00'", "set time_zone = '+09:00'"]);
}
