//! Parses the annotation with which a pod exempts itself.

use jiff::civil::Date;

use super::exemption::RuleSet;
use crate::judgement::{fields, finding::RuleId};

/// `<rule>[, <rule>]; until=2027-01-31; reason=...`, with `*` for all rules.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnnotationExemption {
    /// The rules.
    pub rules: RuleSet,
    /// The reason.
    pub reason: String,
    /// The last day of the exemption.
    pub until: Date,
}

/// An invalid value of the annotation.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}; {}", Self::HELP)]
pub struct AnnotationError {
    /// The problem.
    pub reason: String,
}

impl AnnotationError {
    /// How to write the value.
    pub const HELP: &'static str =
        "write it like: probe-matches-idle-timeout; until=2027-01-31; reason=REASON";
}

impl AnnotationExemption {
    /// Parses the value of the annotation.
    ///
    /// # Errors
    ///
    /// Returns an error if a part is missing, unknown or repeated, or if a rule or the date is invalid.
    pub fn parse(value: &str) -> Result<Self, AnnotationError> {
        let (rules, mut rest) = value.split_once(';').unwrap_or((value, ""));
        let rules = rule_set(rules)?;
        let (mut until, mut reason) = (None, None);
        while !rest.trim().is_empty() {
            let (part, after) = rest.split_once(';').unwrap_or((rest, ""));
            let (key, text) = part.split_once('=').unwrap_or((part, ""));
            match key.trim() {
                "until" if until.is_none() => {
                    until = Some(fields::date(text.trim()).ok_or_else(|| {
                        fail(format!("until={} is not a date such as 2027-01-31", text.trim()))
                    })?);
                    rest = after;
                }
                // A reason may contain semicolons; it ends where the date starts.
                "reason" if reason.is_none() => {
                    let all = rest.split_once('=').map_or("", |(_, all)| all);
                    let end = if until.is_none() { until_after(all) } else { None };
                    let (text, after) = end.map_or((all, ""), |end| (&all[..end], &all[end + 1..]));
                    reason = Some(text.trim().trim_end_matches(';').to_owned());
                    rest = after;
                }
                known @ ("until" | "reason") => return Err(fail(format!("{known} is given twice"))),
                "" => rest = after,
                other => return Err(fail(format!("unknown key {other:?}; expected until or reason"))),
            }
        }
        let until =
            until.ok_or_else(|| fail("until= is missing; it sets the last day of the exemption".into()))?;
        let reason = reason.filter(|reason| !reason.is_empty());
        let reason = reason.ok_or_else(|| fail("reason= is missing".into()))?;
        Ok(Self { rules, reason, until })
    }
}

/// The position of the semicolon before `until=`.
fn until_after(text: &str) -> Option<usize> {
    text.match_indices(';').map(|(at, _)| at).find(|at| {
        let key = text[at + 1..].trim_start().strip_prefix("until");
        key.is_some_and(|rest| rest.trim_start().starts_with('='))
    })
}

fn rule_set(text: &str) -> Result<RuleSet, AnnotationError> {
    if text.trim() == "*" {
        return Ok(RuleSet::All);
    }
    if text.trim().is_empty() {
        return Err(fail("it names no rule".into()));
    }
    let rules = text.split(',').map(|name| {
        let name = name.trim();
        name.parse().map_err(|_| fail(fields::unknown_name("rule", name, &RuleId::ALL.map(RuleId::as_str))))
    });
    Ok(RuleSet::Only(rules.collect::<Result<_, _>>()?))
}

fn fail(reason: String) -> AnnotationError {
    AnnotationError { reason }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("probe-matches-idle-timeout; until=2027-01-31; reason=OPS-12")]
    #[case("probe-matches-idle-timeout;until=2027-01-31;reason=OPS-12;")]
    #[case(" probe-matches-idle-timeout ; reason = OPS-12 ; until = 2027-01-31 ")]
    fn reads(#[case] value: &str) {
        let exemption = AnnotationExemption::parse(value).unwrap();
        assert_eq!(exemption.rules, RuleSet::Only(vec![RuleId::ProbeMatchesIdleTimeout]));
        assert_eq!((exemption.reason.as_str(), exemption.until), ("OPS-12", jiff::civil::date(2027, 1, 31)));
    }

    #[test]
    fn a_reason_is_free_text() {
        let value = "close-wait-unset, close-wait-broken; reason=a=b; c; until=2027-01-31";
        let exemption = AnnotationExemption::parse(value).unwrap();
        assert_eq!(exemption.reason, "a=b; c");
        assert!(
            exemption.rules.contains(RuleId::CloseWaitBroken)
                && !exemption.rules.contains(RuleId::InvalidAnnotation)
        );
        let all = AnnotationExemption::parse("*; until=2027-01-31; reason=x; y").unwrap();
        assert_eq!((all.rules, all.reason.as_str()), (RuleSet::All, "x; y"));
    }

    #[rstest]
    #[case("", "it names no rule")]
    #[case("close-wait-unset", "until= is missing; it sets the last day of the exemption")]
    #[case("close-wait-unset; until=2027-01-31", "reason= is missing")]
    #[case("close-wait-unset; until=2027-01-31; reason= ", "reason= is missing")]
    #[case("close-wait-unset; until=tomorrow; reason=x", "until=tomorrow is not a date such as 2027-01-31")]
    #[case(
        "close-wait-unset; until=2027-02-30; reason=x",
        "until=2027-02-30 is not a date such as 2027-01-31"
    )]
    #[case("close-wait-unset; till=2027-01-31", "unknown key \"till\"; expected until or reason")]
    #[case("close-wait-unset; until=2027-01-31; until=2027-01-31", "until is given twice")]
    #[case(
        "close-wait-unst; until=2027-01-31; reason=x",
        "unknown rule \"close-wait-unst\"; did you mean close-wait-unset?"
    )]
    fn refuses(#[case] value: &str, #[case] reason: &str) {
        assert_eq!(AnnotationExemption::parse(value).unwrap_err().reason, reason);
    }
}
