use std::time::Duration;

use super::*;
use crate::topology::view::Listed;

const PORT: u16 = 5432;

fn rules() -> Rules {
    let cluster = "shop.cluster-abc.eu-central-1.rds.amazonaws.com";
    Rules { port: PORT, pattern: names::implied_pattern(cluster), target: Some(Address::new(cluster, PORT)) }
}

fn host(id: &str) -> String {
    format!("{id}.abc.eu-central-1.rds.amazonaws.com")
}

fn at(id: &str) -> Address {
    Address::new(host(id), PORT)
}

fn endpoint() -> Address {
    Address::new("shop.cluster-abc.eu-central-1.rds.amazonaws.com", PORT)
}

/// What an Aurora member says: `*` marks whom it takes for the writer.
fn says(me: &str, is_reader: bool, members: &[&str]) -> Survey {
    let sighting = |text: &&str| Sighting {
        id: text.trim_start_matches('*').to_owned(),
        writer: text.starts_with('*'),
        lag: Some(Duration::from_millis(12)),
        ..Sighting::default()
    };
    Survey {
        is_reader,
        flavour: Flavour::Aurora,
        me: Some(me.to_owned()),
        sightings: members.iter().map(sighting).collect(),
        ..Survey::default()
    }
}

fn api(members: &[&str]) -> View {
    let listed = |(n, text): (usize, &&str)| {
        let id = text.trim_start_matches('*').to_owned();
        let address = Some(at(&id));
        Listed { id, address, writer: text.starts_with('*'), tier: u8::try_from(n).ok() }
    };
    View { flavour: Flavour::Aurora, members: members.iter().enumerate().map(listed).collect(), ..View::default() }
}

fn ids(membership: &Membership) -> Vec<&str> {
    let mut ids: Vec<&str> = membership.members().iter().map(|member| member.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

fn writer(membership: &Membership) -> Option<(String, bool)> {
    membership.writer(PORT).map(|writer| (writer.id.unwrap_or_else(|| writer.address.to_string()), writer.proven))
}

fn proven(id: &str) -> Option<(String, bool)> {
    Some((id.to_owned(), true))
}

fn claimed(id: &str) -> Option<(String, bool)> {
    Some((id.to_owned(), false))
}

/// The writer `a`, with `b` and `c`.
fn settled() -> Membership {
    let mut membership = Membership::default();
    assert_eq!(membership.learn(&endpoint(), &says("a", false, &["*a", "b", "c"]), &rules()), Change::Found);
    membership
}

#[test]
fn the_first_connection_of_any_kind_teaches_members_and_writer() {
    let membership = settled();
    assert_eq!((ids(&membership), writer(&membership), membership.epoch()), (vec!["a", "b", "c"], proven("a"), 0));
    assert_eq!(membership.member("b").unwrap().address(PORT), at("b"));

    let mut from_reader = Membership::default();
    assert_eq!(from_reader.learn(&at("b"), &says("b", true, &["*a", "b"]), &rules()), Change::Members);
    assert_eq!((ids(&from_reader), writer(&from_reader)), (vec!["a", "b"], claimed("a")));
}

#[test]
fn a_stale_view_never_overrides_proof() {
    let mut membership = settled();
    membership.learn(&at("b"), &says("b", false, &["a", "*b", "c"]), &rules());
    assert_eq!((writer(&membership), membership.epoch()), (proven("b"), 1));
    assert_eq!(membership.learn(&at("c"), &says("c", true, &["*a", "b", "c"]), &rules()), Change::Doubt);
    assert_eq!(membership.hear(&api(&["*a", "b", "c"]), &rules()), Change::Doubt);
    assert_eq!((writer(&membership), membership.epoch()), (proven("b"), 1), "claims are worth a look, no more");
}

#[test]
fn the_writers_own_proof_beats_its_own_view() {
    let mut membership = Membership::default();
    membership.learn(&at("b"), &says("b", false, &["*a", "b"]), &rules());
    assert_eq!(writer(&membership), proven("b"));
}

#[test]
fn of_two_claimed_writers_neither_is_believed() {
    let mut membership = Membership::default();
    membership.learn(&at("c"), &says("c", true, &["*a", "*b", "c"]), &rules());
    assert_eq!(writer(&membership), None);
    assert_eq!(membership.claimed().collect::<Vec<_>>(), ["a", "b"]);

    let mut by_two = Membership::default();
    by_two.learn(&at("c"), &says("c", true, &["*a", "b", "c"]), &rules());
    assert_eq!(writer(&by_two), claimed("a"));
    by_two.hear(&api(&["a", "*b", "c"]), &rules());
    assert_eq!(writer(&by_two), None);
    by_two.learn(&at("c"), &says("c", true, &["a", "*b", "c"]), &rules());
    assert_eq!(writer(&by_two), claimed("b"), "a viewer's new claim replaces its old one");
}

#[test]
fn a_writer_that_denies_it_is_none_whoever_claims_it() {
    let mut membership = settled();
    assert_eq!(membership.learn(&at("a"), &says("a", true, &["*a", "b", "c"]), &rules()), Change::Demoted);
    assert_eq!(writer(&membership), None);
    assert_eq!(membership.epoch(), 0, "nobody else is proven");
}

#[test]
fn the_epoch_moves_only_when_another_place_is_proven() {
    let mut membership = settled();
    let again = says("a", false, &["*a", "b", "c"]);
    assert_eq!(membership.learn(&endpoint(), &again, &rules()), Change::None);
    assert_eq!(membership.learn(&at("a"), &again, &rules()), Change::None, "one server, two names");
    membership.suspect();
    assert_eq!(writer(&membership), None);
    assert_eq!(membership.learn(&at("a"), &again, &rules()), Change::Found, "it came back");
    assert_eq!(membership.epoch(), 0);
    let other = says("b", false, &["a", "*b", "c"]);
    assert_eq!(membership.learn(&endpoint(), &other, &rules()), Change::Moved, "the same name, another server");
    assert_eq!(membership.epoch(), 1);
}

#[test]
fn who_is_not_in_the_writers_view_is_gone_unless_given() {
    let mut membership = Membership::given(vec![("B".to_owned(), "10.0.0.2".to_owned(), 6000)]);
    membership.learn(&endpoint(), &says("a", false, &["*a", "b", "c"]), &rules());
    assert_eq!(membership.member("b").unwrap().address(PORT), Address::new("10.0.0.2", 6000), "as it was given");
    assert_eq!(membership.learn(&endpoint(), &says("a", false, &["*a"]), &rules()), Change::Members);
    assert_eq!(ids(&membership), ["a", "b"]);
    assert_eq!(membership.learn(&at("b"), &says("b", true, &["*a", "b"]), &rules()), Change::None);
    membership.learn(&at("a"), &says("a", false, &["*a", "c"]), &rules());
    membership.learn(&Address::new("10.0.0.2", 6000), &says("b", true, &["b"]), &rules());
    assert_eq!(ids(&membership), ["a", "b", "c"], "a reader's partial view drops nobody");
}

#[test]
fn a_server_that_tells_of_nobody_drops_nobody() {
    let mut membership = Membership::default();
    membership.hear(&api(&["*a", "b"]), &rules());
    let alone = Survey { is_reader: false, flavour: Flavour::Plain, ..Survey::default() };
    assert_eq!(membership.learn(&at("a"), &alone, &rules()), Change::Found);
    assert_eq!((ids(&membership), writer(&membership)), (vec!["a", "b"], proven("a")), "known by its address");
    membership.hear(&api(&["*a"]), &rules());
    assert_eq!(ids(&membership), ["a"], "whom only the API vouched for goes with it");
}

#[test]
fn a_plain_server_is_its_address() {
    let mut membership = Membership::default();
    let alone = |is_reader| Survey { is_reader, flavour: Flavour::Plain, ..Survey::default() };
    let at = Address::new("db.example.com", PORT);
    membership.learn(&at, &alone(false), &rules());
    assert_eq!(writer(&membership), proven("db.example.com:5432"));
    assert_eq!(membership.learn(&at, &alone(true), &rules()), Change::Demoted);
    assert_eq!(membership.learn(&at, &alone(false), &rules()), Change::Found);
    assert_eq!((membership.epoch(), ids(&membership).len()), (0, 0));
}

#[test]
fn a_multi_az_clusters_resource_ids_are_translated() {
    let sighting = |id: &str, instance: &str, writer| Sighting {
        id: id.to_owned(),
        host: Some(host(instance)),
        port: Some(PORT),
        writer,
        lag: None,
    };
    let survey = Survey {
        is_reader: false,
        flavour: Flavour::MultiAzCluster,
        me: Some("db-AAA".to_owned()),
        sightings: vec![sighting("db-AAA", "a", true), sighting("db-BBB", "b", false)],
        ..Survey::default()
    };
    let mut membership = Membership::default();
    membership.hear(&api(&["a", "*b"]), &rules());
    assert_eq!(membership.learn(&endpoint(), &survey, &rules()), Change::Found);
    assert_eq!((ids(&membership), writer(&membership)), (vec!["a", "b"], proven("a")), "nobody is there twice");
    assert_eq!(membership.member("b").unwrap().tier, Some(1), "what only the API knows stays");
}

#[test]
fn whom_a_server_names_is_dialled_only_where_somebody_else_knows_the_address() {
    let told = |id: &str, host: &str, port| Sighting {
        id: id.to_owned(),
        host: Some(host.to_owned()),
        port: Some(port),
        ..Sighting::default()
    };
    let given = ("given".to_owned(), "10.0.0.2".to_owned(), 6000);
    let mut membership = Membership::given(vec![given]);
    membership.hear(&api(&["listed"]), &rules());
    let sightings = vec![
        told("db-A", &host("a"), PORT),
        told("db-B", &host("b"), 7777),
        told("db-C", "evil.example", PORT),
        told("db-D", "10.0.0.2", 6000),
        told("db-E", "10.0.0.2", 6001),
        told("listed", "evil.example", PORT),
        told("evil.example/", &host("f"), PORT),
    ];
    let survey = Survey { flavour: Flavour::MultiAzCluster, is_reader: true, sightings, ..Survey::default() };
    membership.learn(&at("a"), &survey, &rules());
    let addresses: Vec<_> = membership.members().iter().map(|member| member.address(PORT).to_string()).collect();
    assert_eq!(addresses, ["10.0.0.2:6000", &at("listed").to_string(), &at("a").to_string()]);
    assert_eq!(
        membership.take_ignored(),
        [
            "the member db-B at b.abc.eu-central-1.rds.amazonaws.com:7777",
            "the member db-C at evil.example:5432",
            "the member db-E at 10.0.0.2:6001",
            "the member listed at evil.example:5432",
            "a member with the identifier \"evil.example/\"",
        ]
    );
    membership.learn(&at("a"), &survey, &rules());
    assert_eq!(membership.take_ignored(), [""; 0], "each is told once");
}

#[test]
fn a_server_that_names_thousands_is_believed_about_a_cluster_full() {
    let mut membership = Membership::default();
    for round in 0..3 {
        let sighting = |n| Sighting { id: format!("m-{round}-{n}"), ..Sighting::default() };
        let sightings = (0..10_000).map(sighting).collect();
        let survey = Survey { flavour: Flavour::Aurora, is_reader: true, sightings, ..Survey::default() };
        membership.learn(&at("a"), &survey, &rules());
    }
    assert_eq!(membership.members().len(), MOST_MEMBERS);
    assert_eq!(membership.take_ignored(), ["more than 64 members"]);
}

#[test]
fn whom_nobody_can_dial_is_no_member_until_an_address_is_known() {
    let bare = Rules { port: PORT, ..Rules::default() };
    let mut membership = Membership::default();
    let by_name = Address::new("db.example.com", PORT);
    membership.learn(&by_name, &says("a", false, &["*a", "b"]), &bare);
    assert_eq!((ids(&membership).len(), writer(&membership)), (0, proven("a")));
    assert_eq!(membership.hear(&api(&["*a", "b"]), &bare), Change::Members);
    assert_eq!(ids(&membership), ["a", "b"]);
}

#[test]
fn any_order_of_news_ends_with_the_proof() {
    let news: [fn(&mut Membership) -> Change; 4] = [
        |membership| membership.hear(&api(&["*a", "b", "c"]), &rules()),
        |membership| membership.learn(&at("c"), &says("c", true, &["*a", "b", "c"]), &rules()),
        |membership| membership.learn(&at("a"), &says("a", true, &["*a", "b", "c"]), &rules()),
        |membership| membership.learn(&at("b"), &says("b", false, &["a", "*b", "c"]), &rules()),
    ];
    for n in 0..256_usize {
        let order = [n % 4, n / 4 % 4, n / 16 % 4, n / 64];
        let mut membership = Membership::default();
        for step in order {
            news[step](&mut membership);
        }
        if order.contains(&3) {
            assert_eq!((writer(&membership), ids(&membership)), (proven("b"), vec!["a", "b", "c"]), "{order:?}");
        } else {
            assert_ne!(membership.writer(PORT).map(|writer| writer.proven), Some(true), "{order:?}");
        }
        assert_eq!(membership.epoch(), 0, "one place was proven: {order:?}");
    }
}
