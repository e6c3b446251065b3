//! The details that errors carry: how a host was not reached, what is wrong with TLS, who holds the pool's connections.

use std::fmt;
use std::time::Duration;

use sqlx::error::DatabaseError;

use super::Phase;
use crate::occupancy::Occupancy;

/// Whether a server refused to write. MySQL has a number that means several things, and says which in its text.
pub(super) fn is_read_only(error: &dyn DatabaseError) -> bool {
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return is_mysql_read_only(error.number(), error.message());
    }
    error.code().as_deref() == Some("25006")
}

/// What helps where a login was refused. Not every account that may not log in has a wrong password.
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>
pub(super) fn login_cure(source: &sqlx::Error) -> &'static str {
    #[cfg(feature = "mysql")]
    if let Some(refusal) = source.as_database_error()
        && let Some(refusal) = refusal.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
    {
        return mysql_login_cure(refusal.number());
    }
    let _ = source;
    "check the secret or password, for IAM that the role has rds_iam and the function rds-db:connect"
}

#[cfg(feature = "mysql")]
fn mysql_login_cure(number: u16) -> &'static str {
    match number {
        1820 | 1862 => "the password has expired; give the account a new one (ALTER USER … IDENTIFIED BY …)",
        3118 | 4151 => "the account is locked, whatever the password is; unlock it (ALTER USER … ACCOUNT UNLOCK)",
        3955 => {
            "the account is blocked for a while after too many refused logins (PASSWORD_LOCK_TIME), whatever the password is now; find who logs in with an old one"
        }
        // The same words for a host, or for a certificate that the account demands and nobody shows.
        _ => {
            "check the secret or password, which hosts the account is for and that it demands no client certificate (REQUIRE X509), for IAM that it is identified with AWSAuthenticationPlugin and that the function has rds-db:connect"
        }
    }
}

/// 1290: an option forbids it, and only the text names the option. 1792: the transaction is read-only; 1836 and 1874: the
/// server or InnoDB is. <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>
#[cfg(feature = "mysql")]
pub(crate) fn is_mysql_read_only(number: u16, message: &str) -> bool {
    match number {
        1290 => message.contains("read-only") || message.contains("read_only"),
        number => matches!(number, 1792 | 1836 | 1874),
    }
}

/// Why a host could not be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreachable {
    /// The port is closed: the host answered with a refusal.
    Refused,
    /// The host does not answer at all.
    NoRoute,
    /// The socket connected and then nothing was said.
    Silent,
    /// The peer hung up during the login.
    HungUp,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "nothing listens on that port; check host and port, and that the database is running",
            Self::NoRoute => {
                "no answer to the connect; check the function's subnets and that the database's security group lets it in"
            }
            Self::Silent => "the port accepts connections and then says nothing; the database is hanging or overloaded, or is of another engine than was asked for",
            Self::HungUp => "the peer hung up during the login; check that a database of the right kind listens there",
        })
    }
}

/// Which limit a server has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionLimit {
    /// The server's own, `max_connections`.
    Server,
    /// What is left of the server's own is reserved for administrators.
    Reserved,
    /// That of the login's role or account.
    Role,
    /// That of the database.
    Database,
    /// The server did not say which.
    Unknown,
}

impl fmt::Display for ConnectionLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server | Self::Unknown => {
                "it is full; lower the function's concurrency or max_connections, raise the server's limit, or put a pooler between"
            }
            Self::Reserved => {
                "its last slots are for administrators; lower the function's concurrency or max_connections, raise the server's limit, or put a pooler between"
            }
            Self::Role => {
                "the user's own limit is met; raise it (ALTER ROLE … CONNECTION LIMIT, MAX_USER_CONNECTIONS), or lower the function's concurrency or max_connections"
            }
            Self::Database => {
                "the database's own limit is met; raise it (ALTER DATABASE … CONNECTION LIMIT), or lower the function's concurrency or max_connections"
            }
        })
    }
}

/// When the server was last seen, in an error's text.
pub(super) struct Seen<'a>(pub(super) &'a Option<Box<(Occupancy, Duration)>>);

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(seen) => write!(f, "; {:.1?} before it had {}", seen.1, seen.0),
            None => Ok(()),
        }
    }
}

/// What is wrong with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsProblem {
    /// The server speaks plain text only.
    NotOffered,
    /// The server accepts TLS only and plain text was asked for.
    Demanded,
    /// The certificate was issued by an authority that is not trusted here.
    UnknownIssuer,
    /// The certificate is no longer, or not yet, valid.
    Expired,
    /// The certificate is for another name.
    NameMismatch,
    /// A root certificate that was given could not be read.
    BadRoot,
    /// The handshake failed for another reason; the source has it.
    Handshake,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOffered => {
                "the server does not offer TLS, and without it nothing is sent; enable it there (`rds.force_ssl`, `ssl = on`)"
            }
            Self::Demanded => "the server demands TLS and it is disabled here; leave `Tls::Disable` (sslmode=disable) out",
            Self::UnknownIssuer => {
                "its issuer is not trusted, or that one's own term is over; RDS roots are built in, so give the certificate authority with `ca_pem` (LAMBDA_RDS_CA_FILE, sslrootcert), or besides the RDS roots with `add_ca_pem`, for a newer region <region>-bundle.pem from https://truststore.pki.rds.amazonaws.com/"
            }
            Self::Expired => "it is outside its validity period; renew it on the server (or check this machine's clock)",
            Self::NameMismatch => {
                "it is for another name; connect by a name the certificate has: for RDS that is the endpoint's own, not an alias or an address"
            }
            Self::BadRoot => "a root certificate given with `ca_pem` is not readable PEM",
            Self::Handshake => "the handshake failed",
        })
    }
}

/// Why the RDS API did not say where a cluster or an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointProblem {
    /// It knows nobody of that identifier.
    NotFound,
    /// It is being created and has no address yet.
    NoEndpointYet,
    /// The function's role may not ask.
    Denied,
    /// The account has asked too often, for longer than the budget.
    Throttled,
    /// The API could not be reached, or did not answer in time.
    NoAnswer,
    /// The API answered with another error; the source has it.
    Failed,
}

impl fmt::Display for EndpointProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "there is none of that name; check the identifier, the region and the account",
            Self::NoEndpointYet => "it has no endpoint yet; wait until it is created",
            Self::Denied => "access was denied; allow that action in the function's role",
            Self::Throttled => "the account has asked too often; try again later",
            Self::NoAnswer => {
                "no answer; a function in a private subnet needs a NAT gateway or the interface endpoint com.amazonaws.<region>.rds"
            }
            Self::Failed => "the call failed; see its cause",
        })
    }
}

impl EndpointProblem {
    pub(super) fn is_transient(self) -> bool {
        matches!(self, Self::NoEndpointYet | Self::Throttled | Self::NoAnswer)
    }
}

/// Who holds a connection that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// For what.
    pub purpose: Purpose,
    /// For how long.
    pub held: Duration,
}

/// What a lease is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// A check before it is lent.
    Check,
    /// One statement.
    Statement,
    /// A transaction.
    Transaction,
    /// A pinned session.
    Pin,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let purpose = match self.purpose {
            Purpose::Check => "by a check",
            Purpose::Statement => "by a statement",
            Purpose::Transaction => "by a session in a transaction",
            Purpose::Pin => "by a pinned session",
        };
        write!(f, "{purpose} for {:.1?}", self.held)
    }
}

/// The pool's numbers at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolNumbers {
    /// `max_connections`.
    pub limit: usize,
    /// Connections at rest.
    pub idle: usize,
    /// Connections on loan, with who holds them.
    pub holders: Vec<Holder>,
    /// Connect attempts under way, with what each is doing.
    pub connecting: Vec<Phase>,
    /// Callers that wait, the one that reports included.
    pub waiting: usize,
}

impl fmt::Display for PoolNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} leased", self.holders.len(), self.limit)?;
        for (n, holder) in self.holders.iter().enumerate() {
            write!(f, "{} held {holder}", if n == 0 { ":" } else { "," })?;
        }
        write!(f, "; {} idle", self.idle)?;
        for phase in &self.connecting {
            write!(f, ", one connect {phase}")?;
        }
        write!(f, "; {} waiting", self.waiting)
    }
}

/// What somebody who might have been the writer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// `host:port`
    pub host: String,
    /// The last answer, or what stood in its place.
    pub answer: String,
}

/// Several of them in a message.
pub(super) struct Answers<'a>(pub(super) &'a [Answer]);

impl fmt::Display for Answers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there was nobody to ask");
        }
        for (n, Answer { host, answer }) in self.0.iter().enumerate() {
            write!(f, "{}{host} said \"{answer}\"", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
