//! How to log in.

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Error, Postgres, Row};

use crate::config::{ConfigError, Tls};
use crate::engine::question::row;
use crate::engine::{Login, without_panic};

/// `PgConnectOptions` takes them in when it is made, and has no way to put them out again: what `options` sets is appended
/// to `PGOPTIONS`, and a client certificate would be shown to whatever host is dialled.
pub(super) const DRIVER_VARIABLES: &[(&str, &str)] = &[
    ("PGOPTIONS", "and set what is needed with init_query or `alter role … set`"),
    ("PGSSLCERT", "for client certificates are not supported: log in with a password, a secret or IAM"),
    ("PGSSLKEY", "for client certificates are not supported: log in with a password, a secret or IAM"),
];

/// What the server calls the session. It replaces what is not printable ASCII, each version in its own way: the name by
/// which the session is found again is what is left of it in any case.
pub(super) fn name(login: &Login) -> String {
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    login.application_name.chars().map(printable).collect()
}

pub(super) fn options(login: &Login) -> PgConnectOptions {
    // `new` would read a password file. What the driver takes from other `PG*` variables is set over here, and with the
    // `DRIVER_VARIABLES` no proxy is built.
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&login.host)
        .port(login.port)
        .username(&login.user)
        .password(login.password.expose())
        // The server's own default is the user's name.
        .database(login.database.as_deref().unwrap_or(&login.user))
        .application_name(&name(login))
        .ssl_mode(match login.tls {
            Tls::VerifyFull => PgSslMode::VerifyFull,
            Tls::VerifyCa => PgSslMode::VerifyCa,
            Tls::Require => PgSslMode::Require,
            Tls::Disable => PgSslMode::Disable,
        })
        .ssl_root_cert_from_pem(login.roots.clone());
    if !login.log_statements {
        options = options.disable_statement_logging();
    }
    if let Some(capacity) = login.statement_cache_capacity {
        options = options.statement_cache_capacity(capacity);
    }
    if login.read_only {
        options = options.options([("default_transaction_read_only", "on")]);
    }
    match &login.orphans {
        Some(orphans) => {
            // Where a string ends is a question of these two. What the login says wins over what the role or the database
            // has set: https://www.postgresql.org/docs/current/config-setting.html
            options = options.options([("standard_conforming_strings", "on"), ("backslash_quote", "safe_encoding")]);
            // Settings of the login itself: they cost no round trip.
            let milliseconds = |span: std::time::Duration| span.as_millis().min(i32::MAX as u128).to_string();
            options =
                options.options([("idle_in_transaction_session_timeout", milliseconds(orphans.idle_in_transaction))]);
            if login.may_be_pooler {
                options = options.options([(LOGIN, mark(login))]);
            }
            if !orphans.is_old {
                // PostgreSQL 14 and later, both: https://www.postgresql.org/docs/14/release-14.html. The second ends a
                // statement for which nobody waits any more; it is looked for while one runs, and costs nothing else.
                options = options.options([
                    ("idle_session_timeout", milliseconds(orphans.idle)),
                    ("client_connection_check_interval", milliseconds(orphans.idle_in_transaction)),
                ]);
            }
            options
        }
        // RDS Proxy and PgBouncer refuse login settings they do not know.
        None => options.extra_float_digits(None),
    }
}

/// A setting that nobody knows but this crate: its value is the login's own, which its name ends in.
const LOGIN: &str = "lambda_rds.login";

/// What no other login has.
fn mark(login: &Login) -> &str {
    login.application_name.rsplit('#').next().unwrap_or_default()
}

/// Whether the server's session is the one that has logged in: it has a setting of the login itself. A pooler that does not
/// refuse those ignores them. Asked by `SHOW`, which is no function that somebody may have taken away.
pub(super) async fn is_of_this_login(conn: &mut PgConnection, login: &Login) -> Result<bool, Error> {
    match without_panic(row::<Postgres>(conn, format!("show {LOGIN}"))).await {
        Ok(told) => Ok(told.try_get::<String, _>(0)? == mark(login)),
        Err(Error::Database(refusal)) if refusal.code().as_deref() == Some(UNKNOWN_SETTING) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Behind a pooler, where no login sets it: whether a string ends where this crate reads its end. A pooler gives each client what its
/// login was told (<https://www.pgbouncer.org/config.html>, `track_extra_parameters`), so that it is asked once.
pub(super) async fn strings_are_standard(conn: &mut PgConnection) -> Result<(), Error> {
    let told = without_panic(row::<Postgres>(conn, "show standard_conforming_strings".to_owned())).await?;
    if told.try_get::<String, _>(0)? == "on" {
        return Ok(());
    }
    let problem = "has met a login with standard_conforming_strings off, which cannot be set there, and texts would be read otherwise \
                   than they are sent; set it for the role (ALTER ROLE … SET standard_conforming_strings = on)";
    Err(crate::error::Error::from(ConfigError::Value { option: "via_proxy", problem }).into())
}

/// Nobody has set it.
const UNKNOWN_SETTING: &str = "42704";
