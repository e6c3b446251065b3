//! Somebody who is, or may become, the writer.

use std::fmt;
use std::time::Duration;

/// Where to dial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    pub(crate) fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A member with an address of its own. One that is known by identifier only cannot be dialled, and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) host: String,
    /// `None`: the target's.
    pub(crate) port: Option<u16>,
    /// The RDS API's promotion tier: the lowest is promoted first.
    pub(crate) tier: Option<u8>,
    /// How far behind the writer it was when last seen.
    pub(crate) lag: Option<Duration>,
    pub(crate) role: Role,
    pub(crate) source: Source,
}

impl Member {
    pub(crate) fn address(&self, port: u16) -> Address {
        Address::new(self.host.clone(), self.port.unwrap_or(port))
    }
}

/// What a member last said of itself, on a connection to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// It was not asked, or somebody else is the writer since.
    #[default]
    Unknown,
    Reader,
    Writer,
}

/// Who vouches for a member, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The RDS API alone: gone when the API no longer lists it.
    Api,
    /// A server: gone when the writer no longer sees it.
    Server,
    /// The user: never gone, and its address is the one that was given.
    Given,
}
