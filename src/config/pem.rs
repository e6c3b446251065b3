//! Certificates as text.

use std::fmt;

/// PEM texts one below the other, as somebody gave them. `Debug` shows how long they are and nothing of them: whoever puts
/// a key in the place of a certificate should not find it in a log.
#[derive(Clone, Default)]
pub(crate) struct Pem(Vec<u8>);

impl Pem {
    /// One text more.
    pub(crate) fn add(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
        // The text may end without one.
        self.0.push(b'\n');
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
