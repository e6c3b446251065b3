//! Many environments and a small server: slots are given back, limits are told.

use std::time::Duration;

use futures_util::future::join_all;
use lambda_rds::error::ConnectionLimit;
use lambda_rds::event::Discard;
use lambda_rds::{Error, Event};
use serde_json::json;

use super::stage::*;
use crate::support::Recorder;
use crate::support::lambda::{Environment, FunctionSpec, example};

/// What the administrator keeps free, or others have, is not in it.
const SLOTS: u16 = 17;

/// So many sessions of others. Each goes with its own proxy.
async fn others(server: &Server, count: u16) -> Vec<lambda_rds::Connection<Db>> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        let mut session = proxy_to(server).build().unwrap().get_connection().await.unwrap();
        session.pin().await.unwrap();
        sessions.push(session);
    }
    sessions
}

async fn small() -> Server {
    Server::start(ServerOptions { max_connections: SLOTS + RESERVED, ..ServerOptions::default() }).await
}

#[tokio::test]
async fn a_slot_is_kept_while_there_is_room_and_given_back_when_there_is_none() -> Result<(), Error> {
    let server = small().await;
    for (present, kept) in [(0, 1), (6, 1), (13, 0), (15, 0)] {
        let crowd = others(&server, present).await;
        let recorder = Recorder::default();
        let proxy = proxy_to(&server).max_connections(2).observer(recorder.observer()).build()?;
        let mut conn = proxy.get_connection().await?;
        sqlx::query("select 1").execute(&mut conn).await?;
        drop(conn);
        proxy.upkeep().await;
        assert_eq!(proxy.status().connections, kept, "beside {present} others");
        let given_back = recorder.count(|event| matches!(event, Event::Discarded { why: Discard::GivenBack, .. }));
        assert_eq!(given_back, 1 - kept, "beside {present} others");
        drop((crowd, proxy));
        server.wait_until_sessions("app", 0).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_too_small_is_said_once_and_early() -> Result<(), Error> {
    let server = small().await;
    for (max_connections, said) in [(usize::from(SLOTS), 0), (usize::from(SLOTS) + 1, 1)] {
        let recorder = Recorder::default();
        let proxy = proxy_to(&server).max_connections(max_connections).observer(recorder.observer()).build()?;
        for _ in 0..2 {
            sqlx::query("select 1").execute(&mut proxy.get_connection().await?).await?;
            proxy.upkeep().await;
        }
        let outgrown = recorder.count(|event| matches!(event, Event::Outgrown { .. }));
        assert_eq!(outgrown, said, "{max_connections} connections, {SLOTS} slots");
        proxy.close().await;
        server.wait_until_sessions("app", 0).await;
    }
    Ok(())
}

#[tokio::test]
async fn an_environment_that_was_turned_away_gives_back_without_upkeep() -> Result<(), Error> {
    let server = small().await;
    let recorder = Recorder::default();
    let proxy = proxy_to(&server).observer(recorder.observer()).build()?;
    let mut crowd = others(&server, SLOTS).await;
    let (conn, ()) = tokio::join!(proxy.get_connection(), async {
        while recorder.count(|event| matches!(event, Event::Refused { .. })) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        crowd.pop();
    });
    let mut conn = conn?;
    sqlx::query("select 1").execute(&mut conn).await?;
    assert_eq!(proxy.status().connections, 1);
    drop(conn);
    assert_eq!(proxy.status().connections, 0);
    Ok(())
}

#[tokio::test]
async fn the_error_says_which_limit_was_met_and_how_full_the_server_was() -> Result<(), Error> {
    let server = small().await;
    let soon = Duration::from_secs(2);
    let proxy = proxy_to(&server).borrow_timeout(soon).build()?;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("select 1").execute(&mut conn).await?;
    let crowd = others(&server, SLOTS - 1).await;
    drop(conn);
    proxy.upkeep().await;
    assert_eq!(proxy.status().connections, 0);
    let last = others(&server, 1).await;
    let error = proxy.get_connection().await.unwrap_err();
    let Error::TooManyConnections { limit, seen, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*limit, FULL);
    let (seen, _) = **seen.as_ref().expect("asked after the work");
    assert_eq!(seen.limit, u32::from(SLOTS), "{error}");
    assert!(seen.sessions >= u32::from(SLOTS), "{error}");
    assert!(error.to_string().contains("of 17 sessions"), "{error}");
    drop((crowd, last));

    let limited =
        proxy_to(&server).url(server.url_for("lim", APP_PASSWORD, "app")).borrow_timeout(soon).max_connections(4);
    let limited = limited.build()?;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut session = limited.get_connection().await?;
        session.pin().await?;
        held.push(session);
    }
    let error = limited.get_connection().await.unwrap_err();
    assert!(matches!(error, Error::TooManyConnections { limit: ConnectionLimit::Role, .. }), "{error:?}");
    Ok(())
}

/// The quickstart, unmodified, as a process of its own.
fn function(server: &Server) -> FunctionSpec {
    let mut function = FunctionSpec::new(example(QUICKSTART));
    let ca = String::from_utf8_lossy(server.ca_pem()).into_owned();
    function.env = vec![("LAMBDA_RDS_URL".to_owned(), server.url()), ("LAMBDA_RDS_CA_PEM".to_owned(), ca)];
    function.timeout = Duration::from_secs(10);
    function
}

async fn serve(environment: &Environment) {
    environment.invoke(json!({"item": "tea"})).await.result.expect("served");
}

/// So many newcomers at once, and after them those who were frozen.
async fn newcomers_and_the_thawed_are_served(server: &Server, count: usize, frozen: &[Environment]) {
    let newcomers = join_all((0..count).map(|_| async {
        let newcomer = Environment::start(function(server)).await;
        serve(&newcomer).await;
        newcomer
    }));
    drop(newcomers.await);
    for one in frozen {
        one.thaw();
    }
    join_all(frozen.iter().map(serve)).await;
}

#[tokio::test]
async fn newcomers_are_served_beside_frozen_holders_and_the_holders_again() {
    let server = small().await;
    server.execute(ORDERS).await;
    let mut holders = Vec::new();
    for _ in 0..SLOTS {
        let holder = Environment::start(function(&server)).await;
        serve(&holder).await;
        holder.freeze().await;
        holders.push(holder);
    }
    assert!(server.sessions("app").await < i64::from(SLOTS));
    newcomers_and_the_thawed_are_served(&server, 5, &holders).await;
}

/// Who comes often keeps its connection, and cannot give it back while it is frozen: the server does.
#[tokio::test]
async fn newcomers_are_served_beside_those_who_came_often_and_do_no_more() {
    let server = small().await;
    server.execute(ORDERS).await;
    let _crowd = others(&server, 10).await;
    let often: Vec<_> = join_all((0..7).map(|_| Environment::start(function(&server)))).await;
    let mut kept = 0;
    for _ in 0..40 {
        join_all(often.iter().map(serve)).await;
        kept = server.sessions("app").await;
        if kept >= i64::from(SLOTS) - 1 {
            break;
        }
    }
    for one in &often {
        one.freeze().await;
    }
    assert!(kept > 13, "hardly anybody has kept one, and nothing was tried: {kept}");
    newcomers_and_the_thawed_are_served(&server, 7, &often).await;
}

/// The server may close what an environment keeps at any moment: when it is thawed, when it looks, when its first words are on
/// their way. None of that is the invocation's concern.
#[tokio::test]
async fn a_slot_that_is_taken_back_at_the_very_moment_of_an_invocation_costs_nothing_but_a_connect() -> Result<(), Error>
{
    const CROWD: u16 = 14;
    let server = small().await;
    server.execute(ORDERS).await;
    let crowd = others(&server, CROWD).await;
    let environment = Environment::start(function(&server)).await;
    // Of each: it was there still, and it was gone. The nap gets longer and shorter, and stays about the very moment.
    let enough = if SHORTEST_TERM < Duration::from_secs(1) { 25 } else { 5 };
    let (mut nap, mut there, mut gone, mut served) = (SHORTEST_TERM, 0, 0, 0);
    while there < enough || gone < enough {
        assert!(there + gone < 10 * enough, "{there} times it was there, {gone} times gone");
        // It comes back soon, by its last three gaps.
        for _ in 0..3 {
            serve(&environment).await;
            served += 1;
        }
        environment.freeze().await;
        tokio::time::sleep(nap).await;
        if server.sessions("app").await == i64::from(CROWD) {
            (nap, gone) = (nap.mul_f64(0.9), gone + 1);
        } else {
            (nap, there) = (nap.mul_f64(1.1), there + 1);
        }
        environment.thaw();
    }
    drop(crowd);
    let proxy = proxy_to(&server).build()?;
    let query = sqlx::query_scalar::<_, i64>("select count(*) from orders");
    assert_eq!(query.fetch_one(&mut proxy.get_connection().await?).await?, served);
    Ok(())
}

/// It may have been made for a crowd that is over.
#[tokio::test]
async fn who_has_served_once_and_is_frozen_loses_its_slot() {
    let server = small().await;
    server.execute(ORDERS).await;
    let _crowd = others(&server, 4).await;
    let environment = Environment::start(function(&server)).await;
    serve(&environment).await;
    environment.freeze().await;
    assert_eq!(server.sessions("app").await, 5, "there is room");
    // The server's term for it is ten seconds.
    tokio::time::sleep(Duration::from_secs(8)).await;
    server.wait_until_sessions("app", 4).await;
    environment.thaw();
    for _ in 0..2 {
        serve(&environment).await;
    }
    assert_eq!(server.sessions("app").await, 5);
}

/// What a session has set stays on its connection until the next one takes it back, and that may be after the freeze.
#[tokio::test]
async fn no_session_says_how_long_a_slot_is_kept() -> Result<(), Error> {
    let server = small().await;
    let _crowd = others(&server, 4).await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    let usual: String = sqlx::query_scalar(IDLE_TERM).fetch_one(&mut conn).await?;
    sqlx::query(SET_IDLE_TERM).execute(&mut conn).await?;
    drop(conn);
    proxy.upkeep().await;
    assert_eq!(server.sessions("app").await, 5, "there is room");
    let mut conn = proxy.get_connection().await?;
    assert_eq!(
        sqlx::query_scalar::<_, String>(IDLE_TERM).fetch_one(&mut conn).await?,
        usual,
        "that was between two sessions"
    );
    sqlx::query(SET_IDLE_TERM).execute(&mut conn).await?;
    drop((conn, proxy));

    let proxy = proxy_to(&server).build()?;
    sqlx::query(SET_IDLE_TERM).execute(&mut proxy.get_connection().await?).await?;
    proxy.upkeep().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    server.wait_until_sessions("app", 4).await;
    Ok(())
}

/// In a crowd each round trip counts: the term is not taken back, and not set again, for what sends one statement each time.
#[tokio::test]
async fn one_statement_alone_has_no_company_in_a_crowd() -> Result<(), Error> {
    const ALONE: [&str; 1] = ["select 1"];
    const SEVERAL: [&str; 3] = ["select 1", "select 2", "select 3"];
    let server = Server::start(ServerOptions { max_connections: SLOTS + RESERVED, ..logging_statements() }).await;
    let _crowd = others(&server, 4).await;
    let proxy = proxy_to(&server).build()?;
    let terms = || log_of(&server).lines().filter(|line| line.contains(IDLE_TERM_NAME)).count();
    let work = async |texts: &[&str]| -> Result<usize, Error> {
        let before = terms();
        let mut conn = proxy.get_connection().await?;
        for text in texts {
            sqlx::raw_sql(sqlx::AssertSqlSafe(*text)).execute(&mut conn).await?;
        }
        drop(conn);
        proxy.upkeep().await;
        Ok(terms() - before)
    };
    work(&ALONE).await?;
    // Taken back and set, as long as it is not known that it is one alone; and by whoever sends more.
    for (texts, said) in [
        (&ALONE[..], 2),
        (&ALONE, 0),
        (&ALONE, 0),
        (&SEVERAL, 2),
        (&ALONE, 2),
        (&ALONE, 0),
        (&["begin", "commit"], 2),
        (&ALONE, 0),
        (&[IDLE_TERM], 2 + 1),
        (&ALONE, 0),
    ] {
        assert_eq!(work(texts).await?, said, "{texts:?}");
    }
    assert_eq!(proxy.status().connections, 1);
    // What keeps the connection does not keep the term.
    let mut conn = proxy.get_connection().await?;
    let before = terms();
    conn.pin().await?;
    assert_eq!(terms() - before, 1);
    drop(conn);
    Ok(())
}

#[tokio::test]
async fn the_end_of_an_environment_is_a_goodbye() {
    let server = small().await;
    server.execute(ORDERS).await;
    let environment = Environment::start(function(&server)).await;
    serve(&environment).await;
    assert_eq!(server.sessions("app").await, 1);
    environment.shutdown().await;
    server.wait_until_sessions("app", 0).await;
}

#[tokio::test]
async fn a_database_that_is_away_at_the_start_is_the_first_invocations_error() {
    let server = small().await;
    server.execute(ORDERS).await;
    let spec = function(&server);
    server.stop().await;
    let environment = Environment::start(spec).await;
    environment.ready().await.expect("init");
    environment.invoke(json!({"item": "tea"})).await.result.expect_err("nobody is there");
    server.start_again().await;
    serve(&environment).await;
}

#[tokio::test]
async fn a_limit_of_the_login_itself_counts_as_well() -> Result<(), Error> {
    let server = account("few", Some(6)).await;
    let as_few = || proxy_to(server).url(server.url_for("few", APP_PASSWORD, "app"));
    for (present, kept) in [(1, 1), (5, 0)] {
        let mut crowd = Vec::new();
        for _ in 0..present {
            let mut session = as_few().build()?.get_connection().await?;
            session.pin().await?;
            crowd.push(session);
        }
        let proxy = as_few().build()?;
        let mut conn = proxy.get_connection().await?;
        sqlx::query("select 1").execute(&mut conn).await?;
        drop(conn);
        proxy.upkeep().await;
        assert_eq!(proxy.status().connections, kept, "beside {present} of the same login");
        drop((crowd, proxy));
        server.wait_until_sessions("few", 0).await;
    }
    Ok(())
}
