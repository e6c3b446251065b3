//! A question that a living server answers at once, before any login and without taking a slot: may it be encrypted by GSS?
//!
//! The answer is one byte, yes or no: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-GSSAPI>. Why
//! not ask for TLS? A server that says yes to that and is left standing complains in its log, at every question.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `GSSENCRequest`: its length, and 1234 and 5680 in one number.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

pub(super) async fn check_liveness(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(&GSS_REQUEST).await?;
    // A server that does not know the question says so, or hangs up: either way it is there.
    stream.read(&mut [0]).await.map(drop)
}
