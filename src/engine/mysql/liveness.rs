//! Whether a host is there, as far as a fresh socket without a login tells: a living server greets whoever comes.
//!
//! A greeting that is not answered counts against the host that came (`max_connect_errors`:
//! <https://dev.mysql.com/doc/refman/8.4/en/host-cache.html>), so this is for the rare host that no login reaches by name.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

pub(super) async fn check_liveness(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    match stream.read(&mut [0; 4]).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
