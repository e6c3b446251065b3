//! Who takes part.

/// A function and the way it goes to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// This crate, with its layer.
    Ours,
    /// sqlx's pool of one.
    Pool,
    /// A connect for each invocation, bare sqlx.
    Each,
    /// sqlx's pool of one, through a PgBouncer.
    PoolPooled,
    /// This crate, through a PgBouncer.
    OursPooled,
}

impl Subject {
    pub(crate) const ALL: [Self; 5] = [Self::Ours, Self::Pool, Self::Each, Self::PoolPooled, Self::OursPooled];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "rds",
            Self::Pool => "pool",
            Self::Each => "each",
            Self::PoolPooled => "pgbouncer",
            Self::OursPooled => "rds-pgbouncer",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.name() == name)
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursPooled)
    }

    pub(crate) fn is_pooled(self) -> bool {
        matches!(self, Self::PoolPooled | Self::OursPooled)
    }
}
