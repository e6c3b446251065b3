//! Where the database is. Today: a host that is configured or that a secret brings, or one lookup at the RDS API.

#[cfg(feature = "rds-api")]
mod rds_api;

use crate::error::Error;
use crate::retry::Deadline;

#[cfg(feature = "rds-api")]
pub(crate) use rds_api::Lookup;

/// A host and port, as far as they are known before the credentials are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
}

/// How to get to a [`Place`].
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// It is configured, or the secret brings it.
    Given(Place),
    /// The RDS API knows it: asked once, at the first connect.
    #[cfg(feature = "rds-api")]
    Lookup(Lookup),
}

impl Endpoint {
    #[cfg_attr(not(feature = "rds-api"), expect(clippy::unused_async, unused_variables, reason = "a lookup awaits"))]
    pub(crate) async fn resolve(&self, deadline: Deadline) -> Result<Place, Error> {
        match self {
            Self::Given(place) => Ok(place.clone()),
            #[cfg(feature = "rds-api")]
            Self::Lookup(lookup) => lookup.resolve(deadline).await,
        }
    }
}
