//! Reads the config of an image from a registry (OCI distribution-spec).
//!
//! A HEAD request resolves the name to a digest, as in containerd. The manifest and the config are then read by digest,
//! from the cache if possible. `oci-client` authenticates, fetches and verifies digests. It does not return headers, so
//! this module sends the HEAD request itself to read Retry-After.

mod errors;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use jiff::{Timestamp, fmt::rfc2822};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};
use reqwest::{
    StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, RETRY_AFTER},
};
use tokio::{
    io::AsyncWrite,
    sync::OnceCell,
    time::{sleep, timeout},
};

use self::errors::{denied, no_such_image, of_client, of_send, unexpected};
use super::{
    Options, authorities,
    cache::Cache,
    credentials::DockerConfig,
    digest,
    manifest::{self, Manifest, ManifestError, TYPES},
    platform::Platform,
};
use crate::{
    base::duration::format,
    workload::image_config::{self, ImageConfig, ImageFacts},
};

/// The timeout of a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an image waits in total for a registry that limits its clients.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// The wait if the registry does not send Retry-After.
const DEFAULT_WAIT: Duration = Duration::from_secs(2);
/// The maximum number of retries after such a wait.
const RETRIES: usize = 3;
/// The header with the digest of a manifest.
const DIGEST: &str = "docker-content-digest";

/// Why an image was not read.
#[derive(Debug)]
pub(super) enum Failure {
    /// The registry does not respond; [`Registries::host_error`] has the reason.
    Registry(String),
    /// Only this image cannot be read.
    Image { message: String, help: String },
}

/// Why a request or an attempt failed.
#[derive(Debug)]
enum RequestError {
    /// The registry does not respond, and will not for other images.
    Host(HostError),
    /// The registry limits its clients; contains the Retry-After value, if there is one.
    Limited(Option<Duration>),
    /// The image cannot be read.
    Image { message: String, help: &'static str },
}

/// Why a registry does not respond.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct HostError {
    pub(super) why: String,
    /// How to fix it.
    pub(super) help: String,
}

impl HostError {
    fn new(why: impl Into<String>) -> Self {
        let help =
            "check the registry, name a mirror with --registry-mirror, or read an archive with --images=PATH";
        Self { why: why.into(), help: help.to_owned() }
    }
}

impl RequestError {
    fn host_failure(why: impl Into<String>) -> Self {
        Self::Host(HostError::new(why))
    }

    fn image(message: impl Into<String>, help: &'static str) -> Self {
        Self::Image { message: message.into(), help }
    }
}

/// The registries, with their clients and errors.
pub(super) struct Registries {
    cache: Cache,
    docker: Result<DockerConfig, String>,
    platform: Platform,
    mirrors: BTreeMap<String, String>,
    insecure: BTreeSet<String>,
    timeout: Duration,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

/// A registry.
#[derive(Default)]
struct Host {
    /// The clients; each registry may have its own CA certificates.
    clients: OnceLock<Result<Clients, HostError>>,
    /// The credentials, and why configured ones cannot be used.
    login: OnceCell<(RegistryAuth, Option<String>)>,
    /// Why no further requests are sent.
    host_error: OnceLock<HostError>,
}

/// The clients of a registry.
struct Clients {
    oci: Client,
    http: reqwest::Client,
}

impl Registries {
    pub(super) fn new(options: &Options) -> Self {
        // Another part of the process may already have installed the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            cache: Cache::of_user(),
            docker: DockerConfig::of_user(),
            platform: options.platform.clone(),
            mirrors: options.mirrors.clone(),
            insecure: options.insecure.clone(),
            timeout: options.timeout,
            hosts: Mutex::default(),
        }
    }

    /// Creates clients that trust the CA certificates of the system and those configured in Docker for this registry.
    fn clients(&self, host: &str) -> Result<Clients, HostError> {
        let failed = |why: String| {
            HostError {
            why: format!("cannot create a client for it: {why}"),
            help: "check the CA certificates of the system and of certs.d, or read an archive with --images=PATH"
                .to_owned(),
        }
        };
        let authorities = authorities::of(host).map_err(failed)?;
        let mut http = reqwest::Client::builder();
        let mut extra_root_certificates = Vec::new();
        for authority in authorities {
            let at = authority.path.display();
            let invalid = |error: reqwest::Error| failed(format!("{at}: {}", errors::cause(&error)));
            let certificates = reqwest::Certificate::from_pem_bundle(&authority.pem).map_err(invalid)?;
            if certificates.is_empty() {
                return Err(failed(format!("{at} contains no certificate in PEM")));
            }
            http = http.tls_certs_merge(certificates);
            for certificate in pem::parse_many(&authority.pem).unwrap_or_default() {
                let (encoding, data) = (CertificateEncoding::Der, certificate.into_contents());
                extra_root_certificates.push(Certificate { encoding, data });
            }
        }
        let config = ClientConfig {
            protocol: ClientProtocol::HttpsExcept(self.insecure.iter().cloned().collect()),
            extra_root_certificates,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(self.timeout),
            user_agent: concat!("linkerd-linger/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let http = http
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(self.timeout)
            .user_agent(config.user_agent)
            .build()
            .map_err(|error| failed(errors::cause(&error)))?;
        let oci = Client::try_from(config).map_err(|error| failed(errors::cause(&error)))?;
        Ok(Clients { oci, http })
    }

    /// Why no further requests are sent to a registry.
    pub(super) fn host_error(&self, host: &str) -> HostError {
        self.host(host).host_error.get().cloned().unwrap_or_default()
    }

    /// Reads the config of an image.
    pub(super) async fn read(&self, image: &str) -> Result<ImageFacts, Failure> {
        let reference = self.reference(image)?;
        let name = reference.resolve_registry().to_owned();
        let host = self.host(&name);
        let host_failure = |host_error: HostError| {
            let _ = host.host_error.set(host_error);
            Failure::Registry(name.clone())
        };
        let clients = host.clients.get_or_init(|| self.clients(&name));
        let clients = clients.as_ref().map_err(|host_error| host_failure(host_error.clone()))?;
        let mut session =
            Session { registries: self, host: &host, clients, reference: &reference, token: None };
        let mut waited = Duration::ZERO;
        for _ in 0..=RETRIES {
            let wait = match session.read().await {
                Ok(facts) => return Ok(facts),
                Err(RequestError::Host(host_error)) => return Err(host_failure(host_error)),
                Err(RequestError::Image { message, help }) => {
                    return Err(Failure::Image { message, help: help.into() });
                }
                Err(RequestError::Limited(wait)) => wait.unwrap_or(DEFAULT_WAIT),
            };
            waited += wait;
            if waited > MAX_WAIT {
                return Err(host_failure(HostError::new(format!(
                    "it limits requests (429 Too Many Requests) and asks to wait {}; the limit is {}",
                    format(wait),
                    format(MAX_WAIT)
                ))));
            }
            sleep(wait).await;
        }
        let why = format!("it still limits requests (429 Too Many Requests) after {}", format(waited));
        Err(host_failure(HostError::new(why)))
    }

    /// The reference for the registry, or for its mirror.
    fn reference(&self, image: &str) -> Result<Reference, Failure> {
        let reference = Reference::try_from(image).map_err(|error| Failure::Image {
            message: format!("it is not an image name: {error}"),
            help: "write it like registry.example.com/shop/cart:3".to_owned(),
        })?;
        let Some(mirror) = self.mirrors.get(reference.registry()) else { return Ok(reference) };
        let (host, path) = mirror.split_once('/').map_or((mirror.as_str(), ""), |(host, path)| (host, path));
        let path = path.trim_end_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        let (host, repository) = (host.to_owned(), format!("{path}{slash}{}", reference.repository()));
        Ok(match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Reference::with_digest(host, repository, digest.to_owned()),
            (None, tag) => Reference::with_tag(host, repository, tag.unwrap_or("latest").to_owned()),
        })
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(name.to_owned()).or_default())
    }
}

/// The result of resolving a name.
enum Resolved {
    /// The digest.
    Digest(String),
    /// The registry does not return it; a GET request is needed.
    Unknown,
}

/// The requests for an image.
struct Session<'r> {
    registries: &'r Registries,
    host: &'r Host,
    clients: &'r Clients,
    reference: &'r Reference,
    /// The token of the registry after authentication; the inner `None` means that it returns none.
    token: Option<Option<String>>,
}

impl Session<'_> {
    async fn read(&mut self) -> Result<ImageFacts, RequestError> {
        let digest = match self.reference.digest() {
            Some(digest) => Resolved::Digest(digest.to_owned()),
            None => self.resolve().await?,
        };
        let (mut json, top) = match digest {
            Resolved::Digest(digest) => (self.manifest(&digest).await?, digest),
            Resolved::Unknown => self.pull(self.reference).await?,
        };
        for _ in 0..manifest::MAX_DEPTH {
            match manifest::parse(&json).map_err(of_manifest)? {
                Manifest::Index(manifests) => {
                    let chosen =
                        manifest::choose(&manifests, &self.registries.platform).map_err(of_manifest)?;
                    json = self.manifest(&chosen.digest).await?;
                }
                Manifest::Config(config) => {
                    let json = self.config(&config.digest).await?;
                    let config = ImageConfig::parse(&json)
                        .map_err(|error| RequestError::image(errors::chain(&error), "rebuild the image"))?;
                    return Ok(ImageFacts { digest: top, config, doubt: None });
                }
            }
        }
        Err(of_manifest(ManifestError::TooDeep))
    }

    /// Applies the timeout of a request.
    async fn within<T>(
        &self,
        request: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, RequestError> {
        if let Some(host_error) = self.host.host_error.get() {
            return Err(RequestError::Host(host_error.clone()));
        }
        let limit = self.registries.timeout;
        timeout(limit, request).await.unwrap_or_else(|_| {
            Err(RequestError::host_failure(format!("it did not respond within {}", format(limit))))
        })
    }

    async fn login(&self) -> &(RegistryAuth, Option<String>) {
        let docker = &self.registries.docker;
        let login = || async {
            match docker {
                Ok(docker) => docker.login(self.reference.resolve_registry()).await,
                Err(why) => (RegistryAuth::Anonymous, Some(why.clone())),
            }
        };
        self.host.login.get_or_init(login).await
    }

    /// Authenticates once for the image.
    async fn authorize(&mut self) -> Result<(), RequestError> {
        if self.token.is_none() {
            let (auth, unusable) = self.login().await;
            let client = &self.clients.oci;
            let request = async {
                let token = client.auth(self.reference, auth, RegistryOperation::Pull).await;
                token
                    .map_err(|error| of_client(error, self.reference.resolve_registry(), unusable.as_deref()))
            };
            self.token = Some(self.within(request).await?);
        }
        Ok(())
    }

    /// Resolves the name to a digest.
    async fn resolve(&mut self) -> Result<Resolved, RequestError> {
        self.authorize().await?;
        let host = self.reference.resolve_registry();
        let scheme = if self.registries.insecure.contains(host) { "http" } else { "https" };
        let (repository, tag) = (self.reference.repository(), self.reference.tag().unwrap_or("latest"));
        let url = format!("{scheme}://{host}/v2/{repository}/manifests/{tag}");
        let mut request = self.clients.http.head(url).header(ACCEPT, TYPES.join(", "));
        let (auth, unusable) = self.login().await;
        request = match (self.token.as_ref().and_then(Option::as_ref), auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, RegistryAuth::Bearer(token)) => request.bearer_auth(token),
            (None, RegistryAuth::Anonymous) => request,
        };
        let send = async { request.send().await.map_err(|error| of_send(&error, host)) };
        let answer = self.within(send).await?;
        let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::trim);
        match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => {
                Err(RequestError::Limited(header(RETRY_AFTER.as_str()).and_then(wait)))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(denied(unusable.as_deref())),
            StatusCode::NOT_FOUND => Err(no_such_image()),
            status if status.is_server_error() => Err(unexpected(status.as_u16())),
            status if status.is_success() => {
                let length = header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
                if length.is_some_and(|length| length > manifest::MAX_LEN as u64) {
                    return Err(long_manifest());
                }
                let digest = header(DIGEST).filter(|digest| digest::hex(digest).is_some());
                Ok(digest.map_or(Resolved::Unknown, |digest| Resolved::Digest(digest.to_owned())))
            }
            // The registry does not support HEAD.
            _ => Ok(Resolved::Unknown),
        }
    }

    /// Reads a manifest or an index by its digest.
    async fn manifest(&mut self, digest: &str) -> Result<Vec<u8>, RequestError> {
        let cache = &self.registries.cache;
        if let Some(json) = cache.get(digest, manifest::MAX_LEN) {
            return Ok(json);
        }
        let (json, _) = self.pull(&self.reference.clone_with_digest(digest.to_owned())).await?;
        cache.put(digest, &json);
        Ok(json)
    }

    async fn pull(&mut self, reference: &Reference) -> Result<(Vec<u8>, String), RequestError> {
        self.authorize().await?;
        let (auth, unusable) = self.login().await;
        let client = &self.clients.oci;
        let request = async {
            let pulled = client.pull_manifest_raw(reference, auth, &TYPES).await;
            let (json, digest) = pulled
                .map_err(|error| of_client(error, self.reference.resolve_registry(), unusable.as_deref()))?;
            if json.len() > manifest::MAX_LEN { Err(long_manifest()) } else { Ok((json.to_vec(), digest)) }
        };
        self.within(request).await
    }

    /// Reads a config by its digest.
    async fn config(&mut self, digest: &str) -> Result<Vec<u8>, RequestError> {
        let cache = &self.registries.cache;
        if let Some(json) = cache.get(digest, image_config::MAX_LEN) {
            return Ok(json);
        }
        self.authorize().await?;
        let (_, unusable) = self.login().await;
        let client = &self.clients.oci;
        let request = async {
            let mut config = BoundedBuffer(Vec::new());
            let pulled = client.pull_blob(self.reference, digest, &mut config).await;
            pulled
                .map_err(|error| of_client(error, self.reference.resolve_registry(), unusable.as_deref()))?;
            Ok(config.0)
        };
        let json = self.within(request).await?;
        cache.put(digest, &json);
        Ok(json)
    }
}

fn of_manifest(error: ManifestError) -> RequestError {
    let help = match error {
        ManifestError::NoPlatform { .. } => "name one of these with --platform",
        ManifestError::Invalid(_)
        | ManifestError::Schema1
        | ManifestError::NoImage(_)
        | ManifestError::Empty
        | ManifestError::LongConfig(_)
        | ManifestError::TooDeep => "check the name of the image, or push the image again",
    };
    RequestError::image(error.to_string(), help)
}

fn long_manifest() -> RequestError {
    let message = format!("its manifest has more than {} bytes", manifest::MAX_LEN);
    RequestError::image(message, "check the name of the image")
}

/// Parses Retry-After: seconds, or a date (RFC 9110, section 10.2.3).
fn wait(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or_default())
}

/// A buffer that is limited to the maximum length of a config.
struct BoundedBuffer(Vec<u8>);

impl AsyncWrite for BoundedBuffer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.0.len() + bytes.len() > image_config::MAX_LEN {
            let message =
                format!("the image config has more than {} bytes, which is the limit", image_config::MAX_LEN);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, message)));
        }
        self.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::seconds("7", Some(7))]
    #[case::past("Wed, 21 Oct 2015 07:28:00 GMT", Some(0))]
    #[case::words("soon", None)]
    #[case::negative("-1", None)]
    fn retry_after(#[case] value: &str, #[case] seconds: Option<u64>) {
        assert_eq!(wait(value), seconds.map(Duration::from_secs));
    }

    #[test]
    fn a_date_of_retry_after_is_waited_for() {
        let date = Timestamp::now() + Duration::from_secs(20);
        let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        let wait = wait(&date).unwrap();
        assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(20), "{wait:?}");
    }

    #[tokio::test]
    async fn no_more_than_a_config_is_taken() {
        use tokio::io::AsyncWriteExt;

        let mut config = BoundedBuffer(Vec::new());
        config.write_all(&vec![0; image_config::MAX_LEN]).await.unwrap();
        let error = config.write_all(&[0]).await.unwrap_err();
        assert_eq!(error.to_string(), "the image config has more than 1048576 bytes, which is the limit");
    }
}
