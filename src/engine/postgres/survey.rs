//! One look at a server: its role, its flavour, its neighbours.
//!
//! Everything is named with its schema, operators too, and nothing is used that looks an operator up by itself (`IN`,
//! `NULLIF`, `CASE x WHEN`): a session's `search_path` can put anybody's functions before the system's. The texts go out
//! as simple queries: one round trip, and no statement stays behind.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Error, Executor, Row};

use crate::engine::{Flavour, Sighting, Survey};

/// The server waits no longer than this for its promotion: the text cannot be taken back without a cancel.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The sessions of the login's user. Everybody may see those, as far as user and kind go.
macro_rules! sessions {
    () => {
        "(select pg_catalog.count(*) from pg_catalog.pg_stat_activity \
           where usename operator(pg_catalog.=) session_user \
             and backend_type operator(pg_catalog.=) 'client backend') as sessions"
    };
}

/// A server that takes no writes: one that follows another, or that its configuration has made read-only, as the old side
/// of a switchover. A session's, role's or database's own wish to read only says nothing about the server.
macro_rules! is_reader {
    () => {
        "(pg_catalog.pg_is_in_recovery() or case \
            when pg_catalog.current_setting('default_transaction_read_only') operator(pg_catalog.=) 'on' then exists \
              (select from pg_catalog.pg_settings g \
               where g.name operator(pg_catalog.=) 'default_transaction_read_only' \
                 and g.source operator(pg_catalog.=) 'configuration file') \
            else false end) as is_reader"
    };
}

/// Whether a function exists and may be called.
macro_rules! offers {
    ($schema:literal, $function:literal) => {
        concat!(
            "exists (select from pg_catalog.pg_proc f join pg_catalog.pg_namespace n \
               on n.oid operator(pg_catalog.=) f.pronamespace \
             where n.nspname operator(pg_catalog.=) '",
            $schema,
            "' and f.proname operator(pg_catalog.=) '",
            $function,
            "' and pg_catalog.has_schema_privilege(n.oid, 'usage') \
               and pg_catalog.has_function_privilege(f.oid, 'execute'))"
        )
    };
}

const DETECT: &str = concat!(
    "select ",
    is_reader!(),
    ", ",
    sessions!(),
    ", ",
    offers!("pg_catalog", "aurora_replica_status"),
    " as aurora, ",
    offers!("rds_tools", "show_topology"),
    " as multi_az"
);

const PLAIN: &str = concat!("select ", is_reader!(), ", ", sessions!());

/// Columns: <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora_replica_status.html>. A member that has
/// not reported for five minutes is gone; the server asked has no time of its own.
const AURORA: &str = concat!(
    "select ",
    is_reader!(),
    ", ",
    sessions!(),
    ", pg_catalog.aurora_db_instance_identifier()::pg_catalog.text as me, \
       s.server_id::pg_catalog.text as id, null::pg_catalog.text as host, null::pg_catalog.int8 as port, \
       s.session_id::pg_catalog.text operator(pg_catalog.=) 'MASTER_SESSION_ID' as writer, \
       s.replica_lag_in_msec::pg_catalog.float8 as lag \
     from (select 1) one left join ( \
       select * from pg_catalog.aurora_replica_status() a \
        where a.session_id::pg_catalog.text operator(pg_catalog.=) 'MASTER_SESSION_ID' \
           or a.last_update_timestamp is null \
           or (pg_catalog.now() operator(pg_catalog.-) a.last_update_timestamp) \
              operator(pg_catalog.<=) '5 minutes'::pg_catalog.interval \
     ) s on true"
);

/// The source is the writer; the writer itself names itself, or nobody:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/multi-az-db-clusters-concepts-connection-management.html>.
const MULTI_AZ: &str = concat!(
    "select ",
    is_reader!(),
    ", ",
    sessions!(),
    ", me.id as me, t.id::pg_catalog.text as id, t.endpoint::pg_catalog.text as host, t.port::pg_catalog.int8 as port, \
       t.id::pg_catalog.text operator(pg_catalog.=) \
         (case when me.source operator(pg_catalog.<>) '' then me.source else me.id end) as writer, \
       null::pg_catalog.float8 as lag \
     from (select rds_tools.dbi_resource_id()::pg_catalog.text as id, \
                  rds_tools.multi_az_db_cluster_source_dbi_resource_id()::pg_catalog.text as source) me \
     left join (select * from rds_tools.show_topology('lambda-rds-",
    env!("CARGO_PKG_VERSION"),
    "')) t on true"
);

pub(super) async fn survey(conn: &mut PgConnection, flavour: Flavour) -> Result<Survey, Error> {
    let mut fallback = None;
    let flavour = match flavour {
        Flavour::Unknown => {
            let row = conn.fetch_one(sqlx::raw_sql(DETECT)).await?;
            let found = match (row.try_get("aurora")?, row.try_get("multi_az")?) {
                (true, _) => Flavour::Aurora,
                (false, true) => Flavour::MultiAzCluster,
                (false, false) => Flavour::Plain,
            };
            let plain = read(&[row], Flavour::Plain)?;
            if found == Flavour::Plain {
                return Ok(plain);
            }
            fallback = Some(plain);
            found
        }
        known => known,
    };
    let text = match flavour {
        Flavour::Aurora => AURORA,
        Flavour::MultiAzCluster => MULTI_AZ,
        Flavour::Plain | Flavour::Unknown => PLAIN,
    };
    match (conn.fetch_all(sqlx::raw_sql(text)).await, fallback) {
        (Ok(rows), _) => read(&rows, flavour),
        (Err(error), Some(plain)) if may_not(&error) => Ok(plain),
        (Err(error), None) if may_not(&error) && text != PLAIN => {
            read(&conn.fetch_all(sqlx::raw_sql(PLAIN)).await?, Flavour::Plain)
        }
        (Err(error), _) => Err(error),
    }
}

/// What is looked at is not there, or not for this user: no such permission, function, column or schema, or not on this
/// kind of server.
fn may_not(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    matches!(code.as_deref(), Some("42501" | "42883" | "42703" | "3F000" | "0A000"))
}

fn read(rows: &[PgRow], flavour: Flavour) -> Result<Survey, Error> {
    let first = rows.first().ok_or(Error::RowNotFound)?;
    let sessions: i64 = first.try_get("sessions")?;
    let mut survey = Survey {
        is_reader: first.try_get("is_reader")?,
        flavour,
        sessions: u32::try_from(sessions).ok(),
        ..Survey::default()
    };
    if flavour == Flavour::Plain {
        return Ok(survey);
    }
    survey.me = first.try_get("me")?;
    for row in rows {
        // Nobody in sight is one row without a member.
        let Some(id) = row.try_get("id")? else { continue };
        let lag: Option<f64> = row.try_get("lag")?;
        survey.sightings.push(Sighting {
            id,
            host: row.try_get("host")?,
            port: row.try_get::<Option<i64>, _>("port")?.and_then(|port| u16::try_from(port).ok()),
            writer: row.try_get::<Option<bool>, _>("writer")?.unwrap_or(false),
            lag: lag.and_then(|lag| Duration::try_from_secs_f64(lag / 1000.0).ok()),
        });
    }
    Ok(survey)
}

/// Why let the server wait? News of the promotion come within one of its own looks at shared memory, and a thousand
/// environments that wait send one text a second each instead of hundreds.
pub(super) async fn await_promotion(conn: &mut PgConnection, bound: Duration) -> Result<bool, Error> {
    let milliseconds = bound.min(LONGEST_WAIT).as_millis();
    let text = format!(
        "do $lambda_rds$ declare ends pg_catalog.timestamptz := pg_catalog.clock_timestamp() \
           operator(pg_catalog.+) '{milliseconds} milliseconds'::pg_catalog.interval; \
         begin \
           while (pg_catalog.pg_is_in_recovery() or \
                  pg_catalog.current_setting('default_transaction_read_only') operator(pg_catalog.=) 'on') \
             and pg_catalog.clock_timestamp() operator(pg_catalog.<) ends loop \
             perform pg_catalog.pg_sleep(0.005); \
           end loop; \
         end $lambda_rds$ language plpgsql; \
         select {}",
        is_reader!()
    );
    match conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(text))).await {
        Ok(row) => row.try_get::<bool, _>("is_reader").map(|is_reader| !is_reader),
        // The user's own statement_timeout is shorter: it was a reader until then.
        Err(error) if error.as_database_error().and_then(|refusal| refusal.code()).as_deref() == Some("57014") => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
