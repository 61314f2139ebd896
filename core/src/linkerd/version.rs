//! Linkerd's version strings: the release line of a proxy, and whether it contains a change.

use std::fmt;

/// A version of Linkerd, read from an annotation or an image tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// `stable-2.MINOR.PATCH`, `version-2.MINOR` (no patch) or a vendor's `enterprise-2.MINOR.PATCH`.
    Release {
        /// `14` in 2.14.10.
        minor: u16,
        /// `10` in 2.14.10; absent if the tag names only a line.
        patch: Option<u16>,
        /// Whether it is a vendor's build, whose sources are not public.
        enterprise: bool,
    },
    /// `edge-YY.M.N`: two digits of the year, the month, and the number within that month.
    Edge(u16, u16, u16),
}

/// The newest edge of each line, oldest first: the commits that upstream tags as `version-2.15` to `version-2.20`.
const LAST_EDGES: [((u16, u16, u16), u16); 6] = [
    ((24, 2, 4), 15),
    ((24, 8, 2), 16),
    ((24, 11, 8), 17),
    ((25, 4, 4), 18),
    ((25, 10, 7), 19),
    ((26, 6, 3), 20),
];
/// The first edge that is known to belong to 2.15: it introduced native sidecars (linkerd2 1b37e1989). The line of
/// older edges is unknown.
const FIRST_EDGE_OF_2_15: (u16, u16, u16) = (23, 11, 4);

impl Version {
    /// Parses a version: `stable-2.14.10`, `edge-24.11.8`, `version-2.20`, `enterprise-2.17.1`, `v2.12.0`, `2.12.0`. A
    /// suffix after the numbers (`-debug`, `+build`) is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("edge-") {
            return match numbers(rest).as_slice() {
                [year, month, number, ..] => Some(Self::Edge(*year, *month, *number)),
                _ => None,
            };
        }
        let (enterprise, rest) = match text.strip_prefix("enterprise-") {
            Some(rest) => (true, rest),
            None => (
                false,
                ["stable-", "version-", "v"].iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text),
            ),
        };
        match numbers(rest).as_slice() {
            [2, minor] => Some(Self::Release { minor: *minor, patch: None, enterprise }),
            [2, minor, patch, ..] => Some(Self::Release { minor: *minor, patch: Some(*patch), enterprise }),
            _ => None,
        }
    }

    /// Whether this version contains a change that was released with `edge`, and in these `(minor, patch)` releases,
    /// newest line first. Every line above the first contains it.
    ///
    /// Returns `None` if only some patch releases of the tag's line contain it.
    pub fn has(self, edge: (u16, u16, u16), releases: &[(u16, u16)]) -> Option<bool> {
        match self {
            Self::Edge(year, month, number) => Some((year, month, number) >= edge),
            Self::Release { minor, patch, .. } => {
                if releases.first().is_some_and(|(newest, _)| minor > *newest) {
                    return Some(true);
                }
                match releases.iter().find(|(line, _)| *line == minor) {
                    None => Some(false),
                    Some((_, 0)) => Some(true),
                    Some((_, since)) => patch.map(|patch| patch >= *since),
                }
            }
        }
    }

    /// The release line, if it is known.
    pub fn line(self) -> Option<Line> {
        match self {
            Self::Release { minor, .. } => Some(Line::exactly(minor)),
            Self::Edge(year, month, number) => {
                let edge = (year, month, number);
                if edge < FIRST_EDGE_OF_2_15 {
                    return None;
                }
                LAST_EDGES.iter().find(|(last, _)| edge <= *last).map(|(_, minor)| Line::exactly(*minor))
            }
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { minor, patch: Some(patch), .. } => write!(f, "2.{minor}.{patch}"),
            Self::Release { minor, patch: None, .. } => write!(f, "2.{minor}"),
            Self::Edge(year, month, number) => write!(f, "edge-{year}.{month}.{number}"),
        }
    }
}

fn numbers(text: &str) -> Vec<u16> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].split('.').map_while(|part| part.parse().ok()).collect()
}

/// One or several adjacent release lines of Linkerd 2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Line {
    /// The oldest possible minor version.
    pub oldest: u16,
    /// The newest possible minor version; `None` if there is no upper bound.
    pub newest: Option<u16>,
}

impl Line {
    /// Exactly this minor version.
    pub const fn exactly(minor: u16) -> Self {
        Self { oldest: minor, newest: Some(minor) }
    }

    /// This minor version or any newer one.
    pub const fn since(minor: u16) -> Self {
        Self { oldest: minor, newest: None }
    }

    /// One of the minor versions from `oldest` to `newest`.
    pub const fn between(oldest: u16, newest: u16) -> Self {
        Self { oldest, newest: Some(newest) }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.newest {
            None => write!(f, "2.{}+", self.oldest),
            Some(newest) if newest == self.oldest => write!(f, "2.{newest}"),
            Some(newest) => write!(f, "2.{}-2.{newest}", self.oldest),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::stable("stable-2.14.10", "2.14.10", Some("2.14"))]
    #[case::line_tag("version-2.20", "2.20", Some("2.20"))]
    #[case::enterprise("enterprise-2.17.1-0", "2.17.1", Some("2.17"))]
    #[case::last_edge_of_a_line("edge-24.11.8", "edge-24.11.8", Some("2.17"))]
    #[case::edge_on_the_way_to_a_line("edge-24.9.1", "edge-24.9.1", Some("2.17"))]
    #[case::edge_after_the_newest_line("edge-26.8.3", "edge-26.8.3", None)]
    #[case::old_edge("edge-22.9.1", "edge-22.9.1", None)]
    #[case::suffix("stable-2.12.6-debug", "2.12.6", Some("2.12"))]
    fn versions_are_read(#[case] text: &str, #[case] shown: &str, #[case] line: Option<&str>) {
        let version = Version::parse(text).unwrap();
        assert_eq!(version.to_string(), shown);
        assert_eq!(version.line().map(|line| line.to_string()).as_deref(), line);
    }

    #[rstest]
    #[case::placeholder("test-inject-proxy-version")]
    #[case::development("dev-undefined")]
    #[case::git("git-5b422851")]
    #[case::empty("")]
    fn other_tags_are_not(#[case] text: &str) {
        assert_eq!(Version::parse(text), None);
    }

    #[rstest]
    #[case::before("stable-2.12.0", Some(false))]
    #[case::since("stable-2.12.1", Some(true))]
    #[case::older_line_got_it_too("stable-2.11.5", Some(true))]
    #[case::older_line_before("stable-2.11.4", Some(false))]
    #[case::newer_line("stable-2.13.0", Some(true))]
    #[case::line_without_a_patch("version-2.12", None)]
    #[case::old_line("stable-2.10.2", Some(false))]
    #[case::edge_since("edge-22.9.1", Some(true))]
    #[case::edge_before("edge-22.8.3", Some(false))]
    fn changes_are_placed(#[case] text: &str, #[case] expected: Option<bool>) {
        let version = Version::parse(text).unwrap();
        assert_eq!(version.has((22, 9, 1), &[(12, 1), (11, 5)]), expected);
    }
}
