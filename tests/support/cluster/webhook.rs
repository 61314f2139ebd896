//! Webhooks of others: a TLS server that answers reviews of pods with a JSON Patch.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Bytes, routing::post};
use axum_server::tls_rustls::{RustlsConfig, from_tcp_rustls};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};

use crate::support::Authority;

/// Turns a pod into the operations that change it.
pub(crate) type Mutate = fn(&Value) -> Vec<Value>;

/// Serves a mutating webhook for as long as the runtime lives, and returns its `clientConfig`.
pub(crate) async fn serve(mutate: Mutate) -> Value {
    let authority = Authority::new();
    let pair = authority.issue();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let reply = async move |body: Bytes| answer(&serde_json::from_slice(&body).unwrap(), mutate).to_string();
    let router = Router::new().route("/", post(reply));
    let server = from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(config))).unwrap();
    tokio::spawn(server.serve(router.into_make_service()));
    json!({"url": url, "caBundle": STANDARD.encode(authority.pem())})
}

fn answer(review: &Value, mutate: Mutate) -> Value {
    let patch = Value::from(mutate(&review["request"]["object"]));
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch.to_string()),
        },
    })
}
