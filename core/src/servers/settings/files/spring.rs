//! Spring Boot's external configuration: `application.properties`, `application.yaml`, and those of profiles.
//!
//! Reads the files of a directory and the active profiles into documents in order of precedence, and answers a
//! property. Other code handles the command line, JVM options, variables, other directories and files of the app.
//!
//! The order is that of spring-boot StandardConfigDataLocationResolver.java: in a directory .properties takes
//! precedence over .yml, and .yml over YAML. Later documents of a file take precedence over earlier ones, and files of
//! profiles over others.

mod profiles;
#[cfg(test)]
mod tests;

use self::profiles::{ACTIVE, Applies, activated, is_name};
use super::{
    Answer, Files, Opened, placeholder, properties,
    tree::{self, Leaf, Style, relaxed},
};

/// The maximum number of profile files.
const MAX_FILES: usize = 64;

/// Properties that add files or profiles; compared without case, dashes and underscores.
const ELSEWHERE: [&str; 4] =
    ["spring.config.import", "spring.profiles.include", "spring.profiles.group", "spring.profiles.default"];

/// Prefixes of properties that are built into Spring or the JVM.
const BUILT_IN: [&str; 8] = ["random", "java", "user", "os", "file", "line", "path", "sun"];

/// A document of a file.
struct Document {
    path: String,
    leaves: Vec<Leaf>,
    between: &'static str,
    /// Whether its file is for a profile that may not be active.
    doubtful: bool,
}

/// Reads a property. `directory` may end with a slash, and `name` is `application` by default. `profiles` are those
/// that the command line or a variable activates: `None` if they are unknown, empty if there are none.
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
            for profile in active.iter().take(MAX_FILES) {
                if !is_name(profile) || active.len() > MAX_FILES {
                    return Err(format!("the profile {profile} is not a plain name"));
                }
                documents.extend(of_profile(load(files, &format!("{stem}-{profile}"))?)?);
            }
        }
        None => documents.extend(of_any_profile(files, stem)?),
    }
    let mut counting: Vec<(Document, bool)> = Vec::new();
    for document in documents {
        let applies = if document.doubtful { Applies::Unknown } else { document.applies(active.as_deref()) };
        if applies == Applies::No {
            continue;
        }
        if let Some(leaf) = document.leaves.iter().find(|leaf| begins_with_one_of(&leaf.name, &ELSEWHERE)) {
            return Err(document.fault(leaf, &format!("{} may set it elsewhere", leaf.name)));
        }
        counting.push((document, applies == Applies::Yes));
    }
    let Some((document, leaf)) = highest_priority(&counting, key, false)? else { return Ok(Answer::Absent) };
    let value = tree::plain(leaf).map_err(|why| format!("{} {why}", document.path))?;
    let value = placeholder::expand(value, &|name| property(files, &counting, name))
        .map_err(|why| document.fault(leaf, &why))?;
    if value.is_empty() {
        return Err(document.fault(leaf, &format!("{} is empty", leaf.name)));
    }
    Ok(Answer::Set(leaf.entry(value, &document.path, document.between)))
}

/// The leaf with the highest precedence for a property. With `exact` the names must be identical.
fn highest_priority<'d>(
    counting: &'d [(Document, bool)],
    key: &str,
    exact: bool,
) -> Result<Option<(&'d Document, &'d Leaf)>, String> {
    for (document, surely) in counting.iter().rev() {
        let found = tree::find(&document.leaves, Style::RelaxedYaml, key)
            .map_err(|why| format!("{} {why}", document.path))?;
        let Some(leaf) = found else { continue };
        if !surely {
            return Err(document.fault(leaf, &format!("{} applies only in some profiles", leaf.name)));
        }
        if exact && leaf.name != key {
            return Err(document.fault(leaf, &format!("{} may be another spelling of {key}", leaf.name)));
        }
        return Ok(Some((document, leaf)));
    }
    Ok(None)
}

/// The value for a placeholder: a variable, otherwise a property of these files.
///
/// A name in capitals that is in neither is not set; any other name may be set in the app's own files.
fn property(files: &dyn Files, counting: &[(Document, bool)], name: &str) -> Option<Result<String, String>> {
    if begins_with_one_of(name, &BUILT_IN) {
        return Some(Err(format!("{name} is decided when the program runs")));
    }
    if let Some(value) = variable(files, name) {
        return Some(value);
    }
    let is_canonical =
        name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'));
    match highest_priority(counting, name, !is_canonical) {
        Err(why) => Some(Err(why)),
        Ok(Some((_, leaf))) => Some(tree::plain(leaf).map(ToOwned::to_owned)),
        Ok(None) if is_of_variable(name) => None,
        Ok(None) => Some(Err(format!("{name} may be set elsewhere"))),
    }
}

/// The variable of a property: with its own name, with underscores for dots and dashes, or without dashes.
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

/// The documents of the files with a name, in ascending order of precedence.
fn load(files: &dyn Files, stem: &str) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for extension in ["yaml", "yml", "xml", "properties"] {
        let path = format!("{stem}.{extension}");
        match files.open(&path) {
            Opened::Missing => {}
            Opened::Unknown(why) => return Err(why),
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

/// The documents of a profile file, which cannot activate other profiles.
fn of_profile(documents: Vec<Document>) -> Result<Vec<Document>, String> {
    for document in &documents {
        let active = document.leaves.iter().find(|leaf| begins_with_one_of(&leaf.name, &[ACTIVE]));
        if let Some(leaf) = active {
            return Err(document.fault(leaf, &format!("{} is set in a profile file", leaf.name)));
        }
    }
    Ok(documents)
}

/// The files of all profiles, if the active ones are unknown.
fn of_any_profile(files: &dyn Files, stem: &str) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    let mut left = MAX_FILES;
    for extension in ["yaml", "yml", "xml", "properties"] {
        for path in files.list(&format!("{stem}-*.{extension}"))? {
            left = left.checked_sub(1).ok_or("there are too many files of profiles")?;
            match files.open(&path) {
                Opened::Missing => {}
                Opened::Unknown(why) => return Err(why),
                Opened::Text(text) => documents
                    .extend(parse(path, &text)?.map(|document| Document { doubtful: true, ..document })),
            }
        }
    }
    Ok(documents)
}

impl Document {
    fn fault(&self, leaf: &Leaf, why: &str) -> String {
        format!("{} {}", self.path, leaf.fault(why))
    }
}
