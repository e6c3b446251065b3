//! How a connection is cleaned after the sessions that it has served.

/// What has to be done before the next session may have it, from the least to the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cleanup {
    /// Nothing: nothing was left on it.
    #[default]
    None,
    /// The server takes away what was left; what the driver has prepared stays good.
    KeepPlans,
    /// The server takes away everything, what is prepared too.
    Full,
    /// No statement takes away what was left: the connection is closed.
    Impossible,
}
