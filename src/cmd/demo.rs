//! `demo`: shows the exchange with an API server, without a cluster.
//!
//! Starts the real server on loopback with a self-signed certificate, simulates the API server, and shows the result
//! for each pod in `examples/pods`.

use std::{fmt::Write as _, process::ExitCode};

use anstyle::{AnsiColor, Color, Style};
use anyhow::{Context as _, Result, anyhow};
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
pub struct Args {}

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
pub fn run(_: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(run_example())?;
    Ok(ExitCode::SUCCESS)
}

async fn run_example() -> Result<()> {
    let config = Config { init_image: Some(INIT_IMAGE.to_owned()), ..Config::loopback() };
    let server = serve::start(config).await.context("cannot start the server")?;
    let authority = server.authority().ok_or_else(|| anyhow!("the server has no CA"))?;
    let webhook = Webhook::new(server.addr(), SERVER_NAME, authority)?;
    print(&format!(
        "Serving on https://{} with a temporary certificate. Sending requests like an API server (HTTP/1.1 over TLS).\n",
        server.addr()
    ))?;
    for (number, example) in (1..).zip(&EXAMPLES) {
        let output = example
            .run_example(&webhook, number)
            .await
            .with_context(|| format!("cannot play {}", example.file))?;
        print(&format!("\n{output}"))?;
    }
    server.stop();
    server.wait().await.context("the server did not stop cleanly")
}

impl Example {
    async fn run_example(&self, webhook: &Webhook, number: usize) -> Result<String> {
        let manifests = manifest::read(self.file, self.text);
        let document = manifests.documents.first().ok_or_else(|| anyhow!("it contains no object"))?;
        let sent: Value = serde_json::from_str(document.json())?;
        let bold = Style::new().bold();
        let mut output = format!("{bold}{number}. {}: {}{bold:#}\n", self.file, self.title);

        let admission = self.call(webhook, WebhookKind::Mutating, &sent, number, &mut output).await?;
        if !admission.allowed {
            return Ok(output);
        }
        let patched = apiserver::patched(&sent, &admission.patch)?;
        diff(&sent, &patched, &mut output)?;
        self.call(webhook, WebhookKind::Validating, &patched, number, &mut output).await?;
        Ok(output)
    }

    /// Posts the pod, and prints what kubectl or the audit log would show.
    async fn call(
        &self,
        webhook: &Webhook,
        kind: WebhookKind,
        pod: &Value,
        number: usize,
        output: &mut String,
    ) -> Result<Admission> {
        let path = Endpoint::new(kind, self.mode).path();
        let uid = format!("00000000-0000-4000-8000-{number:012}");
        let admission = webhook.call(kind, &path, &apiserver::creation(pod, &uid)).await?;
        let (word, color) =
            match (admission.allowed, admission.patch.0.is_empty(), admission.warnings.is_empty()) {
                (false, ..) => ("rejected", AnsiColor::Red),
                (true, false, _) => ("patched", AnsiColor::Green),
                (true, true, false) => ("admitted with warnings", AnsiColor::Yellow),
                (true, true, true) => ("admitted", AnsiColor::Green),
            };
        let style = Style::new().fg_color(Some(Color::Ansi(color))).bold();
        writeln!(output, "   POST {path:<18} {style}{word}{style:#}")?;
        for warning in &admission.warnings {
            writeln!(output, "     Warning: {warning}")?;
        }
        if !admission.allowed {
            let name = format!("{}.{}.linkerd-linger.io", self.mode.as_str(), kind.as_str());
            let message = format!("admission webhook \"{name}\" denied the request: {}", admission.message);
            for line in wrap(&message, 100) {
                writeln!(output, "     {line}")?;
            }
        }
        for (key, value) in &admission.audit {
            writeln!(output, "     audit: {key}={value}")?;
        }
        Ok(admission)
    }
}

/// Prints the changed lines of the init containers, as YAML.
fn diff(before: &Value, after: &Value, output: &mut String) -> Result<()> {
    let init = |pod: &Value| -> Result<String> {
        let init = pod.pointer("/spec/initContainers").cloned().unwrap_or_default();
        Ok(serde_saphyr::to_string(&init)?)
    };
    let (before, after) = (init(before)?, init(after)?);
    let patch = DiffOptions::new().set_context_len(1).create_patch(&before, &after);
    for line in patch.hunks().iter().flat_map(Hunk::lines) {
        let (sign, color, text) = match line {
            Line::Delete(text) => ('-', Some(Color::Ansi(AnsiColor::Red)), text),
            Line::Insert(text) => ('+', Some(Color::Ansi(AnsiColor::Green)), text),
            Line::Context(text) => (' ', None, text),
        };
        let style = Style::new().fg_color(color);
        writeln!(output, "     {style}{sign} {}{style:#}", text.trim_end())?;
    }
    Ok(())
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
