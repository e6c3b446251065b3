//! The AWS Advanced wrappers: programs that write the same load and say when each write ended.

use std::env;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedSender;

use crate::application::{Contestant, Request, SHORT, TASKS};
use crate::support::postgres::APP_PASSWORD;

/// Names as Amazon gives them: the wrappers infer the members' from the cluster's.
const CLUSTER: &str = "stage.cluster-xyz.us-east-1.rds.amazonaws.com";
const DOMAIN: &str = "xyz.us-east-1.rds.amazonaws.com";

/// A program that is not started yet.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    contestant: Contestant,
    /// Names and where they lead.
    places: String,
}

impl Peer {
    /// The cluster's name leads to `endpoint`.
    pub(crate) fn new(contestant: Contestant, endpoint: u16, members: &[(String, String, u16)]) -> Self {
        let members: String = members.iter().map(|(id, _, port)| format!(" {id}.{DOMAIN}={port}")).collect();
        Self { contestant, places: format!("{CLUSTER}={endpoint}{members}") }
    }

    /// Whether this machine has what it takes.
    pub(crate) fn is_installed(contestant: Contestant) -> bool {
        variable(contestant).is_none_or(|name| env::var_os(name).is_some())
    }

    /// Starts the program, which ends with the future.
    pub(crate) fn load(self, done: UnboundedSender<Request>) -> impl Future<Output = ()> + use<> {
        let clock = Clock::now();
        let program = self.start();
        async move {
            // The whole of it: it ends when it is dropped.
            let mut program = program;
            let mut lines = BufReader::new(program.stdout.take().expect("it is piped")).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(request) = clock.request(&line) else { continue };
                if done.send(request).is_err() {
                    return;
                }
            }
            println!("  the {} ended before its time; FAILOVER_VERBOSE=1 shows why", self.contestant.name());
        }
    }

    fn start(&self) -> Child {
        let place = variable(self.contestant).and_then(env::var_os).expect("it is installed");
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/failover");
        let mut command = if self.contestant == Contestant::Python {
            let mut python = Command::new(place);
            python.arg(format!("{here}/peer.py"));
            python
        } else {
            let mut node = Command::new("node");
            node.arg(format!("{here}/peer.mjs")).env("PEER_MODULES", place);
            node
        };
        if env::var_os("FAILOVER_VERBOSE").is_none() {
            command.stderr(Stdio::null());
        }
        command
            .env("PEER_SQL", SHORT)
            .env("PEER_TASKS", TASKS.to_string())
            .env("PEER_HOST", CLUSTER)
            .env("PEER_PLACES", &self.places)
            .env("PEER_PASSWORD", APP_PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.contestant.name()))
    }
}

/// What says where a wrapper is installed; nothing is needed for the others.
pub(crate) fn variable(contestant: Contestant) -> Option<&'static str> {
    match contestant {
        Contestant::Python => Some("FAILOVER_PYTHON"),
        Contestant::Node => Some("FAILOVER_NODE"),
        Contestant::Ours | Contestant::OursOnMariaDb | Contestant::PgPool => None,
    }
}

/// One moment on both clocks: the programs know only the kernel's.
struct Clock {
    instant: Instant,
    monotonic: Duration,
}

impl Clock {
    fn now() -> Self {
        let monotonic = Duration::try_from(clock_gettime(ClockId::Monotonic)).expect("it counts from the boot");
        Self { instant: Instant::now(), monotonic }
    }

    /// From `nanoseconds port`, or another word for a write that failed. What a library prints is none.
    fn request(&self, line: &str) -> Option<Request> {
        let (at, taken_by) = line.split_once(' ')?;
        let at = Duration::from_nanos(at.parse().ok()?);
        Some(Request { ended: self.instant + at.checked_sub(self.monotonic)?, taken_by: taken_by.parse().ok() })
    }
}
