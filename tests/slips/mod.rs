//! Slips of whoever configures or extends: a secret or a URL in the place of a name, a general URL beside settings of this
//! crate's own, configurations that are none, callbacks that misbehave in every way a program can.

mod callbacks;
mod configuration;
mod mixtures;
mod roots;
mod secrets;
mod turns;

use std::error::Error as StdError;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use lambda_rds::credentials::{CredentialsFuture, CredentialsRequest};
use lambda_rds::{Credentials, CredentialsError, CredentialsProvider, Error, Event, Proxy, ProxyBuilder, Tls};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::stage::*;
use crate::support::aws::Aws;
use crate::support::http::lock;
use crate::support::{Recorder, chain};

/// Nothing else has these letters.
const PASSWORD: &str = "xyzzy-plugh-plover";
const MARK: &str = "xyzzy";
