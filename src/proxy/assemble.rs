//! The parts of a proxy, made of what was configured: the only place that knows which of them this build has.

use std::sync::Arc;

#[cfg(feature = "_aws")]
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::credentials::{CredentialsProvider, Fixed};
use crate::engine::Engine;
#[cfg(feature = "_aws")]
use crate::event::Events;
use crate::redacted::Redacted;
use crate::topology::{Endpoint, Place, is_rds_proxy};

#[cfg(feature = "_aws")]
pub(super) fn built_in(
    config: &Config,
    aws: &crate::aws::Aws,
    clock: &Clock,
    events: &Events,
) -> Result<Arc<dyn CredentialsProvider>, ConfigError> {
    #[cfg(feature = "secrets-manager")]
    if let Some(secret) = config.secret.clone() {
        let budget = config.connect_timeout();
        let secrets =
            crate::credentials::SecretsManager::new(secret, aws.clone(), budget, clock.clone(), events.clone());
        return Ok(Arc::new(secrets));
    }
    #[cfg(feature = "iam")]
    if config.iam {
        return Ok(Arc::new(crate::credentials::Iam::new(aws.clone(), clock.clone(), events.clone())));
    }
    let _ = (aws, clock, events);
    fixed(config)
}

#[cfg(not(feature = "_aws"))]
pub(super) fn built_in(config: &Config) -> Result<Arc<dyn CredentialsProvider>, ConfigError> {
    fixed(config)
}

fn fixed(config: &Config) -> Result<Arc<dyn CredentialsProvider>, ConfigError> {
    // The environment may ask for what this build was made without.
    if config.secret.is_some() {
        return Err(ConfigError::Value { option: "secret", problem: "needs the crate's feature secrets-manager" });
    }
    if config.iam {
        return Err(ConfigError::Value { option: "iam", problem: "needs the crate's feature iam" });
    }
    Ok(Arc::new(Fixed::new(config.password.clone().unwrap_or_else(|| Redacted::from("")))))
}

#[cfg(feature = "rds-api")]
pub(super) fn endpoint(config: &Config, aws: &crate::aws::Aws, clock: &Clock) -> Endpoint {
    use crate::topology::{Lookup, Subject};

    let subject = match (&config.cluster, &config.instance) {
        (Some(id), _) => Subject::Cluster(id.clone()),
        (None, Some(id)) => Subject::Instance(id.clone()),
        (None, None) => return Endpoint::Given(given(config)),
    };
    let lookup = Lookup::new(subject, aws.clone(), config.connect_timeout(), clock.clone());
    Endpoint::Lookup(Box::new(lookup))
}

#[cfg(not(feature = "rds-api"))]
pub(super) fn endpoint(config: &Config) -> Result<Endpoint, ConfigError> {
    if config.cluster.is_some() || config.instance.is_some() {
        return Err(ConfigError::Value { option: "cluster and instance", problem: "need the crate's feature rds-api" });
    }
    Ok(Endpoint::Given(given(config)))
}

/// The host that is configured, or else the first member.
fn given(config: &Config) -> Place {
    match (&config.host, config.instances.first()) {
        (None, Some((_, host, port))) => Place { host: Some(host.clone()), port: config.port.or(Some(*port)) },
        (host, _) => Place { host: host.clone(), port: config.port },
    }
}

/// The first of the driver's own variables that is set; one without a value is obeyed too.
pub(super) fn driver_variable(
    variables: &'static [(&'static str, &'static str)],
    is_set: impl Fn(&str) -> bool,
) -> Option<ConfigError> {
    let (name, cure) = *variables.iter().find(|(name, _)| is_set(name))?;
    Some(ConfigError::DriverVariable { name, cure })
}

/// No session's account would know of it.
pub(super) fn controls_transactions<DB: Engine>(query: &str) -> bool {
    let query = query.to_ascii_lowercase();
    DB::classify(&query).control().is_some() || DB::RULES.controlling_settings.iter().any(|name| query.contains(name))
}

/// Whether the target is a pooler: as it was said, or as its name says where there is one endpoint.
pub(super) fn is_pooler(config: &Config) -> bool {
    let is_one = config.instances.is_empty() && config.instance_host_pattern.is_none();
    config.via_proxy.unwrap_or_else(|| is_one && config.host.as_deref().is_some_and(is_rds_proxy))
}

#[cfg(test)]
mod tests;
