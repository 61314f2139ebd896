//! Commands that run code outside of the input: scripts of package.json, process files, preloaded modules.
//!
//! Such code may set the timeout of an app that is configured in code. Returns a sentence about it.

use crate::workload::word::{Word, basename};

/// Runners of package scripts. Their subcommands that run a program are wrappers, which are removed before.
const PACKAGE_RUNNERS: [&str; 4] = ["npm", "yarn", "pnpm", "bun"];

/// Packages for tracing and metrics, by the first part of their name. They do not change timeouts.
const AGENTS: [&str; 14] = [
    "@opentelemetry",
    "@appsignal",
    "@datadog",
    "@elastic",
    "@instana",
    "@sentry",
    "appdynamics",
    "applicationinsights",
    "dd-trace",
    "elastic-apm-node",
    "newrelic",
    "source-map-support",
    "ts-node",
    "tsconfig-paths",
];

/// Why the program of a runner is unknown.
pub(super) fn runner(name: &str, arguments: &[Word]) -> Option<String> {
    let words: Vec<&str> = arguments.iter().map(Word::prefix).filter(|word| !word.starts_with('-')).collect();
    let first = words.first().copied().unwrap_or_default();
    if PACKAGE_RUNNERS.contains(&name)
        && !(name == "bun" && is_script(words.last().copied().unwrap_or_default()))
    {
        return Some(format!(
            "{name} {first} runs a script from package.json, which may set the idle timeout"
        ));
    }
    let file = if first == "start" { words.get(1).copied().unwrap_or_default() } else { first };
    let is_process_file = basename(file).contains(".config.")
        || [".json", ".yml", ".yaml"].iter().any(|end| file.ends_with(end));
    if name.starts_with("pm2") && (is_process_file || file.is_empty()) {
        return Some(format!("the process file {} may set the idle timeout", basename(file)));
    }
    match name {
        "foreman" | "honcho" | "overmind" | "hivemind" => {
            Some(format!("{name} runs the commands of its Procfile, which may set the idle timeout"))
        }
        "make" | "task" | "just" => {
            Some(format!("{name} runs the commands of its file, which may set the idle timeout"))
        }
        _ => None,
    }
}

/// A module of the app that an option of Node.js loads before the script.
pub(super) fn preload(options: &[Word]) -> Option<String> {
    let mut words = options.iter().map(Word::prefix);
    while let Some(word) = words.next() {
        let (flag, value) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
        if matches!(
            flag,
            "-r" | "--require" | "--import" | "--loader" | "--experimental-loader" | "--preload"
        ) {
            let module = value.or_else(|| words.next()).unwrap_or_default();
            if !is_agent(module) {
                return Some(format!("{flag} {module} runs before the app and may set the idle timeout"));
            }
        }
    }
    None
}

/// A module of the app that a variable makes a runtime load.
pub(super) fn preload_of_variable(name: &str, value: &str) -> Option<String> {
    match name {
        "NODE_OPTIONS" | "BUN_OPTIONS" => {
            let words = shlex::split(value).unwrap_or_default();
            let words: Vec<Word> =
                words.iter().map(|word| Word::text(word, crate::workload::word::Place::Env(0))).collect();
            preload(&words).map(|why| format!("{name}: {why}"))
        }
        "RUBYOPT" if value.contains("-r.") || value.contains("-r/") => {
            Some(format!("{name} loads a file before the app, which may set the idle timeout"))
        }
        "DOTNET_STARTUP_HOOKS"
            if !["OpenTelemetry", "datadog", "Datadog"].iter().any(|agent| value.contains(agent)) =>
        {
            Some(format!("{name} runs code before the app, which may set the idle timeout"))
        }
        _ => None,
    }
}

/// Variables that [`preload_of_variable`] reads.
pub(super) const PRELOADING: [&str; 4] = ["NODE_OPTIONS", "BUN_OPTIONS", "RUBYOPT", "DOTNET_STARTUP_HOOKS"];

fn is_agent(module: &str) -> bool {
    let path = module.rsplit_once("node_modules/").map_or(module, |(_, path)| path);
    let first = path.split('/').next().unwrap_or_default();
    AGENTS.contains(&first)
        || first == "dotenv"
        || path.contains("/otel-auto-instrumentation")
        || path.contains("/dd-trace")
}

fn is_script(word: &str) -> bool {
    [".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx"].iter().any(|ending| word.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::workload::word::Place;

    fn words(line: &str) -> Vec<Word> {
        shlex::split(line).unwrap().iter().map(|word| Word::text(word, Place::Args(0))).collect()
    }

    #[rstest]
    #[case::npm("npm", "start", true)]
    #[case::npm_run("npm", "run start:prod", true)]
    #[case::yarn("yarn", "serve", true)]
    #[case::process_file("pm2-runtime", "ecosystem.config.js", true)]
    #[case::process_file_json("pm2-runtime", "start process.json", true)]
    #[case::script("pm2-runtime", "dist/main.js", false)]
    #[case::bun_script("bun", "run src/index.ts", false)]
    #[case::procfile("foreman", "start", true)]
    #[case::server("gunicorn", "app:app", false)]
    fn runners(#[case] name: &str, #[case] arguments: &str, #[case] hides: bool) {
        assert_eq!(runner(name, &words(arguments)).is_some(), hides);
    }

    #[rstest]
    #[case::own_file("--require ./x.js", true)]
    #[case::own_file_glued("--require=./x.js", true)]
    #[case::short("-r /app/boot.js", true)]
    #[case::import("--import ./instrument.mjs", true)]
    #[case::agent("--require dd-trace/init", false)]
    #[case::agent_by_path("--require /app/node_modules/newrelic", false)]
    #[case::scoped_agent("--import @opentelemetry/auto-instrumentations-node/register", false)]
    #[case::injected_agent("--require /otel-auto-instrumentation-nodejs/autoinstrumentation.js", false)]
    #[case::other_option("--max-old-space-size=4096", false)]
    fn preloads(#[case] options: &str, #[case] hides: bool) {
        assert_eq!(preload(&words(options)).is_some(), hides, "{options}");
        assert_eq!(preload_of_variable("NODE_OPTIONS", options).is_some(), hides, "{options}");
    }
}
