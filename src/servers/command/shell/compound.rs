//! Conditions and loops of a script, as far as they are harmless: the commands that may run in them.
//!
//! Turns the tokens from `if`, `for`, `while` or `until` to their end into commands that may run or not.
//! What they do is left to the shell.

use super::{
    Command, is_stream,
    lexer::{Operator, Part, Token},
};

/// What a compound command may run.
#[derive(Default)]
pub(super) struct Compound<'t> {
    pub(super) commands: Vec<Command<'t>>,
    /// The variables of `for`.
    pub(super) variables: Vec<&'t [Part]>,
    /// How many tokens it has, with the operator that ends it.
    pub(super) length: usize,
}

/// Whether tokens start with a compound command that is followed.
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
    /// Reads the compound command with which tokens start; `None` where it holds or ends in what is not followed.
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

/// How many tokens end a compound command; `None` where it is part of a pipe, or where its output goes into a file.
fn end(rest: &[Token]) -> Option<usize> {
    match rest.first() {
        None => Some(0),
        Some(Token::Operator(Operator::Then)) => Some(1),
        Some(_) => None,
    }
}
