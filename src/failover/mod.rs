//! Who the writer is, what to do when it is lost, and what became of the statement that noticed.
//!
//! [`Failover`] stands between the pool and the connector: the pool asks it for connections, and gets one to the proven
//! writer. `belief` is how far the writer is known, `connect` what the pool asks, `retry_policy` judges a failed statement, `search`
//! is the way to the writer and `reader` the one to its readers, `hunt` asks all candidates, `monitor` tells a silent host from a
//! busy one by `liveness`, `watch` looks at the members in between. `belief` and `retry_policy` are pure; `hunt` and `monitor` are
//! generic over who goes and asks.
//!
//! A suspicion makes every connection doubtful: it is asked for its server's role before it is lent again. Only when a
//! connection has to be dialled is there a search, one for all who wait.

mod belief;
mod connect;
mod hunt;
mod liveness;
mod monitor;
mod reader;
mod retry_policy;
mod search;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::clock::{Clock, Moment};
use crate::connector::{Connector, Peer, Proof, Wire};
use crate::engine::{Engine, Flavour, OwnLimits, Survey, without_panic};
use crate::error::{Answer, Error, chain, timed_out};
use crate::event::{Event, Events};
use crate::topology::{Address, Candidates, Change, Topology};

use self::belief::Belief;
use self::liveness::LivenessProbe;
use self::monitor::HostMonitor;

pub(crate) use self::hunt::Told;
pub(crate) use self::reader::Readers;
pub(crate) use self::retry_policy::{Verdict, Work, ended, judge};

/// A look is one round trip, two the first time.
const LOOK_BOUND: Duration = Duration::from_millis(500);

/// The first login of a cold environment, whose processor may be a small share of one.
const FIRST_BOUND: Duration = Duration::from_secs(1);

/// How long things may take, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spans {
    /// The search for a new writer.
    pub(crate) failover: Duration,
    /// The restart of a server that is alone.
    pub(crate) restart: Duration,
    /// Between two looks at the neighbours.
    pub(crate) watch: Duration,
}

/// The way to the writer, or to its readers.
pub(crate) struct Failover<DB: Engine> {
    connector: Arc<Connector<DB>>,
    topology: Arc<Topology>,
    monitor: Arc<HostMonitor<LivenessProbe<DB>>>,
    /// What is wanted are readers.
    readers: Option<Readers>,
    spans: Spans,
    clock: Clock,
    events: Events,
    /// How far the writer is known, and which connections are proven.
    belief: Belief,
    searching: AtomicUsize,
    /// Attempts at a server that is alone and does not answer.
    persisting: AtomicUsize,
    /// Held by the one who searches: when the last search failed, and what everybody said.
    turn: tokio::sync::Mutex<Option<(Instant, Vec<Answer>)>>,
    /// Whether the server is the only one to have a limit.
    own_limits: Mutex<OwnLimits>,
    /// What the search under way has heard so far, for those who cannot wait for its end.
    heard: Mutex<Vec<Answer>>,
}

impl<DB: Engine> Failover<DB> {
    pub(crate) fn new(
        connector: Arc<Connector<DB>>,
        topology: Arc<Topology>,
        spans: Spans,
        clock: Clock,
        events: Events,
    ) -> Self {
        let monitor = Arc::new(HostMonitor::new(LivenessProbe::new(Arc::clone(&connector))));
        Self {
            connector,
            topology,
            monitor,
            readers: None,
            spans,
            clock,
            events,
            belief: Belief::new(),
            searching: AtomicUsize::new(0),
            persisting: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            own_limits: Mutex::default(),
            heard: Mutex::default(),
        }
    }

    /// The way to the readers of the same target.
    pub(crate) fn to_readers(&self, readers: Readers) -> Self {
        let (connector, topology) = (Arc::clone(&self.connector), Arc::clone(&self.topology));
        let mut way = Self::new(connector, topology, self.spans, self.clock.clone(), self.events.clone());
        way.monitor = Arc::clone(&self.monitor);
        way.belief = self.belief.of_readers();
        way.readers = Some(readers);
        way
    }

    pub(crate) fn connector(&self) -> &Arc<Connector<DB>> {
        &self.connector
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.belief.epoch()
    }

    /// `host:port` of the proven writer, or else of the last login.
    pub(crate) fn writer(&self) -> Option<String> {
        let proven = self.topology.writer().filter(|writer| writer.proven);
        proven.map(|writer| writer.address.to_string()).or_else(|| self.connector.last_login())
    }

    /// `work` of the driver on a connection to `host`, unless that turns out to be gone. A panic of the driver is an error.
    ///
    /// # Cancel safety
    /// As `work`.
    pub(crate) fn attend<'a, T>(
        &'a self,
        host: Option<&'a Peer>,
        work: impl Future<Output = Result<T, sqlx::Error>> + 'a,
    ) -> impl Future<Output = Result<T, sqlx::Error>> {
        self.attend_until(None, host, work)
    }

    /// As [`attend`](Self::attend), but for statements of the application: [`TimeToCancel`](crate::deadline::TimeToCancel)
    /// when the alarm rings.
    ///
    /// # Cancel safety
    /// As `work`.
    pub(crate) fn attend_until<'a, T>(
        &'a self,
        alarm: Option<Instant>,
        host: Option<&'a Peer>,
        work: impl Future<Output = Result<T, sqlx::Error>> + 'a,
    ) -> impl Future<Output = Result<T, sqlx::Error>> {
        self.monitor.attend(host, alarm, None, without_panic(work))
    }

    /// As [`attend_until`](Self::attend_until), for an answer of many parts: `heard` is set with each of them.
    ///
    /// # Cancel safety
    /// As `work`.
    pub(crate) fn attend_answer<'a, T>(
        &'a self,
        alarm: Option<Instant>,
        host: Option<&'a Peer>,
        heard: &'a AtomicBool,
        work: impl Future<Output = Result<T, sqlx::Error>> + 'a,
    ) -> impl Future<Output = Result<T, sqlx::Error>> {
        self.monitor.attend(host, alarm, Some(heard), without_panic(work))
    }

    /// A connection was lost in use, or its server refused to write. Old news is none: a connection that was proven
    /// before the last suspicion says nothing about what was proven since.
    pub(crate) fn suspect(&self, proof: Proof, host: &Address, error: &str) {
        if !self.belief.is_current(proof) || !self.has_roles() {
            return;
        }
        match &self.readers {
            None => self.doubt(host, error),
            Some(readers) => {
                // The writer is not in doubt for that; the other connections to this reader may be.
                readers.failed(host);
                self.belief.doubt_connections();
            }
        }
    }

    fn doubt(&self, host: &Address, error: &str) {
        self.topology.suspect();
        self.belief.doubt();
        self.events.emit(&Event::Suspected { host: host.to_string(), error: error.to_owned() });
    }

    /// Behind a pooler, and where the target is a reader on its own, there is no writer to look for.
    fn has_roles(&self) -> bool {
        !self.connector.via_proxy() && !self.belief.is_solitary()
    }

    /// Asks a server at rest for its role and its neighbours. What it says without being asked for is bounded by the
    /// survey; that the neighbours cannot be asked for is an event, and no error.
    ///
    /// # Errors
    /// It does not answer, or does not say its role. Nothing is known then of what is still on its way.
    pub(crate) async fn look(&self, wire: &mut Wire<DB>) -> Result<Told, Error> {
        let looked = self.look_within_bound(wire).await;
        // One look that fails is not repeated on the same connection.
        wire.looked = Some(self.clock.now());
        let failure = match &looked {
            Ok(survey) => survey.failed.clone(),
            Err(error) => Some(chain(error)),
        };
        if let Some(error) = failure {
            self.events.emit(&Event::LookFailed { host: wire.at.to_string(), error });
        }
        let survey = looked?;
        match self.topology.learn(&wire.at, &survey) {
            // This server is no writer any more, or it names another one.
            Change::Demoted | Change::Doubt if self.readers.is_none() && !self.belief.is_in_doubt() => {
                self.doubt(&wire.at, "the cluster shows another writer");
            }
            _ => {}
        }
        Ok(if survey.is_reader { Told::Reader } else { Told::Writer })
    }

    async fn look_within_bound(&self, wire: &mut Wire<DB>) -> Result<Survey, Error> {
        loop {
            let before = self.topology.epoch();
            let looked = timeout(LOOK_BOUND, DB::survey(&mut wire.driver, self.topology.flavour())).await;
            let survey = looked.unwrap_or_else(|_| Err(timed_out())).map_err(Error::Database)?;
            // What it said before another was proven, and was heard after, is no proof: a freeze may lie in between.
            if survey.is_reader || self.topology.epoch() == before {
                return Ok(survey);
            }
        }
    }

    /// The role that is wanted.
    fn wanted(&self) -> Told {
        if self.readers.is_some() { Told::Reader } else { Told::Writer }
    }

    /// Whether a refusal to write says anything about the server: a reader's sessions are read-only by themselves.
    pub(crate) fn expects_writes(&self) -> bool {
        self.readers.is_none()
    }

    /// The connection leads to where it should.
    fn proven(&self, wire: &mut Wire<DB>) {
        wire.proof = self.belief.prove(self.topology.epoch());
    }

    /// What was not worth a round trip at connect: looks once, when a second session uses the connection.
    pub(crate) fn wants_a_look(&self, wire: &Wire<DB>) -> bool {
        wire.looked.is_none()
            && wire.carried.was_shared()
            && self.topology.flavour() == Flavour::Unknown
            && self.has_roles()
    }

    /// Whether it is time to look at the neighbours again, on a connection that is asked anyway.
    fn is_due(&self, looked: Option<Moment>) -> bool {
        let now = self.clock.now();
        self.topology.is_cluster_like() && looked.is_none_or(|looked| now.since(looked) >= self.spans.watch)
    }

    /// There is nobody to fail over to, nor anybody who would tell of others.
    fn has_no_peers(&self) -> bool {
        !self.topology.has_others() && !self.topology.is_cluster_like()
    }

    /// Nobody else is known, and the target has never been a writer.
    fn is_only_server(&self, at: &Address) -> bool {
        let Candidates { members, endpoint } = self.topology.candidates();
        let others = members.iter().map(|member| &member.address).chain(&endpoint).any(|other| !other.is(at));
        !others && !self.belief.is_established() && self.topology.flavour() == Flavour::Plain
    }

    /// Whether an attempt that failed so may have met a failover.
    fn is_worth_a_search(&self, error: &Error) -> bool {
        let may_pass = matches!(
            error,
            Error::Unreachable { .. }
                | Error::Dns { .. }
                | Error::NotReady { .. }
                | Error::Connect { .. }
                | Error::ReadOnly { .. }
                | Error::Database(_)
        );
        let somebody = self.belief.is_established() || self.topology.has_others();
        may_pass && somebody && self.has_roles()
    }

    fn own_limits(&self) -> MutexGuard<'_, OwnLimits> {
        self.own_limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changed_role(at: &Address, told: Told) -> Error {
    let role = if told == Told::Reader { "a reader" } else { "the writer" };
    let message = format!("{at} is {role}");
    Error::Database(sqlx::Error::Protocol(message))
}
