//! Every code that the diagnosis knows, every class that there is, and what they prove.
//!
//! Not here: what needs more of an error than its code, severity and text. 26000 and the 0A000 of a plan that no longer fits
//! are `StalePlan`, a 42P05 about the driver's own name is `Misled`; the tests on a server have them.

use std::error::Error as StdError;
use std::{borrow::Cow, fmt};

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::postgres::PgSeverity::{self, Error as Refusal, Fatal, Panic};

use super::by_code;
use crate::engine::Diagnosis::{
    self, Authentication, Dead, Full, HungUp, Misled, NotReady, ReadOnly, Statement, TlsDemanded, UnknownDatabase,
    UnknownSetting,
};
use crate::engine::proof::{LOST, Proof, READ_ONLY, REFUSED, TURNED_AWAY, UNREAD, proof};
use crate::error::{Error, Outcome};

/// Code, severity and text; what it means, and what it proves.
const CODES: &[(&str, PgSeverity, &str, Diagnosis, Proof)] = &[
    // The connection is good, and the statement was taken back.
    ("25006", Refusal, "cannot execute INSERT in a read-only transaction", ReadOnly, READ_ONLY),
    ("XX000", Refusal, "cache lookup failed for type 16395", Misled, REFUSED),
    ("XX000", Refusal, "cache lookup failed for relation 16395", Statement, REFUSED),
    ("XX000", Refusal, "tuple concurrently updated", Statement, REFUSED),
    ("57014", Refusal, "canceling statement due to user request", Statement, REFUSED),
    ("40001", Refusal, "could not serialize access", Statement, REFUSED),
    ("40P01", Refusal, "deadlock detected", Statement, REFUSED),
    ("55P03", Refusal, "canceling statement due to lock timeout", Statement, REFUSED),
    // A foreign server has said so, and not this one.
    ("53300", Refusal, "could not connect to server", Statement, REFUSED),
    ("57P03", Refusal, "could not connect to server", Statement, REFUSED),
    ("3D000", Refusal, "database does not exist", Statement, REFUSED),
    ("28P01", Refusal, "could not connect to server", Statement, REFUSED),
    ("28000", Refusal, "no pg_hba.conf entry, no encryption", Statement, REFUSED),
    ("42704", Refusal, "type does not exist", Statement, REFUSED),
    ("57P05", Refusal, "raised by a function", Statement, REFUSED),
    ("25P03", Refusal, "raised by a function", Statement, REFUSED),
    // A login is turned away; in the middle of a session it is a pooler that says so.
    ("53300", Fatal, "sorry, too many clients already", Full, TURNED_AWAY),
    ("57P03", Fatal, "the database system is starting up", NotReady, TURNED_AWAY),
    ("28P01", Fatal, "password authentication failed", Authentication, TURNED_AWAY),
    ("28000", Fatal, "role does not exist", Authentication, TURNED_AWAY),
    ("28000", Fatal, "no pg_hba.conf entry for host, no encryption", TlsDemanded, LOST),
    ("28000", Fatal, "no pg_hba.conf entry for host, SSL off", TlsDemanded, LOST),
    ("3D000", Fatal, "database does not exist", UnknownDatabase, LOST),
    ("42704", Fatal, "unrecognized configuration parameter", UnknownSetting, LOST),
    // Its last word, to a session that had sent nothing.
    ("57P05", Fatal, "terminating connection due to idle-session timeout", HungUp, UNREAD),
    ("25P03", Fatal, "terminating connection due to idle-in-transaction timeout", HungUp, UNREAD),
    // Its last word, perhaps in the middle of a statement or after a commit.
    ("57P01", Fatal, "terminating connection due to administrator command", Dead, LOST),
    ("57P02", Fatal, "terminating connection because of crash of another server process", Dead, LOST),
    ("57P04", Fatal, "terminating connection due to conflict with recovery", Dead, LOST),
    ("40001", Fatal, "terminating connection due to conflict with recovery", Dead, LOST),
    ("08P01", Fatal, "invalid frontend message type", Dead, LOST),
    ("53200", Panic, "out of memory", Dead, LOST),
];

/// All classes of <https://www.postgresql.org/docs/current/errcodes-appendix.html> that an error can be of, and what an
/// error of each says of its statement where the session goes on after it.
const CLASSES: &[(&str, Outcome)] = &[
    ("03000", Outcome::RolledBack),
    // Somebody in between, a foreign server or a pooler, has lost sight of what it was doing.
    ("08006", Outcome::Unknown),
    ("09000", Outcome::RolledBack),
    ("0A000", Outcome::RolledBack),
    ("0B000", Outcome::RolledBack),
    ("0F000", Outcome::RolledBack),
    ("0L000", Outcome::RolledBack),
    ("0P000", Outcome::RolledBack),
    ("0Z000", Outcome::RolledBack),
    ("10608", Outcome::RolledBack),
    ("20000", Outcome::RolledBack),
    ("21000", Outcome::RolledBack),
    ("22012", Outcome::RolledBack),
    ("23505", Outcome::RolledBack),
    ("24000", Outcome::RolledBack),
    ("25P02", Outcome::RolledBack),
    ("26000", Outcome::RolledBack),
    ("27000", Outcome::RolledBack),
    ("28000", Outcome::RolledBack),
    ("2B000", Outcome::RolledBack),
    ("2D000", Outcome::RolledBack),
    ("2F000", Outcome::RolledBack),
    ("34000", Outcome::RolledBack),
    ("38000", Outcome::RolledBack),
    ("39000", Outcome::RolledBack),
    ("3B001", Outcome::RolledBack),
    ("3D000", Outcome::RolledBack),
    ("3F000", Outcome::RolledBack),
    ("40001", Outcome::RolledBack),
    // statement_completion_unknown
    ("40003", Outcome::Unknown),
    ("42601", Outcome::RolledBack),
    ("44000", Outcome::RolledBack),
    ("53200", Outcome::RolledBack),
    ("54000", Outcome::RolledBack),
    ("55006", Outcome::RolledBack),
    ("57014", Outcome::RolledBack),
    ("58030", Outcome::RolledBack),
    ("72000", Outcome::RolledBack),
    ("F0000", Outcome::RolledBack),
    ("HV000", Outcome::RolledBack),
    ("P0001", Outcome::RolledBack),
    ("XX000", Outcome::RolledBack),
];

#[test]
fn every_code_that_is_known_proves_what_the_table_says() {
    for (code, severity, message, diagnosis, proven) in CODES {
        assert_eq!(by_code(code, *severity, message), *diagnosis, "{code} {severity:?} {message}");
        assert_eq!(proof(*diagnosis), *proven, "{code} {severity:?}: not sent, sent, in a transaction, a commit");
    }
}

#[test]
fn an_error_of_any_class_is_its_statements_and_a_fatal_one_ends_the_session() {
    for (code, outcome) in CLASSES {
        assert_eq!(by_code(code, Refusal, ""), Statement, "{code}");
        assert_eq!(proof(Statement), REFUSED, "{code}");
        assert_eq!(Error::from(sqlx::Error::Database(Box::new(Said(code)))).outcome(), *outcome, "{code}");
        for severity in [Fatal, Panic] {
            let diagnosis = by_code(code, severity, "");
            let known = CODES.iter().any(|(known, severity, ..)| known == code && *severity == Fatal);
            assert!(diagnosis == Dead || known && !diagnosis.is_of_statement(), "{code} {severity:?}: {diagnosis:?}");
        }
    }
}

/// An error of that code, and nothing else.
#[derive(Debug)]
struct Said(&'static str);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Said {}

impl DatabaseError for Said {
    fn message(&self) -> &str {
        self.0
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
