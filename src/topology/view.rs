//! What the RDS API says of a cluster.

use super::member::Address;
use crate::engine::Flavour;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) flavour: Flavour,
    /// `available`, `failing-over`, …
    pub(crate) status: Option<String>,
    /// The endpoint that follows the writer, and the readers'.
    pub(crate) endpoint: Option<Address>,
    pub(crate) reader_endpoint: Option<Address>,
    pub(crate) members: Vec<Listed>,
}

/// A member as the API lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    /// Missing while it is created, and where the role may not ask for it.
    pub(crate) address: Option<Address>,
    pub(crate) writer: bool,
    pub(crate) tier: Option<u8>,
}
