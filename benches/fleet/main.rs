//! A Lambda service in small: many environments share one database that has fewer slots than there are environments.
//!
//! Each environment is a real process with a Runtime API of its own. It is stopped with SIGSTOP as soon as it asks for
//! its next event, and continued when the next event is there, as Lambda freezes environments. An invocation keeps the
//! database busy for 50 ms. Its latency counts from its arrival until its response was posted, so waking a frozen
//! process and starting a new one are in it; a failed one counts with the time that it took to fail.
//!
//! ```text
//! cargo bench --features _internals,mysql --bench fleet -- warm                       60 environments on 17 slots
//! cargo bench --features _internals,mysql --bench fleet -- warm --environments 100
//! FLEET_OUT=x.svg cargo bench --features _internals,mysql --bench fleet -- growth     10 to 100 on 17 slots, and a picture
//! cargo bench --features _internals,mysql --bench fleet -- newcomers                  10 new ones where 17 frozen ones have all slots
//! cargo bench --features _internals,mysql --bench fleet -- burst                      40 at once on 17 slots, three times
//! cargo bench --features _internals,mysql --bench fleet -- burst --environments 200 --slots 40 --rounds 1
//! cargo bench --features _internals,mysql --bench fleet -- open                       200 on 40 slots, Poisson arrivals
//! cargo bench --features _internals,mysql --bench fleet -- open --random --load 0.3
//! cargo bench --features _internals,mysql --bench fleet -- room                       20 on 40 slots
//! cargo bench --features _internals,mysql --bench fleet -- mixed                      10 frequent and 10 seldom ones on 10 slots
//! ```
//!
//! Several scenarios may be named at once. Every subject gets a new server and new processes, and one CSV row a phase.
//! What failed is told on stderr, by kinds.
//!
//! | argument | |
//! |---|---|
//! | `--subjects rds,each` | who takes part: `rds` this crate as the quickstart has it; `pool` sqlx's `PgPool` of one; `each` a connect for each invocation; `pgbouncer` and `rds-pgbouncer` are `pool` and `rds` through a PgBouncer. Default: all |
//! | `--engine mysql` | the same on MariaDB or MySQL, without a pooler |
//! | `--set NAME=VALUE` | a further variable of the functions of `rds`, such as `LAMBDA_RDS_IDLE_TIMEOUT=1s` |
//! | `--environments`, `--slots`, `--invocations`, `--rounds`, `--newcomers` | numbers |
//! | `--busy`, `--rest`, `--patience`, `--stagger` | milliseconds: the statement; between two invocations of an environment; to get a connection; between two cold starts of a fleet that is to be warm |
//! | `--load`, `--rate`, `--seconds`, `--random` | of `open`: arrivals as a share of what the slots can serve (0.7), or a second; for how long; to a random idle environment in the place of the most recently used one |
//! | `--frequent`, `--seldom`, `--seconds` | of `mixed`: milliseconds between two arrivals |
//!
//! `kept`: the share of the invocations, in percent, that ran in the same session of the server as the one before in that
//! environment. Both rows of `mixed` have the connects of the whole fleet. `connects` and `refused` are logins and refusals for want of a slot as the server counted them,
//! `statements` what it executed per invocation, where the scenario counts it.
//!
//! With `LAMBDA_RDS_TEST_SERVERS=newest` the servers are the newest, see `tests/run.sh`. Nothing outlives the bench, also
//! when it is killed: see `tests/support/lambda/process.rs` and `tests/support/keeper.rs`.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a program for a person at a terminal")]

mod arguments;
mod counts;
mod engine;
mod environment;
mod function;
mod phase;
mod picture;
mod scenario;
mod service;
mod subject;
#[path = "../../tests/support/mod.rs"]
mod support;

use arguments::Arguments;
use service::Service;

#[tokio::main]
async fn bench(arguments: &Arguments) {
    println!("{}", phase::HEADER);
    let mut shown = Vec::new();
    for scenario in &arguments.scenarios {
        for &subject in &arguments.subjects {
            for fleet in scenario.fleets(arguments) {
                let service = Service::open(subject, arguments, &fleet).await;
                shown.extend(scenario.run(&service, &fleet).await);
            }
        }
    }
    if let Some(path) = std::env::var_os("FLEET_OUT").filter(|_| !shown.is_empty()) {
        picture::write(path.as_ref(), &shown).expect("the picture's folder is there");
    }
}

fn main() -> Result<(), lambda_runtime::Error> {
    if let Some(mode) = function::asked_for() {
        return function::run(&mode);
    }
    bench(&Arguments::parse(std::env::args().skip(1)));
    Ok(())
}
