//! Loopback ports: free ones, and ones that disappoint a client in a particular way.

use std::{
    fs::{File, OpenOptions},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process,
    sync::OnceLock,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

/// Ports below those the kernel hands to outgoing connections (from 32768 on Linux). A port from that range, which is
/// what binding port 0 gives, may be taken by any client while its server is down for a test.
const FIRST: u16 = 15_000;
const BLOCKS: u16 = 15;
const BLOCK: u16 = 1_000;

/// How long a connect on loopback may take before we call it unanswered.
const UNANSWERED: Duration = Duration::from_millis(150);

/// The ports of this process: a block of them that no other process has which runs tests at the same time. A port whose
/// server is down for a test is not taken by somebody else's.
fn block() -> u16 {
    static BLOCK_OF_THIS: OnceLock<(u16, Option<File>)> = OnceLock::new();
    let take = |n: u16| {
        let path = std::env::temp_dir().join(format!("lambda-rds-ports-{n}"));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
        lock.try_lock().ok()?;
        Some((n, Some(lock)))
    };
    let by_chance = || (u16::try_from(process::id() % u32::from(BLOCKS)).expect("few"), None);
    BLOCK_OF_THIS.get_or_init(|| (0..BLOCKS).find_map(take).unwrap_or_else(by_chance)).0
}

/// A loopback port nobody listens on, and which this function will not soon give out again.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    for _ in 0..BLOCK {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed) % BLOCK;
        let port = FIRST + block() * BLOCK + step;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1 in block {} from {FIRST}", block());
}

/// A port where a connect is refused at once.
pub fn refused_port() -> u16 {
    free_port()
}

/// A port where a connect succeeds and nothing is ever said.
pub fn silent() -> Silent {
    Silent { listener: listen() }
}

/// A port where a connect is not answered at all, as if a firewall dropped it.
pub fn black_hole() -> BlackHole {
    let listener = listen();
    // The kernel drops a handshake when the queue of connections nobody has accepted is full.
    rustix::net::listen(&listener, 0).expect("a listener may change its backlog");
    let address = listener.local_addr().expect("a listener has an address");
    let mut queue = Vec::new();
    while let Some(connection) = try_connect(address) {
        queue.push(connection);
        assert!(queue.len() < 512, "the kernel does not honour a backlog of 0");
    }
    BlackHole { address, _listener: listener, _queue: queue }
}

/// See [`silent`]. Dropping it resets the connections.
#[derive(Debug)]
pub struct Silent {
    /// Never accepted from: the kernel completes the handshakes by itself.
    listener: TcpListener,
}

impl Silent {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a listener has an address")
    }

    /// The port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address().port()
    }
}

/// See [`black_hole`]. Dropping it makes the port refuse.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    /// Where nobody answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).expect("the port was free a moment ago")
}

fn try_connect(address: SocketAddr) -> Option<TcpStream> {
    match TcpStream::connect_timeout(&address, UNANSWERED) {
        Ok(connection) => Some(connection),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => None,
        Err(error) => panic!("connecting to our own listener failed: {error}"),
    }
}
