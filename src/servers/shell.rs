//! The part of a POSIX shell script that says which command stays in the foreground.
//!
//! Turns the script of `sh -c` into the words of its last foreground command. Whatever would need a real shell (loops,
//! conditions, pipes, substitutions) is an error that names it; it is never guessed.

mod lexer;

use self::lexer::{Operator, Part, Token};
use super::{
    environment::Environment,
    word::{Piece, Place, Word},
};

/// The command that a script leaves in the foreground; `environment` gets the variables that the script sets for it.
pub(super) fn foreground(script: &Word, environment: &mut Environment) -> Result<Vec<Word>, String> {
    let tokens = lexer::tokens(script)?;
    let lists = tokens
        .split_inclusive(|token| matches!(token, Token::Operator(Operator::Then | Operator::Background)));
    let mut last = None;
    'script: for list in lists {
        if matches!(list.last(), Some(Token::Operator(Operator::Background))) {
            continue;
        }
        let list = List::read(list)?;
        for command in &list.commands {
            let run = Run::of(command, environment, &script.at);
            if run.words.is_empty() {
                run.set(environment);
                continue;
            }
            let replaces_shell = run.is_exec();
            last = Some((run, list.unclear));
            if replaces_shell {
                break 'script;
            }
        }
    }
    match last {
        None => Err("the shell script leaves nothing in the foreground".to_owned()),
        Some((_, Some(why))) => Err(format!("the shell script has {why}")),
        Some((run, None)) => {
            run.set(environment);
            Ok(run.words)
        }
    }
}

/// Commands joined by `&&`, `||` and `|`.
struct List<'t> {
    commands: Vec<Vec<&'t [Part]>>,
    /// What makes it unclear which of them stays.
    unclear: Option<&'static str>,
}

impl<'t> List<'t> {
    fn read(tokens: &'t [Token]) -> Result<Self, String> {
        let mut list = Self { commands: Vec::new(), unclear: None };
        let mut command: Vec<&[Part]> = Vec::new();
        let mut redirected = false;
        for token in tokens {
            match token {
                Token::Word(_) if redirected => redirected = false,
                Token::Word(parts) => {
                    if command.is_empty() && keyword(parts) {
                        return Err("the shell script has a loop or a condition".to_owned());
                    }
                    command.push(parts);
                }
                Token::Operator(Operator::Redirect) => redirected = true,
                Token::Operator(operator) => {
                    match operator {
                        Operator::Or => list.unclear = Some("commands joined by ||"),
                        Operator::Pipe => list.unclear = Some("a pipe"),
                        Operator::And | Operator::Then | Operator::Background | Operator::Redirect => {}
                    }
                    list.end(&mut command);
                }
            }
        }
        list.end(&mut command);
        Ok(list)
    }

    fn end(&mut self, command: &mut Vec<&'t [Part]>) {
        if !command.is_empty() {
            self.commands.push(std::mem::take(command));
        }
    }
}

fn keyword(parts: &[Part]) -> bool {
    const KEYWORDS: [&str; 14] = [
        "if", "then", "else", "elif", "fi", "while", "until", "for", "do", "done", "case", "{", "function",
        "select",
    ];
    matches!(parts, [Part::Literal(text)] if KEYWORDS.contains(&text.as_str()))
}

/// A command with its variables expanded.
struct Run {
    sets: Vec<(String, Word)>,
    words: Vec<Word>,
}

impl Run {
    fn of(command: &[&[Part]], environment: &Environment, at: &Place) -> Self {
        let mut run = Self { sets: Vec::new(), words: Vec::new() };
        let mut exports = false;
        for parts in command {
            let assignment = run.words.is_empty().then(|| assignment(parts)).flatten();
            if let Some((name, value)) = assignment {
                let pieces = value.iter().flat_map(|part| pieces(part, environment));
                run.sets.push((name, Word::new(pieces, at.clone())));
            } else if run.words.is_empty() && matches!(parts, [Part::Literal(text)] if text == "export") {
                exports = true;
            } else if !exports {
                run.words.extend(fields(parts, environment, at));
            }
        }
        run
    }

    fn set(&self, environment: &mut Environment) {
        for (name, value) in &self.sets {
            environment.set(name, value.clone());
        }
    }

    fn is_exec(&self) -> bool {
        self.words.len() > 1 && self.words[0].known() == Ok("exec")
    }
}

/// `NAME=value`, with the parts of the value.
fn assignment(parts: &[Part]) -> Option<(String, Vec<Part>)> {
    let Some(Part::Literal(text)) = parts.first() else { return None };
    let (name, value) = text.split_once('=')?;
    let named = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    named.then(|| {
        let rest = parts.iter().skip(1).cloned();
        (name.to_owned(), std::iter::once(Part::Literal(value.to_owned())).chain(rest).collect())
    })
}

/// What a part stands for.
fn pieces(part: &Part, environment: &Environment) -> Vec<Piece> {
    match part {
        Part::Literal(text) | Part::Quoted(text) => vec![Piece::Text(text.clone())],
        Part::Unknown(why) => vec![Piece::Unknown(why.clone())],
        Part::Variable { name, fallback, .. } => match (environment.get(name), fallback) {
            (Some(word), Some(fallback)) if word.known() == Ok("") => vec![Piece::Text(fallback.clone())],
            (Some(word), _) => word.pieces().to_vec(),
            (None, Some(fallback)) => vec![Piece::Text(fallback.clone())],
            (None, None) => vec![Piece::Unknown(format!("the pod does not set ${name}"))],
        },
    }
}

/// The words that one word of a script becomes: an unquoted variable is split at spaces, and vanishes when empty.
fn fields(parts: &[Part], environment: &Environment, at: &Place) -> Vec<Word> {
    let mut fields = Vec::new();
    let mut field: Option<Vec<Piece>> = None;
    for part in parts {
        let splits = matches!(part, Part::Variable { quoted: false, .. });
        for piece in pieces(part, environment) {
            match piece {
                Piece::Text(text) if splits => {
                    for c in text.chars() {
                        if !c.is_whitespace() {
                            field.get_or_insert_default().push(Piece::Text(c.to_string()));
                        } else if let Some(done) = field.take() {
                            fields.push(Word::new(done, at.clone()));
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
