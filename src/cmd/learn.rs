//! `learn`: measures the servers of workloads whose idle timeouts are not known from manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IsTerminal, stderr, stdin},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use kube::api::ListParams;
use serde_json::value::RawValue;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet},
};

use super::{
    connection::{self, Connection},
    facts,
    images::ImageArgs,
    output::{note, note_line, print},
};
use crate::{
    admission::policy_file,
    base::{clock::today, duration, plural::count},
    cluster::{
        Cluster,
        gather::{INJECTED, NOT_COMPLETED},
    },
    judgement::{
        facts::{Facts, ImageFact, ServerFact, print as print_facts},
        judge::judge,
        policy::Policy,
    },
    linkerd::Injection,
    measure::{
        connection::Protocol,
        run::{self, Settings},
        target::{self, Workload},
    },
    workload::{
        context::Context,
        image_config::ImageFacts,
        object::{Kind, Object},
    },
};

/// The maximum number of concurrently measured workloads.
const MAX_CONCURRENT: usize = 8;
/// The number of connections to each server.
const CONNECTIONS: usize = 4;

const EXAMPLES: &str = "\
Examples:
  linkerd linger learn -n shop > facts.yaml
  linkerd linger learn -A --yes --write-facts facts.yaml
  linkerd linger install --facts facts.yaml | kubectl apply -f -

Exit codes:
  0  the idle timeout of every server is now certain or likely
  1  some idle timeouts are still unknown
  2  nothing could be measured, or the command line is not valid";

/// The flags of `learn`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The namespace of the workloads
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// The workloads of every namespace
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Measure without a confirmation prompt
    #[arg(short, long)]
    yes: bool,
    /// How long to wait for the server to close a connection
    #[arg(long, value_name = "DURATION", default_value = "130s", value_parser = duration::parse)]
    max: Duration,
    /// Only read the image configs, without measuring
    #[arg(long)]
    images_only: bool,
    /// A facts file; the servers in it are not measured again
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// Add the facts to this file instead of printing them
    #[arg(long, value_name = "FILE")]
    write_facts: Option<PathBuf>,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    connection: Connection,
}

/// A server that an HTTP probe of an injected workload uses.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct ServerKey {
    namespace: String,
    kind: String,
    name: String,
    container: String,
    port: u16,
}

impl ServerKey {
    fn describe(&self) -> String {
        format!(
            "{} {}/{}, container {}, port {}",
            self.namespace,
            self.kind.to_lowercase(),
            self.name,
            self.container,
            self.port
        )
    }
}

/// Measures the servers, and prints the facts.
///
/// # Errors
///
/// Returns an error if the workloads cannot be listed, or the user did not agree to measure them.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.connection.log();
    connection::runtime()?.block_on(LocalSet::new().run_until(learn(args)))
}

async fn learn(args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = args.connection.connect().await?;
    let namespace = match (&args.namespace, args.all_namespaces) {
        (_, true) => None,
        (Some(name), false) => Some(name.as_str()),
        (None, false) => Some(cluster.default_namespace()),
    };
    let known = match &args.facts {
        Some(path) => policy_file::facts(path, &policy_file::text(path)?)?,
        None => Facts::default(),
    };
    let mut policy = Policy { facts: known, ..Policy::default() };
    let before = servers(&cluster, namespace, &policy).await?;
    note_line!("{} of injected workloads: {}", count(before.len(), "server"), tally(&before));
    if before.values().all(|known| known.certainty == Some(true)) {
        return Ok(ExitCode::SUCCESS);
    }
    let images =
        before.values().filter(|known| known.certainty != Some(true)).map(|known| known.image.clone());
    let images = read_images(args, images.collect()).await;
    let after_images = if images.is_empty() {
        before
    } else {
        policy.facts = facts::merged(&policy.facts, Vec::new(), images);
        servers(&cluster, namespace, &policy).await?
    };
    let unknown: Vec<ServerKey> = after_images
        .iter()
        .filter(|(_, known)| known.certainty != Some(true))
        .map(|(servers_to_measure, _)| servers_to_measure.clone())
        .collect();
    let mut failed = Vec::new();
    if !args.images_only && !unknown.is_empty() {
        agree(args, &unknown)?;
        let learnt;
        (learnt, failed) = measure(&cluster, args, unknown).await;
        policy.facts = facts::merged(&policy.facts, learnt, Vec::new());
    }
    let after = servers(&cluster, namespace, &policy).await?;
    note_line!("with the new facts: {}", tally(&after));
    for (servers_to_measure, why) in &failed {
        note_line!("  {}: {why}", servers_to_measure.describe());
    }
    match &args.write_facts {
        Some(path) => facts::write(path, policy.facts.servers.to_vec(), policy.facts.images.to_vec())?,
        None => print(&print_facts(&policy.facts)?)?,
    }
    let all_known = after.values().all(|known| known.certainty.is_some());
    Ok(if all_known { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What is known about a server, and the image of its container.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Known {
    /// Whether its answer is certain; `None` if there is none.
    certainty: Option<bool>,
    image: String,
}

/// The numbers of certain, likely and unknown servers.
fn tally(servers: &BTreeMap<ServerKey, Known>) -> String {
    let of = |certainty| servers.values().filter(|known| known.certainty == certainty).count();
    format!("{} certain, {} likely, {} unknown", of(Some(true)), of(Some(false)), of(None))
}

/// Reads the configs of images from their registries. Unreadable images are reported, and their servers are measured.
async fn read_images(args: &Args, names: BTreeSet<String>) -> Vec<ImageFact> {
    let images = args.images.read_names(names).await;
    for error in &images.errors {
        note_line!("{}: {}", error.place, error.message);
    }
    let fact = |(image, facts): (String, ImageFacts)| ImageFact {
        image,
        facts,
        source: format!("linkerd-linger {}, its registry", env!("CARGO_PKG_VERSION")),
        date: today(),
    };
    images.facts.into_iter().map(fact).collect()
}

/// The servers that HTTP probes of injected workloads use, and what is known about them.
async fn servers(
    cluster: &Cluster,
    namespace: Option<&str>,
    policy: &Policy,
) -> anyhow::Result<BTreeMap<ServerKey, Known>> {
    let (path, what) = match namespace {
        Some(name) => {
            (format!("/api/v1/namespaces/{name}/pods"), format!("list pods in the namespace {name}"))
        }
        None => ("/api/v1/pods".to_owned(), "list pods".to_owned()),
    };
    let params = ListParams::default().labels(INJECTED).fields(NOT_COMPLETED);
    let context = Context { known_images: Arc::clone(&policy.facts.index), ..Context::default() };
    let today = today();
    let mut servers_to_measure = BTreeMap::new();
    cluster
        .pages(&path, params, &what, |pods: Vec<Box<RawValue>>| {
            for pod in &pods {
                let Ok(object) = Object::read_as(Kind::Pod, pod.get()) else { continue };
                let Some((kind, name)) = object.workload() else { continue };
                let namespace = object.namespace.as_deref().unwrap_or_default();
                let judgement = judge(&object, namespace, &context, policy, today, Injection::Completed);
                let survey = &judgement.survey;
                for used in survey.probes.iter().filter(|used| used.transport.is_pooled()) {
                    let (Some(app), Some(port)) = (survey.apps.get(used.answered_by), used.probe.port) else {
                        continue;
                    };
                    let evidence = app.detected.at(Some(port)).idle.evidence();
                    let server = ServerKey {
                        namespace: namespace.to_owned(),
                        kind: kind.to_owned(),
                        name: name.to_owned(),
                        container: app.container.name.to_string(),
                        port,
                    };
                    let certainty = evidence.map(|evidence| evidence.certainty.is_certain());
                    servers_to_measure
                        .insert(server, Known { certainty, image: app.container.image.to_string() });
                }
            }
        })
        .await?;
    Ok(servers_to_measure)
}

/// Asks on a terminal whether to measure.
fn agree(args: &Args, unknown: &[ServerKey]) -> anyhow::Result<()> {
    if args.yes {
        return Ok(());
    }
    note_line!(
        "will measure these servers, with {CONNECTIONS} connections and one GET on each, for at most {}:",
        duration::format(args.max)
    );
    for servers_to_measure in unknown {
        note_line!("  {}", servers_to_measure.describe());
    }
    if !stdin().is_terminal() || !stderr().is_terminal() {
        bail!(
            "nothing was measured: stdin is not a terminal, so the prompt cannot be answered; use --yes to \
             measure without a prompt"
        );
    }
    note!("measure {}? [y/N] ", count(unknown.len(), "server"));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was measured");
    }
    Ok(())
}

/// Measures servers, several workloads concurrently. Returns the facts, and the servers that are still unknown with the
/// reasons.
async fn measure(
    cluster: &Cluster,
    args: &Args,
    unknown: Vec<ServerKey>,
) -> (Vec<ServerFact>, Vec<(ServerKey, String)>) {
    let limit = Arc::new(Semaphore::new(MAX_CONCURRENT));
    let all = unknown.len();
    let mut tasks = JoinSet::new();
    for servers_to_measure in unknown {
        let (cluster, limit, max) = (cluster.clone(), Arc::clone(&limit), args.max);
        tasks.spawn_local(async move {
            let _permit = limit.acquire().await;
            let fact = measure_one(&cluster, &servers_to_measure, max).await;
            (servers_to_measure, fact)
        });
    }
    let (mut learnt, mut failed) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((_, Ok(fact))) => learnt.push(fact),
            Ok((servers_to_measure, Err(why))) => failed.push((servers_to_measure, why)),
            // A panic affects only one server, whose name is lost.
            Err(error) => note_line!("error: {error}"),
        }
        if stderr().is_terminal() {
            let end = if learnt.len() + failed.len() == all { "\r\x1b[K" } else { "" };
            note!("\r\x1b[K{} of {all} measured{end}", learnt.len() + failed.len());
        }
    }
    failed.sort();
    (learnt, failed)
}

async fn measure_one(
    cluster: &Cluster,
    servers_to_measure: &ServerKey,
    max: Duration,
) -> Result<ServerFact, String> {
    let text = format!("{}/{}", servers_to_measure.kind.to_lowercase(), servers_to_measure.name);
    let workload = Workload::parse(&text)?;
    let found = target::servers(
        cluster,
        &servers_to_measure.namespace,
        &workload,
        Some(servers_to_measure.port),
        None,
        today(),
    )
    .await;
    let found = found.map_err(|error| error.to_string())?;
    let server = found.iter().find(|server| server.container == servers_to_measure.container);
    let server = server.ok_or("its pods no longer have this container")?;
    let protocol = Protocol::Http1;
    let settings = Settings { connections: CONNECTIONS, max, protocol, ended: Arc::default() };
    let measurement = run::server(cluster, &servers_to_measure.namespace, &workload, server, &settings).await;
    match measurement.behaviour() {
        Ok(behaviour) => facts::fact(&servers_to_measure.namespace, &workload, server, &measurement, today())
            .ok_or_else(|| behaviour.describe()),
        Err(error) => Err(error.to_string()),
    }
}
