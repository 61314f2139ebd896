//! haproxy.cfg: the idle timeout of the frontend on a port.
//!
//! Combines sections, their `defaults` and conditions into the key `idle`: `timeout http-keep-alive`, otherwise
//! `timeout http-request`, otherwise `timeout client` (haproxy `h1_set_idle_expiration` and `h1_refresh_timeout` in
//! `src/mux_h1.c`; measured with 2.6.12), or the value `close` for `option httpclose`.

mod sections;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use self::sections::Section;
use super::{Answer, Entry, Files, Query};

/// The maximum length of expanded variables.
const MAX_LEN: usize = 1 << 20;
/// The value for `option httpclose`.
const CLOSE: &str = "close";
/// The timeouts of an idle connection, in order of precedence.
const TIMEOUTS: [&str; 3] = ["http-keep-alive", "http-request", "client"];

/// Reads the idle timeout from the configuration at `path`.
pub(super) fn read(files: &dyn Files, path: &str, text: &str, query: Query<'_>) -> Answer {
    let mut reader = Reader { files, path, variables: BTreeMap::new(), left: MAX_LEN, sections: Vec::new() };
    reader.sections(text).and_then(|()| reader.answer(query.port)).into()
}

struct Reader<'r> {
    files: &'r dyn Files,
    path: &'r str,
    /// The variables of `setenv`; `None` if the value is unknown.
    variables: BTreeMap<String, Option<String>>,
    left: usize,
    sections: Vec<Section>,
}

impl Reader<'_> {
    fn at(&self, line: usize, what: &str) -> String {
        format!("{} line {line}: {what}", self.path)
    }

    /// The idle timeout of the frontends on a port.
    fn answer(&self, port: Option<u16>) -> Result<Option<Entry>, String> {
        let path = self.path;
        let open = || self.sections.iter().filter(|section| !section.disabled && section.kind != "defaults");
        let exact = |section: &&Section| match port {
            Some(port) => section.binds.iter().flatten().any(|(low, high)| (*low..=*high).contains(&port)),
            None => !section.binds.is_empty(),
        };
        let mut found: Vec<&Section> = open().filter(exact).collect();
        if let (true, Some(port)) = (found.is_empty(), port) {
            let unknown = open().flat_map(|section| &section.binds).find_map(|bind| bind.clone().err());
            return Err(unknown.unwrap_or_else(|| format!("no frontend has port {port} in {path}")));
        }
        let answers =
            found.drain(..).map(|section| self.of_section(section)).collect::<Result<Vec<_>, _>>()?;
        let mut answers = answers.into_iter();
        let Some(first) = answers.next() else { return Ok(None) };
        let value = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.value.clone());
        if answers.any(|other| value(&other) != value(&first)) {
            return Err(format!("the frontends in {path} have different idle timeouts"));
        }
        Ok(first)
    }

    /// A section and its chain of `defaults`, the nearest first.
    fn chain<'s>(&'s self, section: &'s Section) -> impl Iterator<Item = &'s Section> + Clone {
        std::iter::successors(Some(section), |section| self.sections.get(section.base?))
    }

    fn of_section(&self, section: &Section) -> Result<Option<Entry>, String> {
        let chain = self.chain(section);
        if let Some(doubt) = chain.clone().find_map(|section| section.doubt.clone()) {
            return Err(doubt);
        }
        if chain.clone().any(|section| section.disabled) {
            return Err(self.at(section.line, "its defaults section is disabled"));
        }
        if chain.clone().find_map(|section| section.mode.as_deref()) != Some("http") {
            return Err(self.at(section.line, "this section is not in mode http"));
        }
        if let Some(entry) = self.close(section) {
            return Ok(Some(entry));
        }
        let timeout = |place: usize| chain.clone().find_map(|section| section.timeouts.get(place)?.clone());
        let client = timeout(2);
        // Zero means no timeout, and the next one applies.
        let Some(entry) = [timeout(0), timeout(1)].into_iter().flatten().find(|entry| !is_zero(&entry.value))
        else {
            return Ok(client);
        };
        let Some(client) = client.filter(|client| !is_zero(&client.value)) else { return Ok(Some(entry)) };
        match (milliseconds(&entry.value), milliseconds(&client.value)) {
            (Some(idle), Some(client)) if idle <= client => Ok(Some(entry)),
            (Some(_), Some(_)) => {
                // haproxy commit 2c9c2f9d7, released with 2.9.0 and backported to some older branches.
                Err(self.at(entry.line, "timeout client is shorter, and releases before 2.9 may use it"))
            }
            _ => Err(self.at(entry.line, "this time or timeout client is not a literal")),
        }
    }

    /// `option httpclose`, if it is the last selected mode; `no option` only removes a mode with the same name.
    fn close(&self, section: &Section) -> Option<Entry> {
        let mut chain: Vec<&Section> = self.chain(section).collect();
        chain.reverse();
        let mut mode: Option<&Entry> = None;
        for (chosen, entry) in chain.into_iter().flat_map(|section| &section.http_modes) {
            if *chosen {
                mode = Some(entry);
            } else {
                mode = mode.filter(|mode| mode.value != entry.value);
            }
        }
        let mode = mode.filter(|mode| matches!(mode.value.as_str(), "httpclose" | "forceclose"))?;
        Some(Entry { value: CLOSE.to_owned(), ..mode.clone() })
    }
}

fn is_zero(time: &str) -> bool {
    let unit = time.trim_start_matches('0');
    unit.len() < time.len() && matches!(unit, "" | "us" | "ms" | "s" | "m" | "h" | "d")
}

/// A time in milliseconds, which is also the default unit.
fn milliseconds(time: &str) -> Option<u64> {
    let end = time.find(|c: char| !c.is_ascii_digit()).unwrap_or(time.len());
    let (number, unit) = time.split_at_checked(end)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "" | "ms" => Some(number),
        "us" => Some(number.div_ceil(1000)),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    }
}
