//! A relay between `linkerd-linger measure` and a server, which records when the server closes each connection.
//!
//! Both measure the same connections, so they must agree even for a server whose timeouts vary.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::measure::{Closed, end, ends_with_the_connection};

/// How long the end of a connection may take to arrive here once one side has ended it.
const ARRIVAL: Duration = Duration::from_secs(5);
/// A client may end a connection before the server does so as it has announced with `Connection: close`.
const ANNOUNCED: Duration = Duration::from_millis(500);

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Idle(Closed),
    /// There was no whole response.
    NoResponse,
}

/// What was seen of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// When the last byte of the response came.
    responded: Option<Instant>,
    end: Option<End>,
}

/// The connections in the order in which they were opened.
#[derive(Debug, Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    changed: Condvar,
}

impl Log {
    fn note(&self, number: usize, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap()[number]);
        self.changed.notify_all();
    }

    /// The client has ended the connection: unless the server does so as well, it was open until now.
    fn client_ended(&self, number: usize) {
        let now = Instant::now();
        self.note(number, |seen| {
            if seen.responded.is_none() {
                seen.end.get_or_insert(End::NoResponse);
            }
        });
        let seen = self.seen.lock().unwrap();
        let open = |seen: &mut Vec<Seen>| seen[number].end.is_none();
        let (mut seen, _) = self.changed.wait_timeout_while(seen, ANNOUNCED, open).unwrap();
        if let Some(responded) = seen[number].responded {
            seen[number].end.get_or_insert(End::Idle(Closed::Open(now - responded)));
        }
        self.changed.notify_all();
    }

    /// The server has ended the connection, after these bytes.
    fn server_ended(&self, number: usize, bytes: &[u8]) {
        self.note(number, |seen| {
            let end = match seen.responded {
                Some(responded) => End::Idle(Closed::After(responded.elapsed())),
                None if ends_with_the_connection(bytes) => End::Idle(Closed::After(Duration::ZERO)),
                None => End::NoResponse,
            };
            seen.end.get_or_insert(end);
        });
    }
}

/// Accepts connections until it is dropped.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    log: Arc<Log>,
    finished: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let (log, finished) = (Arc::<Log>::default(), Arc::<AtomicBool>::default());
        let accepting = thread::spawn({
            let (log, finished) = (Arc::clone(&log), Arc::clone(&finished));
            move || {
                for client in listener.incoming().flatten() {
                    if finished.load(Ordering::Relaxed) {
                        return;
                    }
                    // Without a server, the client sees the end of its connection.
                    let _ = forward(client, server, &log);
                }
            }
        });
        Ok(Self { addr, log, finished, accepting: Some(accepting) })
    }

    /// How the first connections ended; fewer, if others did not.
    pub(crate) fn ends(&self, connections: usize) -> Vec<End> {
        let all = |seen: &mut Vec<Seen>| {
            seen.len() >= connections && seen.iter().take(connections).all(|seen| seen.end.is_some())
        };
        let seen = self.log.seen.lock().unwrap();
        let (seen, _) = self.log.changed.wait_timeout_while(seen, ARRIVAL, |seen| !all(seen)).unwrap();
        seen.iter().take(connections).filter_map(|seen| seen.end).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.finished.store(true, Ordering::Relaxed);
        // A connection wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Copies both ways until both sides have ended; the threads end with the server at the latest.
fn forward(client: TcpStream, server: SocketAddr, log: &Arc<Log>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let number = {
        let mut seen = log.seen.lock().unwrap();
        seen.push(Seen::default());
        seen.len() - 1
    };
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn({
        let log = Arc::clone(log);
        move || {
            let _ = io::copy(&mut from_client, &mut to_server);
            log.client_ended(number);
            let _ = to_server.shutdown(Shutdown::Write);
        }
    });
    let log = Arc::clone(log);
    thread::spawn(move || respond(server, client, number, &log));
    Ok(())
}

/// Copies the response, and notes its end and that of the connection.
fn respond(mut server: TcpStream, mut client: TcpStream, number: usize, log: &Log) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    // A reset is an end as well.
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
        if let Ok(Some(_)) = end(&bytes) {
            log.note(number, |seen| _ = seen.responded.get_or_insert_with(Instant::now));
        }
        // A client that is gone leaves the rest to the server.
        let _ = client.write_all(&buffer[..length]);
    }
    log.server_ended(number, &bytes);
    let _ = client.shutdown(Shutdown::Write);
}
