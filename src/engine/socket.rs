//! A second handle on the driver's socket.
//!
//! sqlx 0.9.0 opens its socket itself, gives no access to it, and leaves `TCP_NODELAY` off (sqlx #4335): several small
//! writes of a TLS login then meet Nagle's algorithm and the peer's delayed acknowledgement, 40 ms each. On Linux the
//! socket can be found from outside, without `unsafe`: it is the stream socket that appears among the process's file
//! descriptors while the driver's future is polled, and `pidfd_getfd` on one's own process duplicates it. Options set on
//! the duplicate hold for the original, and a look at it (`MSG_PEEK`) costs no round trip.
//!
//! Best effort: where the kernel refuses, or two sockets cannot be told apart, there is no handle, and nothing else changes.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;

/// How far a connect has come, as seen on its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// There is no way to tell.
    Unknown,
    /// No socket yet: the name is being looked up.
    Nothing,
    /// A socket that has no answer yet.
    Dialling,
    /// A connected socket.
    Connected,
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{Socket, Tap};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{Socket, Tap};

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::SocketAddr;
    use std::os::fd::{OwnedFd, RawFd};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use rustix::net::{RecvFlags, SocketType, getpeername, getsockname, recv, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    use super::{Future, Reached, io, pin, poll_fn};

    /// A silent peer is noticed by the kernel within a minute and a half, and unacknowledged data within half a minute;
    /// the kernel's defaults are two hours and a quarter of an hour.
    const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
    const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
    const KEEPALIVE_COUNT: u32 = 3;
    const USER_TIMEOUT_MS: u32 = 30_000;

    /// One poll at a time looks for the socket that it makes, so that two connects never take each other's.
    static GATE: Mutex<()> = Mutex::new(());

    /// The sockets that are held: no other connect's.
    static HELD: Mutex<BTreeSet<Inode>> = Mutex::new(BTreeSet::new());

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A duplicate of a driver's socket. It must go when the driver's goes: it keeps the connection open in the kernel.
    #[derive(Debug)]
    pub(crate) struct Socket(OwnedFd, Inode);

    impl Drop for Socket {
        fn drop(&mut self) {
            lock(&HELD).remove(&self.1);
        }
    }

    impl Socket {
        fn held(descriptor: OwnedFd, inode: Inode) -> Self {
            lock(&HELD).insert(inode.clone());
            Self(descriptor, inode)
        }

        /// Whether there is something to read, without reading it and without waiting. An error: it is closed.
        pub(crate) fn has_input(&self) -> io::Result<bool> {
            match recv(&self.0, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => Ok(true),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }

        /// How many bytes are there to read, where that can be told.
        pub(crate) fn unread(&self) -> Option<u64> {
            rustix::io::ioctl_fionread(&self.0).ok()
        }

        /// An option that this kernel does not have is done without.
        fn set_options(&self) {
            let _ = sockopt::set_tcp_nodelay(&self.0, true);
            let _ = sockopt::set_socket_keepalive(&self.0, true);
            let _ = sockopt::set_tcp_keepidle(&self.0, KEEPALIVE_IDLE);
            let _ = sockopt::set_tcp_keepintvl(&self.0, KEEPALIVE_INTERVAL);
            let _ = sockopt::set_tcp_keepcnt(&self.0, KEEPALIVE_COUNT);
            let _ = sockopt::set_tcp_user_timeout(&self.0, USER_TIMEOUT_MS);
        }

        /// Whom it is connected to.
        pub(crate) fn peer(&self) -> Option<SocketAddr> {
            peer(&self.0)
        }

        /// What it is called on this side.
        pub(crate) fn local(&self) -> Option<SocketAddr> {
            let local = getsockname(&self.0).ok()?;
            SocketAddr::try_from(local).ok()
        }
    }

    /// Follows a driver's connect to find its socket.
    #[derive(Debug)]
    pub(crate) struct Tap {
        port: u16,
        me: io::Result<OwnedFd>,
        /// The process's sockets before it.
        older: Option<BTreeMap<Inode, RawFd>>,
        candidates: Vec<Socket>,
        settled: bool,
    }

    impl Tap {
        /// For a connect to `port`.
        pub(crate) fn new(port: u16) -> Self {
            let me = pidfd_open(getpid(), PidfdFlags::empty()).map_err(io::Error::from);
            Self { port, me, older: None, candidates: Vec::new(), settled: false }
        }

        /// Polls `connect`, looking for the socket that appears meanwhile until it is connected.
        pub(crate) async fn follow<F: Future>(&mut self, connect: F) -> F::Output {
            let mut connect = pin!(connect);
            poll_fn(|context| {
                if self.settled || self.me.is_err() {
                    return connect.as_mut().poll(context);
                }
                let _gate = lock(&GATE);
                let before = sockets();
                let polled = connect.as_mut().poll(context);
                self.look(&before);
                self.older.get_or_insert(before);
                polled
            })
            .await
        }

        pub(crate) fn reached(&self) -> Reached {
            match &self.me {
                Err(_) => Reached::Unknown,
                Ok(_) if self.settled => Reached::Connected,
                Ok(_) if self.candidates.is_empty() => Reached::Nothing,
                Ok(_) => Reached::Dialling,
            }
        }

        /// The socket of a connect that has succeeded, if it was found; the error when this system hides it.
        pub(crate) fn into_socket(mut self) -> io::Result<Option<Socket>> {
            if let Err(error) = &self.me {
                return Err(io::Error::new(error.kind(), error.to_string()));
            }
            let only = self.settled && self.is_only();
            Ok(self.candidates.pop().filter(|_| only))
        }

        /// Whether no socket but the candidate may be the driver's: what somebody else has opened meanwhile, to the same port, was
        /// perhaps found before the driver's was there.
        fn is_only(&self) -> bool {
            let (Ok(me), Some(older)) = (&self.me, &self.older) else { return false };
            let held = lock(&HELD).clone();
            let newer = sockets().into_iter().filter(|(inode, _)| !older.contains_key(inode) && !held.contains(inode));
            newer.into_iter().all(|(_, descriptor)| match pidfd_getfd(me, descriptor, PidfdGetfdFlags::empty()) {
                Ok(socket) => peer(&socket).map(|peer| peer.port()) != Some(self.port),
                // Closed again already.
                Err(error) => error == rustix::io::Errno::BADF,
            })
        }

        fn look(&mut self, before: &BTreeMap<Inode, RawFd>) {
            let Ok(me) = &self.me else { return };
            for (inode, descriptor) in sockets().into_iter().filter(|(inode, _)| !before.contains_key(inode)) {
                match pidfd_getfd(me, descriptor, PidfdGetfdFlags::empty()) {
                    Ok(socket) if sockopt::socket_type(&socket).is_ok_and(|kind| kind == SocketType::STREAM) => {
                        let socket = Socket::held(socket, inode);
                        socket.set_options();
                        self.candidates.push(socket);
                    }
                    // Another kind of socket, or closed again already.
                    Ok(_) | Err(rustix::io::Errno::BADF) => {}
                    Err(error) => {
                        self.me = Err(error.into());
                        return;
                    }
                }
            }
            let port = self.port;
            let is_connected = |socket: &Socket| socket.peer().map(|peer| peer.port()) == Some(port);
            match self.candidates.iter().filter(|candidate| is_connected(candidate)).count() {
                0 => return,
                1 => self.candidates.retain(is_connected),
                // Somebody else connected to the same port at the same moment: better none than the wrong one.
                _ => self.candidates.clear(),
            }
            self.settled = true;
        }
    }

    fn peer(socket: &OwnedFd) -> Option<SocketAddr> {
        SocketAddr::try_from(getpeername(socket).ok()??).ok()
    }

    /// What tells two sockets apart even when one gets the other's descriptor.
    type Inode = String;

    /// The process's sockets.
    fn sockets() -> BTreeMap<Inode, RawFd> {
        let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
        let socket = |entry: std::fs::DirEntry| {
            let target = std::fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()?;
            let descriptor = entry.file_name().to_str()?.parse().ok()?;
            target.starts_with("socket:").then_some((target, descriptor))
        };
        entries.filter_map(|entry| socket(entry.ok()?)).collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{Future, Reached, io};

    /// There is none on this system.
    #[derive(Debug)]
    pub(crate) enum Socket {}

    impl Socket {
        pub(crate) fn has_input(&self) -> io::Result<bool> {
            match *self {}
        }

        pub(crate) fn unread(&self) -> Option<u64> {
            match *self {}
        }

        pub(crate) fn peer(&self) -> Option<std::net::SocketAddr> {
            match *self {}
        }

        pub(crate) fn local(&self) -> Option<std::net::SocketAddr> {
            match *self {}
        }
    }

    /// Follows nothing on this system.
    #[derive(Debug)]
    pub(crate) struct Tap;

    impl Tap {
        pub(crate) fn new(_port: u16) -> Self {
            Self
        }

        pub(crate) async fn follow<F: Future>(&mut self, connect: F) -> F::Output {
            connect.await
        }

        pub(crate) fn reached(&self) -> Reached {
            Reached::Unknown
        }

        pub(crate) fn into_socket(self) -> io::Result<Option<Socket>> {
            Ok(None)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::task::Poll;

    use super::*;

    fn port(listener: &TcpListener) -> u16 {
        listener.local_addr().expect("has an address").port()
    }

    fn connect(port: u16) -> TcpStream {
        TcpStream::connect(("127.0.0.1", port)).expect("connects")
    }

    /// A connect that takes two polls, and what is opened during each.
    async fn followed(tap: &mut Tap, mut steps: [Vec<u16>; 2]) -> Vec<TcpStream> {
        let (mut polls, mut opened) = (0, Vec::new());
        let connect = poll_fn(|context| {
            opened.extend(std::mem::take(&mut steps[polls]).into_iter().map(connect));
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
        });
        tap.follow(connect).await;
        opened
    }

    #[tokio::test]
    async fn only_what_nobody_else_can_have_opened_is_taken_for_the_drivers() {
        let (ours, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (ours, other) = (port(&ours), port(&other));
        // The driver's is the last one to that port.
        for (steps, is_found) in [
            ([vec![], vec![ours]], true),
            ([vec![ours], vec![]], true),
            ([vec![other], vec![ours]], true),
            ([vec![ours], vec![other]], true),
            ([vec![ours], vec![ours]], false),
            ([vec![ours, ours], vec![]], false),
            ([vec![], vec![ours, ours]], false),
        ] {
            let mut tap = Tap::new(ours);
            let opened = followed(&mut tap, steps.clone()).await;
            let own = opened.iter().rfind(|socket| socket.peer_addr().unwrap().port() == ours).unwrap();
            let found = tap.into_socket().unwrap();
            assert_eq!(found.is_some(), is_found, "{steps:?}");
            if let Some(found) = found {
                assert_eq!(found.local(), own.local_addr().ok(), "{steps:?}");
            }
        }
    }

    #[tokio::test]
    async fn connects_at_the_same_time_find_each_their_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port(&listener);
        let (mut one, mut other) = (Tap::new(port), Tap::new(port));
        let steps = || [vec![], vec![port]];
        let (first, second) = tokio::join!(followed(&mut one, steps()), followed(&mut other, steps()));
        let (one, other) = (one.into_socket().unwrap().unwrap(), other.into_socket().unwrap().unwrap());
        assert_eq!(one.local(), first[0].local_addr().ok());
        assert_eq!(other.local(), second[0].local_addr().ok());
    }
}
