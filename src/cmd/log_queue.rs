//! Writes log lines to stderr on a thread of their own, so that a log that nobody reads delays no review.
//!
//! A pipe that nobody reads is full after 64 KiB, and then each write waits. Lines that do not fit into the queue are
//! dropped, and their number is logged. They are also counted, as are lines that cannot be written.

use std::{
    io::{self, Write, stderr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use tracing::warn;

/// The number of lines that may wait. A line of a review has 300 to 600 bytes.
const CAPACITY: usize = 1024;
/// How long the end of the process waits until the lines are written.
const FLUSH: Duration = Duration::from_secs(1);
/// The pause before the next attempt to ask a full queue.
const PAUSE: Duration = Duration::from_millis(10);

/// Lines that wait to be written.
#[derive(Debug)]
pub(super) struct LogQueue {
    lines: SyncSender<Entry>,
    /// The dropped lines that no line of the log reports yet.
    unreported: Arc<AtomicU64>,
    /// All lines that were lost.
    dropped: Counter,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Tells the sender that all lines before it are written.
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// Starts the thread that writes to stderr.
    ///
    /// # Errors
    ///
    /// Returns an error if the thread cannot be started.
    pub(super) fn to_stderr(dropped: Counter) -> io::Result<Self> {
        Self::to(stderr(), dropped)
    }

    fn to(output: impl Write + Send + 'static, dropped: Counter) -> io::Result<Self> {
        let (lines, received) = sync_channel(CAPACITY);
        let unreported = Arc::new(AtomicU64::new(0));
        let (to_report, failed) = (Arc::clone(&unreported), dropped.clone());
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&received, output, &to_report, &failed))?;
        Ok(Self { lines, unreported, dropped })
    }

    /// Waits until all lines are written, for at most a second.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH;
        let (done, written) = sync_channel(1);
        while self.lines.try_send(Entry::Flush(done.clone())).is_err() {
            if Instant::now() > deadline {
                return;
            }
            thread::park_timeout(PAUSE);
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn write(received: &Receiver<Entry>, mut output: impl Write, unreported: &AtomicU64, failed: &Counter) {
    while let Ok(entry) = next(received, unreported) {
        match entry {
            Entry::Line(line) => {
                // A log that cannot be written must not stop the server. It cannot report its own failure either.
                if output.write_all(&line).is_err() {
                    failed.inc();
                }
            }
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Waits for an entry. Reports dropped lines once the queue is empty, since only then it has space for the report.
fn next(received: &Receiver<Entry>, unreported: &AtomicU64) -> Result<Entry, RecvError> {
    if let Ok(entry) = received.try_recv() {
        return Ok(entry);
    }
    let lines = unreported.swap(0, Ordering::Relaxed);
    if lines > 0 {
        warn!(lines, "dropped log lines, because the log was not read in time");
    }
    received.recv()
}

/// Takes one line per call. The formatter of tracing-subscriber makes one call for each event.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Entry::Line(line.to_vec())).is_err() {
            self.unreported.fetch_add(1, Ordering::Relaxed);
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// An output that waits for permission before each write, and sends what was written.
    struct Gate {
        permits: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without its other end, all may be written.
            let _ = self.permits.recv();
            self.written.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_output_drops_lines_and_the_others_are_written_in_order() {
        let ((permit, permits), (written, lines)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let queue = LogQueue::to(Gate { permits, written }, Counter::default()).unwrap();
        let sent = CAPACITY + 100;
        for number in 0..sent {
            (&queue).write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let started = Instant::now();
        queue.flush();
        assert!((FLUSH..FLUSH * 10).contains(&started.elapsed()), "{:?}", started.elapsed());
        let dropped = queue.dropped.get() as usize;
        // The thread may hold one line.
        assert!((99..=100).contains(&dropped), "{dropped}");
        drop(permit);
        queue.flush();
        let lines: Vec<_> = lines.try_iter().map(|line| String::from_utf8(line).unwrap()).collect();
        let expected: Vec<_> = (0..sent - dropped).map(|number| format!("{number}\n")).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (permit, permits) = std::sync::mpsc::channel();
        drop(permit);
        // Without its other end, each write fails.
        let (written, _) = std::sync::mpsc::channel();
        let dropped = Counter::default();
        let queue = LogQueue::to(Gate { permits, written }, dropped.clone()).unwrap();
        for _ in 0..3 {
            (&queue).write_all(b"line\n").unwrap();
        }
        queue.flush();
        assert_eq!(dropped.get(), 3);
    }
}
