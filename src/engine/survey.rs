//! What one look at one server says about it and its neighbours.

use std::time::Duration;

/// So many members a text asks for, and one more than are ever kept (`MOST_MEMBERS`): whoever has more is no cluster.
macro_rules! most_sightings {
    () => {
        "65"
    };
}

pub(super) use most_sightings;

/// What kind of deployment a server belongs to, as far as its way of telling about the others goes.
#[cfg_attr(not(feature = "_internals"), expect(unreachable_pub, reason = "only the tests' window shows it"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "sealed in with the trait that speaks of it")]
pub enum Flavour {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// It tells about nobody but itself: a single instance, a Multi-AZ instance, or one that may not be asked.
    Plain,
    /// An Aurora cluster: members are known by identifier.
    Aurora,
    /// A Multi-AZ DB cluster: members are known by address too.
    MultiAzCluster,
}

/// What one server said in one round trip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// It follows another server, or its configuration has made it read-only. False on the connection that asked is the
    /// one proof that its server is the writer.
    pub(crate) is_reader: bool,
    /// What was found, or that what was expected was right.
    pub(crate) flavour: Flavour,
    /// The server's own identifier, among those of `sightings`.
    pub(crate) me: Option<String>,
    /// Everybody it sees, itself included. On a reader this may be old or partial.
    pub(crate) sightings: Vec<Sighting>,
    /// How many sessions this user has on the server: a measure of the fleet.
    pub(crate) sessions: Option<u32>,
    /// What pretends to be the cluster's own and is not: it was not called.
    pub(crate) ignored: Option<&'static str>,
    /// Why the neighbours could not be asked for, where that is more than a missing permission or table.
    pub(crate) failed: Option<String>,
}

/// A member as another one, or it itself, sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Aurora's instance identifier, or a Multi-AZ cluster's resource id.
    pub(crate) id: String,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    /// The viewer takes it for the writer.
    pub(crate) writer: bool,
    pub(crate) lag: Option<Duration>,
}
