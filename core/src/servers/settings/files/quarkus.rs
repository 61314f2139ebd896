//! Quarkus' `application.properties` and `application.yaml`, with profiles.
//!
//! Answers a property from a file, its siblings and a profile. Other code handles system properties, variables, other
//! directories and files of the app.
//!
//! As in smallrye-config (documentation `profiles.md`), a key with the profile takes precedence over a plain one, a key
//! with one profile over a key with several, and `application-prod.properties` over `application.properties`.

use super::{
    Answer, Files, Opened, placeholder, properties,
    spring::{is_of_variable, variable},
    tree::{self, Leaf, Style},
};

/// The profile of a packaged app.
const PRODUCTION: &str = "prod";

/// Properties that add files or profiles, or change the precedence of files.
const ELSEWHERE: [&str; 8] = [
    "config_ordinal",
    "quarkus.profile",
    "quarkus.config.profile.parent",
    "quarkus.config.locations",
    "smallrye.config.profile",
    "smallrye.config.profile.parent",
    "smallrye.config.locations",
    "mp.config.profile",
];

/// The maximum number of profile lists with the active profile; each requires a scan of the file.
const MAX_LISTS: usize = 16;

/// A file that Quarkus reads.
struct Source {
    path: String,
    leaves: Vec<Leaf>,
    between: &'static str,
}

/// Reads a property. `path` is that of `application.properties`, `application.yaml` or `application.yml`; `profile` is
/// the one that the command line or a variable sets.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, profile: Option<&str>, key: &str) -> Answer {
    match find(files, path, text, profile.unwrap_or(PRODUCTION), key) {
        Ok(answer) => answer,
        Err(why) => Answer::Unknown(why),
    }
}

fn find(files: &dyn Files, path: &str, text: &str, profile: &str, key: &str) -> Result<Answer, String> {
    if profile.is_empty() || !profile.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(format!("the profile {profile} is not a plain name"));
    }
    let (stem, extension) =
        path.rsplit_once('.').ok_or_else(|| format!("{path} has a format that is not known"))?;
    let main = Source::parse(path.to_owned(), text)?;
    let mut sources = vec![main];
    let mut others = Vec::new();
    for other in ["properties", "yaml", "yml"] {
        if other == extension {
            sources.extend(Source::open(files, format!("{stem}-{profile}.{other}"))?);
        } else {
            others.extend(Source::open(files, format!("{stem}.{other}"))?);
            others.extend(Source::open(files, format!("{stem}-{profile}.{other}"))?);
        }
    }
    for source in sources.iter().chain(&others) {
        source.refuse_others(profile)?;
    }
    // Quarkus releases differ in which format takes precedence.
    for other in &others {
        if let Some(leaf) = other.get(profile, key)? {
            return Err(other.fault(leaf, &format!("{} is set in a second file", leaf.written())));
        }
    }
    let Some((source, leaf)) = highest_priority(&sources, profile, key)? else { return Ok(Answer::Absent) };
    let value = tree::plain(leaf).map_err(|why| format!("{} {why}", source.path))?;
    let lookup = |name: &str| property(files, &sources, profile, name);
    let value = placeholder::expand(value, &lookup).map_err(|why| source.fault(leaf, &why))?;
    if value.is_empty() {
        return Err(source.fault(leaf, &format!("{} is empty", leaf.written())));
    }
    Ok(Answer::Set(leaf.entry(value, &source.path, source.between)))
}

/// The leaf with the highest precedence; the last file takes precedence.
fn highest_priority<'s>(
    sources: &'s [Source],
    profile: &str,
    key: &str,
) -> Result<Option<(&'s Source, &'s Leaf)>, String> {
    for source in sources.iter().rev() {
        if let Some(leaf) = source.get(profile, key)? {
            return Ok(Some((source, leaf)));
        }
    }
    Ok(None)
}

/// The value for a placeholder: a variable, otherwise a property of these files.
///
/// A name in capitals that is in neither is not set; any other name may be set in the app's own files.
fn property(
    files: &dyn Files,
    sources: &[Source],
    profile: &str,
    name: &str,
) -> Option<Result<String, String>> {
    if let Some(value) = variable(files, &format!("_{profile}_{name}")).or_else(|| variable(files, name)) {
        return Some(value);
    }
    match highest_priority(sources, profile, name) {
        Err(why) => Some(Err(why)),
        Ok(Some((_, leaf))) => Some(tree::plain(leaf).map(ToOwned::to_owned)),
        Ok(None) if is_of_variable(name) => None,
        Ok(None) => Some(Err(format!("{name} may be set elsewhere"))),
    }
}

/// The profiles in a name, and the name without them.
fn of_profiles(name: &str) -> (Option<&str>, &str) {
    match name.strip_prefix('%').and_then(|rest| rest.split_once('.')) {
        Some((profiles, name)) => (Some(profiles), name),
        None => (None, name),
    }
}

fn has(profiles: &str, profile: &str) -> bool {
    profiles.split(',').any(|one| one.trim_matches(['{', '}', ' ']) == profile)
}

impl Source {
    fn open(files: &dyn Files, path: String) -> Result<Option<Self>, String> {
        match files.open(&path) {
            Opened::Missing => Ok(None),
            Opened::Unknown(why) => Err(why),
            Opened::Text(text) => Self::parse(path, &text).map(Some),
        }
    }

    fn parse(path: String, text: &str) -> Result<Self, String> {
        let (documents, between) = match path.rsplit_once('.') {
            Some((_, "properties")) => (properties::leaves(text), "="),
            Some((_, "yaml" | "yml")) => (tree::documents(text, Style::Yaml), ": "),
            _ => return Err(format!("{path} has a format that is not known")),
        };
        let documents = documents.map_err(|why| format!("{path} {why}"))?;
        Ok(Self { path, leaves: tree::merged(documents), between })
    }

    fn fault(&self, leaf: &Leaf, why: &str) -> String {
        format!("{} {}", self.path, leaf.fault(why))
    }

    /// Returns an error if a property of [`ELSEWHERE`] is set.
    fn refuse_others(&self, profile: &str) -> Result<(), String> {
        let other = self.leaves.iter().find(|leaf| {
            let (profiles, name) = of_profiles(&leaf.name);
            profiles.is_none_or(|profiles| has(profiles, profile))
                && ELSEWHERE.iter().any(|other| {
                    name.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
                })
        });
        match other {
            Some(leaf) => {
                Err(self
                    .fault(leaf, &format!("{} may change the configuration that applies", leaf.written())))
            }
            None => Ok(()),
        }
    }

    /// The leaf of a key: for the profile, otherwise for several profiles, otherwise the plain one.
    fn get(&self, profile: &str, key: &str) -> Result<Option<&Leaf>, String> {
        let in_file = |why: String| format!("{} {why}", self.path);
        let exact = |name: &str| tree::find(&self.leaves, Style::Yaml, name).map_err(in_file);
        let mut profiles: Vec<&str> = self
            .leaves
            .iter()
            .filter_map(|leaf| of_profiles(&leaf.name).0)
            .filter(|profiles| has(profiles, profile))
            .collect();
        profiles.sort_unstable();
        profiles.dedup();
        if profiles.len() > MAX_LISTS {
            return Err(format!("{} has too many lists of profiles", self.path));
        }
        let mut of_several = None;
        for profiles in profiles {
            let Some(leaf) = exact(&format!("%{profiles}.{key}"))? else { continue };
            if profiles == profile {
                return Ok(Some(leaf));
            }
            if profiles.contains(['{', '}', ' ']) || of_several.replace(leaf).is_some() {
                return Err(self.fault(leaf, &format!("{key} is set for several profiles")));
            }
        }
        Ok(of_several.or(exact(key)?))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{
        Entry,
        testing::{TestFiles, describe},
    };
    use super::*;

    fn ask(path: &str, text: &str, profile: Option<&str>, beside: &[(&str, &str)]) -> String {
        let folder =
            TestFiles { files: beside, variables: &[("KEEP", "9"), ("SECRET", "?")], of_image: false };
        let answer = read(&folder, path, text, profile, "quarkus.http.idle-timeout");
        describe(answer, |Entry { value, text, path, line }| format!("{value} | {text} | {path}:{line}"))
            .replace("quarkus.http.idle-timeout", "key")
    }

    #[rstest]
    #[case::plain("key=1", None, "1 | key=1 | a.properties:1")]
    #[case::profile("key=1\n%prod.key=2", None, "2 | %prod.key=2 | a.properties:2")]
    #[case::profile_first("%prod.key=2\nkey=1", None, "2 | %prod.key=2 | a.properties:1")]
    #[case::other_profile("key=1\n%dev.key=2", None, "1 | key=1 | a.properties:1")]
    #[case::given_profile("key=1\n%dev.key=2", Some("dev"), "2 | %dev.key=2 | a.properties:2")]
    #[case::of_several("key=1\n%dev,prod.key=2", None, "2 | %dev,prod.key=2 | a.properties:2")]
    #[case::single_beats_several("%prod.key=1\n%dev,prod.key=2", None, "1 | %prod.key=1 | a.properties:1")]
    #[case::several_twice(
        "%a,prod.key=1\n%b,prod.key=2",
        None,
        "? a.properties line 2: key is set for several profiles"
    )]
    #[case::several_profiles("key=1", Some("a,b"), "? the profile a,b is not a plain name")]
    #[case::last("key=1\n#---\nkey=2", None, "2 | key=2 | a.properties:3")]
    #[case::camel("quarkus.http.idleTimeout=1", None, "absent")]
    #[case::other_key("x=1", None, "absent")]
    #[case::empty("key=", None, "? a.properties line 1: key is empty")]
    #[case::own_profile(
        "key=1\nquarkus.profile=a",
        None,
        "? a.properties line 2: quarkus.profile may change the configuration that applies"
    )]
    #[case::own_profile_of_another("key=1\n%dev.quarkus.profile=a", None, "1 | key=1 | a.properties:1")]
    #[case::ordinal(
        "config_ordinal=1\nkey=1",
        None,
        "? a.properties line 1: config_ordinal may change the configuration that applies"
    )]
    #[case::locations(
        "key=1\nquarkus.config.locations=x",
        None,
        "? a.properties line 2: quarkus.config.locations may change the configuration that applies"
    )]
    #[case::variable("key=${KEEP:5}", None, "9 | key=${KEEP:5} | a.properties:1")]
    #[case::default("key=${NONE:5}", None, "5 | key=${NONE:5} | a.properties:1")]
    #[case::own("key=${x}\nx=1\n%prod.x=2", None, "2 | key=${x} | a.properties:1")]
    #[case::of_the_app("key=${x:1}", None, "? a.properties line 1: x may be set elsewhere")]
    #[case::secret("key=${SECRET}", None, "? a.properties line 1: SECRET comes from a Secret")]
    fn of_properties(#[case] text: &str, #[case] profile: Option<&str>, #[case] expected: &str) {
        let text = text.replace("key", "quarkus.http.idle-timeout");
        assert_eq!(ask("a.properties", &text, profile, &[]), expected);
    }

    #[rstest]
    #[case::plain("quarkus:\n  http:\n    idle-timeout: 1s", "1s | key: 1s | a.yaml:3")]
    #[case::profile(
        "quarkus: {http: {idle-timeout: 1}}\n\"%prod\":\n  quarkus:\n    http:\n      idle-timeout: 2",
        "2 | %prod.key: 2 | a.yaml:5"
    )]
    #[case::other_profile(
        "quarkus: {http: {idle-timeout: 1}}\n'%dev': {quarkus: {http: {idle-timeout: 2}}}",
        "1 | key: 1 | a.yaml:1"
    )]
    #[case::documents(
        "quarkus: {http: {idle-timeout: 1}}\n---\nquarkus: {http: {idle-timeout: 2}}",
        "2 | key: 2 | a.yaml:3"
    )]
    #[case::dotted("quarkus.http: {idle-timeout: 1}", "? a.yaml line 1: key has a key with a dot")]
    #[case::null("quarkus: {http: {idle-timeout: }}", "? a.yaml line 1: key is null")]
    #[case::absent("quarkus: {http: {port: 80}}", "absent")]
    #[case::broken("quarkus: [", "? a.yaml line 1: unclosed bracket '['")]
    fn of_yaml(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask("a.yaml", text, None, &[]), expected);
    }

    #[rstest]
    #[case::profile(&[("a-prod.properties", "key=2")], "2 | key=2 | a-prod.properties:1")]
    #[case::profile_without_it(&[("a-prod.properties", "x=2")], "1 | %prod.key=1 | a.properties:1")]
    #[case::other_profile(&[("a-dev.properties", "key=2")], "1 | %prod.key=1 | a.properties:1")]
    #[case::other_format(&[("a.yaml", "quarkus: {http: {idle-timeout: 2}}")], "? a.yaml line 1: key is set in a second file")]
    #[case::other_format_without_it(&[("a.yaml", "a: 1")], "1 | %prod.key=1 | a.properties:1")]
    #[case::unseen(&[("a-prod.yml", "secret")], "? Secret x at a-prod.yml may set it")]
    fn beside(#[case] files: &[(&str, &str)], #[case] expected: &str) {
        let files: Vec<(&str, String)> = files
            .iter()
            .map(|(name, text)| (*name, text.replace("key", "quarkus.http.idle-timeout")))
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        assert_eq!(ask("a.properties", "%prod.quarkus.http.idle-timeout=1", None, &files), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "(quarkus|http|idle-timeout|%prod|[.:=, \n#${}!-]|---|a){0,60}") {
            ask("a.yml", &text, None, &[("a-prod.yml", &text)]);
            ask("a.properties", &text, None, &[]);
        }
    }
}
