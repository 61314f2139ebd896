//! The servers of httpd.conf: which of them answer on a port, and what they do.
//!
//! Turns what the main server and each virtual host set into the value of one port. `httpd` decides what they set.

use super::{super::Entry, Reader};

/// What `KeepAlive Off` means in a catalog entry.
const OFF: &str = "each-response";

/// What one server sets: a value, or why it is unknown.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) addresses: Vec<String>,
    /// A condition may leave it out.
    pub(super) doubtful: bool,
    pub(super) timeout: Option<Result<Entry, String>>,
    pub(super) keep_alive: Option<Result<Entry, String>>,
}

impl Reader<'_> {
    /// The value for a port: `None` where neither its virtual hosts nor the main server set one.
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

    /// The servers that may answer on a port: the virtual hosts of its number, else those of all ports, else the main
    /// server; and those of single addresses. For no port in particular: all.
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

    /// What a server does: what it sets itself, else what the main server sets.
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

/// How well a virtual host fits a port, the best first.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum PortMatch {
    /// All addresses, and this port.
    Port,
    /// All addresses and all ports.
    AnyPort,
    /// One address, or one that is not plain.
    Unknown,
    No,
}

/// Whether an address of `<VirtualHost>` has a port.
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
