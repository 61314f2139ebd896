//! Jetty's start.ini and start.d/*.ini: a server property.
//!
//! Reads the files of a directory in Jetty's order, and answers a property (jetty `start/config/DirConfigSource.java`,
//! `start/StartArgs.java`). The caller handles properties on the command line.

use std::collections::BTreeSet;

use super::{Answer, Entry, Files, Opened, Query};

/// The maximum number of files in start.d.
const MAX_FILES: usize = 64;

/// Reads the property `key` from the file at `path` and from its siblings.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    find(files, path, text, query.key).into()
}

fn find(files: &dyn Files, path: &str, text: &str, key: &str) -> Result<Option<Entry>, String> {
    let Some(base) = base(path) else { return property(path, text, key, None) };
    let start_ini = format!("{base}/start.ini");
    let before = if path == start_ini {
        property(path, text, key, None)?
    } else {
        match files.open(&start_ini) {
            Opened::Text(text) => property(&start_ini, &text, key, None)?,
            Opened::Missing => None,
            Opened::Unknown(why) => return Err(why),
        }
    };
    let mut siblings = files.list(&format!("{base}/start.d/*.ini"))?;
    if path != start_ini && !siblings.iter().any(|sibling| sibling == path) {
        siblings.push(path.to_owned());
    }
    if siblings.len() > MAX_FILES {
        return Err(format!("{base}/start.d has too many files"));
    }
    let mut of_start_d: Option<Entry> = None;
    for sibling in siblings {
        let opened = if sibling == path { Opened::Text(text.into()) } else { files.open(&sibling) };
        let own = match opened {
            Opened::Text(text) => property(&sibling, &text, key, before.as_ref())?,
            Opened::Missing => None,
            Opened::Unknown(why) => return Err(why),
        };
        match (&of_start_d, own) {
            // Jetty sorts names with numbers in another order.
            (Some(first), Some(own)) if first.value != own.value => {
                return Err(format!("the files in {base}/start.d have different values of {key}"));
            }
            (_, own) => of_start_d = own.or(of_start_d),
        }
    }
    Ok(of_start_d.or(before))
}

/// The base directory of start.ini and start.d.
fn base(path: &str) -> Option<&str> {
    let (folder, name) = path.rsplit_once('/')?;
    if name == "start.ini" { Some(folder) } else { folder.strip_suffix("/start.d") }
}

/// The property in a file; `before` is the value from previous files.
fn property(path: &str, text: &str, key: &str, before: Option<&Entry>) -> Result<Option<Entry>, String> {
    let mut found: Option<Entry> = None;
    let mut seen = BTreeSet::new();
    let mut other_environment = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let argument = line.trim();
        let fault = |what: &str| Err(format!("{path} line {number}: {what}"));
        // Repeated lines are ignored (jetty `TextFile.addUniqueLine`).
        if argument.is_empty() || argument.starts_with('#') || !seen.insert(argument) {
            continue;
        }
        let option = argument.split('=').next().unwrap_or(argument);
        match option {
            "--module" | "--modules" => {
                let modules = argument.split_once('=').map_or("", |(_, modules)| modules);
                let of_environment =
                    |name: &str| name.starts_with("ee") && name.contains(|c: char| c.is_ascii_digit());
                other_environment = modules.split(',').map(str::trim).any(of_environment);
                continue;
            }
            "--commands" | "--include-jetty-dir" | "--add-config-dir" => {
                return fault("other files are read");
            }
            _ => {}
        }
        let declaration = argument.strip_prefix("-D").unwrap_or(argument);
        let Some((name, value)) = declaration.split_once('=') else {
            let is_file = |ending: &str| {
                argument.len() > ending.len() && argument.to_ascii_lowercase().ends_with(ending)
            };
            if !argument.starts_with('-') && (is_file(".xml") || is_file(".properties")) {
                return fault(&format!("{argument} may set {key}"));
            }
            continue;
        };
        let plain = name.trim().trim_end_matches(['?', '+']);
        if !plain.trim_end().eq_ignore_ascii_case(key) {
            continue;
        }
        if plain != key || name.trim() != name || name.ends_with('+') || value.trim() != value {
            return fault(&format!("{key} is not set in the plain form"));
        }
        if value.contains("${") {
            return fault(&format!("the value of {key} is a placeholder"));
        }
        if other_environment {
            return fault(&format!("{key} belongs to the module above"));
        }
        if name.ends_with('?') && (found.is_some() || before.is_some()) {
            continue;
        }
        let (value, text) = (value.to_owned(), argument.to_owned());
        found = Some(Entry { value, text, path: path.to_owned(), line: number });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::testing::{NOTHING, TestFiles, describe};
    use super::*;

    const KEY: Query<'_> = Query { key: "jetty.http.idleTimeout", port: None };

    fn ask(files: &[(&str, &str)], path: &str, text: &str) -> String {
        let answer = read(&TestFiles { files, ..NOTHING }, path, text, KEY);
        describe(answer, |Entry { value, path, line, .. }| format!("{value} at {path}:{line}"))
    }

    #[rstest]
    #[case::plain("--module=http\njetty.http.idleTimeout=5000\n", "5000 at /b/start.ini:2")]
    #[case::windows_lines("--module=http\r\njetty.http.idleTimeout=5000\r\n", "5000 at /b/start.ini:2")]
    #[case::comment("# jetty.http.idleTimeout=5000\n  # jetty.http.idleTimeout=6", "absent")]
    #[case::indented("  jetty.http.idleTimeout=5000", "5000 at /b/start.ini:1")]
    #[case::last_wins("jetty.http.idleTimeout=5000\njetty.http.idleTimeout=6000", "6000 at /b/start.ini:2")]
    #[case::the_same_again_does_not_count(
        "jetty.http.idleTimeout=5\njetty.http.idleTimeout=6\njetty.http.idleTimeout=5",
        "6 at /b/start.ini:2"
    )]
    #[case::other_property("jetty.http.port=8080\njetty.ssl.idleTimeout=3", "absent")]
    #[case::system_property("-Djetty.http.idleTimeout=7", "7 at /b/start.ini:1")]
    #[case::if_not_set("jetty.http.idleTimeout?=7", "7 at /b/start.ini:1")]
    #[case::if_not_set_behind("jetty.http.idleTimeout=5\njetty.http.idleTimeout?=7", "5 at /b/start.ini:1")]
    #[case::appended(
        "jetty.http.idleTimeout+=7",
        "? /b/start.ini line 1: jetty.http.idleTimeout is not set in the plain form"
    )]
    #[case::spaces(
        "jetty.http.idleTimeout = 7",
        "? /b/start.ini line 1: jetty.http.idleTimeout is not set in the plain form"
    )]
    #[case::placeholder(
        "jetty.http.idleTimeout=${idle}",
        "? /b/start.ini line 1: the value of jetty.http.idleTimeout is a placeholder"
    )]
    #[case::xml("etc/my.xml", "? /b/start.ini line 1: etc/my.xml may set jetty.http.idleTimeout")]
    #[case::properties(
        "my.properties",
        "? /b/start.ini line 1: my.properties may set jetty.http.idleTimeout"
    )]
    #[case::commands("--commands=x", "? /b/start.ini line 1: other files are read")]
    #[case::options("--exec\n-Xmx1g\n--lib=x.xml\n", "absent")]
    #[case::environment(
        "--module=ee10-deploy\njetty.http.idleTimeout=5",
        "? /b/start.ini line 2: jetty.http.idleTimeout belongs to the module above"
    )]
    #[case::behind_an_environment(
        "--module=ee10-deploy\n--module=http\njetty.http.idleTimeout=5",
        "5 at /b/start.ini:3"
    )]
    fn lines(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(&[], "/b/start.ini", text), expected);
    }

    const FIVE: &str = "jetty.http.idleTimeout=5";
    const SIX: &str = "\njetty.http.idleTimeout=6";

    #[rstest]
    #[case::start_d_wins(&[("/b/start.d/http.ini", SIX)], "/b/start.ini", "6 at /b/start.d/http.ini:2")]
    #[case::start_ini_alone(&[("/b/start.d/x.ini", "")], "/b/start.ini", "5 at /b/start.ini:1")]
    #[case::asked_for_start_d(&[("/b/start.ini", SIX), ("/b/start.d/http.ini", "")], "/b/start.d/http.ini", "5 at /b/start.d/http.ini:1")]
    #[case::not_listed(&[("/b/start.ini", SIX), ("/b/start.d/x.ini", "")], "/b/start.d/y.ini", "5 at /b/start.d/y.ini:1")]
    #[case::if_not_set_in_start_d(&[("/b/start.d/http.ini", "jetty.http.idleTimeout?=6")], "/b/start.ini", "5 at /b/start.ini:1")]
    #[case::two_differ(&[("/b/start.d/a.ini", SIX), ("/b/start.d/b.ini", "")], "/b/start.d/b.ini", "? the files in /b/start.d have different values of jetty.http.idleTimeout")]
    #[case::unseen_sibling(&[("/b/start.d/a.ini", "?")], "/b/start.ini", "? /b/start.d/a.ini comes from a Secret")]
    #[case::unseen_folder(&[("/b/start.d/", "")], "/b/start.ini", "? /b/start.d/ is that of the image")]
    #[case::unseen_start_ini(&[("/b/start.ini", "?")], "/b/start.d/http.ini", "? /b/start.ini comes from a Secret")]
    #[case::other_file(&[("/b/start.ini", SIX)], "/b/other.ini", "5 at /b/other.ini:1")]
    fn folders(#[case] files: &[(&str, &str)], #[case] path: &str, #[case] expected: &str) {
        assert_eq!(ask(files, path, FIVE), expected);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(jetty.http.idleTimeout|--module|-D|[ =?+,#\n$]|\\PC){0,40}") {
            ask(&[], "/b/start.ini", &text);
        }
    }
}
