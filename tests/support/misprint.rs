//! A door before a server that misprints a text on its way: what the server refuses nobody has written.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// More than any text of these tests.
const BUFFER: usize = 1 << 16;

/// It passes everything on, without TLS, until [`misprint`](Self::misprint) is said.
#[derive(Debug)]
pub struct Misprint {
    port: u16,
    text: watch::Sender<Option<(&'static str, &'static str)>>,
    accepting: JoinHandle<()>,
}

impl Misprint {
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let (text, _) = watch::channel(None);
        let own = listener.local_addr().expect("it is bound").port();
        let texts = text.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { continue };
                let ((client_says, mut to_client), (mut server_says, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(pass_on(client_says, to_server, texts.subscribe()));
                tokio::spawn(async move { copy(&mut server_says, &mut to_client).await });
            }
        });
        Self { port: own, text, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From here on the one reads as the other, which is as long; `None`: everything as it is.
    pub fn misprint(&self, text: Option<(&'static str, &'static str)>) {
        if let Some((one, other)) = text {
            assert_eq!(one.len(), other.len(), "a packet says its length");
        }
        self.text.send_replace(text);
    }
}

impl Drop for Misprint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    text: watch::Receiver<Option<(&'static str, &'static str)>>,
) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let said = &mut buffer[..length];
        let now = *text.borrow();
        if let Some((one, other)) = now {
            while let Some(at) = said.windows(one.len()).position(|part| part == one.as_bytes()) {
                said[at..at + one.len()].copy_from_slice(other.as_bytes());
            }
        }
        if to.write_all(said).await.is_err() {
            break;
        }
    }
}
