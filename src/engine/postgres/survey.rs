//! One look at a server: its role, its flavour, its neighbours.
//!
//! Everything is named with its schema, operators too, and nothing is used that looks an operator up by itself (`IN`,
//! `NULLIF`, `CASE x WHEN`): a session's `search_path` can put anybody's functions before the system's. The texts go out
//! as simple queries: one round trip, and no statement stays behind.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Error, Postgres, Row};

use super::diagnose::diagnose;
use crate::engine::question::{row, rows};
use crate::engine::survey::most_sightings;
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

/// Of more functions than these no system has as many by these names, and each takes a look into several catalogues.
macro_rules! crowd {
    () => {
        "17"
    };
}

/// What may be called of a kind of cluster's functions: whether all of them exist, may be used, and are the system's own.
///
/// Why ask who owns them? A name proves nothing: whoever may create a schema can call it `rds_tools`, and what is called is
/// executed with the login's rights. The bootstrap superuser, whose id is always 10, owns what the system brings; on RDS that
/// is AWS's own administrator. Functions of an extension must belong to the extension as well, and so must their schema.
macro_rules! functions {
    ($schema:literal, $names:literal, $count:literal, $belongs:literal) => {
        concat!(
            "(select pg_catalog.count(*) operator(pg_catalog.>) 0 as exist, \
                     coalesce(pg_catalog.count(distinct f.proname) operator(pg_catalog.=) ",
            $count,
            " and pg_catalog.count(*) operator(pg_catalog.<) ",
            crowd!(),
            " and pg_catalog.bool_and(f.proowner operator(pg_catalog.=) 10::pg_catalog.oid \
                and n.nspowner operator(pg_catalog.=) 10::pg_catalog.oid and ",
            $belongs,
            "), false) as genuine, \
                     coalesce(pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, 'usage') \
                and pg_catalog.has_function_privilege(f.oid, 'execute')), false) as allowed \
               from pg_catalog.pg_namespace n cross join lateral (select p.oid, p.proname, p.proowner \
                      from pg_catalog.pg_proc p \
                     where p.pronamespace operator(pg_catalog.=) n.oid \
                       and p.proname operator(pg_catalog.=) any ('",
            $names,
            "'::pg_catalog.name[]) limit ",
            crowd!(),
            ") f where n.nspname operator(pg_catalog.=) '",
            $schema,
            "')"
        )
    };
}

macro_rules! aurora_functions {
    () => {
        functions!("pg_catalog", "{aurora_replica_status,aurora_db_instance_identifier}", "2", "true")
    };
}

macro_rules! rds_tools {
    () => {
        functions!(
            "rds_tools",
            "{show_topology,dbi_resource_id,multi_az_db_cluster_source_dbi_resource_id}",
            "3",
            "exists (select from pg_catalog.pg_depend d join pg_catalog.pg_extension e \
                  on e.oid operator(pg_catalog.=) d.refobjid \
                where d.classid operator(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid \
                  and d.objid operator(pg_catalog.=) f.oid \
                  and d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid \
                  and d.deptype operator(pg_catalog.=) 'e'::pg_catalog.\"char\" \
                  and e.extname operator(pg_catalog.=) 'rds_tools' \
                  and (e.extnamespace operator(pg_catalog.=) n.oid or exists (select from pg_catalog.pg_depend s \
                     where s.classid operator(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid \
                       and s.objid operator(pg_catalog.=) n.oid \
                       and s.refclassid operator(pg_catalog.=) d.refclassid \
                       and s.refobjid operator(pg_catalog.=) e.oid \
                       and s.deptype operator(pg_catalog.=) 'e'::pg_catalog.\"char\")))"
        )
    };
}

/// Refuses the rest of its text, with a division by zero, where the functions are not the system's. The server reads each
/// statement of a text only when the one before it has succeeded, so nothing of theirs is looked at before that.
macro_rules! unless_genuine_refuse {
    ($functions:expr) => {
        concat!(
            "select from ",
            $functions,
            " f where 1 operator(pg_catalog./) (case when f.genuine then 1 else 0 end) operator(pg_catalog.<>) 1; "
        )
    };
}

const DETECT: &str = concat!(
    "select ",
    is_reader!(),
    ", ",
    sessions!(),
    ", a.genuine and a.allowed as aurora, a.exist and not a.genuine as false_aurora, \
       t.genuine and t.allowed as multi_az, t.exist and not t.genuine as false_multi_az from ",
    aurora_functions!(),
    " a, ",
    rds_tools!(),
    " t"
);

const PLAIN: &str = concat!("select ", is_reader!(), ", ", sessions!());

/// Columns: <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora_replica_status.html>. A member that has
/// not reported for five minutes is gone; the server asked has no time of its own.
const AURORA: &str = concat!(
    unless_genuine_refuse!(aurora_functions!()),
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
     ) s on true limit ",
    most_sightings!()
);

/// The source is the writer; the writer itself names itself, or nobody:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/multi-az-db-clusters-concepts-connection-management.html>.
const MULTI_AZ: &str = concat!(
    unless_genuine_refuse!(rds_tools!()),
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
    "')) t on true limit ",
    most_sightings!()
);

const FALSE_AURORA: &str = "functions of pg_catalog that are called as Aurora's and are not the system's";
const FALSE_RDS_TOOLS: &str = "functions of a schema rds_tools that is not the extension's, or not the system's";

pub(super) async fn survey(conn: &mut PgConnection, flavour: Flavour) -> Result<Survey, Error> {
    let mut ignored = None;
    let flavour = match flavour {
        Flavour::Unknown => {
            let row = one(rows::<Postgres>(conn, DETECT).await?)?;
            let found = match (row.try_get("aurora")?, row.try_get("multi_az")?) {
                (true, _) => Flavour::Aurora,
                (false, true) => Flavour::MultiAzCluster,
                (false, false) => Flavour::Plain,
            };
            if row.try_get("false_aurora")? {
                ignored = Some(FALSE_AURORA);
            } else if row.try_get("false_multi_az")? {
                ignored = Some(FALSE_RDS_TOOLS);
            }
            if found == Flavour::Plain {
                return Ok(Survey { ignored, ..read(&[row], Flavour::Plain)? });
            }
            found
        }
        known => known,
    };
    let (text, claim) = match flavour {
        Flavour::Aurora => (AURORA, FALSE_AURORA),
        Flavour::MultiAzCluster => (MULTI_AZ, FALSE_RDS_TOOLS),
        Flavour::Plain | Flavour::Unknown => return read(&rows::<Postgres>(conn, PLAIN).await?, Flavour::Plain),
    };
    let refused = match rows::<Postgres>(conn, text).await.and_then(|rows| read(&rows, flavour)) {
        Ok(survey) => return Ok(Survey { ignored, ..survey }),
        Err(error) if is_refusal(&error) => error,
        Err(error) => return Err(error),
    };
    // Its neighbours cannot be asked for; its role can, and that is what somebody waits for.
    let plain = read(&rows::<Postgres>(conn, PLAIN).await?, Flavour::Plain)?;
    Ok(match code(&refused).as_deref() {
        Some("22012") => Survey { ignored: Some(claim), ..plain },
        Some(code) if MAY_NOT.contains(&code) => Survey { ignored, ..plain },
        _ => Survey { ignored, failed: Some(refused.to_string()), ..plain },
    })
}

/// No such permission, function, column or schema, or not on this kind of server: what is looked at is not there, or not
/// for this user.
const MAY_NOT: [&str; 5] = ["42501", "42883", "42703", "3F000", "0A000"];

fn one(rows: Vec<PgRow>) -> Result<PgRow, Error> {
    rows.into_iter().next().ok_or(Error::RowNotFound)
}

fn code(error: &Error) -> Option<String> {
    error.as_database_error()?.code().map(Into::into)
}

/// The server has answered, and the connection is fine: it refused, or what it said is none of the survey's answers.
fn is_refusal(error: &Error) -> bool {
    diagnose(error).is_of_statement()
        || matches!(
            error,
            Error::ColumnNotFound(_) | Error::ColumnDecode { .. } | Error::Decode(_) | Error::RowNotFound
        )
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
    match row::<Postgres>(conn, text).await {
        Ok(row) => row.try_get::<bool, _>("is_reader").map(|is_reader| !is_reader),
        // The user's own statement_timeout is shorter: it was a reader until then.
        Err(error) if error.as_database_error().and_then(|refusal| refusal.code()).as_deref() == Some("57014") => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
