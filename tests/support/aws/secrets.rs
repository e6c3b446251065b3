//! Secrets Manager: versions, their stages, and `GetSecretValue` in JSON 1.1.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::http::{Reply, lock, reply},
    ACCOUNT, Answer, REGION, ServiceError, State,
};

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret of the stand-in, which need not exist yet. Its verbs are what an operator or a rotation does to it.
#[derive(Debug)]
pub struct Secret<'a> {
    state: &'a Mutex<State>,
    name: String,
}

impl<'a> Secret<'a> {
    pub(super) fn new(state: &'a Mutex<State>, name: &str) -> Self {
        Self { state, name: name.to_owned() }
    }

    /// The full ARN, with the suffix Secrets Manager appends to the name.
    pub fn arn(&self) -> String {
        arn(&self.name)
    }

    /// Creates the secret afresh, with `value` as its only version. A JSON string is stored as that text, anything
    /// else as its JSON.
    pub fn put(&self, value: impl Into<Value>) {
        self.create(Content::text(value.into()));
    }

    /// Creates the secret afresh with binary content.
    pub fn put_binary(&self, value: &[u8]) {
        self.create(Content::Binary(value.to_vec()));
    }

    /// Makes `new` current and the current version previous, as a finished rotation leaves them.
    pub fn rotate(&self, new: impl Into<Value>) {
        self.change(|entry, version| {
            entry.advance(Version::new(version, Content::text(new.into())));
        });
    }

    /// Adds `new` as the pending version, as a rotation does before it has changed the password.
    pub fn stage_pending(&self, new: impl Into<Value>) {
        self.change(|entry, version| {
            let new = Version::new(version, Content::text(new.into()));
            entry.stages.insert(PENDING, new);
        });
    }

    /// Makes the pending version current, the last step of a rotation.
    pub fn promote_pending(&self) {
        self.change(|entry, _| {
            let pending = entry.stages.remove(PENDING);
            entry.advance(pending.expect("nothing is pending: call `stage_pending` first"));
        });
    }

    /// Marks the secret for deletion: reading it becomes an `InvalidRequestException`, as in the recovery window.
    pub fn delete(&self) {
        self.change(|entry, _| entry.deleted = true);
    }

    /// Removes the secret without a trace: reading it becomes a `ResourceNotFoundException`.
    pub fn purge(&self) {
        lock(self.state).secrets.entries.remove(&self.name);
    }

    /// Takes the KMS key away: reading becomes a `DecryptionFailure`, until the next `put`.
    pub fn lose_key(&self) {
        self.change(|entry, _| entry.key_lost = true);
    }

    fn create(&self, content: Content) {
        let mut state = lock(self.state);
        let version = Version::new(state.secrets.next_version(), content);
        let entry = Entry { stages: BTreeMap::from([(CURRENT, version)]), ..Entry::default() };
        state.secrets.entries.insert(self.name.clone(), entry);
    }

    /// Runs `change` on the existing secret, with a version number nobody has used.
    fn change(&self, change: impl FnOnce(&mut Entry, u64)) {
        let mut state = lock(self.state);
        let version = state.secrets.next_version();
        let entry = state.secrets.entries.get_mut(&self.name);
        change(entry.expect("no such secret: call `put` first"), version);
    }
}

#[derive(Debug, Default)]
pub(super) struct Store {
    entries: HashMap<String, Entry>,
    versions: u64,
}

impl Store {
    pub(super) fn answer(&self, call: &Call) -> Result<Answer, ServiceError> {
        if call.action != "GetSecretValue" {
            let message = "The stand-in knows GetSecretValue only.";
            return Err(bad_request("UnknownOperationException", message));
        }
        let (name, entry) = self.find(&call.input.secret_id)?;
        let (stage, version) = entry.read(&call.input)?;
        Ok(Answer(version.describe(name, stage).to_string()))
    }

    /// A secret is known by its name, by its ARN, and by its ARN without the random suffix.
    fn find(&self, id: &str) -> Result<(&str, &Entry), ServiceError> {
        let matches = |name: &str| name == id || arn(name) == id || partial_arn(name) == id;
        self.entries
            .iter()
            .find(|(name, _)| matches(name))
            .map(|(name, entry)| (name.as_str(), entry))
            .ok_or_else(|| not_found("Secrets Manager can't find the specified secret."))
    }

    fn next_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }
}

#[derive(Debug, Default)]
struct Entry {
    stages: BTreeMap<&'static str, Version>,
    deleted: bool,
    key_lost: bool,
}

impl Entry {
    fn advance(&mut self, new: Version) {
        if let Some(old) = self.stages.insert(CURRENT, new) {
            self.stages.insert(PREVIOUS, old);
        }
    }

    fn read(&self, input: &Input) -> Result<(&'static str, &Version), ServiceError> {
        if self.deleted {
            let message = "You can't perform this operation on the secret because it was marked for deletion.";
            return Err(bad_request("InvalidRequestException", message));
        }
        if self.key_lost {
            let message = "Secrets Manager can't decrypt the protected secret text using the provided KMS key.";
            return Err(bad_request("DecryptionFailure", message));
        }
        self.stages
            .iter()
            .find(|(stage, version)| input.wants(stage, &version.id))
            .map(|(stage, version)| (*stage, version))
            .ok_or_else(|| {
                let label = input.stage();
                not_found(format!("Secrets Manager can't find the specified secret value for staging label: {label}"))
            })
    }
}

#[derive(Debug)]
struct Version {
    id: String,
    content: Content,
    created: SystemTime,
}

impl Version {
    fn new(number: u64, content: Content) -> Self {
        Self { id: format!("00000000-0000-4000-8000-{number:012x}"), content, created: SystemTime::now() }
    }

    fn describe(&self, name: &str, stage: &str) -> Value {
        let created = self.created.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut body = json!({
            "ARN": arn(name),
            "Name": name,
            "VersionId": self.id,
            "VersionStages": [stage],
            "CreatedDate": created.as_secs_f64(),
        });
        match &self.content {
            Content::Text(text) => body["SecretString"] = json!(text),
            Content::Binary(bytes) => body["SecretBinary"] = json!(base64(bytes)),
        }
        body
    }
}

#[derive(Debug)]
enum Content {
    Text(String),
    Binary(Vec<u8>),
}

impl Content {
    fn text(value: Value) -> Self {
        Self::Text(match value {
            Value::String(text) => text,
            json => json.to_string(),
        })
    }
}

/// A request to Secrets Manager.
pub(super) struct Call {
    pub(super) action: String,
    input: Input,
}

impl Call {
    /// A body that is not understood asks for the secret with the empty name, which nobody has.
    pub(super) fn parse(target: &str, body: &[u8]) -> Self {
        Self {
            action: target.rsplit('.').next().unwrap_or_default().to_owned(),
            input: serde_json::from_slice(body).unwrap_or_default(),
        }
    }

    pub(super) fn detail(&self) -> String {
        let wanted = self.input.version_id.as_deref();
        format!("{} {}", self.input.secret_id, wanted.unwrap_or_else(|| self.input.stage()),)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

impl Input {
    fn stage(&self) -> &str {
        self.version_stage.as_deref().unwrap_or(CURRENT)
    }

    /// The default stage counts only when no version is named.
    fn wants(&self, stage: &str, version: &str) -> bool {
        match &self.version_id {
            Some(id) => id == version && self.version_stage.as_deref().is_none_or(|s| s == stage),
            None => self.stage() == stage,
        }
    }
}

pub(super) fn encode(outcome: Result<Answer, ServiceError>) -> Reply {
    let (status, body) = match outcome {
        Ok(Answer(body)) => (StatusCode::OK, body),
        Err(error) => {
            let body = json!({ "__type": error.code, "Message": error.message });
            (error.status, body.to_string())
        }
    };
    reply(status, "application/x-amz-json-1.1", body)
}

fn bad_request(code: &'static str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, code, message)
}

fn not_found(message: impl Into<String>) -> ServiceError {
    bad_request("ResourceNotFoundException", message)
}

fn partial_arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}")
}

fn arn(name: &str) -> String {
    format!("{}-StGe42", partial_arn(name))
}

/// Base64 by hand: one field of one answer is no reason for a dependency.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let bits = group[0] << 16 | group[1] << 8 | group[2];
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 0x3f;
            // A chunk of n bytes has n + 1 digits; the rest is padding.
            text.push(if digit <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}
