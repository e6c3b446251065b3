//! Random numbers that two environments do not share, although both were made of one snapshot.

/// From the operating system, whose generator the host of a restored environment has seeded anew.
fn fresh() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

/// Tells connections apart on their server.
pub(crate) fn unique() -> u32 {
    u32::try_from(fresh() >> 32).unwrap_or_default()
}

/// What is drawn on this thread from here on, pauses above all, is its own.
#[cfg(feature = "lambda")]
pub(crate) fn reseed() {
    fastrand::seed(fresh());
}
