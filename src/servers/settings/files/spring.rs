//! The external configuration of Spring Boot: `application.properties`, `application.yaml`, and those of profiles.
//!
//! Turns the files of one directory and the active profiles into documents in the order in which they count, and a
//! property into an [`Answer`]. Command line, JVM options, variables of the property itself, other directories and the
//! app's own files are left to others.
//!
//! The order is that of spring-boot StandardConfigDataLocationResolver.java: in one directory YAML counts least, then .yml,
//! then .properties; a later document of a file counts more than an earlier one, and files of profiles more than those of
//! none.

use super::{
    Answer, Files, Opened, placeholder, properties,
    tree::{self, Leaf, Style, Value, relaxed},
};

/// How many files of profiles are read.
const MOST_FILES: usize = 64;

/// Properties that bring other files or profiles into play, without case, dashes and underscores.
const ELSEWHERE: [&str; 4] =
    ["spring.config.import", "spring.profiles.include", "spring.profiles.group", "spring.profiles.default"];

/// Prefixes of properties that Spring or the JVM has by itself.
const BUILT_IN: [&str; 8] = ["random", "java", "user", "os", "file", "line", "path", "sun"];

/// A document of a file.
struct Document {
    path: String,
    leaves: Vec<Leaf>,
    between: &'static str,
    /// The name of its file has a profile that may not be active.
    doubtful: bool,
}

/// Whether a document counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Counts {
    Yes,
    No,
    /// Nobody can tell.
    Perhaps,
}

/// Reads a property. `directory` ends with or without a slash, and `name` is `application` where nobody gives another.
/// `profiles` are those that the command line or a variable activates: `None` where nobody can tell, empty where nobody
/// does.
pub(super) fn read(
    files: &dyn Files,
    directory: &str,
    name: &str,
    profiles: Option<&[String]>,
    key: &str,
) -> Answer {
    let stem = format!("{}/{name}", directory.trim_end_matches('/'));
    match find(files, &stem, profiles, key) {
        Ok(answer) => answer,
        Err(why) => Answer::Unknown(why),
    }
}

fn find(files: &dyn Files, stem: &str, profiles: Option<&[String]>, key: &str) -> Result<Answer, String> {
    let mut documents = load(files, stem)?;
    let active = match profiles {
        None => None,
        Some([]) => activated(files, &documents)?,
        Some(profiles) => Some(profiles.to_vec()),
    };
    match &active {
        Some(active) => {
            for profile in active.iter().take(MOST_FILES) {
                if !is_name(profile) || active.len() > MOST_FILES {
                    return Err(format!("the profile {profile} is no plain name"));
                }
                documents.extend(of_profile(load(files, &format!("{stem}-{profile}"))?)?);
            }
        }
        None => documents.extend(of_any_profile(files, stem)?),
    }
    let mut counting: Vec<(Document, bool)> = Vec::new();
    for document in documents {
        let counts = if document.doubtful { Counts::Perhaps } else { document.counts(active.as_deref()) };
        if counts == Counts::No {
            continue;
        }
        if let Some(leaf) = document.leaves.iter().find(|leaf| begins_with_one_of(&leaf.name, &ELSEWHERE)) {
            return Err(document.fault(leaf, &format!("{} may set it elsewhere", leaf.name)));
        }
        counting.push((document, counts == Counts::Yes));
    }
    let Some((document, leaf)) = strongest(&counting, key, false)? else { return Ok(Answer::Absent) };
    let value = tree::plain(leaf).map_err(|why| format!("{} {why}", document.path))?;
    let value = placeholder::expand(value, &|name| property(files, &counting, name))
        .map_err(|why| document.fault(leaf, &why))?;
    if value.is_empty() {
        return Err(document.fault(leaf, &format!("{} is empty", leaf.name)));
    }
    Ok(Answer::Set(leaf.entry(value, &document.path, document.between)))
}

/// The leaf that counts for a property. `exact`: its name must be the same in every character.
fn strongest<'d>(
    counting: &'d [(Document, bool)],
    key: &str,
    exact: bool,
) -> Result<Option<(&'d Document, &'d Leaf)>, String> {
    for (document, surely) in counting.iter().rev() {
        let found = tree::find(&document.leaves, Style::RelaxedYaml, key)
            .map_err(|why| format!("{} {why}", document.path))?;
        let Some(leaf) = found else { continue };
        if !surely {
            return Err(document.fault(leaf, &format!("{} counts in some profiles alone", leaf.name)));
        }
        if exact && leaf.name != key {
            return Err(document.fault(leaf, &format!("{} may stand for {key}", leaf.name)));
        }
        return Ok(Some((document, leaf)));
    }
    Ok(None)
}

/// What a placeholder stands for: a variable, then a property of these files.
///
/// A name in capitals that neither has is not set; any other may be set in the app's own files.
fn property(files: &dyn Files, counting: &[(Document, bool)], name: &str) -> Option<Result<String, String>> {
    if begins_with_one_of(name, &BUILT_IN) {
        return Some(Err(format!("{name} is decided when the program runs")));
    }
    if let Some(value) = variable(files, name) {
        return Some(value);
    }
    let is_canonical =
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'));
    match strongest(counting, name, !is_canonical) {
        Err(why) => Some(Err(why)),
        Ok(Some((_, leaf))) => Some(tree::plain(leaf).map(ToOwned::to_owned)),
        Ok(None) if is_of_variable(name) => None,
        Ok(None) => Some(Err(format!("{name} may be set elsewhere"))),
    }
}

/// The variable of a property: under its own name, with an underscore for each dot and dash, or without the dashes.
pub(super) fn variable(files: &dyn Files, name: &str) -> Option<Result<String, String>> {
    let underscores = name.replace(['.', '-'], "_").to_ascii_uppercase();
    let undashed = name.replace('-', "").replace('.', "_").to_ascii_uppercase();
    [name, &underscores, &undashed].into_iter().find_map(|name| files.variable(name))
}

/// Whether a name looks like that of a variable.
pub(super) fn is_of_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether a property is one of these or below one.
fn begins_with_one_of(name: &str, properties: &[&str]) -> bool {
    let name = relaxed(name);
    properties.iter().any(|property| {
        name.strip_prefix(property).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

fn is_name(profile: &str) -> bool {
    !profile.is_empty()
        && profile.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@'))
}

/// The documents of the files of one name, the weakest first.
fn load(files: &dyn Files, stem: &str) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for extension in ["yaml", "yml", "xml", "properties"] {
        let path = format!("{stem}.{extension}");
        match files.open(&path) {
            Opened::Missing => {}
            Opened::Unseen(why) => return Err(why),
            Opened::Text(text) => documents.extend(parse(path, &text)?),
        }
    }
    Ok(documents)
}

fn parse(path: String, text: &str) -> Result<impl Iterator<Item = Document> + use<>, String> {
    let (leaves, between) = match path.rsplit_once('.') {
        Some((_, "properties")) => (properties::leaves(text), "="),
        Some((_, "yaml" | "yml")) => (tree::documents(text, Style::RelaxedYaml), ": "),
        _ => return Err(format!("{path} may set it")),
    };
    let leaves = leaves.map_err(|why| format!("{path} {why}"))?;
    let document = move |leaves| Document { path: path.clone(), leaves, between, doubtful: false };
    Ok(leaves.into_iter().map(document))
}

/// Documents of a file of a profile, which may not activate others.
fn of_profile(documents: Vec<Document>) -> Result<Vec<Document>, String> {
    for document in &documents {
        let active = document.leaves.iter().find(|leaf| begins_with_one_of(&leaf.name, &[ACTIVE]));
        if let Some(leaf) = active {
            return Err(document.fault(leaf, &format!("{} stands in a file of a profile", leaf.name)));
        }
    }
    Ok(documents)
}

/// The files of all profiles, where nobody can tell which are active.
fn of_any_profile(files: &dyn Files, stem: &str) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    let mut left = MOST_FILES;
    for extension in ["yaml", "yml", "xml", "properties"] {
        for path in files.list(&format!("{stem}-*.{extension}"))? {
            left = left.checked_sub(1).ok_or("there are too many files of profiles")?;
            match files.open(&path) {
                Opened::Missing => {}
                Opened::Unseen(why) => return Err(why),
                Opened::Text(text) => documents
                    .extend(parse(path, &text)?.map(|document| Document { doubtful: true, ..document })),
            }
        }
    }
    Ok(documents)
}

const ACTIVE: &str = "spring.profiles.active";

/// The profiles that documents without a condition activate; `None` where they leave that to the app's own files.
fn activated(files: &dyn Files, documents: &[Document]) -> Result<Option<Vec<String>>, String> {
    for document in documents.iter().rev() {
        let leaf = document.leaves.iter().rev().find(|leaf| begins_with_one_of(&leaf.name, &[ACTIVE]));
        let Some(leaf) = leaf else { continue };
        if document.leaves.iter().any(|leaf| tree::is_condition(&leaf.name)) {
            return Err(document.fault(leaf, &format!("{} depends on a profile", leaf.name)));
        }
        let names = names(&leaf.value)
            .filter(|_| relaxed(&leaf.name) == ACTIVE)
            .ok_or_else(|| document.fault(leaf, &format!("{} is no list of profiles", leaf.name)))?;
        let expanded = names.iter().map(|name| {
            placeholder::expand(name, &|name| match variable(files, name) {
                None if !is_of_variable(name) => Some(Err(format!("{name} may be set elsewhere"))),
                value => value,
            })
        });
        let expanded = expanded.collect::<Result<Vec<_>, _>>().map_err(|why| document.fault(leaf, &why))?;
        let active: Vec<String> = expanded.iter().flat_map(|names| parted(names)).collect();
        return Ok(Some(active).filter(|active| !active.is_empty()));
    }
    Ok(None)
}

/// The names in a text with commas or in a list.
fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Text(text) if text.contains('$') => Some(vec![text.clone()]),
        Value::Text(text) => Some(parted(text)),
        Value::List(items) => items.clone(),
        Value::Null => Some(Vec::new()),
        Value::Empty | Value::Odd(_) | Value::Twice => None,
    }
}

fn parted(names: &str) -> Vec<String> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

impl Document {
    fn fault(&self, leaf: &Leaf, why: &str) -> String {
        format!("{} {}", self.path, leaf.fault(why))
    }

    /// Whether the conditions in it hold.
    fn counts(&self, active: Option<&[String]>) -> Counts {
        let mut all = Counts::Yes;
        for leaf in self.leaves.iter().filter(|leaf| tree::is_condition(&leaf.name)) {
            let one = match relaxed(&leaf.name).as_str() {
                "spring.config.activate.onprofile" => holds(&leaf.value, active),
                // Old releases take it for a condition, new ones refuse it or pass over it.
                "spring.profiles" => match holds(&leaf.value, active) {
                    Counts::Yes => Counts::Yes,
                    Counts::No | Counts::Perhaps => Counts::Perhaps,
                },
                _ => Counts::Perhaps,
            };
            all = match (all, one) {
                (Counts::No, _) | (_, Counts::No) => Counts::No,
                (Counts::Perhaps, _) | (_, Counts::Perhaps) => Counts::Perhaps,
                (Counts::Yes, Counts::Yes) => Counts::Yes,
            };
        }
        all
    }
}

/// Whether one of the profiles of a condition is active.
fn holds(condition: &Value, active: Option<&[String]>) -> Counts {
    let (Some(names), Some(active)) = (names(condition), active) else { return Counts::Perhaps };
    if names.is_empty() {
        return Counts::Yes;
    }
    let mut any = Counts::No;
    for name in names {
        let (profile, wanted) = match name.strip_prefix('!') {
            Some(profile) => (profile.trim(), false),
            None => (name.as_str(), true),
        };
        if !is_name(profile) {
            any = Counts::Perhaps;
        } else if active.iter().any(|active| active == profile) == wanted {
            return Counts::Yes;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{
        Entry,
        testing::{Given, told},
    };
    use super::*;

    /// `profiles`: `?` where nobody can tell.
    fn ask(files: &[(&str, &str)], profiles: &str) -> String {
        let paths: Vec<_> = files.iter().map(|(name, text)| (format!("/config/{name}"), *text)).collect();
        let files: Vec<_> = paths.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let variables = &[("KEEP", "9s"), ("APP_IDLE", "9s"), ("SECRET", "?")];
        let folder = Given { files: &files, variables, of_image: false };
        let list: Vec<String> = parted(profiles);
        let profiles = Some(list.as_slice()).filter(|_| profiles != "?");
        let answer = read(&folder, "/config/", "application", profiles, "server.keep-alive");
        told(answer, |Entry { value, text, path, line }| format!("{value} | {text} | {path}:{line}"))
            .replace("/config/", "")
    }

    const YAML: &str = "server:\n  keepAlive: 1s\n";
    const PROPERTIES: &str = "server.keep-alive=2s\n";

    #[rstest]
    #[case::nothing(&[], "", "absent")]
    #[case::yaml(&[("application.yaml", YAML)], "", "1s | server.keepAlive: 1s | application.yaml:2")]
    #[case::properties(&[("application.properties", PROPERTIES)], "", "2s | server.keep-alive=2s | application.properties:1")]
    #[case::properties_beat_yaml(
        &[("application.properties", PROPERTIES), ("application.yml", YAML)], "",
        "2s | server.keep-alive=2s | application.properties:1"
    )]
    #[case::yml_beats_yaml(
        &[("application.yaml", YAML), ("application.yml", "server.keep-alive: 3s")], "",
        "3s | server.keep-alive: 3s | application.yml:1"
    )]
    #[case::other_name(&[("other.yaml", YAML)], "", "absent")]
    #[case::unseen(&[("application.yml", YAML), ("application.properties", "secret")], "", "? Secret x at application.properties may set it")]
    #[case::xml(&[("application.xml", "<a/>")], "", "? application.xml may set it")]
    #[case::empty(&[("application.properties", "server.keep-alive=")], "", "? application.properties line 1: server.keep-alive is empty")]
    #[case::null(&[("application.yml", "server.keep-alive:")], "", "? application.yml line 1: server.keep-alive is null")]
    #[case::broken(&[("application.yml", "a: [")], "", "? application.yml line 1: unclosed bracket '['")]
    #[case::two_spellings(
        &[("application.properties", "server.keepAlive=1\nserver.keep-alive=2")], "",
        "? application.properties line 2: server.keep-alive is set twice"
    )]
    fn base(#[case] files: &[(&str, &str)], #[case] profiles: &str, #[case] expected: &str) {
        assert_eq!(ask(files, profiles), expected);
    }

    #[rstest]
    #[case::of_profile("prod", "2s | server.keep-alive=2s | application-prod.properties:1")]
    #[case::of_another("dev", "1s | server.keepAlive: 1s | application.yml:2")]
    #[case::the_last("prod,test", "7s | server.keep-alive: 7s | application-test.yml:1")]
    #[case::the_last_again("test,prod", "2s | server.keep-alive=2s | application-prod.properties:1")]
    #[case::none("", "? application-prod.properties line 1: server.keep-alive counts in some profiles alone")]
    #[case::any("?", "? application-prod.properties line 1: server.keep-alive counts in some profiles alone")]
    #[case::odd("a/../b", "? the profile a/../b is no plain name")]
    fn files_of_profiles(#[case] profiles: &str, #[case] expected: &str) {
        let files = [
            ("application.yml", YAML),
            ("application-prod.properties", PROPERTIES),
            ("application-test.yml", "server.keep-alive: 7s"),
        ];
        assert_eq!(ask(&files, profiles), expected);
    }

    #[rstest]
    #[case::simple("on-profile: prod", "prod", "5s")]
    #[case::other("on-profile: prod", "dev", "1s")]
    #[case::one_of("on-profile: [a, prod]", "prod", "5s")]
    #[case::one_of_text("on-profile: a, prod", "prod", "5s")]
    #[case::not("on-profile: '!prod'", "dev", "5s")]
    #[case::not_not("on-profile: '!prod'", "prod", "1s")]
    #[case::camel("onProfile: prod", "prod", "5s")]
    #[case::open("on-profile: prod", "", "?")]
    #[case::unknown("on-profile: prod", "?", "?")]
    #[case::both("on-profile: a & b", "prod", "?")]
    #[case::cloud("on-cloud-platform: kubernetes", "prod", "?")]
    #[case::placeholder("on-profile: ${P}", "prod", "?")]
    fn conditions(#[case] condition: &str, #[case] profiles: &str, #[case] expected: &str) {
        let text = format!("{YAML}---\nspring.config.activate:\n  {condition}\nserver.keep-alive: 5s\n");
        let answer = ask(&[("application.yml", &text)], profiles);
        assert_eq!(answer.split(' ').next(), Some(expected), "{answer}");
        let property = condition.replace(": ", "=").replace(['[', ']', '\''], "");
        let text =
            format!("server.keep-alive=1s\n#---\nspring.config.activate.{property}\nserver.keep-alive=5s\n");
        let answer = ask(&[("application.properties", &text)], profiles);
        assert_eq!(answer.split(' ').next(), Some(expected), "{answer}");
    }

    #[rstest]
    #[case::old(
        "spring.profiles: prod\nserver.keep-alive: 5s",
        "prod",
        "5s | server.keep-alive: 5s | application.yml:5"
    )]
    #[case::old_other(
        "spring.profiles: prod\nserver.keep-alive: 5s",
        "dev",
        "? application.yml line 5: server.keep-alive counts in some profiles alone"
    )]
    #[case::does_not_set_it(
        "spring.profiles: prod\na: 5s",
        "",
        "1s | server.keepAlive: 1s | application.yml:2"
    )]
    #[case::later("server.keep-alive: 5s", "", "5s | server.keep-alive: 5s | application.yml:4")]
    #[case::import(
        "spring.config.import: x",
        "",
        "? application.yml line 4: spring.config.import may set it elsewhere"
    )]
    #[case::imports(
        "spring.config.import: [x, y]",
        "",
        "? application.yml line 4: spring.config.import may set it elsewhere"
    )]
    #[case::import_of_another(
        "spring.config:\n  import: x\n  activate.on-profile: a",
        "b",
        "1s | server.keepAlive: 1s | application.yml:2"
    )]
    #[case::include(
        "spring.profiles.include: x",
        "",
        "? application.yml line 4: spring.profiles.include may set it elsewhere"
    )]
    #[case::group(
        "spring.profiles.group.a: x",
        "b",
        "? application.yml line 4: spring.profiles.group.a may set it elsewhere"
    )]
    #[case::active("spring.profiles.active: prod", "", "8s | server.keep-alive: 8s | application-prod.yml:1")]
    #[case::active_list(
        "spring.profiles.active: [x, prod]",
        "",
        "8s | server.keep-alive: 8s | application-prod.yml:1"
    )]
    #[case::active_default(
        "spring.profiles.active: '${PROFILES:x,prod}'",
        "",
        "8s | server.keep-alive: 8s | application-prod.yml:1"
    )]
    #[case::active_elsewhere(
        "spring.profiles.active: x",
        "y",
        "1s | server.keepAlive: 1s | application.yml:2"
    )]
    #[case::active_secret(
        "spring.profiles.active: '${SECRET}'",
        "",
        "? application.yml line 4: SECRET comes from a Secret"
    )]
    #[case::active_maven("spring.profiles.active: '@x@ y'", "", "? the profile @x@ y is no plain name")]
    #[case::active_of_a_profile(
        "spring.config.activate.on-profile: a\nspring.profiles.active: b",
        "",
        "? application.yml line 5: spring.profiles.active depends on a profile"
    )]
    fn second_document(#[case] document: &str, #[case] profiles: &str, #[case] expected: &str) {
        let text = format!("{YAML}---\n{document}\n");
        let mut files = vec![("application.yml", text.as_str())];
        if expected.contains("-prod") {
            files.push(("application-prod.yml", "server.keep-alive: 8s"));
        }
        assert_eq!(ask(&files, profiles), expected);
    }

    #[rstest]
    #[case::variable("${KEEP:1s}", "9s | server.keep-alive=${KEEP:1s} | application.properties:1")]
    #[case::default("${NONE:1s}", "1s | server.keep-alive=${NONE:1s} | application.properties:1")]
    #[case::property("${app.idle}", "9s | server.keep-alive=${app.idle} | application.properties:1")]
    #[case::own("${my.idle:1s}", "4s | server.keep-alive=${my.idle:1s} | application.properties:1")]
    #[case::own_spelled_otherwise(
        "${my.Idle:1s}",
        "? application.properties line 1: application.properties line 2: my.idle may stand for my.Idle"
    )]
    #[case::of_the_app("${x.idle:1s}", "? application.properties line 1: x.idle may be set elsewhere")]
    #[case::random(
        "${random.int:1}",
        "? application.properties line 1: random.int is decided when the program runs"
    )]
    #[case::secret("${SECRET:1}", "? application.properties line 1: SECRET comes from a Secret")]
    #[case::unset("${NONE}", "? application.properties line 1: NONE is not set in the pod spec")]
    fn placeholders(#[case] value: &str, #[case] expected: &str) {
        let text = format!("server.keep-alive={value}\nmy.idle=4s");
        assert_eq!(ask(&[("application.properties", &text)], ""), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "(server|spring|profiles|active|keep-alive|[.:= \n#${}!,-]|---|a){0,60}") {
            ask(&[("application.yml", &text), ("application-a.properties", &text)], "a");
            ask(&[("application.properties", &text), ("application-a.yml", &text)], "");
        }
    }
}
