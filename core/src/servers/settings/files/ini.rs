//! Ini files of Go programs such as Grafana and Gitea (gopkg.in/ini.v1), and of uWSGI.
//!
//! Parses keys in sections, and answers a key `section.key`.

use super::{Answer, Entry, Files, Query};

/// The dialect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dialect {
    /// gopkg.in/ini.v1: `server.read_timeout` is in `[server]`; a key without a dot is above all sections.
    Go,
    /// uWSGI: `http-keepalive` is in `[uwsgi]`.
    Uwsgi,
}

/// The name of the section at the top of a file (go-ini file.go: `DefaultSection`).
const TOP: &str = "DEFAULT";

/// uWSGI options that load options from elsewhere (uwsgi core/uwsgi.c), also with a number as in `ini2`.
const ELSEWHERE: [&str; 11] =
    ["config", "import", "include", "inherit", "ini", "json", "js", "ldap", "sqlite3", "xml", "yaml"];

/// Reads a key.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>, dialect: Dialect) -> Answer {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let answer = match dialect {
        Dialect::Go => go(text, query.key),
        Dialect::Uwsgi => uwsgi(files, text, query.key),
    };
    match answer {
        Ok(None) => Answer::Absent,
        Ok(Some(line)) => Answer::Set(Entry {
            value: line.seen.unwrap_or_else(|| line.value.to_owned()),
            text: format!("{} = {}", line.key, line.value),
            path: path.to_owned(),
            line: line.number,
        }),
        Err(why) => Answer::Unknown(format!("{path} {why}")),
    }
}

/// A key and its value.
struct Line<'t> {
    key: &'t str,
    value: &'t str,
    /// The effective value, if it differs from the written one.
    seen: Option<String>,
    number: usize,
}

impl Line<'_> {
    fn fault(&self, why: &str) -> String {
        format!("line {}: {why}", self.number)
    }
}

/// The trimmed lines of a text, without empty ones and comments.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.split('\n').map(str::trim).zip(1..).map(|(line, number)| (number, line));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with([';', '#']))
}

/// The last value in a section, otherwise that of its parent: `[a.b]` inherits from `[a]` (go-ini section.go:
/// `GetKey`).
fn go<'t>(text: &'t str, key: &str) -> Result<Option<Line<'t>>, String> {
    let (mut section, key) = key.rsplit_once('.').unwrap_or((TOP, key));
    loop {
        if let Some(line) = in_section(text, section, key)? {
            return of_go(line).map(Some);
        }
        match section.rsplit_once('.') {
            Some((above, _)) => section = above,
            None => return Ok(None),
        }
    }
}

fn in_section<'t>(text: &'t str, section: &str, key: &str) -> Result<Option<Line<'t>>, String> {
    let mut inside = section == TOP;
    let mut found = None;
    for (number, line) in lines(text) {
        if let Some(rest) = line.strip_prefix('[') {
            let (name, _) =
                rest.rsplit_once(']').ok_or_else(|| format!("line {number}: a section is not closed"))?;
            inside = name == section;
            continue;
        }
        let (name, value) = match line.split_once(['=', ':']) {
            Some((name, value)) => (name.trim(), value.trim()),
            None => (line, ""),
        };
        // A multi-line value may contain lines that look like keys.
        let unclosed = |quote: &str| {
            value.strip_prefix(quote).is_some_and(|rest| !rest.contains(quote)) && value != quote.repeat(2)
        };
        if unclosed("\"\"\"") || unclosed("`") || line.ends_with('\\') {
            return Err(format!("line {number}: the value of {name} spans several lines"));
        }
        let name = name.trim_matches(['"', '`']).trim();
        if inside && name == key {
            found = Some(Line { key: name, value, seen: None, number });
        }
    }
    Ok(found)
}

/// The value without quotes and without a trailing comment.
fn of_go(mut line: Line<'_>) -> Result<Line<'_>, String> {
    let mut value = line.value;
    if let Some(at) = value.find(['#', ';']) {
        let (before, _) = value.split_at_checked(at).unwrap_or((value, ""));
        if !before.ends_with([' ', '\t']) {
            return Err(line.fault(&format!("the value of {} may contain a comment", line.key)));
        }
        value = before.trim_end();
    }
    line.value = value;
    for quote in ["\"\"\"", "\"", "'", "`"] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            value = inner;
            break;
        }
    }
    if value.is_empty() {
        return Err(line.fault(&format!("{} has no value", line.key)));
    }
    if value.contains(['$', '"', '\'', '`', '\\']) || value.contains("%(") {
        return Err(line.fault(&format!("the value of {} is not a literal", line.key)));
    }
    line.seen = Some(value.to_owned());
    Ok(line)
}

/// The last value of an option in `[uwsgi]` (uwsgi core/ini.c).
fn uwsgi<'t>(files: &dyn Files, text: &'t str, key: &str) -> Result<Option<Line<'t>>, String> {
    let (wanted, key) = key.split_once('.').unwrap_or(("uwsgi", key));
    let mut section = "";
    let mut in_logic = false;
    let mut has_env = false;
    let mut found: Option<Line<'t>> = None;
    let mut elsewhere = None;
    for (number, text) in lines(text) {
        if let Some(rest) = text.strip_prefix('[') {
            // uWSGI removes the last character, whatever it is.
            section =
                rest.strip_suffix(']').ok_or_else(|| format!("line {number}: a section is not closed"))?;
            continue;
        }
        if section != wanted {
            continue;
        }
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let line = Line { key: name.trim(), value: value.trim(), seen: None, number };
        match line.key {
            "end" | "endif" | "end-if" | "endfor" | "end-for" => in_logic = false,
            "else" => in_logic = true,
            name if name.starts_with("if-") || name == "for" || name.starts_with("for-") => in_logic = true,
            "env" | "unenv" => has_env = true,
            "set" | "S" if line.value.split('=').next().is_some_and(|option| option.trim() == key) => {
                return Err(line.fault(&format!("set changes {key}")));
            }
            name if ELSEWHERE.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit()))
                || ELSEWHERE.contains(&name)
                || matches!(name, "yml" | "xmlconfig") =>
            {
                elsewhere.get_or_insert_with(|| line.fault(&format!("{name} may set {key} again")));
            }
            name if name.contains(['%', '$', '@']) => {
                return Err(line.fault(&format!("{name} is not a plain option")));
            }
            name if name == key && in_logic => {
                return Err(line.fault(&format!("{key} depends on a condition")));
            }
            name if name == key => found = Some(line),
            _ => {}
        }
    }
    match (found, elsewhere) {
        (_, Some(why)) => Err(why),
        (None, None) => Ok(None),
        (Some(mut line), None) => {
            line.seen = Some(of_uwsgi(files, &line, has_env)?);
            Ok(Some(line))
        }
    }
}

/// The value with `$(VAR)` expanded.
fn of_uwsgi(files: &dyn Files, line: &Line<'_>, has_env: bool) -> Result<String, String> {
    if line.value.is_empty() {
        return Err(line.fault(&format!("{} has no value", line.key)));
    }
    let mut value = String::new();
    let mut rest = line.value;
    while let Some((before, behind)) = rest.split_once("$(") {
        let (name, after) =
            behind.split_once(')').ok_or_else(|| line.fault("a placeholder is not closed"))?;
        if has_env {
            return Err(line.fault(&format!("env may set {name}")));
        }
        value.push_str(before);
        match files.variable(name) {
            Some(Ok(of_name)) => value.push_str(&of_name),
            Some(Err(why)) => return Err(line.fault(&why)),
            None => return Err(line.fault(&format!("{name} is not set in the pod spec"))),
        }
        rest = after;
    }
    value.push_str(rest);
    if value.contains(['%', '@', '$', '(']) {
        return Err(line.fault(&format!("the value of {} is not a literal", line.key)));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::{NOTHING, TestFiles, value_with_text};
    use super::*;

    const VARIABLES: TestFiles<'_> = TestFiles { variables: &[("KEEP", "9"), ("SECRET", "?")], ..NOTHING };

    fn ask(text: &str, key: &str, dialect: Dialect) -> String {
        value_with_text(read(&VARIABLES, "f", text, Query { key, port: None }, dialect))
    }

    #[rstest]
    #[case::plain("a = 1\n[server]\n# c\nidle = 10s\n", "10s | idle = 10s | 4")]
    #[case::tight("[server]\r\nidle=10s\r\n", "10s | idle = 10s | 2")]
    #[case::colon("[server]\nidle: 10s", "10s | idle = 10s | 2")]
    #[case::quotes("[server]\nidle = \"10s\"", "10s | idle = \"10s\" | 2")]
    #[case::backquotes("[server]\n`idle` = `10s`", "10s | idle = `10s` | 2")]
    #[case::comment("[server]\nidle = 10s ; c", "10s | idle = 10s | 2")]
    #[case::comment_of_quotes("[server] # c\nidle = '10s' # c", "10s | idle = '10s' | 2")]
    #[case::last("[server]\nidle = 1s\n[b]\nidle = 2s\n[server]\nidle = 3s", "3s | idle = 3s | 6")]
    #[case::commented_out("[server]\n;idle = 10s\n#idle = 9s", "absent")]
    #[case::other_section("[servers]\nidle = 10s", "absent")]
    #[case::top("idle = 10s", "absent")]
    #[case::other_case("[Server]\nidle = 1\n[server]\nIdle = 2", "absent")]
    #[case::empty("[server]\nidle =", "? f line 2: idle has no value")]
    #[case::no_delimiter("[server]\nidle", "? f line 2: idle has no value")]
    #[case::glued_comment("[server]\nidle = 10s;c", "? f line 2: the value of idle may contain a comment")]
    #[case::variable("[server]\nidle = ${IDLE}", "? f line 2: the value of idle is not a literal")]
    #[case::key("[server]\nidle = %(x)s", "? f line 2: the value of idle is not a literal")]
    #[case::lines(
        "[a]\nx = \"\"\"1\n[server]\nidle = 1s\n\"\"\"",
        "? f line 2: the value of x spans several lines"
    )]
    #[case::continued("[a]\nx = 1\\\n[server]", "? f line 2: the value of x spans several lines")]
    #[case::open("[server\nidle = 1", "? f line 1: a section is not closed")]
    fn of_go_programs(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, "server.idle", Dialect::Go), expected);
    }

    #[rstest]
    #[case::top("idle = 10s", "idle", "10s | idle = 10s | 1")]
    #[case::top_by_name("[DEFAULT]\nidle = 10s", "idle", "10s | idle = 10s | 2")]
    #[case::inherited("[a]\nidle = 1s\n[a.b]\nx = 1", "a.b.idle", "1s | idle = 1s | 2")]
    #[case::own("[a]\nidle = 1s\n[a.b]\nidle = 2s", "a.b.idle", "2s | idle = 2s | 4")]
    #[case::not_from_the_top("idle = 1s\n[a]\nx = 1", "a.idle", "absent")]
    fn sections(#[case] text: &str, #[case] key: &str, #[case] expected: &str) {
        assert_eq!(ask(text, key, Dialect::Go), expected);
    }

    #[rstest]
    #[case::plain("[uwsgi]\nmodule = a\nhttp-keepalive = 10", "10 | http-keepalive = 10 | 3")]
    #[case::last("[uwsgi]\nhttp-keepalive=1\nhttp-keepalive=2", "2 | http-keepalive = 2 | 3")]
    #[case::other_section("[app]\nhttp-keepalive = 10\n[uwsgi]\n", "absent")]
    #[case::comments("[uwsgi]\n;http-keepalive = 10\n# http-keepalive = 9", "absent")]
    #[case::above("http-keepalive = 10\n[uwsgi]", "absent")]
    #[case::variable("[uwsgi]\nhttp-keepalive = $(KEEP)", "9 | http-keepalive = $(KEEP) | 2")]
    #[case::harmless_condition(
        "[uwsgi]\nif-env = X\nhttp = :80\nendif =\nhttp-keepalive = 5",
        "5 | http-keepalive = 5 | 5"
    )]
    #[case::condition(
        "[uwsgi]\nif-env = X\nhttp-keepalive = 5\nendif =",
        "? f line 3: http-keepalive depends on a condition"
    )]
    #[case::other_case(
        "[uwsgi]\nif-env = X\na = 1\nelse =\nhttp-keepalive = 5\nendif =",
        "? f line 5: http-keepalive depends on a condition"
    )]
    #[case::unset("[uwsgi]\nhttp-keepalive = $(NONE)", "? f line 2: NONE is not set in the pod spec")]
    #[case::secret("[uwsgi]\nhttp-keepalive = $(SECRET)", "? f line 2: SECRET comes from a Secret")]
    #[case::own_env("[uwsgi]\nenv = KEEP=1\nhttp-keepalive = $(KEEP)", "? f line 3: env may set KEEP")]
    #[case::key("[uwsgi]\nhttp-keepalive = %(x)", "? f line 2: the value of http-keepalive is not a literal")]
    #[case::file(
        "[uwsgi]\nhttp-keepalive = @(/x)",
        "? f line 2: the value of http-keepalive is not a literal"
    )]
    #[case::no_value("[uwsgi]\nhttp-keepalive", "? f line 2: http-keepalive has no value")]
    #[case::include(
        "[uwsgi]\nhttp-keepalive = 5\nini = other.ini",
        "? f line 3: ini may set http-keepalive again"
    )]
    #[case::set("[uwsgi]\nset = http-keepalive=5", "? f line 2: set changes http-keepalive")]
    #[case::made("[uwsgi]\nhttp-%(x) = 5", "? f line 2: http-%(x) is not a plain option")]
    fn of_uwsgi(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text, "http-keepalive", Dialect::Uwsgi), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[ab\\[\\]=:.#;\"'`$%()\\\\ \n\té]{0,400}") {
            ask(&text, "a.b", Dialect::Go);
            ask(&text, "b", Dialect::Uwsgi);
        }
    }
}
