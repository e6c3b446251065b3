//! Where the database is, and who of its members is the writer.
//!
//! `member`, `view` and `membership` are what is known and how sources are merged; `names` is what a host name implies,
//! `trust` which addresses a server is believed about, `order` whom a hunt asks first, `budget` when the RDS API may be asked. All of these are pure. [`Topology`] holds the
//! one membership of a proxy; [`Endpoint`] is the first place to dial.

#![cfg_attr(
    not(feature = "rds-api"),
    allow(dead_code, reason = "what the watch on the RDS API needs has no user without it")
)]

mod budget;
mod member;
mod membership;
mod names;
mod order;
#[cfg(feature = "rds-api")]
mod rds_api;
mod state;
mod trust;
mod view;
#[cfg(feature = "rds-api")]
mod watch;

use crate::deadline::Deadline;
use crate::error::Error;

pub(crate) use member::Address;
pub(crate) use membership::Change;
pub(crate) use names::{is_of_every_region, is_of_rds, is_rds_proxy};
#[cfg(test)]
pub(crate) use order::Candidate;
pub(crate) use order::Candidates;
#[cfg(feature = "rds-api")]
pub(crate) use rds_api::{Lookup, Subject};
#[cfg(feature = "rds-api")]
pub(crate) use state::Watched;
pub(crate) use state::{Target, Topology};

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
    Lookup(Box<Lookup>),
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
