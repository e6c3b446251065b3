//! What there is to choose from.

/// How a connection is protected, from strongest to none. `prefer` and `allow` are no choice: they fall back to plain text
/// without a word.
///
/// # What holds
/// The certificate's chain must lead to one of the roots of [`ca_pem`](crate::ProxyBuilder::ca_pem), or else of RDS, **or to
/// a public authority**: the driver (sqlx 0.9) brings about 120 of those (webpki-roots) and cannot be told to leave them
/// out. With [`VerifyFull`](Self::VerifyFull) that leaves one hole: a certificate that a public authority has issued for
/// exactly the host's name. For the names of RDS itself (`….rds.amazonaws.com`) only AWS gets one.
///
/// Cargo's features unify: an application that turns on `tls-native-tls` or `tls-rustls-ring-native-roots` in its own sqlx
/// gets this machine's roots in the place of those public ones, here too.
///
/// Nobody asks whether a certificate was revoked, and no login is bound to its TLS session (`channel_binding`): the
/// certificate is the only proof. A host that has it can ask for the password itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Tls {
    /// Encrypted; the certificate must be from a trusted authority and for the host's name. Default, because anything
    /// weaker lets whoever sits in between read the password.
    #[default]
    VerifyFull,
    /// Encrypted; the certificate must be from an authority of one's own, its name is not looked at. **Refused** by
    /// [`build`](crate::ProxyBuilder::build): it would mean something only if that authority were the only one, and with
    /// sqlx 0.9 none can be. Anybody's certificate from a public authority, free for any name, would pass. libpq refuses
    /// public roots without `verify-full` for the same reason. Take [`VerifyFull`](Self::VerifyFull), with a name that the
    /// certificate is for.
    VerifyCa,
    /// Encrypted; anybody's certificate is accepted. Keeps out who listens, not who sits in between: that one gets the
    /// password. IAM tokens are not sent so.
    Require,
    /// Plain text. Whoever answers, or listens, gets the data, and on MySQL the password for the asking: a server's first
    /// packet can demand it in clear. IAM tokens are not sent so.
    Disable,
}

/// How far sessions are kept apart on the connections they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// By what their statements say. Default: it costs nothing, and is right for all state that a statement names.
    #[default]
    ByStatement,
    /// A connection serves one session and is closed after it: for state that hides inside functions and procedures, where
    /// no text shows it. No statement takes all of that back; PostgreSQL's `DISCARD ALL` leaves the seed of `random()`,
    /// sessions with other servers (`dblink`, `postgres_fdw`) and what interpreters and libraries keep. Costs a connect
    /// for each session.
    Strict,
}

/// Which statements do not pin although what they leave behind cannot be followed. Named after RDS Proxy's setting:
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PinningFilter {
    /// None: whatever cannot be followed pins. Default, because a session then keeps all that it has set.
    #[default]
    None,
    /// Statements that set a variable whose name or value their text does not tell, as `set_config($1, $2, false)` or
    /// `SET NAMES`. The variable holds until the end of the transaction or statement; then the connection is cleaned, so
    /// that no other session sees it, and the session has lost it. Settings whose text tells all are kept either way.
    ExcludeVariableSets,
}
