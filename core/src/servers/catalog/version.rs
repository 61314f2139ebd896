//! Versions in image tags and variables, and version ranges.
//!
//! Parses `1.27.3-alpine` into a [`Version`], which may have fewer than three numbers.

use std::fmt;

/// A release, as precise as the tag: `20` stands for everything from 20.0.0 to 21.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::servers) struct Version(Vec<u64>);

impl Version {
    /// A larger number is a date or a build number.
    const MAX_PART: u64 = 9_999;

    /// The version at the start of an image tag; `None` for `latest`, names, dates and hashes.
    pub(in crate::servers) fn from_tag(tag: &str) -> Option<Self> {
        let tag = tag.strip_prefix('v').unwrap_or(tag);
        let end = tag.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(tag.len());
        let (digits, rest) = tag.split_at(end);
        if !rest.is_empty() && !rest.starts_with(['-', '_', '+']) {
            return None;
        }
        let parts: Vec<u64> = digits.split('.').take(3).map(str::parse).collect::<Result<_, _>>().ok()?;
        parts.iter().all(|part| *part <= Self::MAX_PART).then_some(Self(parts))
    }

    /// The version in an ENV variable of an image, such as `v2.8.4`, `9.4.58.v20250814` or `jdk-21.0.5+11`.
    pub(in crate::servers) fn from_variable(value: &str) -> Option<Self> {
        let value = value.strip_prefix("jdk-").or_else(|| value.strip_prefix('v')).unwrap_or(value);
        let end = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
        Self::from_tag(value.get(..end)?.trim_end_matches('.'))
    }

    fn lowest(&self) -> [u64; 3] {
        let part = |at: usize| self.0.get(at).copied().unwrap_or(0);
        [part(0), part(1), part(2)]
    }

    /// The first release after this version.
    fn after(&self) -> [u64; 3] {
        let mut after = self.lowest();
        if let Some(last) = after.get_mut(self.0.len().saturating_sub(1)) {
            *last += 1;
        }
        after
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
    }
}

/// Whether a version is in a range.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::servers) enum VersionMatch {
    /// None of its releases is in the range.
    No,
    /// Some of its releases are in the range, or the version is unknown.
    Unsure,
    /// All of its releases are in the range.
    Yes,
}

/// `>=20.18 <21 || >=22.9`: alternatives, each with comparisons that must all be true.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::servers) struct Versions {
    text: String,
    alternatives: Vec<Vec<Bound>>,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bound {
    From([u64; 3]),
    Below([u64; 3]),
}

impl Versions {
    /// Parses a range.
    pub(in crate::servers) fn parse(text: &str) -> Option<Self> {
        let alternatives = text.split("||").map(Self::alternative).collect::<Option<_>>()?;
        Some(Self { text: text.to_owned(), alternatives })
    }

    fn alternative(text: &str) -> Option<Vec<Bound>> {
        let bounds: Vec<Bound> = text
            .split_whitespace()
            .map(|word| {
                let (bound, digits): (fn([u64; 3]) -> Bound, _) =
                    if let Some(digits) = word.strip_prefix(">=") {
                        (Bound::From, digits)
                    } else {
                        (Bound::Below, word.strip_prefix('<')?)
                    };
                digits.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
                Some(bound(Version::from_tag(digits)?.lowest()))
            })
            .collect::<Option<_>>()?;
        (!bounds.is_empty()).then_some(bounds)
    }

    /// The first release, if all later ones are in the range, too.
    pub(in crate::servers) fn all_from(&self) -> Option<[u64; 3]> {
        match self.alternatives.as_slice() {
            [bounds] => match bounds.as_slice() {
                [Bound::From(from)] => Some(*from),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether `version` is in the range.
    pub(in crate::servers) fn fit(&self, version: Option<&Version>) -> VersionMatch {
        let Some(version) = version else { return VersionMatch::Unsure };
        let (lowest, after) = (version.lowest(), version.after());
        let bound = |bound: &Bound| match *bound {
            Bound::From(from) if lowest >= from => VersionMatch::Yes,
            Bound::From(from) if after <= from => VersionMatch::No,
            Bound::Below(below) if after <= below => VersionMatch::Yes,
            Bound::Below(below) if lowest >= below => VersionMatch::No,
            Bound::From(_) | Bound::Below(_) => VersionMatch::Unsure,
        };
        let all = |bounds: &Vec<Bound>| bounds.iter().map(bound).min().unwrap_or(VersionMatch::Yes);
        self.alternatives.iter().map(all).max().unwrap_or(VersionMatch::Yes)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("1.27.3", Some("1.27.3"))]
    #[case::variant("20.11-alpine", Some("20.11"))]
    #[case::major_only("20", Some("20"))]
    #[case::with_a_v("v3.1", Some("3.1"))]
    #[case::four_parts("1.27.3.2", Some("1.27.3"))]
    #[case::latest("latest", None)]
    #[case::hash("4f2ca1", None)]
    #[case::date("20240101", None)]
    #[case::empty("", None)]
    #[case::dots("1..2", None)]
    fn tags(#[case] tag: &str, #[case] version: Option<&str>) {
        assert_eq!(Version::from_tag(tag).map(|version| version.to_string()).as_deref(), version);
    }

    #[rstest]
    #[case::plain("20.11.1", Some("20.11.1"))]
    #[case::with_a_v("v2.8.4", Some("2.8.4"))]
    #[case::jetty("9.4.58.v20250814", Some("9.4.58"))]
    #[case::java("jdk-21.0.5+11", Some("21.0.5"))]
    #[case::package("1.13.8-1~stretch", Some("1.13.8"))]
    #[case::preview("10.0.0-rc.1", Some("10.0.0"))]
    #[case::empty("", None)]
    #[case::words("stable", None)]
    #[case::date("20240101", None)]
    fn variables(#[case] value: &str, #[case] version: Option<&str>) {
        assert_eq!(Version::from_variable(value).map(|version| version.to_string()).as_deref(), version);
    }

    #[rstest]
    #[case::inside("20.18", VersionMatch::Yes)]
    #[case::second_alternative("24.1.2", VersionMatch::Yes)]
    #[case::below("20.17.5", VersionMatch::No)]
    #[case::between("22.8", VersionMatch::No)]
    #[case::open_minor("20", VersionMatch::Unsure)]
    #[case::open_minor_below("18", VersionMatch::No)]
    #[case::not_known("latest", VersionMatch::Unsure)]
    fn ranges(#[case] tag: &str, #[case] fit: VersionMatch) {
        let range = Versions::parse(">=20.18 <21 || >=22.9").unwrap();
        assert_eq!(range.fit(Version::from_tag(tag).as_ref()), fit);
    }

    #[rstest]
    #[case::empty("")]
    #[case::bare("20")]
    #[case::word(">=new")]
    #[case::empty_alternative(">=1 ||")]
    fn not_a_range(#[case] text: &str) {
        assert_eq!(Versions::parse(text), None);
    }
}
