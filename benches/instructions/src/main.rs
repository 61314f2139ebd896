//! Counts the instructions of recorded reviews with valgrind, which noise does not move, and compares them with the file
//! `instructions.json`.
//!
//! The file holds for each review the instructions, and the functions that take most of them: so a failure says by what
//! the cost rose. Counts are of one compiler and one profile.

mod counts;

use std::{
    collections::BTreeMap,
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, ensure};
use clap::Parser;
use jiff::civil::date;
use linkerd_linger_core::{
    judgement::policy::Policy,
    review::{self, Endpoint, Mode, WebhookKind},
};
use tikv_jemallocator::Jemalloc;

use crate::counts::{Counts, Recorded};

/// That of linkerd-linger.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The reviews: a patched, a rejected and an admitted one; the largest recorded pod; and one with two objects.
const REVIEWS: [&str; 5] = [
    "real-injector/stable-2.12.6/front-nginx.json",
    "real-injector/version-2.20/cart-gunicorn.json",
    "real-injector/version-2.20/legacy-not-meshed.json",
    "version-2.20/pod.json",
    "more/replicaset-update-of-deployment.validate.json",
];

/// How many reviews are counted in one run: some of them grow a table, or seed a hash differently.
const COUNTED: u64 = 20;

#[derive(Debug, Parser)]
enum Cli {
    /// Count, and fail if a review takes over 5 % more instructions than the file says.
    Check,
    /// Count, and write the file.
    Update,
    /// Answer a review 20 times, in a function whose instructions valgrind counts.
    #[command(hide = true)]
    Run {
        /// The path below `tests/fixtures/reviews`.
        review: String,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse() {
        Cli::Run { review } => run(&review),
        Cli::Update => {
            Recorded { rustc: rustc()?, reviews: count_all()? }.write(&file())?;
            Ok(ExitCode::SUCCESS)
        }
        Cli::Check => check(),
    }
}

fn check() -> anyhow::Result<ExitCode> {
    let recorded = Recorded::read(&file())?;
    let rustc = rustc()?;
    ensure!(
        recorded.rustc == rustc,
        "{} was counted with {}, and this is {rustc}: write it again with `just instructions-update`",
        file().display(),
        recorded.rustc
    );
    let now = count_all()?;
    let mut failed = false;
    for (review, counts) in &now {
        let before = recorded.reviews.get(review);
        let before = before.with_context(|| format!("{} is not in {}", review, file().display()))?;
        let (text, rose) = counts.compare(review, before);
        println!("{text}");
        failed |= rose;
    }
    if failed {
        println!(
            "A review takes over 5 % more instructions. If that is worth it, run `just instructions-update` and say why in \
             the commit."
        );
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn count_all() -> anyhow::Result<BTreeMap<String, Counts>> {
    REVIEWS.iter().map(|review| Ok(((*review).to_owned(), count(review)?))).collect()
}

/// Runs this program below valgrind.
fn count(review: &str) -> anyhow::Result<Counts> {
    let output = env::temp_dir().join(format!("linkerd-linger-instructions-{}", std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_reviews*"]);
    valgrind.arg(format!("--callgrind-out-file={}", output.display()));
    valgrind.arg(env::current_exe()?).args(["run", review]).stdout(Stdio::null());
    let ran = valgrind.output().context("cannot run valgrind: install the package of this name")?;
    ensure!(ran.status.success(), "valgrind failed: {}", String::from_utf8_lossy(&ran.stderr));
    let annotated = Command::new("callgrind_annotate")
        .args(["--threshold=100", "--show-percs=no", "--auto=no"])
        .arg(&output)
        .output()
        .context("cannot run callgrind_annotate, which comes with valgrind")?;
    fs::remove_file(&output)?;
    ensure!(annotated.status.success(), "callgrind_annotate failed");
    Counts::read(&String::from_utf8_lossy(&annotated.stdout), COUNTED)
        .with_context(|| format!("cannot read what callgrind_annotate says of {review}"))
}

fn run(review: &str) -> anyhow::Result<ExitCode> {
    let path = root().join("tests/fixtures/reviews").join(review);
    let body = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let kind =
        if review.ends_with(".validate.json") { WebhookKind::Validating } else { WebhookKind::Mutating };
    let endpoint = Endpoint::new(kind, Mode::Enforce);
    let policy = Policy::default();
    // What is set up on first use is not counted.
    answer(&body, endpoint, &policy);
    counted_reviews(&body, endpoint, &policy);
    Ok(ExitCode::SUCCESS)
}

/// valgrind counts while this function runs.
#[inline(never)]
fn counted_reviews(body: &[u8], endpoint: Endpoint, policy: &Policy) {
    for _ in 0..COUNTED {
        answer(body, endpoint, policy);
    }
}

#[inline(never)]
fn answer(body: &[u8], endpoint: Endpoint, policy: &Policy) {
    let reviewed = review::review(black_box(body), endpoint, policy, date(2026, 11, 23));
    black_box(reviewed.expect("the recorded reviews are reviews"));
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn file() -> PathBuf {
    root().join("benches/instructions.json")
}

fn rustc() -> anyhow::Result<String> {
    let output =
        Command::new("rustc").arg("--version").current_dir(root()).output().context("cannot run rustc")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
