//! Placeholders `${NAME}` and `${NAME:default}` in values.
//!
//! Expands placeholders to get the effective value. The caller looks up the names.

use super::Files;

/// The maximum nesting depth of defaults.
const MAX_DEPTH: usize = 8;
/// The maximum number of placeholders in a value; each may search all files.
const MAX_PLACEHOLDERS: usize = 32;

/// Looks up a name: `None` if it is not set; the error says why it is unknown.
pub(super) type Lookup<'l> = dyn Fn(&str) -> Option<Result<String, String>> + 'l;

/// Whether a value may contain a placeholder.
pub(super) fn is_in(text: &str) -> bool {
    ["${", "$(", "{{", "$__", "%("].iter().any(|start| text.contains(start))
}

/// Expands placeholders with variables of the container; the error says why the result is unknown.
pub(super) fn resolve(files: &dyn Files, text: &str) -> Result<String, String> {
    expand(text, &|name| files.variable(name))
}

/// Expands placeholders with `lookup`.
///
/// Programs differ in the handling of a dollar sign without braces, an escaped placeholder, an empty variable, and a
/// default that starts with `-`, `+`, `=` or `?`, so these are errors.
pub(super) fn expand(text: &str, lookup: &Lookup<'_>) -> Result<String, String> {
    if text.matches('$').count() > MAX_PLACEHOLDERS {
        return Err("the value has too many placeholders".to_owned());
    }
    at_depth(text, lookup, 0)
}

fn at_depth(text: &str, lookup: &Lookup<'_>, depth: usize) -> Result<String, String> {
    if depth > MAX_DEPTH {
        return Err("placeholders are nested too deeply".to_owned());
    }
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        let inside = behind.strip_prefix('{').filter(|_| !before.ends_with('\\'));
        let Some((inside, after)) = inside.map(until_brace).transpose()? else {
            return Err(format!("{text} has a dollar sign that is not a placeholder"));
        };
        expanded.push_str(before);
        expanded.push_str(&of(inside, lookup, depth)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The text before and after the brace that closes a placeholder.
fn until_brace(text: &str) -> Result<(&str, &str), String> {
    let mut open = 1_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            let (inside, after) = text.split_at_checked(at).unwrap_or((text, ""));
            return Ok((inside, after.strip_prefix('}').unwrap_or(after)));
        }
    }
    Err("a placeholder is not closed".to_owned())
}

/// The value of one placeholder.
fn of(inside: &str, lookup: &Lookup<'_>, depth: usize) -> Result<String, String> {
    let (name, default) = match inside.split_once(':') {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) {
        return Err(format!("${{{inside}}} is not a plain placeholder"));
    }
    match (lookup(name), default) {
        (Some(Err(why)), _) => Err(why),
        (Some(Ok(value)), _) if value.contains('$') => {
            Err(format!("the value of {name} contains another placeholder"))
        }
        (Some(Ok(value)), Some(_)) if value.is_empty() => Err(format!("{name} is empty")),
        (Some(Ok(value)), _) => Ok(value),
        (None, Some(default)) if default.starts_with(['-', '+', '=', '?', ':']) => {
            Err(format!("${{{inside}}} is not a plain placeholder"))
        }
        (None, Some(default)) => at_depth(default, lookup, depth + 1),
        (None, None) => Err(format!("{name} is not set in the pod spec")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn known(name: &str) -> Option<Result<String, String>> {
        match name {
            "KEEP" => Some(Ok("9s".to_owned())),
            "EMPTY" => Some(Ok(String::new())),
            "OTHER" => Some(Ok("${KEEP}".to_owned())),
            "SECRET" => Some(Err("SECRET comes from a Secret".to_owned())),
            _ => None,
        }
    }

    #[rstest]
    #[case::plain("10s", "10s")]
    #[case::variable("${KEEP}", "9s")]
    #[case::variable_with_default("${KEEP:5s}", "9s")]
    #[case::default("${NONE:5s}", "5s")]
    #[case::default_with_colon("${NONE:00:01:00}", "00:01:00")]
    #[case::empty_default("${NONE:}", "")]
    #[case::nested("${NONE:${KEEP:5s}}", "9s")]
    #[case::within_text("1${NONE:2}3${KEEP}", "1239s")]
    fn values(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(expand(text, &known), Ok(expected.to_owned()));
    }

    #[rstest]
    #[case::unset("${NONE}", "NONE is not set in the pod spec")]
    #[case::secret("${SECRET:5s}", "SECRET comes from a Secret")]
    #[case::empty("${EMPTY:5s}", "EMPTY is empty")]
    #[case::again("${OTHER}", "the value of OTHER contains another placeholder")]
    #[case::shell("${NONE:-5s}", "${NONE:-5s} is not a plain placeholder")]
    #[case::handler("${aes::5s}", "${aes::5s} is not a plain placeholder")]
    #[case::name_in_name("${A${B}}", "${A${B}} is not a plain placeholder")]
    #[case::escaped("\\${KEEP}", "\\${KEEP} has a dollar sign that is not a placeholder")]
    #[case::twice("$${KEEP}", "$${KEEP} has a dollar sign that is not a placeholder")]
    #[case::no_braces("$KEEP", "$KEEP has a dollar sign that is not a placeholder")]
    #[case::open("${KEEP", "a placeholder is not closed")]
    #[case::deep("${A:${A:${A:${A:${A:${A:${A:${A:${A:1}}}}}}}}}", "placeholders are nested too deeply")]
    fn unknown(#[case] text: &str, #[case] why: &str) {
        assert_eq!(expand(text, &known), Err(why.to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[a-zK${}:\\\\ é]{0,200}") {
            drop(expand(&text, &known));
        }
    }
}
