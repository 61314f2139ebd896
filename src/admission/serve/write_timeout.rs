//! A stream whose writes end: a peer that stops reading gets an error, not a task for ever.
//!
//! Wraps the accepted TCP stream, below TLS. The deadlines on reading are with the handshake, the headers and the body.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;

/// Accepts TCP connections whose writes end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteTimeoutAcceptor {
    /// Longest time for which a write may make no progress.
    pub(crate) limit: Duration,
}

impl<S> Accept<TcpStream, S> for WriteTimeoutAcceptor {
    type Stream = Pin<Box<TimeoutStream<TcpStream>>>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // An answer is one small write that must not wait for the acknowledgement of the one before (Nagle).
        let no_delay = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limit));
        ready(no_delay.map(|()| (Box::pin(stream), service)))
    }
}
