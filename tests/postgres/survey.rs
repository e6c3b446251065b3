//! What PostgreSQL is asked for its survey, and what it answers as a member of an Aurora cluster. The rest is in `topology`.

use std::time::{Duration, Instant};

use lambda_rds::internals::{Flavour, await_promotion, survey};

use super::topology::{connect, look};
use crate::support::cluster::{Cluster, Imitation};

const SECOND: Duration = Duration::from_secs(1);

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
async fn a_missing_permission_is_no_error() {
    let cluster = Cluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    let mut conn = connect(server).await;
    for revoke in [
        "revoke execute on function rds_tools.multi_az_db_cluster_source_dbi_resource_id() from public",
        "revoke usage on schema rds_tools from app",
        "drop extension rds_tools; drop schema rds_tools",
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
async fn a_users_own_statement_timeout_ends_the_wait_and_is_no_error() {
    let cluster = Cluster::start(Imitation::Nothing, 1).await;
    let mut conn = connect(cluster.node(1)).await;
    sqlx::raw_sql("set statement_timeout = '30ms'").execute(&mut conn).await.unwrap();
    assert!(!await_promotion(&mut conn, SECOND).await.unwrap());
    assert_eq!(survey(&mut conn, Flavour::Plain).await.unwrap(), "reader Plain", "and the connection is fine");
}
