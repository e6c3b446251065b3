//! All that differs between databases, behind one sealed trait.
//!
//! The folder of an engine has the same files in the same order for each: how to log in, what a text does to the
//! session, what an error means.
#![allow(unnameable_types, unreachable_pub, reason = "the trait is sealed by not being nameable")]

mod cursor;
#[cfg(test)]
mod fuzz;
mod glance;
mod guard;
#[cfg(feature = "_bench")]
mod inspect;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(test)]
mod proofs;
mod repeat;
mod sequence;
mod series;
mod settings;
#[cfg(any(test, feature = "_bench"))]
mod shapes;
mod socket;
mod survey;
mod token;

use std::future::Future;
use std::time::Duration;

use futures_core::stream::BoxStream;

use crate::config::Tls;
use crate::error::ConnectionLimit;
use crate::occupancy::Occupancy;
use crate::pin::{PinCause, Soil};
use crate::redacted::Redacted;

pub use sequence::Sequence;
pub use settings::Settings;

pub(crate) use guard::without_panic;
pub(crate) use socket::{Reached, Socket, Tap};
pub use survey::{Flavour, Sighting, Survey};

/// So many dropped statements may have failed, one after the other, before somebody reads their answers.
const MOST_LATE: usize = 64;

/// A database that a [`Proxy`](crate::Proxy) can serve: [`Postgres`](crate::Postgres) or [`MySql`](crate::MySql).
///
/// Sealed: an engine is more than its driver, and this crate knows the rest of each.
pub trait Engine: Driver {}

impl<D: Driver> Engine for D {}

/// Everything a login needs.
#[derive(Debug, Clone)]
pub struct Login {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Redacted,
    pub(crate) database: Option<String>,
    pub(crate) tls: Tls,
    /// PEM of the roots to trust besides the public ones.
    pub(crate) roots: Vec<u8>,
    pub(crate) application_name: String,
    /// Its sessions may not write, whatever the server would allow.
    pub(crate) read_only: bool,
    pub(crate) statement_cache_capacity: Option<usize>,
    /// Whether the driver logs the statements, those of this crate too.
    pub(crate) log_statements: bool,
    /// The password is a token that the server reads as it is: it may be sent so, over TLS only.
    pub(crate) is_token: bool,
    /// What the server is told to give up on; `None` where a pooler in between would not understand.
    pub(crate) orphans: Option<Orphans>,
}

/// A login that has succeeded.
#[derive(Debug)]
pub struct Dialled<C> {
    pub(crate) driver: C,
    /// What the server calls the session among its own.
    pub(crate) name: String,
    /// Its settings are not the server's defaults: something has set them at the login, for this account or for everybody.
    /// What takes a setting back would not bring those values back, but for the settings that have a
    /// [`home`](Driver::home).
    pub(crate) has_own_values: bool,
}

/// How a session is found among those of its server, over another connection.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// What the server called it at its login, and no other session.
    pub(crate) name: String,
    /// The server's number for it, and since when, where that was asked.
    pub(crate) number: Option<String>,
    /// The way to it, where both sockets are known to lead to the same server.
    pub(crate) way: Option<Way>,
}

/// Two sockets to one server, as they are called on this side. The server calls them the same unless something in
/// between translates addresses.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The socket of the session that is looked for.
    pub(crate) to_it: std::net::SocketAddr,
    /// The socket of the connection that looks for it.
    pub(crate) beside: std::net::SocketAddr,
}

/// When the server drops what a dead or frozen environment left behind.
#[derive(Debug, Clone, Copy)]
pub struct Orphans {
    pub(crate) idle: Duration,
    pub(crate) idle_in_transaction: Duration,
    /// Whether this server is too old to know an idle timeout.
    pub(crate) idle_unknown: bool,
}

/// What a text does to the session it runs in. Borrowed from the text: classifying allocates nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Class<'a> {
    /// It leaves something behind that cannot be moved to another connection.
    pub(crate) pins: Option<PinCause>,
    /// It changes a setting that can be set again elsewhere.
    pub(crate) setting: Option<Setting<'a>>,
    /// What it has to do with what the server remembers of earlier statements.
    pub(crate) sequence: Sequence,
    /// It begins or ends a transaction or a savepoint.
    pub(crate) control: Option<Control<'a>>,
    /// It takes something away that pins.
    pub(crate) ends: Option<PinEnd>,
    /// The same text may have another shape of answer in another session: it is not kept prepared.
    pub(crate) shifting: bool,
    /// It commits the transaction that is open, before it is executed, whatever becomes of it.
    pub(crate) commits: bool,
    /// Several statements, of which the first may be done when a later one is refused.
    pub(crate) several: bool,
    /// What it sets until the transaction ends makes this of the statements that are prepared.
    pub(crate) replans: Staleness,
    /// Rows are to go from or to the client in a way of their own, for which a statement's text has no place.
    pub(crate) copies: bool,
}

/// What a server is asked before a statement whose text does not tell what it sets.
#[derive(Debug)]
pub struct Question {
    pub(crate) text: String,
    /// It has the statement's parameters.
    pub(crate) given: bool,
}

/// Transaction control as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control<'a> {
    /// A transaction begins; inside one this does nothing.
    Begin,
    /// The transaction ends, or is handed over to be decided elsewhere; `chain`: the next one begins at once.
    Commit {
        /// `AND CHAIN`
        chain: bool,
    },
    /// The transaction is taken back.
    Rollback {
        /// `AND CHAIN`
        chain: bool,
    },
    /// A savepoint is set.
    Savepoint(Label<'a>),
    /// Everything since the savepoint is taken back; it stays.
    RollbackTo(Label<'a>),
    /// The savepoint is given up; what was done since stays.
    Release(Label<'a>),
    /// A text of several statements: a transaction from its begin to its end, with plain statements in between.
    Whole,
    /// Among several statements, or not understood.
    Unclear {
        /// The transaction that it is sent in may end by it.
        ends: bool,
    },
}

/// A savepoint's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    pub(crate) name: &'a str,
    /// Written without quotes: upper and lower case are one.
    pub(crate) folds: bool,
}

impl Label<'_> {
    pub(crate) fn key(self) -> String {
        if self.folds { self.name.to_ascii_lowercase() } else { self.name.replace("\"\"", "\"") }
    }
}

/// What a statement takes away of what pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinEnd {
    /// What this cause left behind, all of it.
    Of(PinCause),
    /// Everything that a statement can take away, the settings too.
    Everything,
    /// Nothing that pins, but what the driver had prepared or a sequence had drawn.
    Other,
}

/// A change of a session's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting<'a> {
    /// This statement sets it, here and wherever it is run again.
    Set {
        /// The setting.
        name: Name<'a>,
        /// The statement: [`Driver::settings_of`] words it anew.
        statement: &'a str,
    },
    /// Back to what it was at login.
    Reset(Name<'a>),
    /// All of them back, but for who the session acts as.
    ResetAll,
    /// This statement sets several: [`Driver::settings_of`] takes it apart.
    Several(&'a str),
}

/// A setting's name: `search_path`, or `app.tenant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(pub(crate) &'a str, pub(crate) Option<&'a str>);

impl Name<'_> {
    /// As a key: names are the same in either case.
    pub(crate) fn key(self) -> String {
        let mut key = self.0.to_ascii_lowercase();
        if let Some(rest) = self.1 {
            key.push('.');
            key.push_str(&rest.to_ascii_lowercase());
        }
        key
    }
}

/// What a driver's error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diagnosis {
    /// The connection is gone or out of step.
    Dead,
    /// The server, or this user's share, is full.
    Full,
    /// The server does not accept connections yet, or no longer.
    NotReady,
    /// User or password is wrong.
    Authentication,
    /// There is no such database.
    UnknownDatabase,
    /// Plain text where the server wants TLS.
    TlsDemanded,
    /// A setting sent at login is not known to this server.
    UnknownSetting,
    /// The server, or the transaction, is read-only.
    ReadOnly,
    /// The statement failed; the connection is fine.
    Statement,
    /// The statement failed, and the server has rolled back the whole transaction.
    RolledBack,
    /// The statement failed, and whether the transaction is still there has to be asked.
    Unsure,
    /// The statement that the driver had prepared is gone or fits no longer; nothing was executed.
    StalePlan,
    /// What the driver knows of this connection, names of statements or types, is not what the server knows: nothing was
    /// executed, and only another connection helps.
    Misled,
    /// The server had ended the session before it read the statement: its last word, and nothing was executed.
    HungUp,
    /// The driver gave up half way; the connection has to be brought to rest.
    Interrupted,
    /// Nothing was sent.
    NotSent,
}

impl Diagnosis {
    /// It is about a statement; the connection is fine.
    pub(crate) fn is_of_statement(self) -> bool {
        matches!(
            self,
            Self::Statement | Self::RolledBack | Self::Unsure | Self::ReadOnly | Self::StalePlan | Self::Misled
        )
    }
}

/// What has become of the statements that a connection has prepared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Staleness {
    /// They mean what they meant.
    #[default]
    Fresh,
    /// The server has to read and plan them again: [`Driver::replan`].
    Plans,
    /// The driver has to prepare them again: [`Driver::forget`].
    Statements,
    /// As `Statements`, and names of types may stand for others than the driver has learnt.
    Names,
}

/// What limits the sessions of a login besides the server's own number of them, and does not change while a process lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OwnLimits {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    /// It was asked.
    Known {
        /// Its role or its database has a limit.
        some: bool,
        /// So many of the server's slots are kept for others, by a setting that a session could give itself.
        reserved: i64,
    },
}

/// How a transaction is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With everything that was done in it.
    Commit,
    /// With nothing of it.
    Rollback,
}

/// What the end of a transaction of unknown state found. None is open afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It was healthy, and ended as it was told.
    Healthy,
    /// It was aborted, and is rolled back.
    Aborted,
    /// There was none: something else had ended it before, one way or the other.
    Nothing,
}

/// An engine's driver: the part of [`Engine`] that outsiders cannot name.
pub trait Driver: sqlx::Database<Arguments: Clone> + Sized {
    /// As secrets and messages call it.
    const FAMILY: &'static str;
    /// Environment variables that the driver obeys, and none of its options clears; and what to do in their place.
    const DRIVER_VARIABLES: &'static [(&'static str, &'static str)];
    /// The schemes of its URLs, the usual one first.
    const SCHEMES: &'static [&'static str];
    /// The default port.
    const PORT: u16;
    /// A statement that fails aborts its transaction. Otherwise the transaction goes on without it.
    const ERRORS_ABORT: bool;
    /// Statements make a session as good as new. Otherwise only another connection is.
    const CLEANS: bool;
    /// Settings that only go back where there is a [`home`](Self::home) for them.
    const NEED_A_HOME: &'static [&'static str];
    /// A rollback takes back what the transaction had set, too.
    const ROLLBACK_RESETS: bool;
    /// Several statements in one text are executed all or none.
    const TEXTS_ARE_ATOMIC: bool;
    /// What a savepoint is called that shows whether a transaction is still the one that it was set in; `None` where
    /// the server itself tells.
    const MARK: Option<&'static str>;
    /// A pooler in between may give every transaction another session of the server, whatever was set in the last one.
    const POOLERS_FORGET: bool;
    /// Makes the server forget the numbers that it has generated in a session.
    const FORGET_GENERATED: &'static str;
    /// Whether it refuses to tell one that was not generated; a number may be generated unseen then. Otherwise it says zero.
    const REFUSES_UNGENERATED: bool;
    /// What the driver prepares is prepared in an exchange of its own: dropped in the middle of that, it is out of step.
    const PREPARES_AHEAD: bool;
    /// A future that is dropped may leave the driver in the middle of a packet, and the driver then waits for what nobody
    /// will send.
    const LOSES_ITS_PLACE: bool;
    /// Whether a host is there is asked over a login: without one, too many questions would be held against the host
    /// that asks.
    const KNOCK_BY_LOGIN: bool;

    /// The setting that is the session's name for those who look for it; `None` where it cannot change.
    const RENAMED_BY: Option<&'static str>;

    /// Settings by which transactions begin or end.
    const CONTROLLING: &'static [&'static str];

    /// One login.
    fn dial(login: &Login) -> impl Future<Output = Result<Dialled<Self::Connection>, sqlx::Error>> + Send;

    /// What takes a setting back to what it was at this login, where the engine has no word for that.
    fn home(login: &Login) -> Settings;

    /// What the driver has to do before a statement that it prepares can be sent, in an exchange of its own. Dropped, it
    /// leaves the connection out of step. Refuses a wrong number of values. True: the statement is kept, and only its
    /// execution is left to do.
    fn prepare(
        conn: &mut Self::Connection,
        sql: sqlx::SqlStr,
        values: usize,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Sends a query. Its answer is what the stream brings.
    fn start<'c>(
        conn: &'c mut Self::Connection,
        query: impl sqlx::Execute<'c, Self> + 'c,
    ) -> BoxStream<'c, Result<sqlx::Either<Self::QueryResult, Self::Row>, sqlx::Error>>;

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
    fn is_no_savepoint(_: &sqlx::Error) -> bool {
        false
    }

    /// Runs a text without parameters and drops its rows.
    fn run(conn: &mut Self::Connection, sql: String) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Reads what is still on its way, and so proves that the connection answers. A statement's late error is returned
    /// in `Ok`: it belongs to whoever dropped the statement.
    fn drain(conn: &mut Self::Connection) -> impl Future<Output = Result<Option<sqlx::Error>, sqlx::Error>> + Send;

    /// The settings that a statement sets, each with the statement, in this crate's own words, that sets it alone.
    fn settings_of(statement: &str) -> Vec<(String, String)>;

    /// Whether, with these settings, a transaction begins with whatever is sent outside of one.
    fn begins_by_itself(settings: &Settings) -> bool;

    /// The text that takes a connection from one set of settings to another; `None` when they are equal.
    fn replay(applied: &Settings, wanted: &Settings, home: &Settings) -> Option<String>;

    /// The SQLSTATE of a statement that a cancel has ended.
    const CANCELLED: &'static str;

    /// Whether the server has refused to tell a number that was not generated.
    fn is_ungenerated(_: &sqlx::Error) -> bool {
        false
    }

    /// The number that was generated last in the server's session, or zero. Not asked where the server
    /// [refuses](Self::REFUSES_UNGENERATED).
    fn last_generated(conn: &mut Self::Connection) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// What a change of settings makes of the statements that were prepared before it.
    ///
    /// The list is of settings that are known not to matter; everything else does. What is prepared is shared by all
    /// sessions of a connection, and what a name, a literal or a quote in it stands for was found out under the settings of
    /// whoever prepared it.
    fn staleness(before: &Settings, after: &Settings) -> Staleness;

    /// The same for settings that may have changed, unseen, by what pins.
    fn staleness_by(cause: PinCause) -> Staleness;

    /// Whether a refusal may come from what the driver has learnt about names while they stood for something else.
    fn may_be_misled(_: &sqlx::Error) -> bool {
        false
    }

    /// What is left of a cause when its session has ended.
    fn soil(cause: PinCause) -> Soil;

    /// Whether a transaction may be open or over by what pins, unseen.
    fn may_control(cause: PinCause) -> bool;

    /// Whether the driver keeps any statement that it has prepared.
    fn has_prepared(conn: &Self::Connection) -> bool;

    /// Forgets the statements that the driver has prepared.
    fn forget(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The server's number for this session, and since when: no other one has both. Asked where the name is not its own
    /// any more.
    fn number(conn: &mut Self::Connection) -> impl Future<Output = Result<Option<String>, sqlx::Error>> + Send;

    /// Cancels, over another connection of the same user, whatever a session is doing. False: there is no such session.
    fn cancel(side: &mut Self::Connection, target: &Target) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Whether a session waits for its client's next word: it has answered everything that it was asked. Over the
    /// connection that has cancelled what it was doing. Asked where the driver [loses its place](Self::LOSES_ITS_PLACE).
    fn is_idle(side: &mut Self::Connection, target: &Target) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Makes a connection that sessions have left their traces on as good as new. `keep`: what the driver has prepared
    /// is known to be whole, and stays.
    fn clean(conn: &mut Self::Connection, keep: bool) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The statement that makes the server read and plan anew what is prepared. `None` where it always does.
    const REPLAN: Option<&'static str>;

    /// Asks whether a transaction is open, and whether it is aborted. Changes nothing.
    fn probe(conn: &mut Self::Connection) -> impl Future<Output = Result<Found, sqlx::Error>> + Send;

    /// Ends a transaction that may have been ended or aborted already, and finds out. Commits only a healthy one.
    fn end_doubtful(conn: &mut Self::Connection, end: End) -> impl Future<Output = Result<Found, sqlx::Error>> + Send;

    /// One look at the server, and at what it knows of its neighbours: one round trip where the flavour is known, two at
    /// the most where it is not. On a connection at rest. What may not be looked at is left out, and is no error.
    fn survey(
        conn: &mut Self::Connection,
        flavour: Flavour,
    ) -> impl Future<Output = Result<Survey, sqlx::Error>> + Send;

    /// How full the server is, for this login. On a connection at rest; one round trip.
    fn occupancy(
        conn: &mut Self::Connection,
        own: OwnLimits,
    ) -> impl Future<Output = Result<(Occupancy, OwnLimits), sqlx::Error>> + Send;

    /// Which limit a login has met that was refused for one.
    fn limit(error: &sqlx::Error) -> ConnectionLimit;

    /// Lets a reader's server wait until it is promoted, for at most `bound` and never for more than a second, in one
    /// round trip. True when it is the writer.
    fn await_promotion(
        conn: &mut Self::Connection,
        bound: Duration,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Asks a host, on a fresh socket and without a login, whether it is there.
    fn knock(at: std::net::SocketAddr) -> impl Future<Output = std::io::Result<()>> + Send;

    /// Says goodbye.
    fn close(conn: Self::Connection) -> impl Future<Output = ()> + Send;
}
