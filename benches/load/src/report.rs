//! What a run found: as JSON, and as tables.

use std::{collections::BTreeMap, fmt::Write as _, fs, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use crate::load::Round;

/// A run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub date: String,
    pub machine: Machine,
    /// Short rounds, which only show that all of it works.
    pub quick: bool,
    pub loads: Vec<Load>,
    pub memory: Vec<Memory>,
    pub ready: Vec<Ready>,
    pub commands: Vec<Command>,
    pub goals: Vec<Goal>,
}

/// Where it ran.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gb: f64,
    pub kernel: String,
    /// Of the last minute, when the run began.
    pub load_average: f64,
}

/// How requests came.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    ClosedLoop,
    OpenLoop,
    NewConnections,
}

/// What came out of one load on one server: medians over the rounds.
#[derive(Debug, Serialize)]
pub struct Load {
    pub kind: Kind,
    pub server: &'static str,
    pub connections: usize,
    pub body_bytes: usize,
    pub rounds: usize,
    pub requests_per_second: f64,
    /// Requests per second of the server's processor time: its throughput on a core that it has for itself.
    pub requests_per_core_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
}

impl Load {
    pub fn of(
        kind: Kind,
        server: &'static str,
        connections: usize,
        body_bytes: usize,
        rounds: &[Round],
    ) -> Self {
        let each = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().map(value));
        // Of all rounds together: the kernel tells the processor time in steps of 10 ms, and noise does not move it.
        let requests: u64 = rounds.iter().map(|round| round.requests).sum();
        let processor: Duration = rounds.iter().map(|round| round.processor).sum();
        let quantile =
            |quantile| each(&|round: &Round| round.latency.value_at_quantile(quantile) as f64 / 1e3);
        Self {
            kind,
            server,
            connections,
            body_bytes,
            rounds: rounds.len(),
            requests_per_second: each(&|round| round.requests as f64 / round.took.as_secs_f64()),
            requests_per_core_second: requests as f64 / processor.as_secs_f64(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
        }
    }

    fn same_load(&self, other: &Self) -> bool {
        let of = |load: &Self| (load.kind, load.connections, load.body_bytes);
        of(self) == of(other)
    }

    fn title(&self) -> String {
        let size = bytes(self.body_bytes);
        match self.kind {
            Kind::ClosedLoop => format!("Closed loop, {} connections, reviews of {size}", self.connections),
            Kind::OpenLoop => format!("Open loop, 500 requests per second, reviews of {size}"),
            Kind::NewConnections => {
                format!("A new TLS connection for each review of {size}, {} at once", self.connections)
            }
        }
    }
}

/// The resident memory of a server, in MB of 10^6 bytes.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub server: &'static str,
    pub idle_mb: f64,
    /// The peak under a closed loop of 256 connections.
    pub connections_mb: f64,
    /// A second after eight bodies of 7 MiB at once.
    pub after_bodies_mb: f64,
    /// The peak while they were answered.
    pub bodies_mb: f64,
}

/// From the start of a server to its answer to the first review.
#[derive(Debug, Serialize)]
pub struct Ready {
    pub server: &'static str,
    pub starts: usize,
    pub median_ms: f64,
    pub fastest_ms: f64,
}

impl Ready {
    pub fn of(server: &'static str, starts: &[Duration]) -> Self {
        let ms = || starts.iter().map(|start| start.as_secs_f64() * 1e3);
        let fastest_ms = ms().fold(f64::INFINITY, f64::min);
        Self { server, starts: starts.len(), median_ms: median(ms()), fastest_ms }
    }
}

/// A command over files.
#[derive(Debug, Serialize)]
pub struct Command {
    pub command: &'static str,
    pub files: usize,
    pub cores: usize,
    pub rounds: usize,
    /// Whether it was stopped at the limit, so that the times are lower bounds.
    pub stopped: bool,
    pub seconds: f64,
    /// The processor time of all cores.
    pub core_seconds: f64,
}

/// A goal, and whether this run meets it.
#[derive(Debug, Serialize)]
pub struct Goal {
    pub goal: String,
    pub value: f64,
    pub met: bool,
}

/// The value in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

fn bytes(count: usize) -> String {
    if count >= 1 << 20 { format!("{} MiB", count >> 20) } else { format!("{} KiB", count >> 10) }
}

impl Machine {
    fn read() -> Self {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&file("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let processors = file("/proc/cpuinfo");
        let load = file("/proc/loadavg");
        Self {
            processor: field(&processors, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gb: kib * 1024.0 / 1e9,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        }
    }
}

/// A table of Markdown, which a terminal shows as well.
fn table(out: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:0$}", width(column)),
            _ => format!("{cell:>0$}", width(column)),
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    out.push_str(&line(head.to_vec()));
    let rule = (0..head.len()).map(|column| match column {
        0 => "-".repeat(width(column)),
        _ => format!("{}:", "-".repeat(width(column) - 1)),
    });
    let _ = writeln!(out, "| {} |", rule.collect::<Vec<_>>().join(" | "));
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
}

const OURS: &str = "linkerd-linger";

impl Report {
    pub fn new(quick: bool) -> Self {
        Self {
            date: Timestamp::now().strftime("%Y-%m-%d").to_string(),
            machine: Machine::read(),
            quick,
            loads: Vec::new(),
            memory: Vec::new(),
            ready: Vec::new(),
            commands: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// Judges the run by the goals, as far as it measured what they are about.
    pub fn judge(&mut self) {
        let mut goals = Vec::new();
        let mut at_least = |goal: &str, value: Option<f64>, limit: f64| {
            let goal = |value| Goal { goal: format!("{goal}: at least {limit}"), value, met: value >= limit };
            goals.extend(value.map(goal));
        };
        let common = |kind, server| {
            self.loads.iter().find(|load| {
                (load.kind, load.server, load.connections, load.body_bytes)
                    == (kind, server, 8, crate::reviews::COMMON)
            })
        };
        let throughput = |other| {
            let of = |server| Some(common(Kind::ClosedLoop, server)?.requests_per_core_second);
            Some(of(OURS)? / of(other)?)
        };
        at_least("reviews per core against the lean parse, 9 KiB", throughput("lean"), 0.85);
        at_least("reviews per core against Go's net/http, 9 KiB", throughput("net-http"), 6.0);
        let seconds = |command: &str, cores: &dyn Fn(usize) -> bool| {
            let of = |it: &&Command| it.command == command && it.files == 10_000 && cores(it.cores);
            self.commands.iter().find(of).map(|it| it.seconds)
        };
        let lint =
            |cores: &dyn Fn(usize) -> bool| Some(seconds("kube-score", cores)? / seconds("lint", cores)?);
        at_least("speed of `lint` against kube-score, all cores", lint(&|cores| cores > 1), 10.0);
        at_least("speed of `lint` against kube-score, one core", lint(&|cores| cores == 1), 5.0);

        let mut at_most = |goal: &str, value: Option<f64>, limit: f64| {
            let goal = |value| Goal { goal: format!("{goal}: at most {limit}"), value, met: value <= limit };
            goals.extend(value.map(goal));
        };
        let p99 = |server| Some(common(Kind::OpenLoop, server)?.p99_us);
        let against_echo = || Some(p99(OURS)? / p99("echo")?);
        at_most("99th percentile at 500 reviews per second against the echo", against_echo(), 1.5);
        let memory = self.memory.iter().find(|memory| memory.server == OURS);
        at_most("MB resident, idle", memory.map(|memory| memory.idle_mb), 12.0);
        at_most("MB resident, 256 connections", memory.map(|memory| memory.connections_mb), 16.0);
        at_most(
            "MB resident, after eight bodies of 7 MiB",
            memory.map(|memory| memory.after_bodies_mb),
            40.0,
        );
        let ready = self.ready.iter().find(|ready| ready.server == OURS);
        at_most("ms from the start to the first answer", ready.map(|ready| ready.median_ms), 50.0);
        let per_byte = |size| {
            let of =
                |load: &&Load| (load.kind, load.server, load.body_bytes) == (Kind::ClosedLoop, OURS, size);
            let load = self.loads.iter().filter(of).min_by_key(|load| load.connections.abs_diff(8))?;
            Some(1.0 / load.requests_per_core_second / size as f64)
        };
        let linear = || Some(per_byte(3 << 20)? / per_byte(100 << 10)?);
        at_most("processor time per byte, 3 MiB against 100 KiB", linear(), 1.2);
        self.goals = goals;
    }

    /// All tables.
    pub fn tables(&self) -> String {
        let mut out = String::new();
        let Machine { processor, cores, kernel, load_average, memory_gb } = &self.machine;
        let _ = writeln!(
            out,
            "{}, {processor}, {cores} cores, {memory_gb:.0} GB, Linux {kernel}; load average at the start {load_average:.1}.",
            self.date
        );
        if self.quick {
            out.push_str("\nShort rounds: the numbers only show that all of it works.\n");
        }
        if !self.goals.is_empty() {
            out.push_str("\n## Goals\n\n");
            let row = |goal: &Goal| {
                let met = if goal.met { "yes" } else { "no" };
                vec![goal.goal.clone(), format!("{:.2}", goal.value), met.to_owned()]
            };
            table(&mut out, &["goal", "measured", "met"], &self.goals.iter().map(row).collect::<Vec<_>>());
        }
        self.loads_to(&mut out);
        if !self.memory.is_empty() {
            out.push_str("\n## Memory\n\nResident, in MB of 10^6 bytes, each in a new process.\n\n");
            let row = |it: &Memory| {
                let numbers = [it.idle_mb, it.connections_mb, it.after_bodies_mb, it.bodies_mb];
                [it.server.to_owned()].into_iter().chain(numbers.map(|mb| format!("{mb:.1}"))).collect()
            };
            let head =
                ["server", "idle", "peak, 256 connections", "after 8 bodies of 7 MiB", "peak, 8 bodies"];
            table(&mut out, &head, &self.memory.iter().map(row).collect::<Vec<_>>());
        }
        if !self.ready.is_empty() {
            out.push_str(
                "\n## Start\n\nFrom the start of the process to its answer to the first review, in ms.\n\n",
            );
            let row = |it: &Ready| {
                let ms = [it.median_ms, it.fastest_ms].map(|ms| format!("{ms:.1}"));
                [it.server.to_owned(), it.starts.to_string()].into_iter().chain(ms).collect()
            };
            table(
                &mut out,
                &["server", "starts", "median", "fastest"],
                &self.ready.iter().map(row).collect::<Vec<_>>(),
            );
        }
        self.commands_to(&mut out);
        out
    }

    fn loads_to(&self, out: &mut String) {
        let mut last = None;
        for (at, load) in self.loads.iter().enumerate() {
            if self.loads[..at].iter().any(|before| before.same_load(load)) {
                continue;
            }
            if last != Some(load.kind) {
                out.push_str(match load.kind {
                    Kind::ClosedLoop => "\n## Throughput\n",
                    Kind::OpenLoop => "\n## Latency\n",
                    Kind::NewConnections => "\n## New connections\n",
                });
                last = Some(load.kind);
            }
            let _ = writeln!(out, "\n{}; medians of {} rounds.\n", load.title(), load.rounds);
            let ours = self.loads.iter().find(|it| it.same_load(load) && it.server == OURS);
            let row = |it: &Load| {
                let ratio =
                    ours.map_or(f64::NAN, |ours| ours.requests_per_core_second / it.requests_per_core_second);
                let precise = if it.requests_per_core_second < 100.0 { 1 } else { 0 };
                vec![
                    it.server.to_owned(),
                    format!("{:.precise$}", it.requests_per_second),
                    format!("{:.precise$}", it.requests_per_core_second),
                    format!("{ratio:.2}"),
                    format!("{:.0}", it.p50_us),
                    format!("{:.0}", it.p99_us),
                    format!("{:.0}", it.p999_us),
                ]
            };
            let rows: Vec<_> = self.loads.iter().filter(|it| it.same_load(load)).map(row).collect();
            let head =
                ["server", "per second", "per core-second", "ours / this", "p50 us", "p99 us", "p99.9 us"];
            table(out, &head, &rows);
        }
    }

    fn commands_to(&self, out: &mut String) {
        let mut groups = BTreeMap::<_, Vec<_>>::new();
        for it in &self.commands {
            groups.entry((it.command == "explain", it.files, it.cores)).or_default().push(it);
        }
        for ((explain, files, cores), group) in groups {
            let title = if explain { "Explain" } else { "Lint" };
            let _ = writeln!(out, "\n## {title}, {files} files, {cores} cores\n");
            let ours = group.iter().find(|it| it.command != "kube-score").map(|it| it.seconds);
            let row = |it: &&Command| {
                let ratio = ours.map_or(f64::NAN, |ours| it.seconds / ours);
                let more = if it.stopped { "> " } else { "" };
                let per_container = it.core_seconds / (it.files * crate::files::CONTAINERS) as f64 * 1e6;
                vec![
                    it.command.to_owned(),
                    format!("{more}{:.3}", it.seconds),
                    format!("{more}{:.3}", it.core_seconds),
                    format!("{more}{ratio:.1}"),
                    format!("{more}{per_container:.1}"),
                ]
            };
            let head = ["command", "seconds", "core-seconds", "this / ours", "core-us per container"];
            table(out, &head, &group.iter().map(row).collect::<Vec<_>>());
        }
    }
}
