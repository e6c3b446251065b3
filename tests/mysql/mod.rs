//! On MariaDB, and on a real MySQL where the newest servers are chosen ([`servers`](crate::support::servers)): the twins
//! of the tests beside this folder. What only one of the two has is said where it is tested.

use crate::support::on_mysql as stage;

#[path = "../attacks.rs"]
mod attacks;
mod cancelled;
#[path = "../concurrency.rs"]
mod concurrency;
#[path = "../credentials.rs"]
mod credentials;
#[cfg(feature = "_internals")]
#[path = "../deadline.rs"]
mod deadline;
#[cfg(feature = "testing")]
#[path = "../doubles.rs"]
mod doubles;
mod driver;
#[path = "../dropped.rs"]
mod dropped;
mod ends;
#[path = "../failover/mod.rs"]
mod failover;
mod farewell;
#[path = "../fleet.rs"]
mod fleet;
#[path = "../function.rs"]
mod function;
#[path = "../generated.rs"]
mod generated;
#[path = "../half_sent.rs"]
mod half_sent;
mod language;
mod leaks;
#[path = "../ledger/mod.rs"]
mod ledger;
mod logins;
#[cfg(feature = "migrate")]
#[path = "../migrations.rs"]
mod migrations;
#[path = "../model.rs"]
mod model;
mod numbers;
mod oracle;
#[path = "../orphans.rs"]
mod orphans;
#[path = "../panics.rs"]
mod panics;
mod partly;
mod plans;
#[path = "../raw.rs"]
mod raw;
#[path = "../refusals.rs"]
mod refusals;
mod remembered;
#[path = "../replays.rs"]
mod replays;
#[cfg(feature = "sea-orm")]
#[path = "../sea_orm.rs"]
mod sea_orm;
#[path = "../secrecy.rs"]
mod secrecy;
#[path = "../session.rs"]
mod session;
mod settings;
#[path = "../slips/mod.rs"]
mod slips;
#[path = "../slow.rs"]
mod slow;
#[cfg(feature = "otel")]
#[path = "../spans.rs"]
mod spans;
mod spellings;
#[cfg(feature = "_internals")]
mod survey;
mod texts;
#[path = "../tls.rs"]
mod tls;
#[path = "../told.rs"]
mod told;
#[cfg(feature = "_internals")]
#[path = "../topology.rs"]
mod topology;
mod transactions;
#[path = "../trust.rs"]
mod trust;
mod truth_table;
mod types;
#[path = "../upkeep.rs"]
mod upkeep;
