//! The run: every server is measured in each round, so that what else the machine does meets all of them.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::{
    build,
    client::{Client, Request},
    docs,
    files::{self, Measured},
    load::{self, Round},
    process::{Cores, Files, Program, Server, pin},
    report::{Kind, Load, Memory, Ready, Report},
    reviews,
};

/// What to measure, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Short rounds, to see that all of it works.
    #[arg(long)]
    quick: bool,
    /// How many rounds: medians of them are reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one round of one server is, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections of the closed loop.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32, 256])]
    connections: Vec<usize>,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::value_variants().to_vec())]
    parts: Vec<Part>,
    /// Measure only these servers.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// The program of linkerd-linger; without it, a release is built.
    #[arg(long, value_name = "FILE")]
    linger: Option<PathBuf>,
    /// Write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write docs/performance.md.
    #[arg(long)]
    docs: bool,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// Reviews of 9 KiB in a closed loop.
    Throughput,
    /// 500 reviews per second.
    Latency,
    /// New TLS connections.
    Connections,
    /// Reviews of 2 KiB to 3 MiB.
    Sizes,
    /// Resident memory.
    Memory,
    /// The time to the first answer.
    Start,
    /// `lint` and kube-score.
    Lint,
    /// `explain`.
    Explain,
}

/// As many kept connections as an API server under load has.
const POOL: usize = 8;

/// The rate of the open loop.
const PER_SECOND: u32 = 500;

struct Bench<'a> {
    args: &'a Args,
    linger: PathBuf,
    programs: Vec<Program>,
    files: Files,
    cores: Cores,
    client: Client,
    first: Request,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let linger = args.linger.clone().map_or_else(build::linger, Ok)?;
    let linger = fs::canonicalize(&linger).with_context(|| format!("cannot find {}", linger.display()))?;
    let programs = build::servers(&linger, &args.servers)?;
    let cores = Cores::find()?;
    pin(&[cores.client])?;
    let files = Files::make()?;
    let client = Client::new(&files.certificate())?;
    let first = Request::review(&reviews::of_size(reviews::COMMON)?);
    let bench = Bench { args, linger, programs, files, cores, client, first };
    let mut report = Report::new(args.quick);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bench.loads(&mut report))?;
    bench.commands(&mut report)?;
    report.judge();
    print!("{}", report.tables());
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.docs {
        docs::write(&report)?;
    }
    Ok(())
}

impl Bench<'_> {
    fn has(&self, part: Part) -> bool {
        self.args.parts.contains(&part)
    }

    fn round(&self) -> Duration {
        if self.args.quick { Duration::from_millis(200) } else { Duration::from_secs_f64(self.args.seconds) }
    }

    fn rounds(&self) -> usize {
        if self.args.quick { 1 } else { self.args.rounds.max(1) }
    }

    async fn loads(&self, report: &mut Report) -> anyhow::Result<()> {
        if [Part::Throughput, Part::Latency, Part::Connections, Part::Sizes]
            .iter()
            .any(|part| self.has(*part))
        {
            let mut servers = Vec::new();
            for program in &self.programs {
                servers.push(self.start(program).await?);
            }
            self.verify(&servers).await?;
            if self.has(Part::Throughput) {
                for &connections in &self.args.connections {
                    report.loads.extend(self.closed_loop(&servers, connections, reviews::COMMON).await?);
                }
            }
            if self.has(Part::Sizes) {
                for size in reviews::SIZES {
                    // What the throughput has measured is not measured again.
                    let load = |load: &Load| {
                        (load.kind, load.connections, load.body_bytes) == (Kind::ClosedLoop, POOL, size)
                    };
                    if !report.loads.iter().any(load) {
                        report.loads.extend(self.closed_loop(&servers, POOL, size).await?);
                    }
                }
            }
            if self.has(Part::Latency) {
                report.loads.extend(self.open_loop(&servers).await?);
            }
            if self.has(Part::Connections) {
                report.loads.extend(self.new_connections(&servers).await?);
            }
        }
        for program in &self.programs {
            if self.has(Part::Memory) {
                report.memory.push(self.memory(program).await?);
            }
        }
        if self.has(Part::Start) {
            report.ready = self.ready().await?;
        }
        Ok(())
    }

    async fn start(&self, program: &Program) -> anyhow::Result<Server> {
        Server::start(program, &self.files, self.cores, &self.client, &self.first).await
    }

    /// The comparison is fair only if all webhooks make the same change.
    async fn verify(&self, servers: &[Server]) -> anyhow::Result<()> {
        for size in reviews::SIZES {
            let review = reviews::of_size(size)?;
            let mut changes = BTreeMap::new();
            for server in servers.iter().filter(|server| server.name != "echo") {
                let mut connection = self.client.connect(server.address).await?;
                let response = connection.send(&Request::review(&review)).await?;
                let whose = || format!("the answer of {} to a review of {size} bytes", server.name);
                ensure!(response.status == 200, "{}: status {}", whose(), response.status);
                let change = reviews::patched_init_container(&review, response.body).with_context(whose)?;
                changes.insert(server.name, change);
            }
            let one = changes.values().next();
            ensure!(
                changes.values().all(|change| Some(change) == one),
                "the webhooks change a pod of {size} bytes differently: {changes:#?}"
            );
        }
        Ok(())
    }

    async fn closed_loop(
        &self,
        servers: &[Server],
        connections: usize,
        size: usize,
    ) -> anyhow::Result<Vec<Load>> {
        eprintln!("closed loop: {connections} connections, {size} bytes");
        let request = Request::review(&reviews::of_size(size)?);
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); servers.len()];
        for _ in 0..self.rounds() {
            for (server, rounds) in servers.iter().zip(&mut rounds) {
                let what = || format!("the closed loop of {}, {size} bytes", server.name);
                let mut kept = load::connect(&self.client, server.address, connections).await?;
                let round = load::closed_loop(server, &mut kept, &request, self.round()).await;
                rounds.push(round.with_context(what)?);
            }
        }
        Ok(loads(Kind::ClosedLoop, servers, connections, size, &rounds))
    }

    async fn open_loop(&self, servers: &[Server]) -> anyhow::Result<Vec<Load>> {
        eprintln!("open loop: {PER_SECOND} reviews per second");
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); servers.len()];
        for _ in 0..self.rounds() {
            for (server, rounds) in servers.iter().zip(&mut rounds) {
                let mut kept = load::connect(&self.client, server.address, POOL).await?;
                let length = self.round();
                let round = load::open_loop(server, &mut kept, &self.first, PER_SECOND, length).await;
                rounds.push(round.with_context(|| format!("the open loop of {}", server.name))?);
            }
        }
        Ok(loads(Kind::OpenLoop, servers, POOL, reviews::COMMON, &rounds))
    }

    async fn new_connections(&self, servers: &[Server]) -> anyhow::Result<Vec<Load>> {
        eprintln!("new connections");
        let size = 2 << 10;
        let request = Request::review(&reviews::of_size(size)?);
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); servers.len()];
        for _ in 0..self.rounds() {
            for (server, rounds) in servers.iter().zip(&mut rounds) {
                let round = load::new_connections(server, &self.client, POOL, &request, self.round()).await;
                rounds.push(round.with_context(|| format!("new connections to {}", server.name))?);
            }
        }
        Ok(loads(Kind::NewConnections, servers, POOL, size, &rounds))
    }

    async fn memory(&self, program: &Program) -> anyhow::Result<Memory> {
        eprintln!("memory of {}", program.name);
        let pause = Duration::from_secs(1);
        let server = self.start(program).await?;
        tokio::time::sleep(pause).await;
        let idle_mb = server.resident()?.0;
        let mut kept = load::connect(&self.client, server.address, 256).await?;
        load::closed_loop(&server, &mut kept, &self.first, self.round()).await?;
        let connections_mb = server.resident()?.1;
        drop((kept, server));
        // Eight tasks, each of which sends one body.
        let server = self.start(program).await?;
        let largest = Request::review(&reviews::of_size(7 << 20)?);
        let mut kept = load::connect(&self.client, server.address, 8).await?;
        load::once(&mut kept, &largest)
            .await
            .with_context(|| format!("bodies of 7 MiB to {}", program.name))?;
        tokio::time::sleep(pause).await;
        let (after_bodies_mb, bodies_mb) = server.resident()?;
        Ok(Memory { server: program.name, idle_mb, connections_mb, after_bodies_mb, bodies_mb })
    }

    async fn ready(&self) -> anyhow::Result<Vec<Ready>> {
        eprintln!("starts");
        let starts = if self.args.quick { 1 } else { 11 };
        let mut took = vec![Vec::new(); self.programs.len()];
        for _ in 0..starts {
            for (program, took) in self.programs.iter().zip(&mut took) {
                took.push(self.start(program).await?.ready);
            }
        }
        Ok(self.programs.iter().zip(took).map(|(program, took)| Ready::of(program.name, &took)).collect())
    }

    fn commands(&self, report: &mut Report) -> anyhow::Result<()> {
        let all_cores = [self.cores.server, self.cores.client];
        let rounds = self.rounds().min(3);
        if self.has(Part::Lint) {
            let kube_score = build::go("kube-score", &["github.com/zegl/kube-score/cmd/kube-score"])?;
            for count in if self.args.quick { vec![100] } else { vec![1_000, 10_000] } {
                let folder = tempfile::tempdir()?;
                let paths = files::write(folder.path(), count)?;
                let lint = Measured {
                    name: "lint",
                    program: self.linger.clone(),
                    args: vec!["lint".into(), folder.path().to_owned()],
                };
                let score = Measured {
                    name: "kube-score",
                    program: kube_score.join("kube-score"),
                    args: ["score".into()].into_iter().chain(paths).collect(),
                };
                eprintln!("lint and kube-score: {count} files");
                for cores in [&all_cores[..], &all_cores[..1]] {
                    report.commands.extend(files::measure(&[&lint, &score], count, cores, rounds)?);
                }
            }
        }
        if self.has(Part::Explain) {
            let count = if self.args.quick { 100 } else { 1_000 };
            let folder = tempfile::tempdir()?;
            files::write(folder.path(), count)?;
            let args = vec!["explain".into(), folder.path().to_owned()];
            let explain = Measured { name: "explain", program: self.linger.clone(), args };
            report.commands.extend(files::measure(&[&explain], count, &all_cores[..1], rounds)?);
        }
        Ok(())
    }
}

fn loads(
    kind: Kind,
    servers: &[Server],
    connections: usize,
    size: usize,
    rounds: &[Vec<Round>],
) -> Vec<Load> {
    let of_server =
        |(server, rounds): (&Server, &Vec<Round>)| Load::of(kind, server.name, connections, size, rounds);
    servers.iter().zip(rounds).map(of_server).collect()
}
