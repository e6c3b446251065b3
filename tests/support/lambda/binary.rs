//! Finding the binary of an example.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The binary of example `name`, in the build that the running executable comes from.
///
/// `cargo test` builds the examples before it runs anything. Where it was told not to (`--test`, `cargo bench`), a
/// missing binary is built here, with the same profile and the databases of the running one; one that exists is taken as it
/// is.
///
/// # Panics
///
/// When the example cannot be built.
pub fn example(name: &str) -> PathBuf {
    let running = env::current_exe().expect("the path of the running executable");
    let profile = profile_directory(&running);
    let binary = profile.join("examples").join(name);
    if !binary.exists() {
        build(name, profile);
    }
    binary
}

/// Tests and benchmarks run in `target/PROFILE/deps`, examples in `target/PROFILE/examples`.
fn profile_directory(running: &Path) -> &Path {
    let directory = running.parent().expect("an executable lies in a directory");
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("deps" | "examples") => directory.parent().unwrap_or(directory),
        _ => directory,
    }
}

fn build(name: &str, profile: &Path) {
    // The directory of the `dev` profile has a name of its own, every other one is called like its profile.
    let profile_name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--example", name, "--profile", profile_name])
        .arg("--target-dir")
        .arg(profile.parent().unwrap_or(profile));
    if cfg!(feature = "mysql") {
        command.args(["--features", "mysql"]);
    }
    let built = command.status().is_ok_and(|status| status.success());
    assert!(built, "the example `{name}` is missing and could not be built: {command:?}");
}
