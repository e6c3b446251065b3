//! The process-wide proxy, one an engine: what makes a handle stay alive across warm invocations.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use once_cell::sync::OnceCell;

use super::{Proxy, ProxyBuilder};
use crate::config::ConfigError;
use crate::engine::Engine;
use crate::error::Error;
use crate::session::Connection;

/// One cell for each engine that was asked for. A static inside a generic function would be one for all engines.
static CELLS: Mutex<Vec<&'static (dyn Any + Send + Sync)>> = Mutex::new(Vec::new());

/// A session with the database that the environment names; see [`VARIABLES`](crate::VARIABLES).
///
/// The proxy behind it is made on the first call, once however many calls come at a time, and lives as long as the
/// process; a first call that fails is tried again by the next. Returns when the database is known to answer. A warm
/// call does no I/O.
///
/// # Errors
/// As [`Proxy::from_env`] and [`Proxy::get_connection`].
///
/// # Cancel safety
/// As [`Proxy::get_connection`].
pub async fn get_connection<DB: Engine>() -> Result<Connection<DB>, Error> {
    process_wide()?.get_connection().await
}

/// A read-only session with one of the readers of the database that the environment names; see [`Proxy::get_reader`].
///
/// # Errors
/// As [`Proxy::from_env`] and [`Proxy::get_reader`].
///
/// # Cancel safety
/// As [`Proxy::get_connection`].
pub async fn get_reader<DB: Engine>() -> Result<Connection<DB>, Error> {
    process_wide()?.get_reader().await
}

/// Makes the process-wide proxy and opens its first connection: call it in `main` before the runtime starts, and
/// credentials, DNS, TLS and login are paid for in the init phase.
///
/// A database that is away at this moment is no error: Lambda would start the function again and again, and say nothing
/// but that it ended. The proxy is there, [`Event::ConnectFailed`](crate::Event::ConnectFailed) tells why, and the first
/// invocation tries again and gets the error.
///
/// # Errors
/// What no invocation could change: [`Error::Config`].
///
/// # Cancel safety
/// As [`get_connection`].
pub async fn init<DB: Engine>() -> Result<Proxy<DB>, Error> {
    let proxy = process_wide::<DB>()?;
    match proxy.get_connection().await {
        Err(error @ Error::Config(_)) => Err(error),
        // The session goes, the connection stays.
        _ => Ok(proxy.clone()),
    }
}

/// As [`init`], with a proxy that is made of this builder: [`ProxyBuilder::from_env`] has the environment's variables, and
/// setters come on top.
///
/// # Errors
/// As [`init`]; [`ConfigError::AlreadyInstalled`] when there is a process-wide proxy.
///
/// # Cancel safety
/// As [`init`].
pub async fn init_with<DB: Engine>(builder: ProxyBuilder<DB>) -> Result<Proxy<DB>, Error> {
    install(builder.build()?)?;
    init().await
}

/// Makes a proxy that was built in code the process-wide one.
///
/// # Errors
/// [`ConfigError::AlreadyInstalled`] when there is one.
pub fn install<DB: Engine>(proxy: Proxy<DB>) -> Result<(), Error> {
    cell().set(proxy).map_err(|_| ConfigError::AlreadyInstalled.into())
}

/// The process-wide proxy of this engine, if there is one yet.
#[cfg(feature = "lambda")]
pub(crate) fn installed<DB: Engine>() -> Option<&'static Proxy<DB>> {
    cell().get()
}

fn process_wide<DB: Engine>() -> Result<&'static Proxy<DB>, ConfigError> {
    cell().get_or_try_init(Proxy::from_env)
}

fn cell<DB: Engine>() -> &'static OnceCell<Proxy<DB>> {
    let mut cells = CELLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cell) = cells.iter().find_map(|cell| cell.downcast_ref()) {
        return cell;
    }
    let cell = Box::leak(Box::new(OnceCell::new()));
    cells.push(cell);
    cell
}
