//! The few packets of a MySQL login.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

use super::Refusal;

pub(super) const CLEAR: &str = "mysql_clear_password";
pub(super) const CACHING_SHA2: &str = "caching_sha2_password";
pub(super) const NATIVE: &str = "mysql_native_password";

/// Capabilities.
pub(super) const TLS: u32 = 1 << 11;
const WITH_DATABASE: u32 = 1 << 3;
const PLUGIN: u32 = 1 << 19;
const PROOF_OF_ANY_LENGTH: u32 = 1 << 21;

/// `caching_sha2_password`: the proof was enough; the password itself is wanted.
pub(super) const FAST: [u8; 2] = [1, 3];
pub(super) const FULL: [u8; 2] = [1, 4];
/// The client has no TLS, and wants to know with which key to encrypt the password. It is told some key.
pub(super) const WANTS_KEY: [u8; 1] = [2];
pub(super) const KEY: &[u8] = b"\x01-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";

/// In a login: before the user's name.
const HEAD: usize = 32;

/// A stream, packet by packet.
pub(super) struct Packets<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Packets<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(stream)
    }

    pub(super) fn into_inner(self) -> S {
        self.0
    }

    /// The next packet and its number. Nothing is read beyond it.
    pub(super) async fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let head = self.0.read_u32_le().await?;
        let [a, b, c, number] = head.to_le_bytes();
        let mut payload = vec![0; u32::from_le_bytes([a, b, c, 0]) as usize];
        self.0.read_exact(&mut payload).await?;
        Ok((number, payload))
    }

    pub(super) async fn send(&mut self, number: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let [a, b, c, _] = length.to_le_bytes();
        let packet = [&[a, b, c, number], payload].concat();
        self.0.write_all(&packet).await?;
        self.0.flush().await
    }
}

/// A server's greeting, of which the capability of TLS and the plugin can be changed.
pub(super) struct Greeting {
    bytes: Vec<u8>,
    /// Where the first half of the nonce begins.
    nonce: usize,
    /// Where the second half begins.
    rest: usize,
}

impl Greeting {
    pub(super) fn read(bytes: Vec<u8>) -> io::Result<Self> {
        let version = bytes.get(1..).and_then(|rest| rest.iter().position(|byte| *byte == 0));
        let nonce = 1 + version.ok_or(io::ErrorKind::InvalidData)? + 1 + 4;
        // Nonce, zero, capabilities, character set, status, capabilities, length of the nonce, ten of no use.
        let rest = nonce + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10;
        if bytes.len() < rest + 13 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { bytes, nonce, rest })
    }

    pub(super) fn announce_tls(&mut self, has_tls: bool) {
        let [_, high] = u16::try_from(TLS).map_or([0; 2], u16::to_le_bytes);
        let byte = &mut self.bytes[self.nonce + 10];
        *byte = if has_tls { *byte | high } else { *byte & !high };
    }

    pub(super) fn set_plugin(&mut self, plugin: &str) {
        self.bytes.truncate(self.rest + 13);
        self.bytes.extend(plugin.bytes().chain([0]));
    }

    /// The plugin that the server has named, as long as it was not changed.
    pub(super) fn plugin(&self) -> Vec<u8> {
        self.bytes[self.rest + 13..].iter().copied().take_while(|byte| *byte != 0).collect()
    }

    pub(super) fn nonce(&self) -> Vec<u8> {
        [&self.bytes[self.nonce..self.nonce + 8], &self.bytes[self.rest..self.rest + 12]].concat()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

/// What a client logs in with.
pub(super) struct Login {
    pub(super) capabilities: u32,
    /// Maximum packet, character set, and what is not used.
    head: Vec<u8>,
    pub(super) user: String,
    pub(super) proof: Vec<u8>,
    database: Vec<u8>,
}

impl Login {
    pub(super) fn read(bytes: &[u8]) -> io::Result<Self> {
        Self::parse(bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let capabilities = u32::from_le_bytes(head[..4].try_into().ok()?);
        let (user, rest) = until_zero(rest)?;
        let (length, rest) = rest.split_first()?;
        // Longer ones than 250 bytes have another form; nobody proves anything with so many.
        let (proof, rest) = rest.split_at_checked(usize::from(*length))?;
        let database = if capabilities & WITH_DATABASE != 0 { until_zero(rest)?.0 } else { &[] };
        Some(Self {
            capabilities,
            head: head[4..].to_vec(),
            user: String::from_utf8(user.to_vec()).ok()?,
            proof: proof.to_vec(),
            database: database.to_vec(),
        })
    }

    /// The same login, of an account that has no password, in plain text. An empty proof is enough for every plugin, but
    /// it has to be the account's.
    pub(super) fn without_password(&self, plugin: &[u8]) -> Vec<u8> {
        let capabilities = (self.capabilities & !TLS & !PROOF_OF_ANY_LENGTH) | PLUGIN;
        let mut bytes = [&capabilities.to_le_bytes()[..], &self.head, self.user.as_bytes(), &[0, 0]].concat();
        if capabilities & WITH_DATABASE != 0 {
            bytes.extend(self.database.iter().chain(&[0]));
        }
        bytes.extend(plugin.iter().chain(&[0]));
        bytes
    }
}

/// Whether a client wants to go on with TLS: the head of a login, and no more.
pub(super) fn asks_for_tls(bytes: &[u8]) -> bool {
    bytes.len() == HEAD
}

/// RDS sends no nonce with it, for none is needed.
pub(super) fn switch_to_clear() -> Vec<u8> {
    [&[0xfe], CLEAR.as_bytes(), &[0]].concat()
}

/// An error; before the greeting it has no SQLSTATE.
pub(super) fn refusal(refusal: Refusal) -> Vec<u8> {
    let mut bytes = vec![0xff];
    bytes.extend(refusal.number.to_le_bytes());
    if !refusal.state.is_empty() {
        bytes.extend(b"#");
        bytes.extend(refusal.state.bytes());
    }
    bytes.extend(refusal.message.bytes());
    bytes
}

/// `caching_sha2_password`: SHA256(password) XOR SHA256(SHA256(SHA256(password)) nonce).
pub(super) fn proves(proof: &[u8], password: &str, nonce: &[u8]) -> bool {
    let once = sha256(&[password.as_bytes()]);
    let pad = sha256(&[&sha256(&[&once]), nonce]);
    let expected: Vec<u8> = once.iter().zip(pad).map(|(a, b)| a ^ b).collect();
    proof == expected
}

pub(super) fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    suite.common.hash_provider.hash(&parts.concat()).as_ref().to_vec()
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
