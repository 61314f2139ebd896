//! YAML, JSON and TOML: the value at a dotted path.
//!
//! Turns the text into documents, each a flat list of dotted names with their values, and a key into an [`Answer`]. Which
//! document of several counts is left to `spring` and `quarkus`.

mod parse;

use std::collections::{HashMap, HashSet};

use super::{Answer, Entry, Files, Query, placeholder};

/// How a file is written, and how its keys are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// YAML with one document, keys as they are.
    Yaml,
    /// JSON, keys as they are.
    Json,
    /// TOML, keys as they are.
    Toml,
    /// appsettings.json of .NET: JSON with comments and trailing commas; keys without case, `A:B` as nested.
    Appsettings,
    /// application.yaml of Spring: keys without case, dashes and underscores, `a.b` as nested; several documents, of
    /// which the last counts.
    RelaxedYaml,
}

/// Stands for a dot that is part of one key, and does not part two.
pub(super) const DOT_IN_KEY: char = '\0';

/// A value that is no map, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Leaf {
    /// The keys of all maps around it and its own, with dots between them.
    pub(super) name: String,
    /// The line of its own key, from 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) value: Value,
}

/// What a leaf is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    /// A string, a boolean or a number without a second spelling.
    Text(String),
    /// A list whose items are all texts, or `None`.
    List(Option<Vec<String>>),
    /// null or nothing.
    Null,
    /// A map without keys.
    Empty,
    /// A number or a word that programs read differently: `0x10`, `yes`.
    Odd(String),
    /// The map has the same key before: what is below it is that of the last one.
    Twice,
}

impl Style {
    /// Keys as they are compared; the dots between them stay.
    pub(super) fn comparable(self, name: &str) -> String {
        match self {
            Self::Yaml | Self::Json | Self::Toml => name.to_owned(),
            Self::Appsettings => name.to_ascii_lowercase(),
            Self::RelaxedYaml => relaxed(name),
        }
    }

    /// A key as part of a dotted name.
    fn part(self, key: &str) -> String {
        match self {
            Self::Yaml | Self::Json | Self::Toml => key.replace('.', "\0"),
            Self::Appsettings => key.replace('.', "\0").replace(':', "."),
            Self::RelaxedYaml => key.to_owned(),
        }
    }

    /// A key may name several levels at once, so that a value beside a map is no fault.
    const fn is_flat(self) -> bool {
        matches!(self, Self::Appsettings | Self::RelaxedYaml)
    }
}

/// Dashes, underscores and case do not count.
pub(super) fn relaxed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Reads the value at `query.key`. `placeholders`: the program replaces `${VAR}` and `${VAR:default}` by variables.
pub(super) fn read(
    files: &dyn Files,
    path: &str,
    text: &str,
    query: Query<'_>,
    style: Style,
    placeholders: bool,
) -> Answer {
    let answer = single(text, style, query.key).and_then(|leaves| {
        let Some(leaf) = find(&leaves, style, query.key)? else { return Ok(Answer::Absent) };
        let value = plain(leaf)?;
        let value = if placeholders {
            placeholder::resolve(files, value).map_err(|why| leaf.fault(&why))?
        } else if placeholder::is_in(value) {
            return Err(leaf.fault(&format!("{} has a placeholder", leaf.written())));
        } else {
            value.to_owned()
        };
        let between = if style == Style::Toml { " = " } else { ": " };
        Ok(Answer::Set(leaf.entry(value, path, between)))
    });
    answer.unwrap_or_else(|why| Answer::Unknown(format!("{path} {why}")))
}

/// The keys of the map at a dotted path, in the order of the file; none where there is no map. An empty path means the
/// whole file.
pub(super) fn children(text: &str, style: Style, key: &str) -> Result<Vec<String>, String> {
    let leaves = single(text, style, key)?;
    if !key.is_empty()
        && let Some(leaf) = find_or_map(&leaves, style, key)?
        && style.comparable(&leaf.name) == style.comparable(key)
        && !matches!(leaf.value, Value::Null | Value::Empty)
    {
        return Err(leaf.fault(&format!("{} is no map", leaf.written())));
    }
    let wanted = style.comparable(key);
    let mut names: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for leaf in &leaves {
        let depth = if key.is_empty() {
            0
        } else if below(&style.comparable(&leaf.name), &wanted) {
            key.matches('.').count() + 1
        } else {
            continue;
        };
        let Some(name) = leaf.name.split('.').nth(depth).filter(|name| !name.is_empty()) else { continue };
        if name.contains(DOT_IN_KEY) {
            return Err(leaf.fault(&format!("{} has a key with a dot", leaf.written())));
        }
        if seen.insert(style.comparable(name)) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The documents of a text, each as its leaves in the order of the file; the error begins with `line 7: `.
pub(super) fn documents(text: &str, style: Style) -> Result<Vec<Vec<Leaf>>, String> {
    parse::documents(text.strip_prefix('\u{feff}').unwrap_or(text), style)
}

/// The document that counts, for a program that knows no conditions.
fn single(text: &str, style: Style, key: &str) -> Result<Vec<Leaf>, String> {
    let mut documents = documents(text, style)?;
    if style == Style::RelaxedYaml {
        let mut counting = Vec::new();
        for document in documents {
            let condition = document.iter().find(|leaf| is_condition(&leaf.name));
            match find_or_map(&document, style, key)? {
                Some(leaf) if condition.is_some() => {
                    return Err(leaf.fault(&format!("{} counts in some profiles alone", leaf.written())));
                }
                Some(_) => counting = document,
                None => {}
            }
        }
        return Ok(counting);
    }
    match documents.pop() {
        None => Ok(Vec::new()),
        Some(document) if documents.is_empty() => Ok(document),
        Some(document) => {
            let line = document.first().map_or(1, |leaf| leaf.line);
            Err(format!("line {line}: the file has several documents"))
        }
    }
}

/// One document of several: of leaves with one name the last counts.
pub(super) fn merged(documents: Vec<Vec<Leaf>>) -> Vec<Leaf> {
    let mut places = HashMap::new();
    let mut leaves: Vec<Leaf> = Vec::new();
    for leaf in documents.into_iter().flatten() {
        let key = (leaf.name.clone(), leaf.value == Value::Twice);
        if let Some(earlier) = places.get(&key).and_then(|place: &usize| leaves.get_mut(*place)) {
            *earlier = leaf;
        } else {
            places.insert(key, leaves.len());
            leaves.push(leaf);
        }
    }
    leaves
}

/// Whether a property of Spring says when its document counts.
pub(super) fn is_condition(name: &str) -> bool {
    let name = relaxed(name);
    let name = name.split_once('[').map_or(name.as_str(), |(name, _)| name);
    name == "spring.profiles" || name.starts_with("spring.config.activate")
}

/// The leaf at a dotted path: `None` where the file leaves it out.
pub(super) fn find<'l>(leaves: &'l [Leaf], style: Style, key: &str) -> Result<Option<&'l Leaf>, String> {
    let leaf = find_or_map(leaves, style, key)?;
    let wanted = style.comparable(key);
    match leaf {
        Some(leaf) if style.comparable(&leaf.name) != wanted => {
            Err(leaf.fault(&format!("{key} is a map, not a value")))
        }
        Some(Leaf { value: Value::Empty, .. }) => Ok(None),
        leaf => Ok(leaf),
    }
}

/// The leaf at a dotted path, or the first one below it.
fn find_or_map<'l>(leaves: &'l [Leaf], style: Style, key: &str) -> Result<Option<&'l Leaf>, String> {
    let wanted = style.comparable(key);
    let mut found: Option<&Leaf> = None;
    let mut map: Option<&Leaf> = None;
    for leaf in leaves {
        let name = style.comparable(&leaf.name);
        if name.contains(DOT_IN_KEY) {
            let dotted = name.replace(DOT_IN_KEY, ".");
            if dotted == wanted || below(&dotted, &wanted) || below(&wanted, &dotted) {
                return Err(leaf.fault(&format!("{} has a key with a dot", leaf.written())));
            }
        } else if name == wanted {
            if found.is_some() {
                return Err(leaf.fault(&format!("{} is set twice", leaf.written())));
            }
            found = Some(leaf);
        } else if below(&name, &wanted) {
            map = map.or(Some(leaf));
        } else if below(&wanted, &name) {
            match leaf.value {
                Value::Twice => return Err(leaf.fault(&format!("{} is set twice", leaf.written()))),
                Value::Null | Value::Empty => {}
                _ if style.is_flat() => {}
                Value::Text(_) | Value::List(_) | Value::Odd(_) => {
                    return Err(leaf.fault(&format!("{} is no map", leaf.written())));
                }
            }
        }
    }
    match (found, map) {
        (Some(leaf), Some(_)) if !matches!(leaf.value, Value::Twice) => {
            Err(leaf.fault(&format!("{} is set twice", leaf.written())))
        }
        (found, map) => Ok(found.or(map)),
    }
}

/// Whether a name is that of something in the map of another name.
fn below(name: &str, map: &str) -> bool {
    name.strip_prefix(map).is_some_and(|rest| rest.starts_with('.'))
}

/// The text of a leaf.
pub(super) fn plain(leaf: &Leaf) -> Result<&str, String> {
    let what = match &leaf.value {
        Value::Text(text) => return Ok(text),
        Value::List(_) => "is a list, not a value",
        Value::Null => "is null",
        Value::Empty => "is a map, not a value",
        Value::Odd(_) => "is no plain value",
        Value::Twice => "is set twice",
    };
    Err(leaf.fault(&format!("{} {what}", leaf.written())))
}

impl Leaf {
    /// Why nobody can tell, with the line.
    pub(super) fn fault(&self, why: &str) -> String {
        format!("line {}: {why}", self.line)
    }

    /// Its name as the file has it, with dots.
    pub(super) fn written(&self) -> String {
        self.name.replace(DOT_IN_KEY, ".")
    }

    /// What the file says, with the value that the program sees; `between` stands between name and value.
    pub(super) fn entry(&self, value: String, path: &str, between: &str) -> Entry {
        let written = if let Value::Text(text) = &self.value { text.as_str() } else { value.as_str() };
        let text = format!("{}{between}{written}", self.written());
        Entry { value, text, path: path.to_owned(), line: self.line }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use rstest::rstest;

    use super::super::testing::{Given, NOTHING, told_with_text};
    use super::*;

    const VARIABLES: Given<'_> = Given { variables: &[("KEEP", "9s")], ..NOTHING };

    fn ask(text: &str, style: Style, key: &str, placeholders: bool) -> String {
        told_with_text(read(&VARIABLES, "f", text, Query { key, port: None }, style, placeholders))
    }

    #[rstest]
    #[case::text("server:\n  # c\n  idle: 10s\n", "10s | server.idle: 10s | 3")]
    #[case::number("a: 1\nserver: {idle: 30}", "30 | server.idle: 30 | 2")]
    #[case::fraction("server: {idle: 1.5}", "1.5 | server.idle: 1.5 | 1")]
    #[case::quoted("server: {idle: \"0644\"}", "0644 | server.idle: 0644 | 1")]
    #[case::on_the_next_line("server:\n  idle:\n    10s", "10s | server.idle: 10s | 2")]
    #[case::boolean("server: {idle: true}", "true | server.idle: true | 1")]
    #[case::mark("\u{feff}server:\n  idle: 1s", "1s | server.idle: 1s | 2")]
    #[case::merged("x: &x\n  idle: 1s\nserver:\n  <<: *x", "1s | server.idle: 1s | 2")]
    #[case::alias("x: &x 1s\nserver:\n  idle: *x", "1s | server.idle: 1s | 3")]
    #[case::left_out("server:\n  read: 1s", "absent")]
    #[case::nothing("", "absent")]
    #[case::only_comments("# server:\n#  idle: 1s", "absent")]
    #[case::empty_map("server:\n", "absent")]
    #[case::other_case("Server: {Idle: 1s}", "absent")]
    #[case::octal("server: {idle: 010}", "? f line 1: server.idle is no plain value")]
    #[case::exponent("server: {idle: 1e3}", "? f line 1: server.idle is no plain value")]
    #[case::word("server: {idle: off}", "? f line 1: server.idle is no plain value")]
    #[case::null("server:\n  idle:\n", "? f line 2: server.idle is null")]
    #[case::list("server: {idle: [1s]}", "? f line 1: server.idle is a list, not a value")]
    #[case::map("server:\n  idle: {a: 1}", "? f line 2: server.idle is a map, not a value")]
    #[case::no_map("server: 5", "? f line 1: server is no map")]
    #[case::scalar("hello", "? f line 1: the file is no map")]
    #[case::twice("server:\n  idle: 1s\n  idle: 2s", "? f line 3: server.idle is set twice")]
    #[case::map_twice("server:\n  idle: 1s\nserver:\n  read: 2s", "? f line 3: server is set twice")]
    #[case::dotted("server.idle: 1s", "? f line 1: server.idle has a key with a dot")]
    #[case::documents("server: {idle: 1s}\n---\na: 1", "? f line 3: the file has several documents")]
    #[case::placeholder("server: {idle: '${KEEP}'}", "? f line 1: server.idle has a placeholder")]
    #[case::broken("server:\n  idle: [", "? f line 2: unclosed bracket '['")]
    fn yaml(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Style::Yaml, "server.idle", false), expected);
    }

    #[rstest]
    #[case::variable("idle: ${KEEP}", "9s | idle: ${KEEP} | 1")]
    #[case::default("idle: ${NONE:3s}", "3s | idle: ${NONE:3s} | 1")]
    #[case::unset("\nidle: ${NONE}", "? f line 2: NONE is not set in the pod spec")]
    fn placeholders(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Style::Yaml, "idle", true), expected);
    }

    #[rstest]
    #[case::text("{\n\t\"a\": {},\n\t\"server\": {\n\"idle\"\n: \"10s\"}}", "10s | server.idle: 10s | 4")]
    #[case::number("{\"server\": {\n\n\"idle\": 5000}}", "5000 | server.idle: 5000 | 3")]
    #[case::escape("{\"server\": {\"\\u0069dle\": \"1\\u0073\"}}", "1s | server.idle: 1s | 1")]
    #[case::negative("{\"server\": {\"idle\": -1}}", "-1 | server.idle: -1 | 1")]
    #[case::blanks("\n \n", "absent")]
    #[case::null_above("{\"server\": null}", "absent")]
    #[case::exponent("{\"server\": {\"idle\": 1e3}}", "? f line 1: server.idle is no plain value")]
    #[case::twice("{\"server\": {\"idle\": 1,\n\"idle\": 2}}", "? f line 2: server.idle is set twice")]
    #[case::in_two_maps(
        "{\"server\": {\"idle\": 1},\n\"server\": {\"idle\": 2}}",
        "? f line 2: server.idle is set twice"
    )]
    #[case::comment("{\n// c\n}", "? f line 2: key must be a string at line 2 column 1")]
    #[case::list("[]", "? f line 1: the file is no map")]
    fn json(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Style::Json, "server.idle", false), expected);
    }

    #[rstest]
    #[case::table("[server]\nidle = \"10s\"", "10s | server.idle = 10s | 2")]
    #[case::dotted("\nserver.idle = 1_000", "1000 | server.idle = 1000 | 2")]
    #[case::inline("server = { read = 1,\n idle = true }", "true | server.idle = true | 2")]
    #[case::left_out("idle = 1", "absent")]
    #[case::hexadecimal("[server]\nidle = 0x10", "? f line 2: server.idle is no plain value")]
    #[case::quoted_key("\"server.idle\" = 1", "? f line 1: server.idle has a key with a dot")]
    #[case::tables("[[server]]\nidle = 1", "? f line 1: server is no map")]
    fn toml(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Style::Toml, "server.idle", false), expected);
    }

    #[test]
    fn broken_toml() {
        assert!(
            ask("[server]\nidle = 1\nidle = 2", Style::Toml, "server.idle", false)
                .starts_with("? f line 3: ")
        );
    }

    #[rstest]
    #[case::comments(
        "// c\n{ /* a,\n} */ \"kestrel\": { \"LIMITS\": {\n\"KeepAliveTimeout\": \"00:01:00\", /* x */ }, },\n}",
        "00:01:00 | kestrel.LIMITS.KeepAliveTimeout: 00:01:00 | 4"
    )]
    #[case::colons(
        "{\"Kestrel:Limits\": {\"KeepAliveTimeout\": 1}}",
        "1 | Kestrel.Limits.KeepAliveTimeout: 1 | 1"
    )]
    #[case::dots(
        "{\"Kestrel.Limits\": {\"KeepAliveTimeout\": 1}, \"Kestrel\": 1}",
        "? f line 1: Kestrel.Limits.KeepAliveTimeout has a key with a dot"
    )]
    #[case::beside_a_value("{\"Kestrel\": \"x\"}", "absent")]
    #[case::in_text("{\"url\": \"http://x\", \"a\": \"\\\"/*\"}", "absent")]
    #[case::cases(
        "{\"Kestrel\": {\"Limits\": {\"KeepAliveTimeout\": \"1\",\n\"keepAliveTimeout\": \"2\"}}}",
        "? f line 2: Kestrel.Limits.keepAliveTimeout is set twice"
    )]
    #[case::open("{}\n/* x", "? f line 2: a comment is not closed")]
    fn appsettings(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Style::Appsettings, "Kestrel.Limits.KeepAliveTimeout", false), expected);
    }

    #[rstest]
    #[case::camel("server:\n  tomcat.keepAliveTimeout: 10s", "10s | server.tomcat.keepAliveTimeout: 10s | 2")]
    #[case::last(
        "server.tomcat.keep-alive-timeout: 1s\n---\nserver.tomcat.keep-alive-timeout: 2s",
        "2s | server.tomcat.keep-alive-timeout: 2s | 3"
    )]
    #[case::other_document(
        "server.tomcat.keep-alive-timeout: 1s\n---\na: 1",
        "1s | server.tomcat.keep-alive-timeout: 1s | 1"
    )]
    #[case::condition(
        "server.tomcat.keep-alive-timeout: 1s\n---\nspring.config.activate.on-profile: a\nserver.tomcat.keepalivetimeout: 2s",
        "? f line 4: server.tomcat.keepalivetimeout counts in some profiles alone"
    )]
    #[case::spellings(
        "server.tomcat:\n  keep-alive-timeout: 1s\n  keepAliveTimeout: 2s",
        "? f line 3: server.tomcat.keepAliveTimeout is set twice"
    )]
    fn relaxed_yaml(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Style::RelaxedYaml, "server.tomcat.keep-alive-timeout", false), expected);
    }

    #[rstest]
    #[case::map("a:\n  web: {x: 1, y: 2}\n  api: {}\n", "a", &["web", "api"])]
    #[case::top("a: 1\nb: {c: 2}", "", &["a", "b"])]
    #[case::nothing("a:\n", "a", &[])]
    #[case::deeper("a: {b: {c: {d: 1}}}", "a.b", &["c"])]
    fn keys(#[case] text: &str, #[case] key: &str, #[case] expected: &[&str]) {
        let expected = expected.iter().map(ToString::to_string).collect();
        assert_eq!(children(text, Style::Yaml, key), Ok(expected));
    }

    #[rstest]
    #[case::value("a: 1", "a", "line 1: a is no map")]
    #[case::dot("a: {b.c: 1}", "a", "line 1: a.b.c has a key with a dot")]
    fn no_keys(#[case] text: &str, #[case] key: &str, #[case] why: &str) {
        assert_eq!(children(text, Style::Yaml, key), Err(why.to_owned()));
    }

    #[test]
    fn aliases_do_not_multiply() {
        let mut text = "a0: &a0 {x: 1, y: 1}\n".to_owned();
        for n in 1..30 {
            let before = n - 1;
            writeln!(text, "a{n}: &a{n} {{x: *a{before}, y: *a{before}}}").unwrap();
        }
        assert!(ask(&text, Style::Yaml, "b", false).starts_with("? f line "));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[a-c{}\\[\\]:,.\"'/*#=&<|\\-\\\\ \n\té]{0,400}") {
            for style in [Style::Yaml, Style::Json, Style::Toml, Style::Appsettings, Style::RelaxedYaml] {
                ask(&text, style, "a.b", true);
                drop(children(&text, style, "a"));
            }
        }
    }
}
