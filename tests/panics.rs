//! A panic in what is called from here is a failure, once: no dial is repeated without end, no login is thrown away.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lambda_rds::credentials::{CredentialsFuture, CredentialsRequest};
use lambda_rds::{CredentialsError, CredentialsProvider, Error, Event, Tls};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::stage::*;
use crate::support::fault_proxy::FaultProxy;
use crate::support::{Recorder, chain};

const BORROW_TIMEOUT: Duration = Duration::from_secs(2);

/// The shortest pause between two dials after a panic, and some for those that were under way.
fn most_dials(spent: Duration) -> usize {
    usize::try_from(spent.as_millis()).unwrap() / 20 + 5
}

fn failures(recorder: &Recorder) -> usize {
    recorder.count(|event| matches!(event, Event::ConnectFailed { .. }))
}

/// A source that panics, and counts.
#[derive(Debug, Clone, Default)]
struct Broken {
    asked: Arc<AtomicUsize>,
    secret: String,
}

impl CredentialsProvider for Broken {
    fn credentials<'a>(&'a self, _: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(!self.secret.is_empty(), "the vault is sealed");
        Box::pin(async { panic!("the vault does not take {}", self.secret) })
    }
}

#[tokio::test]
async fn a_provider_that_panics_is_the_error_of_one_caller_and_is_not_asked_without_end() {
    let server = server().await;
    for (secret, said) in
        [("", "panicked: the vault is sealed"), ("hunter2", "panicked; its message may hold a secret")]
    {
        let (broken, recorder) = (Broken { secret: secret.to_owned(), ..Broken::default() }, Recorder::default());
        let place = DbProxy::builder().host(server.host()).port(server.port()).database("app").ca_pem(server.ca_pem());
        let builder = place.credentials(broken.clone()).borrow_timeout(BORROW_TIMEOUT).max_connections(2);
        let proxy = builder.observer(recorder.observer()).build().unwrap();
        let started = Instant::now();
        // Five at once, each of whom tries again at once.
        let callers = (0..5).map(async |_| {
            let mut told = 0;
            while started.elapsed() < BORROW_TIMEOUT {
                let error = proxy.get_connection().await.unwrap_err();
                let text = chain(&error);
                match &error {
                    Error::Credentials(CredentialsError::Provider(_)) => assert!(text.contains(said), "{text}"),
                    Error::PoolExhausted { .. } => continue,
                    _ => panic!("{text}"),
                }
                assert!(!text.contains("hunter2"), "{text}");
                told += 1;
            }
            told
        });
        let told: usize = join_all(callers).await.into_iter().sum();
        let asked = broken.asked.load(Ordering::Relaxed);
        assert_eq!((asked, failures(&recorder)), (told, told), "one panic, one caller, one event");
        assert!((2..=most_dials(started.elapsed())).contains(&asked), "{asked} in {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_login_is_used_although_an_observer_panics_at_the_news() {
    let server = server().await;
    let relay = FaultProxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))).await;
    let recorder = Recorder::default();
    let builder = proxy_to(server).port(relay.port()).borrow_timeout(BORROW_TIMEOUT).observer(|event: &Event| {
        assert!(!matches!(event, Event::Connected { .. } | Event::Pinned { .. }), "cannot take it");
    });
    let proxy = builder.observer(recorder.observer()).build().unwrap();
    let mut conn = proxy.get_connection().await.unwrap();
    let one: i32 = sqlx::query_scalar("select 1").fetch_one(&mut conn).await.unwrap();
    conn.pin().await.unwrap();
    assert_eq!((one, relay.connections()), (1, 1));
    assert_eq!(recorder.count(|event| matches!(event, Event::Connected { .. })), 1, "others hear of it");
}

/// A server whose first word makes the driver panic, and how many have heard it.
struct Short {
    port: u16,
    heard: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Drop for Short {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Short {
    async fn start() -> Self {
        // PostgreSQL: a message whose length does not count itself. MySQL: a greeting that ends in the middle.
        let word: &[u8] = if FAMILY == "postgres" { b"R\0\0\0\0" } else { b"\x05\0\0\0\x0a8.4\0" };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&heard);
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                // Who has hung up already has heard enough.
                let _ = client.write_all(word).await;
            }
        });
        Self { port, heard, accepting }
    }
}

#[tokio::test]
async fn a_server_whose_words_are_too_short_is_an_error_and_is_not_dialled_without_end() {
    let (short, recorder) = (Short::start().await, Recorder::default());
    let place = DbProxy::builder().host("127.0.0.1").port(short.port).user("app").password("x").tls(Tls::Disable);
    let builder = place.borrow_timeout(BORROW_TIMEOUT).max_connections(2).observer(recorder.observer());
    let proxy = builder.build().unwrap();
    let (started, mut told) = (Instant::now(), 0);
    while started.elapsed() < BORROW_TIMEOUT {
        let error = proxy.get_connection().await.unwrap_err();
        let text = chain(&error);
        assert!(matches!(&error, Error::Connect { host, .. } if host == "127.0.0.1"), "{text}");
        assert!(text.contains("the driver panicked"), "{text}");
        told += 1;
    }
    let heard = short.heard.load(Ordering::Relaxed);
    assert_eq!((heard, failures(&recorder)), (told, told));
    assert!((2..=most_dials(started.elapsed())).contains(&heard), "{heard} in {:?}", started.elapsed());
}
