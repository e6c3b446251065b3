//! How MySQL is read and worded.

use std::cell::RefCell;
use std::time::Duration;

use sqlx::mysql::MySqlArguments;
use sqlx::{Error, MySql};

use super::{bound, classify, connect, diagnose, number, occupancy, rules, settings};
use crate::engine::Cleanup;
use crate::engine::repeat::{self, Repeats};
use crate::engine::{Bound, Class, Diagnosis, Dialect, Login, Rules, Settings, Staleness};
use crate::error::ConnectionLimit;
use crate::pin::PinCause;

thread_local! {
    /// An engine's own: the same text may mean something else to another one.
    static SEEN: RefCell<Repeats> = const { RefCell::new(Repeats::new()) };
}

/// `ER_SP_DOES_NOT_EXIST`, which a savepoint that is not there is called too.
const NO_SUCH_SAVEPOINT: u16 = 1305;

impl Dialect for MySql {
    const RULES: Rules = rules::RULES;

    fn login_defaults(login: &Login) -> Settings {
        connect::login_defaults(login)
    }

    fn classify(sql: &str) -> Class<'_> {
        repeat::classify(&SEEN, sql, classify::classify)
    }

    fn bound(sql: &str, arguments: &MySqlArguments) -> Option<Bound> {
        Some(bound::of_values(sql, arguments))
    }

    fn diagnose(error: &Error) -> Diagnosis {
        diagnose::diagnose(error)
    }

    fn diagnose_login(error: &Error) -> Diagnosis {
        diagnose::of_login(error)
    }

    fn wants_no_transaction(_: &Error) -> bool {
        // No statement is refused for being in one; some end it.
        false
    }

    fn is_misread(error: &Error, sql: &str) -> bool {
        diagnose::is_misread(error, sql)
    }

    fn may_have_begun(_: &Error, sql: &str, reader: bool) -> bool {
        // A reader refuses a command that writes before it evaluates anything of it.
        const WRITES: [&str; 12] = [
            "insert", "update", "delete", "replace", "load", "create", "alter", "drop", "truncate", "rename", "grant",
            "revoke",
        ];
        let first = classify::first_word(sql);
        let writes = WRITES.iter().any(|word| first.eq_ignore_ascii_case(word));
        // Where it is none, a function has said so.
        !reader || !writes || classify::classify(sql).several
    }

    fn is_stale_before_execution(_: &str) -> bool {
        // A function can say that as well.
        false
    }

    fn is_no_savepoint(error: &Error) -> bool {
        // A procedure that is not there has the same number. The kind of thing is named as it is in any language.
        let names_savepoint = || error.as_database_error().is_some_and(|error| error.message().contains("SAVEPOINT"));
        number(error) == Some(NO_SUCH_SAVEPOINT) && names_savepoint()
    }

    fn settings_of(statement: &str) -> Vec<(String, String)> {
        settings::settings_of(statement)
    }

    fn begins_by_itself(settings: &Settings) -> bool {
        settings::is_autocommit_off(settings)
    }

    fn replay(applied: &Settings, wanted: &Settings, login_defaults: &Settings) -> Option<String> {
        settings::replay(applied, wanted, login_defaults)
    }

    fn idle_term(term: Duration) -> (String, Duration) {
        // In whole seconds.
        let seconds = term.as_secs().max(1);
        (format!("SET wait_timeout = {seconds}"), Duration::from_secs(seconds))
    }

    fn staleness(before: &Settings, after: &Settings) -> Staleness {
        if settings::reads_anew(before, after) { Staleness::Statements } else { Staleness::Fresh }
    }

    fn staleness_by(cause: PinCause) -> Staleness {
        let reads_anew = matches!(
            cause,
            PinCause::HandedOut
                | PinCause::UnknownStatement
                | PinCause::SeveralStatements
                | PinCause::Setting
                | PinCause::Procedure
                | PinCause::PreparedStatement
                // `SET @x = 1, sql_mode = ANSI`
                | PinCause::UserVariable
        );
        if reads_anew { Staleness::Statements } else { Staleness::Fresh }
    }

    fn cleanup_after(cause: PinCause) -> Cleanup {
        match cause {
            PinCause::AdvisoryLock | PinCause::TableLock | PinCause::RawTransaction => Cleanup::KeepPlans,
            // No statement resets a session, and the driver does not speak the command that does (`COM_RESET_CONNECTION`).
            _ => Cleanup::Impossible,
        }
    }

    fn sentinel(mark: u64) -> String {
        format!("SAVEPOINT lambda_rds_{mark}")
    }

    fn may_control(cause: PinCause) -> bool {
        // A procedure may commit what it was called in.
        matches!(
            cause,
            PinCause::HandedOut
                | PinCause::UnknownStatement
                | PinCause::RawTransaction
                | PinCause::SeveralStatements
                | PinCause::Procedure
                | PinCause::PreparedStatement
        )
    }

    fn limit(error: &Error) -> ConnectionLimit {
        occupancy::limit(error)
    }
}
