//! What happens to a fleet.

mod burst;
mod closed;
mod mixed;
mod newcomers;
mod open;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::arguments::Arguments;
use crate::environment::{Environment, Sample};
use crate::phase::{Phase, Row};
use crate::service::Service;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// More environments than slots, in closed loops.
    Warm,
    /// The same with more and more environments.
    Growth,
    /// New environments where frozen ones have all slots.
    Newcomers,
    /// Many cold starts at once.
    Burst,
    /// Arrivals that do not wait for anybody.
    Open,
    /// More slots than environments, in closed loops.
    Room,
    /// Environments that are often invoked beside some that are not.
    Mixed,
}

/// So many environments, one fleet after the other.
const GROWING: [usize; 7] = [10, 17, 30, 45, 60, 80, 100];

/// How large a fleet is and what it does.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) environments: usize,
    pub(crate) slots: usize,
    pub(crate) busy: Duration,
    pub(crate) patience: Duration,
    invocations: usize,
    rest: Duration,
    stagger: Duration,
    rounds: usize,
    newcomers: usize,
    /// Arrivals a second.
    rate: f64,
    random: bool,
    span: Duration,
    frequent: Duration,
    seldom: Duration,
}

impl Scenario {
    pub(crate) const ALL: [Self; 7] =
        [Self::Warm, Self::Growth, Self::Newcomers, Self::Burst, Self::Open, Self::Room, Self::Mixed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Growth => "growth",
            Self::Newcomers => "newcomers",
            Self::Burst => "burst",
            Self::Open => "open",
            Self::Room => "room",
            Self::Mixed => "mixed",
        }
    }

    /// The fleets that it takes, each on a new server.
    pub(crate) fn fleets(self, arguments: &Arguments) -> Vec<Fleet> {
        match self {
            Self::Growth => {
                GROWING.iter().map(|count| Fleet { environments: *count, ..self.fleet(arguments) }).collect()
            }
            _ => vec![self.fleet(arguments)],
        }
    }

    fn fleet(self, arguments: &Arguments) -> Fleet {
        let (environments, slots) = match self {
            Self::Warm | Self::Growth => (60, 17),
            Self::Newcomers => (17, 17),
            Self::Burst => (40, 17),
            Self::Open => (200, 40),
            Self::Room => (20, 40),
            Self::Mixed => (20, 10),
        };
        let slots = arguments.count("slots", slots);
        let busy = arguments.milliseconds("busy", 50);
        let capacity = slots as f64 / busy.as_secs_f64();
        Fleet {
            environments: arguments.count("environments", environments),
            slots,
            busy,
            patience: arguments.milliseconds("patience", 9_000),
            invocations: arguments.count("invocations", 15),
            rest: arguments.milliseconds("rest", 350),
            stagger: arguments.milliseconds("stagger", 40),
            rounds: arguments.count("rounds", 3),
            newcomers: arguments.count("newcomers", 10),
            rate: arguments.number("rate", arguments.number("load", 0.7) * capacity),
            random: arguments.random,
            span: Duration::from_secs_f64(arguments.number("seconds", 30.0)),
            frequent: arguments.milliseconds("frequent", 200),
            seldom: arguments.milliseconds("seldom", 20_000),
        }
    }

    /// What a picture shows of it, if anything.
    pub(crate) async fn run(self, service: &Service, fleet: &Fleet) -> Option<Row> {
        match self {
            Self::Warm | Self::Growth => {
                let row = closed::warm(service, fleet).await;
                return (self == Self::Growth).then_some(row);
            }
            Self::Newcomers => newcomers::run(service, fleet).await,
            Self::Burst => burst::run(service, fleet).await,
            Self::Open => open::run(service, fleet).await,
            Self::Room => closed::room(service, fleet).await,
            Self::Mixed => mixed::run(service, fleet).await,
        }
        None
    }
}

/// So many that have not been started.
fn new(count: usize) -> Vec<Environment> {
    (0..count).map(|_| Environment::default()).collect()
}

/// A fleet each of which has served once, one after the other.
async fn started(service: &Service, fleet: &Fleet, name: &str) -> Vec<Environment> {
    let mut environments = new(fleet.environments);
    let phase = Phase::begin(service, fleet.slots).await;
    let mut turn = Duration::ZERO;
    let samples = join_all(environments.iter_mut().map(|environment| {
        let wait = turn;
        turn += fleet.stagger;
        async move {
            sleep(wait).await;
            environment.serve(service, Instant::now()).await
        }
    }));
    let samples = samples.await;
    phase.end(name, fleet.environments, &samples).await;
    environments
}

/// All are invoked in the same moment, once.
async fn at_once(service: &Service, environments: &mut [Environment]) -> Vec<Sample> {
    let arrived = Instant::now();
    join_all(environments.iter_mut().map(|environment| environment.serve(service, arrived))).await
}

async fn end(mut environments: Vec<Environment>) {
    join_all(environments.iter_mut().map(Environment::end)).await;
}
