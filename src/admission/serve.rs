//! The webhook server: TLS, timeouts, startup and shutdown.
//!
//! Turns a [`Config`] into a [`Running`] server. [`router`] holds the routes, `admin` the plain port.

mod bodies;
mod clients;
mod credentials;
mod http_error;
mod reload;
mod repeat_filter;
mod router;
mod write_timeout;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use axum_server::{
    Handle, Server,
    tls_rustls::{RustlsAcceptor, RustlsConfig, from_tcp_rustls},
};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tokio::{net::TcpListener, runtime, time::sleep};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};
use tracing::{debug, info, warn};

pub use self::{
    bodies::{MAX_BODY_BYTES, MAX_SMALL_BODY_BYTES},
    clients::Clients,
    credentials::{CertificateFiles, CertificateSource, CredentialsError, TlsVersion, UnknownTlsVersion},
    router::{Review, State, router},
};
use self::{
    credentials::{Credentials, self_signed},
    reload::{FileOnDisk, PairOnDisk, Reloader, report_certificate},
    repeat_filter::LogDecision,
    write_timeout::WriteTimeoutAcceptor,
};
use crate::{
    admission::{
        admin::{self, Readiness, SelfCheck},
        metrics::Metrics,
        policy_file::{self, PolicyFileError},
        traces::Traces,
    },
    judgement::policy::Policy,
    review,
};

/// The configuration of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The webhook port.
    pub listen: SocketAddr,
    /// The plain port.
    pub admin_listen: SocketAddr,
    /// The certificate pair.
    pub certificate: CertificateSource,
    /// The minimum TLS version.
    pub tls_min: TlsVersion,
    /// The policy file; the default policy applies without it.
    pub policy: Option<PathBuf>,
    /// The facts file with measured values; without it only the spec and the catalog are used.
    pub facts: Option<PathBuf>,
    /// The image of the init container; without it, no init container is added.
    pub init_image: Option<String>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// The review function.
    pub review: Review,
    /// Where spans of requests are sent; nowhere without it.
    pub traces: Option<Traces>,
    /// The number of lines that the log of the process lost.
    pub dropped_log_lines: Counter,
}

impl Config {
    /// Free ports on the loopback interface and an in-memory certificate, for demos and tests.
    pub fn loopback() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: any_port,
            admin_listen: any_port,
            certificate: CertificateSource::SelfSigned { names: vec![] },
            tls_min: TlsVersion::default(),
            policy: None,
            facts: None,
            init_image: None,
            timeouts: Timeouts { shutdown_delay: Duration::ZERO, ..Timeouts::default() },
            review: review::review,
            traces: None,
            dropped_log_lines: Counter::default(),
        }
    }
}

/// The timeouts of the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// From the TCP connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the TLS handshake to the headers of the first request.
    pub first_request: Duration,
    /// The maximum time from the headers of a request to the response. A client can ask for less.
    pub answer: Duration,
    /// The maximum time that a write may make no progress.
    pub write: Duration,
    /// The keep-alive idle timeout: from a response to the headers of the next request on the same connection.
    pub idle: Duration,
    /// The interval between two checks of the files.
    pub poll: Duration,
    /// From the shutdown signal to closing the listener.
    pub shutdown_delay: Duration,
    /// From closing the listener to the end of open requests.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // The API server's timeout, 5 s as set by `install`, starts before it connects. A client whose handshake
            // takes longer has already given up.
            handshake: Duration::from_secs(5),
            // An API server connects when it has a request to send. Twice its timeout, for busy machines.
            first_request: Duration::from_secs(10),
            // The API server's default `timeoutSeconds`; after that it no longer waits for the response.
            answer: Duration::from_secs(10),
            // The same as for the response, since the API server reads until its timeout.
            write: Duration::from_secs(10),
            // The API server keeps idle connections for 90 s (apimachinery pkg/util/net/http.go) and does not retry a
            // POST if the server closes the connection, so this is twice as long.
            idle: Duration::from_secs(180),
            // kubelet takes a minute or more to update a mounted file (`syncFrequency` and its cache), so this adds
            // little. Reading three small files is cheap.
            poll: Duration::from_secs(5),
            // Endpoints are updated within seconds after a pod is deleted; 5 + 20 s fit into the default grace period
            // of 30 s.
            shutdown_delay: Duration::from_secs(5),
            drain: Duration::from_secs(20),
        }
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The I/O error.
        source: io::Error,
    },
    /// The certificate pair cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The policy file or the facts file cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// The thread of the plain port cannot be started.
    #[error("cannot start the thread of the plain HTTP port")]
    Thread(#[source] io::Error),
}

/// A running server. [`Running::stop`] shuts it down gracefully; dropping it ends it at once.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    admin_addr: SocketAddr,
    authority: Option<String>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    ended: AbortOnDropHandle<io::Result<()>>,
}

impl Running {
    /// The address of the webhook port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of the plain port.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// The CA certificate of a self-signed server, in PEM; clients must trust it.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The token that stops the server.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts the shutdown; [`Self::wait`] returns at its end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the server has stopped.
    ///
    /// # Errors
    ///
    /// Returns an error if the server ended without a stop request.
    pub async fn wait(self) -> io::Result<()> {
        self.ended.await.map_err(io::Error::other)?
    }
}

/// Loads the files, binds the ports and starts the server. Returns when both ports answer.
///
/// # Errors
///
/// Returns an error if a port, the certificate pair or the policy cannot be used. After startup, an invalid file leaves
/// the last valid one in use.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let timeouts = config.timeouts;
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::with_dropped_log_lines(config.dropped_log_lines));
    let readiness = Arc::new(Readiness::new(stop.clone()));
    let policy = config.policy.map(|path| FileOnDisk::open(path, policy_file::parse)).transpose()?;
    let (policy_on_disk, mut policy) =
        policy.map_or_else(|| (None, Policy::default()), |(file, it)| (Some(file), it));
    let facts = config.facts.map(|path| FileOnDisk::open(path, policy_file::facts)).transpose()?;
    let facts_on_disk = facts.map(|(file, facts)| {
        policy.facts = facts;
        file
    });
    policy.close_wait.init_image = config.init_image;
    let (pair, credentials) = credentials(config.certificate, config.tls_min)?;
    let state = State::new(policy, Arc::clone(&metrics), config.review, timeouts.answer, stop.clone());
    let state = Arc::new(state.with_traces(config.traces));
    report_certificate(&state, &credentials, "loaded the certificate and its key");
    let tls = RustlsConfig::from_config(credentials.tls);

    let (listener, addr) = listen(config.listen).await?;
    let (admin_listener, admin_addr) = listen(config.admin_listen).await?;
    let (handle, admin_handle) = (Handle::new(), Handle::new());
    let open = handle.clone();
    let self_check = Arc::new(SelfCheck::new(addr).map_err(CredentialsError::from)?);
    let admin_routes = admin::router(Arc::clone(&readiness), Arc::clone(&self_check), metrics, move || {
        open.connection_count()
    });
    let unusable = |address| move |source| StartError::Listen { address, source };
    let webhook =
        webhook(listener, tls.clone(), timeouts, &state, self_check.sources()).map_err(unusable(addr))?;
    let (admin_runtime, until_dropped) = admin_runtime().map_err(StartError::Thread)?;
    let plain = {
        let _entered = admin_runtime.enter();
        axum_server::from_tcp(admin_listener).map_err(unusable(admin_addr))?
    };
    let plain = with_timeouts(plain, timeouts).acceptor(WriteTimeoutAcceptor { limit: timeouts.write });
    let plain = plain.handle(admin_handle.clone()).serve(admin_routes.into_make_service());
    let reloader =
        Reloader { pair, policy: policy_on_disk, facts: facts_on_disk, tls, state: Arc::clone(&state) };
    let tasks = Tasks {
        webhook: spawn(webhook.handle(handle.clone()).serve(router(state).into_make_service())),
        admin: AbortOnDropHandle::new(admin_runtime.spawn(plain)),
        reloader: spawn(reloader.run(timeouts.poll, stop.clone())),
        handle: ShutdownOnDrop(handle),
        admin_handle: ShutdownOnDrop(admin_handle),
        _admin_runtime: until_dropped,
    };
    readiness.serve();
    info!(listen = %addr, admin_listen = %admin_addr, "serving");
    let ended = spawn(tasks.supervise(timeouts, stop.clone()));
    let authority = credentials.authority;
    Ok(Running { addr, admin_addr, authority, _stop_on_drop: stop.clone().drop_guard(), stop, ended })
}

fn spawn<F>(task: F) -> AbortOnDropHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(task))
}

fn credentials(
    source: CertificateSource,
    oldest: TlsVersion,
) -> Result<(Option<PairOnDisk>, Credentials), CredentialsError> {
    match source {
        CertificateSource::Files(files) => {
            PairOnDisk::open(files, oldest).map(|(pair, credentials)| (Some(pair), credentials))
        }
        CertificateSource::SelfSigned { names } => {
            self_signed(&names, Timestamp::now(), oldest).map(|credentials| (None, credentials))
        }
    }
}

/// Binds with tokio, whose backlog of 1 024 connections handles bursts of API servers better than the 128 of std. A
/// wildcard address accepts IPv6 and IPv4, or only IPv4 if the kernel has no IPv6.
///
/// # Errors
///
/// Returns an error if the address cannot be bound.
pub async fn listen(address: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), StartError> {
    let bind = async |address: SocketAddr| {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener.into_std()?, bound))
    };
    let bound = match bind(address).await {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && !is_final(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into()).await
        }
        bound => bound,
    };
    bound.map_err(|source| StartError::Listen { address, source })
}

/// Reports whether binding to IPv4 would fail as well. `io::ErrorKind` has no variant for missing IPv6.
fn is_final(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn webhook(
    listener: std::net::TcpListener,
    tls: RustlsConfig,
    timeouts: Timeouts,
    state: &Arc<State>,
    own_addresses: Vec<IpAddr>,
) -> io::Result<Server<SocketAddr, RustlsAcceptor<WriteTimeoutAcceptor>>> {
    let write_timeout = WriteTimeoutAcceptor { limit: timeouts.write };
    let server = from_tcp_rustls(listener, tls)?
        .map(|tls| tls.handshake_timeout(timeouts.handshake).acceptor(write_timeout));
    let state = Arc::clone(state);
    let on_error = move |peer: Option<&SocketAddr>, error: &io::Error| {
        let from_here = peer.is_some_and(|peer| own_addresses.contains(&peer.ip().to_canonical()));
        // The readiness check shows no client certificate, and has already seen the server's handshake.
        if !(from_here && is_missing_client_certificate(error)) {
            report_failed_connection(&state, peer, error);
        }
    };
    Ok(with_timeouts(server, timeouts).accept_error_handler(on_error))
}

fn is_missing_client_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::NoCertificatesPresented))
}

/// The HTTP/2 flow-control window and the HTTP/1 buffer, which limit the unread bytes of a connection. The default of
/// HTTP/2 is one byte less (RFC 9113, section 6.9.2), the one of hyper up to 1 MiB.
const HTTP_WINDOW: u32 = 64 * 1024;

fn with_timeouts<A>(mut server: Server<SocketAddr, A>, timeouts: Timeouts) -> Server<SocketAddr, A> {
    let http = server.http_builder();
    // hyper starts this timer at the end of the previous request, so it is the keep-alive idle timeout.
    http.http1().header_read_timeout(timeouts.idle).max_buf_size(HTTP_WINDOW as usize);
    // HTTP/2 has no such timer; pings detect clients that are gone.
    http.http2().keep_alive_interval(timeouts.idle).keep_alive_timeout(timeouts.write);
    http.http2().initial_connection_window_size(HTTP_WINDOW).initial_stream_window_size(HTTP_WINDOW);
    server.first_request_timeout(timeouts.first_request)
}

/// Logs a failed connection: an API server that does not trust the certificate, or a port check that closes the
/// connection.
fn report_failed_connection(state: &State, peer: Option<&SocketAddr>, error: &io::Error) {
    let log_decision = state.log_decision(("connection", error.to_string()));
    let Some(peer) = peer else {
        match log_decision {
            LogDecision::Log { suppressed } => {
                warn!(%error, withheld = suppressed, "cannot accept connections")
            }
            LogDecision::Suppress => debug!(%error, "cannot accept connections"),
        }
        return;
    };
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    state.metrics().handshake_failed();
    let hung_up = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
    match log_decision {
        LogDecision::Log { suppressed } if !hung_up => {
            warn!(%peer, %error, withheld = suppressed, "cannot set up TLS")
        }
        LogDecision::Log { .. } | LogDecision::Suppress => debug!(%peer, %error, "cannot set up TLS"),
    }
}

/// The tasks of a server. Dropping them aborts them.
struct Tasks {
    webhook: AbortOnDropHandle<io::Result<()>>,
    admin: AbortOnDropHandle<io::Result<()>>,
    reloader: AbortOnDropHandle<()>,
    handle: ShutdownOnDrop,
    admin_handle: ShutdownOnDrop,
    _admin_runtime: DropGuard,
}

/// The handle of a port, which ends its connections when it is dropped.
struct ShutdownOnDrop(Handle<SocketAddr>);

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// Starts a single-threaded runtime for the plain port, which ends when the guard is dropped. It keeps answering when
/// the other threads are busy: kubelet restarts a pod whose `/livez` is slow, which would move the load to the other
/// replicas.
fn admin_runtime() -> io::Result<(runtime::Handle, DropGuard)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
    let guard = end.clone().drop_guard();
    thread::Builder::new().name("plain-port".to_owned()).spawn(move || runtime.block_on(end.cancelled()))?;
    Ok((handle, guard))
}

impl Tasks {
    /// Waits for the stop request. Then serves on while endpoints are updated, closes the listener, drains, and stops
    /// the plain port.
    async fn supervise(mut self, timeouts: Timeouts, stop: CancellationToken) -> io::Result<()> {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            ended = &mut self.webhook => return Err(unexpected_end("webhook", ended)),
            ended = &mut self.admin => return Err(unexpected_end("plain", ended)),
        }
        info!(delay = ?timeouts.shutdown_delay, "not ready; still accepting connections until the endpoints are updated");
        sleep(timeouts.shutdown_delay).await;
        self.handle.0.graceful_shutdown(Some(timeouts.drain));
        info!(connections = self.handle.0.connection_count(), longest = ?timeouts.drain, "draining");
        let drained = self.webhook.await.map_err(io::Error::other)?;
        info!(cut = self.handle.0.connection_count(), "drained");
        self.reloader.abort();
        self.admin_handle.0.shutdown();
        self.admin.await.map_err(io::Error::other)??;
        drained
    }
}

fn unexpected_end(port: &str, ended: Result<io::Result<()>, tokio::task::JoinError>) -> io::Error {
    match ended {
        Ok(Ok(())) => io::Error::other(format!("the {port} port stopped unexpectedly")),
        Ok(Err(error)) => error,
        Err(panic) => io::Error::other(panic),
    }
}
