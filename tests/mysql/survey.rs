//! What MySQL is asked for its survey, and what it answers as a member of an Aurora cluster. The rest is in `topology`.
//!
//! Not here: that an Aurora cluster is found by itself, for nobody can make its table and its variable on MariaDB; a
//! session with `autocommit` off, in which any question to a table begins a transaction; a limit that lets no statement
//! through at all (`max_join_size`, less time than one look takes), which is an error to everybody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lambda_rds::internals::{Flavour, await_promotion, sessions, survey, survey_aurora};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row};

use super::topology::{connect, look};
use crate::support::mariadb::{APP_PASSWORD, MariaDb, MariaDbOptions};
use crate::support::mariadb_cluster::{Imitation, ME, MariaDbCluster, STATUS, see_replication};
use crate::support::on_mysql::{executed, resource_id, session_status, settings, texts, worded};
use crate::support::servers::{Family, Servers};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(20);

const FLAVOURS: [Flavour; 4] = [Flavour::Unknown, Flavour::Plain, Flavour::Aurora, Flavour::MultiAzCluster];

/// The nodes of [`STATUS`] have no other way of being an Aurora cluster's.
async fn look_at_aurora(conn: &mut MySqlConnection) -> String {
    survey_aurora(conn, STATUS, ME).await.unwrap()
}

/// A replica tells of its writer as soon as its receiver is at rest, and of none a moment after that has gone.
async fn comes_to_see(conn: &mut MySqlConnection, expected: &str) {
    let deadline = Instant::now() + 10 * SECOND;
    loop {
        let seen = look_at_aurora(conn).await;
        if seen == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{seen} instead of {expected}");
        tokio::time::sleep(MOMENT).await;
    }
}

async fn run(conn: &mut MySqlConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[tokio::test]
async fn every_node_of_an_aurora_cluster_tells_its_own_view() {
    let cluster = MariaDbCluster::start(Imitation::Aurora, 2).await;
    let all = "*stage-1 stage-2 stage-3";
    let mut before = connect(cluster.node(1)).await;
    comes_to_see(&mut connect(cluster.node(0)).await, &format!("writer Aurora stage-1 {all}")).await;
    comes_to_see(&mut before, &format!("reader Aurora stage-2 {all}")).await;
    cluster.fail_over(0, 1).await;
    let after = look_at_aurora(&mut before).await;
    assert_eq!(after, "writer Aurora stage-2 stage-1 *stage-2 stage-3", "its sessions live through it");
    cluster.wait_until_follows(2, 1).await;
    comes_to_see(&mut connect(cluster.node(2)).await, "reader Aurora stage-3 stage-1 *stage-2 stage-3").await;
    cluster.rejoin(0, 1).await;
    comes_to_see(&mut connect(cluster.node(0)).await, "reader Aurora stage-1 stage-1 *stage-2 stage-3").await;
}

#[tokio::test]
async fn a_reader_knows_no_writer_or_an_old_one_when_the_writer_is_gone_or_silent() {
    let cluster = MariaDbCluster::start(Imitation::Aurora, 1).await;
    let mut conn = connect(cluster.node(1)).await;
    comes_to_see(&mut conn, "reader Aurora stage-2 *stage-1 stage-2").await;
    cluster.node(0).suspend();
    assert_eq!(look_at_aurora(&mut conn).await, "reader Aurora stage-2 *stage-1 stage-2", "stale");
    cluster.node(0).resume();
    cluster.node(0).kill().await;
    comes_to_see(&mut conn, "reader Aurora stage-2 stage-1 stage-2").await;
}

#[tokio::test]
async fn an_aurora_member_that_has_not_reported_for_five_minutes_is_gone_unless_it_is_the_writer() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(REPORTS).await;
    let mut conn = connect(&server).await;
    for zone in ["system", "+07:00", "-07:00"] {
        run(&mut conn, &format!("set time_zone = '{zone}'")).await;
        let seen = survey_aurora(&mut conn, "app.reports", "'new'").await.unwrap();
        assert_eq!(seen, "writer Aurora new *writer new", "{zone}");
    }
}

/// A year is more than a time can be.
const REPORTS: &str = "
    create table reports (server_id varchar(60), session_id varchar(60), last_update_timestamp timestamp null,
                          replica_lag_in_milliseconds double);
    insert into reports values
      ('writer', 'MASTER_SESSION_ID', now() - interval 1 day, 0), ('new', 'b', now() - interval 1 minute, 12),
      ('old', 'c', now() - interval 6 minute, 12), ('older', 'd', now() - interval 1 year, null),
      ('never', 'e', null, null);
";

#[tokio::test]
async fn a_table_of_any_size_is_asked_for_as_many_members_as_a_cluster_may_have_and_one() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(REPORTS).await;
    let row = |id: usize| format!("('many-{id}', 'x', now(), 0)");
    let rows: Vec<_> = (0..1500).map(row).collect();
    server.execute(&format!("insert into reports values {}", rows.join(", "))).await;
    let mut conn = connect(&server).await;
    let seen = survey_aurora(&mut conn, "app.reports", "'new'").await.unwrap();
    assert_eq!(seen.split(' ').skip(3).count(), 65, "{seen}");
}

/// As a Blue/Green deployment leaves it.
#[tokio::test]
async fn a_topology_on_a_server_that_is_no_clusters_member_is_not_looked_at() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(BLUE_GREEN).await;
    server.execute(&format!("grant {} on *.* to app@'%'", see_replication())).await;
    assert_eq!(look(&server, Flavour::Unknown).await, "writer Plain");
}

const BLUE_GREEN: &str = "
    create table mysql.rds_topology (id bigint unsigned primary key, endpoint varchar(255) not null, port int not null);
    insert into mysql.rds_topology values (1, 'blue', 3306), (2, 'green', 3306);
    grant select on mysql.rds_topology to app@'%';
";

#[tokio::test]
async fn a_multi_az_clusters_reader_goes_on_to_name_a_writer_that_is_dead() {
    let cluster = MariaDbCluster::start(Imitation::MultiAz, 1).await;
    let [(one, first), (two, second)] = [0, 1].map(|node| (resource_id(&cluster, node), cluster.node(node).port()));
    let stale = format!("reader MultiAzCluster {two} *{one}=localhost:{first} {two}=localhost:{second}");
    let mut conn = connect(cluster.node(1)).await;
    cluster.node(0).kill().await;
    assert_eq!(survey(&mut conn, Flavour::MultiAzCluster).await.unwrap(), stale);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_a_reader_whatever_the_session_has_chosen() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    let mut conn = connect(&server).await;
    for (setting, role) in [("1", "reader"), ("0", "writer")] {
        server.execute(&format!("set global read_only = {setting}")).await;
        for text in ["set session transaction read only", "set session transaction read write"] {
            run(&mut conn, text).await;
            for flavour in FLAVOURS {
                assert_eq!(survey(&mut conn, flavour).await.unwrap(), format!("{role} Plain"), "{text}");
            }
            assert_eq!(await_promotion(&mut conn, MOMENT).await.unwrap(), role == "writer", "{text}");
        }
    }
}

/// As Aurora's readers are, whose `read_only` is another thing.
#[tokio::test]
async fn a_server_whose_storage_takes_no_writes_is_a_reader() {
    let settings = vec![("innodb_read_only", "1".to_owned())];
    let server = MariaDb::start(MariaDbOptions { settings, ..MariaDbOptions::default() }).await;
    assert_eq!(look(&server, Flavour::Unknown).await, "reader Plain");
    assert!(!await_promotion(&mut connect(&server).await, MOMENT).await.unwrap());
}

#[tokio::test]
async fn a_missing_permission_is_no_error() {
    let cluster = MariaDbCluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    let see = see_replication();
    for revoke in [
        format!("revoke {see} on *.* from app@'%'"),
        format!("grant {see} on *.* to app@'%'; revoke select on mysql.rds_topology from app@'%'"),
        "drop table mysql.rds_topology".to_owned(),
    ] {
        server.execute(&revoke).await;
        // Privileges on everything are those of the login.
        let mut conn = connect(server).await;
        for flavour in FLAVOURS {
            assert_eq!(survey(&mut conn, flavour).await.unwrap(), "writer Plain", "{revoke}, {flavour:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_permission_is_no_error_on_aurora() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute(REPORTS).await;
    server.execute("create database closed; create table closed.reports as select * from reports").await;
    let mut conn = connect(&server).await;
    for (status, me) in [
        ("closed.reports", "'a'"),
        ("app.no_reports", "'a'"),
        ("information_schema.no_reports", "'a'"),
        ("(select 1 as server_id) as reports", "'a'"),
        ("app.reports", "@@no_server_id"),
    ] {
        assert_eq!(survey_aurora(&mut conn, status, me).await.unwrap(), "writer Plain", "{status}, {me}");
    }
}

#[tokio::test]
async fn a_hostile_default_database_shadows_nothing() {
    let cluster = MariaDbCluster::start(Imitation::MultiAz, 1).await;
    cluster.node(0).execute(REPORTS).await;
    cluster.node(0).execute(HOSTILE).await;
    cluster.wait_until_follows(1, 0).await;
    let expected = look(cluster.node(1), Flavour::MultiAzCluster).await;
    let mut conn = connect(cluster.node(1)).await;
    let lie: String = sqlx::query_scalar("select app.user()").fetch_one(&mut conn).await.unwrap();
    assert_eq!(lie, "nobody@nowhere", "the stage is set");
    for flavour in [Flavour::Unknown, Flavour::MultiAzCluster] {
        assert_eq!(survey(&mut conn, flavour).await.unwrap(), expected);
    }
    let seen = survey_aurora(&mut conn, "app.reports", "'new'").await.unwrap();
    assert_eq!(seen, "reader Aurora new *writer new");
    assert_eq!(sessions(&mut conn).await.unwrap(), Some(1));
    assert!(!await_promotion(&mut conn, MOMENT).await.unwrap());
}

/// Everything that the texts could mean instead.
const HOSTILE: &str = "
    create function app.user() returns varchar(60) return 'nobody@nowhere';
    create function app.substring_index(a text, b text, c int) returns text return 'nobody';
    create function app.concat(a text) returns text return 'OFF';
    create function app.coalesce(a text, b text) returns text return '';
    create function app.sleep(a double) returns int return (select 1 from no_such_table);
    create function app.time_to_sec(a time) returns int return 1000;
    create function app.timediff(a datetime, b datetime) returns time return '10:00:00';
    create table app.rds_topology (id int, endpoint text, port int);
    create table app.processlist (user text);
    create table app.tables (table_schema text, table_name text);
    create table app.replica_host_status (server_id text, session_id text);
";

#[tokio::test]
async fn a_survey_is_one_text_or_two() {
    let settings = vec![("general_log", "1".to_owned())];
    let options = MariaDbOptions { settings, ..MariaDbOptions::default() };
    let cluster = MariaDbCluster::start_with(Imitation::MultiAz, 0, options).await;
    let server = cluster.node(0);
    server.execute(REPORTS).await;
    let mut conn = connect(server).await;
    let said = || texts(server).len();
    // A line for each text; MySQL's log has one for each statement that it could read.
    let (lines, aurora, looks) = server.family().either(([2, 1, 1, 2], 1, 1), ([4, 3, 1, 1], 2, 5));
    let flavours = [Flavour::Unknown, Flavour::MultiAzCluster, Flavour::Plain, Flavour::Aurora];
    let counts = flavours.into_iter().zip(lines);
    for (flavour, count) in counts {
        let before = said();
        survey(&mut conn, flavour).await.unwrap();
        assert_eq!(said() - before, count, "{flavour:?}: a second one where the first was not enough");
    }
    let before = said();
    survey_aurora(&mut conn, "app.reports", "'new'").await.unwrap();
    assert_eq!(said() - before, aurora);
    assert!(await_promotion(&mut conn, MOMENT).await.unwrap());
    assert_eq!(said() - before, aurora + looks, "however often the server looks");
    assert_eq!(executed(server), Vec::<String>::new(), "nothing is prepared");
}

#[tokio::test]
async fn a_survey_says_the_same_whatever_a_session_has_set_and_leaves_nothing_behind() {
    let cluster = MariaDbCluster::start(Imitation::MultiAz, 1).await;
    cluster.node(0).execute("create database other; grant all on other.* to app@'%'").await;
    cluster.node(0).execute(REPORTS).await;
    cluster.wait_until_follows(1, 0).await;
    let server = cluster.node(1);
    let expected = look(server, Flavour::MultiAzCluster).await;
    let further: &[&str] = Servers::family().either(&MARIADBS_MODES, &[]);
    let modes = MODES.iter().chain(further).map(|mode| format!("set sql_mode = '{mode}'"));
    for text in modes.chain(SOILS.iter().filter_map(|text| worded(text))) {
        let mut conn = connect(server).await;
        run(&mut conn, &text).await;
        let before = state(&mut conn).await;
        for flavour in [Flavour::Unknown, Flavour::MultiAzCluster] {
            assert_eq!(survey(&mut conn, flavour).await.unwrap(), expected, "{text}");
        }
        let seen = survey_aurora(&mut conn, "app.reports", "'new'").await.unwrap();
        assert_eq!(seen, "reader Aurora new *writer new", "{text}");
        assert!(sessions(&mut conn).await.unwrap().is_some_and(|count| count > 0), "{text}");
        assert!(!await_promotion(&mut conn, MOMENT).await.unwrap(), "{text}");
        assert_eq!(state(&mut conn).await, before, "{text}");
    }
}

/// Each changes what some text means.
const MODES: [&str; 11] = [
    "",
    "ansi",
    "ansi_quotes",
    "no_backslash_escapes",
    "pad_char_to_full_length",
    "pipes_as_concat",
    "ignore_space",
    "high_not_precedence",
    "traditional",
    "only_full_group_by",
    "real_as_float",
];

const MARIADBS_MODES: [&str; 3] = ["empty_string_is_null", "oracle", "mssql"];

const SOILS: [&str; 11] = [
    "use other",
    "use information_schema",
    "use other; set sql_mode = 'oracle'",
    "set sql_select_limit = 1",
    "set sql_select_limit = 0",
    "set time_zone = '+07:00'",
    "set names latin1",
    "set names utf8mb4 collate utf8mb4_bin",
    "set character_set_connection = utf16",
    "set sql_auto_is_null = 1",
    "set tx_isolation = 'serializable'",
];

/// What can be seen of a session.
async fn state(conn: &mut MySqlConnection) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    let texts = [
        format!(
            "select name, value from {} \
             where name not in ('timestamp', 'warning_count', 'error_count', 'rand_seed1', 'rand_seed2') limit 10000",
            settings()
        ),
        format!(
            "select variable_name, variable_value from {} \
             where variable_name in ('com_stmt_prepare', 'com_set_option', 'created_tmp_files') limit 10000",
            session_status()
        ),
        "select 'database', database() limit 1".to_owned(),
    ];
    for text in texts {
        for row in sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(&mut *conn).await.unwrap() {
            let value: Option<String> = row.try_get_unchecked(1).unwrap();
            state.insert(row.get_unchecked(0), value.unwrap_or_default());
        }
    }
    state
}

#[tokio::test]
async fn an_open_transaction_is_not_touched() {
    let cluster = MariaDbCluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    server.execute("create table app.orders (id int primary key)").await;
    let mut conn = connect(server).await;
    run(&mut conn, "begin; insert into orders values (1); savepoint here; insert into orders values (2)").await;
    for flavour in FLAVOURS {
        survey(&mut conn, flavour).await.unwrap();
    }
    survey_aurora(&mut conn, STATUS, ME).await.unwrap();
    assert!(await_promotion(&mut conn, MOMENT).await.unwrap());
    run(&mut conn, "rollback to here").await;
    let seen: Vec<i32> = sqlx::query_scalar("select id from orders").fetch_all(&mut conn).await.unwrap();
    assert_eq!(seen, [1]);
    run(&mut conn, "rollback").await;
    let seen: Vec<i32> = sqlx::query_scalar("select id from orders").fetch_all(&mut conn).await.unwrap();
    assert_eq!(seen, [0; 0]);
}

#[tokio::test]
async fn a_survey_tells_users_apart_that_have_nearly_the_same_name() {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    let mut all = Vec::new();
    for (user, encoded) in [("app", "app"), ("APP", "APP"), ("äpp", "%C3%A4pp"), ("app@work", "app%40work")] {
        let account = format!("'{user}'@'%'");
        server.execute(&format!("create user if not exists {account} identified by '{APP_PASSWORD}'")).await;
        // Whoever may do that sees everybody's sessions.
        server.execute(&format!("grant all on app.* to {account}; grant process on *.* to {account}")).await;
        let url = server.url_for(encoded, APP_PASSWORD, "app") + "?ssl-mode=REQUIRED";
        all.push(MySqlConnection::connect(&url).await.unwrap());
    }
    for conn in &mut all {
        assert_eq!(sessions(conn).await.unwrap(), Some(1));
    }
}

/// It is a limit of each look, and not of them all.
#[tokio::test]
async fn a_users_own_time_limit_is_no_error_while_somebody_waits() {
    let cluster = MariaDbCluster::start(Imitation::Nothing, 1).await;
    let mut conn = connect(cluster.node(1)).await;
    // In seconds; and MySQL's of queries only, in milliseconds.
    let (name, limits) = match Servers::family() {
        Family::MariaDb => ("max_statement_time", ["0.03", "0.003", "0.000001"]),
        Family::MySql => ("max_execution_time", ["30", "3", "1"]),
    };
    for limit in limits {
        run(&mut conn, &format!("set {name} = {limit}")).await;
        assert!(!await_promotion(&mut conn, SECOND).await.unwrap(), "{limit}");
        run(&mut conn, &format!("set {name} = 0")).await;
        let seen = survey(&mut conn, Flavour::Plain).await.unwrap();
        assert_eq!(seen, "reader Plain", "and the connection is fine");
    }
}
