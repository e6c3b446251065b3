//! A user and a password that were configured.

use super::{Credentials, CredentialsError, CredentialsFuture, CredentialsProvider, CredentialsRequest};
use crate::redacted::Redacted;

#[derive(Debug)]
pub(crate) struct Fixed {
    password: Redacted,
}

impl Fixed {
    pub(crate) fn new(password: Redacted) -> Self {
        Self { password }
    }
}

impl CredentialsProvider for Fixed {
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        let answer = if request.refused.is_empty() {
            // libpq's default user is the operating system's; in a function that name means nothing.
            Ok(Credentials::new(request.user.as_deref().unwrap_or(request.engine), self.password.clone()))
        } else {
            Err(CredentialsError::Exhausted)
        };
        Box::pin(std::future::ready(answer))
    }
}
