//! What a server tells of itself and its neighbours, on clusters that answer like AWS's, and what the RDS API adds.
//!
//! What each engine is asked, and how it tells of an Aurora cluster, is in `survey`.

use std::time::{Duration, Instant};

use lambda_rds::Event;
use lambda_rds::internals::{Flavour, Map, await_promotion, sessions, survey};
use sqlx::{Connection, Database};

use super::stage::*;
use crate::support::Recorder;
use crate::support::aws::{Aws, Cluster as ApiCluster, Fault, Instance, Service};
use crate::support::until::until;

const SECOND: Duration = Duration::from_secs(1);

/// As `app`, over TLS that is not verified: that is another file's affair.
fn url(server: &Server) -> String {
    let [_, _, unverified, _] = TLS_MODES;
    format!("{}?{unverified}", server.url())
}

pub(super) async fn connect(server: &Server) -> <Db as Database>::Connection {
    <Db as Database>::Connection::connect(&url(server)).await.unwrap()
}

/// What is said to somebody who has just come.
pub(super) async fn look(server: &Server, flavour: Flavour) -> String {
    survey(&mut connect(server).await, flavour).await.unwrap()
}

#[tokio::test]
async fn a_multi_az_clusters_nodes_have_identifiers_and_addresses() {
    let cluster = Cluster::start(Imitation::MultiAz, 1).await;
    let [(one, first), (two, second)] = [0, 1].map(|node| (resource_id(&cluster, node), cluster.node(node).port()));
    let all = format!("*{one}=localhost:{first} {two}=localhost:{second}");
    for flavour in [Flavour::Unknown, Flavour::MultiAzCluster] {
        assert_eq!(look(cluster.node(0), flavour).await, format!("writer MultiAzCluster {one} {all}"));
        assert_eq!(look(cluster.node(1), flavour).await, format!("reader MultiAzCluster {two} {all}"));
    }
    cluster.fail_over(0, 1).await;
    let after = format!("{one}=localhost:{first} *{two}=localhost:{second}");
    let seen = look(cluster.node(1), Flavour::MultiAzCluster).await;
    assert_eq!(seen, format!("writer MultiAzCluster {two} {after}"));
}

#[tokio::test]
async fn a_survey_counts_the_users_sessions_and_no_others() {
    let server = Server::start(ServerOptions::default()).await;
    let mut conn = connect(&server).await;
    let _others = [connect(&server).await, connect(&server).await];
    let _admin = server.admin().await;
    assert_eq!(sessions(&mut conn).await.unwrap(), Some(3));
}

#[tokio::test]
async fn news_of_a_promotion_come_at_once() {
    let cluster = Cluster::start(Imitation::Nothing, 1).await;
    let replica = cluster.node(1);
    let mut waiting = connect(replica).await;
    assert!(!await_promotion(&mut waiting, Duration::from_millis(30)).await.unwrap(), "nobody promotes");
    let mut texts = Vec::new();
    let wait = async {
        loop {
            texts.push(Instant::now());
            // The bound is a second whatever is asked for.
            if await_promotion(&mut waiting, 60 * SECOND).await.unwrap() {
                return Instant::now();
            }
            assert!(texts.len() < 60, "it waits for a second at the most, and the promotion takes less than a minute");
        }
    };
    let (news, first_write) = tokio::join!(wait, cluster.fail_over(0, 1));
    println!("the news came {:?} after the first write", news.saturating_duration_since(first_write));
    let late = texts.iter().filter(|sent| **sent > first_write).count();
    assert!(late <= 1, "one that was sent too late is answered at once, and no other is needed: {late}");
    assert!(await_promotion(&mut waiting, SECOND).await.unwrap());
}

#[tokio::test]
async fn members_writer_and_epoch_are_learnt_from_the_servers() {
    let cluster = Cluster::start(CLUSTERED, 2).await;
    let map = Map::new(cluster.instances(), |_: &Event| {});
    let learn = async |node: usize| {
        let server = cluster.node(node);
        map.learn::<Db>(server.host(), server.port(), &url(server)).await.unwrap()
    };
    learn(1).await;
    assert_eq!(map.writer(), Some(("stage-1".to_owned(), false)), "a reader's word is a claim");
    assert_eq!(learn(0).await, "Found");
    assert_eq!((map.writer(), map.epoch()), (Some(("stage-1".to_owned(), true)), 0));
    cluster.fail_over(0, 2).await;
    map.suspect();
    assert_eq!(map.writer(), None);
    assert_eq!(learn(2).await, "Moved");
    assert_eq!((map.writer(), map.epoch()), (Some(("stage-3".to_owned(), true)), 1));
    let places: Vec<String> = map.candidates();
    let given = |node: usize| format!("stage-{}=localhost:{}", node + 1, cluster.node(node).port());
    assert_eq!(places, [given(2), given(0), given(1)], "the last writer first");
}

/// `stage` with two instances, the first the writer.
async fn api() -> Aws {
    let aws = Aws::start().await;
    aws.put_cluster(ApiCluster { writer: Some("stage-1".to_owned()), ..ApiCluster::default() });
    for (n, promotion_tier) in [(1, 1), (2, 15), (3, 0)] {
        let endpoint = Some((format!("10.0.0.{n}"), 5432));
        aws.put_instance(Instance {
            identifier: format!("stage-{n}"),
            endpoint,
            promotion_tier,
            ..Instance::default()
        });
    }
    aws
}

/// Watches until it was this environment's turn.
async fn turn(map: &Map) -> String {
    let mut watched = String::new();
    until("it is this environment's turn", async || {
        watched = map.watch(SECOND).await;
        watched != "NotNow"
    })
    .await;
    watched
}

/// With a count of the fleet, without which the API is hardly ever asked.
async fn counted(map: &Map, server: &Server) {
    map.learn::<Db>(server.host(), server.port(), &url(server)).await.unwrap();
}

#[tokio::test]
async fn the_api_brings_members_addresses_and_tiers() {
    let (aws, server) = (api().await, Server::start(ServerOptions::default()).await);
    let map = Map::new(Vec::new(), |_: &Event| {}).watched("stage", aws.sdk_config());
    counted(&map, &server).await;
    assert_eq!(map.watch(SECOND).await, "NotNow", "not before its turn");
    map.suspect();
    assert_eq!(turn(&map).await, "Heard(Members)");
    assert_eq!(map.writer(), Some(("stage-1".to_owned(), false)));
    let last = format!("=localhost:{}", server.port());
    let members = ["stage-1=10.0.0.1:5432", "stage-3=10.0.0.3:5432", "stage-2=10.0.0.2:5432"];
    assert_eq!(map.candidates(), [&[last.as_str()], members.as_slice()].concat());
    aws.set_writer("stage", "stage-2");
    aws.clear_requests();
    map.suspect();
    turn(&map).await;
    assert_eq!(map.writer(), Some(("stage-2".to_owned(), false)));
    let actions: Vec<String> = aws.requests().into_iter().map(|request| request.action).collect();
    assert_eq!(actions, ["DescribeDBClusters"], "all addresses are known");
}

#[tokio::test]
async fn an_api_that_may_not_or_cannot_be_asked_is_left_alone_and_that_is_one_event() {
    let server = Server::start(ServerOptions::default()).await;
    for fault in [Fault::AccessDenied, Fault::NoAnswer] {
        let (aws, recorder) = (api().await, Recorder::default());
        aws.fault(Service::Rds, fault);
        let map = Map::new(Vec::new(), recorder.observer()).watched("stage", aws.sdk_config());
        counted(&map, &server).await;
        map.suspect();
        assert_eq!(turn(&map).await, "Blind");
        for _ in 0..20 {
            map.suspect();
            assert_eq!(map.watch(SECOND).await, "NotNow");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(aws.requests().len(), 1, "{fault:?}");
        assert_eq!(recorder.count(|event| matches!(event, Event::WatchGivenUp { .. })), 1);
    }
}

#[tokio::test]
async fn a_throttled_api_is_asked_once_a_turn_and_again_later() {
    let (aws, server) = (api().await, Server::start(ServerOptions::default()).await);
    let recorder = Recorder::default();
    let map = Map::new(Vec::new(), recorder.observer()).watched("stage", aws.sdk_config());
    counted(&map, &server).await;
    aws.fault_next(Service::Rds, Fault::Throttle, 1);
    map.suspect();
    assert_eq!(turn(&map).await, "Blind");
    assert_eq!(aws.requests().len(), 1, "the SDK does not repeat it by itself");
    map.suspect();
    assert_eq!(turn(&map).await, "Heard(Members)");
    assert_eq!(recorder.events().len(), 0, "it is not given up");
}
