//! How full the server is.
//!
//! `SHOW GLOBAL STATUS` asks for no privilege, on MySQL and MariaDB alike. The session's `max_user_connections` is the
//! limit that holds for its account: <https://dev.mysql.com/doc/refman/8.4/en/user-resources.html>.

use futures_util::TryStreamExt;
use sqlx::mysql::MySqlConnection;
use sqlx::{Either, Error, Executor, Row};

use super::diagnose::refusal;
use crate::error::ConnectionLimit;
use crate::occupancy::Occupancy;

/// Whoever has no `PROCESS` privilege sees the sessions of the own account, and those are what is counted.
const TEXT: &str = "SELECT CAST(@@GLOBAL.max_connections AS SIGNED) AS slots, \
       CAST(@@SESSION.max_user_connections AS SIGNED) AS of_user, \
       CASE WHEN @@SESSION.max_user_connections > 0 THEN (SELECT CAST(COUNT(*) AS SIGNED) \
         FROM information_schema.processlist WHERE user = SUBSTRING_INDEX(USER(), '@', 1)) END AS as_user; \
     SHOW GLOBAL STATUS LIKE 'Threads\\_connected'";

pub(super) async fn occupancy(conn: &mut MySqlConnection) -> Result<Occupancy, Error> {
    let mut answers = conn.fetch_many(sqlx::raw_sql(TEXT));
    let (mut limits, mut sessions) = (None, None);
    while let Some(answer) = answers.try_next().await? {
        let Either::Right(row) = answer else { continue };
        if limits.is_none() {
            let own = (row.try_get::<Option<i64>, _>("as_user")?, row.try_get::<i64, _>("of_user")?);
            limits = Some((row.try_get::<i64, _>("slots")?, own));
        } else {
            let value: String = row.try_get(1)?;
            sessions = value.parse::<i64>().ok();
        }
    }
    let (Some((slots, own)), Some(sessions)) = (limits, sessions) else { return Err(Error::RowNotFound) };
    let own = match own {
        (Some(sessions), limit) => Some((sessions, limit)),
        (None, _) => None,
    };
    Occupancy::nearest([Some((sessions, slots)), own].into_iter().flatten(), None).ok_or(Error::RowNotFound)
}

/// Which limit a login has met: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
pub(super) fn limit(error: &Error) -> ConnectionLimit {
    match refusal(error).map(sqlx::mysql::MySqlDatabaseError::number) {
        Some(1040) => ConnectionLimit::Server,
        Some(1203 | 1226) => ConnectionLimit::Role,
        _ => ConnectionLimit::Unknown,
    }
}
