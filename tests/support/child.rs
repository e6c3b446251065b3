//! A part of a test in a process of its own, for what is read from the process's environment.

use std::process::{Output, Stdio};

use tokio::process::Command;

/// Runs the ignored test `name` of this binary in a process that sees `variables` and nothing else of our environment,
/// and returns what it printed.
///
/// # Panics
/// When the test failed, or when there is none of that name.
pub async fn run<N: AsRef<str>, V: AsRef<str>>(name: &str, variables: &[(N, V)]) -> String {
    let program = std::env::current_exe().expect("a test knows its binary");
    let Output { status, stdout, stderr } = Command::new(program)
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("our own binary can be started");
    let printed = String::from_utf8_lossy(&stdout).into_owned();
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{name} failed in a process of its own:\n{printed}\n{complaint}");
    assert!(printed.contains("1 passed"), "there is no ignored test called {name}:\n{printed}");
    printed
}
