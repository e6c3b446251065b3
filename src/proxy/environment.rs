//! What Lambda says of the environment.

/// What Lambda itself says: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>.
pub(super) struct Environment {
    /// More than one invocation at a time. Classic Lambda says nothing, or 1.
    pub(super) max_concurrency: Option<usize>,
    pub(super) region: Option<String>,
    pub(super) application_name: String,
}

impl Environment {
    pub(super) fn read() -> Self {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let function = read("AWS_LAMBDA_FUNCTION_NAME");
        let application_name = function.map_or_else(|| "lambda-rds".to_owned(), |name| format!("lambda-rds {name}"));
        Self {
            max_concurrency: read("AWS_LAMBDA_MAX_CONCURRENCY").and_then(|n| n.parse().ok()).filter(|n| *n > 1),
            region: read("AWS_REGION").or_else(|| read("AWS_DEFAULT_REGION")),
            application_name,
        }
    }
}
