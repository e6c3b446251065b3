//! The SDK's configuration, loaded when the first client needs it.
//!
//! Loading costs milliseconds, nearly all of them for a TLS client; a function with a fixed password, or whose first
//! connection comes from a warm pool, never pays them. One crypto library (ring) serves the SDK and the driver.

use std::sync::Arc;

#[cfg(any(feature = "secrets-manager", feature = "rds-api"))]
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::OnceCell;

/// The SDK's own standard. A fleet that is throttled does not get out of it by asking more often.
#[cfg(any(feature = "secrets-manager", feature = "rds-api"))]
const MOST_ATTEMPTS: u32 = 3;

/// How a service is asked again by the SDK itself: as configured, but not more often than is usual.
#[cfg(any(feature = "secrets-manager", feature = "rds-api"))]
pub(crate) fn few_attempts(config: &SdkConfig) -> RetryConfig {
    let retry = config.retry_config().cloned().unwrap_or_else(RetryConfig::standard);
    let attempts = retry.max_attempts().min(MOST_ATTEMPTS);
    retry.with_max_attempts(attempts)
}

/// The application's `SdkConfig`, or one from the environment. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aws(Arc<OnceCell<SdkConfig>>);

impl Aws {
    /// What `aws_config(..)` on the builder was given.
    pub(crate) fn given(config: SdkConfig) -> Self {
        Self(Arc::new(OnceCell::new_with(Some(config))))
    }

    pub(crate) async fn config(&self) -> &SdkConfig {
        self.0
            .get_or_init(async || {
                let http = aws_smithy_http_client::Builder::new()
                    .tls_provider(Provider::Rustls(CryptoMode::Ring))
                    .build_https();
                aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await
            })
            .await
    }
}
