//! Servers among each other: who is who, how full they are, whether they are there.

use std::future::Future;
use std::time::Duration;

use super::{Driver, Flavour, Survey};
use crate::occupancy::Occupancy;

/// What limits the sessions of a login besides the server's own number of them, and does not change while a process lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OwnLimits {
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

/// What a server tells of itself and its neighbours.
pub(crate) trait Cluster: Driver {
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

    /// Lets a reader's server wait until it is promoted, for at most `bound` and never for more than a second, in one
    /// round trip. True when it is the writer.
    fn await_promotion(
        conn: &mut Self::Connection,
        bound: Duration,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Asks a host, on a fresh socket and without a login, whether it is there.
    fn check_liveness(at: std::net::SocketAddr) -> impl Future<Output = std::io::Result<()>> + Send;
}
