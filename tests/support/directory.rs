//! An LDAP directory that takes every name and password, and remembers them.
//!
//! RDS checks an IAM token by PAM: the server asks the client for its password in clear, over TLS, and hands it to
//! somebody else. PostgreSQL's LDAP authentication does exactly that, so a real server can show which token a client
//! sent. Only the one request it makes, a simple bind, is understood (RFC 4511, 4.2).

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use lambda_rds::{Postgres as Engine, Proxy, ProxyBuilder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    http::lock,
    postgres::{Postgres, PostgresOptions},
};

const SUCCESS: u8 = 0;
const INVALID_CREDENTIALS: u8 = 49;

/// The directory. It ends when it is dropped.
#[derive(Debug)]
pub struct Directory {
    port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    refusing: AtomicBool,
    passwords: Mutex<Vec<String>>,
}

impl Directory {
    /// Listens on a free port of 127.0.0.1 and takes every password.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let state = Arc::<State>::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, accepting }
    }

    /// The line of `pg_hba.conf` that sends `role` here.
    pub fn host_rule(&self, role: &str) -> String {
        format!(
            "hostssl all \"{role}\" 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport={} ldapprefix=\"uid=\"",
            self.port
        )
    }

    /// Refuses every password from now on.
    pub fn refuse(&self) {
        self.state.refusing.store(true, Ordering::Relaxed);
    }

    /// The passwords so far, in order of arrival.
    pub fn passwords(&self) -> Vec<String> {
        lock(&self.state.passwords).clone()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A PostgreSQL that asks for IAM tokens.
#[derive(Debug)]
pub struct TokenServer {
    server: Postgres,
    directory: Directory,
}

impl TokenServer {
    /// A server with one user, whose tokens are all good.
    pub async fn start(user: &str) -> Self {
        let directory = Directory::start().await;
        let options = PostgresOptions { host_rules: vec![directory.host_rule(user)], ..PostgresOptions::default() };
        let server = Postgres::start(options).await;
        server.execute(&format!("create role \"{user}\" login")).await;
        Self { server, directory }
    }

    /// The way there, without a user.
    pub fn place(&self) -> ProxyBuilder<Engine> {
        let place = Proxy::builder().host(self.server.host()).port(self.port());
        place.database("app").ca_pem(self.server.ca_pem())
    }

    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Refuses every token from now on.
    pub fn refuse(&self) {
        self.directory.refuse();
    }

    /// All that were sent, in order.
    pub fn tokens(&self) -> Vec<String> {
        self.directory.passwords()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        // A client that breaks off is nobody's business.
        tokio::spawn(async move { serve(client, &state).await });
    }
}

async fn serve(mut client: TcpStream, state: &State) -> io::Result<()> {
    let message = read_message(&mut client).await?;
    let Some((id, password)) = simple_bind(&message) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a simple bind"));
    };
    lock(&state.passwords).push(password);
    let result = if state.refusing.load(Ordering::Relaxed) { INVALID_CREDENTIALS } else { SUCCESS };
    // LDAPMessage { messageID, BindResponse { resultCode, matchedDN "", diagnosticMessage "" } }
    let mut answer = vec![0x30, 0, 0x02, u8::try_from(id.len()).unwrap_or(0)];
    answer.extend(id);
    answer.extend([0x61, 7, 0x0a, 1, result, 0x04, 0, 0x04, 0]);
    answer[1] = u8::try_from(answer.len() - 2).unwrap_or(0);
    client.write_all(&answer).await?;
    // The client says goodbye and hangs up.
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await?;
    Ok(())
}

/// The content of one `LDAPMessage`.
async fn read_message(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 2];
    client.read_exact(&mut head).await?;
    let length = match head[1] {
        short @ 0..0x80 => usize::from(short),
        long => {
            let mut digits = vec![0; usize::from(long & 0x7f)];
            client.read_exact(&mut digits).await?;
            number(&digits)
        }
    };
    let mut content = vec![0; length];
    client.read_exact(&mut content).await?;
    Ok(content)
}

/// `messageID, BindRequest { version, name, simple [0] }`: the id as it was sent, and the password.
fn simple_bind(message: &[u8]) -> Option<(Vec<u8>, String)> {
    let (id, rest) = element(message, 0x02)?;
    let (bind, _) = element(rest, 0x60)?;
    let (_version, rest) = element(bind, 0x02)?;
    let (_name, rest) = element(rest, 0x04)?;
    let (password, _) = element(rest, 0x80)?;
    Some((id.to_vec(), String::from_utf8(password.to_vec()).ok()?))
}

/// The first element, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, first, rest @ ..] = bytes else { return None };
    if *found != tag {
        return None;
    }
    let digits = if *first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    let (long, rest) = rest.split_at_checked(digits)?;
    let length = if digits == 0 { usize::from(*first) } else { number(long) };
    rest.split_at_checked(length)
}

fn number(digits: &[u8]) -> usize {
    digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit))
}
