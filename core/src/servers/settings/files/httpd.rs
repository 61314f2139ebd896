//! httpd.conf: the keep-alive timeout of the virtual hosts on a port, with inheritance, conditions and includes.
//!
//! Reads the settings of the main server and of each virtual host, and answers a key for a port. `KeepAlive Off` gives
//! the value `each-response`. Measured with httpd 2.4.71.

mod conditions;
mod hosts;
mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::{
    conditions::Context,
    hosts::{Scope, port_of},
    line::{Location, split, words},
};
use super::{Answer, Entry, Files, Query, includes::Includes};

/// The maximum nesting depth of includes.
const MAX_DEPTH: usize = 16;
/// The maximum total length of all files, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The maximum number of included files.
const MAX_FILES: usize = 128;
/// The maximum number of lines in all files together.
const MAX_LINES: usize = 100_000;
/// The maximum length of a line after variable expansion.
const MAX_LINE_LEN: usize = 8 << 10;

/// Files in httpd's `docs/conf/extra` without keep-alive directives and virtual hosts.
const WITHOUT_TIMEOUTS: [&str; 9] = [
    "httpd-autoindex.conf",
    "httpd-dav.conf",
    "httpd-info.conf",
    "httpd-languages.conf",
    "httpd-manual.conf",
    "httpd-mpm.conf",
    "httpd-multilang-errordoc.conf",
    "httpd-userdir.conf",
    "proxy-html.conf",
];
/// Modules that are part of every httpd.
const BUILT_IN: [&str; 6] = ["core.c", "http_core.c", "mod_so.c", "core_module", "http_module", "so_module"];
/// Words in the browser patterns of the stock `setenvif.conf`; no probe or proxy has such a name.
const OLD_BROWSERS: [&str; 5] = ["Mozilla", "MSIE", "RealPlayer", "Java", "JDK"];

/// Reads `key` from the configuration whose main file is at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut reader = Reader {
        includes: Includes { files, files_left: MAX_FILES, bytes_left: MAX_BYTES },
        key: query.key,
        root: default_root(path),
        variables: BTreeMap::new(),
        defined: BTreeSet::new(),
        modules: BUILT_IN.iter().map(ToString::to_string).collect(),
        scopes: vec![Scope::default()],
        listens: Vec::new(),
        lines_left: MAX_LINES,
    };
    let read = reader.file(path, text, &Context::default(), 0);
    read.and_then(|()| reader.answer(path, query.port)).into()
}

/// The default of `ServerRoot`, for the layouts of httpd itself and of Debian.
fn default_root(path: &str) -> Option<String> {
    path.strip_suffix("/conf/httpd.conf")
        .or_else(|| path.strip_suffix("/apache2.conf"))
        .map(ToOwned::to_owned)
}

struct Reader<'r> {
    includes: Includes<'r>,
    key: &'r str,
    root: Option<String>,
    /// The variables of `Define`; `None` if the value is unknown.
    variables: BTreeMap<String, Option<String>>,
    defined: BTreeSet<String>,
    modules: BTreeSet<String>,
    scopes: Vec<Scope>,
    /// The ports of all `Listen` directives; `None` if one is not a plain port.
    listens: Vec<Option<u16>>,
    lines_left: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, text: &str, around: &Context, depth: usize) -> Result<(), String> {
        let mut context = around.clone();
        let mut sections: Vec<(String, Context)> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, first)) = lines.next() {
            let at = Location { path, line: index + 1 };
            let mut line = first.trim_end_matches('\r').to_owned();
            while line.ends_with('\\') {
                line.pop();
                self.count(&at)?;
                let Some((_, next)) = lines.next() else { break };
                line.push_str(next.trim_end_matches('\r'));
            }
            self.count(&at)?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix("</") {
                let name = name.trim_end_matches('>').trim();
                match sections.pop() {
                    Some((open, before)) if open.eq_ignore_ascii_case(name) => context = before,
                    Some(_) | None => return Err(at.says("a section is closed that is not open")),
                }
            } else if let Some(section) = line.strip_prefix('<') {
                let section = section.strip_suffix('>').ok_or_else(|| at.says("a section has no >"))?;
                let (name, rest) = split(section);
                let inside = self.section(name, rest, &context, &at);
                sections.push((name.to_owned(), std::mem::replace(&mut context, inside)));
            } else if !context.skipped {
                let (name, rest) = split(line);
                self.directive(name, rest, &context, &at, depth)?;
            }
        }
        match sections.pop() {
            Some((name, _)) => Err(format!("{path}: <{name}> is not closed")),
            None => Ok(()),
        }
    }

    fn count(&mut self, at: &Location<'_>) -> Result<(), String> {
        self.lines_left =
            self.lines_left.checked_sub(1).ok_or_else(|| at.says("there are too many lines"))?;
        Ok(())
    }

    fn directive(
        &mut self,
        name: &str,
        rest: &str,
        context: &Context,
        at: &Location<'_>,
        depth: usize,
    ) -> Result<(), String> {
        let lower = name.to_ascii_lowercase();
        let doubtful = context.doubt.is_some() || context.in_macro;
        match lower.as_str() {
            "keepalive" => self.set(name, rest, context, at)?,
            _ if name.eq_ignore_ascii_case(self.key) => self.set(name, rest, context, at)?,
            "include" | "includeoptional" if !context.inner => {
                if context.in_macro {
                    return Err(at.says("a macro includes files"));
                }
                self.include(rest, lower == "includeoptional", context, at, depth)?;
            }
            "listen" => {
                let port =
                    self.expand(rest, at).ok().and_then(|rest| words(&rest).first().and_then(|a| port_of(a)));
                self.listens.push(port.filter(|_| !context.in_macro));
            }
            "serverroot" => {
                let root = words(&self.expand(rest, at)?).into_iter().next();
                self.root = root.filter(|root| root.starts_with('/') && !doubtful);
            }
            "define" => {
                let value = self.expand(rest, at).ok();
                let mut parts = words(value.as_deref().unwrap_or(rest)).into_iter();
                let variable = parts.next().unwrap_or_default();
                if !doubtful {
                    self.defined.insert(variable.clone());
                }
                match parts.next() {
                    Some(word) => {
                        drop(self.variables.insert(variable, value.map(|_| word).filter(|_| !doubtful)));
                    }
                    None if doubtful => drop(self.variables.insert(variable, None)),
                    None => {}
                }
            }
            "undefine" => {
                let variable = words(rest).into_iter().next().unwrap_or_default();
                self.defined.remove(&variable);
                self.variables.insert(variable, None);
            }
            "loadmodule" if !doubtful => {
                let mut parts = words(rest).into_iter();
                self.modules.extend(parts.next());
                let file = parts.next().unwrap_or_default();
                let stem = file.rsplit('/').next().and_then(|base| base.strip_suffix(".so"));
                self.modules.extend(stem.map(|stem| format!("{stem}.c")));
            }
            "browsermatch" | "browsermatchnocase" if OLD_BROWSERS.iter().any(|word| rest.contains(word)) => {}
            _ if rest.contains("nokeepalive") => {
                return Err(at.says("keep-alive is disabled for some requests (nokeepalive)"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Handles one of the two relevant directives.
    fn set(&mut self, name: &str, rest: &str, context: &Context, at: &Location<'_>) -> Result<(), String> {
        if context.inner {
            return Err(at.says(&format!("{name} is not allowed here")));
        }
        if context.in_macro {
            return Err(at.says(&format!("a macro sets {name}")));
        }
        let Some(scope) = self.scopes.get(context.scope) else { return Ok(()) };
        let is_timeout = name.eq_ignore_ascii_case(self.key);
        let before = if is_timeout { &scope.timeout } else { &scope.keep_alive };
        let entry = self.expand(rest, at).and_then(|expanded| match words(&expanded).as_slice() {
            [value] => Ok(Entry {
                value: value.clone(),
                text: format!("{name} {rest}"),
                path: at.path.to_owned(),
                line: at.line,
            }),
            _ => Err(at.says(&format!("the value of {name} is not a literal"))),
        });
        let entry = match (entry, &context.doubt) {
            (Ok(entry), Some(condition)) => match before {
                Some(Ok(before)) if before.value == entry.value => Ok(before.clone()),
                _ => Err(at.says(&format!("{name} is inside {condition}, which may not apply"))),
            },
            (entry, _) => entry,
        };
        if let Some(scope) = self.scopes.get_mut(context.scope) {
            *(if is_timeout { &mut scope.timeout } else { &mut scope.keep_alive }) = Some(entry);
        }
        Ok(())
    }

    fn include(
        &mut self,
        rest: &str,
        optional: bool,
        context: &Context,
        at: &Location<'_>,
        depth: usize,
    ) -> Result<(), String> {
        if depth >= MAX_DEPTH {
            return Err(at.says("includes are nested too deeply"));
        }
        let pattern = words(&self.expand(rest, at)?).into_iter().next().unwrap_or_default();
        let pattern = match &self.root {
            _ if pattern.starts_with('/') => pattern,
            Some(root) => format!("{}/{pattern}", root.trim_end_matches('/')),
            None => return Err(at.says("ServerRoot, the base directory of included files, is not known")),
        };
        let pattern = if pattern.ends_with('/') { format!("{pattern}*") } else { pattern };
        let (folder, _) = pattern.rsplit_once('/').unwrap_or_default();
        if folder.contains('*') || pattern.contains(['?', '[', '$']) {
            return Err(at.says("the pattern of the included files is not a literal"));
        }
        let fault = |why: String| at.says(&why);
        for path in self.includes.paths(pattern).map_err(fault)? {
            if let Some(text) = self.includes.open(&path, &WITHOUT_TIMEOUTS, optional).map_err(fault)? {
                self.file(&path, &text, context, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Expands variables: those of `Define`, then those of the container (httpd `ap_resolve_env`).
    fn expand(&self, text: &str, at: &Location<'_>) -> Result<String, String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, behind)) = after.split_once('}') else { break };
            let value = match self.variables.get(name) {
                Some(value) => value.clone(),
                None => self.includes.files.variable(name).transpose().map_err(|why| at.says(&why))?,
            };
            expanded.push_str(before);
            expanded.push_str(
                &value.ok_or_else(|| at.says(&format!("the value of the variable {name} is not known")))?,
            );
            if expanded.len() > MAX_LINE_LEN {
                return Err(at.says("the line is too long"));
            }
            rest = behind;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}
