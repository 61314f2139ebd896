//! HCL of Vault, and its JSON form: a key of one port's listener.
//!
//! Turns the text into the `listener` blocks of type `tcp`, and a key and a port into an [`Answer`] (vault
//! `internalshared/configutil/listener.go`). Units stay in the value. Which files are merged is left to the caller.

use super::{Answer, Entry, Files, Query};

/// Deeper than this nobody nests blocks and lists.
const DEEPEST: usize = 32;
/// The port of a listener without an address (vault `command/server/listener_tcp.go`).
const DEFAULT_PORT: u16 = 8200;

/// Reads `key` from the listeners of the file at `path`.
pub(super) fn read(_files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut parser = Parser { path, text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, line: 1 };
    match parser.document().and_then(|items| find(path, &items, query)) {
        Ok(Some(entry)) => Answer::Set(entry),
        Ok(None) => Answer::Absent,
        Err(why) => Answer::Unknown(why),
    }
}

/// A value; of scalars that are neither strings nor numbers it does not matter which they are.
#[derive(Debug)]
enum Value {
    Scalar(String),
    Other,
    List(Vec<Self>),
    Object(Vec<Item>),
}

/// `key = value`, or a block with its labels.
#[derive(Debug)]
struct Item {
    keys: Vec<String>,
    value: Value,
    /// As it is written; empty for blocks and lists.
    text: String,
    line: usize,
}

fn find(path: &str, items: &[Item], query: Query<'_>) -> Result<Option<Entry>, String> {
    let mut listeners = Vec::new();
    for item in items {
        if let Some((name, labels)) = item.keys.split_first()
            && name.eq_ignore_ascii_case("listener")
        {
            let label = labels.first().map(String::as_str);
            collect(&item.value, label, &mut listeners);
        }
    }
    let mut doubt = None;
    let mut answers = Vec::new();
    for (label, listener) in &listeners {
        let kind = match scalar(path, listener, "type")? {
            Some(kind) => Some(kind.value),
            None => label.map(str::to_owned),
        };
        match kind.map(|kind| kind.to_ascii_lowercase()).as_deref() {
            Some("tcp") => {}
            Some("unix") => continue,
            Some(_) | None => return Err(format!("the type of a listener in {path} is not plain")),
        }
        let address = scalar(path, listener, "address")?;
        let port = match &address {
            None => Some(DEFAULT_PORT),
            Some(address) => address.value.rsplit_once(':').and_then(|(_, port)| port.parse().ok()),
        };
        match (query.port, port) {
            (Some(_), None) => {
                let line = address.map_or(0, |address| address.line);
                doubt = Some(format!("{path} line {line}: the address is not plain"));
            }
            (Some(asked), Some(port)) if asked != port => {}
            _ => answers.push(scalar(path, listener, query.key)?),
        }
    }
    let value = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.value.clone());
    match (answers.split_first(), doubt, query.port) {
        (Some((first, rest)), ..) if rest.iter().all(|other| value(other) == value(first)) => {
            Ok(first.clone())
        }
        (Some(_), ..) => Err(format!("the listeners in {path} have different values of {}", query.key)),
        (None, Some(doubt), _) => Err(doubt),
        (None, None, Some(port)) => Err(format!("no listener has port {port} in {path}")),
        (None, None, None) => Err(format!("{path} has no listener")),
    }
}

/// The listeners of a value: `"tcp" {}`, and in JSON `{"tcp": {}}`, `[{"tcp": {}}]` or `{"tcp": [{}]}`.
fn collect<'i>(value: &'i Value, label: Option<&'i str>, listeners: &mut Vec<(Option<&'i str>, &'i [Item])>) {
    match value {
        Value::List(values) => values.iter().for_each(|value| collect(value, label, listeners)),
        Value::Object(items) => {
            let labels =
                |item: &Item| item.keys.len() == 1 && matches!(item.value, Value::Object(_) | Value::List(_));
            if label.is_none() && !items.is_empty() && items.iter().all(labels) {
                for item in items {
                    collect(&item.value, item.keys.first().map(String::as_str), listeners);
                }
            } else {
                listeners.push((label, items));
            }
        }
        // Not a listener that Vault takes: one without a type.
        Value::Scalar(_) | Value::Other => listeners.push((None, &[])),
    }
}

/// The plain value of a key, whose case does not matter (hcl `ObjectList.Filter`).
fn scalar(path: &str, items: &[Item], key: &str) -> Result<Option<Entry>, String> {
    let mut of_key =
        items.iter().filter(|item| item.keys.first().is_some_and(|name| name.eq_ignore_ascii_case(key)));
    let Some(item) = of_key.next() else { return Ok(None) };
    match (&item.value, of_key.next()) {
        (Value::Scalar(value), None) if item.keys.len() == 1 && !value.contains("${") => Ok(Some(Entry {
            value: value.clone(),
            text: item.text.clone(),
            path: path.to_owned(),
            line: item.line,
        })),
        _ => Err(format!("{path} line {}: the value of {key} is not plain", item.line)),
    }
}

/// A parser for HCL 1 and JSON, which differ in separators alone (hcl `hcl/parser`, `json/parser`).
struct Parser<'t> {
    path: &'t str,
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Parser<'t> {
    fn fault(&self, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// Skips white space and comments.
    fn skip(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.take();
                }
            } else if rest.starts_with("/*") {
                let length =
                    rest.find("*/").ok_or_else(|| self.fault("a comment is not closed"))? + "*/".len();
                self.line += rest.get(..length).map_or(0, |comment| comment.matches('\n').count());
                self.at += length;
            } else if self.peek().is_some_and(char::is_whitespace) {
                self.take();
            } else {
                return Ok(());
            }
        }
    }

    fn document(&mut self) -> Result<Vec<Item>, String> {
        self.skip()?;
        let json = self.peek() == Some('{');
        if json {
            self.take();
        }
        let items = self.items(json, 0)?;
        self.skip()?;
        if self.peek().is_some() { Err(self.fault("this is not HCL")) } else { Ok(items) }
    }

    fn items(&mut self, braces: bool, depth: usize) -> Result<Vec<Item>, String> {
        if depth > DEEPEST {
            return Err(self.fault("blocks are nested too deeply"));
        }
        let mut items = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                None if !braces => return Ok(items),
                None => return Err(self.fault("a brace is not closed")),
                Some('}') if braces => {
                    self.take();
                    return Ok(items);
                }
                Some(',') => drop(self.take().is_some()),
                Some(_) => items.push(self.item(depth)?),
            }
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, String> {
        let (start, line) = (self.at, self.line);
        let mut keys = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                Some('"') => keys.push(self.string()?),
                Some('=' | ':') if keys.len() == 1 => {
                    self.take();
                    break;
                }
                Some('{') if !keys.is_empty() => break,
                Some(c) if c.is_alphabetic() || c == '_' => keys.push(self.word().to_owned()),
                Some(_) | None => return Err(self.fault("this is not HCL")),
            }
        }
        let value = self.value(depth)?;
        let text = match value {
            Value::Scalar(_) => self.text.get(start..self.at).unwrap_or_default(),
            _ => "",
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Item { keys, value, text, line })
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.skip()?;
        match self.peek() {
            Some('"') => self.string().map(Value::Scalar),
            Some('{') => {
                self.take();
                self.items(true, depth + 1).map(Value::Object)
            }
            Some('[') => {
                self.take();
                self.list(depth + 1).map(Value::List)
            }
            Some('<') => self.here_document(),
            Some(c) if c.is_ascii_digit() || c == '-' => Ok(Value::Scalar(self.word().to_owned())),
            Some(c) if c.is_alphabetic() => {
                self.word();
                Ok(Value::Other)
            }
            Some(_) | None => Err(self.fault("a key has no value")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, String> {
        if depth > DEEPEST {
            return Err(self.fault("lists are nested too deeply"));
        }
        let mut values = Vec::new();
        loop {
            self.skip()?;
            match self.peek() {
                Some(']') => {
                    self.take();
                    return Ok(values);
                }
                Some(',') => drop(self.take().is_some()),
                Some(_) => values.push(self.value(depth)?),
                None => return Err(self.fault("a bracket is not closed")),
            }
        }
    }

    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.' | '+'));
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        word
    }

    fn string(&mut self) -> Result<String, String> {
        self.take();
        let mut string = String::new();
        loop {
            match self.take() {
                Some('"') => return Ok(string),
                Some('\\') => match self.take() {
                    Some(c @ ('"' | '\\' | '/')) => string.push(c),
                    // No value that counts has other characters.
                    Some(_) => string.push('\u{fffd}'),
                    None => return Err(self.fault("a string is not closed")),
                },
                Some('$') if self.peek() == Some('{') => {
                    return Err(self.fault("a string holds code that we do not read"));
                }
                Some('\n') | None => return Err(self.fault("a string is not closed")),
                Some(c) => string.push(c),
            }
        }
    }

    /// `<<EOF` or `<<-EOF`, up to the line with the same word.
    fn here_document(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        let mut lines = rest.split_inclusive('\n');
        let first = lines.next().unwrap_or_default();
        let word = first.strip_prefix("<<").map_or("", |word| word.trim_start_matches('-').trim());
        let mut length = first.len();
        for line in lines.by_ref() {
            if !word.is_empty() && line.trim() == word {
                // The line break behind the word is not part of it.
                let read = length + line.trim_end().len();
                self.line += rest.get(..read).map_or(0, |read| read.matches('\n').count());
                self.at += read;
                return Ok(Value::Other);
            }
            length += line.len();
        }
        Err(self.fault("a here-document is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::testing::{NOTHING, told_with_line};
    use super::*;

    fn ask(text: &str, port: Option<u16>) -> String {
        let told = told_with_line(read(&NOTHING, "/v.hcl", text, Query { key: "http_idle_timeout", port }));
        told.replacen("? /v.hcl line ", "? ", 1)
    }

    const DIFFER: &str = "? the listeners in /v.hcl have different values of http_idle_timeout";

    #[rstest]
    #[case::plain(
        "ui = true\nlistener \"tcp\" {\n  address = \"[::]:8200\"\n  http_idle_timeout = \"5m\"\n}",
        "5m at 4"
    )]
    #[case::default_port("listener tcp { http_idle_timeout = \"5m\" }", "5m at 1")]
    #[case::absent("listener \"tcp\" { address = \"0.0.0.0:8200\" tls_disable = 1 }", "absent")]
    #[case::number("listener \"tcp\" {\n http_idle_timeout = 300\n}", "300 at 2")]
    #[case::other_case("Listener \"TCP\" { HTTP_Idle_Timeout = \"5m\" }", "5m at 1")]
    #[case::other_port("listener \"tcp\" { address = \"x:8300\" }", "? no listener has port 8200 in /v.hcl")]
    #[case::of_the_port(
        "listener \"tcp\" { address = \"x:1\" http_idle_timeout = 1 }\nlistener \"tcp\" { http_idle_timeout = 2 }",
        "2 at 2"
    )]
    #[case::two_of_one_port("listener \"tcp\" { }\nlistener \"tcp\" { http_idle_timeout = 2 }", DIFFER)]
    #[case::socket(
        "listener \"unix\" { address = \"/x\" http_idle_timeout = 1 }\nlistener \"tcp\" {}",
        "absent"
    )]
    #[case::type_within("listener { type = \"tcp\" http_idle_timeout = 3 }", "3 at 1")]
    #[case::other_type("listener \"quic\" {}", "? the type of a listener in /v.hcl is not plain")]
    #[case::template(
        "listener \"tcp\" { address = \"{{ GetPrivateIP }}:8200\" http_idle_timeout = 3 }",
        "3 at 1"
    )]
    #[case::no_port_in_the_address(
        "listener \"tcp\" { address = \"{{ Get }}\" }",
        "? 1: the address is not plain"
    )]
    #[case::twice(
        "listener \"tcp\" { http_idle_timeout = 1 http_idle_timeout = 2 }",
        "? 1: the value of http_idle_timeout is not plain"
    )]
    #[case::truth(
        "listener \"tcp\" { http_idle_timeout = true }",
        "? 1: the value of http_idle_timeout is not plain"
    )]
    #[case::comments(
        "# x\n/* listener \"tcp\" {\n*/ listener \"tcp\" { // y\n http_idle_timeout = 4 }",
        "4 at 4"
    )]
    #[case::nested(
        "listener \"tcp\" { telemetry { http_idle_timeout = 1 } x = [\"a\", { b = 1 },]\n}",
        "absent"
    )]
    #[case::elsewhere("storage \"x\" { http_idle_timeout = 1 }\nlistener \"tcp\" {}", "absent")]
    #[case::here_document(
        "x = <<EOF\nlistener {\n  EOF\nlistener \"tcp\" { http_idle_timeout = 4 }",
        "4 at 4"
    )]
    #[case::json(
        "{\"listener\": {\"tcp\": {\"address\": \":8200\",\n \"http_idle_timeout\": \"5m\"}}}",
        "5m at 2"
    )]
    #[case::json_list(
        "{\"ui\": true, \"listener\": [{\"tcp\": {\"http_idle_timeout\": \"5m\"}}]}",
        "5m at 1"
    )]
    #[case::json_inner_list("{\"listener\": {\"tcp\": [{\"http_idle_timeout\": 60}, {}]}}", DIFFER)]
    #[case::none("ui = true", "? no listener has port 8200 in /v.hcl")]
    #[case::scalar("listener = 1", "? the type of a listener in /v.hcl is not plain")]
    #[case::brace("listener \"tcp\" {", "? 1: a brace is not closed")]
    #[case::code(
        "listener \"tcp\" { http_idle_timeout = \"${x}\" }",
        "? 1: a string holds code that we do not read"
    )]
    #[case::other_language("listener:\n  - tcp", "? 2: this is not HCL")]
    fn files(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, Some(8200)), expected);
    }

    #[rstest]
    #[case::all_agree(
        "listener \"tcp\" { http_idle_timeout = 1 }\nlistener \"tcp\" { address = \"x:1\" http_idle_timeout = 1 }",
        "1 at 1"
    )]
    #[case::all_differ(
        "listener \"tcp\" { http_idle_timeout = 1 }\nlistener \"tcp\" { address = \"x:1\" }",
        DIFFER
    )]
    #[case::none("", "? /v.hcl has no listener")]
    fn without_a_port(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, None), expected);
    }

    #[test]
    fn the_text_is_that_of_the_item() {
        let query = Query { key: "http_idle_timeout", port: None };
        let text = "listener \"tcp\" { http_idle_timeout   = \"5m\" # why\n }";
        let Answer::Set(entry) = read(&NOTHING, "/x", text, query) else { panic!() };
        assert_eq!(entry.text, "http_idle_timeout = \"5m\"");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(listener|tcp|http_idle_timeout|<<|/\\*|[ =:,#\"{}\\[\\]\\\\\n-]|\\PC){0,60}") {
            ask(&text, Some(8200));
        }
    }
}
