//! Measures with a plain socket when a server closes an idle connection, and whether this machine stalls meanwhile.
//!
//! Shares no code with the program under test, so that the two can be compared.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often a thread looks whether the machine stalls.
const TICK: Duration = Duration::from_millis(20);
/// What a thread wakes up too late on a machine that is not busy.
const JITTER: Duration = Duration::from_millis(5);

/// How long a server may take to answer one request.
const ANSWER: Duration = Duration::from_secs(20);

/// What became of an idle connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    /// The server closed it so long after the last byte of its response.
    After(Duration),
    /// It was still open so long after the last byte of the response.
    Open(Duration),
}

/// For how long this machine did not run a thread whose time had come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stall {
    /// At one time.
    pub(crate) longest: Duration,
    /// In all.
    pub(crate) total: Duration,
}

/// A thread that wakes up again and again, and notes how late.
pub(crate) struct StallWatch {
    finish: Sender<()>,
    thread: JoinHandle<Stall>,
}

impl StallWatch {
    pub(crate) fn start() -> Self {
        let (finish, finished) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let mut stall = Stall::default();
            loop {
                let start = Instant::now();
                if finished.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                    return stall;
                }
                let late = start.elapsed().saturating_sub(TICK + JITTER);
                stall.longest = stall.longest.max(late);
                stall.total += late;
            }
        });
        Self { finish, thread }
    }

    pub(crate) fn end(self) -> Stall {
        drop(self.finish);
        self.thread.join().unwrap()
    }
}

/// Measures several connections at the same time, which start to be idle after these milliseconds.
///
/// # Errors
///
/// When the server does not answer one of them.
pub(crate) fn samples(
    addr: SocketAddr,
    path: &str,
    max: Duration,
    offsets: &[u64],
) -> io::Result<Vec<Closed>> {
    thread::scope(|scope| {
        let (_keep, never) = mpsc::channel::<()>();
        let start = Instant::now();
        let mut threads = Vec::new();
        for offset in offsets {
            let _ = never.recv_timeout(Duration::from_millis(*offset).saturating_sub(start.elapsed()));
            threads.push(scope.spawn(move || independent(addr, path, max)));
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Sends one request, reads the response, and waits until the server closes the connection, but no longer than `max`.
///
/// # Errors
///
/// When the server does not answer with a whole response.
pub(crate) fn independent(addr: SocketAddr, path: &str, max: Duration) -> io::Result<Closed> {
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(ANSWER))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let answered = Instant::now() + ANSWER;
    let mut bytes = Vec::new();
    loop {
        let more = read(&mut stream, answered, &mut bytes)?;
        match (more, end(&bytes)?) {
            (_, Some(_)) => break,
            (0, None) if ends_with_the_connection(&bytes) => return Ok(Closed::After(Duration::ZERO)),
            (0, None) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "no whole response")),
            (_, None) => {}
        }
    }
    let last = Instant::now();
    loop {
        // What comes after the response, such as a 408, is no end yet.
        match read(&mut stream, last + max, &mut Vec::new()) {
            Ok(0) => return Ok(Closed::After(last.elapsed())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(Closed::Open(last.elapsed())),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A reset, mostly.
            Err(_) => return Ok(Closed::After(last.elapsed())),
        }
    }
}

/// Reads what is there, waiting for it until `deadline`.
fn read(stream: &mut TcpStream, deadline: Instant, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    let mut buffer = [0; 16 * 1024];
    let length = stream.read(&mut buffer).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    })?;
    bytes.extend_from_slice(&buffer[..length]);
    Ok(length)
}

/// What the headers of a response say about its body.
struct Head {
    /// Where the body starts.
    body: usize,
    length: Option<usize>,
    chunked: bool,
}

fn head(bytes: &[u8]) -> Option<Head> {
    let blank = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..blank]).to_ascii_lowercase();
    let value = |name: &str| {
        let line = text.lines().skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    };
    let status = text.split(' ').nth(1).unwrap_or_default();
    let length = if matches!(status, "204" | "304") {
        Some(0)
    } else {
        value("content-length").and_then(|length| length.parse().ok())
    };
    let chunked = value("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked"));
    Some(Head { body: blank + 4, length, chunked })
}

/// Whether a response has neither a length nor chunks: the end of the connection is the end of the response.
pub(crate) fn ends_with_the_connection(bytes: &[u8]) -> bool {
    head(bytes).is_some_and(|head| !head.chunked && head.length.is_none())
}

/// Where the response ends, once all of it is there.
pub(crate) fn end(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = head(bytes) else { return Ok(None) };
    let mut at = head.body;
    if !head.chunked {
        return Ok(head.length.map(|length| at + length).filter(|end| bytes.len() >= *end));
    }
    loop {
        let Some(line) = line(&bytes[at..]) else { return Ok(None) };
        let size = String::from_utf8_lossy(line);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("no size of a chunk: {size}")))?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        at += size + 2;
        if bytes.len() < at {
            return Ok(None);
        }
    }
    // The trailers, up to a blank line.
    loop {
        let Some(line) = line(&bytes[at..]) else { return Ok(None) };
        at += line.len() + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
    }
}

/// The first line, without its end.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|window| window == b"\r\n").map(|end| &bytes[..end])
}
