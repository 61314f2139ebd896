//! The files and snippets that a Caddyfile imports.
//!
//! Replaces `import` by their tokens, with variables and arguments expanded.

use super::{
    super::Opened,
    Reader,
    lexer::{Lexer, Token, UNKNOWN},
};

impl Reader<'_> {
    /// Replaces `import NAME` by a snippet or files.
    pub(super) fn import(&mut self, import: &Token) -> Result<(), String> {
        let arguments = self.arguments();
        if self.tokens.last().is_some_and(|token| token.is("{") && !token.fresh) {
            self.body(import)?;
        }
        let Some((name, rest)) = arguments.split_first() else {
            return Err(self.says(import, "nothing is imported"));
        };
        if name.is_obscure() {
            return Err(self.says(import, "it is not clear which files are imported"));
        }
        let imported = match self.snippets.get(&name.text) {
            Some(snippet) => snippet.tokens.clone(),
            None => self.imported_files(import, &name.text)?,
        };
        let mut imported: Vec<Token> =
            imported.into_iter().map(|token| Token { text: filled(&token.text, rest), ..token }).collect();
        if let Some(first) = imported.first_mut() {
            first.fresh = true;
        }
        self.put(imported)
    }

    fn imported_files(&mut self, import: &Token, pattern: &str) -> Result<Vec<Token>, String> {
        let folder = self
            .paths
            .get(import.path)
            .and_then(|path| path.rsplit_once('/'))
            .map_or("", |(folder, _)| folder);
        let pattern = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("{folder}/{}", pattern.trim_start_matches("./"))
        };
        let (folder, _) = pattern.rsplit_once('/').unwrap_or_default();
        if folder.contains('*') || pattern.contains(['?', '[', '{']) || pattern.contains("..") {
            return Err(self.says(import, "the pattern of the imported files is not a literal"));
        }
        let paths = if pattern.contains('*') {
            self.files.list(&pattern).map_err(|why| self.says(import, &why))?
        } else {
            vec![pattern]
        };
        let mut tokens = Vec::new();
        for path in paths {
            let left = self.files_left.checked_sub(1);
            self.files_left = left.ok_or_else(|| self.says(import, "too many files are imported"))?;
            let text = match self.files.open(&path) {
                Opened::Text(text) => text.into_owned(),
                Opened::Missing => return Err(self.says(import, &format!("{path} does not exist"))),
                Opened::Unknown(why) => return Err(self.says(import, &why)),
            };
            tokens.extend(self.lex(&path, &text)?);
        }
        Ok(tokens)
    }

    /// Splits a text into tokens, with variables expanded (caddy `caddyconfig/caddyfile/lexer.go`).
    pub(super) fn lex(&mut self, path: &str, text: &str) -> Result<Vec<Token>, String> {
        let left = self.bytes_left.checked_sub(text.len());
        self.bytes_left = left.ok_or_else(|| format!("{path}: the files are too long"))?;
        let text = self.expand(path, text)?;
        let number = self.paths.len();
        self.paths.push(path.to_owned());
        Lexer::new(path, number, &text).run()
    }

    /// Expands `{$NAME}` and `{$NAME:default}`; the image may set variables that the pod does not set.
    fn expand(&self, path: &str, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{$") {
            let Some((name, behind)) = after.split_once('}') else { break };
            expanded.push_str(before);
            match self.files.variable(name.split(':').next().unwrap_or(name)) {
                Some(Ok(value))
                    if value.contains('\n') || expanded.len() + value.len() > text.len() + (256 << 10) =>
                {
                    return Err(format!("{path}: a variable expands to too much text"));
                }
                Some(Ok(value)) => expanded.push_str(&value),
                Some(Err(_)) | None => expanded.push(UNKNOWN),
            }
            // Keeps the line numbers of the following lines.
            expanded.extend(name.chars().filter(|c| *c == '\n'));
            rest = behind;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// Expands the arguments of an import.
fn filled(text: &str, arguments: &[Token]) -> String {
    if !text.contains("{args") {
        return text.to_owned();
    }
    let mut filled = text.to_owned();
    for (index, argument) in arguments.iter().enumerate().take(8) {
        filled = filled.replace(&format!("{{args[{index}]}}"), &argument.text);
        filled = filled.replace(&format!("{{args.{index}}}"), &argument.text);
    }
    filled
}
