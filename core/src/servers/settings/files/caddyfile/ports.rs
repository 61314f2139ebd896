//! The servers that Caddy creates for a port.
//!
//! Combines the `servers` options and the addresses of all sites into the value for a port.

use super::{super::Entry, Reader, lexer::UNKNOWN};

impl Reader<'_> {
    /// The value for a port; `None` if no option sets it.
    pub(super) fn answer(&self, path: &str, port: Option<u16>) -> Result<Option<Entry>, String> {
        let mut answers: Vec<Option<&Entry>> =
            self.servers.iter().map(|servers| servers.idle.as_ref()).collect();
        let for_all = self.servers.iter().find(|servers| servers.address.is_none());
        if for_all.is_none() {
            answers.push(None);
        }
        if let Some(port) = port {
            let sites: Vec<Vec<Option<u16>>> = self
                .sites
                .iter()
                .map(|site| site.iter().map(|key| self.port_of_site(key)).collect())
                .collect();
            let listens = sites.iter().flatten().any(|known| *known == Some(port));
            let all_known = !self.unseen && sites.iter().flatten().all(Option::is_some);
            if !listens
                && (all_known
                    || self.http_port.is_none_or(|http| http == port)
                    || self.admin_port.is_none_or(|admin| admin == port))
            {
                return Err(format!("no site in {path} has port {port}"));
            }
            // Sites with several addresses may share a server, and then the options of any of them apply.
            let alone = sites.iter().all(|ports| ports.windows(2).all(|pair| pair.first() == pair.last()));
            if all_known && alone && !self.bound {
                let address = format!(":{port}");
                let own = self.servers.iter().find(|servers| servers.address.as_ref() == Some(&address));
                answers = vec![own.or(for_all).and_then(|servers| servers.idle.as_ref())];
            }
        }
        let mut answers = answers.into_iter();
        let first = answers.next().flatten();
        if answers.any(|other| other.map(|entry| &entry.value) != first.map(|entry| &entry.value)) {
            return Err(format!("the servers in {path} have different idle timeouts"));
        }
        Ok(first.cloned())
    }

    /// The port of `:8080`, `http://example.com`, `example.com:8443/path`; `None` if it is unknown.
    fn port_of_site(&self, address: &str) -> Option<u16> {
        if address.contains([UNKNOWN, '{']) {
            return None;
        }
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let host = rest.split('/').next().unwrap_or(rest);
        match host.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().ok(),
            _ if scheme == "http" => self.http_port,
            _ => self.https_port,
        }
    }
}

/// The port of `8080`, `:2019` or `localhost:2019`.
pub(super) fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':').map_or(address, |(_, port)| port).parse().ok()
}
