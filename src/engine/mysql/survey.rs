//! One look at a server: its role, its flavour, its neighbours.
//!
//! The texts go out as simple queries, several statements in one where it takes several: one round trip, and no statement
//! stays behind. What a session has set changes no answer: each question says how many rows it wants, since
//! `sql_select_limit` would say so otherwise, and none needs an empty text, which is null in one of MariaDB's `sql_mode`s.
//! No alias is a word that either family reserves: MySQL 8 has taken the names of the window functions, such as `lag`.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Error, MySql, Row};

use super::number;
use crate::engine::question::{row, rows};
use crate::engine::survey::most_sightings;
use crate::engine::{Flavour, Sighting, Survey};

/// The server waits no longer than this for its promotion: the text cannot be taken back without a cancel.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Between two looks of the server at itself.
const LOOK: Duration = Duration::from_millis(5);

/// A server that takes no writes. Aurora's readers say `innodb_read_only`, the others `read_only`, which has several ways
/// of being on since MariaDB 12. What a session has set for itself is another thing.
macro_rules! is_reader {
    () => {
        "(CONCAT(@@global.read_only) NOT IN ('0', 'OFF') OR @@global.innodb_read_only <> 0)"
    };
}

/// The sessions of the login's user: everybody may see those. As bytes, for a collation takes other users for this one; and
/// a name may have an `@`.
macro_rules! plain {
    () => {
        concat!(
            "SELECT CAST(",
            is_reader!(),
            " AS SIGNED) AS is_reader, CAST((SELECT COUNT(*) FROM information_schema.processlist \
               WHERE CAST(CONCAT(user, '@', SUBSTRING_INDEX(USER(), '@', -1)) AS BINARY) = CAST(USER() AS BINARY)) \
               AS SIGNED) AS sessions"
        )
    };
}

const PLAIN: &str = concat!(plain!(), " LIMIT 1");

/// `mysql.rds_topology` is also there under a Blue/Green deployment; `report_host` tells a cluster's member.
const DETECT: &str = concat!(
    plain!(),
    ", CAST((SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'information_schema' \
         AND table_name IN ('replica_host_status', 'REPLICA_HOST_STATUS')) AS SIGNED) AS aurora, \
       CAST((SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'mysql' \
         AND table_name = 'rds_topology' AND LENGTH(@@report_host) > 0) AS SIGNED) AS multi_az LIMIT 1"
);

/// Where Aurora keeps what its members say of themselves, and their names for themselves; the tests imitate both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aurora<'a> {
    pub(crate) status: &'a str,
    pub(crate) me: &'a str,
}

const AURORA: Aurora<'static> = Aurora { status: "information_schema.replica_host_status", me: "@@aurora_server_id" };

/// Columns: <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/AuroraMySQL.Reference.ISTables.html>. A member
/// that has not reported for five minutes is gone.
fn aurora(names: Aurora<'_>) -> String {
    let Aurora { status, me } = names;
    format!(
        concat!(
            plain!(),
            ", {me} AS me LIMIT 1; \
             SELECT CAST(server_id AS CHAR) AS id, NULL AS host, NULL AS port, \
               CAST(session_id = 'MASTER_SESSION_ID' AS SIGNED) AS writer, \
               CAST(replica_lag_in_milliseconds AS DOUBLE) AS behind \
             FROM {status} \
             WHERE session_id = 'MASTER_SESSION_ID' \
                OR TIME_TO_SEC(TIMEDIFF(NOW(), last_update_timestamp)) <= 300 LIMIT ",
            most_sightings!()
        ),
        me = me,
        status = status,
    )
}

/// The writer follows nobody; everybody else follows it:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/multi-az-db-clusters-concepts-connection-management.html>.
///
/// It is a table, and whoever may write to it may write long rows: no host has more than 253 characters (RFC 1035, 2.3.4).
const MULTI_AZ: &str = concat!(
    plain!(),
    ", CAST(@@server_id AS CHAR) AS me LIMIT 1; \
     SELECT CAST(id AS CHAR(300)) AS id, CAST(endpoint AS CHAR(300)) AS host, CAST(port AS SIGNED) AS port, \
       NULL AS writer, NULL AS behind FROM mysql.rds_topology LIMIT ",
    most_sightings!(),
    "; SHOW REPLICA STATUS"
);

pub(super) async fn survey(conn: &mut MySqlConnection, flavour: Flavour) -> Result<Survey, Error> {
    survey_as(conn, flavour, AURORA).await
}

pub(crate) async fn survey_as(
    conn: &mut MySqlConnection,
    flavour: Flavour,
    names: Aurora<'_>,
) -> Result<Survey, Error> {
    let mut fallback = None;
    let flavour = match flavour {
        Flavour::Unknown => {
            let row = row::<MySql>(conn, DETECT).await?;
            let found = match (row.try_get::<i64, _>("aurora")? > 0, row.try_get::<i64, _>("multi_az")? > 0) {
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
        Flavour::Aurora => aurora(names),
        Flavour::MultiAzCluster => MULTI_AZ.to_owned(),
        Flavour::Plain | Flavour::Unknown => PLAIN.to_owned(),
    };
    match (rows::<MySql>(conn, text).await, fallback) {
        (Ok(rows), _) => read(&rows, flavour),
        (Err(error), Some(plain)) if may_not(&error) => Ok(plain),
        (Err(error), None) if may_not(&error) && flavour != Flavour::Plain => {
            read(&rows::<MySql>(conn, PLAIN.to_owned()).await?, Flavour::Plain)
        }
        (Err(error), _) => Err(error),
    }
}

/// What is looked at is not there, or not for this user: no such permission, table, variable or column. A text that the
/// server cannot read is neither: that would be our own mistake, and must not pass for the user's.
fn may_not(error: &Error) -> bool {
    matches!(number(error), Some(1044 | 1142 | 1143 | 1146 | 1109 | 1193 | 1054 | 1227 | 1370))
}

/// The first row is the server's own, then come the members, and last of all whom it follows.
fn read(rows: &[MySqlRow], flavour: Flavour) -> Result<Survey, Error> {
    let first = rows.first().ok_or(Error::RowNotFound)?;
    let sessions: i64 = first.try_get("sessions")?;
    let mut survey = Survey {
        is_reader: first.try_get::<i64, _>("is_reader")? != 0,
        flavour,
        sessions: u32::try_from(sessions).ok(),
        ..Survey::default()
    };
    if flavour == Flavour::Plain {
        return Ok(survey);
    }
    survey.me = first.try_get("me")?;
    let mut source = None;
    for row in &rows[1..] {
        let Ok(id) = row.try_get::<String, _>("id") else {
            // MariaDB has kept the older name.
            let names = ["Source_Server_Id", "Master_Server_Id"];
            source = names.iter().find_map(|name| row.try_get_unchecked::<u64, _>(*name).ok());
            continue;
        };
        let behind: Option<f64> = row.try_get("behind")?;
        survey.sightings.push(Sighting {
            id,
            host: row.try_get("host")?,
            port: row.try_get::<Option<i64>, _>("port")?.and_then(|port| u16::try_from(port).ok()),
            writer: row.try_get::<Option<i64>, _>("writer")?.is_some_and(|writer| writer != 0),
            lag: behind.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok()),
        });
    }
    if flavour == Flavour::MultiAzCluster {
        let writer = source.map(|source| source.to_string()).or_else(|| survey.me.clone());
        for sighting in &mut survey.sightings {
            sighting.writer = writer.as_ref() == Some(&sighting.id);
        }
    }
    Ok(survey)
}

/// Why let the server wait? News of the promotion come within one of its own looks, and a thousand environments that wait
/// send one text a second each instead of hundreds. MySQL has no loop outside a routine, but a text may be long: each of
/// its statements looks anew, and none waits any more when the server is a writer.
pub(super) async fn await_promotion(conn: &mut MySqlConnection, bound: Duration) -> Result<bool, Error> {
    let looks = bound.min(LONGEST_WAIT).as_millis() / LOOK.as_millis();
    let mut text = String::new();
    for _ in 0..looks {
        // Into a string: it cannot fail.
        let _ = write!(text, "DO SLEEP(IF({}, {}, 0));", is_reader!(), LOOK.as_secs_f64());
    }
    let _ = write!(text, "SELECT CAST({} AS SIGNED) AS is_reader LIMIT 1", is_reader!());
    match rows::<MySql>(conn, text).await {
        Ok(rows) => {
            let row = rows.last().ok_or(Error::RowNotFound)?;
            row.try_get::<i64, _>("is_reader").map(|is_reader| is_reader == 0)
        }
        // The user's own time limit, as MariaDB and as MySQL call it, is shorter than a look: it was a reader until then.
        Err(error) if matches!(number(&error), Some(1969 | 3024)) => Ok(false),
        Err(error) => Err(error),
    }
}
