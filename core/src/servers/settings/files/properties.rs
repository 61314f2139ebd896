//! Java's .properties files.
//!
//! Parses properties as `java.util.Properties` does, and answers a name. `spring` handles documents, `quarkus` handles
//! profiles.

use std::collections::HashMap;

use super::{
    Answer, Entry, Files, Query, placeholder,
    tree::{Leaf, Value},
};

/// A name and its value, without escapes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Property {
    /// The name.
    pub(super) name: String,
    /// The value without trailing blanks, with its placeholders.
    pub(super) value: String,
    /// The line of the name, from 1.
    pub(super) line: usize,
}

/// Reads a property, with `${NAME}` and `${NAME:default}` expanded.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let answer = parse(text).and_then(|properties| {
        let named = properties.iter().rev().find(|property| property.name == query.key);
        let Some(found) = named else { return Ok(Answer::Absent) };
        // Programs differ in which of the two wins.
        let lookup = |name: &str| {
            if properties.iter().any(|property| property.name == name) {
                return Some(Err(format!("{name} is set in the same file")));
            }
            files.variable(name)
        };
        let value = placeholder::expand(&found.value, &lookup)
            .map_err(|why| format!("line {}: {why}", found.line))?;
        Ok(Answer::Set(Entry {
            value,
            text: format!("{}={}", found.name, found.value),
            path: path.to_owned(),
            line: found.line,
        }))
    });
    answer.unwrap_or_else(|why| Answer::Unknown(format!("{path} {why}")))
}

/// All properties, including those that a later one overrides; the error begins with `line 7: `.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, String> {
    Ok(documents(text)?.into_iter().flatten().collect())
}

/// The properties of each document, which Spring Boot separates by `#---` and `!---`. Each name occurs once in a
/// document, with its last value (spring-boot OriginTrackedPropertiesLoader.java).
pub(super) fn documents(text: &str) -> Result<Vec<Vec<Property>>, String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').zip(1_usize..);
    let mut documents: Vec<Document> = Vec::new();
    let mut document = Document::default();
    let mut comment = None;
    while let Some((whole, line)) = lines.next() {
        let content = whole.trim_start_matches(BLANKS);
        let mark = content.chars().next().filter(|c| matches!(c, '#' | '!'));
        if mark.is_none() {
            comment = None;
            if !content.is_empty() {
                document.set(property(content, line, &mut lines)?);
            }
            continue;
        }
        let parts = content.len() == whole.len()
            && content
                .get(1..)
                .and_then(|rest| rest.strip_prefix("---"))
                .is_some_and(|rest| rest.trim_start_matches(BLANKS).is_empty());
        if parts && comment != mark {
            if !document.list.is_empty() {
                documents.push(std::mem::take(&mut document));
            }
        } else {
            comment = mark;
            // A comment after the separator joins the documents.
            if document.list.is_empty()
                && let Some(last) = documents.pop()
            {
                document = last;
            }
        }
    }
    documents.push(document);
    Ok(documents.into_iter().map(|document| document.list).filter(|list| !list.is_empty()).collect())
}

/// The documents as leaves, which the readers of several formats share.
pub(super) fn leaves(text: &str) -> Result<Vec<Vec<Leaf>>, String> {
    let leaf = |property: Property| Leaf {
        name: property.name,
        line: property.line,
        value: Value::Text(property.value),
    };
    let documents = documents(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    Ok(documents.into_iter().map(|document| document.into_iter().map(leaf).collect()).collect())
}

/// The characters that Java skips.
const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

#[derive(Default)]
struct Document {
    list: Vec<Property>,
    places: HashMap<String, usize>,
}

impl Document {
    fn set(&mut self, property: Property) {
        if property.name.is_empty() {
            return;
        }
        if let Some(earlier) = self.places.get(&property.name).and_then(|place| self.list.get_mut(*place)) {
            *earlier = property;
        } else {
            self.places.insert(property.name.clone(), self.list.len());
            self.list.push(property);
        }
    }
}

/// Parses a property with its continuation lines.
fn property<'t>(
    first: &str,
    line: usize,
    lines: &mut impl Iterator<Item = (&'t str, usize)>,
) -> Result<Property, String> {
    let mut logical = first.to_owned();
    while logical.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
        logical.pop();
        let Some((next, _)) = lines.next() else { break };
        logical.push_str(next.trim_start_matches(BLANKS));
    }
    let mut name = String::new();
    let mut chars = logical.chars().peekable();
    while let Some(c) = chars.next_if(|c| !matches!(c, '=' | ':') && !BLANKS.contains(c)) {
        unescape(c, &mut chars, &mut name, line)?;
    }
    while chars.next_if(|c| BLANKS.contains(c)).is_some() {}
    if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while chars.next_if(|c| BLANKS.contains(c)).is_some() {}
    }
    let mut value = String::new();
    while let Some(c) = chars.next() {
        unescape(c, &mut chars, &mut value, line)?;
    }
    // Some programs trim a number, others refuse it.
    value.truncate(value.trim_end().len());
    Ok(Property { name, value, line })
}

/// Appends a character, or the value of an escape.
fn unescape(
    c: char,
    chars: &mut impl Iterator<Item = char>,
    text: &mut String,
    line: usize,
) -> Result<(), String> {
    if c != '\\' {
        text.push(c);
        return Ok(());
    }
    match chars.next() {
        Some('t') => text.push('\t'),
        Some('n') => text.push('\n'),
        Some('r') => text.push('\r'),
        Some('f') => text.push('\x0c'),
        Some('u') => {
            let digits: String = chars.take(4).collect();
            let code = u32::from_str_radix(&digits, 16)
                .ok()
                .filter(|_| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let code = code.ok_or_else(|| format!("line {line}: an escape is not valid"))?;
            text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Some(other) => text.push(other),
        None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::{NOTHING, TestFiles, value_with_text};
    use super::*;

    const VARIABLES: TestFiles<'_> = TestFiles { variables: &[("KEEP", "9s"), ("SECRET", "?")], ..NOTHING };

    fn ask(text: &str) -> String {
        value_with_text(read(&VARIABLES, "f", text, Query { key: "server.keep-alive", port: None }))
    }

    #[rstest]
    #[case::equals("# c\nserver.keep-alive=10s\n", "10s | server.keep-alive=10s | 2")]
    #[case::colon("server.keep-alive : 10s", "10s | server.keep-alive=10s | 1")]
    #[case::blank("  server.keep-alive 10s  ", "10s | server.keep-alive=10s | 1")]
    #[case::separator_in_value("server.keep-alive==:1", "=:1 | server.keep-alive==:1 | 1")]
    #[case::windows("a=1\r\nserver.keep-alive=10s\r\n", "10s | server.keep-alive=10s | 2")]
    #[case::last("server.keep-alive=1\n\nserver.keep-alive=2", "2 | server.keep-alive=2 | 3")]
    #[case::continued("x=1\nserver.\\\n   keep-alive=\\\n 1\\\n 0s", "10s | server.keep-alive=10s | 2")]
    #[case::continued_by_a_comment("server.keep-alive=1\\\n#0s", "1#0s | server.keep-alive=1#0s | 1")]
    #[case::not_continued("a=\\\\\nserver.keep-alive=1", "1 | server.keep-alive=1 | 2")]
    #[case::part_of_another("a=\\\nserver.keep-alive=1", "absent")]
    #[case::comment_is_not_continued("# a \\\nserver.keep-alive=1", "1 | server.keep-alive=1 | 2")]
    #[case::escapes("server.keep\\u002dalive=\\1\\u0030s", "10s | server.keep-alive=10s | 1")]
    #[case::escaped_separator("server.keep-alive\\=1=2", "absent")]
    #[case::at_the_end("server.keep-alive=1\\", "1 | server.keep-alive=1 | 1")]
    #[case::exclamation_mark("! server.keep-alive=1", "absent")]
    #[case::empty("server.keep-alive", " | server.keep-alive= | 1")]
    #[case::other_case("server.keepAlive=1", "absent")]
    #[case::broken("\nserver.keep-alive=\\u00g0", "? f line 2: an escape is not valid")]
    #[case::signed("server.keep-alive=\\u+0aa", "? f line 1: an escape is not valid")]
    #[case::variable("server.keep-alive=${KEEP:5s}", "9s | server.keep-alive=${KEEP:5s} | 1")]
    #[case::default("server.keep-alive=${NONE:5s}", "5s | server.keep-alive=${NONE:5s} | 1")]
    #[case::unset("server.keep-alive=${NONE}", "? f line 1: NONE is not set in the pod spec")]
    #[case::secret("server.keep-alive=${SECRET:5s}", "? f line 1: SECRET comes from a Secret")]
    #[case::own("KEEP=1s\nserver.keep-alive=${KEEP}", "? f line 2: KEEP is set in the same file")]
    fn exact(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text), expected);
    }

    #[rstest]
    #[case::one("a=1\n# c\nb=2", "a b")]
    #[case::two("a=1\n#---\nb=2\n!---  \nc=3", "a|b|c")]
    #[case::blank_lines("a=1\n\n#---\n\nb=2", "a|b")]
    #[case::indented("a=1\n #---\nb=2", "a b")]
    #[case::comment_before("a=1\n# c\n#---\nb=2", "a b")]
    #[case::other_comment_before("a=1\n! c\n#---\nb=2", "a|b")]
    #[case::comment_behind("a=1\n#---\n# c\nb=2", "a b")]
    #[case::longer("a=1\n#----\nb=2", "a b")]
    #[case::first("#---\na=1\n#---\n", "a")]
    fn separators(#[case] text: &str, #[case] expected: &str) {
        let names = |list: &Vec<Property>| {
            list.iter().map(|property| property.name.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(documents(text).unwrap().iter().map(names).collect::<Vec<_>>().join("|"), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[a-cu0-1=:#!\\\\ \n\r\t${}é-]{0,400}") {
            ask(&text);
        }
    }
}
