//! Programs that run another program, such as `env`, `tini` and `poetry run`.
//!
//! Removes them from a command line. `shell` handles shells.

use std::sync::Arc;

use crate::workload::{
    environment::Environment,
    word::{Word, basename},
};

/// A command line with its environment variables.
#[derive(Clone, Debug)]
pub(in crate::servers) struct Launch {
    /// The program and its arguments; empty if the pod sets neither `command` nor `args`.
    pub(in crate::servers) words: Vec<Word>,
    /// The environment variables, including those that the command line sets.
    pub(in crate::servers) environment: Environment,
    /// Whether the words are the whole command line, and not arguments of the image's ENTRYPOINT.
    pub(in crate::servers) replaces_entrypoint: bool,
    /// What runs before the program and may write its files.
    pub(in crate::servers) writes: Option<String>,
    /// Programs that a script runs instead if a condition is true.
    pub(in crate::servers) alternatives: Vec<Vec<Word>>,
    /// Whether the command line is unknown.
    pub(in crate::servers) is_unread: bool,
    /// The field of the image's config that the words come from: `ENTRYPOINT of cart:3@sha256:...`.
    pub(in crate::servers) image_fields: Option<Arc<str>>,
}

/// The directory of the start scripts in Bitnami's images: `entrypoint.sh` runs its arguments, `run.sh` the program of
/// the image (bitnami/containers `rootfs/opt/bitnami/scripts/*/run.sh`).
pub(super) const BITNAMI: &str = "/opt/bitnami/scripts/";

/// The maximum number of nested wrappers.
pub(super) const MAX_DEPTH: usize = 16;

/// Removes wrappers except shells; ignores the variables that they set.
pub(super) fn inner(words: &[Word]) -> Vec<Word> {
    let environment = Environment::default();
    let words = words.to_vec();
    let mut launch = Launch {
        words,
        environment,
        replaces_entrypoint: true,
        writes: None,
        alternatives: Vec::new(),
        is_unread: false,
        image_fields: None,
    };
    for _ in 0..MAX_DEPTH {
        let Some(Ok(first)) = launch.words.first().map(Word::known) else { break };
        let program = basename(first).to_owned();
        let Some(inner) = launch.strip(&program) else { break };
        launch.words = inner;
    }
    launch.words
}

const ENV_FILE: &str = "the file of --env-file";

impl Launch {
    /// A command line that cannot be interpreted, with its variables.
    pub(in crate::servers) fn unread(environment: Environment) -> Self {
        Self {
            words: Vec::new(),
            environment,
            replaces_entrypoint: true,
            writes: None,
            alternatives: Vec::new(),
            is_unread: true,
            image_fields: None,
        }
    }

    /// Whether the program is a script, by its name.
    pub(in crate::servers) fn starts_script(&self) -> bool {
        let name = self.words.first().map_or("", |word| basename(word.prefix()));
        [".sh", ".bash"].iter().any(|ending| name.ends_with(ending)) || name.contains("entrypoint")
    }

    /// Removes the outermost wrapper, if there is one.
    pub(super) fn strip(&mut self, program: &str) -> Option<Vec<Word>> {
        let is_bitnamis = |word: &Word| word.prefix().starts_with(BITNAMI) && program == "entrypoint.sh";
        if self.words.first().is_some_and(is_bitnamis) {
            return self.words.get(1..).map(<[Word]>::to_vec);
        }
        WRAPPERS.iter().find_map(|wrapper| wrapper.strip(program, self))
    }

    /// Marks all variables as uncertain, because the command line names an env file.
    pub(super) fn doubt_env_file(&mut self) {
        if self.words.iter().any(|word| word.prefix().starts_with("--env-file")) {
            self.environment.doubt(ENV_FILE);
        }
    }
}

/// A wrapper.
struct Wrapper {
    names: &'static [&'static str],
    /// The required subcommand, as `run` in `poetry run`.
    subcommand: Option<&'static str>,
    /// Options with their value in the next word; `*` stands for all options without `=`.
    valued: &'static [&'static str],
    /// Options that clear the environment.
    clearing: &'static [&'static str],
    /// The number of words between the options and the command.
    operands: usize,
    /// Whether it sets variables from an external source.
    hiding: bool,
}

const WRAPPERS: [Wrapper; 25] = [
    Wrapper::plain(&["exec"]).valued(&["-a"]).clearing(&["-c", "-cl", "-lc"]),
    Wrapper::plain(&[
        "command",
        "nohup",
        "setsid",
        "time",
        "ddtrace-run",
        "docker-entrypoint.sh",
        "docker-php-entrypoint",
        "catatonit",
        "launcher",
        "pid1",
        "aws-lambda-web-adapter",
    ]),
    Wrapper::plain(&["env", "cross-env"]).valued(&["-u", "--unset", "-C", "--chdir"]).clearing(&[
        "-",
        "-i",
        "--ignore-environment",
    ]),
    Wrapper::plain(&["tini", "tini-static", "dumb-init"]).valued(&["-p", "-e", "-r", "--rewrite"]),
    Wrapper::plain(&["su-exec", "gosu", "s6-setuidgid", "setuidgid"]).operands(1),
    Wrapper::plain(&["setpriv"]).valued(&["--reuid", "--regid", "--groups"]),
    Wrapper::plain(&["chpst"]).valued(&["-u", "-U", "-b", "-n", "-l", "-L"]),
    Wrapper::plain(&["nice", "ionice"]).valued(&["-n", "--adjustment", "-c"]),
    Wrapper::plain(&["stdbuf"]).valued(&["-i", "-o", "-e"]),
    Wrapper::plain(&["numactl"]).valued(&["-m", "-N", "-C"]),
    Wrapper::plain(&["taskset"]).operands(1),
    Wrapper::plain(&["timeout"]).valued(&["-s", "--signal", "-k", "--kill-after"]).operands(1),
    Wrapper::plain(&["opentelemetry-instrument"]).valued(&["*"]),
    Wrapper::plain(&["newrelic-admin"]).subcommand("run-program"),
    Wrapper::plain(&["poetry", "pipenv", "uv", "pdm", "hatch", "rye", "pixi"]).subcommand("run").valued(&[
        "--with",
        "--python",
        "-p",
        "--project",
        "--directory",
        "--extra",
        "--group",
        "--package",
        "--env-file",
    ]),
    Wrapper::plain(&["conda", "mamba", "micromamba"])
        .subcommand("run")
        .valued(&["-n", "--name", "-p", "--prefix", "--cwd"]),
    Wrapper::plain(&["uvx"]).valued(&["--from", "--with", "--python", "-p"]),
    Wrapper::plain(&["pipx"]).subcommand("run").valued(&["--spec", "--python"]),
    Wrapper::plain(&["bundle"]).subcommand("exec"),
    Wrapper::plain(&["npx", "bunx"]).valued(&["-p", "--package"]),
    Wrapper::plain(&["npm", "pnpm", "yarn"]).subcommand("exec"),
    // These set variables from external sources.
    Wrapper::plain(&["dotenv", "dotenvx", "doppler", "infisical", "op"])
        .subcommand("run")
        .valued(&["-f", "-p", "-c", "--env-file"])
        .hiding(),
    Wrapper::plain(&["vault-env", "berglas", "secrets-init", "env-cmd"]).valued(&["-f"]).hiding(),
    Wrapper::plain(&["chamber", "aws-vault"]).subcommand("exec").operands(1).hiding(),
    Wrapper::plain(&["dockerize"]).valued(&["-wait", "-timeout", "-wait-retry-interval"]),
];

/// The wrappers that, without options, run the words after them and change nothing, each with the subcommand that it needs; it
/// is empty if it needs none.
pub(in crate::servers) fn plain() -> impl Iterator<Item = (&'static str, &'static str)> {
    let plain = WRAPPERS.iter().filter(|wrapper| wrapper.operands == 0 && !wrapper.hiding);
    plain.flat_map(|wrapper| wrapper.names.iter().map(|name| (*name, wrapper.subcommand.unwrap_or_default())))
}

impl Wrapper {
    const fn plain(names: &'static [&'static str]) -> Self {
        Self { names, subcommand: None, valued: &[], clearing: &[], operands: 0, hiding: false }
    }

    const fn subcommand(self, subcommand: &'static str) -> Self {
        Self { subcommand: Some(subcommand), ..self }
    }

    const fn valued(self, valued: &'static [&'static str]) -> Self {
        Self { valued, ..self }
    }

    const fn clearing(self, clearing: &'static [&'static str]) -> Self {
        Self { clearing, ..self }
    }

    const fn operands(self, operands: usize) -> Self {
        Self { operands, ..self }
    }

    const fn hiding(self) -> Self {
        Self { hiding: true, ..self }
    }

    /// The wrapped command; `None` if the words do not use this wrapper, or it runs nothing in this container.
    fn strip(&self, program: &str, launch: &mut Launch) -> Option<Vec<Word>> {
        if !self.names.contains(&program) {
            return None;
        }
        let mut rest = launch.words.get(1..)?;
        if let Some(subcommand) = self.subcommand {
            let (first, after) = rest.split_first()?;
            if first.known() != Ok(subcommand) {
                return None;
            }
            rest = after;
        }
        let mut env_file = false;
        while let Some((word, after)) = rest.split_first() {
            let text = word.prefix();
            if text == "--" {
                rest = after;
                break;
            }
            if self.clearing.contains(&text) {
                launch.environment.clear();
            } else if matches!(program, "env" | "cross-env") && text.starts_with('-') {
                let unset = unset_by_env(text, after)?;
                unset.into_iter().for_each(|name| launch.environment.unset(name));
            } else if matches!(program, "env" | "cross-env") && text.contains('=') {
                let (name, _) = text.split_once('=')?;
                launch.environment.set(name, word.after(name.len() + 1), true);
            } else if !text.starts_with('-') {
                break;
            }
            env_file |= text.starts_with("--env-file");
            let all = self.valued == ["*"] && !text.contains('=');
            let valued = text.starts_with('-') && (all || self.valued.contains(&text));
            rest = if valued { after.get(1..)? } else { after };
        }
        if env_file {
            launch.environment.doubt(ENV_FILE);
        }
        if self.hiding {
            launch.environment.doubt(program);
        }
        rest.get(self.operands..).map(<[Word]>::to_vec)
    }
}

/// The variable that an option of `env` unsets; `None` for an unsupported option.
fn unset_by_env<'w>(option: &'w str, after: &'w [Word]) -> Option<Option<&'w str>> {
    let plain = ["-0", "--null", "-v", "--debug", "-C", "--chdir"];
    match option {
        "-u" | "--unset" => Some(Some(after.first()?.known().ok()?)),
        _ if option.starts_with("--unset=") => Some(option.strip_prefix("--unset=")),
        _ if plain.contains(&option) || option.starts_with("--chdir=") => Some(None),
        _ => option.strip_prefix("-u").map(Some),
    }
}
