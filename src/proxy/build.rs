//! What was configured is looked at as a whole, and a proxy made of it.

use std::sync::Arc;

use super::assemble::{built_in, controls_transactions, driver_variable, endpoint, is_pooler};
use super::environment::Environment;
use super::{Proxy, ProxyBuilder};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::connector::Connector;
use crate::engine::Engine;
use crate::event::{Events, Recent};
use crate::failover::{Failover, Readers, Spans};
use crate::pool::{Policy, Pool, Settings};
use crate::topology::{Target, Topology};

/// The longest `application_name` that PostgreSQL keeps, less the ten characters that tell connections apart.
const NAME_LIMIT: usize = 63 - 10;

impl<DB: Engine> ProxyBuilder<DB> {
    /// Validates, and makes the proxy. Does no I/O: nothing is connected to, asked for or read.
    ///
    /// # Errors
    /// What is missing, malformed or contradictory.
    pub fn build(mut self) -> Result<Proxy<DB>, ConfigError> {
        let environment = Environment::read();
        let clock = Clock::system();
        let config = self.checked(&environment, &clock)?;

        let recent = Recent::new(clock.clone());
        let mut observers = self.observers;
        observers.push(Box::new(recent.clone()));
        let events = Events::new(observers);
        let provider = match self.provider {
            Some(provider) => provider,
            #[cfg(feature = "_aws")]
            None => built_in(&config, &self.aws, &clock, &events)?,
            #[cfg(not(feature = "_aws"))]
            None => built_in(&config)?,
        };
        #[cfg(feature = "rds-api")]
        let endpoint = endpoint(&config, &self.aws, &clock);
        #[cfg(not(feature = "rds-api"))]
        let endpoint = endpoint(&config)?;
        let settings = pool_settings(&config);
        let name = application_name(config.application_name.clone().unwrap_or(environment.application_name));
        let topology = Topology::new(Target::new(&config, DB::RULES.default_port), clock.clone(), events.clone());
        #[cfg(feature = "rds-api")]
        let topology = topology.watched(config.cluster.as_deref(), &self.aws);
        let spans = Spans {
            failover: config.failover_timeout(),
            restart: config.restart_timeout(),
            watch: config.watch_interval(),
        };
        let readers = Readers::new(config.reader_fallback);
        let region = environment.region;
        let connector = Connector::new(config, provider, endpoint, region, name, clock.clone(), events.clone());
        #[cfg(feature = "testing")]
        let connector = connector.with_faults(self.faults);
        let (connector, topology) = (Arc::new(connector), Arc::new(topology));
        let failover = Failover::new(connector, topology, spans, clock.clone(), events.clone());
        let to_readers = failover.to_readers(readers);
        let readers = Pool::new(to_readers, settings.clone(), clock.clone(), events.clone());
        Ok(Proxy::new(Pool::new(failover, settings, clock, events), readers, recent))
    }

    /// The configuration with what the environment and the defaults add, if it is one.
    fn checked(&mut self, environment: &Environment, clock: &Clock) -> Result<Config, ConfigError> {
        if let (Some(_), Some(second)) = (&self.provider, self.config.credentials_option()) {
            return Err(ConfigError::Conflict { first: "credentials", second });
        }
        if let Some(error) = driver_variable(DB::RULES.driver_variables, |name| std::env::var_os(name).is_some()) {
            return Err(error);
        }
        let mut config = std::mem::take(&mut self.config);
        config.max_connections = config.max_connections.or(environment.max_concurrency);
        // A provider of the application's own may bring the host, as a secret may.
        let mut config = config.resolve(DB::RULES.url_schemes, self.provider.is_some())?;
        if is_pooler(&config) {
            config.via_proxy = Some(true);
        }
        for (option, pem) in [("ca_pem", &config.ca_pem), ("add_ca_pem", &config.add_ca_pem)] {
            if !pem.is_empty() {
                let checked = crate::tls::in_term(pem.bytes(), clock.now().since_1970());
                checked.map_err(|problem| ConfigError::Value { option, problem })?;
            }
        }
        if let Some(query) = &config.init_query
            && controls_transactions::<DB>(query)
        {
            let problem = "decides about transactions: they begin and end where a session says so";
            return Err(ConfigError::Value { option: "init_query", problem });
        }
        if config.init_query.is_some() && config.via_proxy() && DB::RULES.poolers_lose_state {
            let problem = "is run at a login, and a pooler gives the connection that it was run on to others; give it to the pooler (RDS \
                           Proxy's initialization query, PgBouncer's connect_query), or set it for the role (ALTER ROLE … SET)";
            return Err(ConfigError::Value { option: "init_query", problem });
        }
        Ok(config)
    }
}

fn pool_settings(config: &Config) -> Settings {
    Settings {
        limit: config.max_connections(),
        borrow_timeout: config.borrow_timeout(),
        policy: Policy {
            validate_after: config.validate_after(),
            validate_timeout: config.validate_timeout(),
            idle_timeout: config.idle_timeout(),
            max_lifetime: config.max_lifetime(),
        },
    }
}

fn application_name(mut name: String) -> String {
    while name.len() > NAME_LIMIT {
        name.pop();
    }
    name
}
