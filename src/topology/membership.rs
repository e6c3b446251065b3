//! Who is there, who is the writer, and how often that has changed: all sources in one picture.
//!
//! Why merge, and not just believe the newest? The sources differ in what they can know. Only the server itself, on a
//! connection to it, can prove that it is the writer. What a reader says of its neighbours is seconds old, or older when
//! its network is cut; the RDS API lags by an unknown span; a name lags by its TTL and by whoever caches it. So a proof
//! beats every claim, claims only say where to look first, and claims that disagree are all looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::member::{Address, Member, Role, Source};
use super::names;
use super::trust::{MOST_MEMBERS, Rules, is_identifier};
use super::view::View;
use crate::config::{HostPattern, Instance};
use crate::engine::{Flavour, Sighting, Survey};

/// What one more piece of news changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Members have come, gone or moved.
    Members,
    /// Somebody claims another writer than the proven one. The proof stands, and is worth a look.
    Doubt,
    /// The writer that was proven says that it is none. Who is, is not known.
    Demoted,
    /// A writer is proven: the first, or the same as before.
    Found,
    /// Another writer than before is proven, and the epoch has moved.
    Moved,
}

/// Who is the writer, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) id: Option<String>,
    pub(crate) address: Address,
    /// It said so itself, and nothing has spoken against it since.
    pub(crate) proven: bool,
}

impl Writer {
    /// Identifiers decide where both are known: one server has several names.
    fn is(&self, id: Option<&str>, address: &Address) -> bool {
        match (self.id.as_deref(), id) {
            (Some(own), Some(other)) => own == other,
            _ => self.address.is(address),
        }
    }
}

/// Whose claim it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Viewer {
    Api,
    Server(String),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Membership {
    members: Vec<Member>,
    flavour: Flavour,
    /// The last proven writer; the proof may be in doubt.
    last: Option<Writer>,
    /// Whom each viewer takes for the writer, since the last proof.
    claims: BTreeMap<Viewer, BTreeSet<String>>,
    epoch: u64,
    /// What servers have named and nobody vouches for: each once, and no more than would be kept.
    ignored: BTreeSet<String>,
    /// Those of them that nobody has been told of.
    unreported: Vec<String>,
}

impl Membership {
    pub(crate) fn given(instances: Vec<Instance>) -> Self {
        let member = |(id, host, port): Instance| Member {
            id: id.to_ascii_lowercase(),
            host,
            port: Some(port),
            tier: None,
            lag: None,
            role: Role::Unknown,
            source: Source::Given,
        };
        Self { members: instances.into_iter().map(member).collect(), ..Self::default() }
    }

    /// What the server at `at` said, on a connection to it.
    pub(crate) fn learn(&mut self, at: &Address, survey: &Survey, rules: &Rules) -> Change {
        if survey.flavour != Flavour::Unknown {
            self.flavour = survey.flavour;
        }
        let before = self.outline(rules.port);
        let survey = &self.believed(survey, rules);
        let me = self.me(at, survey, rules.port);
        if !survey.is_reader && !survey.sightings.is_empty() {
            let seen: Vec<String> =
                survey.sightings.iter().map(|sighting| self.identifier(sighting, rules.port)).collect();
            self.members.retain(|member| {
                member.source == Source::Given || seen.contains(&member.id) || me.as_ref() == Some(&member.id)
            });
        }
        for sighting in &survey.sightings {
            self.sight(sighting, rules);
        }
        self.note_role(me.as_deref(), survey.is_reader);
        let change = match survey.is_reader {
            false => self.prove(me, at),
            true => self.refute(me, at, survey, rules.port),
        };
        match change {
            Change::None if self.outline(rules.port) != before => Change::Members,
            change => change,
        }
    }

    /// What a server said, without the members whose addresses nobody vouches for.
    fn believed(&mut self, survey: &Survey, rules: &Rules) -> Survey {
        let mut believed = Survey { sightings: Vec::new(), ..survey.clone() };
        for sighting in &survey.sightings {
            let port = sighting.port.unwrap_or(rules.port);
            if believed.sightings.len() == MOST_MEMBERS {
                self.ignore(format!("more than {MOST_MEMBERS} members"));
                break;
            }
            let makes_an_address = |pattern: &HostPattern| pattern.makes_an_address(&sighting.id);
            if !is_identifier(&sighting.id) || rules.pattern.as_ref().is_some_and(makes_an_address) {
                let id: String = sighting.id.chars().take(80).collect();
                self.ignore(format!("a member with the identifier {id:?}"));
            } else if let Some(host) = sighting.host.as_deref().filter(|host| !host.is_empty())
                && !self.is_vouched_for(host, sighting.port, rules)
            {
                self.ignore(format!("the member {} at {host:.255}:{port}", sighting.id));
            } else {
                believed.sightings.push(sighting.clone());
            }
        }
        if let Some(claim) = survey.ignored {
            self.ignore(claim.to_owned());
        }
        believed.me = believed.me.filter(|me| is_identifier(me));
        believed
    }

    /// Whether the configuration, the target's domain, a given member or the RDS API knows this address as well.
    fn is_vouched_for(&self, host: &str, port: Option<u16>, rules: &Rules) -> bool {
        let address = Address::new(host, port.unwrap_or(rules.port));
        rules.vouch_for(host, port) || self.members.iter().any(|member| member.address(rules.port).is(&address))
    }

    fn ignore(&mut self, claim: String) {
        if self.ignored.len() < MOST_MEMBERS && self.ignored.insert(claim.clone()) {
            self.unreported.push(claim);
        }
    }

    /// What was ignored since the last call.
    pub(crate) fn take_ignored(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unreported)
    }

    /// What the RDS API said.
    pub(crate) fn hear(&mut self, view: &View, rules: &Rules) -> Change {
        let before = self.outline(rules.port);
        if self.flavour == Flavour::Unknown {
            self.flavour = view.flavour;
        }
        self.members
            .retain(|member| member.source != Source::Api || view.members.iter().any(|listed| listed.id == member.id));
        for listed in &view.members {
            let address = listed.address.as_ref().map(|address| (address.host.clone(), Some(address.port)));
            let implied = || rules.pattern.as_ref().map(|pattern| pattern.host_of(&listed.id));
            let member = self.upsert(&listed.id, address, implied, Source::Api);
            if let Some(member) = member {
                member.tier = listed.tier.or(member.tier);
            }
        }
        let writers = view.members.iter().filter(|listed| listed.writer).map(|listed| listed.id.clone());
        match self.claim(Viewer::Api, writers.collect()) {
            Change::None if self.outline(rules.port) != before => Change::Members,
            change => change,
        }
    }

    /// The proof no longer counts: something has happened since.
    pub(crate) fn suspect(&mut self) {
        if let Some(last) = &mut self.last {
            last.proven = false;
        }
    }

    /// The proven writer, or else the one that all claims agree on.
    pub(crate) fn writer(&self, port: u16) -> Option<Writer> {
        if let Some(last) = self.last.as_ref().filter(|last| last.proven) {
            return Some(last.clone());
        }
        let mut claimed = self.claimed();
        let (Some(id), None) = (claimed.next(), claimed.next()) else { return None };
        let member = self.member(id).filter(|member| member.role != Role::Reader)?;
        Some(Writer { id: Some(member.id.clone()), address: member.address(port), proven: false })
    }

    /// The last writer that was proven, in doubt or not.
    pub(crate) fn last(&self) -> Option<&Writer> {
        self.last.as_ref()
    }

    /// Whom anybody takes for the writer, once each.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = &str> {
        self.claims.values().flatten().map(String::as_str).collect::<BTreeSet<_>>().into_iter()
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    pub(crate) fn flavour(&self) -> Flavour {
        self.flavour
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A Multi-AZ cluster's servers call each other by resource ids, or by numbers. Everybody else uses the identifiers that
    /// their hosts' names begin with, or those that were given with the same addresses.
    fn identifier(&self, sighting: &Sighting, port: u16) -> String {
        let by_host = sighting.host.as_deref().and_then(names::instance_id);
        let given = |host: &String| {
            let address = Address::new(host.clone(), sighting.port.unwrap_or(port));
            let mut given = self.members.iter().filter(|member| member.source == Source::Given);
            given.find(|member| member.address(port).is(&address)).map(|member| member.id.clone())
        };
        let by_host = by_host.map(str::to_ascii_lowercase);
        let by_address = || sighting.host.as_ref().and_then(given);
        by_host.or_else(by_address).unwrap_or_else(|| sighting.id.to_ascii_lowercase())
    }

    /// The identifier of the server that was asked.
    fn me(&self, at: &Address, survey: &Survey, port: u16) -> Option<String> {
        let by_sighting = || {
            let me = survey.me.as_ref()?;
            let mine = survey.sightings.iter().find(|sighting| sighting.id.eq_ignore_ascii_case(me));
            Some(mine.map_or_else(|| me.to_ascii_lowercase(), |mine| self.identifier(mine, port)))
        };
        let by_address = || self.members.iter().find(|member| member.address(port).is(at));
        by_sighting().or_else(|| by_address().map(|member| member.id.clone()))
    }

    fn sight(&mut self, sighting: &Sighting, rules: &Rules) {
        let id = self.identifier(sighting, rules.port);
        let told = sighting.host.clone().filter(|host| !host.is_empty()).map(|host| (host, sighting.port));
        // Not where it was reached: a name that leads there today may follow the writer tomorrow.
        let implied = || rules.pattern.as_ref().map(|pattern| pattern.host_of(&id));
        if let Some(member) = self.upsert(&id, told, implied, Source::Server) {
            member.lag = sighting.lag;
        }
    }

    /// Adds a member, or what is newly known of it. One without any address stays out.
    fn upsert(
        &mut self,
        id: &str,
        told: Option<(String, Option<u16>)>,
        implied: impl FnOnce() -> Option<(String, Option<u16>)>,
        source: Source,
    ) -> Option<&mut Member> {
        let index = self.members.iter().position(|member| member.id == id);
        if let Some(index) = index {
            let member = &mut self.members[index];
            if let (Some((host, port)), true) = (told, member.source != Source::Given) {
                (member.host, member.port) = (host, port.or(member.port));
            }
            member.source = member.source.max(source);
            return Some(member);
        }
        let (host, port) = told.or_else(implied).filter(|_| self.members.len() < MOST_MEMBERS)?;
        let role = Role::Unknown;
        self.members.push(Member { id: id.to_owned(), host, port, tier: None, lag: None, role, source });
        self.members.last_mut()
    }

    fn note_role(&mut self, me: Option<&str>, is_reader: bool) {
        for member in &mut self.members {
            if me == Some(member.id.as_str()) {
                member.role = if is_reader { Role::Reader } else { Role::Writer };
            } else if !is_reader && member.role == Role::Writer {
                member.role = Role::Unknown;
            }
        }
    }

    fn prove(&mut self, me: Option<String>, at: &Address) -> Change {
        self.claims.clear();
        let change = match &self.last {
            None => Change::Found,
            Some(last) if !last.is(me.as_deref(), at) => Change::Moved,
            Some(last) if !last.proven => Change::Found,
            Some(_) => Change::None,
        };
        if change == Change::Moved {
            self.epoch += 1;
        }
        // An identifier once known is not lost to a look that could not ask for it.
        let known = self.last.take().filter(|_| change != Change::Moved).and_then(|last| last.id);
        self.last = Some(Writer { id: me.or(known), address: at.clone(), proven: true });
        change
    }

    fn refute(&mut self, me: Option<String>, at: &Address, survey: &Survey, port: u16) -> Change {
        let refuted = self.last.as_ref().is_some_and(|last| last.proven && last.is(me.as_deref(), at));
        if refuted {
            self.suspect();
        }
        let writers = survey.sightings.iter().filter(|sighting| sighting.writer);
        let writers = writers.map(|sighting| self.identifier(sighting, port)).collect();
        let viewer = Viewer::Server(me.unwrap_or_else(|| at.to_string()));
        let claimed = self.claim(viewer, writers);
        if refuted { Change::Demoted } else { claimed }
    }

    fn claim(&mut self, viewer: Viewer, writers: BTreeSet<String>) -> Change {
        let proven = self.last.as_ref().filter(|last| last.proven).and_then(|last| last.id.as_ref());
        let is_contradiction = proven.is_some_and(|proven| writers.iter().any(|writer| writer != proven));
        if writers.is_empty() {
            self.claims.remove(&viewer);
        } else {
            self.claims.insert(viewer, writers);
        }
        if is_contradiction { Change::Doubt } else { Change::None }
    }

    /// What counts as a change of the members.
    fn outline(&self, port: u16) -> Vec<(String, Address, Option<u8>)> {
        self.members.iter().map(|member| (member.id.clone(), member.address(port), member.tier)).collect()
    }
}

#[cfg(test)]
mod tests;
