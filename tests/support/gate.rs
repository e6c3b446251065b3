//! A door before a server that lets clients in the way MySQL 8 and RDS do, and remembers what they said.
//!
//! RDS asks for an IAM token as it is (`mysql_clear_password`), MySQL 8 for a password by `caching_sha2_password`; MariaDB
//! asks for neither, and no MySQL that is free asks for the first. So the door asks in its place, with the packets those servers send, and then passes everything on to
//! an account of the same name that needs no password. It can also turn everybody away before a word was said, as a
//! server does that is full or has blocked its client.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>

mod packet;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, version};

use super::certificates::{Authority, Validity};
use super::http::lock;
use super::mariadb::MariaDb;
use super::site::HOST;
use packet::{Greeting, Login, NATIVE, Packets, TLS, sha256};

pub use token::TokenServer;

/// How the door asks for the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// As it is, once the client has offered something else: RDS, for IAM.
    InClear,
    /// As it is, from the first word on.
    InClearAtOnce,
    /// As MySQL 8 does. It remembers passwords that it has seen: then a proof is enough, and it is not sent.
    CachingSha2 { remembers: bool },
}

/// Whoever came, and what he said to get in.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub user: String,
    pub is_encrypted: bool,
    /// All that stood in for the password, or was it.
    pub said: Vec<Vec<u8>>,
}

impl Visitor {
    /// The last thing said, as a text that ends with a zero.
    pub fn clear(&self) -> Option<String> {
        let text = self.said.last()?.strip_suffix(&[0])?;
        String::from_utf8(text.to_vec()).ok()
    }
}

/// What a server says instead of a greeting, or of letting somebody in.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    pub number: u16,
    pub state: &'static str,
    pub message: &'static str,
}

pub const ACCESS_DENIED: Refusal = Refusal { number: 1045, state: "28000", message: "Access denied for user" };

/// See the module. It ends when it is dropped.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    ca_pem: Vec<u8>,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    asks: Asks,
    password: String,
    server: SocketAddr,
    /// None: the door speaks plain text only.
    tls: Option<TlsAcceptor>,
    refused: Mutex<Option<Refusal>>,
    turned_away: Mutex<Option<Refusal>>,
    thrown_out: watch::Sender<Option<Refusal>>,
    visitors: Mutex<Vec<Visitor>>,
}

impl Gate {
    /// A door that takes `password`, or with [`Asks::InClear`] whatever it is told.
    pub async fn before(server: &MariaDb, asks: Asks, password: &str) -> Self {
        Self::open(server, asks, password, true).await
    }

    /// As [`before`](Self::before), of a server that has no TLS.
    pub async fn in_plain_text_before(server: &MariaDb, asks: Asks, password: &str) -> Self {
        Self::open(server, asks, password, false).await
    }

    async fn open(server: &MariaDb, asks: Asks, password: &str, tls: bool) -> Self {
        let authority = Authority::new("lambda-rds gate");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let state = Arc::new(State {
            asks,
            password: password.to_owned(),
            server: server.side_door(),
            tls: tls.then(|| acceptor(&authority)),
            refused: Mutex::default(),
            turned_away: Mutex::default(),
            thrown_out: watch::Sender::default(),
            visitors: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, ca_pem: authority.pem().into_bytes(), state, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority behind its certificate.
    pub fn ca_pem(&self) -> &[u8] {
        &self.ca_pem
    }

    /// Answers every login with this from now on, whatever was said.
    pub fn refuse(&self, refusal: Refusal) {
        *lock(&self.state.refused) = Some(refusal);
    }

    /// Answers every connect with this, until told `None`.
    pub fn turn_away(&self, refusal: impl Into<Option<Refusal>>) {
        *lock(&self.state.turned_away) = refusal.into();
    }

    /// Says this to everybody who is inside, though nobody has asked, and hangs up.
    pub fn throw_out(&self, refusal: Refusal) {
        self.state.thrown_out.send_replace(Some(refusal));
    }

    /// In order of arrival.
    pub fn visitors(&self) -> Vec<Visitor> {
        lock(&self.state.visitors).clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("asks", &self.asks).finish_non_exhaustive()
    }
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let (certificate, key) = authority.issue(&[HOST, "127.0.0.1"], Validity::Current);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate of our own");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key of our own");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .expect("the key is the certificate's");
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        // A client that breaks off is nobody's business.
        tokio::spawn(async move { serve(client, &state).await });
    }
}

async fn serve(client: TcpStream, state: &State) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = Packets::new(client);
    let refusal = *lock(&state.turned_away);
    if let Some(refusal) = refusal {
        return client.send(0, &packet::refusal(Refusal { state: "", ..refusal })).await;
    }
    let mut server = Packets::new(TcpStream::connect(state.server).await?);
    let mut greeting = Greeting::read(server.receive().await?.1)?;
    let plugin = greeting.plugin();
    greeting.announce_tls(state.tls.is_some());
    greeting.set_plugin(match state.asks {
        Asks::InClear => NATIVE,
        Asks::InClearAtOnce => packet::CLEAR,
        Asks::CachingSha2 { .. } => packet::CACHING_SHA2,
    });
    client.send(0, &greeting.bytes()).await?;
    let (number, first) = client.receive().await?;
    if !packet::asks_for_tls(&first) {
        return let_in(client, number, first, (server, &plugin), &greeting, state).await;
    }
    let Some(tls) = &state.tls else { return Err(io::ErrorKind::InvalidData.into()) };
    let mut client = Packets::new(tls.accept(client.into_inner()).await?);
    let (number, first) = client.receive().await?;
    let_in(client, number, first, (server, &plugin), &greeting, state).await
}

/// The login, and then the session.
async fn let_in<C: AsyncRead + AsyncWrite + Unpin>(
    mut client: Packets<C>,
    mut number: u8,
    login: Vec<u8>,
    (mut server, plugin): (Packets<TcpStream>, &[u8]),
    greeting: &Greeting,
    state: &State,
) -> io::Result<()> {
    let login = Login::read(&login)?;
    let visitor = {
        let mut visitors = lock(&state.visitors);
        let is_encrypted = login.capabilities & TLS != 0;
        visitors.push(Visitor { user: login.user.clone(), is_encrypted, said: vec![login.proof.clone()] });
        visitors.len() - 1
    };
    let heard = |said: Vec<u8>| lock(&state.visitors)[visitor].said.push(said);
    let is_right = match state.asks {
        Asks::InClearAtOnce => true,
        Asks::InClear => {
            client.send(number + 1, &packet::switch_to_clear()).await?;
            let (answered, said) = client.receive().await?;
            number = answered;
            heard(said);
            true
        }
        Asks::CachingSha2 { remembers: true } => {
            let is_right = packet::proves(&login.proof, &state.password, &greeting.nonce());
            if is_right {
                number += 1;
                client.send(number, &packet::FAST).await?;
            }
            is_right
        }
        Asks::CachingSha2 { remembers: false } => {
            client.send(number + 1, &packet::FULL).await?;
            let (mut answered, mut said) = client.receive().await?;
            if said == packet::WANTS_KEY {
                heard(said);
                client.send(answered + 1, packet::KEY).await?;
                (answered, said) = client.receive().await?;
            }
            number = answered;
            let is_right = sha256(&[&said]) == sha256(&[state.password.as_bytes(), &[0]]);
            heard(said);
            is_right
        }
    };
    let refused = lock(&state.refused).or((!is_right).then_some(ACCESS_DENIED));
    if let Some(refusal) = refused {
        return client.send(number + 1, &packet::refusal(refusal)).await;
    }
    server.send(1, &login.without_password(plugin)).await?;
    let (_, answer) = server.receive().await?;
    client.send(number + 1, &answer).await?;
    let mut farewell = state.thrown_out.subscribe();
    let (mut client, mut server) = (client.into_inner(), server.into_inner());
    tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut server) => copied.map(drop),
        _ = farewell.changed() => {
            let last_word = *farewell.borrow();
            if let Some(last_word) = last_word {
                Packets::new(&mut client).send(0, &packet::refusal(last_word)).await?;
            }
            client.shutdown().await
        }
    }
}
