//! `certs`: creates and renews the serving certificate, in a cluster or in files.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, Config};
use tracing_subscriber::filter::Targets;

use super::output::print;
use crate::{
    admission::certs::{Certificate, issue, rotate},
    base::{duration, names, pem},
};

/// Issue and rotate the serving certificate
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Issue or rotate the CA and the serving certificate of the installation in a cluster
    ///
    /// Updates a Secret, and the caBundle fields of the two webhook configurations. Changes nothing if no certificate is
    /// due for renewal.
    Rotate(RotateArgs),
    /// Write a certificate to files, with a new CA whose key is discarded
    Issue(IssueArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct RotateArgs {
    /// How long the whole rotation may take
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
}

#[derive(Clone, Debug, clap::Args)]
struct IssueArgs {
    /// Directory for ca.crt, tls.crt and tls.key; these files must not exist yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// DNS name or IP address of the server; may be repeated [default: the names of the installed Service]
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,

    /// How many days the certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
}

/// The timeout of an API request.
const REQUEST: Duration = Duration::from_secs(20);

/// Runs the subcommand.
///
/// # Errors
///
/// Returns an error if the API server refuses or does not respond, or a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Rotate(args) => run_rotate(args),
        Command::Issue(args) => run_issue(args),
    }
}

fn run_rotate(args: &RotateArgs) -> Result<ExitCode> {
    // Without kube's own messages about errors that are reported here.
    let levels = Targets::new().with_target("linkerd_linger", tracing::Level::INFO);
    super::log::to_stderr(super::log::LogFormat::Text, levels);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let timeouts = rotate::Timeouts { deadline: args.timeout, ..rotate::Timeouts::default() };
    let steps = runtime.block_on(async {
        let mut config =
            Config::infer().await.context("cannot find the address and credentials of the API server")?;
        config.connect_timeout = Some(REQUEST);
        config.read_timeout = Some(REQUEST);
        config.write_timeout = Some(REQUEST);
        let client = Client::try_from(config).context("cannot set up a client of the API server")?;
        anyhow::Ok(rotate::rotate(client, Timestamp::now, timeouts).await?)
    })?;
    tracing::info!(steps = steps.len(), "no certificate is due for renewal");
    Ok(ExitCode::SUCCESS)
}

fn run_issue(args: &IssueArgs) -> Result<ExitCode> {
    let ours = || names::SERVICE_NAMES.map(str::to_owned).to_vec();
    let names = if args.name.is_empty() { ours() } else { args.name.clone() };
    let lifetime = SignedDuration::from_hours(24 * i64::from(args.days));
    let (authority, leaf) = issue::leaf_and_authority(&names, lifetime, Timestamp::now())
        .with_context(|| format!("cannot issue a certificate for {}", names.join(", ")))?;
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let text = |certificate: &Certificate| pem::certificates([certificate.der()]);
    write_new(&[
        (args.out.join("ca.crt"), &text(&authority), 0o644),
        (args.out.join("tls.crt"), &text(&leaf.certificate), 0o644),
        (args.out.join("tls.key"), &leaf.key, 0o600),
    ])?;
    let until = leaf.certificate.not_after();
    // The files are the result, whether this line can be printed or not.
    let _ = print(&format!(
        "wrote ca.crt, tls.crt and tls.key to {} for {}, valid until {until}\n",
        args.out.display(),
        names.join(", ")
    ));
    Ok(ExitCode::SUCCESS)
}

/// Creates new files with these texts and modes, all or none.
fn write_new(files: &[(PathBuf, &str, u32)]) -> Result<()> {
    for (index, (path, text, mode)) in files.iter().enumerate() {
        let mut file = create(path, *mode).inspect_err(|_| remove(&files[..index]))?;
        let written = file.write_all(text.as_bytes());
        written.inspect_err(|_| remove(&files[..=index])).with_context(|| cannot_write(path))?;
    }
    Ok(())
}

/// Removes files that would be in the way of the next attempt.
fn remove(files: &[(PathBuf, &str, u32)]) {
    for (path, ..) in files {
        let _ = fs::remove_file(path);
    }
}

/// Creates a new file, and fails if it exists, because an existing key may be in use.
fn create(path: &Path, mode: u32) -> Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    // Other systems use the permissions of the directory.
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path).with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
