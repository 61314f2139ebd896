//! Caddy's JSON configuration: the idle timeout of the server on a port.
//!
//! Reads `apps.http.servers.*.idle_timeout` of the servers that listen on the port as the key `idle`. A number is in
//! nanoseconds and is returned as written. The catalog defines the meaning of zero.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Answer, Entry, Files, Query};

#[derive(Deserialize)]
struct Caddy<'t> {
    admin: Option<Admin>,
    #[serde(borrow)]
    apps: Option<Apps<'t>>,
}

#[derive(Deserialize)]
struct Admin {
    config: Option<AdminConfig>,
}

#[derive(Deserialize)]
struct AdminConfig {
    load: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Apps<'t> {
    #[serde(borrow)]
    http: Option<Http<'t>>,
}

#[derive(Deserialize)]
struct Http<'t> {
    #[serde(borrow)]
    servers: Option<BTreeMap<String, Server<'t>>>,
}

#[derive(Deserialize)]
struct Server<'t> {
    listen: Option<Vec<String>>,
    #[serde(borrow)]
    idle_timeout: Option<&'t RawValue>,
}

/// Whether an address has a port.
#[derive(Clone, Copy, Eq, PartialEq)]
enum PortMatch {
    Yes,
    No,
    /// Depends on a placeholder.
    Unknown,
}

/// Reads the idle timeout from the configuration at `path`.
pub(super) fn read(_files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    find(path, text, query.port).into()
}

fn find(path: &str, text: &str, port: Option<u16>) -> Result<Option<Entry>, String> {
    let caddy: Caddy<'_> = serde_json::from_str(text)
        .map_err(|fault| format!("{path} line {}: this is not a known Caddy configuration", fault.line()))?;
    if caddy.admin.and_then(|admin| admin.config?.load).is_some() {
        return Err(format!("{path} has another configuration loaded (admin.config.load)"));
    }
    let servers = caddy.apps.and_then(|apps| apps.http?.servers).unwrap_or_default();
    let mut perhaps = false;
    let mut answers = Vec::new();
    for server in servers.values() {
        let fits = port.map_or(PortMatch::Yes, |port| server.fits(port));
        perhaps |= fits == PortMatch::Unknown;
        if fits == PortMatch::Yes {
            answers.push(server.entry(path, text)?);
        }
    }
    let mut answers = answers.into_iter();
    let Some(first) = answers.next() else {
        return match port {
            Some(port) if perhaps => Err(format!("it is not clear which server in {path} has port {port}")),
            Some(port) => Err(format!("no server in {path} has port {port}")),
            None => Ok(None),
        };
    };
    let value = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.value.clone());
    if answers.any(|other| value(&other) != value(&first)) {
        return Err(format!("the servers in {path} have different idle timeouts"));
    }
    Ok(first)
}

impl Server<'_> {
    fn fits(&self, port: u16) -> PortMatch {
        let mut fits = self
            .listen
            .iter()
            .flatten()
            .map(|address| port_match(address, port))
            .filter(|port_match| *port_match != PortMatch::No);
        let first = fits.next().unwrap_or(PortMatch::No);
        if fits.any(|port_match| port_match == PortMatch::Yes) { PortMatch::Yes } else { first }
    }

    fn entry(&self, path: &str, text: &str) -> Result<Option<Entry>, String> {
        let Some(raw) = self.idle_timeout else { return Ok(None) };
        let written = raw.get();
        // The raw text is a slice of the file, so its address gives the line.
        let offset = (written.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
        let before = offset.and_then(|offset| text.get(..offset)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let value = match serde_json::from_str(written) {
            Ok(serde_json::Value::String(value)) => value,
            Ok(serde_json::Value::Number(_)) => written.to_owned(),
            _ => return Err(format!("{path} line {line}: the value of idle_timeout is not a literal")),
        };
        Ok(Some(Entry { value, text: format!("\"idle_timeout\": {written}"), path: path.to_owned(), line }))
    }
}

/// Whether `:8080`, `tcp/[::]:80` or `127.0.0.1:8000-8010` has a port (caddy `listeners.go`).
fn port_match(address: &str, port: u16) -> PortMatch {
    let (network, rest) = address.split_once('/').unwrap_or(("tcp", address));
    if address.contains('{') {
        return PortMatch::Unknown;
    }
    if !network.trim().to_ascii_lowercase().starts_with("tcp") {
        return PortMatch::No;
    }
    let Some((_, ports)) = rest.rsplit_once(':') else { return PortMatch::Unknown };
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    match (low.parse::<u16>(), high.parse::<u16>()) {
        (Ok(low), Ok(high)) if (low..=high).contains(&port) => PortMatch::Yes,
        (Ok(_), Ok(_)) => PortMatch::No,
        _ => PortMatch::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::{NOTHING, value_with_line};
    use super::*;

    fn ask(text: &str, port: Option<u16>) -> String {
        value_with_line(read(&NOTHING, "/c.json", text, Query { key: "idle", port }))
    }

    #[rstest]
    #[case::text(r#"{"a": {"listen": [":80"], "idle_timeout": "5s"}}"#, Some(80), "5s at 2")]
    #[case::number(
        "{\"a\": {\n\"listen\": [\":80\"],\n\t\"idle_timeout\": 5000000000}}",
        Some(80),
        "5000000000 at 4"
    )]
    #[case::absent(r#"{"a": {"listen": [":80"]}}"#, Some(80), "absent")]
    #[case::null(r#"{"a": {"listen": [":80"], "idle_timeout": null}}"#, Some(80), "absent")]
    #[case::other(
        r#"{"a": {"listen": [":80"], "idle_timeout": "5s"}, "b": {"listen": [":81"]}}"#,
        Some(81),
        "absent"
    )]
    #[case::range(
        r#"{"a": {"listen": ["tcp/[::]:8000-8010"], "idle_timeout": "5s"}}"#,
        Some(8001),
        "5s at 2"
    )]
    #[case::no_server(
        r#"{"a": {"listen": ["udp/:80", "unix//x:80"]}}"#,
        Some(80),
        "? no server in /c.json has port 80"
    )]
    #[case::no_listener(r#"{"a": {}}"#, Some(80), "? no server in /c.json has port 80")]
    #[case::placeholder(
        r#"{"a": {"listen": [":{env.PORT}"]}}"#,
        Some(80),
        "? it is not clear which server in /c.json has port 80"
    )]
    #[case::placeholder_beside(
        r#"{"a": {"listen": [":{env.PORT}", ":80"], "idle_timeout": "1m"}}"#,
        Some(80),
        "1m at 2"
    )]
    #[case::all(r#"{"a": {"idle_timeout": "5s"}, "b": {"idle_timeout": "5s"}}"#, None, "5s at 2")]
    #[case::differ(
        r#"{"a": {"idle_timeout": "5s"}, "b": {}}"#,
        None,
        "? the servers in /c.json have different idle timeouts"
    )]
    #[case::list(
        r#"{"a": {"idle_timeout": []}}"#,
        None,
        "? /c.json line 2: the value of idle_timeout is not a literal"
    )]
    fn servers(#[case] listed: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(&format!("{{\"apps\": {{\"http\": {{\"servers\":\n{listed}}}}}}}"), port), expected);
    }

    #[rstest]
    #[case::no_servers(r#"{"apps": {}}"#, "absent")]
    #[case::loaded(
        r#"{"admin": {"config": {"load": {"module": "http"}}}}"#,
        "? /c.json has another configuration loaded (admin.config.load)"
    )]
    #[case::template("{\n{{ x }}", "? /c.json line 2: this is not a known Caddy configuration")]
    fn files(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, None), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_soon(
            text in "([a-z:{}\"\\[\\], \n0-9-]|\"apps\": \\{|\"http\": \\{|\"servers\": \\{|\"idle_timeout\": ){0,300}"
        ) {
            let started = std::time::Instant::now();
            ask(&text, Some(80));
            proptest::prop_assert!(started.elapsed().as_millis() < 500);
        }
    }
}
