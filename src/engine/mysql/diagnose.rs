//! What an error means for the connection it came from.
//!
//! Numbers: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
//! <https://mariadb.com/kb/en/mariadb-error-code-reference/>. Where one number means several things, the text decides.

use sqlx::Error;
use sqlx::mysql::MySqlDatabaseError;

use crate::engine::Diagnosis;
use crate::error::detail::is_mysql_read_only;

/// What the driver says when a server wants to see the password itself, and there is no TLS. Encrypted it would be with a key
/// that whoever has answered sends along.
const WANTS_RSA: &str = "RSA auth backend disabled";

/// The server's refusal in an error, if it is one.
pub(super) fn refusal(error: &Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

pub(super) fn diagnose(error: &Error) -> Diagnosis {
    match error {
        Error::Database(_) => {
            refusal(error).map_or(Diagnosis::Statement, |refusal| by_number(refusal.number(), refusal.message()))
        }
        Error::Encode(_) | Error::InvalidArgument(_) | Error::Configuration(_) => Diagnosis::NotSent,
        // The driver stopped in the middle of an exchange; what is still on its way can be read.
        Error::ColumnDecode { .. } | Error::Decode(_) => Diagnosis::Interrupted,
        _ => Diagnosis::Dead,
    }
}

/// Whether the server could not read a statement, and so has executed nothing of it. A query in it may have read something when
/// the rows were there: a full-text search has the same number, and a function can say it in the same words.
pub(super) fn is_misread(error: &Error, sql: &str) -> bool {
    // `TABLE v` is a query too, of a view.
    let queries = || ["select", "values", "with"].iter().any(|word| count(sql, word) > 0) || count(sql, "table") > 1;
    refusal(error).is_some_and(|refusal| refusal.number() == 1064) && !queries()
}

/// How often these letters are in a text, large or small.
fn count(sql: &str, letters: &str) -> usize {
    sql.as_bytes().windows(letters.len()).filter(|part| part.eq_ignore_ascii_case(letters.as_bytes())).count()
}

/// What a login may be refused with, and a statement too.
pub(super) fn of_login(error: &Error) -> Diagnosis {
    if matches!(error, Error::Configuration(source) if source.to_string().starts_with(WANTS_RSA)) {
        return Diagnosis::TlsDemanded;
    }
    match refusal(error) {
        // "Invalid authorization specification": whatever its number, it is the account or the password.
        Some(refusal) if refusal.code() == Some("28000") => Diagnosis::Authentication,
        Some(refusal) => of_login_number(refusal.number(), refusal.message()),
        None => diagnose(error),
    }
}

fn of_login_number(number: u16, message: &str) -> Diagnosis {
    match number {
        // Access denied; the account is locked, or blocked after too many refusals; the password has expired, and is found to
        // be by the login or by the first statement after it. A new secret may be another account's. A host that is not allowed (1130) is none of
        // them: nobody was asked for a password yet.
        1045 | 3118 | 4150 | 4151 | 3955 | 1862 | 1820 => Diagnosis::Authentication,
        // The login was good: no other password helps. Whoever may not use a database is not told whether there is one.
        1049 | 1044 => Diagnosis::UnknownDatabase,
        // Connections using insecure transport are prohibited.
        3159 => Diagnosis::TlsDemanded,
        // Shutting down; or taken offline, where it lets administrators in only.
        1053 | 3032 => Diagnosis::NotReady,
        _ => by_number(number, message),
    }
}

fn by_number(number: u16, message: &str) -> Diagnosis {
    match number {
        // Too many connections, of all and of one user. 1226 stands for a user's queries in an hour as well.
        1040 | 1203 => Diagnosis::Full,
        1226 if message.contains("max_user_connections") || message.contains("max_connections_per_hour") => {
            Diagnosis::Full
        }
        // The server is shutting down, which may have met the statement half way; the session was killed; the server waited
        // in vain for the client, or for the network; it does not follow.
        1053 | 1927 | 3169 | 1152 | 1153 | 1154 | 1155 | 1156 | 1157 | 1158 | 1159 | 1160 | 1161 | 1184 | 1043
        | 1047 => Diagnosis::Dead,
        number if is_mysql_read_only(number, message) => Diagnosis::ReadOnly,
        // The server had waited in vain for the next statement. MariaDB's number for a trigger that is not there:
        // https://mariadb.com/kb/en/mariadb-error-code-reference/
        4031 if message.contains("disconnected by the server") => Diagnosis::HungUp,
        // The session's memory, or everybody's, was used up, and the session is ended: by the statement, wherever that was.
        // These numbers are MariaDB's for something else, too.
        4081 | 4082 if message.starts_with("Connection closed") => Diagnosis::Dead,
        // In the middle of a commit: what became of it is not known.
        1180 => Diagnosis::Dead,
        // What a pooler says in the place of the server's last word.
        2002 | 2003 | 2006 | 2013 | 2055 => Diagnosis::Dead,
        // A deadlock, a table of locks that is full, or a transaction that could not go on in a group or a cluster.
        1206 | 1213 | 1614 | 3101 => Diagnosis::RolledBack,
        // A lock not had in time takes back its statement, or everything, by `innodb_rollback_on_timeout`; a row changed
        // under a snapshot takes back everything in newer MariaDB.
        1205 | 1020 => Diagnosis::Unsure,
        // The statement was deallocated behind the driver's back, or could not be prepared anew in time. One of SQL's own is
        // given to `EXECUTE`.
        1243 if message.contains("stmt_execute") => Diagnosis::StalePlan,
        1615 => Diagnosis::StalePlan,
        _ => Diagnosis::Statement,
    }
}

#[cfg(test)]
mod proofs;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_means_several_things_is_told_apart_by_its_text() {
        for (number, message, diagnosis) in [
            (
                1290,
                "The MariaDB server is running with the --read-only option so it cannot execute this statement",
                Diagnosis::ReadOnly,
            ),
            (1290, "The MySQL server is running with the --innodb-read-only option so it cannot", Diagnosis::ReadOnly),
            (1290, "The MySQL server is running with the --super-read-only option", Diagnosis::ReadOnly),
            (1290, "The MySQL server is running with the --secure-file-priv option", Diagnosis::Statement),
            (1290, "The MariaDB server is running with the --max-user-connections=0 option", Diagnosis::Statement),
            (1226, "User 'lim' has exceeded the 'max_user_connections' resource (current value: 3)", Diagnosis::Full),
            (1226, "User 'lim' has exceeded the 'max_questions' resource", Diagnosis::Statement),
            (1836, "Running in read-only mode", Diagnosis::ReadOnly),
            (1792, "Cannot execute statement in a READ ONLY transaction", Diagnosis::ReadOnly),
            (1040, "Too many connections", Diagnosis::Full),
            (1045, "Access denied for user", Diagnosis::Statement),
            (1049, "Unknown database 'x'", Diagnosis::Statement),
            (1053, "Server shutdown in progress", Diagnosis::Dead),
            (1213, "Deadlock found when trying to get lock", Diagnosis::RolledBack),
            (1206, "The total number of locks exceeds the lock table size", Diagnosis::RolledBack),
            (2013, "Lost connection to MySQL server during query", Diagnosis::Dead),
            (1205, "Lock wait timeout exceeded", Diagnosis::Unsure),
            (1064, "You have an error in your SQL syntax", Diagnosis::Statement),
            (1317, "Query execution was interrupted", Diagnosis::Statement),
            (1927, "Connection was killed", Diagnosis::Dead),
            (4031, "The client was disconnected by the server because of inactivity", Diagnosis::HungUp),
        ] {
            assert_eq!(by_number(number, message), diagnosis, "{number} {message}");
        }
        assert_eq!(diagnose(&Error::Protocol("x".into())), Diagnosis::Dead);
    }
}
