//! What one look at one server says about it and its neighbours.

use std::time::Duration;

use sqlx::Error;

/// So many members a text asks for, and one more than are ever kept (`MOST_MEMBERS`): whoever has more is no cluster.
macro_rules! most_sightings {
    () => {
        "65"
    };
}

pub(super) use most_sightings;

/// More rows than a survey has are no survey, and are not kept. A server that has been taken over may send rows without
/// end, whatever limit it was told.
const MOST_ROWS: usize = 100;

/// Keeps a row of a survey, if there may be so many.
///
/// # Errors
/// One row too many.
pub(super) fn keep<R>(rows: &mut Vec<R>, row: R) -> Result<(), Error> {
    if rows.len() == MOST_ROWS {
        return Err(Error::Protocol("a survey was answered with rows without end".to_owned()));
    }
    rows.push(row);
    Ok(())
}

/// What kind of deployment a server belongs to, as far as its way of telling about the others goes.
#[cfg_attr(not(feature = "_inner"), expect(unreachable_pub, reason = "only the tests' window shows it"))]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_end_are_no_survey() {
        let mut rows = Vec::new();
        for row in 0..MOST_ROWS {
            keep(&mut rows, row).unwrap();
        }
        assert!(keep(&mut rows, MOST_ROWS).is_err());
        assert_eq!(rows.len(), MOST_ROWS);
        // All members that are asked for, what the server says of itself, and whom it follows.
        assert!(most_sightings!().parse::<usize>().unwrap() + 2 < MOST_ROWS);
    }
}
