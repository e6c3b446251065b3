//! What a proxy knows of its target, shared by all who dial.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::budget::ApiBudget;
use super::member::{Address, Member};
use super::membership::{Change, Membership, Writer};
use super::names::{self, Kind};
use super::order::{self, Candidates};
use super::trust::Rules;
use super::view::View;
use crate::clock::Clock;
use crate::config::{Config, HostPattern, Instance};
use crate::engine::{Flavour, Survey};
use crate::event::{Event, Events};
use crate::random;

/// What the configuration says of the target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
    /// The cluster's or instance's identifier is configured in the host's place.
    pub(crate) by_id: bool,
    pub(crate) instances: Vec<Instance>,
    pub(crate) pattern: Option<HostPattern>,
    pub(crate) via_proxy: bool,
    pub(crate) watch_interval: Duration,
}

impl Target {
    /// `port` is the engine's.
    pub(crate) fn new(config: &Config, port: u16) -> Self {
        Self {
            host: config.host.clone(),
            port: config.port.unwrap_or(port),
            by_id: config.cluster.is_some() || config.instance.is_some(),
            instances: config.instances.clone(),
            pattern: config.instance_host_pattern.as_deref().and_then(HostPattern::parse),
            via_proxy: config.via_proxy(),
            watch_interval: config.watch_interval(),
        }
    }
}

/// The one picture of a proxy's target. Never locked across an await.
#[derive(Debug)]
pub(crate) struct Topology {
    by_id: bool,
    has_members: bool,
    pattern: Option<HostPattern>,
    via_proxy: bool,
    state: Mutex<State>,
    clock: Clock,
    events: Events,
    #[cfg(feature = "rds-api")]
    watch: Option<super::watch::Watch>,
}

#[derive(Debug)]
struct State {
    membership: Membership,
    budget: ApiBudget,
    rules: Rules,
}

impl Topology {
    pub(crate) fn new(target: Target, clock: Clock, events: Events) -> Self {
        let budget = ApiBudget::new(target.watch_interval, clock.now(), random::generator());
        let has_members = !target.instances.is_empty();
        let rules = Rules { port: target.port, pattern: target.pattern.clone(), target: None };
        let membership = Membership::given(target.instances);
        let this = Self {
            by_id: target.by_id,
            has_members,
            pattern: target.pattern,
            via_proxy: target.via_proxy,
            state: Mutex::new(State { membership, budget, rules }),
            clock,
            events,
            #[cfg(feature = "rds-api")]
            watch: None,
        };
        if let Some(host) = target.host {
            this.aim(&Address::new(host, target.port));
        }
        this
    }

    /// The target's own address, when it becomes known late: from the secret, or from the API.
    pub(crate) fn aim(&self, target: &Address) {
        let mut state = self.state();
        if state.rules.target.as_ref().is_some_and(|known| known.is(target)) {
            return;
        }
        let pattern = self.pattern.clone().or_else(|| names::implied_pattern(&target.host));
        state.rules = Rules { port: target.port, pattern, target: Some(target.clone()) };
    }

    /// The first login was here: that is the target, where nothing else has said so.
    pub(crate) fn aim_first(&self, at: &Address) {
        if self.state().rules.target.is_none() {
            self.aim(at);
        }
    }

    /// Whether there is anybody to ask but the target.
    pub(crate) fn has_others(&self) -> bool {
        !self.state().membership.members().is_empty()
    }

    /// What the server that was dialled at `at` said.
    pub(crate) fn learn(&self, at: &Address, survey: &Survey) -> Change {
        let now = self.clock.now();
        let (change, ignored) = {
            let State { membership, budget, rules } = &mut *self.state();
            let change = membership.learn(at, survey, rules);
            if !survey.is_reader {
                budget.settle();
                if let Some(sessions) = survey.sessions {
                    budget.count(sessions, now);
                }
            }
            (change, membership.take_ignored())
        };
        // Observers are the application's: they are not called under the lock.
        for claim in ignored {
            let claim = claim.escape_debug().to_string();
            self.events.emit(&Event::ClaimIgnored { host: at.to_string(), claim });
        }
        change
    }

    /// The writer is in doubt: its proof no longer counts, and the API may be asked a little earlier.
    pub(crate) fn suspect(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        state.membership.suspect();
        state.budget.suspect(now);
    }

    /// The proven writer, or the one that all claims agree on.
    pub(crate) fn writer(&self) -> Option<Writer> {
        let state = self.state();
        state.membership.writer(state.rules.port)
    }

    /// All members but the writer, where to dial them.
    pub(crate) fn readers(&self) -> Vec<Address> {
        let state = self.state();
        let port = state.rules.port;
        let writer = state.membership.writer(port);
        let is_writer = |member: &Member| {
            writer.as_ref().is_some_and(|writer| match &writer.id {
                Some(id) => *id == member.id,
                None => writer.address.is(&member.address(port)),
            })
        };
        let readers = state.membership.members().iter().filter(|member| !is_writer(member));
        readers.map(|member| member.address(port)).collect()
    }

    /// Whom to ask for the writer, the likeliest first.
    pub(crate) fn candidates(&self) -> Candidates {
        let state = self.state();
        let endpoint = state.rules.target.as_ref().map(|target| {
            // The readers' name does not lead to the writer; its sibling does.
            let host = names::writer_endpoint(&target.host).unwrap_or_else(|| target.host.clone());
            Address::new(host, target.port)
        });
        order::candidates(&state.membership, endpoint.as_ref(), state.rules.port)
    }

    /// How often another writer was proven.
    pub(crate) fn epoch(&self) -> u64 {
        self.state().membership.epoch()
    }

    pub(crate) fn flavour(&self) -> Flavour {
        self.state().membership.flavour()
    }

    /// Whether the target may be a cluster, so that a survey at connect is worth a round trip.
    pub(crate) fn is_cluster_like(&self) -> bool {
        if self.via_proxy {
            return false;
        }
        if self.has_members || self.pattern.is_some() {
            return true;
        }
        let state = self.state();
        match (state.membership.flavour(), &state.rules.target) {
            (Flavour::Aurora | Flavour::MultiAzCluster, _) => true,
            // The servers tell of nobody; the API may.
            (Flavour::Plain, _) => self.is_watched(),
            (Flavour::Unknown, None) => self.by_id,
            (Flavour::Unknown, Some(target)) => match names::kind(&target.host) {
                Kind::ClusterWriter | Kind::ClusterReader | Kind::GlobalWriter | Kind::Custom | Kind::Instance => true,
                Kind::Proxy => false,
                Kind::Other => self.by_id,
            },
        }
    }

    #[cfg(feature = "rds-api")]
    fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    #[cfg(not(feature = "rds-api"))]
    fn is_watched(&self) -> bool {
        false
    }

    /// What the RDS API said.
    pub(crate) fn hear(&self, view: &View) -> Change {
        let is_aimed = self.state().rules.target.is_some();
        if let (Some(endpoint), false) = (&view.endpoint, is_aimed) {
            self.aim(endpoint);
        }
        let State { membership, rules, .. } = &mut *self.state();
        membership.hear(view, rules)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "rds-api")]
mod watching {
    use super::Topology;
    use crate::aws::Aws;
    use crate::deadline::Deadline;
    use crate::event::Event;
    use crate::topology::budget::Advice;
    use crate::topology::membership::Change;
    use crate::topology::names;
    use crate::topology::watch::{Blind, Watch};

    /// What became of a look at the RDS API.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Watched {
        /// There is no cluster to ask for, or it is not this environment's turn.
        NotNow,
        /// A survey on the writer first: the fleet has to be counted again.
        CountFirst,
        /// It was asked, and did not say.
        Blind,
        /// It was asked.
        Heard(Change),
    }

    impl Topology {
        /// With the RDS API as a source: for the configured cluster, or the one that the target's name tells.
        pub(crate) fn watched(mut self, cluster: Option<&str>, aws: &Aws) -> Self {
            let by_name =
                self.state().rules.target.as_ref().and_then(|at| names::cluster_id(&at.host).map(str::to_owned));
            let cluster = cluster.map(str::to_owned).or(by_name).filter(|_| !self.via_proxy);
            self.watch = cluster.map(|cluster| Watch::new(cluster, aws.clone()));
            self
        }

        /// Asks the RDS API when it is this environment's turn, within `deadline`. `can_count`: there is a connection to
        /// the writer that can be surveyed.
        ///
        /// # Cancel safety
        /// The turn is spent.
        pub(crate) async fn watch(&self, can_count: bool, deadline: Deadline) -> Watched {
            let Some(watch) = &self.watch else { return Watched::NotNow };
            let advice = self.state().budget.advise(can_count, self.clock.now());
            match advice {
                Advice::Wait => return Watched::NotNow,
                Advice::Count => return Watched::CountFirst,
                Advice::Ask => {}
            }
            let looked = watch.look(|id| self.state().membership.member(id).is_some(), deadline).await;
            match looked {
                Ok(view) => {
                    self.state().budget.answered();
                    Watched::Heard(self.hear(&view))
                }
                Err(Blind { problem, error }) => {
                    let given_up = self.state().budget.failed(problem, self.clock.now());
                    if given_up {
                        let cluster = watch.cluster().to_owned();
                        self.events.emit(&Event::WatchGivenUp { cluster, problem, error });
                    }
                    Watched::Blind
                }
            }
        }
    }
}

#[cfg(feature = "rds-api")]
pub(crate) use watching::Watched;

#[cfg(test)]
mod tests;
