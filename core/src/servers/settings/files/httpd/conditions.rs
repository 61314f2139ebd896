//! The sections of httpd.conf: conditions, virtual hosts and sections for paths.
//!
//! Computes the context inside a section from its first line.

use super::{
    Reader,
    hosts::Scope,
    line::{Location, words},
};

/// The context of a line.
#[derive(Clone, Default)]
pub(super) struct Context {
    /// The server: 0 is the main server.
    pub(super) scope: usize,
    /// A surrounding condition whose value is unknown.
    pub(super) doubt: Option<String>,
    /// Whether a surrounding condition is false.
    pub(super) skipped: bool,
    /// Whether it is in a section for paths, such as `<Directory>`, where the directives are not allowed.
    pub(super) inner: bool,
    /// Whether it is in a macro, which may be used anywhere.
    pub(super) in_macro: bool,
}

impl Reader<'_> {
    /// The context inside a section.
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
                // An address with an unknown variable stays as written; it matches every port.
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
