//! Who logs in, and with what. Asked at *connect time*, never by a timer: a frozen environment runs none.
//!
//! A provider is told which of its credentials the database has refused in this connect. With none refused it may
//! answer from its cache; after a refusal it must come up with others (go to the source, try another stage) or say that
//! it has none.

#[cfg(any(feature = "iam", feature = "secrets-manager"))]
mod cache;
mod fixed;
#[cfg(feature = "iam")]
mod iam;
#[cfg(feature = "secrets-manager")]
mod remembered;
#[cfg(feature = "secrets-manager")]
mod round;
#[cfg(feature = "secrets-manager")]
mod secret;
#[cfg(feature = "secrets-manager")]
mod secrets_manager;
#[cfg(feature = "secrets-manager")]
mod verdicts;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::deadline::Deadline;
use crate::redacted::Redacted;

pub use crate::error::{Cause, CredentialsError};

pub(crate) use fixed::Fixed;
#[cfg(feature = "iam")]
pub(crate) use iam::Iam;
#[cfg(all(feature = "_internals", feature = "secrets-manager"))]
pub(crate) use secret::parse as parse_secret;
#[cfg(feature = "secrets-manager")]
pub(crate) use secrets_manager::SecretsManager;

/// A user and a password (or token), and what a source may know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The database user.
    pub user: String,
    /// The password, or the token in its place.
    pub password: Redacted,
    /// Where the database is, if the source knows; what is configured wins.
    pub host: Option<String>,
    /// Its port, likewise.
    pub port: Option<u16>,
    /// The database's name, likewise.
    pub database: Option<String>,
}

impl Credentials {
    /// Credentials without a place.
    pub fn new(user: impl Into<String>, password: impl Into<Redacted>) -> Self {
        Self { user: user.into(), password: password.into(), host: None, port: None, database: None }
    }
}

/// What credentials are asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CredentialsRequest {
    /// The host that will be dialled, where it is known before the credentials are.
    pub host: Option<String>,
    /// Its port.
    pub port: u16,
    /// The configured user, if there is one.
    pub user: Option<String>,
    /// The engine, as secrets name it: `postgres` or `mysql`.
    pub engine: &'static str,
    /// What the database has refused in this connect, in order.
    pub refused: Vec<Credentials>,
    /// How many logins this server has accepted until this connect began: more than at a failure end what is remembered
    /// of that.
    #[cfg_attr(
        not(feature = "secrets-manager"),
        expect(dead_code, reason = "only a secret's failures are remembered")
    )]
    pub(crate) accepted: u64,
    /// When the connect gives up; a built-in provider does so by then, and says why.
    pub(crate) deadline: Deadline,
}

#[cfg(test)]
impl CredentialsRequest {
    /// For a connect to this host that has just begun.
    pub(crate) fn to(host: &str) -> Self {
        Self {
            host: Some(host.to_owned()),
            port: 5432,
            user: None,
            engine: "postgres",
            refused: Vec::new(),
            accepted: 0,
            deadline: Deadline::after(std::time::Duration::from_secs(9)),
        }
    }
}

/// The future of a [`CredentialsProvider`].
pub type CredentialsFuture<'a> = Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + 'a>>;

/// A source of credentials. Secrets Manager, IAM and fixed ones are built in; others are given to the builder.
pub trait CredentialsProvider: fmt::Debug + Send + Sync + 'static {
    /// Credentials for one connect.
    ///
    /// # Errors
    /// Why there are none. [`CredentialsError::Exhausted`] after a refusal ends the connect with the database's answer.
    ///
    /// # Cancel safety
    /// The future is dropped when the connect runs out of time; the provider must stay usable.
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a>;

    /// Forgets what was fetched. Called before Lambda SnapStart takes a snapshot, which every environment that is made of it
    /// would share. By default nothing, for a provider that keeps nothing.
    fn forget(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_can_be_kept_behind_a_pointer() {
        fn object_safe(_: Option<Box<dyn CredentialsProvider>>) {}
        object_safe(None);
    }

    #[test]
    fn credentials_do_not_show_their_password() {
        let text = format!("{:?}", Credentials::new("app", "hunter2"));
        assert!(text.contains("app") && !text.contains("hunter2"), "{text}");
    }
}
