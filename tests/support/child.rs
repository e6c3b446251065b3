//! A part of a test in a process of its own, for what is read from the process's environment.

use std::process::{Output, Stdio};

use tokio::process::Command;

/// Tells a test that it is the child.
const MARK: &str = "STAGE_CHILD";

/// Whether this process is such a child: then the test plays its second part.
pub fn is_one() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs the test `name` (its whole path, as `module_path!()` has it) of this binary once more, in a process that sees `variables` and nothing else of our
/// environment, and returns what it printed. There [`is_one`] says `true`.
///
/// # Panics
/// When the test failed, or when there is none of that name.
pub async fn run<N: AsRef<str>, V: AsRef<str>>(name: &str, variables: &[(N, V)]) -> String {
    let name = name.strip_prefix(concat!(env!("CARGO_CRATE_NAME"), "::")).unwrap_or(name);
    let program = std::env::current_exe().expect("a test knows its binary");
    let Output { status, stdout, stderr } = Command::new(program)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env_clear()
        .env(MARK, "1")
        .envs(variables.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("our own binary can be started");
    let printed = String::from_utf8_lossy(&stdout).into_owned();
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{name} failed in a process of its own:\n{printed}\n{complaint}");
    assert!(printed.contains("1 passed"), "there is no test called {name}:\n{printed}");
    printed
}
