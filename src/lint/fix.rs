//! Fixes findings by changing values in a manifest, and keeps the rest of the text unchanged.
//!
//! Proposes other values for a flag of a server or the period of a probe. The caller judges the changed object to find
//! the proposal that helps. [`apply`] then changes the text, and checks that it parses to the judged object.

use std::time::Duration;

use json_patch::jsonptr::{Pointer, PointerBuf};
use serde_json::Value;

use super::manifest;
use crate::{
    base::{
        duration,
        yaml::{self, Node},
    },
    judgement::{
        finding::{Finding, RuleId},
        survey::Survey,
    },
    servers::{Idle, Origin},
};

/// Changes that belong together.
pub type Proposal = Vec<Change>;

/// A change of a value in an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The location: a JSON pointer from the root of the object.
    pub at: PointerBuf,
    /// The new value.
    pub value: Value,
    /// The text to replace and its replacement; `None` inserts a member into a map.
    replace: Option<(String, String)>,
}

/// Idle timeouts to try, in seconds: above the pool timeout of every Linkerd version, and above the usual timeouts of
/// load balancers, 60 s and 600 s.
const TIMEOUTS: [u64; 7] = [75, 90, 120, 180, 300, 620, 3600];

/// The maximum change of a period, in seconds.
const MAX_DISTANCE: u64 = 30;

/// The default of `periodSeconds` (kubernetes `pkg/apis/core/v1/defaults.go`).
const DEFAULT_PERIOD: u64 = 10;

/// Proposals that may remove a finding, the best first: a higher value of the server's flag if the object sets it, then
/// periods close to the current ones.
pub fn proposals(finding: &Finding, survey: &Survey<'_, '_>, object: &Value) -> Vec<Proposal> {
    let mut proposals = flags(finding, survey, object);
    if finding.rule == RuleId::ProbeMatchesIdleTimeout {
        proposals.extend(periods(finding, object));
    }
    proposals
}

fn flags(finding: &Finding, survey: &Survey<'_, '_>, object: &Value) -> Vec<Proposal> {
    let Some(app) = survey.apps.iter().find(|app| finding.container.as_deref() == Some(&*app.container.name))
    else {
        return Vec::new();
    };
    let flags = app.answers().into_iter().filter_map(|answer| {
        let Idle::ClosesAfter(window, evidence) = &answer.idle else { return None };
        let Origin::SetBy { at, text } = &evidence.origin else { return None };
        let at = PointerBuf::parse(at.clone()).ok().filter(|at| is_argument(at))?;
        let argument = object.pointer(at.as_str())?.as_str()?;
        Some((window.timeout?, at, text, argument))
    });
    let mut proposals = Vec::new();
    for (timeout, at, text, argument) in flags {
        let Some(old) = text.rsplit(['=', ' ']).next().filter(|old| !old.is_empty()) else { continue };
        // In its own argument, or within `--flag=value` or a shell script.
        let context = if argument == old { old } else { text };
        if argument.matches(context).count() != 1 {
            continue;
        }
        let raised = TIMEOUTS.into_iter().map(Duration::from_secs).filter(|higher| *higher > timeout);
        for value in raised.filter_map(|higher| in_style_of(old, timeout, higher)) {
            let new = format!("{}{value}", &context[..context.len() - old.len()]);
            proposals.push(vec![Change {
                at: at.clone(),
                value: argument.replacen(context, &new, 1).into(),
                replace: Some((context.to_owned(), new)),
            }]);
        }
    }
    proposals
}

/// Whether a pointer refers to an item of `command` or `args`.
fn is_argument(at: &Pointer) -> bool {
    let tokens: Vec<_> = at.tokens().map(|token| token.decoded().into_owned()).collect();
    matches!(tokens.as_slice(), [.., _, list, _] if list == "command" || list == "args")
}

/// Formats another duration in the style of `text`, which means `timeout`: `10` and `10000` with the same unit, `10s`
/// with its unit.
fn in_style_of(text: &str, timeout: Duration, other: Duration) -> Option<String> {
    if let Ok(number) = text.parse::<u64>() {
        let number = u128::from(number);
        return if number == u128::from(timeout.as_secs()) && timeout.subsec_nanos() == 0 {
            Some(other.as_secs().to_string())
        } else if number == timeout.as_millis() {
            Some(other.as_millis().to_string())
        } else {
            None
        };
    }
    (duration::parse(text) == Ok(timeout)).then(|| format!("{}s", other.as_secs()))
}

fn periods(finding: &Finding, object: &Value) -> Vec<Proposal> {
    let is_period = |at: &&PointerBuf| at.as_str().ends_with("/periodSeconds");
    let probes: Vec<(&PointerBuf, Option<u64>)> = finding
        .at
        .iter()
        .filter(is_period)
        .map(|at| (at, object.pointer(at.as_str()).and_then(Value::as_u64)))
        .collect();
    let period = |set: Option<u64>| set.unwrap_or(DEFAULT_PERIOD);
    let same = probes.windows(2).all(|pair| period(pair[0].1) == period(pair[1].1));
    let sets: Vec<Vec<_>> =
        if same { vec![probes] } else { probes.into_iter().map(|probe| vec![probe]).collect() };
    let mut proposals = Vec::new();
    // Tries the longer period first: a shorter one restarts the container sooner after the same number of failures.
    for distance in 1..=MAX_DISTANCE {
        for set in &sets {
            for longer in [true, false] {
                let change = |(at, set): &(&PointerBuf, Option<u64>)| {
                    let old = period(*set);
                    let new = if longer { old.checked_add(distance) } else { old.checked_sub(distance) };
                    let new = new.filter(|new| *new > 0)?;
                    Some(Change {
                        at: (*at).clone(),
                        value: new.into(),
                        replace: set.map(|old| (old.to_string(), new.to_string())),
                    })
                };
                proposals.extend(
                    set.iter().map(change).collect::<Option<Proposal>>().filter(|all| !all.is_empty()),
                );
            }
        }
    }
    proposals
}

/// Sets the values of an object.
pub fn set(object: &mut Value, proposal: &[Change]) -> bool {
    proposal.iter().all(|change| match object.pointer_mut(change.at.as_str()) {
        Some(value) => {
            *value = change.value.clone();
            true
        }
        None => {
            let Some((map, key)) = change.at.as_str().rsplit_once('/') else { return false };
            let Some(Value::Object(map)) = object.pointer_mut(map) else { return false };
            map.insert(key.to_owned(), change.value.clone());
            true
        }
    })
}

/// Why a text cannot be changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FixError {
    /// The value was not found in the text.
    #[error("the value cannot be found in the text")]
    NotFound,
    /// The changed text would not parse to the judged object.
    #[error("the value is shared with other places, or written in a form that cannot be changed safely")]
    OtherMeaning,
}

/// Changes the object in the text of a file that starts at `line`.
///
/// # Errors
///
/// Returns an error if the result would differ from the original in other values.
pub fn apply(file: &str, text: &str, line: usize, proposal: &[Change]) -> Result<String, FixError> {
    let mut changed = text.to_owned();
    for change in proposal {
        changed = apply_one(&changed, line, change)?;
    }
    let (before, after) = (manifest::read(file, text), manifest::read(file, &changed));
    if !after.errors.is_empty() || before.documents.len() != after.documents.len() {
        return Err(FixError::OtherMeaning);
    }
    let mut found = 0;
    for (old, new) in before.documents.iter().zip(&after.documents) {
        let parse = |json: &str| serde_json::from_str::<Value>(json).map_err(|_| FixError::OtherMeaning);
        let (mut old_value, new_value) = (parse(old.json())?, parse(new.json())?);
        if old.line() == line && set(&mut old_value, proposal) {
            found += 1;
        }
        if old_value != new_value {
            return Err(FixError::OtherMeaning);
        }
    }
    if found == 1 { Ok(changed) } else { Err(FixError::OtherMeaning) }
}

fn apply_one(text: &str, line: usize, change: &Change) -> Result<String, FixError> {
    let documents = yaml::documents(text);
    let roots = documents.iter().flatten();
    let object = roots.into_iter().find_map(|root| object_at(root, line)).ok_or(FixError::NotFound)?;
    let (start, end, new) = match &change.replace {
        Some((old, new)) => {
            let from = offset(text, locate(object, &change.at).ok_or(FixError::NotFound)?);
            let at = from + text[from..].find(old.as_str()).ok_or(FixError::NotFound)?;
            (at, at + old.len(), new.clone())
        }
        None => {
            let (map, key) = change.at.split_back().ok_or(FixError::NotFound)?;
            let map = locate(object, map).ok_or(FixError::NotFound)?;
            let at = offset(text, map);
            let (key, value) = (key.decoded(), &change.value);
            match text[at..].strip_prefix('{') {
                Some(rest) if rest.trim_start().starts_with('"') => {
                    (at + 1, at + 1, format!("\"{key}\": {value}, "))
                }
                Some(_) => (at + 1, at + 1, format!("{key}: {value}, ")),
                None => {
                    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
                    (at, at, format!("{key}: {value}{end}{}", " ".repeat(map.column - 1)))
                }
            }
        }
    };
    Ok(format!("{}{new}{}", &text[..start], &text[end..]))
}

/// The object that starts at this line: a document, or an item of a list.
fn object_at(node: &Node, line: usize) -> Option<&Node> {
    let yaml::Value::Mapping(entries) = &node.value else { return None };
    if node.line == line {
        return Some(node);
    }
    let items = entries.iter().find(|entry| entry.key == "items")?;
    let yaml::Value::Sequence(items) = &items.value.value else { return None };
    items.iter().find_map(|item| object_at(item, line))
}

fn locate<'n>(object: &'n Node, at: &Pointer) -> Option<&'n Node> {
    at.tokens().try_fold(object, |node, token| match &node.value {
        yaml::Value::Mapping(entries) => {
            entries.iter().find(|entry| entry.key == token.decoded()).map(|entry| entry.value.as_ref())
        }
        yaml::Value::Sequence(items) => {
            items.get(token.decoded().parse::<usize>().ok()?).map(|item| item.as_ref())
        }
        yaml::Value::Scalar(_) => None,
    })
}

/// The offset of a node in its text.
fn offset(text: &str, node: &Node) -> usize {
    let (start, line) = yaml::lines(text).nth(node.line - 1).unwrap_or((text.len(), ""));
    start + line.char_indices().nth(node.column - 1).map_or(line.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn change(at: &str, value: Value, replace: Option<(&str, &str)>) -> Change {
        let replace = replace.map(|(old, new)| (old.to_owned(), new.to_owned()));
        Change { at: PointerBuf::parse(at.to_owned()).unwrap(), value, replace }
    }

    #[rstest]
    #[case::plain("kind: Pod # a pod\np: 10 # ten\n", "kind: Pod # a pod\np: 11 # ten\n")]
    #[case::flow("{kind: Pod, p: 10}\n", "{kind: Pod, p: 11}\n")]
    #[case::json("{\"kind\": \"Pod\",\n \"p\": 10}\n", "{\"kind\": \"Pod\",\n \"p\": 11}\n")]
    #[case::lines_of_windows("kind: Pod\r\np: 10\r\n", "kind: Pod\r\np: 11\r\n")]
    #[case::lone_carriage_returns("kind: Pod\r\r\np: 10\r", "kind: Pod\r\r\np: 11\r")]
    #[case::second_of_its_name("kind: Pod\np: 12\np: 10\n", "kind: Pod\np: 12\np: 11\n")]
    fn a_value_is_replaced_and_the_rest_kept(#[case] text: &str, #[case] expected: &str) {
        let changed = apply("a.yaml", text, 1, &[change("/p", 11.into(), Some(("10", "11")))]);
        assert_eq!(changed.as_deref(), Ok(expected));
    }

    #[rstest]
    #[case::block("kind: Pod\nq:\n    port: 1 # one\n", "kind: Pod\nq:\n    p: 11\n    port: 1 # one\n")]
    #[case::flow("kind: Pod\nq: {port: 1}\n", "kind: Pod\nq: {p: 11, port: 1}\n")]
    #[case::json(
        "{\"kind\": \"Pod\", \"q\": {\"port\": 1}}",
        "{\"kind\": \"Pod\", \"q\": {\"p\": 11, \"port\": 1}}"
    )]
    fn a_value_is_inserted(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(apply("a.yaml", text, 1, &[change("/q/p", 11.into(), None)]).as_deref(), Ok(expected));
    }

    #[rstest]
    #[case::anchor("kind: Pod\nq: &q {p: 10}\nr: *q\n", FixError::OtherMeaning)]
    #[case::octal("kind: Pod\nq: {p: 012}\n", FixError::NotFound)]
    #[case::comment_before_the_value("kind: Pod\nq:\n  p: # 10\n    0x0A\n", FixError::NotFound)]
    fn unsafe_changes_are_not_made(#[case] text: &str, #[case] expected: FixError) {
        let changed = apply("a.yaml", text, 1, &[change("/q/p", 11.into(), Some(("10", "11")))]);
        assert_eq!(changed, Err(expected));
    }

    #[rstest]
    #[case::seconds("10", 10_000, Some("75"))]
    #[case::milliseconds("10000", 10_000, Some("75000"))]
    #[case::unit("10s", 10_000, Some("75s"))]
    #[case::milliseconds_with_unit("500ms", 500, Some("75s"))]
    #[case::minutes("10", 600_000, None)]
    #[case::word("never", 10_000, None)]
    fn a_timeout_keeps_its_form(#[case] text: &str, #[case] millis: u64, #[case] expected: Option<&str>) {
        let in_style_of = in_style_of(text, Duration::from_millis(millis), Duration::from_secs(75));
        assert_eq!(in_style_of.as_deref(), expected);
    }
}
