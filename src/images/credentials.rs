//! Registry credentials from Docker's `config.json`: `auths` and credential helpers.
//!
//! Source: docker/cli `cli/config/configfile/file.go`, docker/docker-credential-helpers `client`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use crate::base::text::nullable;

/// The timeout of a credential helper, which may query a cloud service.
const HELPER_TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum length of the output of a helper; tokens have a few KiB.
const MAX_OUTPUT_LEN: u64 = 256 << 10;
/// The key of Docker Hub (docker/cli `registry.IndexServer`).
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The user name with which helpers return an identity token instead of a password.
const TOKEN_USER: &str = "<token>";

/// The part of Docker's configuration with the credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DockerConfig {
    #[serde(default, deserialize_with = "nullable")]
    auths: BTreeMap<String, Entry>,
    #[serde(default, deserialize_with = "nullable")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    creds_store: String,
}

#[derive(Debug, Default, Deserialize)]
struct Entry {
    #[serde(default, deserialize_with = "nullable")]
    auth: String,
    #[serde(default, deserialize_with = "nullable")]
    username: String,
    #[serde(default, deserialize_with = "nullable")]
    password: String,
    #[serde(default, deserialize_with = "nullable")]
    identitytoken: String,
    #[serde(default, deserialize_with = "nullable")]
    registrytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperOutput {
    username: String,
    secret: String,
}

/// The configured credentials of a registry.
#[derive(Debug, Eq, PartialEq)]
enum StoredCredential {
    /// None.
    Nothing,
    /// The credentials.
    Here(RegistryAuth),
    /// The program `docker-credential-<name>` returns them for this key.
    Helper { name: String, key: String },
    /// The configuration is unusable, for this reason.
    Unusable(String),
}

/// The directory of Docker's configuration: `$DOCKER_CONFIG`, or `~/.docker`.
pub(super) fn directory() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))
}

impl DockerConfig {
    /// The user's configuration; empty if there is none. The error is a sentence about the file.
    pub(super) fn of_user() -> Result<Self, String> {
        directory().map_or_else(|| Ok(Self::default()), |docker| Self::read(&docker.join("config.json")))
    }

    fn read(path: &Path) -> Result<Self, String> {
        let at = path.display();
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{at} is not valid: {error}")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("cannot read {at}: {error}")),
        }
    }

    /// The credentials for a registry, and why configured ones cannot be used.
    pub(super) async fn login(&self, host: &str) -> (RegistryAuth, Option<String>) {
        let stored = match self.stored(host) {
            StoredCredential::Helper { name, key } => match ask(&name, &key, HELPER_TIMEOUT).await {
                Ok(stored) => stored,
                Err(why) => {
                    StoredCredential::Unusable(format!("credential helper docker-credential-{name}: {why}"))
                }
            },
            stored => stored,
        };
        match stored {
            StoredCredential::Here(auth) => (auth, None),
            StoredCredential::Unusable(why) => (RegistryAuth::Anonymous, Some(why)),
            StoredCredential::Nothing | StoredCredential::Helper { .. } => (RegistryAuth::Anonymous, None),
        }
    }

    /// The helper of the registry takes precedence over the global helper, and both over the file.
    fn stored(&self, host: &str) -> StoredCredential {
        let key_of = |map_key: &String| names(map_key, host);
        if let Some((key, name)) = self.cred_helpers.iter().find(|(key, _)| key_of(key)) {
            return StoredCredential::Helper { name: name.clone(), key: key.clone() };
        }
        let entry = self.auths.iter().find(|(key, _)| key_of(key));
        if !self.creds_store.is_empty() {
            let is_hub = names(DOCKER_HUB, host);
            let fallback = if is_hub { DOCKER_HUB } else { host };
            let key = entry.map_or_else(|| fallback.to_owned(), |(key, _)| key.clone());
            return StoredCredential::Helper { name: self.creds_store.clone(), key };
        }
        entry.map_or(StoredCredential::Nothing, |(key, entry)| entry.stored(key))
    }
}

/// Whether a key such as `https://index.docker.io/v1/` refers to a registry.
fn names(key: &str, host: &str) -> bool {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let key = key.split('/').next().unwrap_or(key);
    let hub = |name: &str| matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    key == host || hub(key) && hub(host)
}

impl Entry {
    fn stored(&self, key: &str) -> StoredCredential {
        if !self.registrytoken.is_empty() {
            return StoredCredential::Here(RegistryAuth::Bearer(self.registrytoken.clone()));
        }
        let decoded = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(decoded) = decoded else {
            return StoredCredential::Unusable(format!("auths[{key:?}].auth is not user:password in base64"));
        };
        let (user, password) = match decoded.split_once(':') {
            Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
            None => (self.username.clone(), self.password.clone()),
        };
        let password = if self.identitytoken.is_empty() { password } else { self.identitytoken.clone() };
        basic(user, password)
    }
}

fn basic(user: String, password: String) -> StoredCredential {
    match &*user {
        "" if password.is_empty() => StoredCredential::Nothing,
        // Identity tokens need an OAuth 2 POST request, which oci-client does not support.
        "" | TOKEN_USER => StoredCredential::Unusable(
            "it contains an identity token without a user name; log in with a user name and a password"
                .to_owned(),
        ),
        _ => StoredCredential::Here(RegistryAuth::Basic(user, password)),
    }
}

/// Runs a credential helper.
async fn ask(name: &str, key: &str, longest: Duration) -> Result<StoredCredential, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(format!("{name:?} is not a valid helper name"));
    }
    let mut command = Command::new(format!("docker-credential-{name}"));
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let run = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that exits without reading stdin prints the reason to stdout.
            let _ = stdin.write_all(key.as_bytes()).await;
        }
        let mut output = String::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT_LEN).read_to_string(&mut output).await?;
        }
        Ok::<_, io::Error>((child.wait().await?, output))
    };
    let (status, output) = match timeout(longest, run).await {
        Err(_) => return Err(format!("did not answer within {}s", longest.as_secs())),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {
            return Err("it is not on the PATH".to_owned());
        }
        Ok(Err(error)) => return Err(format!("cannot run it: {error}")),
        Ok(Ok(ended)) => ended,
    };
    if !status.success() {
        // docker-credential-helpers `credentials/error.go`: the helper has no credentials for the registry.
        if output.contains("credentials not found") {
            return Ok(StoredCredential::Nothing);
        }
        return Err(format!("ended with {status}"));
    }
    let found: HelperOutput =
        serde_json::from_str(&output).map_err(|_| "its output is not valid".to_owned())?;
    Ok(basic(found.username, found.secret))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn stored(config: &serde_json::Value, host: &str) -> StoredCredential {
        serde_json::from_value::<DockerConfig>(config.clone()).unwrap().stored(host)
    }

    fn login(user: &str, password: &str) -> StoredCredential {
        StoredCredential::Here(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
    }

    fn helper(name: &str, key: &str) -> StoredCredential {
        StoredCredential::Helper { name: name.to_owned(), key: key.to_owned() }
    }

    // user:pass:word
    const AUTH: &str = "dXNlcjpwYXNzOndvcmQ=";

    #[rstest]
    #[case::host(json!({"auths": {"example.com": {"auth": AUTH}}}), "example.com", login("user", "pass:word"))]
    #[case::url(json!({"auths": {"https://example.com/v1/": {"auth": AUTH}}}), "example.com", login("user", "pass:word"))]
    #[case::port(json!({"auths": {"example.com": {"auth": AUTH}}}), "example.com:5000", StoredCredential::Nothing)]
    #[case::docker_hub(json!({"auths": {DOCKER_HUB: {"auth": AUTH}}}), "index.docker.io", login("user", "pass:word"))]
    #[case::other_host(json!({"auths": {"example.com": {"auth": AUTH}}}), "index.docker.io", StoredCredential::Nothing)]
    #[case::plain(
        json!({"auths": {"example.com": {"username": "a", "password": "b"}}}), "example.com", login("a", "b"))]
    #[case::identity_token(
        json!({"auths": {"example.com": {"auth": "dXNlcjo=", "identitytoken": "t"}}}), "example.com", login("user", "t"))]
    #[case::token(
        json!({"auths": {"example.com": {"registrytoken": "t"}}}), "example.com",
        StoredCredential::Here(RegistryAuth::Bearer("t".to_owned())))]
    #[case::empty(json!({"auths": {"example.com": {}}}), "example.com", StoredCredential::Nothing)]
    #[case::helper(json!({"credHelpers": {"example.com": "ecr-login"}}), "example.com", helper("ecr-login", "example.com"))]
    #[case::helper_beats_store(
        json!({"credHelpers": {"example.com": "gcr"}, "credsStore": "pass"}), "example.com", helper("gcr", "example.com"))]
    #[case::store_beats_auths(
        json!({"auths": {"https://example.com": {"auth": AUTH}}, "credsStore": "pass"}), "example.com",
        helper("pass", "https://example.com"))]
    #[case::store(json!({"credsStore": "pass"}), "index.docker.io", helper("pass", DOCKER_HUB))]
    #[case::nothing(json!({"auths": null, "credHelpers": null}), "example.com", StoredCredential::Nothing)]
    fn credentials_are_found_by_the_host(
        #[case] config: serde_json::Value,
        #[case] host: &str,
        #[case] expected: StoredCredential,
    ) {
        assert_eq!(stored(&config, host), expected);
    }

    #[rstest]
    #[case::not_base64(json!({"auth": "?"}), "auths[\"example.com\"].auth is not user:password in base64")]
    #[case::refresh_token(
        json!({"identitytoken": "t"}),
        "it contains an identity token without a user name; log in with a user name and a password"
    )]
    fn unusable_credentials_are_reported(#[case] entry: serde_json::Value, #[case] message: &str) {
        let config = json!({"auths": {"example.com": entry}});
        assert_eq!(stored(&config, "example.com"), StoredCredential::Unusable(message.to_owned()));
    }

    #[tokio::test]
    async fn the_name_of_a_helper_is_no_path() {
        let message = "\"../x\" is not a valid helper name";
        assert_eq!(ask("../x", "example.com", HELPER_TIMEOUT).await.unwrap_err(), message);
        assert_eq!(
            ask("none-of-this", "example.com", HELPER_TIMEOUT).await.unwrap_err(),
            "it is not on the PATH"
        );
    }

    #[test]
    fn a_file_that_is_not_valid_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        assert!(DockerConfig::read(&path).is_ok(), "there is none");
        fs::write(&path, "{").unwrap();
        let error = DockerConfig::read(&path).unwrap_err();
        assert!(error.starts_with(&format!("{} is not valid: ", path.display())), "{error}");
    }
}
