//! How full the server is.
//!
//! A large fleet asks often, and mostly on connections that are new: the usual text calls functions only, which count in the
//! server's own memory, and has no catalogue to read. Whether this login's role or database has a limit of its own is asked
//! once a process, and only where there is one do the texts after that look at it. What RDS keeps for itself is asked once
//! as well: a session may give itself a setting of that name, and only the catalogue tells which one is the server's.
//! Settings: <https://www.postgresql.org/docs/current/runtime-config-connection.html>.

use sqlx::postgres::{PgConnection, PgDatabaseError, PgRow};
use sqlx::{Error, Postgres, Row};

use crate::engine::OwnLimits;
use crate::engine::question::row;
use crate::error::ConnectionLimit;
use crate::occupancy::Occupancy;

macro_rules! setting {
    ($name:literal) => {
        concat!("coalesce(pg_catalog.current_setting('", $name, "', true)::pg_catalog.int8, 0)")
    };
}

/// Sessions with a database are those that take up slots; the server's own processes and its standbys have none.
macro_rules! sessions_and_slots {
    () => {
        concat!(
            "(select pg_catalog.count(*) from pg_catalog.pg_stat_get_backend_idset() b \
               where pg_catalog.pg_stat_get_backend_dbid(b) operator(pg_catalog.<>) 0::pg_catalog.oid) as sessions, (",
            setting!("max_connections"),
            " operator(pg_catalog.-) ",
            setting!("superuser_reserved_connections"),
            " operator(pg_catalog.-) ",
            setting!("reserved_connections"),
            ") as slots"
        )
    };
}

const OF_THE_SERVER: &str = concat!("select ", sessions_and_slots!());

const OF_ALL: &str = concat!(
    "select ",
    sessions_and_slots!(),
    ", r.rolconnlimit::pg_catalog.int8 as of_role, d.datconnlimit::pg_catalog.int8 as of_database, \
       pg_catalog.pg_stat_get_db_numbackends(d.oid)::pg_catalog.int8 as in_database, \
       (select pg_catalog.count(*) from pg_catalog.pg_stat_activity s \
         where s.usesysid operator(pg_catalog.=) r.oid \
           and s.backend_type operator(pg_catalog.=) 'client backend') as as_role, \
       (select pg_catalog.count(*) from pg_catalog.pg_stat_activity s \
         where pg_catalog.left(s.application_name, 10) operator(pg_catalog.=) 'lambda-rds') as ours, \
       coalesce((select g.setting::pg_catalog.int8 from pg_catalog.pg_settings g \
         where g.name operator(pg_catalog.=) 'rds.rds_superuser_reserved_connections' \
           and g.context operator(pg_catalog.=) 'postmaster'), 0) as reserved \
     from pg_catalog.pg_roles r, pg_catalog.pg_database d \
     where r.rolname operator(pg_catalog.=) session_user \
       and d.datname operator(pg_catalog.=) pg_catalog.current_database()"
);

pub(super) async fn occupancy(conn: &mut PgConnection, own: OwnLimits) -> Result<(Occupancy, OwnLimits), Error> {
    if let OwnLimits::Known { some: false, reserved } = own {
        let row = row::<Postgres>(conn, OF_THE_SERVER).await?;
        let occupancy = Occupancy::nearest([of_the_server(&row, reserved)?], None);
        return Ok((occupancy.ok_or(Error::RowNotFound)?, own));
    }
    let row = row::<Postgres>(conn, OF_ALL).await?;
    let reserved = row.try_get("reserved")?;
    let (of_role, of_database): (i64, i64) = (row.try_get("of_role")?, row.try_get("of_database")?);
    let limits = [
        Some(of_the_server(&row, reserved)?),
        (of_role >= 0).then_some((row.try_get("as_role")?, of_role)),
        (of_database >= 0).then_some((row.try_get("in_database")?, of_database)),
    ];
    let occupancy = Occupancy::nearest(limits.into_iter().flatten(), row.try_get("ours")?);
    let own = OwnLimits::Known { some: of_role >= 0 || of_database >= 0, reserved };
    Ok((occupancy.ok_or(Error::RowNotFound)?, own))
}

/// Sessions and slots.
fn of_the_server(row: &PgRow, reserved: i64) -> Result<(i64, i64), Error> {
    let slots: i64 = row.try_get("slots")?;
    Ok((row.try_get("sessions")?, slots.saturating_sub(reserved)))
}

/// Which limit a login has met. All have one code (53300), and words in the server's language; the names of the server's
/// own functions are the same in all of them.
pub(super) fn limit(error: &Error) -> ConnectionLimit {
    let routine = error
        .as_database_error()
        .and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>())
        .and_then(PgDatabaseError::routine);
    match routine {
        Some("InitializeSessionUserId") => ConnectionLimit::Role,
        Some("CheckMyDatabase") => ConnectionLimit::Database,
        Some("InitPostgres") => ConnectionLimit::Reserved,
        Some("InitProcess" | "ProcessStartupPacket" | "BackendInitialize") => ConnectionLimit::Server,
        _ => ConnectionLimit::Unknown,
    }
}
