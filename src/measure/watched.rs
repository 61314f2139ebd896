//! A stream that records when its last bytes arrived, and when and how the peer ended it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// How a peer ended a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Close {
    /// It closed its side (FIN).
    Closed,
    /// It reset the connection (RST), or the network connection broke.
    Reset,
}

/// The recorded events of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// When the last bytes arrived.
    pub(super) last_bytes: Option<Instant>,
    /// The first byte.
    pub(super) first_byte: Option<u8>,
    /// When and how the stream ended.
    pub(super) end: Option<(Instant, Close)>,
}

/// The record, shared with the stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Seen>>);

impl Log {
    pub(super) fn seen(&self) -> Seen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A recorded stream.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    log: Log,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Log) {
        let log = Log::default();
        (Self { stream, log: log.clone() }, log)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Poll::Ready(result) = &read else { return read };
        let now = Instant::now();
        let bytes = buf.filled().get(before..).unwrap_or_default();
        self.log.note(|seen| match (result, bytes.first()) {
            (Ok(()), Some(first)) => {
                seen.first_byte.get_or_insert(*first);
                seen.last_bytes = Some(now);
            }
            (Ok(()), None) if room > 0 => drop(seen.end.get_or_insert((now, Close::Closed))),
            (Ok(()), None) => {}
            (Err(_), _) => drop(seen.end.get_or_insert((now, Close::Reset))),
        });
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
