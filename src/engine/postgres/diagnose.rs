//! What an error means for the connection it came from.
//!
//! Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use sqlx::Error;
use sqlx::postgres::{PgDatabaseError, PgErrorPosition, PgSeverity};

use crate::engine::Diagnosis;
use crate::error::has_too_many_values;

pub(super) fn diagnose(error: &Error) -> Diagnosis {
    match error {
        Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => match of_refusal(error) {
                // It reads like one of the driver's plans or names, and was met after something was executed.
                Diagnosis::StalePlan | Diagnosis::Misled if is_from_inside(error) => Diagnosis::Statement,
                diagnosis => diagnosis,
            },
            None => Diagnosis::Statement,
        },
        Error::Encode(_) | Error::InvalidArgument(_) | Error::Configuration(_) => Diagnosis::NotSent,
        error if has_too_many_values(error) => Diagnosis::NotSent,
        // The driver stopped in the middle of an exchange; where it stopped is not known.
        Error::TypeNotFound { .. } | Error::ColumnDecode { .. } | Error::Decode(_) => Diagnosis::Interrupted,
        _ => Diagnosis::Dead,
    }
}

fn of_refusal(error: &PgDatabaseError) -> Diagnosis {
    match error.code() {
        _ if is_stale(error) => Diagnosis::StalePlan,
        "42P05" if is_of_driver(error.message()) => Diagnosis::Misled,
        code => by_code(code, error.severity(), error.message()),
    }
}

/// A function or a procedure has met it: what that had done before is done, and may be committed. The server says where it was
/// (<https://www.postgresql.org/docs/current/protocol-error-fields.html>, `W`).
fn is_from_inside(error: &PgDatabaseError) -> bool {
    error.r#where().is_some_and(|place| !is_parameter(place))
}

/// Whether a refusal shows that nothing was executed: it is about a word of the text, which the server reads before, or about
/// a parameter that was to be bound. What a value has met on its way has neither a position nor, where a function in C has
/// met it, a place.
fn is_before_execution(error: &PgDatabaseError) -> bool {
    match error.r#where() {
        Some(place) => is_parameter(place),
        None => matches!(error.position(), Some(PgErrorPosition::Original(_))),
    }
}

/// Whether the server may have executed a part of a statement before it refused to write. Refused before, it is called by its
/// own first word, translated or not; a function of the server's is called by another.
pub(super) fn may_have_begun(error: &Error, first_word: &str) -> bool {
    let command = first_word.to_ascii_uppercase();
    let refusal = error.as_database_error().and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>());
    refusal.is_none_or(|refusal| {
        let names_it = refusal.message().split(|c: char| !c.is_ascii_alphabetic()).any(|word| word == command);
        command.is_empty() || is_from_inside(refusal) || !names_it
    })
}

/// A place that is no function's: a parameter that was to be bound, before anything is executed. Others end in a number too: a
/// foreign table's command, a document that could not be read. A translated one is taken for one of those.
fn is_parameter(place: &str) -> bool {
    let Some((portal, number)) = place.split_once(" parameter $") else { return false };
    let named = portal.strip_prefix("portal \"").and_then(|name| name.strip_suffix('"'));
    (portal == "unnamed portal" || named.is_some_and(|name| !name.contains(['"', '\n'])))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the server could not read a statement, and so has executed nothing of it.
pub(super) fn is_misread(error: &Error) -> bool {
    let refusal = error.as_database_error().and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>());
    refusal.is_some_and(|refusal| refusal.code() == "42601" && is_before_execution(refusal))
}

/// As [`diagnose`], of a login. A server takes the options of a login, or does not know one of them. Poolers refuse them as a
/// whole: PgBouncer as a protocol violation, RDS Proxy as a feature that it does not have
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.howitworks.html>).
pub(super) fn of_login(error: &Error) -> Diagnosis {
    match error {
        Error::Configuration(problem) if problem.is::<Pooled>() => Diagnosis::Pooler,
        Error::Database(refusal) if refusal.try_downcast_ref().is_some_and(is_of_pooler) => Diagnosis::Pooler,
        error => diagnose(error),
    }
}

fn is_of_pooler(refusal: &PgDatabaseError) -> bool {
    match refusal.code() {
        // That of an encoding is the server's own.
        "0A000" => !refusal.message().contains("conversion between"),
        "08P01" => refusal.message().contains("startup parameter"),
        _ => false,
    }
}

/// The session of the server is not the one that has logged in.
#[derive(Debug, thiserror::Error)]
#[error("the server's session does not have the settings of this login")]
pub(super) struct Pooled;

/// 26000: the statement was deallocated behind the driver's back. 0A000 means many things; from this routine of the
/// server it means that a definition has changed under a prepared statement. Both come before anything is executed.
fn is_stale(error: &PgDatabaseError) -> bool {
    match error.code() {
        "26000" => true,
        "0A000" => error.routine() == Some("RevalidateCachedQuery"),
        _ => false,
    }
}

/// Whether the refusal of a prepared statement shows that nothing was executed, and may come from a name that stands for something
/// else than when the driver learnt it: its own of a statement, or the type of a value, of which the server complains before it
/// executes anything.
pub(super) fn is_misled(error: &Error, values: bool) -> bool {
    let refusal = error.as_database_error().and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>());
    refusal.is_some_and(|refusal| match refusal.code() {
        "42P05" => is_of_driver(refusal.message()) && !is_from_inside(refusal),
        "42804" | "42883" | "42846" | "42704" | "42725" | "42P18" | "22P02" | "22P03" | "42809" => {
            values && is_before_execution(refusal)
        }
        _ => false,
    })
}

/// Whether a message is about one of the driver's own names, `sqlx_s_1` and so on (sqlx 0.9.0). Translated or not, it quotes
/// the name.
fn is_of_driver(message: &str) -> bool {
    message.contains("sqlx_s_")
}

fn by_code(code: &str, severity: PgSeverity, message: &str) -> Diagnosis {
    let fatal = matches!(severity, PgSeverity::Fatal | PgSeverity::Panic);
    match code {
        // Without the severity these are a statement's own: a foreign server has refused it.
        "53300" if fatal => Diagnosis::Full,
        "57P03" if fatal => Diagnosis::NotReady,
        "3D000" if fatal => Diagnosis::UnknownDatabase,
        // The one text that is looked at: 28000 stands for a wrong user as well as for "no pg_hba.conf entry … no
        // encryption" (before PostgreSQL 14 "… SSL off"), and only the text tells. It is not translated before the login
        // is over.
        "28000" if fatal && (message.contains("no encryption") || message.contains("SSL off")) => {
            Diagnosis::TlsDemanded
        }
        "28P01" | "28000" if fatal => Diagnosis::Authentication,
        "42704" if fatal => Diagnosis::UnknownSetting,
        // idle_session_timeout and idle_in_transaction_session_timeout: said to a session that waits for its next statement,
        // and to none that has one.
        "57P05" | "25P03" if fatal => Diagnosis::HungUp,
        _ if fatal => Diagnosis::Dead,
        "25006" => Diagnosis::ReadOnly,
        // A type that the driver knows by a number that is no longer one.
        "XX000" if message.contains("cache lookup failed for type") => Diagnosis::Misled,
        _ => Diagnosis::Statement,
    }
}

#[cfg(test)]
mod proofs;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fatal_is_dead_and_the_known_refusals_have_names() {
        for (code, severity, message, diagnosis) in [
            ("57P01", PgSeverity::Fatal, "terminating connection", Diagnosis::Dead),
            ("57P05", PgSeverity::Fatal, "terminating connection due to idle-session timeout", Diagnosis::HungUp),
            (
                "25P03",
                PgSeverity::Fatal,
                "terminating connection due to idle-in-transaction timeout",
                Diagnosis::HungUp,
            ),
            ("XX000", PgSeverity::Error, "cache lookup failed for type 16395", Diagnosis::Misled),
            ("XX000", PgSeverity::Error, "unexpected", Diagnosis::Statement),
            ("25006", PgSeverity::Error, "cannot execute INSERT in a read-only transaction", Diagnosis::ReadOnly),
            ("22012", PgSeverity::Error, "division by zero", Diagnosis::Statement),
            ("57014", PgSeverity::Error, "canceling statement", Diagnosis::Statement),
            ("53300", PgSeverity::Fatal, "too many clients", Diagnosis::Full),
            ("57P03", PgSeverity::Fatal, "starting up", Diagnosis::NotReady),
            ("28P01", PgSeverity::Fatal, "password authentication failed", Diagnosis::Authentication),
            ("28000", PgSeverity::Fatal, "no pg_hba.conf entry for host, no encryption", Diagnosis::TlsDemanded),
            ("28000", PgSeverity::Fatal, "no pg_hba.conf entry for host, SSL off", Diagnosis::TlsDemanded),
            ("3D000", PgSeverity::Fatal, "does not exist", Diagnosis::UnknownDatabase),
            ("3D000", PgSeverity::Error, "does not exist", Diagnosis::Statement),
            ("53300", PgSeverity::Error, "could not connect to server", Diagnosis::Statement),
            ("28P01", PgSeverity::Error, "could not connect to server", Diagnosis::Statement),
            ("42704", PgSeverity::Error, "type does not exist", Diagnosis::Statement),
        ] {
            assert_eq!(by_code(code, severity, message), diagnosis, "{code}");
        }
        assert_eq!(diagnose(&Error::Protocol("x".into())), Diagnosis::Dead);
    }

    #[test]
    fn the_place_of_a_parameter_is_told_from_a_functions() {
        for (place, is) in [
            ("unnamed portal parameter $1", true),
            ("portal \"c\" parameter $12", true),
            ("PL/pgSQL function f() line 1 at EXECUTE", false),
            ("SQL statement \"select $1\"", false),
            ("remote SQL command: DELETE FROM w.r WHERE ctid = $1", false),
            ("JSON data, line 1: {\"a portal parameter $1", false),
            ("unnamed portal parameter $1\nPL/pgSQL function f() line 1 at RAISE", false),
            ("portal \"a\nb\" parameter $1", false),
            ("SQL statement \"execute gone\"\nPL/pgSQL function f(integer) line 1 at EXECUTE", false),
            ("SQL function \"f\" statement 1", false),
            ("", false),
        ] {
            assert_eq!(is_parameter(place), is, "{place}");
        }
    }
}
