//! Envoy's bootstrap file, in YAML or JSON: the idle timeout of the listener on a port.
//!
//! Reads `common_http_protocol_options.idle_timeout` of every HTTP connection manager in the static listeners that may
//! get a connection on the port, as the key `idle`. Dynamic listeners and other files are not read. The catalog defines
//! the meaning of zero.

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::{Answer, Entry, Files, Query};

/// The type of the HTTP filter, in all versions of the API.
const MANAGER: &str = ".HttpConnectionManager";
/// The names of that filter if its configuration has no type (API v2).
const OLD_NAMES: [&str; 2] =
    ["envoy.http_connection_manager", "envoy.filters.network.http_connection_manager"];
/// The timer of the overload manager that shortens idle timeouts.
const OVERLOAD: &str = "HTTP_DOWNSTREAM_CONNECTION_IDLE";

/// A list that may be absent or empty.
type List<T> = Option<Vec<T>>;

#[derive(Deserialize)]
struct Bootstrap {
    #[serde(alias = "staticResources")]
    static_resources: Option<Resources>,
    #[serde(alias = "dynamicResources")]
    dynamic_resources: Option<Dynamic>,
    admin: Option<Admin>,
}

#[derive(Deserialize)]
struct Resources {
    listeners: List<Listener>,
}

#[derive(Deserialize)]
struct Dynamic {
    #[serde(alias = "ldsConfig")]
    lds_config: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Admin {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Listener {
    name: Option<String>,
    address: Option<Address>,
    #[serde(alias = "additionalAddresses")]
    additional_addresses: List<AdditionalAddress>,
    #[serde(alias = "filterChains")]
    filter_chains: List<FilterChain>,
    #[serde(alias = "defaultFilterChain")]
    default_filter_chain: Option<FilterChain>,
    #[serde(alias = "fcdsConfig")]
    fcds_config: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct AdditionalAddress {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(alias = "socketAddress")]
    socket_address: Option<SocketAddress>,
}

#[derive(Deserialize)]
struct SocketAddress {
    #[serde(alias = "portValue")]
    port_value: Option<u16>,
    #[serde(alias = "namedPort")]
    named_port: Option<IgnoredAny>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
struct FilterChain {
    filters: List<Filter>,
}

#[derive(Deserialize)]
struct Filter {
    name: Option<String>,
    #[serde(alias = "typedConfig")]
    typed_config: Option<Manager>,
    config: Option<Manager>,
    #[serde(alias = "configDiscovery")]
    config_discovery: Option<IgnoredAny>,
}

/// An HTTP connection manager; only the type of other filters is read.
#[derive(Deserialize)]
struct Manager {
    #[serde(rename = "@type")]
    kind: Option<String>,
    #[serde(alias = "commonHttpProtocolOptions")]
    common_http_protocol_options: Option<Options>,
    /// The field of releases before 1.18.
    #[serde(alias = "idleTimeout")]
    idle_timeout: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Options {
    #[serde(alias = "idleTimeout")]
    idle_timeout: Option<Spanned<String>>,
}

/// Reads the idle timeout from the bootstrap file at `path`.
pub(super) fn read(_files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    find(path, text, query.port).into()
}

fn find(path: &str, text: &str, port: Option<u16>) -> Result<Option<Entry>, String> {
    let bootstrap: Option<Bootstrap> =
        serde_saphyr::from_str(text).map_err(|fault| match fault.location() {
            Some(place) => {
                format!("{path} line {}: this is not a known bootstrap configuration", place.line())
            }
            None => format!("{path} is not a known bootstrap configuration"),
        })?;
    let Some(bootstrap) = bootstrap else { return Err(format!("{path} is empty")) };
    if text.contains(OVERLOAD) {
        return Err(format!("the overload manager in {path} may shorten the idle timeout"));
    }
    let listeners = bootstrap.static_resources.and_then(|resources| resources.listeners).unwrap_or_default();
    let dynamic = bootstrap.dynamic_resources.is_some_and(|dynamic| dynamic.lds_config.is_some());
    let mut found = listeners.iter().filter(|listener| port.is_none_or(|port| listener.has(port))).peekable();
    match port {
        None if dynamic => return Err(format!("lds_config in {path} may add listeners")),
        Some(port) if found.peek().is_none() => {
            let named =
                listeners.iter().flat_map(Listener::sockets).any(|socket| socket.named_port.is_some());
            let admin = bootstrap.admin.and_then(|admin| admin.address?.socket_address?.port_value);
            return Err(match (admin == Some(port), dynamic, named) {
                (true, ..) => format!("port {port} is the port of the admin interface in {path}"),
                (_, true, _) => format!("the listener of port {port} may come from lds_config in {path}"),
                (_, _, true) => format!("a listener in {path} has a port by name"),
                _ => format!("no listener has port {port} in {path}"),
            });
        }
        _ => {}
    }
    let mut answers = Vec::new();
    for listener in found {
        listener.answers(path, &mut answers)?;
    }
    let mut answers = answers.into_iter();
    let Some(first) = answers.next() else { return Ok(None) };
    let value = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.value.clone());
    if answers.any(|other| value(&other) != value(&first)) {
        return Err(format!("the HTTP connection managers in {path} have different idle timeouts"));
    }
    Ok(first)
}

impl Listener {
    fn sockets(&self) -> impl Iterator<Item = &SocketAddress> {
        let additional = self.additional_addresses.iter().flatten().map(|additional| &additional.address);
        let addresses = std::iter::once(&self.address).chain(additional);
        addresses.filter_map(|address| address.as_ref()?.socket_address.as_ref())
    }

    fn has(&self, port: u16) -> bool {
        self.sockets().any(|socket| {
            socket.port_value == Some(port)
                && socket.protocol.as_deref().is_none_or(|protocol| protocol != "UDP")
        })
    }

    /// The idle timeout of each of its filter chains.
    fn answers(&self, path: &str, answers: &mut Vec<Option<Entry>>) -> Result<(), String> {
        let says = |what: &str| {
            let name = self.name.as_deref().unwrap_or("without a name");
            Err(format!("the listener {name} in {path} {what}"))
        };
        let mut chains = self.filter_chains.iter().flatten().chain(&self.default_filter_chain).peekable();
        if chains.peek().is_none() || self.fcds_config.is_some() {
            return says("gets its filters from elsewhere");
        }
        for chain in chains {
            let mut speaks_http = false;
            for filter in chain.filters.iter().flatten() {
                if filter.config_discovery.is_some() {
                    return says("gets a filter from elsewhere");
                }
                match filter.manager() {
                    Some(manager) if manager.idle_timeout.is_some() => {
                        return says("sets idle_timeout in the form of an old release");
                    }
                    Some(manager) => {
                        speaks_http = true;
                        answers.push(manager.answer(path));
                    }
                    None if filter.is_generic() => return says("has a filter without a type"),
                    None => {}
                }
            }
            if !speaks_http {
                return says("does not speak HTTP on all its filter chains");
            }
        }
        Ok(())
    }
}

impl Filter {
    fn manager(&self) -> Option<&Manager> {
        match (&self.typed_config, &self.config) {
            (Some(typed), _) => Some(typed).filter(|typed| typed.has_type(MANAGER)),
            (None, Some(old)) => {
                Some(old).filter(|_| self.name.as_deref().is_some_and(|name| OLD_NAMES.contains(&name)))
            }
            (None, None) => None,
        }
    }

    /// Whether its configuration is wrapped, so that it may be a connection manager.
    fn is_generic(&self) -> bool {
        self.typed_config.as_ref().is_some_and(|typed| typed.kind.is_none() || typed.has_type("TypedStruct"))
    }
}

impl Manager {
    fn has_type(&self, name: &str) -> bool {
        self.kind.as_deref().is_some_and(|kind| kind.ends_with(name))
    }

    fn answer(&self, path: &str) -> Option<Entry> {
        let timeout = self.common_http_protocol_options.as_ref()?.idle_timeout.as_ref()?;
        Some(Entry {
            value: timeout.value.clone(),
            text: format!("idle_timeout: {}", timeout.value),
            path: path.to_owned(),
            line: usize::try_from(timeout.defined.line()).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::{NOTHING, describe};
    use super::*;

    fn ask(text: &str, port: Option<u16>) -> String {
        let answer = read(&NOTHING, "/e.yaml", text, Query { key: "idle", port });
        describe(answer, |Entry { line, text, .. }| format!("{text} at {line}"))
    }

    const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

    /// A listener whose connection manager has these fields.
    fn listener(port: u16, fields: &str) -> String {
        format!(
            "  - name: l{port}\n    address: {{socket_address: {{address: 0.0.0.0, port_value: {port}}}}}\n    filter_chains:\n    - \
             filters:\n      - name: x\n        typed_config:\n          \"@type\": {TYPE}\n          stat_prefix: x\n{fields}"
        )
    }

    const IDLE: &str = "          common_http_protocol_options:\n            idle_timeout: 30s\n";
    const START: &str = "static_resources:\n  listeners:\n";

    #[rstest]
    #[case::set(IDLE, Some(80), "idle_timeout: 30s at 12")]
    #[case::whole_file(IDLE, None, "idle_timeout: 30s at 12")]
    #[case::zero(
        "          common_http_protocol_options: {idle_timeout: \"0s\"}",
        Some(80),
        "idle_timeout: 0s at 11"
    )]
    #[case::camel_case(
        "          commonHttpProtocolOptions: {idleTimeout: 5s}",
        Some(80),
        "idle_timeout: 5s at 11"
    )]
    #[case::absent("          stream_idle_timeout: 5s", Some(80), "absent")]
    #[case::other_port(IDLE, Some(81), "? no listener has port 81 in /e.yaml")]
    #[case::old_field(
        "          idle_timeout: 5s",
        Some(80),
        "? the listener l80 in /e.yaml sets idle_timeout in the form of an old release"
    )]
    #[case::number(
        "          common_http_protocol_options: {idle_timeout: {seconds: 5}}",
        Some(80),
        "? /e.yaml line 11: this is not a known bootstrap configuration"
    )]
    #[case::chain_without_http(
        "    - filters: [{name: y, typed_config: {\"@type\": x.TcpProxy}}]",
        Some(80),
        "? the listener l80 in /e.yaml does not speak HTTP on all its filter chains"
    )]
    #[case::filter_before_http(
        "      - {name: y, typed_config: {\"@type\": x.Rbac, idle_timeout: 5s}}",
        Some(80),
        "absent"
    )]
    #[case::wrapped(
        "      - {name: y, typed_config: {\"@type\": xds.type.v3.TypedStruct}}",
        Some(80),
        "? the listener l80 in /e.yaml has a filter without a type"
    )]
    #[case::discovered(
        "      - {name: y, config_discovery: {}}",
        Some(80),
        "? the listener l80 in /e.yaml gets a filter from elsewhere"
    )]
    fn fields(#[case] manager: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(&format!("{START}{}", listener(80, manager)), port), expected);
    }

    #[rstest]
    #[case::of_the_port(Some(81), "absent")]
    #[case::differ(None, "? the HTTP connection managers in /e.yaml have different idle timeouts")]
    fn two_listeners(#[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(&format!("{START}{}{}", listener(80, IDLE), listener(81, "")), port), expected);
    }

    #[rstest]
    #[case::dynamic("", Some(81), "? the listener of port 81 may come from lds_config in /e.yaml")]
    #[case::static_beside("", Some(80), "absent")]
    #[case::all("", None, "? lds_config in /e.yaml may add listeners")]
    #[case::admin(
        "admin: {address: {socket_address: {port_value: 9901}}}",
        Some(9901),
        "? port 9901 is the port of the admin interface in /e.yaml"
    )]
    fn dynamic(#[case] more: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        let dynamic = "dynamic_resources: {lds_config: {ads: {}}}";
        assert_eq!(ask(&format!("{START}{}{dynamic}\n{more}", listener(80, "")), port), expected);
    }

    #[rstest]
    #[case::json(
        r#"{"staticResources": {"listeners": [{
            "address": {"socketAddress": {"portValue": 80}},
            "filterChains": [{"filters": [{"name": "envoy.http_connection_manager", "config": {
                "common_http_protocol_options": {"idle_timeout": "7s"}}}]}]}]}}"#,
        "idle_timeout: 7s at 4"
    )]
    #[case::anchor(
        "x: &o {idle_timeout: 9s}\nstatic_resources:\n  listeners:\n  - address: {socket_address: {port_value: 80}}\n    \
         filter_chains: [{filters: [{name: x, typed_config: {\"@type\": a.HttpConnectionManager, common_http_protocol_options: *o}}]}]",
        "idle_timeout: 9s at 1"
    )]
    #[case::empty("", "? /e.yaml is empty")]
    #[case::udp(
        "static_resources: {listeners: [{address: {socket_address: {port_value: 80, protocol: UDP}}}]}",
        "? no listener has port 80 in /e.yaml"
    )]
    #[case::overload(
        "overload_manager: {x: HTTP_DOWNSTREAM_CONNECTION_IDLE}",
        "? the overload manager in /e.yaml may shorten the idle timeout"
    )]
    #[case::named_port(
        "static_resources: {listeners: [{address: {socket_address: {named_port: http}}}]}",
        "? a listener in /e.yaml has a port by name"
    )]
    #[case::no_filters(
        "static_resources: {listeners: [{address: {socket_address: {port_value: 80}}}]}",
        "? the listener without a name in /e.yaml gets its filters from elsewhere"
    )]
    #[case::nothing("static_resources:", "? no listener has port 80 in /e.yaml")]
    #[case::template("{{ .x }}", "? /e.yaml line 1: this is not a known bootstrap configuration")]
    fn files(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Some(80)), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_soon(
            text in "([a-z:\"'{}\\[\\]&*!|> \n-]|static_resources:\n|  listeners:\n|  - address: |port_value: 80){0,300}"
        ) {
            let started = std::time::Instant::now();
            ask(&text, Some(80));
            proptest::prop_assert!(started.elapsed().as_millis() < 500);
        }
    }
}
