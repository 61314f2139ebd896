//! Tokens of Python and Ruby.
//!
//! Shared by the lexers and readers of both.

/// The kind of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind<'t> {
    /// A name of any kind, or a keyword.
    Word(&'t str),
    /// A number as written.
    Number(&'t str),
    /// A string; the text is only known without prefixes, escapes and code.
    Text(Option<&'t str>),
    /// `:name` or `name:` of Ruby.
    Symbol(&'t str),
    /// An operator, a bracket or a separator.
    Op(&'t str),
    /// A line end that ends a Ruby statement.
    End,
}

/// A token with its position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) line: usize,
    /// The number of open brackets and blocks.
    pub(super) depth: usize,
}

impl<'t> Token<'t> {
    pub(super) fn word(&self) -> Option<&'t str> {
        match self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn is(&self, op: &str) -> bool {
        self.kind == Kind::Op(op)
    }
}

/// The source of tokens as written, on one line and without comments.
pub(super) fn source(tokens: &[Token<'_>], text: &str) -> String {
    let mut source = String::new();
    let mut end = None;
    for token in tokens.iter().filter(|token| token.kind != Kind::End) {
        if end.is_some_and(|end| end < token.start) {
            source.push(' ');
        }
        source.push_str(text.get(token.start..token.end).unwrap_or_default());
        end = Some(token.end);
    }
    source
}

/// Whether two brackets enclose all tokens between them.
pub(super) fn encloses(
    open: &Token<'_>,
    inside: &[Token<'_>],
    close: &Token<'_>,
    left: &str,
    right: &str,
) -> bool {
    open.is(left)
        && close.is(right)
        && open.depth == close.depth
        && inside.iter().all(|token| token.depth > open.depth)
}
