//! `demo`: shows the exchange with an API server, without a cluster.
//!
//! Starts the real server on loopback with a self-signed certificate, simulates the API server, and shows the result
//! for each pod in `examples/pods`.

mod page;

use std::process::ExitCode;

use anstyle::{AnsiColor, Color, Style};
use anyhow::{Context as _, Result, anyhow};
use clap::ValueEnum;
use diffy::{DiffOptions, Hunk, Line};
use serde_json::Value;

use super::output::print;
use crate::{
    admission::serve::{self, Config},
    cluster::apiserver::{self, Admission, Webhook},
    lint::manifest,
    review::{Endpoint, Mode, WebhookKind},
};

/// Show on a few pods what the webhook does; needs no cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The output format
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// A page without other files, for people
    Html,
}

/// A pod, the mode of its namespace, and a title.
struct Example {
    file: &'static str,
    text: &'static str,
    mode: Mode,
    title: &'static str,
}

/// The name in the server's certificate.
const SERVER_NAME: &str = "localhost";
/// The image of the init container that is added; nothing pulls it.
const INIT_IMAGE: &str = "registry.example.com/linkerd-linger:1.0.0";

const EXAMPLES: [Example; 6] = [
    Example {
        file: "examples/pods/1-patched.yaml",
        text: include_str!("../../examples/pods/1-patched.yaml"),
        mode: Mode::Enforce,
        title: "nothing sets the pod's close-wait timeout",
    },
    Example {
        file: "examples/pods/2-rejected.yaml",
        text: include_str!("../../examples/pods/2-rejected.yaml"),
        mode: Mode::Enforce,
        title: "a probe runs when the server closes the idle connection",
    },
    Example {
        file: "examples/pods/3-warned.yaml",
        text: include_str!("../../examples/pods/3-warned.yaml"),
        mode: Mode::Enforce,
        title: "the server closes idle connections before the proxy does",
    },
    Example {
        file: "examples/pods/4-audited.yaml",
        text: include_str!("../../examples/pods/4-audited.yaml"),
        mode: Mode::Audit,
        title: "the same mistake in a namespace in audit mode",
    },
    Example {
        file: "examples/pods/5-repaired.yaml",
        text: include_str!("../../examples/pods/5-repaired.yaml"),
        mode: Mode::Enforce,
        title: "linkerd-init would crash-loop",
    },
    Example {
        file: "examples/pods/6-combined.yaml",
        text: include_str!("../../examples/pods/6-combined.yaml"),
        mode: Mode::Enforce,
        title: "linkerd-init of Linkerd 2.20 cannot set the timeout",
    },
];

/// Runs every example.
///
/// # Errors
///
/// Returns an error if the server cannot be started, or a response is not valid for an API server.
pub fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(run_examples(args.output))?;
    Ok(ExitCode::SUCCESS)
}

async fn run_examples(format: Format) -> Result<()> {
    let config = Config { init_image: Some(INIT_IMAGE.to_owned()), ..Config::loopback() };
    let server = serve::start(config).await.context("cannot start the server")?;
    let authority = server.authority().ok_or_else(|| anyhow!("the server has no CA"))?;
    let webhook = Webhook::new(server.addr(), SERVER_NAME, authority)?;
    if format == Format::Text {
        print(&format!(
            "Serving on https://{} with a temporary certificate. Sending requests like an API server (HTTP/1.1 over TLS).\n",
            server.addr()
        ))?;
    }
    let mut exchanges = Vec::new();
    for (number, example) in (1..).zip(&EXAMPLES) {
        let exchange = example
            .review(&webhook, number)
            .await
            .with_context(|| format!("cannot play {}", example.file))?;
        if format == Format::Text {
            print(&format!("\n{}", exchange.text(example, number)))?;
        }
        exchanges.push(exchange);
    }
    server.stop();
    server.wait().await.context("the server did not stop cleanly")?;
    if format == Format::Html {
        print(&page::render(&exchanges)?)?;
    }
    Ok(())
}

impl Example {
    /// Sends the pod as an API server does: to the mutating webhook, then with the patch to the validating one.
    async fn review(&self, webhook: &Webhook, number: usize) -> Result<Exchange> {
        let manifests = manifest::read(self.file, self.text);
        let document = manifests.documents.first().ok_or_else(|| anyhow!("it contains no object"))?;
        let sent: Value = serde_json::from_str(document.json())?;
        let first = self.call(webhook, WebhookKind::Mutating, &sent, number).await?;
        let mut exchange = Exchange { calls: vec![first], diff: Vec::new() };
        let admission = &exchange.calls[0].admission;
        if admission.allowed {
            let patched = apiserver::patched(&sent, &admission.patch)?;
            exchange.diff = diff(&sent, &patched)?;
            exchange.calls.push(self.call(webhook, WebhookKind::Validating, &patched, number).await?);
        }
        Ok(exchange)
    }

    async fn call(&self, webhook: &Webhook, kind: WebhookKind, pod: &Value, number: usize) -> Result<Call> {
        let path = Endpoint::new(kind, self.mode).path();
        let uid = format!("00000000-0000-4000-8000-{number:012}");
        let admission = webhook.call(kind, &path, &apiserver::creation(pod, &uid)).await?;
        let name = format!("{}.{}.linkerd-linger.io", self.mode.as_str(), kind.as_str());
        Ok(Call { path, name, admission })
    }
}

/// The requests about a pod, and how the patch changes its init containers.
struct Exchange {
    calls: Vec<Call>,
    diff: Vec<(Sign, String)>,
}

/// A request to the webhook, and what kubectl or the audit log would show of the response.
struct Call {
    path: String,
    /// The name of the webhook.
    name: String,
    admission: Admission,
}

/// What the patch does with a line.
#[derive(Clone, Copy)]
enum Sign {
    Removed,
    Added,
    Kept,
}

impl Sign {
    /// The sign before the line.
    const fn as_char(self) -> char {
        match self {
            Self::Removed => '-',
            Self::Added => '+',
            Self::Kept => ' ',
        }
    }
}

impl Call {
    /// The outcome: its word, its colour, and its class in the style of the page.
    fn outcome(&self) -> (&'static str, AnsiColor, &'static str) {
        let Admission { allowed, patch, warnings, .. } = &self.admission;
        match (allowed, patch.0.is_empty(), warnings.is_empty()) {
            (false, ..) => ("rejected", AnsiColor::Red, "reject"),
            (true, false, _) => ("patched", AnsiColor::Green, "patch"),
            (true, true, false) => ("admitted with warnings", AnsiColor::Yellow, "warn"),
            (true, true, true) => ("admitted", AnsiColor::Green, "admit"),
        }
    }

    /// What kubectl prints if the webhook rejects the pod.
    fn denial(&self) -> Option<String> {
        let Admission { allowed, message, .. } = &self.admission;
        (!allowed).then(|| format!("admission webhook \"{}\" denied the request: {message}", self.name))
    }

    fn text(&self) -> String {
        let (word, color, _) = self.outcome();
        let style = Style::new().fg_color(Some(Color::Ansi(color))).bold();
        let mut text = format!("   POST {:<18} {style}{word}{style:#}\n", self.path);
        for warning in &self.admission.warnings {
            text.push_str(&format!("     Warning: {warning}\n"));
        }
        for line in self.denial().iter().flat_map(|denial| wrap(denial, 100)) {
            text.push_str(&format!("     {line}\n"));
        }
        for (key, value) in &self.admission.audit {
            text.push_str(&format!("     audit: {key}={value}\n"));
        }
        text
    }
}

impl Exchange {
    fn text(&self, example: &Example, number: usize) -> String {
        let bold = Style::new().bold();
        let mut text = format!("{bold}{number}. {}: {}{bold:#}\n", example.file, example.title);
        for (index, call) in self.calls.iter().enumerate() {
            text.push_str(&call.text());
            if index == 0 {
                text.extend(self.diff.iter().map(|(sign, line)| {
                    let color = match sign {
                        Sign::Removed => Some(Color::Ansi(AnsiColor::Red)),
                        Sign::Added => Some(Color::Ansi(AnsiColor::Green)),
                        Sign::Kept => None,
                    };
                    let style = Style::new().fg_color(color);
                    format!("     {style}{} {line}{style:#}\n", sign.as_char())
                }));
            }
        }
        text
    }
}

/// The changed lines of the init containers, as YAML.
fn diff(before: &Value, after: &Value) -> Result<Vec<(Sign, String)>> {
    let init = |pod: &Value| -> Result<String> {
        let init = pod.pointer("/spec/initContainers").cloned().unwrap_or_default();
        Ok(serde_saphyr::to_string(&init)?)
    };
    let (before, after) = (init(before)?, init(after)?);
    let patch = DiffOptions::new().set_context_len(1).create_patch(&before, &after);
    let signed = |line: &Line<'_, str>| match line {
        Line::Delete(text) => (Sign::Removed, text.trim_end().to_owned()),
        Line::Insert(text) => (Sign::Added, text.trim_end().to_owned()),
        Line::Context(text) => (Sign::Kept, text.trim_end().to_owned()),
    };
    Ok(patch.hunks().iter().flat_map(Hunk::lines).map(signed).collect())
}

/// Wraps a text at blanks into lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
