//! How PostgreSQL is read and worded.

use std::cell::RefCell;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow, PgTypeInfo};
use sqlx::{Error, Postgres, Row};

use super::{bound, classify, connect, diagnose, leaves, occupancy, rules, settings, snapshot};
use crate::engine::Cleanup;
use crate::engine::repeat::{self, Repeats};
use crate::engine::{Bound, Class, Diagnosis, Dialect, Login, Question, Rules, Settings, Snapshot, Staleness};
use crate::error::ConnectionLimit;
use crate::pin::PinCause;

thread_local! {
    /// An engine's own: the same text may mean something else to another one.
    static SEEN: RefCell<Repeats> = const { RefCell::new(Repeats::new()) };
}

impl Dialect for Postgres {
    const RULES: Rules = rules::RULES;

    fn login_defaults(login: &Login) -> Settings {
        let mut login_defaults = Settings::default();
        // `RESET` goes there. But a pooler sets on the server's connection what the driver has logged in with (sqlx 0.9.0), and there
        // `RESET` goes to the server's own.
        if login.orphans.is_none() {
            let name = connect::name(login);
            for (setting, value) in [
                ("timezone", "UTC"),
                ("datestyle", "ISO, MDY"),
                ("client_encoding", "UTF8"),
                ("application_name", &name),
            ] {
                let value = value.replace('\'', "''");
                login_defaults.set(setting.to_owned(), format!("SET \"{setting}\" TO '{value}'"));
            }
        }
        login_defaults
    }

    fn classify(sql: &str) -> Class<'_> {
        repeat::classify(&SEEN, sql, classify::classify)
    }

    fn question(sql: &str) -> Option<Question> {
        settings::question(classify::single(sql)?)
    }

    fn bound(_: &str, arguments: &PgArguments) -> Option<Bound> {
        Some(bound::of_values(arguments))
    }

    fn prepared_for(types: &[PgTypeInfo]) -> Option<Bound> {
        Some(bound::of_types(types))
    }

    fn spelled(sql: &str, answers: &PgRow) -> Option<String> {
        let answers: Result<Vec<_>, _> = (0..answers.len()).map(|column| answers.try_get(column)).collect();
        settings::spelled(classify::single(sql)?, &answers.ok()?)
    }

    fn leaves(sql: &str) -> Vec<PinCause> {
        leaves::leaves(sql)
    }

    fn diagnose(error: &Error) -> Diagnosis {
        diagnose::diagnose(error)
    }

    fn diagnose_login(error: &Error) -> Diagnosis {
        diagnose::of_login(error)
    }

    fn wants_no_transaction(error: &Error) -> bool {
        // active_sql_transaction (VACUUM, CREATE DATABASE), invalid_transaction_termination (a procedure that commits)
        matches!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("25001" | "2D000"))
    }

    fn settings_of(statement: &str) -> Vec<(String, String)> {
        settings::settings_of(statement)
    }

    fn begins_by_itself(_: &Settings) -> bool {
        false
    }

    fn replay(applied: &Settings, wanted: &Settings, login_defaults: &Settings) -> Option<String> {
        settings::replay(applied, wanted, login_defaults)
    }

    fn after_reset(login_defaults: &Settings) -> Settings {
        settings::after_reset(login_defaults)
    }

    fn idle_term(term: Duration) -> (String, Duration) {
        (format!("SET idle_session_timeout = '{}ms'", term.as_millis()), term)
    }

    fn is_ungenerated(error: &Error) -> bool {
        // object_not_in_prerequisite_state: "currval of sequence is not yet defined in this session".
        error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55000")
    }

    fn staleness(before: &Settings, after: &Settings) -> Staleness {
        settings::staleness(before, after)
    }

    fn staleness_by(cause: PinCause) -> Staleness {
        match cause {
            PinCause::Setting
            | PinCause::TemporaryObject
            | PinCause::HandedOut
            | PinCause::UnknownStatement
            | PinCause::SeveralStatements
            | PinCause::Procedure
            | PinCause::PreparedStatement => Staleness::Names,
            _ => Staleness::Fresh,
        }
    }

    fn is_no_savepoint(error: &Error) -> bool {
        // Of another transaction, or outside of any.
        let code = error.as_database_error().and_then(|refusal| refusal.code());
        matches!(code.as_deref(), Some("3B001" | "25P01"))
    }

    fn unexecuted(sql: &str) -> Option<String> {
        Some(format!("EXPLAIN {sql}"))
    }

    fn is_misread(error: &Error, _: &str) -> bool {
        diagnose::is_misread(error)
    }

    fn is_stale_before_execution(sql: &str) -> bool {
        // What `EXECUTE` is given is evaluated before its plan is looked at.
        !classify::has_word(sql, "execute")
    }

    fn may_have_begun(error: &Error, sql: &str, _: bool) -> bool {
        classify::classify(sql).several || diagnose::may_have_begun(error, classify::first_word(sql))
    }

    fn is_misled(error: &Error, sql: &str, values: bool) -> bool {
        // Other statements take values too, and are read when they are executed.
        const READ_FIRST: [&str; 7] = ["select", "insert", "update", "delete", "merge", "values", "with"];
        let first = classify::first_word(sql);
        let read_first = READ_FIRST.iter().any(|word| first.eq_ignore_ascii_case(word));
        diagnose::is_misled(error, values && read_first)
    }

    fn cleanup_after(cause: PinCause) -> Cleanup {
        match cause {
            PinCause::AdvisoryLock | PinCause::Listen | PinCause::HoldableCursor | PinCause::RawTransaction => {
                Cleanup::KeepPlans
            }
            // What was prepared may be of the session's own tables, or of those in its own path.
            PinCause::TemporaryObject
            | PinCause::Setting
            | PinCause::PreparedStatement
            | PinCause::SeveralStatements
            | PinCause::Procedure => Cleanup::Full,
            // A library stays in its process, and a connection of dblink's in its session. So may what nobody has seen: an unknown
            // statement, and whatever was done on a connection that was handed out.
            _ => Cleanup::Impossible,
        }
    }

    fn sentinel(mark: u64) -> String {
        // No savepoint: there is much that the server allows in none.
        format!("SET LOCAL lambda_rds.mark = '{mark}'")
    }

    fn snapshot(sql: &str) -> Snapshot {
        snapshot::snapshot(sql)
    }

    fn may_mislead_driver(sql: &str) -> bool {
        settings::may_mislead(sql)
    }

    fn may_unmark(sql: &str) -> bool {
        // `RESET ALL` takes back what is set for the transaction as well, and so does the rollback to a savepoint before it.
        ["reset", "rollback"].iter().any(|word| classify::has_word(sql, word))
    }

    fn may_control(cause: PinCause) -> bool {
        matches!(
            cause,
            PinCause::HandedOut | PinCause::UnknownStatement | PinCause::RawTransaction | PinCause::SeveralStatements
        )
    }

    fn limit(error: &Error) -> ConnectionLimit {
        occupancy::limit(error)
    }
}
