//! Random numbers that two environments do not share, although both were made of one snapshot: each generator is seeded by the
//! operating system when it is needed, on whichever thread.

/// From the operating system, whose generator the host of a restored environment has seeded anew.
fn fresh() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

/// A generator of its own.
pub(crate) fn generator() -> fastrand::Rng {
    fastrand::Rng::with_seed(fresh())
}

/// Tells connections apart on their server.
pub(crate) fn unique() -> u32 {
    generator().u32(..)
}

/// What nobody else can know.
pub(crate) fn mark() -> u64 {
    generator().u64(..)
}
