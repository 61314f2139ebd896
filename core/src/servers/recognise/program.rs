//! Parses a command line: the program, what it runs, and its arguments.

use super::hidden;
use crate::{
    servers::catalog::SignKind,
    workload::word::{Word, basename},
};

/// A parsed command line.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// The first word, if there is one.
    pub(super) name: Option<String>,
    /// The interpreter or virtual machine.
    pub(super) runtime: Option<&'static str>,
    /// The signs to look up in the catalog.
    pub(super) signs: Vec<(SignKind, String)>,
    /// The options of the interpreter.
    pub(super) options: Vec<Word>,
    /// The arguments of the server.
    pub(super) arguments: Vec<Word>,
    /// Code or scripts outside of the input that may set the timeout: a preload, a script of package.json.
    pub(super) hidden: Option<String>,
}

/// Options of interpreters with their value in the next word.
const PYTHON_VALUED: &[&str] = &["-W", "-X", "--check-hash-based-pycs"];
const NODE_VALUED: &[&str] = &[
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--env-file-if-exists",
    "--watch-path",
    "--title",
];
const NODE_NO_SCRIPT: &[&str] = &["-e", "--eval", "-p", "--print", "-pe", "-c", "--check", "--test"];
pub(in crate::servers) const JAVA_VALUED: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
];

impl Program {
    /// Parses a command line; an unknown program has no signs.
    pub(super) fn read(words: &[Word]) -> Self {
        let Some((first, rest)) = words.split_first() else { return Self::default() };
        let Ok(path) = first.known() else {
            return Self { name: Some(first.prefix().to_owned()), ..Self::default() };
        };
        let mut program = Self { name: Some(path.to_owned()), ..Self::default() };
        let name = basename(path);
        match name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
            "python" | "pypy" => program.python(rest),
            "node" | "nodejs" => {
                program.script("node", rest, NODE_VALUED, NODE_NO_SCRIPT);
                program.hidden = hidden::preload(&program.options);
            }
            "java" => program.java(rest),
            "dotnet" => {
                program.script("dotnet", rest, &["--depsfile", "--runtimeconfig"], &["--info", "--version"])
            }
            "php" if !rest.iter().any(|word| word.prefix() == "-S") => {
                program.script("php", rest, &["-d", "-c"], &["-r"])
            }
            "ruby" => program.script("ruby", rest, &["-r", "-I"], &["-e"]),
            _ => {
                program.plain(name, rest);
                program.hidden = hidden::runner(name, rest);
            }
        }
        program
    }

    /// A program that is not an interpreter, with its subcommand: `flask --app x run` is `flask run`, because a word
    /// after an option may be its value.
    fn plain(&mut self, name: &str, arguments: &[Word]) {
        let runner = matches!(name, "npm" | "yarn" | "pnpm" | "bun");
        let mut behind_option = false;
        for (at, word) in arguments.iter().enumerate() {
            let Ok(text) = word.known() else { break };
            if at == 0 || !text.starts_with('-') {
                self.signs.push((SignKind::Command, format!("{name} {}", basename(text))));
            }
            let skipped = text.starts_with('-') || behind_option || runner && text == "run";
            behind_option = text.starts_with('-') && !text.contains('=');
            if !skipped {
                break;
            }
        }
        self.signs.push((SignKind::Command, name.to_owned()));
        self.options = arguments.iter().filter(|word| word.prefix().starts_with("-D")).cloned().collect();
        self.arguments = arguments.to_vec();
    }

    /// The first word that is not an option, or is one of `stop`, with its index.
    fn skip<'w>(words: &'w [Word], valued: &[&str], stop: &[&str]) -> Option<(usize, &'w str)> {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let text = word.prefix();
            if !text.starts_with('-') || stop.contains(&text) {
                return Some((at, word.known().ok()?));
            }
            at += 1 + usize::from(valued.contains(&text));
        }
        None
    }

    fn python(&mut self, words: &[Word]) {
        self.runtime = Some("python");
        if let Some((at, "-m")) = Self::skip(words, PYTHON_VALUED, &["-m", "-c"]) {
            let Some(module) = words.get(at + 1).and_then(|word| word.known().ok()) else { return };
            let arguments = words.get(at + 2..).unwrap_or_default();
            self.plain(module, arguments);
            for (kind, _) in &mut self.signs {
                *kind = SignKind::Module;
            }
        } else {
            self.script("python", words, PYTHON_VALUED, &["-c"]);
        }
    }

    /// `node server.js`, `manage.py runserver`; a script in a directory `bin` or `.bin` is a program of its own.
    fn script(&mut self, runtime: &'static str, words: &[Word], valued: &[&str], stop: &[&str]) {
        self.runtime = Some(runtime);
        let Some((at, path)) = Self::skip(words, valued, stop) else { return };
        if stop.contains(&path) {
            return;
        }
        let arguments = &words[at + 1..];
        if path.rsplit('/').nth(1).is_some_and(|folder| matches!(folder, "bin" | ".bin")) {
            self.plain(basename(path), arguments);
        }
        if let Some(Ok(first)) = arguments.first().map(Word::known) {
            self.signs.push((SignKind::Command, format!("{} {first}", basename(path))));
        }
        if is_installed(path) {
            self.name = Some(path.to_owned());
        } else {
            self.signs.push((SignKind::Command, format!("{runtime} {}", basename(path))));
            self.signs.push((SignKind::Command, runtime.to_owned()));
        }
        self.options = words[..at].to_vec();
        self.arguments = arguments.to_vec();
    }

    fn java(&mut self, words: &[Word]) {
        self.runtime = Some("java");
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let text = word.prefix();
            let (kind, main) = if text == "-jar" {
                (SignKind::Jar, at + 1)
            } else if text.starts_with(['-', '@']) || text.is_empty() {
                at += 1 + usize::from(JAVA_VALUED.contains(&text));
                continue;
            } else {
                (SignKind::Class, at)
            };
            let Some(Ok(name)) = words.get(main).map(Word::known) else { break };
            let name = if kind == SignKind::Jar { basename(name) } else { name };
            self.signs.push((kind, name.to_owned()));
            self.options = words[..at].to_vec();
            self.arguments = words[main + 1..].to_vec();
            return;
        }
        self.options = words.to_vec();
    }

    /// The names of flags with two dashes; Go programs accept one dash, too.
    pub(super) fn flags(&self) -> impl Iterator<Item = String> {
        let flags = self.arguments.iter().filter_map(|word| word.prefix().strip_prefix('-'));
        let names = flags.map(|text| text.strip_prefix('-').unwrap_or(text));
        names
            .filter(|name| name.len() > 1)
            .map(|name| format!("--{}", name.split('=').next().unwrap_or(name)))
    }

    /// The names of properties and long flags on the command line of a virtual machine.
    pub(super) fn settings(&self) -> impl Iterator<Item = String> {
        let java = self.runtime == Some("java");
        let options = self.options.iter().filter_map(|word| word.prefix().strip_prefix("-D"));
        let arguments = self.arguments.iter().filter_map(|word| word.prefix().strip_prefix("--"));
        let names = options.chain(arguments).filter(move |_| java);
        names.map(|text| text.split('=').next().unwrap_or(text).to_owned())
    }
}

/// Whether a script belongs to a package or the system, and not to the app.
fn is_installed(path: &str) -> bool {
    path.starts_with("/usr/bin/")
        || path.starts_with("/usr/local/bin/")
        || path.split('/').any(|folder| matches!(folder, "node_modules" | ".bin"))
}
