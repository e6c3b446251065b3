use super::*;

fn topology(change: impl FnOnce(&mut Target)) -> Topology {
    let mut target = Target { port: 5432, watch_interval: Duration::from_secs(30), ..Target::default() };
    change(&mut target);
    Topology::new(target, Clock::system(), Events::new(Vec::new()))
}

fn at(host: &str) -> Topology {
    topology(|target| target.host = Some(host.to_owned()))
}

#[test]
fn a_survey_at_connect_is_worth_it_where_there_may_be_a_cluster() {
    for (host, worth) in [
        ("shop.cluster-abc.eu-central-1.rds.amazonaws.com", true),
        ("shop.cluster-ro-abc.eu-central-1.rds.amazonaws.com", true),
        ("shop-1.abc.eu-central-1.rds.amazonaws.com", true),
        ("shop.global-abc.global.rds.amazonaws.com", true),
        ("shop.proxy-abc.eu-central-1.rds.amazonaws.com", false),
        ("db.example.com", false),
        ("10.0.0.1", false),
    ] {
        assert_eq!(at(host).is_cluster_like(), worth, "{host}");
    }
    assert!(topology(|target| target.by_id = true).is_cluster_like());
    assert!(topology(|target| target.instances = vec![("a".into(), "10.0.0.1".into(), 1)]).is_cluster_like());
    assert!(topology(|target| target.pattern = HostPattern::parse("?.internal")).is_cluster_like());
    let pooled = |target: &mut Target| (target.by_id, target.via_proxy) = (true, true);
    assert!(!topology(pooled).is_cluster_like());
    assert!(!topology(|_| {}).is_cluster_like());
}

#[test]
fn what_a_look_has_found_decides() {
    let plain = at("shop-1.abc.eu-central-1.rds.amazonaws.com");
    let place = Address::new("shop-1.abc.eu-central-1.rds.amazonaws.com", 5432);
    plain.learn(&place, &Survey { flavour: Flavour::Plain, ..Survey::default() });
    assert!(!plain.is_cluster_like(), "an instance of its own");
    assert_eq!(plain.candidates().endpoint, Some(place.clone()));

    let named = at("db.example.com");
    named.learn(&place, &Survey { flavour: Flavour::Aurora, ..Survey::default() });
    assert!(named.is_cluster_like());
}

#[test]
fn a_readers_endpoint_as_the_target_leads_a_hunt_to_the_writers() {
    let candidates = at("shop.cluster-ro-abc.eu-central-1.rds.amazonaws.com").candidates();
    let writer = Address::new("shop.cluster-abc.eu-central-1.rds.amazonaws.com", 5432);
    assert_eq!(candidates.endpoint, Some(writer));
}

#[test]
fn a_global_databases_endpoint_implies_no_members_names_and_leads_to_its_writer() {
    let host = "shop.global-abc.global.rds.amazonaws.com";
    let (global, place) = (at(host), Address::new(host, 5432));
    let sighting = |id: &str| crate::engine::Sighting { id: id.to_owned(), ..crate::engine::Sighting::default() };
    let sightings = vec![sighting("a"), sighting("b")];
    let survey = Survey { flavour: Flavour::Aurora, me: Some("a".into()), sightings, ..Survey::default() };
    global.learn(&place, &survey);
    let candidates = global.candidates();
    let strangers: Vec<_> = candidates.members.iter().filter(|member| !member.address.is(&place)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    assert_eq!(candidates.endpoint.as_ref().or_else(|| candidates.members.first().map(|m| &m.address)), Some(&place));
}

#[test]
fn a_target_that_becomes_known_late_implies_the_members_names() {
    let late = topology(|_| {});
    late.aim(&Address::new("shop.cluster-abc.eu-central-1.rds.amazonaws.com", 6000));
    let sighting = |id: &str| crate::engine::Sighting { id: id.to_owned(), ..crate::engine::Sighting::default() };
    let sightings = vec![sighting("a"), sighting("b")];
    let survey = Survey { flavour: Flavour::Aurora, me: Some("a".into()), sightings, ..Survey::default() };
    late.learn(&Address::new("shop.cluster-abc.eu-central-1.rds.amazonaws.com", 6000), &survey);
    assert_eq!(late.readers(), [Address::new("b.abc.eu-central-1.rds.amazonaws.com", 6000)]);
    assert_eq!(late.writer().map(|writer| (writer.id, writer.proven)), Some((Some("a".to_owned()), true)));
}
