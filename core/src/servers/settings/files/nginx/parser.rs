//! Parses the directives of nginx.conf and of included files.
//!
//! Turns the text into directives and blocks.

use super::{
    super::{Files, cursor::Cursor, includes::Includes},
    MAX_DEPTH,
    lexer::{self, Token},
};

/// The maximum number of included files.
const MAX_FILES: usize = 64;
/// The maximum number of directives in all files together.
const MAX_DIRECTIVES: usize = 100_000;

/// Files of every nginx image that contain only types and parameters (nginx `conf/`).
const WITHOUT_TIMEOUTS: [&str; 8] = [
    "mime.types",
    "fastcgi_params",
    "fastcgi.conf",
    "scgi_params",
    "uwsgi_params",
    "proxy_params",
    "koi-utf",
    "win-utf",
];

/// A directive with an optional block.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Self>>,
    pub(super) path: String,
    pub(super) line: usize,
}

pub(super) struct Parser<'f> {
    includes: Includes<'f>,
    /// The directory of the main file, which includes are relative to.
    folder: &'f str,
    directives_left: usize,
}

impl<'f> Parser<'f> {
    /// A parser for the configuration whose main file is at `path`.
    pub(super) fn new(files: &'f dyn Files, path: &'f str) -> Self {
        Self {
            includes: Includes { files, files_left: MAX_FILES, bytes_left: usize::MAX },
            folder: path.rsplit_once('/').map_or("", |(folder, _)| folder),
            directives_left: MAX_DIRECTIVES,
        }
    }

    /// The directives of a file and of the files that it includes.
    pub(super) fn file(&mut self, path: &str, text: &str, depth: usize) -> Result<Vec<Directive>, String> {
        self.block(&mut Cursor::new(path, text), depth, false)
    }

    fn block(
        &mut self,
        cursor: &mut Cursor<'_>,
        depth: usize,
        inside: bool,
    ) -> Result<Vec<Directive>, String> {
        if depth > MAX_DEPTH {
            return Err(cursor.fault("blocks or includes are nested too deeply"));
        }
        let mut directives = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut line = cursor.line;
        while let Some(token) = lexer::next(cursor)? {
            match token {
                Token::Word(word) => {
                    if words.is_empty() {
                        line = cursor.line;
                    }
                    words.push(word);
                }
                Token::End => {
                    let words = std::mem::take(&mut words);
                    if words.first().is_some_and(|word| word == "include") {
                        let pattern = words.get(1).map_or("", String::as_str);
                        directives.extend(self.include(pattern, cursor, depth)?);
                    } else {
                        directives.push(self.directive(words, None, cursor.path, line)?);
                    }
                }
                Token::Open => {
                    let words = std::mem::take(&mut words);
                    let block = if words.first().is_some_and(|word| word.ends_with("_by_lua_block")) {
                        lexer::skip_code(cursor)?;
                        Vec::new()
                    } else {
                        self.block(cursor, depth + 1, true)?
                    };
                    directives.push(self.directive(words, Some(block), cursor.path, line)?);
                }
                Token::Close if inside && words.is_empty() => return Ok(directives),
                Token::Close => return Err(cursor.fault("a brace closes nothing")),
            }
        }
        if inside || !words.is_empty() {
            return Err(cursor.fault("the file ends within a directive"));
        }
        Ok(directives)
    }

    fn directive(
        &mut self,
        words: Vec<String>,
        block: Option<Vec<Directive>>,
        path: &str,
        line: usize,
    ) -> Result<Directive, String> {
        self.directives_left = self.directives_left.saturating_sub(1);
        if words.is_empty() || self.directives_left == 0 {
            return Err(format!("{path} line {line}: a directive has no name, or there are too many"));
        }
        Ok(Directive { words, block, path: path.to_owned(), line })
    }

    fn include(
        &mut self,
        pattern: &str,
        cursor: &Cursor<'_>,
        depth: usize,
    ) -> Result<Vec<Directive>, String> {
        let name = pattern.rsplit('/').next().unwrap_or(pattern);
        if WITHOUT_TIMEOUTS.contains(&name) {
            return Ok(Vec::new());
        }
        let pattern =
            if pattern.starts_with('/') { pattern.to_owned() } else { format!("{}/{pattern}", self.folder) };
        let of_include = |why: String| cursor.fault(&why);
        let mut directives = Vec::new();
        for path in self.includes.paths(pattern).map_err(of_include)? {
            if let Some(text) = self.includes.open(&path, &[], false).map_err(of_include)? {
                directives.extend(self.file(&path, &text, depth + 1)?);
            }
        }
        Ok(directives)
    }
}
