//! How full the server is.
//!
//! `numbackends` is counted in the server's own memory, once for each database; `pg_stat_activity` is only gone through
//! where the server fills up, or where this login's role has a limit of its own: a large fleet asks often.
//! Settings: <https://www.postgresql.org/docs/current/runtime-config-connection.html>.

use sqlx::postgres::{PgConnection, PgDatabaseError};
use sqlx::{Error, Executor, Row};

use crate::error::ConnectionLimit;
use crate::occupancy::Occupancy;

macro_rules! setting {
    ($name:literal) => {
        concat!("coalesce(pg_catalog.current_setting('", $name, "', true)::pg_catalog.int8, 0)")
    };
}

const TEXT: &str = concat!(
    "select a.sessions, a.slots, r.rolconnlimit::pg_catalog.int8 as of_role, d.datconnlimit::pg_catalog.int8 as of_database, \
       pg_catalog.pg_stat_get_db_numbackends(d.oid)::pg_catalog.int8 as in_database, \
       case when r.rolconnlimit operator(pg_catalog.>=) 0 then (select pg_catalog.count(*) \
         from pg_catalog.pg_stat_activity s where s.usesysid operator(pg_catalog.=) r.oid \
          and s.backend_type operator(pg_catalog.=) 'client backend') end as as_role, \
       case when (a.sessions operator(pg_catalog.*) 2::pg_catalog.int8) operator(pg_catalog.>) a.slots then \
         (select pg_catalog.count(*) from pg_catalog.pg_stat_activity s \
           where pg_catalog.left(s.application_name, 10) operator(pg_catalog.=) 'lambda-rds') end as ours \
     from (select (select pg_catalog.sum(pg_catalog.pg_stat_get_db_numbackends(b.oid))::pg_catalog.int8 \
                     from pg_catalog.pg_database b) as sessions, (",
    setting!("max_connections"),
    " operator(pg_catalog.-) ",
    setting!("superuser_reserved_connections"),
    " operator(pg_catalog.-) ",
    setting!("reserved_connections"),
    " operator(pg_catalog.-) ",
    setting!("rds.rds_superuser_reserved_connections"),
    ") as slots) a, pg_catalog.pg_roles r, pg_catalog.pg_database d \
     where r.rolname operator(pg_catalog.=) session_user \
       and d.datname operator(pg_catalog.=) pg_catalog.current_database()"
);

pub(super) async fn occupancy(conn: &mut PgConnection) -> Result<Occupancy, Error> {
    let row = conn.fetch_one(sqlx::raw_sql(TEXT)).await?;
    let own = |sessions: Option<i64>, limit: i64| sessions.filter(|_| limit >= 0).map(|sessions| (sessions, limit));
    let limits = [
        Some((row.try_get("sessions")?, row.try_get("slots")?)),
        own(row.try_get("as_role")?, row.try_get("of_role")?),
        own(row.try_get("in_database")?, row.try_get("of_database")?),
    ];
    Occupancy::nearest(limits.into_iter().flatten(), row.try_get("ours")?).ok_or(Error::RowNotFound)
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
        Some("InitProcess" | "ProcessStartupPacket" | "BackendInitialize" | "processCancelRequest") => {
            ConnectionLimit::Server
        }
        _ => ConnectionLimit::Unknown,
    }
}
