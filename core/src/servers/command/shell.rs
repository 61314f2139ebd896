//! Interprets the part of POSIX shell scripts that decides which command runs in the foreground.
//!
//! Turns the script of `sh -c` into the words of its last foreground command. Anything that needs a real shell (a loop
//! or condition around the server, pipes, substitutions) is an error that names the construct; nothing is guessed.

mod compound;
mod harmless;
mod lexer;

use std::collections::HashSet;

pub(super) use self::harmless::is_harmless;
use self::{
    compound::Compound,
    lexer::{Fallback, Operator, Part, Token},
};
use super::wrappers;
use crate::workload::{
    environment::{Environment, TOO_LONG},
    word::{Piece, Place, Word, basename},
};

/// The result of a script.
#[derive(Debug)]
pub(super) struct Foreground {
    /// The foreground command.
    pub(super) words: Vec<Word>,
    /// What runs before it and may write its files.
    pub(super) writes: Option<String>,
    /// Earlier commands that are the foreground command instead, if a condition is true and they are servers.
    pub(super) alternatives: Vec<Vec<Word>>,
}

/// Interprets a script. `environment` gets the variables that the script sets for its foreground command. With
/// `exports_all` all of them are exported, as with `set -a`.
pub(super) fn foreground(
    script: &Word,
    environment: &mut Environment,
    exports_all: bool,
) -> Result<Foreground, String> {
    if !environment.charge(script.len()) {
        return Err(TOO_LONG.to_owned());
    }
    let tokens = lexer::tokens(script)?;
    let mut shell = Shell {
        environment,
        exports_all,
        promised: HashSet::new(),
        uncertain: Vec::new(),
        own_separators: false,
        writes: None,
    };
    let mut last: Option<(Run, Option<&'static str>, usize)> = None;
    let mut may_be_over = false;
    let mut conditional = Vec::new();
    let mut rest = tokens.as_slice();
    let mut at = 0;
    let mut ends_in_compound = false;
    'script: while !rest.is_empty() {
        at += 1;
        if compound::begins(rest)
            && let Some(compound) = Compound::read(rest)
        {
            if may_be_over {
                return Err(MAYBE_OVER.to_owned());
            }
            rest = &rest[compound.length..];
            shell.mark_uncertain();
            if let Some((before, ..)) = last.take() {
                shell.record_run(&before);
            }
            shell.compound(&compound, &script.at, |words| conditional.push((at, words)))?;
            ends_in_compound = true;
            continue;
        }
        let is_end = |token: &Token| matches!(token, Token::Operator(Operator::Then | Operator::Background));
        let length = rest.iter().position(is_end).map_or(rest.len(), |end| end + 1);
        let (list, after) = rest.split_at(length);
        rest = after;
        let background = matches!(list.last(), Some(Token::Operator(Operator::Background)));
        let list = match List::read(list) {
            Err(why) if background => {
                shell.writes = Some(format!("{why} that may write its files"));
                continue;
            }
            list => list?,
        };
        if may_be_over && !list.commands.is_empty() {
            return Err(MAYBE_OVER.to_owned());
        }
        shell.mark_uncertain();
        let mut certain = list.unclear.is_none();
        let mut is_first = true;
        for command in &list.commands {
            let run = Run::of(command, &shell, &script.at)?;
            if background {
                shell.record_run(&run);
                continue;
            }
            shell.run(&run, certain);
            if run.words.is_empty() {
                shell.record_run(&run);
                continue;
            }
            let (is_exec, over) = (run.is_exec(), certain && run.is("exit"));
            if !is_first && !run.is_harmless() {
                conditional.push((at, wrappers::inner(&run.words)));
            }
            is_first = false;
            if !over {
                ends_in_compound = false;
                if let Some((before, ..)) = last.replace((run, list.unclear, at)) {
                    shell.record_run(&before);
                }
            }
            may_be_over = is_exec && !certain;
            if over || is_exec && certain {
                break 'script;
            }
            if may_be_over {
                break;
            }
            certain = false;
        }
    }
    match last {
        None if ends_in_compound => Err(CONDITION.to_owned()),
        None => Err("the shell script runs nothing in the foreground".to_owned()),
        Some((_, Some(why), _)) => Err(format!("the shell script has {why}")),
        Some((run, None, at)) => {
            let writes = shell.writes;
            let before = conditional.into_iter().filter(|(list, _)| *list < at);
            let alternatives = before.map(|(_, words)| words).collect();
            environment.leave_shell();
            for (name, value) in run.sets {
                environment.set(&name, value, true);
            }
            Ok(Foreground { words: run.words, writes, alternatives })
        }
    }
}

const CONDITION: &str = "the shell script has a loop or a condition";
const MAYBE_OVER: &str = "the shell script may or may not reach an exec";

/// Commands joined by `&&`, `||` and `|`.
struct List<'t> {
    commands: Vec<Command<'t>>,
    /// Why it is unclear which of them runs, or runs last.
    unclear: Option<&'static str>,
}

#[derive(Default)]
struct Command<'t> {
    words: Vec<&'t [Part]>,
    /// Whether it writes a file.
    writes: bool,
}

impl<'t> List<'t> {
    fn read(tokens: &'t [Token]) -> Result<Self, String> {
        let mut list = Self { commands: Vec::new(), unclear: None };
        let mut command = Command::default();
        let mut redirect = None;
        for token in tokens {
            match token {
                Token::Word(parts) if redirect.is_some() => {
                    command.writes |= redirect.take() == Some(Operator::Write) && !is_stream(parts);
                }
                Token::Word(parts) => {
                    if command.words.is_empty() && keyword(parts) {
                        return Err(CONDITION.to_owned());
                    }
                    command.words.push(parts);
                }
                Token::Operator(operator @ (Operator::Read | Operator::Write)) => redirect = Some(*operator),
                Token::Operator(operator) => {
                    match operator {
                        Operator::Or => list.unclear = Some("commands joined by ||"),
                        Operator::Pipe => list.unclear = Some("a pipe"),
                        Operator::And
                        | Operator::Then
                        | Operator::Background
                        | Operator::Read
                        | Operator::Write => {}
                    }
                    list.end(&mut command);
                }
            }
        }
        list.end(&mut command);
        Ok(list)
    }

    fn end(&mut self, command: &mut Command<'t>) {
        if !command.words.is_empty() || command.writes {
            self.commands.push(std::mem::take(command));
        }
    }
}

/// Whether a redirect goes to a descriptor or a stream instead of a file.
fn is_stream(parts: &[Part]) -> bool {
    match parts {
        [Part::Literal(text)] => {
            text == "-" || text.starts_with("/dev/") || text.chars().all(|c| c.is_ascii_digit())
        }
        _ => false,
    }
}

fn keyword(parts: &[Part]) -> bool {
    const KEYWORDS: [&str; 14] = [
        "if", "then", "else", "elif", "fi", "while", "until", "for", "do", "done", "case", "{", "function",
        "select",
    ];
    matches!(parts, [Part::Literal(text)] if KEYWORDS.contains(&text.as_str()))
}

/// The state of a script.
struct Shell<'e> {
    environment: &'e mut Environment,
    /// `set -a`: exports every variable that is set from now on.
    exports_all: bool,
    /// Variables that are exported as soon as they are set.
    promised: HashSet<String>,
    /// Variables set by a command of this list that may not have run.
    uncertain: Vec<String>,
    /// Whether the script sets `IFS`, so that words are no longer split at blanks.
    own_separators: bool,
    writes: Option<String>,
}

impl Shell<'_> {
    /// Applies the effect of a command on the variables of the shell; `certain` if it runs in any case.
    fn run(&mut self, run: &Run, certain: bool) {
        for name in &run.falls_back {
            let value = Word::unknown(format!("the shell script sets {name} if it is empty"), Place::Env(0));
            self.environment.set(name, value, self.exports_all || self.promised.contains(name));
        }
        if run.words.is_empty() {
            self.assign(run, certain);
            return;
        }
        let skipped = run.words.iter().take_while(|word| matches!(word.known(), Ok("command" | "builtin")));
        let Some((first, arguments)) = run.words.get(skipped.count()..).and_then(<[Word]>::split_first)
        else {
            return;
        };
        match first.known() {
            Err(_) => self.environment.doubt("a command of the shell script that is not known"),
            Ok("." | "source") if !run.is_harmless() => {
                self.environment.doubt("a file that the shell script reads");
            }
            Ok("eval") => self.environment.doubt("an eval in the shell script"),
            Ok("read" | "mapfile" | "readarray" | "getopts") => self.read(arguments),
            Ok("let") => self.evaluate_arithmetic(arguments),
            Ok("printf") if arguments.first().is_some_and(|word| word.prefix().starts_with("-v")) => {
                self.read(arguments.get(..2).unwrap_or_default());
            }
            Ok("unset") => self.unset(arguments, certain),
            Ok("set") => self.options(arguments),
            Ok(_) => {}
        }
    }

    /// Applies the possible effects of a condition or a loop; adds commands that may be the server to `may_stay`.
    fn compound(
        &mut self,
        compound: &Compound<'_>,
        at: &Place,
        mut may_stay: impl FnMut(Vec<Word>),
    ) -> Result<(), String> {
        for name in &compound.variables {
            match name {
                [Part::Literal(name)] if is_name(name) => self.set_unknown(name, "set", at),
                _ => self.environment.doubt("the shell script"),
            }
        }
        for command in &compound.commands {
            let run = Run::of(command, self, at)?;
            if run.is_exec() {
                return Err(MAYBE_OVER.to_owned());
            }
            self.run(&run, false);
            if !run.words.is_empty() && !run.is_harmless() {
                may_stay(wrappers::inner(&run.words));
            }
            self.record_run(&run);
        }
        Ok(())
    }

    fn assign(&mut self, run: &Run, certain: bool) {
        for (name, value) in &run.sets {
            self.own_separators |= name == "IFS";
            let exported = run.exports || self.exports_all || self.promised.contains(name);
            self.environment.set(name, value.clone(), exported);
        }
        for name in run.names.iter().filter(|_| run.exports) {
            if !self.environment.export(name) {
                self.promised.insert(name.clone());
            }
        }
        if !certain {
            self.uncertain.extend(run.sets.iter().map(|(name, _)| name.clone()).chain(run.names.clone()));
        }
        if run.unseen {
            self.environment.doubt("an export of the shell script that is not known");
        }
    }

    /// Marks variables as unknown that a command such as `read` sets.
    fn read(&mut self, words: &[Word]) {
        for word in words {
            match word.known() {
                Ok(name) if is_name(name) => self.set_unknown(name, "read", &word.at),
                Ok(_) => {}
                Err(_) => self.environment.doubt("the shell script"),
            }
        }
    }

    /// Marks variables as unknown that an arithmetic expression may set.
    fn evaluate_arithmetic(&mut self, expressions: &[Word]) {
        for word in expressions {
            let Ok(text) = word.known() else {
                self.environment.doubt("the shell script");
                continue;
            };
            for name in
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|name| is_name(name))
            {
                if !self.environment.charge(name.len()) {
                    self.environment.doubt("the shell script");
                    return;
                }
                self.set_unknown(name, "reckoned", &word.at);
            }
        }
    }

    /// Marks a variable as unknown.
    fn set_unknown(&mut self, name: &str, how: &str, at: &Place) {
        let value = Word::unknown(format!("{name} is {how} by the shell script"), at.clone());
        self.environment.set(name, value, self.exports_all);
    }

    fn unset(&mut self, names: &[Word], certain: bool) {
        for word in names {
            match word.known() {
                Ok(name) if certain => self.environment.unset(name),
                Ok(name) => self.uncertain.push(name.to_owned()),
                Err(_) => self.environment.doubt("the shell script"),
            }
        }
    }

    /// Handles `set -a` and `set -o allexport`.
    fn options(&mut self, arguments: &[Word]) {
        let mut words = arguments.iter();
        while let Some(text) = words.next().map(Word::prefix) {
            let Some(flags) = text.strip_prefix(['-', '+']).filter(|flags| *flags != "-") else { return };
            let named = flags.ends_with('o') && words.next().is_some_and(|word| word.prefix() == "allexport");
            if named || flags.contains('a') {
                self.exports_all = text.starts_with('-');
            }
        }
    }

    /// Marks variables as unknown that the list may have set.
    fn mark_uncertain(&mut self) {
        for name in std::mem::take(&mut self.uncertain) {
            let why = format!("the shell script sets {name} only if another command succeeds or fails");
            self.environment.set(&name, Word::unknown(why, Place::Env(0)), false);
        }
    }

    /// Records a command that is not the foreground command.
    fn record_run(&mut self, run: &Run) {
        if run.writes {
            self.writes = Some("the shell script writes a file that may set it".to_owned());
        } else if !run.is_harmless() {
            let name = run.words.first().map_or("", |word| basename(word.prefix()));
            self.writes = Some(format!("the shell script runs {name}, which may write a file that sets it"));
        }
    }
}

/// A command with expanded variables.
struct Run {
    /// The assigned variables.
    sets: Vec<(String, Word)>,
    /// Names in a declaration without a value.
    names: Vec<String>,
    /// Whether the declaration exports: `export`, `declare -x`.
    exports: bool,
    /// Whether the declaration contains unknown words.
    unseen: bool,
    /// The program and its arguments; empty for assignments and declarations.
    words: Vec<Word>,
    /// Variables that `${NAME:=value}` may set.
    falls_back: Vec<String>,
    /// Whether it writes a file.
    writes: bool,
}

impl Run {
    fn of(command: &Command<'_>, shell: &Shell<'_>, at: &Place) -> Result<Self, String> {
        let environment = &*shell.environment;
        let mut run = Self {
            sets: Vec::new(),
            names: Vec::new(),
            exports: false,
            unseen: false,
            words: Vec::new(),
            falls_back: command.words.iter().flat_map(|parts| assigned(parts, environment)).collect(),
            writes: command.writes,
        };
        let mut declares = false;
        for parts in &command.words {
            let assignment = run.words.is_empty().then(|| assignment(parts)).flatten();
            if let Some((name, value)) = assignment {
                let pieces = value.iter().flat_map(|part| pieces(part, environment));
                run.sets.push((name, Word::new(pieces, at.clone())));
            } else if run.words.is_empty() && !declares && declaration(parts) {
                declares = true;
                run.exports = matches!(parts, [Part::Literal(text)] if text == "export");
            } else {
                let fields = fields(parts, shell, at);
                if !fields.iter().all(|_| environment.charge(0)) {
                    return Err(TOO_LONG.to_owned());
                }
                if declares {
                    fields.iter().for_each(|word| run.declare(word));
                } else {
                    run.words.extend(fields);
                }
            }
            if !environment.charge(0) {
                return Err(TOO_LONG.to_owned());
            }
        }
        Ok(run)
    }

    /// Handles a word after `export` that is not a plain assignment.
    fn declare(&mut self, word: &Word) {
        match (word.prefix().split_once('='), word.known()) {
            (Some((name, _)), _) if is_name(name) => {
                self.sets.push((name.to_owned(), word.after(name.len() + 1)));
            }
            (_, Ok(text)) if is_name(text) => self.names.push(text.to_owned()),
            (_, Ok(text)) if text.starts_with('-') && !text.contains('n') => {
                self.exports |= text.contains('x');
            }
            (_, Ok(_) | Err(_)) => self.unseen = true,
        }
    }

    fn is(&self, name: &str) -> bool {
        self.words.first().is_some_and(|word| word.known() == Ok(name))
    }

    fn is_exec(&self) -> bool {
        self.words.len() > 1 && self.is("exec")
    }

    fn is_harmless(&self) -> bool {
        is_harmless(&self.words)
    }
}

/// The variables that are assigned their fallback because they are empty; without those that the pod sets.
fn assigned(parts: &[Part], environment: &Environment) -> impl Iterator<Item = String> {
    parts.iter().filter_map(|part| match part {
        Part::Variable { name, fallback: Some(Fallback { assigns: true, for_empty, .. }), .. } => {
            let set = environment
                .get(name)
                .is_some_and(|word| word.known().is_ok_and(|value| !value.is_empty() || !for_empty));
            (!set).then(|| name.clone())
        }
        Part::Literal(_) | Part::Quoted(_) | Part::Variable { .. } | Part::Unknown(_) => None,
    })
}

fn declaration(parts: &[Part]) -> bool {
    const DECLARING: [&str; 5] = ["export", "declare", "typeset", "readonly", "local"];
    matches!(parts, [Part::Literal(text)] if DECLARING.contains(&text.as_str()))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `NAME=value` or `NAME+=value`, with the parts of the value.
fn assignment(parts: &[Part]) -> Option<(String, Vec<Part>)> {
    let Some(Part::Literal(text)) = parts.first() else { return None };
    let (name, value) = text.split_once('=')?;
    let before = name.strip_suffix('+');
    let name = before.unwrap_or(name);
    let before = before.map(|name| Part::Variable {
        name: name.to_owned(),
        fallback: Some(Fallback::default()),
        quoted: true,
    });
    is_name(name).then(|| {
        let rest = parts.iter().skip(1).cloned();
        let value = before.into_iter().chain([Part::Literal(value.to_owned())]).chain(rest);
        (name.to_owned(), value.collect())
    })
}

/// The value of a part.
fn pieces(part: &Part, environment: &Environment) -> Vec<Piece> {
    match part {
        Part::Literal(text) | Part::Quoted(text) => vec![Piece::Text(text.clone())],
        Part::Unknown(why) => vec![Piece::Unknown(why.clone())],
        Part::Variable { name, fallback, .. } => match (environment.get_for_expansion(name), fallback) {
            (Some(word), Some(fallback)) if fallback.for_empty && word.known() == Ok("") => {
                vec![Piece::Text(fallback.text.clone())]
            }
            (Some(word), _) => word.pieces().to_vec(),
            (None, fallback) if environment.is_unset(name) => {
                vec![Piece::Text(fallback.clone().unwrap_or_default().text)]
            }
            (None, Some(_)) => {
                vec![Piece::Unknown(format!("the pod does not set ${name}, and its image may"))]
            }
            (None, None) => vec![Piece::Unknown(format!("the pod does not set ${name}"))],
        },
    }
}

/// Expands a word of a script: an unquoted variable is split at blanks, and disappears if it is empty.
fn fields(parts: &[Part], shell: &Shell<'_>, at: &Place) -> Vec<Word> {
    let mut fields = Vec::new();
    let mut field: Option<Vec<Piece>> = None;
    for part in parts {
        let splits = matches!(part, Part::Variable { quoted: false, .. });
        for piece in pieces(part, shell.environment) {
            match piece {
                Piece::Text(_) if splits && shell.own_separators => {
                    let why = "the shell script sets IFS, which changes how words are split";
                    field.get_or_insert_default().push(Piece::Unknown(why.to_owned()));
                }
                Piece::Text(text) if splits => {
                    for (index, text) in text.split(char::is_whitespace).enumerate() {
                        if index > 0
                            && let Some(done) = field.take()
                        {
                            fields.push(Word::new(done, at.clone()));
                        }
                        if !text.is_empty() {
                            field.get_or_insert_default().push(Piece::Text(text.to_owned()));
                        }
                    }
                }
                piece => field.get_or_insert_default().push(piece),
            }
        }
        if !splits {
            field.get_or_insert_default();
        }
    }
    fields.extend(field.map(|done| Word::new(done, at.clone())));
    fields
}
