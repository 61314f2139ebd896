//! The start script of Red Hat's Java images, which Quarkus' own Dockerfiles use: variables that become a command line.
//!
//! Source: jboss-container-images/openjdk `modules/run/artifacts/opt/jboss/container/java/run/run-java.sh`, after fabric8's
//! run-java-sh.

use crate::{
    servers::command::Launch,
    workload::word::{Place, Word},
};

/// Variables that hold options of the JVM, in their order on the command line.
const OPTIONS: [&str; 3] = ["JAVA_OPTIONS", "JAVA_OPTS", "JAVA_OPTS_APPEND"];
/// The jar that is run.
const JAR: &str = "JAVA_APP_JAR";
/// The class that is run.
const MAIN_CLASS: &str = "JAVA_MAIN_CLASS";

/// The command line of the script, where the image's ENTRYPOINT runs and a variable is set that only the script reads.
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
