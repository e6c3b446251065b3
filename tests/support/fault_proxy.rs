//! A TCP proxy between a client and a server that misbehaves on command.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::ports::free_port;

/// How long a cut connection is still read, so that the kernel sends FIN and does not turn it into RST because of
/// bytes nobody has read.
const LINGER: Duration = Duration::from_secs(1);

/// How long a connect to ourselves may take. The kernel answers within the call; one that it answers later is in the queue
/// all the same.
const UNANSWERED: Duration = Duration::from_millis(5);

/// How long PostgreSQL's word is that it is ready, in bytes.
const READY: usize = 6;

/// A TCP proxy on 127.0.0.1. It starts passing everything on; each fault is a verb and stays until the next verb.
///
/// A verb returns at once; connections that exist follow it as soon as the runtime gets to them. Everything ends with
/// the drop of the proxy.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    controls: watch::Sender<Controls>,
    traffic: Arc<Traffic>,
    /// Accepts connections; `None` while refusing.
    door: Mutex<Option<Door>>,
    /// The connections that keep the door's queue full while packets are dropped.
    crowd: Mutex<Vec<TcpStream>>,
}

#[derive(Debug)]
struct Door {
    listener: Arc<TcpListener>,
    /// None while packets are dropped.
    porter: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Controls {
    moving: bool,
    /// How many bytes of what the server says each client hears, counted from the verb of this number.
    audible: usize,
    hushes: u64,
    delay: Duration,
    /// So much later comes the end of what the server says.
    limp: Duration,
    upstream: SocketAddr,
    /// How many times all connections of that moment were ended. One born before the last time has to go.
    endings: u64,
    ending: Ending,
    /// As `endings`: one born before the last time moves nothing any more.
    oblivions: u64,
    /// Where a client says the one, the server reads the other.
    misprint: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Cut,
    Reset,
}

#[derive(Debug, Default)]
struct Traffic {
    connections: AtomicUsize,
    bytes_from_client: AtomicU64,
}

impl FaultProxy {
    /// Listens on a free port and passes each connection on to `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let controls = Controls {
            moving: true,
            audible: usize::MAX,
            hushes: 0,
            delay: Duration::ZERO,
            limp: Duration::ZERO,
            upstream,
            endings: 0,
            ending: Ending::Cut,
            oblivions: 0,
            misprint: None,
        };
        let proxy = Self {
            port: free_port(),
            controls: watch::Sender::new(controls),
            traffic: Arc::default(),
            door: Mutex::new(None),
            crowd: Mutex::default(),
        };
        proxy.open_door();
        proxy
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.traffic.connections.load(Ordering::Relaxed)
    }

    /// How many bytes all clients together have sent so far.
    pub fn bytes_from_client(&self) -> u64 {
        self.traffic.bytes_from_client.load(Ordering::Relaxed)
    }

    /// Ends every standing fault: bytes move without delay, also those held back by [`hang`](Self::hang), and new
    /// connections are welcome.
    pub fn pass(&self) {
        self.open_door();
        self.controls.send_modify(|controls| {
            controls.moving = true;
            controls.audible = usize::MAX;
            controls.delay = Duration::ZERO;
            controls.limp = Duration::ZERO;
            controls.misprint = None;
        });
    }

    /// Keeps the connections and moves nothing. New ones are accepted and get no answer.
    pub fn hang(&self) {
        self.controls.send_modify(|controls| controls.moving = false);
    }

    /// Passes on what clients say and holds back every answer.
    pub fn mute(&self) {
        self.hush(0);
    }

    /// Passes on what clients say, and to each of them so many more bytes of the answers.
    pub fn hush(&self, after: usize) {
        self.controls.send_modify(|controls| {
            controls.audible = after;
            controls.hushes += 1;
        });
    }

    /// Moves nothing any more on the connections there are, without a word, as a NAT that has forgotten them; new ones
    /// are welcome.
    pub fn forget(&self) {
        self.controls.send_modify(|controls| controls.oblivions += 1);
    }

    /// Holds back each chunk of bytes for `delay`, in both directions: a round trip takes twice that longer.
    pub fn delay(&self, delay: Duration) {
        self.controls.send_modify(|controls| controls.delay = delay);
    }

    /// Holds back the end of whatever the server says, as long as its word that it is ready, for `span`.
    pub fn limp(&self, span: Duration) {
        self.controls.send_modify(|controls| controls.limp = span);
    }

    /// Lets the server read `other` wherever a client, without TLS, says `one`: so it refuses what nobody has written. Both are
    /// as long, for a packet says its length.
    pub fn misprint(&self, one: &'static str, other: &'static str) {
        assert_eq!(one.len(), other.len(), "{one}, {other}");
        self.controls.send_modify(|controls| controls.misprint = Some((one, other)));
    }

    /// Resets (RST) all connections there are; new ones are welcome.
    pub fn reset(&self) {
        self.end_all(Ending::Reset);
    }

    /// Closes (FIN) all connections there are; new ones are welcome.
    pub fn cut(&self) {
        self.end_all(Ending::Cut);
    }

    /// Refuses new connections until [`pass`](Self::pass); those there are go on. On return the port is closed, which
    /// is why this verb has to be awaited.
    pub async fn refuse(&self) {
        let door = self.door().take();
        if let Some(door) = door {
            door.dismiss().await;
        }
        self.crowd().clear();
    }

    /// Answers nothing any more, as if each packet were dropped: connections move nothing, and a connect is neither
    /// accepted nor refused. What is sent on a connection there is is still acknowledged: a client's kernel, unlike with
    /// packets that are really dropped, never gives it up.
    pub async fn drop_packets(&self) {
        self.hang();
        let door = self.door().take();
        let listener = match door {
            Some(door) => door.dismiss().await,
            None => Arc::new(listen(self.port).expect("the proxy's port is free")),
        };
        // The kernel drops a handshake when the queue of connections nobody has accepted is full.
        rustix::net::listen(&listener, 0).expect("a listener may change its backlog");
        let mut crowd = std::mem::take(&mut *self.crowd());
        while let Ok(connection) = timeout(UNANSWERED, TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))).await {
            crowd.push(connection.expect("our own listener refuses nobody"));
            assert!(crowd.len() < 512, "the kernel does not honour a backlog of 0");
        }
        *self.crowd() = crowd;
        *self.door() = Some(Door { listener, porter: None });
    }

    /// Sends new connections to `address`.
    pub fn upstream(&self, address: SocketAddr) {
        self.controls.send_modify(|controls| controls.upstream = address);
    }

    fn end_all(&self, ending: Ending) {
        self.controls.send_modify(|controls| {
            controls.endings += 1;
            controls.ending = ending;
        });
    }

    fn open_door(&self) {
        let mut door = self.door();
        if door.as_ref().is_some_and(|door| door.porter.is_some()) {
            return;
        }
        // A full one has to close before another can open.
        *door = None;
        self.crowd().clear();
        let listener = Arc::new(listen(self.port).expect("the proxy's port is free"));
        let accepting = accept(Arc::clone(&listener), self.controls.subscribe(), Arc::clone(&self.traffic));
        *door = Some(Door { listener, porter: Some(tokio::spawn(accepting)) });
    }

    fn door(&self) -> MutexGuard<'_, Option<Door>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn crowd(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door {
    /// Accepts nobody any more.
    async fn dismiss(self) -> Arc<TcpListener> {
        if let Some(porter) = self.porter {
            porter.abort();
            // An error is the cancellation we have asked for.
            let _ = porter.await;
        }
        self.listener
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(porter) = self.door().take().and_then(|door| door.porter) {
            porter.abort();
        }
        // The connections end because the other side of their `controls` goes away.
    }
}

/// Listens again on a port of its own. A process that another test is just starting has a copy of the last listener until it
/// has become the other program, and for as long the port is taken.
fn listen(port: u16) -> io::Result<TcpListener> {
    let mut patience = 400;
    let listener = loop {
        match std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && patience > 0 => patience -= 1,
            bound => break bound?,
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accept(listener: Arc<TcpListener>, controls: watch::Receiver<Controls>, traffic: Arc<Traffic>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // The client has gone already, or the process is out of files for a moment.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        traffic.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(serve(client, controls.clone(), Arc::clone(&traffic)));
    }
}

/// The life of one connection: until a side closes it, a verb ends it, or the proxy goes away.
async fn serve(mut client: TcpStream, controls: watch::Receiver<Controls>, traffic: Arc<Traffic>) {
    let mut server = None;
    let ending = tokio::select! {
        ending = ended(controls.clone()) => ending,
        // What is dropped here are only the pumps: both sides stay open.
        () = forgotten(controls.clone()) => ended(controls.clone()).await,
        relayed = relay(&mut client, &mut server, controls.clone(), &traffic) => match relayed {
            Ok(()) => return,
            // What broke one side breaks the other: the client sees the same as without a proxy.
            Err(_) => Some(Ending::Reset),
        },
    };
    let sides = std::iter::once(client).chain(server);
    match ending {
        Some(Ending::Reset) => sides.for_each(|side| {
            // Fails only on a socket that is gone already.
            let _ = side.set_zero_linger();
        }),
        Some(Ending::Cut) => {
            for side in sides {
                tokio::spawn(close_politely(side));
            }
        }
        None => {}
    }
}

/// Waits for a verb that ends the connections of now; `None` when the proxy is gone.
async fn ended(mut controls: watch::Receiver<Controls>) -> Option<Ending> {
    let born = controls.borrow().endings;
    let now = controls.wait_for(|now| now.endings > born).await.ok()?;
    Some(now.ending)
}

/// Waits for a verb that forgets the connections of now.
async fn forgotten(mut controls: watch::Receiver<Controls>) {
    let born = controls.borrow().oblivions;
    if controls.wait_for(|now| now.oblivions > born).await.is_err() {
        std::future::pending().await
    }
}

async fn close_politely(mut side: TcpStream) {
    // An error means that the other side was faster.
    let _ = side.shutdown().await;
    let (mut unread, mut nowhere) = (side, tokio::io::sink());
    let _ = timeout(LINGER, tokio::io::copy(&mut unread, &mut nowhere)).await;
}

async fn relay(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    mut controls: watch::Receiver<Controls>,
    traffic: &Traffic,
) -> io::Result<()> {
    let upstream = until_moving(&mut controls).await?.upstream;
    let server = server.insert(TcpStream::connect(upstream).await?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        pump(from_client, to_server, controls.clone(), Some(&traffic.bytes_from_client)),
        pump(from_server, to_client, controls, None),
    )?;
    Ok(())
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut controls: watch::Receiver<Controls>,
    counter: Option<&AtomicU64>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut heard = Heard::default();
    loop {
        until_moving(&mut controls).await?;
        let length = from.read(&mut buffer).await?;
        if let Some(counter) = counter {
            counter.fetch_add(length as u64, Ordering::Relaxed);
        }
        // Asked again: the fault may have come while we waited for these bytes.
        let Controls { delay, limp, misprint, .. } = until_moving(&mut controls).await?;
        if let Some((one, other)) = misprint.filter(|_| counter.is_some()) {
            replace(&mut buffer[..length], one.as_bytes(), other.as_bytes());
        }
        if !delay.is_zero() {
            sleep(delay).await;
            until_moving(&mut controls).await?;
        }
        let mut rest = &buffer[..length];
        if counter.is_none() && !limp.is_zero() && length > READY {
            to.write_all(&rest[..length - READY]).await?;
            sleep(limp).await;
            rest = &rest[length - READY..];
        }
        while counter.is_none() && !rest.is_empty() {
            let now = *controls.wait_for(|now| heard.left(now) > 0).await.map_err(io::Error::other)?;
            let (audible, held) = rest.split_at(heard.left(&now).min(rest.len()));
            heard.add(audible.len(), &now);
            to.write_all(audible).await?;
            rest = held;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(rest).await?;
    }
}

fn replace(said: &mut [u8], one: &[u8], other: &[u8]) {
    while let Some(at) = said.windows(one.len()).position(|part| part == one) {
        said[at..at + one.len()].copy_from_slice(other);
    }
}

/// How much of its ration a client has heard.
#[derive(Debug, Default)]
struct Heard {
    hush: u64,
    bytes: usize,
}

impl Heard {
    fn left(&self, now: &Controls) -> usize {
        if now.hushes == self.hush { now.audible.saturating_sub(self.bytes) } else { now.audible }
    }

    fn add(&mut self, bytes: usize, now: &Controls) {
        if now.hushes != self.hush {
            *self = Self { hush: now.hushes, bytes: 0 };
        }
        self.bytes += bytes;
    }
}

async fn until_moving(controls: &mut watch::Receiver<Controls>) -> io::Result<Controls> {
    let now = controls.wait_for(|now| now.moving).await.map_err(io::Error::other)?;
    Ok(*now)
}
