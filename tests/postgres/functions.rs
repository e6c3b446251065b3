//! What functions and triggers keep of the settings under which they were first called.

use lambda_rds::{Connection, Error, Postgres};

use super::stage::*;

/// A moment and a day that mean something else under other settings.
const SCHEMA: &str = "
    create function moment() returns bigint language plpgsql as
        $$ begin return extract(epoch from timestamptz '2024-07-01 09:00')::bigint; end $$;
    create function month() returns bigint language plpgsql as
        $$ begin return extract(month from date '01/02/2024')::bigint; end $$;
    create table stamped (id bigint, at timestamptz);
    create function stamp() returns trigger language plpgsql as
        $$ begin new.at := timestamptz '2024-07-01 09:00'; return new; end $$;
    create trigger stamped before insert on stamped for each row execute function stamp();
    grant all on stamped to app";

const ASKED: [&str; 3] = [
    "select moment()",
    "select month()",
    "with i as (insert into stamped values (1) returning at) select extract(epoch from at)::bigint from i",
];

async fn answers(conn: &mut Connection<Postgres>, persistent: bool) -> Result<Vec<i64>, Error> {
    let mut answers = Vec::new();
    for sql in ASKED {
        answers.push(sqlx::query_scalar(sql).persistent(persistent).fetch_one(&mut *conn).await?);
    }
    Ok(answers)
}

#[tokio::test]
async fn functions_and_triggers_read_their_literals_as_the_session_would_alone() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    server.execute(SCHEMA).await;
    let expected = {
        let alone = proxy_to(&server).build()?;
        answers(&mut alone.get_connection().await?, true).await?
    };
    for (setting, local) in [
        ("set time zone 'Asia/Tokyo'", false),
        ("set datestyle = 'ISO, DMY'", false),
        ("set local time zone 'Asia/Tokyo'", true),
        ("set local datestyle = 'ISO, DMY'", true),
    ] {
        for persistent in [true, false] {
            // One physical connection, and one session after the other.
            let proxy = proxy_to(&server).max_connections(1).build()?;
            let mut one = proxy.get_connection().await?;
            if local {
                let mut tx = one.begin().await?;
                sqlx::raw_sql(setting).execute(&mut *tx).await?;
                assert_ne!(answers(&mut tx, persistent).await?, expected, "{setting}");
                tx.commit().await?;
            } else {
                sqlx::raw_sql(setting).execute(&mut one).await?;
                assert_ne!(answers(&mut one, persistent).await?, expected, "{setting}");
            }
            drop(one);
            let mut other = proxy.get_connection().await?;
            assert_eq!(answers(&mut other, persistent).await?, expected, "{setting}, persistent: {persistent}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_path_to_temporary_objects_outlives_what_drops_them() -> Result<(), Error> {
    let server = Server::start(ServerOptions::default()).await;
    for path in ["set search_path = pg_temp, public", "set schema 'pg_temp'", "set search_path = public, pg_temp"] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut one = proxy.get_connection().await?;
        sqlx::raw_sql(path).execute(&mut one).await?;
        sqlx::raw_sql("discard temp").execute(&mut one).await?;
        sqlx::raw_sql("create table secret as select 'one' as s").execute(&mut one).await?;
        let shown: String = sqlx::query_scalar("show search_path").fetch_one(&mut one).await?;
        assert!(shown.contains("pg_temp"), "{shown}");
        drop(one);
        let mut other = proxy.get_connection().await?;
        let seen = sqlx::query_scalar::<_, i64>(
            "select count(*) from pg_class where oid = to_regclass('secret') and relpersistence = 't'",
        );
        assert_eq!(seen.fetch_one(&mut other).await?, 0, "{path}");
        server.execute("drop table if exists secret").await;
    }
    Ok(())
}
