//! The programs that are compared, built from this repository and from Go modules.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::process::Program;

/// The root of this repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The servers of these names, ours first; all, if there are no names.
pub fn servers(linger: &Path, names: &[String]) -> anyhow::Result<Vec<Program>> {
    let own = env::current_exe()?;
    let go_target = go_target();
    let program = |name, path: &Path, args: &[&'static str]| Program {
        name,
        path: path.to_owned(),
        args: args.to_vec(),
    };
    let all = [
        program("linkerd-linger", linger, &["serve", "--admin-listen", "127.0.0.1:0"]),
        program("echo", &own, &["echo"]),
        program("lean", &own, &["lean"]),
        program("net-http", &go_target.join("nethttp"), &[]),
        program("controller-runtime", &go_target.join("controller-runtime"), &[]),
    ];
    let unknown = names.iter().find(|name| all.iter().all(|program| program.name != **name));
    ensure!(
        unknown.is_none(),
        "there is no server {unknown:?}; there are {:?}",
        all.map(|program| program.name)
    );
    let mut servers = Vec::from(all);
    servers.retain(|program| names.is_empty() || names.iter().any(|name| name == program.name));
    if servers.iter().any(|program| program.path.starts_with(&go_target)) {
        go("", &["./nethttp", "./controller-runtime"])?;
    }
    Ok(servers)
}

/// The release build of linkerd-linger, with the allocator that is shipped.
pub fn linger() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--features", "jemalloc", "--locked", "--bin", "linkerd-linger"]);
    // The target directory is asked of cargo's message, because the user may have set another.
    cargo.arg("--message-format=json-render-diagnostics").current_dir(repository());
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cannot build linkerd-linger");
    serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter::<serde_json::Value>()
        .filter_map(Result::ok)
        .filter(|message| message["target"]["name"] == "linkerd-linger")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built no program of this name")
}

/// Builds Go programs of the module in a folder below `go`, and returns the folder with them.
pub fn go(module: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let target = go_target();
    std::fs::create_dir_all(&target)?;
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o"]).arg(&target).args(packages);
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(module));
    let status = go.status().context("cannot run go, which builds the webhooks to compare with")?;
    ensure!(status.success(), "cannot build {packages:?}");
    Ok(target)
}

fn go_target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/go")
}
