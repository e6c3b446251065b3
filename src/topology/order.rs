//! Whom a hunt asks first.
//!
//! The last writer comes first: most suspicions are a cut connection and not a failover. Then whoever is claimed to be
//! the writer, then the rest as RDS itself promotes, by tier. A last writer that has called itself a reader since is the
//! one that just lost the role, and comes last.

use super::member::{Address, Member, Role};
use super::membership::Membership;

/// Somebody to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Missing where only an endpoint is known.
    pub(crate) id: Option<String>,
    pub(crate) address: Address,
}

/// Whom to ask, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    /// The likeliest first.
    pub(crate) members: Vec<Candidate>,
    /// By fresh DNS, beside the members and not among them.
    pub(crate) endpoint: Option<Address>,
}

/// `endpoint` follows the writer, or is all that is known; `port` is that of members without one.
pub(crate) fn candidates(membership: &Membership, endpoint: Option<&Address>, port: u16) -> Candidates {
    let last = membership.last();
    let is_last = |member: &Member| {
        last.is_some_and(|last| match &last.id {
            Some(id) => *id == member.id,
            None => last.address.is(&member.address(port)),
        })
    };
    let claimed: Vec<&str> = membership.claimed().collect();
    let rank = |member: &Member| match (is_last(member), member.role) {
        (true, Role::Reader) => 3,
        (true, _) => 0,
        (false, _) if claimed.contains(&member.id.as_str()) => 1,
        (false, _) => 2,
    };
    let mut ranked: Vec<&Member> = membership.members().iter().collect();
    ranked.sort_by_key(|member| {
        // What is not known comes after what is.
        let (tier, lag) = (member.tier.map_or(u16::MAX, u16::from), member.lag.unwrap_or(std::time::Duration::MAX));
        (rank(member), tier, lag, &member.id)
    });
    let mut members: Vec<Candidate> = Vec::with_capacity(ranked.len() + 1);
    for member in ranked {
        let candidate = Candidate { id: Some(member.id.clone()), address: member.address(port) };
        if !members.iter().any(|other| other.address.is(&candidate.address)) {
            members.push(candidate);
        }
    }
    if let Some(last) = last
        && !members.iter().any(|other| other.address.is(&last.address) || (other.id.is_some() && other.id == last.id))
        && !endpoint.is_some_and(|endpoint| endpoint.is(&last.address))
    {
        // It was reached there, whoever it is: by a name of its own, or one that the secret brought.
        members.insert(0, Candidate { id: last.id.clone(), address: last.address.clone() });
    }
    let endpoint = endpoint.filter(|endpoint| !members.iter().any(|member| member.address.is(endpoint)));
    Candidates { members, endpoint: endpoint.cloned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Flavour, Sighting, Survey};
    use crate::topology::trust::Rules;
    use crate::topology::view::{Listed, View};

    const PORT: u16 = 5432;

    fn rules() -> Rules {
        Rules { port: PORT, ..Rules::default() }
    }

    fn at(id: &str) -> Address {
        Address::new(format!("{id}.internal"), PORT)
    }

    fn view(members: &[(&str, Option<u8>)]) -> View {
        let listed = |(id, tier): &(&str, Option<u8>)| Listed {
            id: (*id).to_owned(),
            address: Some(at(id)),
            writer: false,
            tier: *tier,
        };
        View { members: members.iter().map(listed).collect(), ..View::default() }
    }

    fn says(me: &str, is_reader: bool, writer: Option<&str>) -> Survey {
        let seen = |id: &str, writer| Sighting { id: id.to_owned(), writer, ..Sighting::default() };
        let sightings = ["a", "b", "c", "d"].map(|id| seen(id, writer == Some(id)));
        let me = Some(me.to_owned());
        Survey { is_reader, flavour: Flavour::Aurora, me, sightings: sightings.into(), ..Survey::default() }
    }

    fn order(membership: &Membership) -> String {
        let members = candidates(membership, None, PORT).members;
        members.into_iter().map(|candidate| candidate.id.unwrap_or_else(|| candidate.address.to_string())).collect()
    }

    #[test]
    fn the_likeliest_come_first() {
        let by_api = [("a", Some(1)), ("b", Some(15)), ("c", Some(0)), ("d", None)];
        let known = || {
            let mut membership = Membership::default();
            membership.hear(&view(&by_api), &rules());
            membership
        };
        assert_eq!(order(&known()), "cabd", "by tier, what is not known last");

        let mut lost = known();
        lost.learn(&at("b"), &says("b", false, None), &rules());
        lost.suspect();
        assert_eq!(order(&lost), "bcad", "most often it is only the connection");

        lost.learn(&at("c"), &says("c", true, Some("d")), &rules());
        assert_eq!(order(&lost), "bdca", "then whom somebody takes for the writer");

        lost.learn(&at("b"), &says("b", true, Some("d")), &rules());
        assert_eq!(order(&lost), "dcab", "who has just lost the role comes last");
    }

    #[test]
    fn an_endpoint_is_asked_beside_the_members_and_once() {
        let mut membership = Membership::default();
        let endpoint = Address::new("shop.example.com", PORT);
        let only = candidates(&membership, Some(&endpoint), PORT);
        assert_eq!((only.members.len(), only.endpoint), (0, Some(endpoint.clone())));

        membership.hear(&view(&[("a", None)]), &rules());
        let both = candidates(&membership, Some(&endpoint), PORT);
        assert_eq!((both.members.len(), both.endpoint), (1, Some(endpoint)));
        let same = candidates(&membership, Some(&at("A")), PORT);
        assert_eq!((same.members.len(), same.endpoint), (1, None), "the target is a member");
    }

    #[test]
    fn a_writer_that_is_no_member_is_asked_where_it_was() {
        let mut membership = Membership::given(vec![("a".to_owned(), "a.internal".to_owned(), PORT)]);
        let alone = Survey { flavour: Flavour::Plain, ..Survey::default() };
        membership.learn(&at("elsewhere"), &alone, &rules());
        assert_eq!(order(&membership), "elsewhere.internal:5432a");
    }
}
