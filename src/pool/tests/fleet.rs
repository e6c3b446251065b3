//! Ten thousand environments on one server, in virtual time: the policy and the pauses are the real ones, the rest is
//! arithmetic. A change of either is judged by the table that this prints (`cargo test --lib fleet -- --nocapture`).

#![allow(clippy::print_stdout, reason = "the table is for whoever changes the policy")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Moment;
use crate::occupancy::Occupancy;
use crate::pool::dial::{REFUSED_BASE, REFUSED_CAP};
use crate::pool::retention::{Decision, Kind, Retention, TERM};

const LOGIN: Duration = Duration::from_millis(20);
const REFUSAL: Duration = Duration::from_millis(10);
const WORK: Duration = Duration::from_millis(50);
const BUDGET: Duration = Duration::from_secs(9);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Somebody calls, and Lambda picks the environment: the one that was at work last.
    Calls,
    Arrives,
    /// An attempt has come to the server.
    Knocks,
    Works,
    /// The response is sent.
    Rests,
    /// The server closes what has been idle since this work of its environment.
    Expires(u32),
}

struct Environment {
    retention: Retention,
    holds: bool,
    pauses: Backoff,
    began: Duration,
    refused: bool,
    left: u32,
    /// How long after the end of a work the next one begins; where Lambda picks, that is not known.
    rest: Option<Duration>,
    at_work: bool,
    waits: Vec<Duration>,
    kept: u32,
    /// For how long the server bears that its connection lies idle.
    term: Duration,
}

#[derive(Debug, Default)]
struct Outcome {
    served: usize,
    failed: usize,
    connects: usize,
    /// Attempts, second by second.
    attempts: Vec<usize>,
    p50: Duration,
    p99: Duration,
    longest: Duration,
}

struct Fleet {
    slots: u32,
    taken: u32,
    environments: Vec<Environment>,
    /// Frozen, the one that was at work last on top; and the calls that found none.
    frozen: Vec<usize>,
    unanswered: usize,
    queue: BinaryHeap<Reverse<(Duration, u64, usize, Event)>>,
    sequence: u64,
    outcome: Outcome,
}

impl Fleet {
    /// Environments that are invoked so often, each first at a random moment of `over`, and rest so long in between.
    fn new(slots: u32, over: Duration, each: impl Iterator<Item = (u32, Option<Duration>)>) -> Self {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut fleet = Self {
            slots,
            taken: 0,
            environments: Vec::new(),
            frozen: Vec::new(),
            unanswered: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            outcome: Outcome::default(),
        };
        for (id, (left, rest)) in each.enumerate() {
            fleet.environments.push(Environment {
                retention: Retention::new(rng.fork()),
                holds: false,
                pauses: Backoff::new(REFUSED_BASE, REFUSED_CAP, rng.fork()),
                began: Duration::ZERO,
                refused: false,
                left,
                rest,
                at_work: false,
                waits: Vec::new(),
                kept: 0,
                term: TERM,
            });
            fleet.at(over.mul_f64(rng.f64()), id, Event::Arrives);
        }
        fleet
    }

    /// As many as that, each of which has served once by the time when calls begin to come at random, so many a second.
    fn open(slots: u32, count: usize, rate: f64, over: Duration) -> Self {
        let warm = Duration::from_secs(8);
        let once = std::iter::repeat_n((u32::MAX, None), count);
        let mut fleet = Self::new(slots, warm, once);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut now = warm + WORK;
        while now < warm + over {
            fleet.at(now, 0, Event::Calls);
            now += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate);
        }
        fleet
    }

    fn at(&mut self, when: Duration, id: usize, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((when, self.sequence, id, event)));
    }

    fn run(mut self, title: &str) -> (Outcome, Vec<Environment>) {
        while let Some(Reverse((now, _, id, event))) = self.queue.pop() {
            self.step(now, id, event);
        }
        let mut waits: Vec<_> = self.environments.iter().flat_map(|one| one.waits.iter().copied()).collect();
        waits.sort_unstable();
        let part = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        let mut outcome = self.outcome;
        outcome.served = waits.len();
        (outcome.p50, outcome.p99, outcome.longest) = (part(50), part(99), part(100));
        println!(
            "| {title} | {} | {} | {} | {:.0?} | {:.0?} | {:.0?} | {} |",
            outcome.served,
            outcome.failed,
            outcome.connects,
            outcome.p50,
            outcome.p99,
            outcome.longest,
            outcome.attempts.iter().skip(1).max().copied().unwrap_or_default(),
        );
        (outcome, self.environments)
    }

    fn step(&mut self, now: Duration, id: usize, event: Event) {
        let moment = Moment::at(now);
        let one = &mut self.environments[id];
        match event {
            Event::Calls => match self.frozen.pop() {
                Some(id) => self.step(now, id, Event::Arrives),
                None => self.unanswered += 1,
            },
            Event::Arrives => {
                one.at_work = true;
                one.retention.began(Kind::Invocation, moment);
                (one.began, one.refused) = (now, false);
                if one.holds {
                    one.kept += 1;
                    one.waits.push(Duration::ZERO);
                    self.at(now + WORK, id, Event::Rests);
                } else {
                    one.pauses = Backoff::new(REFUSED_BASE, REFUSED_CAP, fastrand::Rng::with_seed(self.sequence));
                    self.at(now, id, Event::Knocks);
                }
            }
            Event::Knocks => {
                let second = usize::try_from(now.as_secs()).unwrap();
                self.outcome.attempts.resize(self.outcome.attempts.len().max(second + 1), 0);
                self.outcome.attempts[second] += 1;
                if self.taken < self.slots {
                    self.taken += 1;
                    self.outcome.connects += 1;
                    self.at(now + LOGIN, id, Event::Works);
                    return;
                }
                one.retention.refused(!one.refused, moment);
                one.refused = true;
                let waited = now - one.began;
                let share = waited.as_secs_f64() / BUDGET.as_secs_f64();
                let pause = one.pauses.next_of(share, REFUSAL, BUDGET.saturating_sub(waited));
                if waited + pause + REFUSAL >= BUDGET {
                    self.outcome.failed += 1;
                    self.ends(now, id);
                } else {
                    self.at(now + REFUSAL + pause, id, Event::Knocks);
                }
            }
            Event::Works => {
                one.retention.connected(LOGIN, one.refused);
                one.holds = true;
                one.waits.push(now - one.began);
                self.at(now + WORK, id, Event::Rests);
            }
            Event::Rests => {
                one.retention.ended(Kind::Invocation, moment);
                if one.retention.wants_to_know(moment) {
                    let seen = Occupancy { sessions: self.taken, limit: self.slots, ours: None };
                    one.retention.told(Some(seen), moment);
                }
                if one.retention.judge(moment) == Decision::GiveBack {
                    one.holds = false;
                    self.taken -= 1;
                } else if let Some(term) = one.retention.idle_term(moment) {
                    one.term = term;
                    let work = one.left;
                    self.at(now + term, id, Event::Expires(work));
                }
                self.ends(now, id);
            }
            Event::Expires(work) => {
                // It has not been at work since.
                let is_idle = one.left + 1 == work && !one.at_work;
                if one.holds && is_idle {
                    one.holds = false;
                    self.taken -= 1;
                }
            }
        }
    }

    fn ends(&mut self, now: Duration, id: usize) {
        let one = &mut self.environments[id];
        one.left -= 1;
        one.at_work = false;
        match one.rest {
            Some(rest) if one.left > 0 => self.at(now + rest, id, Event::Arrives),
            Some(_) => {}
            None if self.unanswered > 0 => {
                self.unanswered -= 1;
                self.step(now, id, Event::Arrives);
            }
            None => self.frozen.push(id),
        }
    }
}

fn each(count: usize, invocations: u32, rest_ms: u64) -> impl Iterator<Item = (u32, Option<Duration>)> {
    std::iter::repeat_n((invocations, Some(Duration::from_millis(rest_ms))), count)
}

const TITLES: &str = "| fleet | served | failed | connects | p50 | p99 | longest wait | attempts in a second |";

#[test]
fn a_fleet_that_the_server_can_serve_is_served() {
    println!("{TITLES}\n|---|---|---|---|---|---|---|---|");
    for (title, slots, over_ms, fleet) in [
        ("60 on 17", 17, 400, each(60, 15, 350)),
        ("100 on 17", 17, 400, each(100, 15, 350)),
        ("40 at once on 17", 17, 0, each(40, 1, 0)),
        ("200 at once on 40", 40, 0, each(200, 1, 0)),
        ("10,000 within 10 s on 1,000", 1000, 10_000, each(10_000, 1, 0)),
        ("10,000 every 20 s on 1,000", 1000, 20_000, each(10_000, 3, 20_000)),
    ] {
        let (outcome, _) = Fleet::new(slots, Duration::from_millis(over_ms), fleet).run(title);
        assert_eq!(outcome.failed, 0, "{title}");
        if over_ms >= 10_000 {
            let most = outcome.attempts.iter().skip(1).max().copied().unwrap_or_default();
            assert!(most <= 2 * slots as usize, "{title}: {most} attempts in a second");
        }
    }
}

#[test]
fn where_there_is_room_everybody_keeps_a_connection() {
    let (outcome, _) = Fleet::new(40, Duration::from_millis(400), each(20, 50, 350)).run("20 on 40");
    assert_eq!((outcome.connects, outcome.failed), (20, 0));
}

#[test]
fn frozen_holders_leave_room_for_newcomers() {
    let holders = each(17, 1, 0).chain(each(10, 1, 0));
    let mut fleet = Fleet::new(17, Duration::ZERO, holders);
    // The newcomers a second later.
    fleet.queue = fleet
        .queue
        .into_iter()
        .map(|Reverse((at, n, id, event))| {
            Reverse((if id < 17 { at } else { at + Duration::from_secs(1) }, n, id, event))
        })
        .collect();
    let (outcome, _) = fleet.run("17 holders on 17, 10 newcomers");
    assert_eq!(outcome.failed, 0);
    assert!(outcome.longest < Duration::from_secs(2), "{:?}", outcome.longest);
}

#[test]
fn those_who_came_often_and_do_no_more_leave_room_too() {
    let mut fleet = Fleet::new(17, Duration::from_millis(150), each(17, 40, 100).chain(each(10, 1, 0)));
    // The newcomers when all the others are frozen for good.
    fleet.queue = fleet
        .queue
        .into_iter()
        .map(|Reverse((at, n, id, event))| {
            Reverse((if id < 17 { at } else { at + Duration::from_secs(7) }, n, id, event))
        })
        .collect();
    let (outcome, _) = fleet.run("17 that came often, 10 newcomers");
    assert_eq!(outcome.failed, 0);
    assert!(outcome.longest < TERM + Duration::from_secs(1), "{:?}", outcome.longest);
}

#[test]
fn the_frequent_keep_theirs_and_the_rare_are_served() {
    let fleet = each(10, 400, 150).chain(each(10, 4, 20_000));
    let (outcome, environments) = Fleet::new(10, Duration::from_secs(2), fleet).run("10 frequent and 10 rare on 10");
    let kept: u32 = environments[..10].iter().map(|one| one.kept).sum();
    assert_eq!(outcome.failed, 0);
    assert!(kept >= 3600, "{kept} of 4000 kept");
}

/// Lambda calls the environment that was at work last, so that a few serve nearly everything. Those who wait must not wait for
/// as long as those few come back.
#[test]
fn who_waits_beside_a_few_that_serve_everything_is_served() {
    for part in [0.3, 0.5, 0.7] {
        let rate = part * 40.0 / WORK.as_secs_f64();
        let (outcome, _) = Fleet::open(40, 200, rate, Duration::from_secs(30)).run(&format!("200 on 40, {part} of it"));
        assert_eq!((outcome.failed, outcome.p50), (0, Duration::ZERO), "{part}");
    }
}
