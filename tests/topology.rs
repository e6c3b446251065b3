//! What a server tells of itself and its neighbours, on clusters that answer like AWS's, and what the RDS API adds.

use std::time::{Duration, Instant};

use lambda_rds::Event;
use lambda_rds::inner::{Flavour, Map, await_promotion, sessions, survey};
use sqlx::{Connection, PgConnection};

use crate::support::Recorder;
use crate::support::aws::{Aws, Cluster as ApiCluster, Fault, Instance, Service};
use crate::support::cluster::{Cluster, Imitation};
use crate::support::postgres::{Postgres, PostgresOptions};

const SECOND: Duration = Duration::from_secs(1);

/// As `app`, over TLS that is not verified: that is another file's affair.
fn url(server: &Postgres) -> String {
    format!("{}?sslmode=require", server.url())
}

async fn connect(server: &Postgres) -> PgConnection {
    PgConnection::connect(&url(server)).await.unwrap()
}

async fn look(server: &Postgres, flavour: Flavour) -> String {
    survey(&mut connect(server).await, flavour).await.unwrap()
}

#[tokio::test]
async fn every_node_of_an_aurora_cluster_tells_its_own_view() {
    let cluster = Cluster::start(Imitation::Aurora, 2).await;
    let all = "*stage-1 stage-2 stage-3";
    for flavour in [Flavour::Unknown, Flavour::Aurora] {
        assert_eq!(look(cluster.node(0), flavour).await, format!("writer Aurora stage-1 {all}"));
        assert_eq!(look(cluster.node(1), flavour).await, format!("reader Aurora stage-2 {all}"));
    }
    let mut before = connect(cluster.node(1)).await;
    cluster.fail_over(0, 1).await;
    let after = survey(&mut before, Flavour::Aurora).await.unwrap();
    assert_eq!(after, "writer Aurora stage-2 stage-1 *stage-2 stage-3", "its sessions live through it");
    cluster.wait_until_follows(2, 1).await;
    assert_eq!(look(cluster.node(2), Flavour::Aurora).await, "reader Aurora stage-3 stage-1 *stage-2 stage-3");
    cluster.rejoin(0, 1).await;
    assert_eq!(look(cluster.node(0), Flavour::Unknown).await, "reader Aurora stage-1 stage-1 *stage-2 stage-3");
}

#[tokio::test]
async fn a_reader_knows_no_writer_or_an_old_one_when_the_writer_is_gone_or_silent() {
    let cluster = Cluster::start(Imitation::Aurora, 1).await;
    cluster.node(0).suspend();
    assert_eq!(look(cluster.node(1), Flavour::Aurora).await, "reader Aurora stage-2 *stage-1 stage-2", "stale");
    cluster.node(0).resume();
    cluster.node(0).kill().await;
    let deadline = Instant::now() + 10 * SECOND;
    while look(cluster.node(1), Flavour::Aurora).await != "reader Aurora stage-2 stage-1 stage-2" {
        assert!(Instant::now() < deadline, "it notices that nobody sends");
    }
}

#[tokio::test]
async fn a_multi_az_clusters_nodes_have_resource_ids_and_addresses() {
    let cluster = Cluster::start(Imitation::MultiAz, 1).await;
    let [one, two] = [0, 1].map(|node| cluster.node(node).port());
    let all = format!("*db-STAGE-1=localhost:{one} db-STAGE-2=localhost:{two}");
    for flavour in [Flavour::Unknown, Flavour::MultiAzCluster] {
        assert_eq!(look(cluster.node(0), flavour).await, format!("writer MultiAzCluster db-STAGE-1 {all}"));
        assert_eq!(look(cluster.node(1), flavour).await, format!("reader MultiAzCluster db-STAGE-2 {all}"));
    }
    cluster.fail_over(0, 1).await;
    let after = format!("db-STAGE-1=localhost:{one} *db-STAGE-2=localhost:{two}");
    let seen = look(cluster.node(1), Flavour::MultiAzCluster).await;
    assert_eq!(seen, format!("writer MultiAzCluster db-STAGE-2 {after}"));
}

#[tokio::test]
async fn a_missing_permission_is_no_error() {
    let cluster = Cluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    let mut conn = connect(server).await;
    for revoke in [
        "revoke execute on function rds_tools.multi_az_db_cluster_source_dbi_resource_id() from public",
        "revoke usage on schema rds_tools from app",
        "drop schema rds_tools cascade",
    ] {
        server.execute(revoke).await;
        for flavour in [Flavour::Unknown, Flavour::MultiAzCluster, Flavour::Aurora, Flavour::Plain] {
            assert_eq!(survey(&mut conn, flavour).await.unwrap(), "writer Plain", "{revoke}, {flavour:?}");
        }
    }
}

#[tokio::test]
async fn a_hostile_search_path_shadows_nothing() {
    let cluster = Cluster::start(Imitation::Aurora, 1).await;
    cluster.node(0).execute(HOSTILE).await;
    cluster.wait_until_follows(1, 0).await;
    let mut conn = connect(cluster.node(1)).await;
    sqlx::raw_sql("set search_path = hostile, pg_catalog").execute(&mut conn).await.unwrap();
    let lie: bool =
        sqlx::query_scalar("select 'a'::pg_catalog.text = 'b'::pg_catalog.text").fetch_one(&mut conn).await.unwrap();
    assert!(lie, "the stage is set");
    for flavour in [Flavour::Unknown, Flavour::Aurora] {
        let seen = survey(&mut conn, flavour).await.unwrap();
        assert_eq!(seen, "reader Aurora stage-2 *stage-1 stage-2");
    }
    assert!(!await_promotion(&mut conn, Duration::from_millis(20)).await.unwrap());
}

/// Everything that the texts could mean instead.
const HOSTILE: &str = "
    create schema hostile;
    grant usage on schema hostile to public;
    create function hostile.yes(text, text) returns bool language sql immutable as 'select true';
    create function hostile.yes(name, name) returns bool language sql immutable as 'select true';
    create function hostile.yes(name, text) returns bool language sql immutable as 'select true';
    create function hostile.yes(oid, oid) returns bool language sql immutable as 'select true';
    create function hostile.no(timestamptz, timestamptz) returns bool language sql immutable as 'select false';
    create function hostile.never(timestamptz, timestamptz) returns interval language sql as $$select '1 year'::interval$$;
    create operator hostile.= (leftarg = text, rightarg = text, function = hostile.yes);
    create operator hostile.= (leftarg = name, rightarg = name, function = hostile.yes);
    create operator hostile.= (leftarg = name, rightarg = text, function = hostile.yes);
    create operator hostile.= (leftarg = oid, rightarg = oid, function = hostile.yes);
    create operator hostile.< (leftarg = timestamptz, rightarg = timestamptz, function = hostile.no);
    create operator hostile.- (leftarg = timestamptz, rightarg = timestamptz, function = hostile.never);
    create function hostile.pg_is_in_recovery() returns bool language sql as 'select false';
    create function hostile.aurora_db_instance_identifier() returns text language sql as $$select 'nobody'$$;
    create function hostile.now() returns timestamptz language sql as $$select '2000-01-01'::timestamptz$$;
    create function hostile.pg_sleep(float8) returns void language sql as 'select 1/0';
    create type hostile.text as enum ('wrong');
    create type hostile.int8 as enum ('wrong');
";

#[tokio::test]
async fn a_survey_is_one_text_or_two_and_leaves_nothing_behind() {
    let cluster = Cluster::start(Imitation::Aurora, 0).await;
    let server = cluster.node(0);
    server.execute("alter role app set log_statement = 'all'").await;
    let mut conn = connect(server).await;
    let said = || server.log().lines().filter(|line| line.contains("app@app") && line.contains("LOG:")).count();
    let before = said();
    survey(&mut conn, Flavour::Aurora).await.unwrap();
    assert_eq!(said() - before, 1);
    survey(&mut conn, Flavour::Unknown).await.unwrap();
    assert_eq!(said() - before, 3);
    survey(&mut conn, Flavour::Plain).await.unwrap();
    assert_eq!(said() - before, 4);
    let prepared: i64 = sqlx::query_scalar(
        "select count(*) from pg_prepared_statements where not from_sql \
                                            and statement not like '%pg_prepared_statements%'",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(prepared, 0);
}

#[tokio::test]
async fn a_survey_counts_the_users_sessions_and_no_others() {
    let server = Postgres::start(PostgresOptions::default()).await;
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
async fn a_users_own_statement_timeout_ends_the_wait_and_is_no_error() {
    let cluster = Cluster::start(Imitation::Nothing, 1).await;
    let mut conn = connect(cluster.node(1)).await;
    sqlx::raw_sql("set statement_timeout = '30ms'").execute(&mut conn).await.unwrap();
    assert!(!await_promotion(&mut conn, SECOND).await.unwrap());
    assert_eq!(survey(&mut conn, Flavour::Plain).await.unwrap(), "reader Plain", "and the connection is fine");
}

#[tokio::test]
async fn members_writer_and_epoch_are_learnt_from_the_servers() {
    let cluster = Cluster::start(Imitation::Aurora, 2).await;
    let map = Map::new(cluster.instances(), |_: &Event| {});
    let learn = async |node: usize| {
        let server = cluster.node(node);
        map.learn::<lambda_rds::Postgres>(server.host(), server.port(), &url(server)).await.unwrap()
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
    loop {
        let watched = map.watch(SECOND).await;
        if watched != "NotNow" {
            return watched;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// With a count of the fleet, without which the API is hardly ever asked.
async fn counted(map: &Map, server: &Postgres) {
    map.learn::<lambda_rds::Postgres>(server.host(), server.port(), &url(server)).await.unwrap();
}

#[tokio::test]
async fn the_api_brings_members_addresses_and_tiers() {
    let (aws, server) = (api().await, Postgres::start(PostgresOptions::default()).await);
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
    let server = Postgres::start(PostgresOptions::default()).await;
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
    let (aws, server) = (api().await, Postgres::start(PostgresOptions::default()).await);
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
