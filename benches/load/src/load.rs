//! Load on a server: closed loops, an open loop, and new connections.
//!
//! In a closed loop each connection sends its next request after the answer. In the open loop requests come at a fixed
//! rate, and a latency runs from the moment at which the request was due: a server that stalls is charged for all
//! requests that wait for it.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::ensure;
use hdrhistogram::Histogram;
use rustix::{
    fs::Timespec,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};
use tokio::{net::unix::pipe, task::JoinSet};

use crate::{
    client::{Client, Connection, Request},
    process::Server,
};

/// What came out of one round.
#[derive(Clone, Debug)]
pub struct Round {
    pub requests: u64,
    pub took: Duration,
    /// The processor time of the server.
    pub processor: Duration,
    /// In nanoseconds.
    pub latency: Histogram<u64>,
}

/// Latencies from 1 us to a minute, at three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are in order")
}

/// Opens connections that are kept.
pub async fn connect(client: &Client, address: SocketAddr, count: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(client.connect(address).await?);
    }
    Ok(connections)
}

async fn measured(
    server: &Server,
    load: impl Future<Output = anyhow::Result<Histogram<u64>>>,
) -> anyhow::Result<Round> {
    let (start, before) = (Instant::now(), server.processor_time()?);
    let latency = load.await?;
    let (took, processor) = (start.elapsed(), server.processor_time()?.saturating_sub(before));
    Ok(Round { requests: latency.len(), took, processor, latency })
}

/// Sends on all connections at once for this long, after a tenth of it to warm up.
pub async fn closed_loop(
    server: &Server,
    connections: &mut Vec<Connection>,
    request: &Request,
    length: Duration,
) -> anyhow::Result<Round> {
    send_until(connections, request, Instant::now() + length / 10).await?;
    measured(server, send_until(connections, request, Instant::now() + length)).await
}

async fn send_until(
    connections: &mut Vec<Connection>,
    request: &Request,
    end: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut loops = JoinSet::new();
    for mut connection in connections.drain(..) {
        let request = request.clone();
        loops.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let start = Instant::now();
                answered(&mut connection, &request).await?;
                let now = Instant::now();
                latencies.push(now - start);
                if now >= end {
                    return anyhow::Ok((connection, latencies));
                }
            }
        });
    }
    let mut all = histogram();
    while let Some(ended) = loops.join_next().await {
        let (connection, latencies) = ended??;
        connections.push(connection);
        latencies.into_iter().for_each(|latency| all.saturating_record(nanoseconds(latency)));
    }
    Ok(all)
}

/// Sends one request on each connection, all at once.
pub async fn once(connections: &mut Vec<Connection>, request: &Request) -> anyhow::Result<()> {
    send_until(connections, request, Instant::now()).await.map(drop)
}

async fn answered(connection: &mut Connection, request: &Request) -> anyhow::Result<()> {
    let response = connection.send(request).await?;
    ensure!(response.status == 200, "status {}", response.status);
    Ok(())
}

fn nanoseconds(latency: Duration) -> u64 {
    u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)
}

/// Opens a connection for each request, from this many tasks at once, for this long.
pub async fn new_connections(
    server: &Server,
    client: &Client,
    tasks: usize,
    request: &Request,
    length: Duration,
) -> anyhow::Result<Round> {
    let end = Instant::now() + length;
    measured(server, async {
        let mut loops = JoinSet::new();
        for _ in 0..tasks {
            let (client, request, address) = (client.clone(), request.clone(), server.address);
            loops.spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let start = Instant::now();
                    let mut connection = client.connect(address).await?;
                    answered(&mut connection, &request).await?;
                    connection.close().await?;
                    latencies.push(start.elapsed());
                }
                anyhow::Ok(latencies)
            });
        }
        let mut all = histogram();
        while let Some(ended) = loops.join_next().await {
            ended??.into_iter().for_each(|latency| all.saturating_record(nanoseconds(latency)));
        }
        Ok(all)
    })
    .await
}

/// Sends at this rate for this long. A request takes the connection that was used last, as Go's clients do, or waits for
/// one.
pub async fn open_loop(
    server: &Server,
    connections: &mut Vec<Connection>,
    request: &Request,
    per_second: u32,
    length: Duration,
) -> anyhow::Result<Round> {
    measured(server, async {
        let requests = (length.as_secs_f64() * f64::from(per_second)) as u64;
        let period = Duration::from_secs(1) / per_second;
        let mut ticks = Ticks::start(period)?;
        let (mut sent, mut due) = (0, VecDeque::new());
        let (mut in_flight, mut all) = (JoinSet::new(), histogram());
        while all.len() < requests {
            tokio::select! {
                more = ticks.next(), if sent < requests => {
                    for _ in 0..more?.min(requests - sent) {
                        sent += 1;
                        due.push_back(ticks.started + period * u32::try_from(sent)?);
                    }
                }
                Some(ended) = in_flight.join_next() => {
                    let (connection, latency) = ended??;
                    all.saturating_record(nanoseconds(latency));
                    connections.push(connection);
                }
            }
            while let Some(mut connection) = connections.pop_if(|_| !due.is_empty()) {
                let (request, due) = (request.clone(), due.pop_front().unwrap_or_else(Instant::now));
                in_flight.spawn(async move {
                    answered(&mut connection, &request).await?;
                    anyhow::Ok((connection, due.elapsed()))
                });
            }
        }
        Ok(all)
    })
    .await
}

/// A timer of the kernel: those of tokio are rounded up to milliseconds. It is read as a pipe is, which is a file that
/// becomes ready.
struct Ticks {
    timer: pipe::Receiver,
    started: Instant,
}

impl Ticks {
    fn start(period: Duration) -> anyhow::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let period = Timespec::try_from(period)?;
        let timing = Itimerspec { it_interval: period, it_value: period };
        let started = Instant::now();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &timing)?;
        Ok(Self { timer: pipe::Receiver::from_owned_fd_unchecked(timer)?, started })
    }

    /// Waits for the next tick, and says how many there were since the last one.
    async fn next(&mut self) -> anyhow::Result<u64> {
        loop {
            self.timer.readable().await?;
            let mut count = [0; 8];
            match self.timer.try_read(&mut count) {
                Ok(_) => return Ok(u64::from_ne_bytes(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
