//! Parses conditions and loops that contain only harmless commands.
//!
//! Turns the tokens from `if`, `for`, `while` or `until` to their end into commands that may run. The shell interprets
//! them.

use super::{
    Command, is_stream,
    lexer::{Operator, Part, Token},
};

/// The commands that a compound command may run.
#[derive(Default)]
pub(super) struct Compound<'t> {
    pub(super) commands: Vec<Command<'t>>,
    /// The variables of `for`.
    pub(super) variables: Vec<&'t [Part]>,
    /// The number of its tokens, including the operator that ends it.
    pub(super) length: usize,
}

/// Whether tokens start with a supported compound command.
pub(super) fn begins(tokens: &[Token]) -> bool {
    matches!(tokens.first(), Some(Token::Word(parts)) if opens(parts))
}

fn literal(parts: &[Part]) -> &str {
    match parts {
        [Part::Literal(text)] => text,
        _ => "",
    }
}

fn opens(parts: &[Part]) -> bool {
    matches!(literal(parts), "if" | "for" | "while" | "until")
}

impl<'t> Compound<'t> {
    /// Parses the compound command at the start of the tokens; `None` if it contains or ends with something
    /// unsupported.
    pub(super) fn read(tokens: &'t [Token]) -> Option<Self> {
        let mut compound = Self::default();
        let mut command = Command::default();
        let mut depth = 0_usize;
        let mut redirect = None;
        let mut names = false;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::Word(parts) if redirect.is_some() => {
                    command.writes |= redirect.take() == Some(Operator::Write) && !is_stream(parts);
                }
                // The words of `for NAME in ...`.
                Token::Word(_) if names => {}
                Token::Word(parts) if command.words.is_empty() => match literal(parts) {
                    "if" | "while" | "until" => depth += 1,
                    "for" => {
                        depth += 1;
                        names = true;
                        let Some(Token::Word(name)) = tokens.get(at + 1) else { return None };
                        compound.variables.push(name);
                    }
                    "then" | "else" | "elif" | "do" | "!" => {}
                    "fi" | "done" => {
                        depth = depth.checked_sub(1)?;
                        if depth == 0 {
                            compound.length = at + 1 + end(tokens.get(at + 1..)?)?;
                            return Some(compound);
                        }
                    }
                    "case" | "esac" | "{" | "}" | "function" | "select" => return None,
                    _ => command.words.push(parts),
                },
                Token::Word(parts) => command.words.push(parts),
                Token::Operator(operator @ (Operator::Read | Operator::Write)) => redirect = Some(*operator),
                Token::Operator(_) => {
                    names = false;
                    if !command.words.is_empty() || command.writes {
                        compound.commands.push(std::mem::take(&mut command));
                    }
                }
            }
        }
        None
    }
}

/// The number of tokens that end a compound command; `None` if it is part of a pipe, or its output goes to a file.
fn end(rest: &[Token]) -> Option<usize> {
    match rest.first() {
        None => Some(0),
        Some(Token::Operator(Operator::Then)) => Some(1),
        Some(_) => None,
    }
}
