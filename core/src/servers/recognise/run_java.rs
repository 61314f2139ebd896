//! The start script of Red Hat's Java images, which Quarkus' Dockerfiles use. It builds a command line from variables.
//!
//! Source: jboss-container-images/openjdk `modules/run/artifacts/opt/jboss/container/java/run/run-java.sh`, after fabric8's
//! run-java-sh.

use crate::{
    servers::command::Launch,
    workload::word::{Place, Word},
};

/// Variables with JVM options, in their order on the command line.
const OPTIONS: [&str; 3] = ["JAVA_OPTIONS", "JAVA_OPTS", "JAVA_OPTS_APPEND"];
/// The variable with the jar.
const JAR: &str = "JAVA_APP_JAR";
/// The variable with the main class.
const MAIN_CLASS: &str = "JAVA_MAIN_CLASS";

/// The command line that the script builds, if the image's ENTRYPOINT runs and a variable is set that only this script
/// reads.
pub(super) fn words(launch: &Launch) -> Option<Vec<Word>> {
    let environment = &launch.environment;
    let set = environment.names();
    if launch.replaces_entrypoint
        || ![JAR, MAIN_CLASS, "JAVA_OPTS_APPEND"].iter().any(|name| set.contains(name))
    {
        return None;
    }
    let mut words = vec![Word::text("java", Place::Env(0))];
    for word in OPTIONS.iter().filter_map(|name| environment.get(name)) {
        match word.known().ok().and_then(shlex::split) {
            Some(parts) => words.extend(parts.iter().map(|part| Word::text(part, word.at.clone()))),
            None => words.push(Word::unknown("the JVM's options are not known".to_owned(), word.at.clone())),
        }
    }
    let jar = set.contains(&JAR).then(|| environment.get(JAR)).flatten();
    let class = || set.contains(&MAIN_CLASS).then(|| environment.get(MAIN_CLASS)).flatten();
    if let Some(jar) = jar {
        words.extend([Word::text("-jar", jar.at.clone()), jar.into_owned()]);
    } else if let Some(class) = class() {
        words.push(class.into_owned());
    }
    words.extend(launch.words.iter().cloned());
    Some(words)
}
