//! A write timeout: a peer that stops reading gets an error instead of blocking a task forever.
//!
//! Wraps the accepted TCP stream, below TLS. The handshake, the headers and the body have their own read timeouts.

use std::{
    future::{Ready, ready},
    io,
    pin::Pin,
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;

/// Accepts TCP connections and sets their write timeout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteTimeoutAcceptor {
    /// The maximum time that a write may make no progress.
    pub(crate) limit: Duration,
}

impl<S> Accept<TcpStream, S> for WriteTimeoutAcceptor {
    type Stream = Pin<Box<TimeoutStream<TcpStream>>>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // A response is one small write that must not wait for the acknowledgement of the previous one (Nagle's
        // algorithm).
        let no_delay = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limit));
        ready(no_delay.map(|()| (Box::pin(stream), service)))
    }
}
