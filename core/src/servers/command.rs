//! The command line that a container really runs.
//!
//! Turns `command` and `args`, or the image's ENTRYPOINT and CMD, into the command line of the server: unwraps `sh -c`,
//! `exec`, `env`, init processes and package runners. `recognise` identifies the server.

mod shell;
mod wrappers;

use std::sync::Arc;

use self::wrappers::{BITNAMI, MAX_DEPTH};
pub(super) use self::wrappers::{Launch, plain as plain_wrappers};
use crate::workload::{
    environment::{Environment, TOO_LONG},
    image_config::{ImageConfig, ImageFacts},
    pod::Container,
    word::{Place, Word, basename},
};

/// Unwraps the command line of a container; the error names the construct that is not supported.
pub(super) fn launch(container: &Container<'_>, environment: Environment) -> Result<Launch, String> {
    let command = container.command.iter().enumerate().map(|(index, text)| (text, Place::Command(index)));
    let command = command.map(|(text, at)| environment.expand(text, at));
    let mut words = Vec::new();
    for word in command.chain(args(container, &environment)) {
        push(&mut words, word, &environment)?;
    }
    let replaces_entrypoint = !container.command.is_empty();
    start(container, environment, words, replaces_entrypoint, None)
}

/// Unwraps the command line of a container without `command`: the image's ENTRYPOINT, followed by `args` or the image's
/// CMD. `None` if the image has no program.
///
/// kubelet expands `$(VAR)` only in the words of the pod.
pub(super) fn launch_of_image(
    container: &Container<'_>,
    facts: &ImageFacts,
    environment: Environment,
) -> Option<Result<Launch, String>> {
    let ImageConfig { entrypoint, cmd, .. } = &facts.config;
    let cmd = if container.args.is_empty() { cmd.as_slice() } else { &[] };
    if !container.command.is_empty() || entrypoint.is_empty() && cmd.is_empty() {
        return None;
    }
    let name = facts.name(&container.image);
    let place = |field: &str| -> Arc<str> { format!("{field} of {name}").into() };
    let of_image = |field: &str, texts: &[String]| -> Vec<Word> {
        let place = place(field);
        texts.iter().map(|text| Word::text(text, Place::ImageConfig(Arc::clone(&place)))).collect()
    };
    let all = of_image("ENTRYPOINT", entrypoint).into_iter();
    let all = all.chain(of_image("CMD", cmd)).chain(args(container, &environment));
    let mut words = Vec::new();
    for word in all {
        if let Err(why) = push(&mut words, word, &environment) {
            return Some(Err(why));
        }
    }
    let fields = match (entrypoint.is_empty(), cmd.is_empty()) {
        (false, false) => "ENTRYPOINT and CMD",
        (false, true) => "ENTRYPOINT",
        (true, _) => "CMD",
    };
    Some(start(container, environment, words, true, Some(place(fields))))
}

/// The pod's `args`.
fn args(container: &Container<'_>, environment: &Environment) -> impl Iterator<Item = Word> {
    let args = container.args.iter().enumerate();
    args.map(|(index, text)| environment.expand(text, Place::Args(index)))
}

fn push(words: &mut Vec<Word>, word: Word, environment: &Environment) -> Result<(), String> {
    if !environment.charge(word.len()) {
        return Err(TOO_LONG.to_owned());
    }
    words.push(word);
    Ok(())
}

/// Unwraps a command line.
fn start(
    container: &Container<'_>,
    environment: Environment,
    words: Vec<Word>,
    replaces_entrypoint: bool,
    image_fields: Option<Arc<str>>,
) -> Result<Launch, String> {
    let hook = hook(container, &environment);
    let launch = unwrap(Launch {
        words,
        environment,
        replaces_entrypoint,
        writes: None,
        alternatives: Vec::new(),
        is_unread: false,
        image_fields,
    });
    let mut launch = launch?;
    launch.writes = launch.writes.or(hook);
    Ok(launch)
}

/// Why a postStart hook may write files of the server.
fn hook(container: &Container<'_>, environment: &Environment) -> Option<String> {
    let words = &container.post_start.as_ref()?.exec.as_ref()?.command;
    let words = words.iter().enumerate().map(|(index, text)| environment.expand(text, Place::Command(index)));
    let (words, environment) = (words.collect(), environment.clone());
    let hook = Launch { words, ..Launch::unread(environment) };
    match unwrap(hook) {
        Err(why) => Some(format!("the postStart hook: {why}")),
        Ok(Launch { writes: Some(why), .. }) => Some(format!("the postStart hook: {why}")),
        Ok(launch) if shell::is_harmless(&launch.words) => None,
        Ok(launch) => {
            let name = launch.words.first().map_or("", |word| basename(word.prefix()));
            Some(format!("the postStart hook runs {name}, which may write a file that sets it"))
        }
    }
}

/// Whether the command goes through the ENTRYPOINT of the official images.
pub(super) fn has_entrypoint(container: &Container<'_>, image: Option<&ImageFacts>) -> bool {
    let is_official = |first: &str| basename(first) == "docker-entrypoint.sh";
    match container.command.first() {
        Some(first) => is_official(first),
        None => {
            image.and_then(|facts| facts.config.entrypoint.first()).is_some_and(|first| is_official(first))
        }
    }
}

/// Removes all wrappers from a command line.
pub(super) fn unwrap(mut launch: Launch) -> Result<Launch, String> {
    for _ in 0..MAX_DEPTH {
        let Some(first) = launch.words.first() else { return Ok(launch) };
        let path = first.known()?;
        let program = basename(path).to_owned();
        if path.strip_prefix(BITNAMI).is_some_and(|script| script.ends_with("/run.sh")) {
            launch.words.clear();
            launch.replaces_entrypoint = false;
            return Ok(launch);
        }
        let inner = if SHELLS.contains(&program.as_str()) {
            Some(script(&mut launch)?)
        } else {
            launch.strip(&program)
        };
        match inner {
            None => {
                if READS_ENV_FILE.contains(&program.trim_end_matches(|c: char| c.is_ascii_digit())) {
                    launch.doubt_env_file();
                }
                return Ok(launch);
            }
            Some(inner) if inner.is_empty() => return Err(format!("{program} has no command to run")),
            Some(inner) => launch.words = inner,
        }
    }
    Err("the command has too many nested wrappers".to_owned())
}

/// Programs that support `--env-file` for the program that they run.
const READS_ENV_FILE: [&str; 5] = ["node", "nodejs", "bun", "deno", "tsx"];

const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "zsh", "ksh"];

/// The command that a shell script runs in the foreground.
fn script(launch: &mut Launch) -> Result<Vec<Word>, String> {
    let mut words = launch.words.iter().skip(1);
    let mut runs_text = false;
    let mut exports = false;
    while let Some(word) = words.next() {
        let text = word.prefix();
        if matches!(text, "--" | "-") {
            continue;
        }
        let flags = text.strip_prefix(['-', '+']).filter(|flags| !flags.is_empty());
        match flags {
            Some(flags) => {
                let short = text.starts_with('-') && !flags.starts_with('-');
                runs_text |= short && flags.contains('c');
                exports |= short && flags.contains('a');
                if short && flags.ends_with('o') {
                    words.next();
                }
            }
            None if runs_text => {
                let text = word.clone();
                let shell::Foreground { words, writes, alternatives } =
                    shell::foreground(&text, &mut launch.environment, exports)?;
                launch.writes = launch.writes.take().or(writes);
                launch.alternatives.extend(alternatives);
                return Ok(words);
            }
            None => {
                let name = basename(text);
                return Err(format!("the script {name} is in the image and cannot be read"));
            }
        }
    }
    Err("a shell runs, but the program that it starts is not known".to_owned())
}

#[cfg(test)]
mod tests;
