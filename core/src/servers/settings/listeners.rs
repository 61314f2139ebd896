//! Finds the listener of a server on a port.
//!
//! `resolve` reads the settings of the listener.

use std::collections::BTreeSet;

use super::{Reader, Reading};
use crate::servers::catalog::{Listener, Setting, Source, VersionMatch};

/// The listener of a port.
#[derive(Debug)]
pub(in crate::servers) enum ListenerOf<'c> {
    /// The main listener, or all.
    Main,
    /// An additional listener, with its name.
    Own(&'c Listener, String),
    /// Unknown, with the reason.
    Unknown(String),
}

/// The maximum number of named listeners.
const MAX_NAMES: usize = 64;

impl<'c> Reader<'_, 'c> {
    /// The listener on the port of the query.
    pub(in crate::servers) fn listener_of(&self, port: u16) -> ListenerOf<'c> {
        let mut open = None;
        for (listener, name) in self.instances() {
            match self.ports(listener, &name) {
                Err(why) => open = open.or(Some(why)),
                Ok(ports) if ports.contains(&port) => return ListenerOf::Own(listener, name),
                Ok(_) => {}
            }
        }
        match (open, &self.recognition.server.other_ports) {
            (Some(why), _) => ListenerOf::Unknown(why),
            (None, Some(why)) => ListenerOf::Unknown(why.clone()),
            (None, None) => ListenerOf::Main,
        }
    }

    /// All listeners with their names.
    pub(in crate::servers) fn instances(&self) -> Vec<(&'c Listener, String)> {
        let server = self.recognition.server;
        let mut instances = Vec::new();
        let version = self.recognition.version.as_ref();
        let is_there = |listener: &&Listener| {
            listener.versions.as_ref().is_none_or(|versions| versions.fit(version) != VersionMatch::No)
        };
        for listener in server.listeners.iter().filter(is_there) {
            if !listener.name.contains('<') {
                instances.push((listener, listener.name.clone()));
                continue;
            }
            let mut names: BTreeSet<String> = listener.named_ports.keys().cloned().collect();
            for setting in listener.port.iter().chain(&listener.settings) {
                names.extend(self.names_in(setting));
            }
            instances.extend(names.into_iter().take(MAX_NAMES).map(|name| (listener, name)));
        }
        instances
    }

    /// The ports of a listener; the error says why they are unknown.
    fn ports(&self, listener: &Listener, name: &str) -> Result<Vec<u16>, String> {
        let one = self.of_listener(name.to_owned());
        for setting in &listener.port {
            match one.read(setting) {
                Reading::Absent => {}
                Reading::Unknown(why) => return Err(why),
                Reading::Set { value, text, .. } => {
                    return match port(&value) {
                        Some(port) => Ok(vec![port]),
                        None if value.trim().is_empty() => Ok(Vec::new()),
                        None => Err(format!("{text} has no readable port")),
                    };
                }
            }
        }
        match listener.named_ports.get(name) {
            Some(port) => Ok(vec![*port]),
            None => Ok(listener.default_ports.clone()),
        }
    }

    /// The names that replace `<name>` in a setting.
    fn names_in(&self, setting: &Setting) -> Vec<String> {
        let ignore_case = self.recognition.server.ignore_case;
        let named = |known: &str, found: &str| {
            let (head, tail) =
                known.split_once('<').and_then(|(head, tail)| Some((head, tail.split_once('>')?.1)))?;
            let (head, tail, lower) = if ignore_case {
                (head.to_ascii_lowercase(), tail.to_ascii_lowercase(), found.to_ascii_lowercase())
            } else {
                (head.to_owned(), tail.to_owned(), found.to_owned())
            };
            let name = lower.strip_prefix(&head)?.strip_suffix(&tail)?;
            (!name.is_empty() && !name.contains('.')).then(|| name.to_owned())
        };
        match &setting.source {
            Source::Flag { names, .. } => {
                let words = self.lines().flat_map(|line| line.into_owned());
                let flags = words.filter_map(|word| {
                    let flag = word.prefix().split('=').next().unwrap_or_default().to_owned();
                    names.iter().find_map(|known| named(&known.full, &flag))
                });
                flags.collect()
            }
            Source::Env(names) => {
                let set = self.environment().names();
                let found = set.iter().filter_map(|name| names.iter().find_map(|known| named(known, name)));
                found.map(|name| name.to_ascii_lowercase()).collect()
            }
            Source::File { name, key } => {
                let head = key.split('<').next().unwrap_or_default();
                self.names_in_file(name, head)
            }
            Source::Argument(_)
            | Source::Property(_)
            | Source::Spring(_)
            | Source::Mount(_)
            | Source::Subcommand => Vec::new(),
        }
    }
}

/// The port of `8080`, `:8080/tcp`, `0.0.0.0:8080` or `[::]:8080`.
fn port(text: &str) -> Option<u16> {
    let text = text.trim().split('/').next()?;
    let port = text.rsplit_once(':').map_or(text, |(_, port)| port);
    port.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::port;

    #[rstest]
    #[case::port("8080", Some(8080))]
    #[case::every_address(":9402", Some(9402))]
    #[case::address("0.0.0.0:2000", Some(2000))]
    #[case::protocol(":8000/tcp", Some(8000))]
    #[case::six("[::]:80", Some(80))]
    #[case::host_alone("localhost", None)]
    #[case::off("0", None)]
    #[case::empty("", None)]
    #[case::too_large(":70000", None)]
    fn ports(#[case] text: &str, #[case] expected: Option<u16>) {
        assert_eq!(port(text), expected);
    }
}
