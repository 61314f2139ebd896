//! application.conf of Play, Akka and Pekko: HOCON.
//!
//! Turns the text into a dotted path's value and an [`Answer`] (lightbend/config `HOCON.md`). Units stay in the value.
//! Libraries' reference.conf, system properties and the default are left to the caller.

use std::collections::BTreeSet;

use super::{Answer, Entry, Files, Opened, Query};

/// Deeper than this nobody nests objects and includes.
const DEEPEST: usize = 32;
/// How many files one configuration may include.
const MOST_FILES: usize = 64;

/// Reads the path `key` from the file at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let key: Vec<&str> = query.key.split('.').collect();
    let mut found = Found {
        key: &key,
        state: Ok(Answer::Absent),
        root_keys: BTreeSet::new(),
        variables: BTreeSet::new(),
    };
    let mut reader = Reader { files, found: &mut found, files_left: MOST_FILES };
    match reader.file(path, text, Place::On(0), 0) {
        Ok(()) => found.answer(),
        Err(why) => Answer::Unknown(why),
    }
}

/// Where an object or a value stands, seen from the path that is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// The first so many words of the path lead to it.
    On(usize),
    /// It is below the path.
    Below,
    /// It is elsewhere.
    Off,
}

/// What the files say so far.
struct Found<'k> {
    key: &'k [&'k str],
    /// The error says why nobody can tell.
    state: Result<Answer, String>,
    /// The first words of all paths that are set.
    root_keys: BTreeSet<String>,
    /// The variables that count.
    variables: BTreeSet<String>,
}

impl Found<'_> {
    fn answer(self) -> Answer {
        // A substitution finds a path of the file before it finds a variable.
        if let Some(variable) = self.variables.iter().find(|variable| self.root_keys.contains(*variable)) {
            return Answer::Unknown(format!("the file sets {variable}, which stands in for a variable"));
        }
        self.state.unwrap_or_else(Answer::Unknown)
    }

    fn step(&self, place: Place, word: &str) -> Place {
        match place {
            Place::On(words) if words == self.key.len() => Place::Below,
            Place::On(words) if self.key.get(words) == Some(&word) => Place::On(words + 1),
            Place::On(_) | Place::Off => Place::Off,
            Place::Below => Place::Below,
        }
    }

    /// Whether a value at this place counts: it is the value, above it or below it.
    fn counts(place: Place) -> bool {
        place != Place::Off
    }
}

/// A part of a value.
#[derive(Debug, Eq, PartialEq)]
enum Part {
    /// Text without quotes, with the white space around it.
    Plain(String),
    Quoted(String),
    /// `${NAME}` or `${?NAME}`.
    Variable {
        name: String,
        optional: bool,
    },
    Object,
    Array,
}

struct Reader<'r, 'k> {
    files: &'r dyn Files,
    found: &'r mut Found<'k>,
    files_left: usize,
}

impl Reader<'_, '_> {
    fn file(&mut self, path: &str, text: &str, place: Place, depth: usize) -> Result<(), String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut cursor = Cursor { path, text, at: 0, line: 1, value_end: 0 };
        cursor.skip_lines();
        match cursor.peek() {
            Some('{') => {
                cursor.take();
                self.object(&mut cursor, place, depth, true)?;
                cursor.skip_lines();
            }
            Some(_) => self.object(&mut cursor, place, depth, false)?,
            None => {}
        }
        if cursor.peek().is_some() { Err(cursor.fault("this is not HOCON")) } else { Ok(()) }
    }

    /// The fields of an object, up to its brace or to the end of the file.
    fn object(
        &mut self,
        cursor: &mut Cursor<'_>,
        place: Place,
        depth: usize,
        braces: bool,
    ) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(cursor.fault("objects are nested too deeply"));
        }
        loop {
            cursor.skip_separators();
            match cursor.peek() {
                None if !braces => return Ok(()),
                Some('}') if braces => {
                    cursor.take();
                    return Ok(());
                }
                None => return Err(cursor.fault("a brace is not closed")),
                Some(_) => self.field(cursor, place, depth)?,
            }
            cursor.skip_blanks();
            if !matches!(cursor.peek(), None | Some(',' | '\n' | '}')) {
                return Err(cursor.fault("this is not HOCON"));
            }
        }
    }

    fn field(&mut self, cursor: &mut Cursor<'_>, place: Place, depth: usize) -> Result<(), String> {
        let (start, line) = (cursor.at, cursor.line);
        let words = match cursor.field_path()? {
            FieldPath::Path(words) => words,
            FieldPath::Include => return self.include(cursor, place, depth),
        };
        if place == Place::On(0) {
            self.found.root_keys.extend(words.first().cloned());
        }
        let place = words.iter().fold(place, |place, word| self.found.step(place, word));
        cursor.skip_lines();
        let appends = cursor.rest().starts_with("+=");
        match cursor.peek() {
            Some('{') => {}
            Some('=' | ':') => drop(cursor.take().is_some()),
            Some('+') if appends => cursor.at += "+=".len(),
            Some(_) | None => return Err(cursor.fault("a key has no value")),
        }
        cursor.skip_lines();
        let parts = self.value(cursor, place, depth)?;
        let end = cursor.value_end;
        let text = if place == Place::On(self.found.key.len()) { cursor.text.get(start..end) } else { None };
        let text = text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        self.set(
            place,
            &parts,
            appends,
            Entry { value: String::new(), text, path: cursor.path.to_owned(), line },
        );
        Ok(())
    }

    /// Notes what a field says about the path.
    fn set(&mut self, place: Place, parts: &[Part], appends: bool, entry: Entry) {
        if !Found::counts(place) {
            return;
        }
        let doubt = |what: &str| Err(format!("{} line {}: {what}", entry.path, entry.line));
        let exact = place == Place::On(self.found.key.len());
        self.found.state = match parts {
            // The object's fields have said what there is to say.
            [Part::Object, rest @ ..] if !exact && rest.iter().all(|part| *part == Part::Object) => {
                return;
            }
            _ if !exact => doubt("a value above or below the key is not plain"),
            _ if appends => doubt("the value is a list"),
            [Part::Variable { name, optional }] => {
                self.found.variables.insert(name.clone());
                match self.files.variable(name) {
                    Some(Ok(value)) => Ok(Answer::Set(Entry { value, ..entry })),
                    Some(Err(why)) => Err(why),
                    None if *optional => return,
                    None => doubt(&format!("{name} is not set")),
                }
            }
            [Part::Quoted(value)] => Ok(Answer::Set(Entry { value: value.clone(), ..entry })),
            [Part::Plain(value)] if value != "null" => {
                Ok(Answer::Set(Entry { value: value.clone(), ..entry }))
            }
            _ => doubt("the value is not plain"),
        };
    }

    /// A value, up to what ends its field.
    fn value(&mut self, cursor: &mut Cursor<'_>, place: Place, depth: usize) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        loop {
            cursor.skip_blanks();
            let rest = cursor.rest();
            match cursor.peek() {
                None | Some(',' | '\n' | '}' | ']') => {
                    return if parts.is_empty() {
                        Err(cursor.fault("a key has no value"))
                    } else {
                        Ok(parts)
                    };
                }
                Some('{') => {
                    cursor.take();
                    self.object(cursor, place, depth + 1, true)?;
                    parts.push(Part::Object);
                }
                Some('[') => {
                    cursor.take();
                    self.array(cursor, depth + 1)?;
                    parts.push(Part::Array);
                }
                Some('"') => {
                    parts.push(Part::Quoted(cursor.quoted()?));
                    cursor.value_end = cursor.at;
                }
                Some('$') if rest.starts_with("${") => {
                    parts.push(cursor.substitution()?);
                    cursor.value_end = cursor.at;
                }
                Some(_) => parts.push(Part::Plain(cursor.unquoted()?)),
            }
        }
    }

    fn array(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(cursor.fault("lists are nested too deeply"));
        }
        loop {
            cursor.skip_separators();
            match cursor.peek() {
                None => return Err(cursor.fault("a bracket is not closed")),
                Some(']') => {
                    cursor.take();
                    return Ok(());
                }
                Some(_) => drop(self.value(cursor, Place::Off, depth)?),
            }
            if cursor.peek() == Some('}') {
                return Err(cursor.fault("a brace closes nothing"));
            }
        }
    }

    /// Behind the word `include`. One that is not in the input makes what has been said before it uncertain.
    fn include(&mut self, cursor: &mut Cursor<'_>, place: Place, depth: usize) -> Result<(), String> {
        let line = cursor.line;
        cursor.skip_blanks();
        let (name, plain) = if cursor.peek() == Some('"') {
            (cursor.quoted()?, true)
        } else {
            (cursor.include_call()?, false)
        };
        if place == Place::Off {
            return Ok(());
        }
        let folder = cursor.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = if name.starts_with('/') { name.clone() } else { format!("{folder}/{name}") };
        let has_ending = name.to_ascii_lowercase().ends_with(".conf");
        let opened = if plain && has_ending { self.files.open(&path) } else { Opened::Missing };
        match opened {
            Opened::Text(text) => {
                let too_many = || cursor.fault("too many files are included");
                self.files_left = self.files_left.checked_sub(1).ok_or_else(too_many)?;
                return self.file(&path, &text, place, depth + 1);
            }
            Opened::Missing => {
                let what = format!("{} line {line}: {name} is not in the input", cursor.path);
                self.found.state = Err(what);
            }
            Opened::Unseen(why) => self.found.state = Err(why),
        }
        Ok(())
    }
}

enum FieldPath {
    Path(Vec<String>),
    Include,
}

struct Cursor<'t> {
    path: &'t str,
    text: &'t str,
    at: usize,
    line: usize,
    /// Where the last part of a value ended.
    value_end: usize,
}

impl<'t> Cursor<'t> {
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

    fn at_comment(&self) -> bool {
        self.rest().starts_with('#') || self.rest().starts_with("//")
    }

    /// Skips blanks and a comment, up to the end of the line.
    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|c| c.is_whitespace() && c != '\n') {
            self.take();
        }
        if self.at_comment() {
            while self.peek().is_some_and(|c| c != '\n') {
                self.take();
            }
        }
    }

    fn skip_lines(&mut self) {
        self.skip_blanks();
        while self.peek() == Some('\n') {
            self.take();
            self.skip_blanks();
        }
    }

    fn skip_separators(&mut self) {
        self.skip_lines();
        while self.peek() == Some(',') {
            self.take();
            self.skip_lines();
        }
    }

    /// The words of a key: `a.b."c.d"`.
    fn field_path(&mut self) -> Result<FieldPath, String> {
        let mut words = Vec::new();
        let mut word = String::new();
        let (mut quoted, mut blank) = (false, String::new());
        loop {
            match self.peek() {
                Some('"') => {
                    word.push_str(&std::mem::take(&mut blank));
                    word.push_str(&self.quoted()?);
                    quoted = true;
                }
                Some('.') => {
                    self.take();
                    if word.is_empty() && !quoted {
                        return Err(self.fault("a key has an empty word"));
                    }
                    word.push_str(&std::mem::take(&mut blank));
                    words.push(std::mem::take(&mut word));
                    quoted = false;
                }
                Some('=' | ':' | '{' | '+' | '\n') | None => break,
                Some(c) if self.at_comment() || forbidden(c) => return Err(self.fault("a key is not plain")),
                Some(c) if c.is_whitespace() => {
                    self.take();
                    let include = words.is_empty() && !quoted && blank.is_empty() && word == "include";
                    let names = ["\"", "required(", "file(", "classpath(", "url(", "package("];
                    let includes = |next: &str| names.iter().any(|name| next.starts_with(name));
                    if include && includes(self.rest().trim_start()) {
                        return Ok(FieldPath::Include);
                    }
                    // Blanks count only between the parts of a word.
                    if !word.is_empty() || quoted {
                        blank.push(c);
                    }
                }
                Some(c) => {
                    word.push_str(&std::mem::take(&mut blank));
                    word.push(c);
                    self.take();
                }
            }
        }
        if word.is_empty() && !quoted {
            return Err(self.fault("a key has an empty word"));
        }
        words.push(word);
        Ok(FieldPath::Path(words))
    }

    /// `required("x")`, `file("x")` or `required(file("x"))`.
    fn include_call(&mut self) -> Result<String, String> {
        let mut open = 0_usize;
        let mut name = None;
        loop {
            match self.peek() {
                Some('"') => name = Some(self.quoted()?),
                Some('(') => {
                    self.take();
                    open += 1;
                }
                Some(')') => {
                    self.take();
                    open = open.saturating_sub(1);
                    if open == 0 {
                        return name.ok_or_else(|| self.fault("an include is not plain"));
                    }
                }
                Some(c) if c.is_ascii_alphabetic() || c == ' ' => drop(self.take().is_some()),
                Some(_) | None => return Err(self.fault("an include is not plain")),
            }
        }
    }

    fn quoted(&mut self) -> Result<String, String> {
        if self.rest().starts_with("\"\"\"") {
            return self.triple_quoted();
        }
        self.take();
        let mut word = String::new();
        loop {
            match self.take() {
                Some('"') => return Ok(word),
                Some('\\') => match self.take() {
                    Some(c @ ('"' | '\\' | '/')) => word.push(c),
                    // No value that counts has other characters.
                    Some(_) => word.push('\u{fffd}'),
                    None => return Err(self.fault("a string is not closed")),
                },
                Some('\n') | None => return Err(self.fault("a string is not closed")),
                Some(c) => word.push(c),
            }
        }
    }

    fn triple_quoted(&mut self) -> Result<String, String> {
        self.at += 3;
        let rest = self.rest();
        let length = rest.find("\"\"\"").ok_or_else(|| self.fault("a string is not closed"))?;
        let behind = rest.get(length + 3..).unwrap_or_default();
        // More quotes belong to the string.
        let more = behind.len() - behind.trim_start_matches('"').len();
        let text = rest.get(..length + more).unwrap_or_default();
        self.line += text.matches('\n').count();
        self.at += text.len() + 3;
        Ok(text.to_owned())
    }

    /// `${NAME}`; longer paths may lead to files that nobody sees.
    fn substitution(&mut self) -> Result<Part, String> {
        self.at += "${".len();
        let optional = self.peek() == Some('?');
        if optional {
            self.take();
        }
        let rest = self.rest();
        let length = rest.find(['}', '\n']).unwrap_or(rest.len());
        let name = rest.get(..length).unwrap_or_default();
        self.at += length;
        if self.take() != Some('}') {
            return Err(self.fault("a substitution is not closed"));
        }
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Ok(Part::Array);
        }
        Ok(Part::Variable { name: name.to_owned(), optional })
    }

    fn unquoted(&mut self) -> Result<String, String> {
        let start = self.at;
        while let Some(c) = self.peek() {
            if matches!(c, ',' | '\n' | '}' | ']' | '{' | '[' | '"' | '$') || self.at_comment() {
                break;
            }
            if forbidden(c) || matches!(c, '=' | ':' | '+') {
                return Err(self.fault("a value is not plain"));
            }
            self.take();
        }
        if self.at == start {
            return Err(self.fault("a value is not plain"));
        }
        let value = self.text.get(start..self.at).unwrap_or_default().trim_end();
        self.value_end = start + value.len();
        Ok(value.to_owned())
    }
}

/// Characters that stand in quotes alone.
fn forbidden(c: char) -> bool {
    matches!(c, '$' | '}' | '[' | ']' | ',' | '#' | '`' | '^' | '?' | '!' | '@' | '*' | '&' | '\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::testing::{Given, told_with_file};
    use super::*;

    const FOLDER: Given<'_> = Given {
        files: &[
            ("/c/other.conf", "\na.b.idle = 9 s\nb.idle = 8 s"),
            ("/c/loop.conf", "include \"loop.conf\""),
            ("/c/secret.conf", "?"),
        ],
        variables: &[("SET", "7s"), ("SECRET", "?")],
        of_image: false,
    };

    fn ask(text: &str) -> String {
        let told = told_with_file(read(&FOLDER, "/c/app.conf", text, Query { key: "a.b.idle", port: None }));
        told.replacen("? /c/app.conf line ", "? ", 1)
    }

    const NOT_PLAIN: &str = "? 1: the value is not plain";
    const AROUND: &str = "a value above or below the key is not plain";

    #[rstest]
    #[case::empty("", "absent")]
    #[case::dotted("a.b.idle = 75 s", "75 s at app.conf:1")]
    #[case::colon("a.b.idle: 75s\n", "75s at app.conf:1")]
    #[case::nested("a {\n  b {\n    idle = 75 s\n  }\n}", "75 s at app.conf:3")]
    #[case::nested_with_equals("a = {\n  b.idle = 75 s }", "75 s at app.conf:2")]
    #[case::braces_around("{ \"a\": { \"b\": { \"idle\": \"75 s\" } } }", "75 s at app.conf:1")]
    #[case::brace_on_the_next_line("a\n{\n b.idle = 1 }", "1 at app.conf:3")]
    #[case::value_on_the_next_line("a.b.idle =\n 1", "1 at app.conf:1")]
    #[case::commas("x = 1, a.b.idle = 2, y = 3", "2 at app.conf:1")]
    #[case::quoted_key("a.\"b\".idle = 2", "2 at app.conf:1")]
    #[case::quoted_dot("\"a.b\".idle = 2", "absent")]
    #[case::blanks_in_the_path("a . b . idle = 2", "absent")]
    #[case::longer_key("a.b.idle.x = 2", &format!("? 1: {AROUND}"))]
    #[case::other_keys("a.b.idlex = 2\nb.idle = 3\nx.a.b.idle = 4\na.idle = 4", "absent")]
    #[case::comments("# a.b.idle = 1\n// a.b.idle = 2\na.b.idle = 3 # 4\na.x = 5 // 6", "3 at app.conf:3")]
    #[case::triple_quotes("x = \"\"\"\na.b.idle = 2\n\"\"\"\"\na.b.idle = 3", "3 at app.conf:4")]
    #[case::windows_lines("x = 1\r\na.b.idle = 3 s\r\n", "3 s at app.conf:2")]
    #[case::later_wins("a.b.idle = 1\na { b { idle = 2 } }", "2 at app.conf:2")]
    #[case::merged("a.b.idle = 1\na { b { x = 2 } }", "1 at app.conf:1")]
    #[case::lists("x = [1, [2, { a.b.idle = 2 }]\n 3]\na.b.idle = 3", "3 at app.conf:3")]
    #[case::infinite("a.b.idle = infinite", "infinite at app.conf:1")]
    #[case::null("a.b.idle = null", NOT_PLAIN)]
    #[case::list("a.b.idle = [1]", NOT_PLAIN)]
    #[case::object("a.b.idle = { x = 1 }", NOT_PLAIN)]
    #[case::append("a.b.idle += 1", "? 1: the value is a list")]
    #[case::two_parts("a.b.idle = \"7\" s", NOT_PLAIN)]
    #[case::parent_is_plain("a.b.idle = 1\na = 2", &format!("? 2: {AROUND}"))]
    #[case::parent_is_a_substitution("a.b = ${x.y}", &format!("? 1: {AROUND}"))]
    #[case::parent_inherits("a.b = ${x.y} { x = 2 }", &format!("? 1: {AROUND}"))]
    #[case::set_behind_a_parent("a = ${x}\na.b.idle = 3", "3 at app.conf:2")]
    #[case::variable("a.b.idle = ${SET}", "7s at app.conf:1")]
    #[case::optional_variable("a.b.idle = 1\na.b.idle = ${?SET}", "7s at app.conf:2")]
    #[case::optional_variable_not_set("a.b.idle = 1\na.b.idle = ${?X}", "1 at app.conf:1")]
    #[case::variable_not_set("a.b.idle = ${X}", "? 1: X is not set")]
    #[case::secret("a.b.idle = ${?SECRET}", "? SECRET comes from a Secret")]
    #[case::variable_with_unit("a.b.idle = ${SET} s", NOT_PLAIN)]
    #[case::substitution("a.b.idle = ${x.idle}", NOT_PLAIN)]
    #[case::shadowed_variable(
        "SET = 3\na.b.idle = ${SET}",
        "? the file sets SET, which stands in for a variable"
    )]
    #[case::other_variables("x = ${y.z} \"b\"${?C} d\na.b.idle = 1", "1 at app.conf:2")]
    #[case::include("include \"other.conf\"", "9 s at other.conf:2")]
    #[case::include_in_an_object("a { include \"other.conf\" }", "8 s at other.conf:3")]
    #[case::include_elsewhere("x { include \"missing\" }\na.b.idle = 3", "3 at app.conf:2")]
    #[case::include_missing("a.b.idle = 3\ninclude \"application\"", "? 2: application is not in the input")]
    #[case::include_before("include classpath(\"application\")\na.b.idle = 3", "3 at app.conf:2")]
    #[case::include_required("include required(file(\"/x.conf\"))", "? 1: /x.conf is not in the input")]
    #[case::include_unseen("include \"secret.conf\"", "? /c/secret.conf comes from a Secret")]
    #[case::include_itself("include \"loop.conf\"", "? /c/loop.conf line 1: objects are nested too deeply")]
    #[case::key_named_include("include = 1\na.b.idle = 3", "3 at app.conf:2")]
    #[case::brace("a { b {", "? 1: a brace is not closed")]
    #[case::brace_too_many("a.b.idle = 1\n}", "? 2: a key is not plain")]
    #[case::no_value("a.b.idle =", "? 1: a key has no value")]
    #[case::other_language("a.b.idle = 1\n<html>", "? 2: a key has no value")]
    #[case::url("x = http://example.com", "? 1: a value is not plain")]
    fn files(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text), expected);
    }

    #[test]
    fn the_text_is_that_of_the_field() {
        let query = Query { key: "a.idle", port: None };
        let Answer::Set(entry) = read(&FOLDER, "/x", "a {\n idle  = 75 s # why\n}", query) else { panic!() };
        assert_eq!(entry.text, "idle = 75 s");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(a|b|idle|include|\\$\\{|\"\"\"|[ =:+.,#\"(){}\\[\\]\\\\\n]|\\PC){0,60}") {
            ask(&text);
        }
    }
}
