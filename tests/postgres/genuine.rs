//! Functions that are called as AWS's, and are somebody else's: they are never called, whoever made them.

use std::time::Duration;

use lambda_rds::{Error, Event, Proxy};

use super::stage::*;
use crate::support::Recorder;
use crate::support::postgres::Postgres;

/// Each leaves word that it was called, as whoever called it.
fn trojans(schema: &str) -> String {
    let call = "insert into public.called values (current_user)";
    format!(
        "create function {schema}.dbi_resource_id() returns text language plpgsql as $$ begin {call}; return 'db-REAL'; end $$; \
         create function {schema}.multi_az_db_cluster_source_dbi_resource_id() returns text language plpgsql as \
           $$ begin {call}; return 'db-REAL'; end $$; \
         create function {schema}.show_topology(text) returns table (id text, endpoint text, port int) language plpgsql as \
           $$ begin {call}; return query select 'db-EVIL'::text, 'localhost'::text, 1; end $$;"
    )
}

const CALLED: &str = "create table public.called (who text); grant insert, select on public.called to public; \
                      create role tenant login password 'x'; grant create on database app to tenant; ";

/// Three sessions, one after the other, on one connection: the second looks.
async fn visit(server: &Postgres) -> Result<(Vec<String>, usize), Error> {
    let seen = Recorder::default();
    let proxy = proxy_to(server).max_connections(1).observer(seen.observer()).build()?;
    for n in 0..3_i64 {
        let mut conn = proxy.get_connection().await?;
        let same: i64 = sqlx::query_scalar("select $1::int8").bind(n).fetch_one(&mut conn).await?;
        assert_eq!(same, n);
    }
    let called = sqlx::query_scalar("select who from public.called").fetch_all(&mut server.admin().await).await?;
    Ok((called, seen.count(|event| matches!(event, Event::ClaimIgnored { .. }))))
}

#[tokio::test]
async fn functions_that_are_not_the_systems_own_are_never_called() -> Result<(), Error> {
    let of_tenant = format!(
        "set role tenant; create schema rds_tools; grant usage on schema rds_tools to public; {}",
        trojans("rds_tools")
    );
    let in_a_schema_of_the_systems = format!(
        "create schema rds_tools; grant create, usage on schema rds_tools to public; set role tenant; {}",
        trojans("rds_tools")
    );
    let without_the_extension =
        format!("create schema rds_tools; grant usage on schema rds_tools to public; {}", trojans("rds_tools"));
    let in_the_catalog = "grant create on schema pg_catalog to tenant; set allow_system_table_mods = on; \
        create function pg_catalog.aurora_db_instance_identifier() returns text language plpgsql as \
          $$ begin insert into public.called values (current_user); return 'x'; end $$; \
        create function pg_catalog.aurora_replica_status() returns table (server_id text, session_id text, \
          last_update_timestamp timestamptz, replica_lag_in_msec bigint) language plpgsql as \
          $$ begin insert into public.called values (current_user); return; end $$; \
        alter function pg_catalog.aurora_replica_status() owner to tenant;"
        .to_owned();
    for (what, setup) in [
        ("a tenant's schema", of_tenant),
        ("a tenant's functions in a schema of the system's", in_a_schema_of_the_systems),
        ("no extension", without_the_extension),
        ("the catalog", in_the_catalog),
    ] {
        let server = Server::start(ServerOptions::default()).await;
        server.execute(CALLED).await;
        server.execute(&setup).await;
        assert_eq!(visit(&server).await?, (vec![], 1), "{what}");
    }
    Ok(())
}

/// An overload of the tenant's own beside the extension's functions.
#[tokio::test]
async fn beside_the_extensions_functions_nobody_elses_are_called() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    server.execute(CALLED).await;
    server
        .execute(
            "grant create on schema rds_tools to tenant; set role tenant; \
             create function rds_tools.show_topology(varchar) returns table (id text, endpoint text, port int) \
               language plpgsql as $$ begin insert into public.called values (current_user); return; end $$;",
        )
        .await;
    assert_eq!(visit(server).await?, (vec![], 1));
    Ok(())
}

/// What was genuine when the connection was opened need not be later.
#[tokio::test]
async fn functions_that_are_exchanged_later_are_not_called_either() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    server.execute(CALLED).await;
    let seen = Recorder::default();
    let eager = Duration::from_millis(1);
    let proxy = proxy_to(server)
        .instances(cluster.instances())
        .max_connections(1)
        .watch_interval(eager)
        .validate_after(Duration::ZERO)
        .observer(seen.observer())
        .build()?;
    for n in 0..3 {
        if n == 1 {
            let exchange = "drop extension rds_tools; drop schema rds_tools; set role tenant; create schema rds_tools; \
                            grant usage on schema rds_tools to public;";
            server.execute(&format!("{exchange} {}", trojans("rds_tools"))).await;
        }
        tokio::time::sleep(2 * eager).await;
        let mut conn = proxy.get_connection().await?;
        sqlx::query("select 1").execute(&mut conn).await?;
    }
    let called: Vec<String> =
        sqlx::query_scalar("select who from public.called").fetch_all(&mut server.admin().await).await?;
    assert_eq!(called, [""; 0]);
    assert_eq!(seen.count(|event| matches!(event, Event::ClaimIgnored { .. })), 1);
    Ok(())
}

/// Another session's time limit may still be in force when a connection is looked at.
#[tokio::test]
async fn a_look_that_fails_costs_no_statement() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    for _ in 0..10 {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut one = proxy.get_connection().await?;
        sqlx::raw_sql("set statement_timeout = 1").execute(&mut one).await?;
        let mut other = proxy.get_connection().await?;
        sqlx::query("select 1").execute(&mut other).await?;
    }
    Ok(())
}

/// Replays are of the crate's own wording: nothing in them is looked up by another session's path, or runs as somebody
/// else.
#[tokio::test]
async fn a_replay_calls_nobody_elses_functions() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server
        .execute(
            "create schema evil; grant usage on schema evil to public; create table public.stolen (name text, value text); \
             grant all on public.stolen to public; \
             create function evil.set_config(name text, value text, local bool) returns text language plpgsql as \
               $$ begin insert into public.stolen values (name, value); \
                  return pg_catalog.set_config(name, 'forged', local); end $$; \
             create function evil.set_config(name text, value varchar, local bool) returns text language plpgsql as \
               $$ begin insert into public.stolen values (name, value::text); \
                  return pg_catalog.set_config(name, 'forged', local); end $$; \
             create domain evil.text as pg_catalog.text check (value <> 'secret'); \
             create role tenant_b; grant tenant_b to app;",
        )
        .await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
    let mine = "select current_setting('app.tenant')";
    sqlx::query("select set_config('app.tenant', 'secret', false)").execute(&mut a).await?;
    for hostile in ["set search_path = evil, pg_catalog", "set role tenant_b", "set app.tenant = 'of b'"] {
        sqlx::raw_sql(hostile).execute(&mut b).await?;
        let value: String = sqlx::query_scalar(mine).fetch_one(&mut a).await?;
        assert_eq!(value, "secret", "{hostile}");
        sqlx::query("select pg_catalog.count(*) from public.stolen").execute(&mut b).await?;
    }
    let stolen: i64 =
        sqlx::query_scalar("select count(*) from public.stolen").fetch_one(&mut server.admin().await).await?;
    assert_eq!(stolen, 0);
    Ok(())
}

/// The driver's names are known beforehand: whoever takes them stands in nobody's way.
#[tokio::test]
async fn names_that_somebody_has_taken_cost_a_connection_and_no_statement() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server
        .execute(
            "create function squat() returns void language plpgsql as $$ begin for n in 1..50 loop \
               begin execute format('prepare sqlx_s_%s as select 1', n); exception when duplicate_prepared_statement then null; end; \
             end loop; end $$",
        )
        .await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut tenant = proxy.get_connection().await?;
    sqlx::raw_sql("select squat()").execute(&mut tenant).await?;
    for n in 0..5_i64 {
        let mut other = proxy.get_connection().await?;
        let same: i64 = sqlx::query_scalar("select $1::int8").bind(n).fetch_one(&mut other).await?;
        assert_eq!(same, n);
    }
    // In a transaction it is an error, once: the next one is on another connection.
    sqlx::raw_sql("select squat()").execute(&mut tenant).await?;
    let mut other = proxy.get_connection().await?;
    let mut runs = 0;
    loop {
        let mut tx = other.begin().await?;
        runs += 1;
        match sqlx::query("select 7").execute(&mut *tx).await {
            Ok(_) => break,
            Err(error) => assert_eq!(Error::from(error).sqlstate().as_deref(), Some("42P05")),
        }
        drop(tx);
        assert!(runs < 2, "on the same connection again");
    }
    Ok(())
}

/// A lock keeps what is prepared when it is cleaned up after; in strict isolation nothing is kept.
#[tokio::test]
async fn strict_sessions_share_nothing() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server
        .execute(
            "create function poison() returns void language plpgsql as $$ begin \
               for n in 1..9 loop \
                 begin execute format('deallocate sqlx_s_%s', n); exception when others then null; end; \
                 execute format('prepare sqlx_s_%s(text) as select ''evil'' || $1', n); \
               end loop; perform pg_catalog.setseed(0.5); end $$",
        )
        .await;
    let proxy = Proxy::<Db>::builder()
        .url(server.url())
        .ca_pem(server.ca_pem())
        .max_connections(1)
        .isolation(lambda_rds::Isolation::Strict)
        .build()?;
    let mut seeds = Vec::new();
    for _ in 0..3 {
        let mut a = proxy.get_connection().await?;
        sqlx::query("select 'mine: ' || $1").bind("1").execute(&mut a).await?;
        sqlx::raw_sql("select pg_advisory_lock(1)").execute(&mut a).await?;
        sqlx::raw_sql("select poison()").execute(&mut a).await?;
        drop(a);
        let mut b = proxy.get_connection().await?;
        let mine: String = sqlx::query_scalar("select 'mine: ' || $1").bind("1").fetch_one(&mut b).await?;
        assert_eq!(mine, "mine: 1");
        seeds.push(sqlx::query_scalar::<_, f64>("select random()").fetch_one(&mut b).await?);
    }
    assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2], "{seeds:?}");
    Ok(())
}

/// What `Debug` of a session shows are names and causes.
#[tokio::test]
async fn a_session_does_not_show_what_it_has_set() -> Result<(), Error> {
    let proxy = proxy().await;
    let mut conn = proxy.get_connection().await?;
    sqlx::query("select set_config('app.jwt', 'hunter2', false)").execute(&mut conn).await?;
    let mut tx = conn.begin().await?;
    let wrong = sqlx::query("select $1::text::int").bind("hunter2").fetch_one(&mut *tx).await;
    assert!(wrong.is_err());
    let shown = format!("{tx:?}");
    assert!(shown.contains("app.jwt") && !shown.contains("hunter2"), "{shown}");
    drop(tx);
    let shown = format!("{conn:#?}");
    assert!(shown.contains("app.jwt") && !shown.contains("hunter2"), "{shown}");
    Ok(())
}
