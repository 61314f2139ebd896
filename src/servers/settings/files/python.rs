//! gunicorn.conf.py and other Python files whose module variables are settings.
//!
//! Turns the text into logical lines and a variable into an [`Answer`], where a statement at top level gives it a plain
//! value. Python itself is not run: what could set the variable in another way makes the answer unknown. Which values a
//! server accepts is left to the caller.

use super::{Answer, Entry, Files, Query};

/// One value may come from another variable, and so on.
const DEEPEST: usize = 8;

/// Modules of the standard library that change neither the variables of another module nor the environment.
const PLAIN_MODULES: [&str; 26] = [
    "__future__",
    "collections",
    "datetime",
    "functools",
    "gc",
    "json",
    "logging",
    "math",
    "multiprocessing",
    "os",
    "pathlib",
    "platform",
    "random",
    "re",
    "resource",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "string",
    "sys",
    "tempfile",
    "threading",
    "time",
    "typing",
    "uuid",
];

/// Names through which code can set any variable.
const REFLECTION: [&str; 18] = [
    "__builtins__",
    "__dict__",
    "__import__",
    "__setattr__",
    "_getframe",
    "currentframe",
    "eval",
    "exec",
    "execfile",
    "globals",
    "import_module",
    "locals",
    "modules",
    "run_path",
    "runpy",
    "setattr",
    "stack",
    "vars",
];

/// Words that begin a statement with others inside.
const COMPOUND: [&str; 11] =
    ["if", "elif", "else", "for", "while", "try", "except", "finally", "with", "async", "def"];

/// Words that bind the name behind them.
const BINDERS: [&str; 8] = ["as", "class", "def", "del", "for", "global", "nonlocal", "type"];

/// Statements in which a name may be bound anywhere.
const BINDING_STATEMENTS: [&str; 6] = ["case", "del", "except", "for", "match", "with"];

/// Reads the variable `key` from the module at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let module = match Lexer::new(path, text).statements() {
        Ok(statements) => Module { files, path, statements },
        Err(why) => return Answer::Unknown(why),
    };
    match module.assignment(query.key, module.statements.len()) {
        Ok(None) => Answer::Absent,
        Ok(Some((at, value))) => match module.value(value, at, DEEPEST) {
            Ok(value) => match module.statements.get(at) {
                Some(statement) => Answer::Set(Entry {
                    value,
                    text: statement.source(text),
                    path: path.to_owned(),
                    line: statement.line(),
                }),
                None => Answer::Absent,
            },
            Err(why) => Answer::Unknown(why),
        },
        Err(why) => Answer::Unknown(why),
    }
}

/// Where a statement stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scope {
    /// At top level, and run whenever the file is read.
    Top,
    /// At top level within `if`, `for` and the like, or their first line.
    Block,
    /// The first line of a function or class at top level.
    Header,
    /// Within a function or a class, whose variables are its own.
    Inner,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind<'t> {
    Name(&'t str),
    Number(&'t str),
    /// A string literal; the text is that of one without prefixes and escapes.
    Text(Option<&'t str>),
    Op(&'t str),
}

#[derive(Clone, Copy, Debug)]
struct Token<'t> {
    kind: Kind<'t>,
    start: usize,
    end: usize,
    line: usize,
    /// How many brackets are open around it.
    depth: usize,
}

impl<'t> Token<'t> {
    fn name(&self) -> Option<&'t str> {
        match self.kind {
            Kind::Name(name) => Some(name),
            _ => None,
        }
    }

    fn is(&self, op: &str) -> bool {
        self.kind == Kind::Op(op)
    }

    /// `=`, `+=` and the like.
    fn assigns(&self) -> bool {
        matches!(self.kind, Kind::Op(op) if op.ends_with('=') && !matches!(op, "==" | "!=" | "<=" | ">="))
    }
}

#[derive(Debug)]
struct Statement<'t> {
    tokens: Vec<Token<'t>>,
    scope: Scope,
}

impl<'t> Statement<'t> {
    fn line(&self) -> usize {
        self.tokens.first().map_or(0, |token| token.line)
    }

    fn first(&self) -> &'t str {
        self.tokens.first().and_then(Token::name).unwrap_or_default()
    }

    /// As it is written, on one line and without comments.
    fn source(&self, text: &str) -> String {
        let mut source = String::new();
        let mut end = None;
        for token in &self.tokens {
            if end.is_some_and(|end| end < token.start) {
                source.push(' ');
            }
            source.push_str(text.get(token.start..token.end).unwrap_or_default());
            end = Some(token.end);
        }
        source
    }
}

/// What a statement does to a variable.
enum Effect<'m, 't> {
    Nothing,
    /// It assigns this expression.
    Sets(&'m [Token<'t>]),
    /// Nobody can tell.
    Doubt(String),
}

struct Module<'m, 't> {
    files: &'m dyn Files,
    path: &'m str,
    statements: Vec<Statement<'t>>,
}

impl<'t> Module<'_, 't> {
    fn fault(&self, line: usize, what: &str) -> String {
        format!("{} line {line}: {what}", self.path)
    }

    /// The statement before the one at `end` that gives a variable its value, and its right-hand side.
    fn assignment(&self, name: &str, end: usize) -> Result<Option<(usize, &[Token<'t>])>, String> {
        let calls = self.calls_its_functions();
        let mut last = Ok(None);
        for (at, statement) in self.statements.iter().enumerate() {
            if matches!(statement.scope, Scope::Header | Scope::Inner) {
                let import = if calls { self.foreign_import(statement) } else { None };
                if let Some(why) = self.inner_doubt(statement, name).or(import) {
                    return Err(why);
                }
            } else if at < end {
                match self.effect(statement, name) {
                    Effect::Nothing => {}
                    Effect::Sets(value) => last = Ok(Some((at, value))),
                    Effect::Doubt(why) => last = Err(why),
                }
            }
        }
        last
    }

    /// Whether the file runs a function or a class of its own while it is read.
    fn calls_its_functions(&self) -> bool {
        let headers = self.statements.iter().filter(|statement| statement.scope == Scope::Header);
        let mut own = std::collections::BTreeSet::new();
        for header in headers {
            if header.first() == "class" {
                return true;
            }
            let position = header.tokens.iter().position(|token| token.name() == Some("def"));
            own.extend(position.and_then(|at| header.tokens.get(at + 1)).and_then(Token::name));
        }
        let outside = self.statements.iter().filter(|statement| statement.scope != Scope::Inner);
        outside.flat_map(|statement| statement.tokens.windows(3)).any(|tokens| match tokens {
            [before, name, after] => {
                name.name().is_some_and(|name| own.contains(name))
                    && (after.is("(") || before.is("@"))
                    && before.name() != Some("def")
            }
            _ => false,
        }) || self.statements.iter().any(|statement| {
            statement.scope != Scope::Inner
                && match statement.tokens.as_slice() {
                    [name, after, ..] if name.name().is_some_and(|name| own.contains(name)) => after.is("("),
                    [at, name] => at.is("@") && name.name().is_some_and(|name| own.contains(name)),
                    _ => false,
                }
        })
    }

    /// What a statement outside of functions does.
    fn effect<'m>(&'m self, statement: &'m Statement<'t>, name: &str) -> Effect<'m, 't> {
        if let Some(why) = self.any_doubt(statement, name).or_else(|| self.foreign_import(statement)) {
            return Effect::Doubt(why);
        }
        if matches!(statement.first(), "import" | "from") {
            return match self.imports(statement, name) {
                Some(why) => Effect::Doubt(why),
                None => Effect::Nothing,
            };
        }
        let mut sets = Effect::Nothing;
        let tokens = &statement.tokens;
        let equals = |token: &Token<'_>| token.is("=") && token.depth == 0;
        let last_equals = tokens.iter().rposition(equals);
        for (at, token) in tokens.iter().enumerate() {
            if token.name() != Some(name) {
                continue;
            }
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            let after = tokens.get(at + 1);
            if before.is_some_and(|before| before.is(".")) {
                continue;
            }
            let plain = at == 0
                && statement.scope == Scope::Top
                && after.is_some_and(|after| after.is("=") || after.is(":"))
                && tokens.iter().filter(|token| equals(token)).count() <= 1;
            let keyword_argument = token.depth > 0 && after.is_some_and(|after| after.is("="));
            if plain {
                if let Some(equals) = last_equals {
                    sets = Effect::Sets(tokens.get(equals + 1..).unwrap_or_default());
                }
            } else if before.and_then(Token::name).is_some_and(|word| BINDERS.contains(&word))
                || BINDING_STATEMENTS.contains(&statement.first())
                || after.is_some_and(|after| after.assigns() && !keyword_argument)
                || (last_equals.is_some_and(|equals| equals > at)
                    && !after.is_some_and(|after| after.is(".") || after.is("[")))
            {
                return Effect::Doubt(
                    self.fault(token.line, &format!("{name} is not set plainly at top level")),
                );
            }
        }
        sets
    }

    /// What could set a variable from within a function or class.
    fn inner_doubt(&self, statement: &Statement<'t>, name: &str) -> Option<String> {
        let tokens = &statement.tokens;
        let declares = tokens.iter().position(|token| token.name() == Some("global"));
        let global =
            declares.is_some_and(|from| tokens.iter().skip(from).any(|token| token.name() == Some(name)));
        let header = statement.scope == Scope::Header
            && tokens.windows(2).any(|pair| match pair {
                [word, behind] => behind.name() == Some(name) && matches!(word.name(), Some("def" | "class")),
                _ => false,
            });
        let walrus = tokens.windows(2).any(|pair| match pair {
            [variable, op] => variable.name() == Some(name) && op.is(":="),
            _ => false,
        });
        if global || header || walrus {
            return Some(self.fault(statement.line(), &format!("{name} is not set plainly at top level")));
        }
        self.any_doubt(statement, name)
    }

    /// What could set a variable from anywhere.
    fn any_doubt(&self, statement: &Statement<'t>, name: &str) -> Option<String> {
        let tokens = &statement.tokens;
        for (at, token) in tokens.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|before| tokens.get(before));
            let after = tokens.get(at + 1);
            let what = match token.kind {
                Kind::Name(word) if REFLECTION.contains(&word) => format!("{word} may set {name}"),
                Kind::Name(word)
                    if word == name
                        && before.is_some_and(|before| before.is("."))
                        && after.is_some_and(Token::assigns) =>
                {
                    format!("an attribute named {name} is set")
                }
                Kind::Text(Some(text))
                    if text == name && before.is_some_and(|before| before.is("(") || before.is("[")) =>
                {
                    format!("{name} may be set by its name")
                }
                _ => continue,
            };
            return Some(self.fault(token.line, &what));
        }
        None
    }

    /// An import of code that we do not know.
    fn foreign_import(&self, statement: &Statement<'t>) -> Option<String> {
        let tokens = &statement.tokens;
        let at = tokens.iter().position(|token| token.name() == Some("import"))?;
        let plain = |token: Option<&Token<'_>>| {
            token.and_then(Token::name).is_some_and(|module| PLAIN_MODULES.contains(&module))
        };
        let known = match statement.first() {
            "from" => plain(tokens.get(1)) && !tokens.iter().any(|token| token.is("*")),
            "import" => tokens
                .split(|token| token.is(","))
                .enumerate()
                .all(|(index, module)| plain(if index == 0 { module.get(1) } else { module.first() })),
            _ => false,
        };
        let line = tokens.get(at).map_or(0, |token| token.line);
        (!known).then(|| self.fault(line, "the file imports code that we do not know"))
    }

    /// An import that binds a name to something else than what everybody takes it for.
    fn imports(&self, statement: &Statement<'t>, name: &str) -> Option<String> {
        let tokens = &statement.tokens;
        let usual = match statement.first() {
            "import" => name == "os",
            _ => {
                matches!(name, "environ" | "getenv")
                    && tokens.get(1).and_then(Token::name) == Some("os")
                    && tokens.get(2).and_then(Token::name) == Some("import")
            }
        };
        let alias = tokens.iter().any(|token| token.name() == Some("as"));
        let named = tokens.iter().find(|token| token.name() == Some(name))?;
        (!usual || alias).then(|| self.fault(named.line, &format!("an import sets {name}")))
    }

    /// The value of an expression in the statement at `at`.
    fn value(&self, tokens: &[Token<'t>], at: usize, depth: usize) -> Result<String, String> {
        let line = tokens.first().map_or(0, |token| token.line);
        let not_plain = || self.fault(line, "the value is not a plain number or string");
        let deeper = depth.checked_sub(1).ok_or_else(not_plain)?;
        match tokens {
            [Token { kind: Kind::Number(number), .. }] if is_plain_number(number) => Ok((*number).to_owned()),
            [Token { kind: Kind::Text(Some(text)), .. }] => Ok((*text).to_owned()),
            [Token { kind: Kind::Name(name), .. }] => {
                let (from, value) = self.assignment(name, at)?.ok_or_else(not_plain)?;
                self.value(value, from, deeper)
            }
            [open, inside @ .., close] if encloses(open, inside, close, "(", ")") => {
                self.value(inside, at, deeper)
            }
            [int, open, inside @ .., close]
                if int.name() == Some("int") && encloses(open, inside, close, "(", ")") =>
            {
                self.untouched("int", at)?;
                let value = self.value(inside, at, deeper)?;
                let digits = value.trim();
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(self.fault(line, "the value is not a whole number"));
                }
                let number = digits.trim_start_matches('0');
                Ok(if number.is_empty() { "0" } else { number }.to_owned())
            }
            _ => self.environment(tokens, at, deeper)?.ok_or_else(not_plain),
        }
    }

    /// The value of `os.environ["X"]`, `os.environ.get("X", 5)` or `os.getenv("X", 5)`; `None` for anything else.
    fn environment(&self, tokens: &[Token<'t>], at: usize, depth: usize) -> Result<Option<String>, String> {
        let dotted = match tokens {
            [os, dot, rest @ ..] if os.name() == Some("os") && dot.is(".") => {
                self.untouched("os", at)?;
                rest
            }
            _ => tokens,
        };
        let (arguments, root) = match dotted {
            [environ, open, inside @ .., close]
                if environ.name() == Some("environ") && encloses(open, inside, close, "[", "]") =>
            {
                (inside, "environ")
            }
            [environ, dot, get, open, inside @ .., close]
                if environ.name() == Some("environ")
                    && dot.is(".")
                    && get.name() == Some("get")
                    && encloses(open, inside, close, "(", ")") =>
            {
                (inside, "environ")
            }
            [getenv, open, inside @ .., close]
                if getenv.name() == Some("getenv") && encloses(open, inside, close, "(", ")") =>
            {
                (inside, "getenv")
            }
            _ => return Ok(None),
        };
        if dotted.len() == tokens.len() {
            self.untouched(root, at)?;
        }
        let (variable, default) = match arguments {
            [Token { kind: Kind::Text(Some(variable)), .. }] => (*variable, None),
            [Token { kind: Kind::Text(Some(variable)), .. }, comma, default @ ..] if comma.is(",") => {
                (*variable, Some(default))
            }
            _ => return Ok(None),
        };
        self.environment_is_ours()?;
        match (self.files.variable(variable), default) {
            (Some(value), _) => value.map(Some),
            (None, Some(default)) => self.value(default, at, depth).map(Some),
            (None, None) => {
                let line = tokens.first().map_or(0, |token| token.line);
                Err(self.fault(line, &format!("{variable} is not set")))
            }
        }
    }

    /// That a name means what Python means by it.
    fn untouched(&self, name: &str, at: usize) -> Result<(), String> {
        match self.assignment(name, at)? {
            None => Ok(()),
            Some((from, _)) => {
                let line = self.statements.get(from).map_or(0, Statement::line);
                Err(self.fault(line, &format!("the file sets {name}")))
            }
        }
    }

    /// That nothing changes the environment before the file looks at it.
    fn environment_is_ours(&self) -> Result<(), String> {
        for statement in &self.statements {
            let outside = matches!(statement.scope, Scope::Top | Scope::Block);
            if let Some(why) = self.foreign_import(statement).filter(|_| outside) {
                return Err(why);
            }
            if matches!(statement.first(), "from") {
                continue;
            }
            let tokens = &statement.tokens;
            let deletes = tokens.iter().any(|token| token.name() == Some("del"));
            let last_set = tokens.iter().rposition(|token| token.assigns() && token.depth == 0);
            for (at, token) in tokens.iter().enumerate() {
                let reads = match token.name() {
                    Some("environ") => match tokens.get(at + 1..).unwrap_or_default() {
                        [dot, get, open, ..] if dot.is(".") && get.name() == Some("get") => open.is("("),
                        [open, Token { kind: Kind::Text(_), .. }, close, ..] => {
                            open.is("[") && close.is("]") && !deletes && last_set.is_none_or(|set| set < at)
                        }
                        _ => false,
                    },
                    Some("environb" | "putenv" | "unsetenv" | "dotenv" | "load_dotenv") => false,
                    _ => true,
                };
                if !reads {
                    return Err(self.fault(token.line, "the file may change the environment"));
                }
            }
        }
        Ok(())
    }
}

/// Whether two brackets are a pair around all that is between them.
fn encloses(open: &Token<'_>, inside: &[Token<'_>], close: &Token<'_>, left: &str, right: &str) -> bool {
    open.is(left)
        && close.is(right)
        && open.depth == close.depth
        && inside.iter().all(|token| token.depth > open.depth)
}

/// `5` or `0.5`: no other notation of Python.
fn is_plain_number(number: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    digits(whole) && digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

/// Python's lexer (The Python Language Reference, chapter 2).
struct Lexer<'t> {
    path: &'t str,
    text: &'t str,
    at: usize,
    line: usize,
    depth: usize,
}

impl<'t> Lexer<'t> {
    fn new(path: &'t str, text: &'t str) -> Self {
        Self { path, text, at: 0, line: 1, depth: 0 }
    }

    fn fault(&self, what: &str) -> String {
        format!("{} line {}: {what}", self.path, self.line)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// All statements of the file, with their scopes.
    fn statements(mut self) -> Result<Vec<Statement<'t>>, String> {
        let mut statements = Vec::new();
        // The blocks that are open: their indentation, and whether a function or class is around.
        let mut blocks: Vec<(usize, bool)> = Vec::new();
        while let Some((indent, tokens)) = self.logical_line()? {
            while blocks.last().is_some_and(|(of_block, _)| *of_block >= indent) {
                blocks.pop();
            }
            let inner = blocks.last().is_some_and(|(_, inner)| *inner);
            let word = |at: usize| tokens.get(at).and_then(Token::name).unwrap_or_default();
            let header = matches!(word(0), "def" | "class") || (word(0) == "async" && word(1) == "def");
            let opens = tokens.last().is_some_and(|token| token.is(":"));
            let compound = header || opens || COMPOUND.contains(&word(0));
            let scope = match (inner, header) {
                (true, _) => Scope::Inner,
                (false, true) => Scope::Header,
                (false, false) if compound || indent > 0 => Scope::Block,
                (false, false) => Scope::Top,
            };
            if compound {
                blocks.push((indent, inner || header));
                statements.push(Statement { tokens, scope });
            } else {
                let parts = tokens.split(|token| token.is(";") && token.depth == 0);
                let parts = parts.filter(|part| !part.is_empty());
                statements.extend(parts.map(|part| Statement { tokens: part.to_vec(), scope }));
            }
        }
        Ok(statements)
    }

    /// The indentation and the tokens of the next logical line that has any.
    fn logical_line(&mut self) -> Result<Option<(usize, Vec<Token<'t>>)>, String> {
        let mut tokens = Vec::new();
        let mut indent = self.indentation();
        loop {
            let Some(c) = self.peek() else {
                if self.depth > 0 {
                    return Err(self.fault("a bracket is not closed"));
                }
                return Ok((!tokens.is_empty()).then_some((indent, tokens)));
            };
            match c {
                '\n' => {
                    self.take();
                    if self.depth == 0 {
                        if !tokens.is_empty() {
                            return Ok(Some((indent, tokens)));
                        }
                        indent = self.indentation();
                    }
                }
                '\r' if !self.rest().starts_with("\r\n") => {
                    return Err(self.fault("a line ends in an unusual way"));
                }
                ' ' | '\t' | '\r' | '\u{c}' => drop(self.take()),
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        if self.take() == Some('\r') && self.peek() != Some('\n') {
                            return Err(self.fault("a line ends in an unusual way"));
                        }
                    }
                }
                '\\' => {
                    self.take();
                    if self.peek() == Some('\r') {
                        self.take();
                    }
                    if self.take() != Some('\n') {
                        return Err(self.fault("a backslash stands outside of a string"));
                    }
                }
                _ => tokens.push(self.token(c)?),
            }
        }
    }

    fn indentation(&mut self) -> usize {
        let mut width = 0;
        while let Some(c) = self.peek() {
            match c {
                ' ' => width += 1,
                '\t' => width = (width / 8 + 1) * 8,
                '\u{c}' => width = 0,
                _ => break,
            }
            self.take();
        }
        width
    }

    fn token(&mut self, first: char) -> Result<Token<'t>, String> {
        let (start, line) = (self.at, self.line);
        let mut depth = self.depth;
        let kind = match first {
            '"' | '\'' => self.string("")?,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let word = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
                match self.peek() {
                    Some('"' | '\'') if is_prefix(word) => self.string(word)?,
                    Some(c) if !c.is_ascii() && c.is_alphanumeric() => {
                        return Err(self.fault("a name has other letters than ASCII"));
                    }
                    _ => Kind::Name(word),
                }
            }
            c if c.is_ascii_digit() => {
                Kind::Number(self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')))
            }
            _ => {
                let op = self.operator()?;
                match op {
                    "(" | "[" | "{" => self.depth += 1,
                    ")" | "]" | "}" => {
                        depth = self
                            .depth
                            .checked_sub(1)
                            .ok_or_else(|| self.fault("a bracket closes nothing"))?;
                        self.depth = depth;
                    }
                    _ => {}
                }
                Kind::Op(op)
            }
        };
        Ok(Token { kind, start, end: self.at, line, depth })
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let word = rest.split(|c| !belongs(c)).next().unwrap_or_default();
        self.at += word.len();
        word
    }

    fn operator(&mut self) -> Result<&'t str, String> {
        let rest = self.rest();
        let longest =
            ["**=", "//=", ">>=", "<<=", "...", ":=", "==", "!=", "<=", ">=", "->", "+=", "-=", "*="]
                .into_iter()
                .chain(["/=", "%=", "&=", "|=", "^=", "@=", "**", "//", "<<", ">>"])
                .find(|op| rest.starts_with(op));
        let length = match longest {
            Some(op) => op.len(),
            None if rest.starts_with(|c| "()[]{}.,:;=+-*/%&|^~<>@".contains(c)) => 1,
            None => return Err(self.fault("this is not Python")),
        };
        self.at += length;
        rest.get(..length).ok_or_else(|| self.fault("this is not Python"))
    }

    /// A string behind its prefix.
    fn string(&mut self, prefix: &str) -> Result<Kind<'t>, String> {
        let rest = self.rest();
        let quote = if rest.starts_with("\"\"\"") {
            "\"\"\""
        } else if rest.starts_with("'''") {
            "'''"
        } else if rest.starts_with('"') {
            "\""
        } else {
            "'"
        };
        let formatted = prefix.contains(['f', 'F', 't', 'T']);
        self.at += quote.len();
        let (start, mut escapes, mut braces) = (self.at, false, 0_usize);
        loop {
            if self.rest().starts_with(quote) {
                break;
            }
            match self.take() {
                None => return Err(self.fault("a string is not closed")),
                Some('\n') if quote.len() == 1 => return Err(self.fault("a string is not closed")),
                Some('\\') => {
                    escapes = true;
                    self.take();
                }
                Some('{') if formatted && braces == 0 && self.peek() == Some('{') => {
                    self.take();
                }
                Some('{') if formatted => braces += 1,
                Some('}') if formatted => braces = braces.saturating_sub(1),
                Some(_) => {}
            }
        }
        let text = self.text.get(start..self.at);
        self.at += quote.len();
        if braces > 0 || (formatted && text.is_some_and(|text| text.contains(":="))) {
            return Err(self.fault("an f-string holds code that we do not read"));
        }
        let plain = !escapes && matches!(prefix, "" | "r" | "R" | "u" | "U");
        Ok(Kind::Text(text.filter(|_| plain)))
    }
}

fn is_prefix(word: &str) -> bool {
    const PREFIXES: [&str; 11] = ["r", "u", "b", "br", "rb", "f", "fr", "rf", "t", "tr", "rt"];
    PREFIXES.iter().any(|prefix| word.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::testing::{Given, NOTHING, told_with_line};
    use super::*;

    const VARIABLES: Given<'_> =
        Given { variables: &[("SET", "7"), ("EMPTY", ""), ("SECRET", "?")], ..NOTHING };

    fn ask(text: &str) -> String {
        let query = Query { key: "keepalive", port: None };
        let told = told_with_line(read(&VARIABLES, "/app/gunicorn.conf.py", text, query));
        told.replacen("? /app/gunicorn.conf.py line ", "? ", 1)
    }

    const NOT_PLAIN: &str = "? 1: the value is not a plain number or string";
    const NOT_TOP: &str = "keepalive is not set plainly at top level";

    #[rstest]
    #[case::empty("", "absent")]
    #[case::plain("bind = '0.0.0.0'\nkeepalive = 5\nworkers = 2", "5 at 2")]
    #[case::no_spaces("keepalive=5", "5 at 1")]
    #[case::windows_lines("workers = 2\r\nkeepalive = 5\r\n", "5 at 2")]
    #[case::byte_order_mark("\u{feff}keepalive = 5", "5 at 1")]
    #[case::string("keepalive = 'gthread'", "gthread at 1")]
    #[case::raw_string("keepalive = r'gthread'", "gthread at 1")]
    #[case::annotation("keepalive: int = 5", "5 at 1")]
    #[case::annotation_alone("keepalive: int", "absent")]
    #[case::last_wins("keepalive = 5\nkeepalive = 6", "6 at 2")]
    #[case::semicolons("a = 1; keepalive = 5; b = 2", "5 at 1")]
    #[case::parentheses("keepalive = (\n  5\n)", "5 at 1")]
    #[case::continuation("keepalive = \\\n  5", "5 at 1")]
    #[case::comment("# keepalive = 5\nx = 1 # keepalive = 6", "absent")]
    #[case::docstring("\"\"\"\nkeepalive = 5\n\"\"\"\nx = 1", "absent")]
    #[case::string_with_hash("x = '#'; keepalive = 5", "5 at 1")]
    #[case::string_of_lines("x = '''it's\n'''\nkeepalive = 5", "5 at 3")]
    #[case::dictionary("x = {\n 'a': 1,\n 'keepalive': 7,\n}\nkeepalive = 5", "5 at 5")]
    #[case::other_name("keepalive_str = 5\nmy.keepalive()", "absent")]
    #[case::keyword_argument("x = dict(keepalive=5)", "absent")]
    #[case::use_of_it(
        "keepalive = 5\nprint(keepalive)\nx = keepalive + 1\nif keepalive == 3: pass",
        "5 at 1"
    )]
    #[case::float("keepalive = 2.5", "2.5 at 1")]
    #[case::sum("keepalive = 5 + 1", NOT_PLAIN)]
    #[case::tuple("keepalive = 5,", NOT_PLAIN)]
    #[case::negative("keepalive = -1", NOT_PLAIN)]
    #[case::hexadecimal("keepalive = 0x10", NOT_PLAIN)]
    #[case::underscore("keepalive = 1_0", NOT_PLAIN)]
    #[case::none("keepalive = None", NOT_PLAIN)]
    #[case::truth("keepalive = True", NOT_PLAIN)]
    #[case::conditional("keepalive = 5 if x else 6", NOT_PLAIN)]
    #[case::two_strings("keepalive = '5' '6'", NOT_PLAIN)]
    #[case::escape("keepalive = '\\x35'", NOT_PLAIN)]
    #[case::f_string("keepalive = f'{5}'", NOT_PLAIN)]
    #[case::later_plain("keepalive = 5 + 1\nkeepalive = 5", "5 at 2")]
    #[case::in_if("if x:\n    keepalive = 5", &format!("? 2: {NOT_TOP}"))]
    #[case::in_if_on_a_line("if x: keepalive = 5", &format!("? 1: {NOT_TOP}"))]
    #[case::in_else("if x:\n  pass\nelse: keepalive = 5", &format!("? 3: {NOT_TOP}"))]
    #[case::in_try("try:\n\tkeepalive = 5\nexcept: pass", &format!("? 2: {NOT_TOP}"))]
    #[case::in_match("match x:\n  case 1:\n    keepalive = 5", &format!("? 3: {NOT_TOP}"))]
    #[case::if_before("if x:\n    keepalive = 6\nkeepalive = 5", "5 at 3")]
    #[case::if_behind("keepalive = 5\nif x:\n\n    # a comment\n    keepalive = 6", &format!("? 5: {NOT_TOP}"))]
    #[case::augmented("keepalive = 5\nkeepalive += 1", &format!("? 2: {NOT_TOP}"))]
    #[case::chain("keepalive = x = 5", &format!("? 1: {NOT_TOP}"))]
    #[case::chain_behind("x = keepalive = 5", &format!("? 1: {NOT_TOP}"))]
    #[case::unpacking("keepalive, x = 5, 6", &format!("? 1: {NOT_TOP}"))]
    #[case::unpacking_in_brackets("[x, keepalive] = 5, 6", &format!("? 1: {NOT_TOP}"))]
    #[case::walrus("print(keepalive := 5)", &format!("? 1: {NOT_TOP}"))]
    #[case::loop_variable("for keepalive in range(5): pass", &format!("? 1: {NOT_TOP}"))]
    #[case::loop_variables("for x, keepalive in y: pass", &format!("? 1: {NOT_TOP}"))]
    #[case::with_as("with x as keepalive: pass", &format!("? 1: {NOT_TOP}"))]
    #[case::deleted("keepalive = 5\ndel keepalive", &format!("? 2: {NOT_TOP}"))]
    #[case::function_of_the_name("def keepalive(): pass", &format!("? 1: {NOT_TOP}"))]
    #[case::local_variable("def f(x, keepalive=3):\n    keepalive = 6\nkeepalive = 5", "5 at 3")]
    #[case::local_in_if("def f():\n  if x:\n    keepalive = 6\n  keepalive = 7\n", "absent")]
    #[case::behind_a_function("def f():\n  pass\nif x:\n  keepalive = 5", &format!("? 4: {NOT_TOP}"))]
    #[case::global("def f():\n    global x, keepalive\n    keepalive = 6\n", &format!("? 2: {NOT_TOP}"))]
    #[case::global_on_a_line("def f(): global keepalive; keepalive = 6", &format!("? 1: {NOT_TOP}"))]
    #[case::method("class A:\n    keepalive = 3\n    def keepalive(self): pass\n", "absent")]
    #[case::hook(
        "def f(server, worker):\n    server.cfg.set('keepalive', 5)",
        "? 2: keepalive may be set by its name"
    )]
    #[case::attribute("x.keepalive = 5", "? 1: an attribute named keepalive is set")]
    #[case::subscript("x['keepalive'] = 5", "? 1: keepalive may be set by its name")]
    #[case::globals("globals()['keep' + 'alive'] = 5", "? 1: globals may set keepalive")]
    #[case::exec("exec(open('x').read())", "? 1: exec may set keepalive")]
    #[case::exec_before("exec('x')\nkeepalive = 5", "5 at 2")]
    #[case::exec_in_a_function("keepalive = 5\ndef f():\n    exec('x', g)", "? 3: exec may set keepalive")]
    #[case::plain_imports(
        "import os, sys\nimport os.path\nfrom multiprocessing import cpu_count\nkeepalive = 5",
        "5 at 4"
    )]
    #[case::import("import app.settings", "? 1: the file imports code that we do not know")]
    #[case::import_before("import app\nkeepalive = 5", "5 at 2")]
    #[case::import_behind(
        "keepalive = 5\nfrom app import x",
        "? 2: the file imports code that we do not know"
    )]
    #[case::import_star("from os import *", "? 1: the file imports code that we do not know")]
    #[case::relative_import("from .base import keepalive", "? 1: the file imports code that we do not know")]
    #[case::import_in_try(
        "try:\n  import app\nexcept ImportError: pass",
        "? 2: the file imports code that we do not know"
    )]
    #[case::import_as("import time as keepalive", "? 1: an import sets keepalive")]
    #[case::import_in_a_hook(
        "keepalive = 5\ndef child_exit(server, worker):\n    from prometheus_client import x\n    x.y(worker.pid)",
        "5 at 1"
    )]
    #[case::import_in_a_called_function(
        "keepalive = 5\ndef f():\n    import app\nf()",
        "? 3: the file imports code that we do not know"
    )]
    #[case::import_in_a_class("class A:\n    import app\n", "? 2: the file imports code that we do not know")]
    #[case::bracket("keepalive = 5\nx = (", "? 2: a bracket is not closed")]
    #[case::quote("keepalive = 5\nx = 'a\n", "? 3: a string is not closed")]
    #[case::other_language("keepalive = 5\n$x", "? 2: this is not Python")]
    #[case::other_letters("k\u{e9}\u{e9}palive = 5", "? 1: a name has other letters than ASCII")]
    #[case::nested_quotes(
        "keepalive = 5\nx = f'{d['a']}'",
        "? 2: an f-string holds code that we do not read"
    )]
    #[case::braces_in_f_string("x = f'{{{os.getenv(\"A\")}}}'\nkeepalive = 5", "5 at 2")]
    fn files(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(ask(text), expected);
    }

    #[rstest]
    #[case::default("keepalive = int(os.environ.get('X', '5'))", "5")]
    #[case::number("keepalive = int(os.environ.get('X', 5))", "5")]
    #[case::not_converted("keepalive = os.environ.get('X', 5)", "5")]
    #[case::set("keepalive = int(os.getenv('SET', '5'))", "7")]
    #[case::keyword(
        "keepalive = os.getenv('X', default=5)",
        "? 2: the value is not a plain number or string"
    )]
    #[case::subscript("keepalive = int(os.environ['SET'])", "7")]
    #[case::subscript_not_set("keepalive = int(os.environ['X'])", "? 2: X is not set")]
    #[case::nested("keepalive = int(os.getenv('X', os.getenv('SET', 5)))", "7")]
    #[case::leading_zero("keepalive = int('05')", "5")]
    #[case::empty("keepalive = int(os.getenv('EMPTY', 5))", "? 2: the value is not a whole number")]
    #[case::secret("keepalive = int(os.getenv('SECRET', 5))", "? SECRET comes from a Secret")]
    #[case::no_default("keepalive = os.getenv('X')", "? 2: X is not set")]
    #[case::or("keepalive = os.getenv('X') or 5", "? 2: the value is not a plain number or string")]
    #[case::sum(
        "keepalive = int(os.getenv('X', 5)) + int(os.getenv('X', 5))",
        "? 2: the value is not a plain number or string"
    )]
    #[case::computed_name(
        "keepalive = os.getenv('A' + 'B', 5)",
        "? 2: the value is not a plain number or string"
    )]
    #[case::base("keepalive = int('10', 8)", "? 2: the value is not a plain number or string")]
    #[case::through_a_variable("x = os.getenv('SET', 5)\nkeepalive = int(x)", "7")]
    #[case::variable_set_later("keepalive = x\nx = 5", "? 2: the value is not a plain number or string")]
    #[case::variable_set_again("x = 4\nx = 5\nkeepalive = x\nx = 6", "5")]
    #[case::conditional_variable(
        "x = 4\nif y: x = 5\nkeepalive = x",
        "? 3: x is not set plainly at top level"
    )]
    #[case::circle("x = x\nkeepalive = x", "? 2: the value is not a plain number or string")]
    #[case::environment_changed(
        "os.environ['X'] = '8'\nkeepalive = int(os.getenv('X', 5))",
        "? 2: the file may change the environment"
    )]
    #[case::environment_default(
        "os.environ.setdefault('X', '8')\nkeepalive = os.getenv('X', 5)",
        "? 2: the file may change the environment"
    )]
    #[case::dotenv(
        "from dotenv import load_dotenv\nload_dotenv()\nkeepalive = os.getenv('X', 5)",
        "? 2: the file imports code that we do not know"
    )]
    #[case::own_int("def int(x): return 9\nkeepalive = int(5)", "? 2: int is not set plainly at top level")]
    #[case::own_os("os = x\nkeepalive = os.getenv('X', 5)", "? 2: the file sets os")]
    #[case::from_os("from os import environ, getenv\nkeepalive = getenv('X', environ.get('SET'))", "7")]
    #[case::other_getenv("from time import getenv\nkeepalive = getenv('X', 5)", "? 2: an import sets getenv")]
    fn environment(#[case] text: &str, #[case] expected: &str) {
        let answer = ask(&format!("import os\n{text}"));
        let value = if answer.starts_with('?') { &answer } else { answer.split(" at ").next().unwrap() };
        assert_eq!(value, expected);
    }

    #[test]
    fn the_file_of_tiangolos_images() {
        let text = "import json\nimport multiprocessing\nimport os\n\nhost = os.getenv(\"HOST\", \"0.0.0.0\")\n\
            if host:\n    bind = host\nelse:\n    bind = f\"{host}:80\"\n\
            keepalive_str = os.getenv(\"KEEP_ALIVE\", \"5\")\nkeepalive = int(keepalive_str)\n\
            log_data = {\n    \"bind\": bind,\n    \"keepalive\": keepalive,\n}\nprint(json.dumps(log_data))\n";
        assert_eq!(ask(text), "5 at 11");
    }

    #[test]
    fn the_text_is_on_one_line() {
        let query = Query { key: "keepalive", port: None };
        let Answer::Set(entry) = read(&VARIABLES, "x.py", "keepalive = int(  # why\n  5)", query) else {
            panic!()
        };
        assert_eq!(entry.text, "keepalive = int( 5)");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(keepalive|import|def|if|int|os|[ =:;#'\"(){}\\\\\n]|\\PC){0,60}") {
            ask(&text);
        }
    }
}
