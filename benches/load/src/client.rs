//! A small HTTP/1.1 client over rustls, with kept connections: cheaper than the servers that it measures.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The longest wait for anything: as long as an API server ever waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens connections.
#[derive(Clone)]
pub struct Client(TlsConnector);

impl Client {
    /// Trusts this certificate, and resumes no session.
    pub fn new(certificate: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(certificate)?)?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // As API servers do.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub async fn connect(&self, address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = timeout(PATIENCE, self.0.connect(name, stream)).await??;
        Ok(Connection { stream, buffer: Vec::with_capacity(64 * 1024) })
    }
}

/// A request, ready to be written.
#[derive(Clone, Debug)]
pub struct Request(Arc<[u8]>);

impl Request {
    /// With the headers of an API server.
    pub fn review(body: &[u8]) -> Self {
        let mut bytes = format!(
            "POST /mutate/enforce?timeout=10s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-apiserver-admission\r\n\
             Content-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n\
             Accept-Encoding: gzip\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        Self(bytes.into())
    }
}

/// An answer; the body stays in the connection's buffer until the next request.
#[derive(Debug)]
pub struct Response<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

/// A kept connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<Response<'_>> {
        timeout(PATIENCE, self.exchange(request)).await.context("no answer in 30s")?
    }

    /// Ends TLS, and then the connection.
    pub async fn close(mut self) -> anyhow::Result<()> {
        Ok(timeout(PATIENCE, self.stream.shutdown()).await??)
    }

    async fn exchange(&mut self, request: &Request) -> anyhow::Result<Response<'_>> {
        self.stream.write_all(&request.0).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        let (mut head, mut searched) = (None, 0);
        loop {
            if head.is_none() {
                let end = self.buffer[searched..].windows(4).position(|bytes| bytes == b"\r\n\r\n");
                head = end.map(|end| Head::read(&self.buffer, searched + end + 4)).transpose()?;
                searched = self.buffer.len().saturating_sub(3);
            }
            if let Some(Head { status, start, length }) = head
                && self.buffer.len() >= start + length
            {
                ensure!(self.buffer.len() == start + length, "more bytes than the Content-Length");
                return Ok(Response { status, body: &self.buffer[start..] });
            }
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
        }
    }
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    start: usize,
    length: usize,
}

impl Head {
    fn read(buffer: &[u8], start: usize) -> anyhow::Result<Self> {
        let head = std::str::from_utf8(&buffer[..start])?;
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status line")?;
        let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
        });
        match length {
            Some(length) => Ok(Self { status, start, length: length? }),
            None => bail!("an answer without Content-Length: {head}"),
        }
    }
}
