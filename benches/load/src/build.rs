//! The programs that are compared, built from this repository and from Go modules.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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

/// Builds linkerd-linger as a release for Linux: static, and optimised with a profile.
pub fn linger() -> anyhow::Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let profile = script("profile", &[&target])?;
    script("dist", &["--profile", &profile, &target]).map(PathBuf::from)
}

/// Runs a script of `.ci`, which prints the path of the file that it made.
fn script(name: &str, args: &[&str]) -> anyhow::Result<String> {
    let mut script = Command::new(repository().join(".ci").join(name));
    script.args(args).current_dir(repository()).stderr(Stdio::inherit());
    let output = script.output().with_context(|| format!("cannot run .ci/{name}"))?;
    ensure!(output.status.success(), ".ci/{name} failed: install what it names, or give a program with --linger");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
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
