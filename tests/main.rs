//! One binary, so that there is one link and one shared server; one file per behaviour.

mod support;

mod credentials;
mod function;
mod refusals;
mod secrecy;
mod session;
mod tls;
mod upkeep;
