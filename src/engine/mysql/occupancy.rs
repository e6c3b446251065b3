//! How full the server is.
//!
//! What `SHOW GLOBAL STATUS` reads asks for no privilege, on MySQL and MariaDB alike, and a session's `sql_select_limit` has
//! no say where there is a limit. The session's `max_user_connections` is the limit that holds for its account:
//! <https://dev.mysql.com/doc/refman/8.4/en/user-resources.html>.

use sqlx::mysql::MySqlConnection;
use sqlx::{Error, MySql, Row};

use super::diagnose::refusal;
use crate::engine::question::row;
use crate::error::ConnectionLimit;
use crate::occupancy::Occupancy;

/// Whoever has no `PROCESS` privilege sees the sessions of the own account, and those are what is counted. Each server reads
/// its own one of the two comments.
const TEXT: &str = "SELECT CAST(@@GLOBAL.max_connections AS SIGNED) AS slots, \
       (SELECT CAST(VARIABLE_VALUE AS SIGNED) \
         FROM /*M! information_schema */ /*!50706 performance_schema */ . global_status \
         WHERE VARIABLE_NAME = 'Threads_connected') AS sessions, \
       CAST(@@SESSION.max_user_connections AS SIGNED) AS of_user, \
       CASE WHEN @@SESSION.max_user_connections > 0 THEN (SELECT CAST(COUNT(*) AS SIGNED) \
         FROM information_schema.processlist WHERE user = SUBSTRING_INDEX(USER(), '@', 1)) END AS as_user LIMIT 1";

pub(super) async fn occupancy(conn: &mut MySqlConnection) -> Result<Occupancy, Error> {
    let row = row::<MySql>(conn, TEXT).await?;
    let own = match row.try_get("as_user")? {
        Some(sessions) => Some((sessions, row.try_get("of_user")?)),
        None => None,
    };
    let server = (row.try_get("sessions")?, row.try_get("slots")?);
    Occupancy::nearest([Some(server), own].into_iter().flatten(), None).ok_or(Error::RowNotFound)
}

/// Which limit a login has met: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
pub(super) fn limit(error: &Error) -> ConnectionLimit {
    match refusal(error).map(sqlx::mysql::MySqlDatabaseError::number) {
        Some(1040) => ConnectionLimit::Server,
        Some(1203 | 1226) => ConnectionLimit::Role,
        _ => ConnectionLimit::Unknown,
    }
}
