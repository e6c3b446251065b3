//! A driver that panics is a connection that is lost.

use std::future::Future;

use futures_util::FutureExt;

use crate::panicked::caught;

/// An exchange of the driver's with a server. The driver (sqlx 0.9.0) panics on a packet that is shorter than it should
/// be, of either engine; nothing that it was working on may be used again.
pub(crate) fn without_panic<T>(
    exchange: impl Future<Output = Result<T, sqlx::Error>>,
) -> impl Future<Output = Result<T, sqlx::Error>> {
    caught("the driver", exchange).map(|done| done.unwrap_or_else(|panicked| Err(panicked.into())))
}
