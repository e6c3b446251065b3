//! How to log in.
//!
//! The driver would send a `SET` of its own after the login. Here the same settings, the server's bounds for what a dead
//! environment leaves behind, and the question for the session's number go out as one text: one round trip, as before.

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{ConnectOptions, Error, MySql, Row};

use crate::config::Tls;
use crate::engine::question::rows;
use crate::engine::{Dialled, Login, Settings};

/// Which server it is, among all that an address may lead to, and since when: it numbers its sessions from one again when
/// it was started anew.
///
/// The time first: the second may end between the two, and a server that seems to have started a second later than it has
/// would not know the sessions of its first second.
const WHERE: &str = "SELECT CONCAT(@@hostname, ':', @@port), CAST(UNIX_TIMESTAMP() AS SIGNED); \
    SHOW GLOBAL STATUS LIKE 'Uptime'";

/// What sqlx sets by itself, so that its types mean what they mean with sqlx alone: `||` concatenates, a missing storage
/// engine is an error, times are UTC, texts are UTF-8. Its login asks for spaces between a function and its parenthesis.
const SQL_MODE: &str =
    "sql_mode = (SELECT CONCAT(@@global.sql_mode, ',PIPES_AS_CONCAT,NO_ENGINE_SUBSTITUTION,IGNORE_SPACE'))";
const TIME_ZONE: &str = "time_zone = '+00:00'";
const NAMES: &str = "NAMES utf8mb4";

/// A transaction begins and ends where somebody says so, whatever the server's configuration says.
const AUTOCOMMIT: &str = "autocommit = 1";
/// With it `id IS NULL` would ask for the row of the last number, whosever that is.
const AUTO_IS_NULL: &str = "sql_auto_is_null = 0";
const COMPLETION: &str = "completion_type = 0";

/// Whether a session may begin with other settings than the server's defaults: `init_connect` is executed at each login but
/// an administrator's (<https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_init_connect>), and a
/// MariaDB account may have a time limit of its own
/// (<https://mariadb.com/docs/server/reference/sql-statements/account-management-sql-statements/create-user>).
const HAS_OWN_VALUES: &str = "CAST(LENGTH(@@init_connect) > 0 \
    /*M!100101 OR @@max_statement_time <> @@global.max_statement_time */ AS SIGNED)";

/// MySQL goes on with the types of an execution of what is prepared; MariaDB, which alone reads such a comment, takes each
/// execution's own.
const PREPARES_FOR_TYPES: &str = "1 /*M! - 1 */";

/// A session that asks `FOUND_ROWS()` before any query of its own is told what the driver alone would have left: none.
const FIND_NOTHING: &str = "SELECT 1 FROM DUAL WHERE FALSE";

/// The server counts in whole seconds, and takes a year at the most.
const LONGEST_WAIT: u64 = 31_536_000;

pub(super) fn options(login: &Login) -> MySqlConnectOptions {
    let mut options = MySqlConnectOptions::new()
        .host(&login.host)
        .port(login.port)
        .username(&login.user)
        .ssl_mode(match login.tls {
            Tls::VerifyFull => MySqlSslMode::VerifyIdentity,
            Tls::VerifyCa => MySqlSslMode::VerifyCa,
            Tls::Require => MySqlSslMode::Required,
            Tls::Disable => MySqlSslMode::Disabled,
        })
        // IAM wants the token as it is: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
        .enable_cleartext_plugin(login.is_token && login.tls != Tls::Disable)
        // All of these are in `set_up`'s text.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false);
    if !login.password.expose().is_empty() {
        // An empty one is proven by saying nothing; the driver would prove it like any other.
        options = options.password(login.password.expose());
    }
    if !login.roots.is_empty() {
        options = options.ssl_ca_from_pem(login.roots.clone());
    }
    if let Some(database) = &login.database {
        options = options.database(database);
    }
    if !login.log_statements {
        options = options.disable_statement_logging();
    }
    if let Some(capacity) = login.statement_cache_capacity {
        options = options.statement_cache_capacity(capacity);
    }
    options
}

/// Sets what a new session needs, and asks what the server calls it and what it has set by itself.
pub(super) async fn set_up(mut driver: MySqlConnection, login: &Login) -> Result<Dialled<MySqlConnection>, Error> {
    let (mut name, mut has_own_values, mut prepares_for_types) = (String::new(), false, false);
    for row in rows::<MySql>(&mut driver, first_text(login)).await? {
        name = row.try_get(0)?;
        has_own_values = row.try_get::<i64, _>(1)? != 0;
        prepares_for_types = row.try_get::<i64, _>(2)? != 0;
    }
    Ok(Dialled { driver, name, has_own_values, prepares_for_types })
}

/// The number of the session of this name, where this connection's server is the one that gave it.
pub(super) async fn session_here(side: &mut MySqlConnection, name: &str) -> Result<Option<u64>, Error> {
    let rows = rows::<MySql>(side, WHERE).await?;
    let [place, uptime] = &rows[..] else { return Err(Error::RowNotFound) };
    let uptime: i64 =
        uptime.try_get_unchecked::<String, _>(1)?.parse().map_err(|_| Error::Decode("no uptime".into()))?;
    Ok(session_of(name, place.try_get(0)?, place.try_get(1)?, uptime))
}

/// The number of the session of this name, if the server of this place has given it since it was started.
fn session_of(name: &str, place: &str, now: i64, uptime: i64) -> Option<u64> {
    let mut parts = name.splitn(3, '@');
    let (session, server, login) = (parts.next()?, parts.next()?, parts.next()?);
    let login: i64 = login.parse().ok()?;
    let is_here = server == place && now.saturating_sub(uptime) <= login;
    session.parse().ok().filter(|_| is_here)
}

fn first_text(login: &Login) -> String {
    // Whoever reads the server's log sees who it is: the driver sends no attributes with the login.
    let application: String = login
        .application_name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || " -_.#:".contains(c) { c } else { '?' })
        .collect();
    let mut text = format!("/* {application} */ SET {NAMES}, {TIME_ZONE}, {SQL_MODE}, {AUTOCOMMIT}");
    if let Some(wait) = wait_timeout(login) {
        // What a pooler does not follow is not said to one.
        text.push_str(&format!(", {wait}, {COMPLETION}, {AUTO_IS_NULL}"));
    }
    if let Some(timeout) = idle_in_transaction(login) {
        // MariaDB 10.3 and later; MySQL has nothing of the kind.
        text.push_str(&format!(" /*M!100300 , {timeout} */"));
    }
    if login.read_only {
        text.push_str("; SET SESSION TRANSACTION READ ONLY");
    }
    // Behind a pooler nothing is asked that would be another session's in the next moment.
    if login.orphans.is_some() {
        text.push_str("; SELECT CONCAT(CONNECTION_ID(), '@', @@hostname, ':', @@port, '@', UNIX_TIMESTAMP()), ");
        text.push_str(HAS_OWN_VALUES);
        text.push_str(", ");
        text.push_str(PREPARES_FOR_TYPES);
        text.push_str("; ");
        text.push_str(FIND_NOTHING);
    }
    text
}

fn wait_timeout(login: &Login) -> Option<String> {
    login.orphans.as_ref().map(|orphans| format!("wait_timeout = {}", seconds(orphans.idle)))
}

fn idle_in_transaction(login: &Login) -> Option<String> {
    login.orphans.as_ref().map(|orphans| format!("idle_transaction_timeout = {}", seconds(orphans.idle_in_transaction)))
}

/// Rounded up: zero would mean at once, or never.
fn seconds(span: std::time::Duration) -> u64 {
    (span.as_secs() + u64::from(span.subsec_nanos() > 0)).clamp(1, LONGEST_WAIT)
}

/// What takes those settings back to what they are at login that `DEFAULT` would take elsewhere.
pub(super) fn login_defaults(login: &Login) -> Settings {
    let mut login_defaults: Settings =
        [("names", NAMES), ("time_zone", TIME_ZONE), ("sql_mode", SQL_MODE), ("autocommit", AUTOCOMMIT)]
            .into_iter()
            .map(|(name, text)| (name, format!("SET {text}")))
            .collect();
    if let Some(wait) = wait_timeout(login) {
        login_defaults.set("wait_timeout".to_owned(), format!("SET {wait}"));
    }
    if let Some(timeout) = idle_in_transaction(login) {
        // Where the server does not know it, no session has set it.
        login_defaults.set("idle_transaction_timeout".to_owned(), format!("SET {timeout}"));
    }
    if login.read_only {
        login_defaults.set("transaction_read_only".to_owned(), "SET SESSION TRANSACTION READ ONLY".to_owned());
    }
    if let Some(database) = &login.database {
        login_defaults.set("database".to_owned(), format!("USE `{}`", database.replace('`', "``")));
    }
    login_defaults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_of_the_server_that_has_given_it_its_number() {
        for (name, place, now, uptime, session) in [
            ("7@db:3306@1000", "db:3306", 1000, 0, Some(7)),
            ("7@db:3306@1000", "db:3306", 5000, 4500, Some(7)),
            // The server's first second, and the end of a second between the two answers.
            ("7@db:3306@1000", "db:3306", 1000, 1, Some(7)),
            ("7@db:3306@1000", "db:3306", 5000, 3999, None),
            ("7@db:3306@1000", "other:3306", 5000, 4500, None),
            ("7@db:3306@1000", "db:3306", i64::MIN, i64::MAX, Some(7)),
            ("7@db:3306", "db:3306", 5000, 4500, None),
            ("x@db:3306@1000", "db:3306", 5000, 4500, None),
            ("", "db:3306", 5000, 4500, None),
        ] {
            assert_eq!(session_of(name, place, now, uptime), session, "{name} at {now} after {uptime}");
        }
    }
}
