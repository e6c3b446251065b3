//! The language of a database: what its texts do and what its errors mean. Nothing here waits for anything.

use std::time::Duration;

use super::{Bound, Class, Diagnosis, Login, Question, Rules, Settings, Snapshot, Staleness};
use crate::engine::Cleanup;
use crate::error::ConnectionLimit;
use crate::pin::PinCause;

/// How an engine reads and words SQL. Pure.
pub(crate) trait Dialect: sqlx::Database<Arguments: Clone> + Sized {
    /// The facts about it.
    const RULES: Rules;

    /// What takes a setting back to what it was at this login, where the engine has no word for that.
    fn login_defaults(login: &Login) -> Settings;

    /// What `sql` does to its session.
    fn classify(sql: &str) -> Class<'_>;

    /// What to ask the server before a text that pins for what it sets, so that the answer tells what that is: then the
    /// setting can be followed like any other.
    fn question(_sql: &str) -> Option<Question> {
        None
    }

    /// The text in which the answers stand in the place of what it does not tell. It is classified, and not sent.
    fn spelled(_sql: &str, _answers: &Self::Row) -> Option<String> {
        None
    }

    /// What types the values of a query are bound as; `None` where what is prepared serves for values of all types.
    fn bound(_sql: &str, _: &Self::Arguments) -> Option<Bound> {
        None
    }

    /// The same for types that a statement is prepared for.
    fn prepared_for(_: &[Self::TypeInfo]) -> Option<Bound> {
        None
    }

    /// What the statements of a text that pins leave on the server's connection beyond their transaction.
    fn leaves(_sql: &str) -> Vec<PinCause> {
        Vec::new()
    }

    /// What an error means for the connection.
    fn diagnose(error: &sqlx::Error) -> Diagnosis;

    /// As `diagnose`, of a login: what a statement of a session may be told as well, and survive.
    fn diagnose_login(error: &sqlx::Error) -> Diagnosis {
        Self::diagnose(error)
    }

    /// Whether the server refused a statement, or stopped it, for being in a transaction.
    fn wants_no_transaction(error: &sqlx::Error) -> bool;

    /// Whether it says that there is no such savepoint: what has ended the transaction has taken it along.
    fn is_no_savepoint(error: &sqlx::Error) -> bool;

    /// The settings that a statement sets, each with the statement, in this crate's own words, that sets it alone.
    fn settings_of(statement: &str) -> Vec<(String, String)>;

    /// Whether, with these settings, a transaction begins with whatever is sent outside of one.
    fn begins_by_itself(settings: &Settings) -> bool;

    /// The text that takes a connection from one set of settings to another; `None` when they are equal.
    fn replay(applied: &Settings, wanted: &Settings, login_defaults: &Settings) -> Option<String>;

    /// What is set after a reset of everything: where that goes to the server's own values, those differ from the login's.
    fn after_reset(_login_defaults: &Settings) -> Settings {
        Settings::default()
    }

    /// Whether the server has refused to tell a number that was not generated.
    fn is_ungenerated(_: &sqlx::Error) -> bool {
        false
    }

    /// The text by which the server closes the session when it has been idle for so long, and how long it says.
    fn idle_term(term: Duration) -> (String, Duration);

    /// What a change of settings makes of the statements that were prepared before it.
    ///
    /// The list is of settings that are known not to matter; everything else does. What is prepared is shared by all
    /// sessions of a connection, and what a name, a literal or a quote in it stands for was found out under the settings of
    /// whoever prepared it.
    fn staleness(before: &Settings, after: &Settings) -> Staleness;

    /// The same for settings that may have changed, unseen, by what pins.
    fn staleness_by(cause: PinCause) -> Staleness;

    /// Whether the refusal of a prepared statement shows that nothing was executed, and may come from what the driver has learnt
    /// about names while they stood for something else. `values`: it has some.
    fn is_misled(_: &sqlx::Error, _sql: &str, _values: bool) -> bool {
        false
    }

    /// A text that the server refuses as it would the given one, with the same values, as long as it executes nothing of it.
    fn unexecuted(_: &str) -> Option<String> {
        None
    }

    /// Whether the server could not read a statement, and so has executed nothing of it.
    fn is_misread(error: &sqlx::Error, sql: &str) -> bool;

    /// Whether the server may have executed a part of a text before it refused to write. `reader`: it was asked since, and is
    /// none that writes.
    fn may_have_begun(error: &sqlx::Error, sql: &str, reader: bool) -> bool;

    /// Whether a stale plan shows that nothing of a text was executed.
    fn is_stale_before_execution(sql: &str) -> bool;

    /// What is left of a cause when its session has ended.
    fn cleanup_after(cause: PinCause) -> Cleanup;

    /// Sets what goes with its transaction, and so shows whether that is still the one it was set in. `mark`: nobody can know it
    /// before, so that no default, no earlier session and no text can have set the same.
    fn sentinel(mark: u64) -> String;

    /// When a text takes the snapshot of the transaction that it is sent in.
    fn snapshot(_: &str) -> Snapshot {
        Snapshot::AtOnce
    }

    /// Whether a text may set what makes the driver ask the server in other words than its own, whose answers it keeps for everybody.
    fn may_mislead_driver(_: &str) -> bool {
        false
    }

    /// Whether a text may take the sentinel away although its transaction goes on.
    fn may_unmark(_: &str) -> bool {
        false
    }

    /// Whether a transaction may be open or over by what pins, unseen.
    fn may_control(cause: PinCause) -> bool;

    /// Which limit a login has met that was refused for one.
    fn limit(error: &sqlx::Error) -> ConnectionLimit;
}
