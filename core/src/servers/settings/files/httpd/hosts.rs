//! The servers of httpd.conf that answer on a port.
//!
//! Combines the settings of the main server and of each virtual host into the value for a port.

use super::{super::Entry, Reader};

/// The value for `KeepAlive Off` in catalog entries.
const OFF: &str = "each-response";

/// The settings of a server: values, or why they are unknown.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) addresses: Vec<String>,
    /// Whether a condition may exclude it.
    pub(super) doubtful: bool,
    pub(super) timeout: Option<Result<Entry, String>>,
    pub(super) keep_alive: Option<Result<Entry, String>>,
}

impl Reader<'_> {
    /// The value for a port; `None` if neither its virtual hosts nor the main server set one.
    pub(super) fn answer(&self, path: &str, port: Option<u16>) -> Result<Option<Entry>, String> {
        if let Some(port) = port
            && !self.listens.is_empty()
            && !self.listens.contains(&None)
            && !self.listens.contains(&Some(port))
        {
            return Err(format!("no Listen has port {port} in {path}"));
        }
        let mut answers = self.candidates(port).into_iter().map(|scope| self.of_scope(scope));
        let Some(first) = answers.next().transpose()? else { return Ok(None) };
        for other in answers {
            if other?.map(|entry| entry.value) != first.as_ref().map(|entry| entry.value.clone()) {
                return Err(format!("the virtual hosts in {path} have different values of {}", self.key));
            }
        }
        Ok(first)
    }

    /// The servers that may answer on a port: the virtual hosts with its number, otherwise those for all ports,
    /// otherwise the main server; also those for single addresses. Without a port: all servers.
    fn candidates(&self, port: Option<u16>) -> Vec<&Scope> {
        let Some(port) = port else { return self.scopes.iter().collect() };
        let best = |scope: &Scope| match scope.addresses.iter().map(|address| port_match(address, port)).min()
        {
            Some(PortMatch::Port | PortMatch::AnyPort) if scope.doubtful => PortMatch::Unknown,
            best => best.unwrap_or(PortMatch::No),
        };
        let fits = |wanted: PortMatch| {
            self.scopes.iter().skip(1).filter(move |scope| best(scope) == wanted).collect::<Vec<_>>()
        };
        let mut candidates = fits(PortMatch::Port);
        if candidates.is_empty() {
            candidates = fits(PortMatch::AnyPort);
        }
        if candidates.is_empty() {
            candidates.extend(self.scopes.first());
        }
        candidates.extend(fits(PortMatch::Unknown));
        candidates
    }

    /// The value of a server: its own, otherwise that of the main server.
    fn of_scope(&self, scope: &Scope) -> Result<Option<Entry>, String> {
        let main = self.scopes.first();
        let keep_alive = scope.keep_alive.as_ref().or_else(|| main?.keep_alive.as_ref());
        match keep_alive.cloned().transpose()? {
            Some(entry) if entry.value.eq_ignore_ascii_case("off") => {
                return Ok(Some(Entry { value: OFF.to_owned(), ..entry }));
            }
            Some(entry) if !entry.value.eq_ignore_ascii_case("on") => {
                return Err(format!("{} line {}: KeepAlive is neither On nor Off", entry.path, entry.line));
            }
            _ => {}
        }
        scope.timeout.as_ref().or_else(|| main?.timeout.as_ref()).cloned().transpose()
    }
}

/// How well a virtual host matches a port, the best first.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum PortMatch {
    /// All addresses, this port.
    Port,
    /// All addresses, all ports.
    AnyPort,
    /// A single address, or one that cannot be parsed.
    Unknown,
    No,
}

/// Whether an address of `<VirtualHost>` matches a port.
fn port_match(address: &str, port: u16) -> PortMatch {
    let (host, number) = match address.rsplit_once(':') {
        Some((host, number)) if !number.ends_with(']') => (host, number),
        _ => (address, "*"),
    };
    let every_host = matches!(host, "*" | "0.0.0.0" | "[::]") || host.eq_ignore_ascii_case("_default_");
    match number.parse::<u16>() {
        Ok(number) if number != port => PortMatch::No,
        Ok(_) if every_host => PortMatch::Port,
        Err(_) if every_host && number == "*" => PortMatch::AnyPort,
        Ok(_) | Err(_) => PortMatch::Unknown,
    }
}

/// The port of `8080`, `127.0.0.1:80` or `[::]:8080`.
pub(super) fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':').map_or(address, |(_, port)| port).parse().ok()
}
