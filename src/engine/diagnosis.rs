//! What a driver's error means.

/// What a driver's error means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Diagnosis {
    /// The connection is gone or out of step.
    Dead,
    /// The server, or this user's share, is full.
    Full,
    /// The server does not accept connections yet, or no longer.
    NotReady,
    /// User or password is wrong.
    Authentication,
    /// There is no such database.
    UnknownDatabase,
    /// Plain text where the server wants TLS.
    TlsDemanded,
    /// A setting sent at login is not known to this server.
    UnknownSetting,
    /// A pooler stands in between that nobody has announced.
    Pooler,
    /// The server, or the transaction, is read-only.
    ReadOnly,
    /// The statement failed; the connection is fine.
    Statement,
    /// The statement failed, and the server has rolled back the whole transaction.
    RolledBack,
    /// The statement failed, and whether the transaction is still there has to be asked.
    Unsure,
    /// The statement that the driver had prepared is gone or fits no longer; nothing was executed.
    StalePlan,
    /// What the driver knows of this connection, names of statements or types, is not what the server knows: nothing was
    /// executed, and only another connection helps.
    Misled,
    /// The server had ended the session before it read the statement: its last word, and nothing was executed.
    HungUp,
    /// The driver gave up half way; the connection has to be brought to rest.
    Interrupted,
    /// Nothing was sent.
    NotSent,
}

impl Diagnosis {
    /// It is about a statement; the connection is fine.
    pub(crate) fn is_of_statement(self) -> bool {
        matches!(
            self,
            Self::Statement | Self::RolledBack | Self::Unsure | Self::ReadOnly | Self::StalePlan | Self::Misled
        )
    }
}
