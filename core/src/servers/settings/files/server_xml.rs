//! Tomcat's server.xml: an attribute of the HTTP connector on a port.
//!
//! Parses connectors, and answers an attribute for a port. The keep-alive timeout falls back to the connection timeout
//! of the same connector (tomcat `AbstractEndpoint.getKeepAliveTimeout`). The caller handles defaults.

use roxmltree::{Attribute, Document, Node};

use super::{Answer, Entry, Files, Query};

/// The attribute of the idle timeout and its fallback.
const KEEP_ALIVE: [&str; 2] = ["keepAliveTimeout", "connectionTimeout"];
/// Other names of both (tomcat `Connector.replacements` and `SocketProperties`).
const ALIASES: [&str; 3] = ["soTimeout", "socket.soTimeout", "socketProperties.soTimeout"];

/// The maximum number of connectors.
const MAX_CONNECTORS: usize = 64;
/// The maximum number of attributes of an element, because the parser compares all pairs.
const MAX_ATTRIBUTES: usize = 1000;

/// Reads the attribute `key` of a connector from the file at `path`.
pub(super) fn read(_files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    find(path, text, query).into()
}

fn find(path: &str, text: &str, query: Query<'_>) -> Result<Option<Entry>, String> {
    if text.split('<').any(|element| element.matches('=').count() > MAX_ATTRIBUTES) {
        return Err(format!("{path} has an element with too many attributes"));
    }
    let document = Document::parse(text).map_err(|error| {
        let line = error.pos().row;
        format!("{path} line {line}: this is not a literal XML")
    })?;
    let file = File { path, document: &document };
    if let Some(include) = document.descendants().find(|node| node.tag_name().name() == "include") {
        return Err(file.fault(include, "another file is included"));
    }
    let connectors = file.connectors(query.port)?;
    let mut answers = Vec::new();
    for connector in connectors {
        answers.push(file.value(connector, query.key)?);
    }
    let Some(first) = answers.first() else {
        return Err(match query.port {
            Some(port) => format!("no HTTP connector of {path} has port {port}"),
            None => format!("{path} has no HTTP connector"),
        });
    };
    let value = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.value.clone());
    if answers.iter().all(|other| value(other) == value(first)) {
        Ok(first.clone())
    } else {
        Err(format!("the connectors in {path} have different values of {}", query.key))
    }
}

struct File<'d, 'i> {
    path: &'d str,
    document: &'d Document<'i>,
}

impl<'d, 'i> File<'d, 'i> {
    fn line(&self, at: usize) -> usize {
        usize::try_from(self.document.text_pos_at(at).row).unwrap_or_default()
    }

    fn fault(&self, node: Node<'_, '_>, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line(node.range().start))
    }

    /// The HTTP connectors on a port, or all.
    fn connectors(&self, port: Option<u16>) -> Result<Vec<Node<'d, 'i>>, String> {
        let server = self.document.root_element();
        if server.tag_name().name() != "Server" {
            return Err(self.fault(server, "the file is not a Tomcat server.xml"));
        }
        let services = server.children().filter(|node| node.tag_name().name() == "Service");
        let all = services.flat_map(|service| service.children());
        let all = all.filter(|node| node.tag_name().name() == "Connector");
        let mut of_port = Vec::new();
        let mut doubt = None;
        for (index, connector) in all.enumerate() {
            if index == MAX_CONNECTORS {
                return Err(format!("{} has too many connectors", self.path));
            }
            if let Some(port) = port {
                match self.port(server, connector) {
                    Ok(own) if own == port => {}
                    Ok(_) => continue,
                    Err(why) => {
                        doubt = Some(why);
                        continue;
                    }
                }
            }
            if self.is_http(connector)? {
                of_port.push(connector);
            }
        }
        match doubt {
            Some(why) if of_port.is_empty() => Err(why),
            Some(_) | None => Ok(of_port),
        }
    }

    /// The port of a connector. With `0` the system chooses it, with a negative number there is none.
    fn port(&self, server: Node<'_, '_>, connector: Node<'_, '_>) -> Result<u16, String> {
        let offsets = [server.attribute("portOffset"), connector.attribute("portOffset")];
        if offsets.into_iter().flatten().any(|offset| offset.trim() != "0") {
            return Err(self.fault(connector, "the port has an offset"));
        }
        match connector.attribute("port").map(str::parse) {
            Some(Ok(port)) if port > 0 => Ok(port),
            Some(_) | None => Err(self.fault(connector, "the port of a connector is not a literal")),
        }
    }

    /// Whether a connector uses HTTP instead of AJP (tomcat `Connector.setProtocol`).
    fn is_http(&self, connector: Node<'_, '_>) -> Result<bool, String> {
        match connector.attribute("protocol") {
            None | Some("HTTP/1.1") => Ok(true),
            Some(protocol) if protocol.starts_with("org.apache.coyote.http11.Http11") => Ok(true),
            Some(protocol) if protocol.starts_with("AJP/") => Ok(false),
            Some(protocol) if protocol.starts_with("org.apache.coyote.ajp.") => Ok(false),
            Some(_) => Err(self.fault(connector, "the protocol of a connector is not one of Tomcat's")),
        }
    }

    fn value(&self, connector: Node<'d, 'i>, key: &str) -> Result<Option<Entry>, String> {
        let names = if key == KEEP_ALIVE[0] { KEEP_ALIVE.as_slice() } else { std::slice::from_ref(&key) };
        let mut attributes: Vec<Attribute<'d, 'i>> = Vec::new();
        for attribute in connector.attributes() {
            let name = attribute.name();
            let alias = names.iter().any(|key| *key != name && key.eq_ignore_ascii_case(name))
                || (names.len() > 1 && ALIASES.iter().any(|alias| alias.eq_ignore_ascii_case(name)));
            if alias {
                let line = self.line(attribute.range().start);
                return Err(format!("{} line {line}: {name} may be another spelling of {key}", self.path));
            }
            if names.contains(&name) {
                attributes.push(attribute);
            }
        }
        let of_name = |name: &&str| attributes.iter().find(|attribute| attribute.name() == *name);
        let Some(attribute) = names.iter().find_map(of_name) else { return Ok(None) };
        let line = self.line(attribute.range().start);
        let value = attribute.value();
        if value.contains("${") {
            return Err(format!(
                "{} line {line}: the value of {} is a placeholder",
                self.path,
                attribute.name()
            ));
        }
        let text = self.document.input_text().get(attribute.range()).unwrap_or_default().to_owned();
        Ok(Some(Entry { value: value.to_owned(), text, path: self.path.to_owned(), line }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::testing::{NOTHING, describe};
    use super::*;

    fn ask(text: &str, port: Option<u16>) -> String {
        let answer = read(&NOTHING, "/conf/server.xml", text, Query { key: "keepAliveTimeout", port });
        describe(answer, |Entry { text, line, .. }| format!("{text} at {line}"))
    }

    #[rstest]
    #[case::keep_alive(
        "<Connector port='8080'\n keepAliveTimeout='5000' connectionTimeout='20000'/>",
        Some(8080),
        "keepAliveTimeout='5000' at 2"
    )]
    #[case::connection_timeout(
        "<Connector port='8080' connectionTimeout='20000'/>",
        Some(8080),
        "connectionTimeout='20000' at 1"
    )]
    #[case::neither("<Connector port='8080' protocol='HTTP/1.1'/>", Some(8080), "absent")]
    #[case::never("<Connector port='80' keepAliveTimeout='-1'/>", None, "keepAliveTimeout='-1' at 1")]
    #[case::no_port_asked("<Connector port='80' keepAliveTimeout='5'/>", None, "keepAliveTimeout='5' at 1")]
    #[case::of_the_port(
        "<Connector port='81' keepAliveTimeout='1'/><Connector port='80' keepAliveTimeout='2'/>",
        Some(80),
        "keepAliveTimeout='2' at 1"
    )]
    #[case::two_agree(
        "<Connector port='81' keepAliveTimeout='2'/><Connector port='80' keepAliveTimeout='2'/>",
        None,
        "keepAliveTimeout='2' at 1"
    )]
    #[case::two_differ(
        "<Connector port='81' keepAliveTimeout='1'/><Connector port='80'/>",
        None,
        "? the connectors in /conf/server.xml have different values of keepAliveTimeout"
    )]
    #[case::ajp_does_not_count(
        "<Connector port='8009' protocol='AJP/1.3' keepAliveTimeout='1'/><Connector port='80'/>",
        None,
        "absent"
    )]
    #[case::ajp(
        "<Connector port='8009' protocol='org.apache.coyote.ajp.AjpNioProtocol'/>",
        Some(8009),
        "? no HTTP connector of /conf/server.xml has port 8009"
    )]
    #[case::nio(
        "<Connector port='80' protocol='org.apache.coyote.http11.Http11Nio2Protocol' keepAliveTimeout='3'/>",
        Some(80),
        "keepAliveTimeout='3' at 1"
    )]
    #[case::other_protocol(
        "<Connector port='80' protocol='com.example.Http'/>",
        Some(80),
        "? /conf/server.xml line 1: the protocol of a connector is not one of Tomcat's"
    )]
    #[case::no_such_port(
        "<Connector port='80'/>",
        Some(81),
        "? no HTTP connector of /conf/server.xml has port 81"
    )]
    #[case::none("", None, "? /conf/server.xml has no HTTP connector")]
    #[case::placeholder(
        "<Connector port='80' keepAliveTimeout='${idle:-5}'/>",
        Some(80),
        "? /conf/server.xml line 1: the value of keepAliveTimeout is a placeholder"
    )]
    #[case::placeholder_of_the_fallback(
        "<Connector port='80' connectionTimeout='${idle}' keepAliveTimeout='5'/>",
        Some(80),
        "keepAliveTimeout='5' at 1"
    )]
    #[case::port_placeholder(
        "<Connector port='${port}'/>",
        Some(80),
        "? /conf/server.xml line 1: the port of a connector is not a literal"
    )]
    #[case::other_port_placeholder(
        "<Connector port='${port}'/><Connector port='80' keepAliveTimeout='5'/>",
        Some(80),
        "keepAliveTimeout='5' at 1"
    )]
    #[case::offset(
        "<Connector port='80' portOffset='1'/>",
        Some(80),
        "? /conf/server.xml line 1: the port has an offset"
    )]
    #[case::no_offset(
        "<Connector port='80' portOffset='0' keepAliveTimeout='5'/>",
        Some(80),
        "keepAliveTimeout='5' at 1"
    )]
    #[case::alias(
        "<Connector port='80' soTimeout='1'/>",
        Some(80),
        "? /conf/server.xml line 1: soTimeout may be another spelling of keepAliveTimeout"
    )]
    #[case::other_case(
        "<Connector port='80' KeepAliveTimeout='1'/>",
        Some(80),
        "? /conf/server.xml line 1: KeepAliveTimeout may be another spelling of keepAliveTimeout"
    )]
    #[case::comment(
        "<!-- <Connector port='80' keepAliveTimeout='1'/> --><Connector port='80'/>",
        Some(80),
        "absent"
    )]
    #[case::inside_an_engine(
        "<Engine><Connector port='80' keepAliveTimeout='1'/></Engine><Connector port='80'/>",
        Some(80),
        "absent"
    )]
    #[case::http2(
        "<Connector port='80'><UpgradeProtocol className='x' keepAliveTimeout='1'/></Connector>",
        Some(80),
        "absent"
    )]
    #[case::include(
        "<Connector port='80'/><xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='x'/>",
        Some(80),
        "? /conf/server.xml line 1: another file is included"
    )]
    #[case::broken("<Connector>\n", Some(80), "? /conf/server.xml line 2: this is not a literal XML")]
    #[case::entity_without_a_name(
        "<Connector port='&x;'/>",
        None,
        "? /conf/server.xml line 1: this is not a literal XML"
    )]
    fn of_connectors(#[case] connectors: &str, #[case] port: Option<u16>, #[case] expected: &str) {
        assert_eq!(ask(&format!("<Server><Service>{connectors}</Service></Server>"), port), expected);
    }

    #[rstest]
    #[case::entities(
        "<!DOCTYPE s [<!ENTITY c SYSTEM 'c.xml'>]>\n<Server><Service>&c;</Service></Server>",
        "? /conf/server.xml line 1: this is not a literal XML"
    )]
    #[case::other_root("<Context/>", "? /conf/server.xml line 1: the file is not a Tomcat server.xml")]
    #[case::empty("", "? /conf/server.xml line 1: this is not a literal XML")]
    #[case::two_services(
        "<Server><Service/><Service><Connector port='80' keepAliveTimeout='4'/></Service></Server>",
        "keepAliveTimeout='4' at 1"
    )]
    fn documents(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, None), expected);
    }

    #[test]
    fn other_attributes_have_no_fallback() {
        let text = "<Server><Service><Connector port='80' connectionTimeout='5'/></Service></Server>";
        let query = Query { key: "maxKeepAliveRequests", port: Some(80) };
        assert_eq!(read(&NOTHING, "/x", text, query), Answer::Absent);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(<|/>|>|Server|Service|Connector|port='80'|keepAliveTimeout='5'|[ &;!]|\\PC){0,40}") {
            ask(&text, Some(80));
            ask(&format!("<Server><Service><Connector {text}/></Service></Server>"), None);
        }
    }
}
