//! The sections of httpd.conf: conditions, virtual hosts and those of some paths.
//!
//! Turns the beginning of a section into what holds within it. `httpd` decides what its lines set.

use super::{
    Reader,
    hosts::Scope,
    line::{Location, words},
};

/// Where a line stands.
#[derive(Clone, Default)]
pub(super) struct Context {
    /// The server: 0 is the main one.
    pub(super) scope: usize,
    /// A condition around it that may hold or not.
    pub(super) doubt: Option<String>,
    /// A condition around it does not hold.
    pub(super) skipped: bool,
    /// It is within a section of some paths, such as `<Directory>`, where the directives are not allowed.
    pub(super) inner: bool,
    /// It is within a macro, which may be used anywhere.
    pub(super) in_macro: bool,
}

impl Reader<'_> {
    /// The context within a section.
    pub(super) fn section(&mut self, name: &str, rest: &str, around: &Context, at: &Location<'_>) -> Context {
        let mut context = around.clone();
        if context.skipped {
            return context;
        }
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "ifdefine" | "ifmodule" => {
                let (negated, word) = match rest.strip_prefix('!') {
                    Some(word) => (true, word),
                    None => (false, rest),
                };
                let word = words(word).into_iter().next().unwrap_or_default();
                let known = if lower == "ifdefine" { &self.defined } else { &self.modules };
                match known.contains(&word) {
                    true if negated => context.skipped = true,
                    true => {}
                    false => context.doubt = Some(format!("<{name} {rest}>")),
                }
            }
            "ifversion" | "iffile" | "ifdirective" | "ifsection" => {
                context.doubt = Some(format!("<{name} {rest}>"));
            }
            "macro" => context.in_macro = true,
            "virtualhost" => {
                // An address whose variable nobody can tell stays as written; it fits every port.
                let addresses = words(&self.expand(rest, at).unwrap_or_else(|_| rest.to_owned()));
                context.scope = self.scopes.len();
                let doubtful = context.doubt.is_some() || context.in_macro;
                self.scopes.push(Scope { addresses, doubtful, ..Scope::default() });
            }
            _ => context.inner = true,
        }
        context
    }
}
