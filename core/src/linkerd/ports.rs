//! Port lists as Linkerd writes them: `25,587,3306`, `8100-8102`, with blanks, and with unresolved names.

use std::{fmt, ops::RangeInclusive};

use foldhash::HashMap;

/// Port names with their numbers.
pub type Names<'n> = HashMap<&'n str, u16>;

/// A set of ports: sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

impl PortSet {
    /// Parses lists. Items that are neither a port nor a range are skipped, such as unresolved names.
    pub fn parse<'t>(lists: impl IntoIterator<Item = &'t str>) -> Self {
        Self::parse_named(lists, &Names::default())
    }

    /// Parses lists with names. If an item could be a name or a range, the name wins (linkerd2 `pkg/util/parsing.go`,
    /// `ParseContainerOpaquePorts`).
    pub fn parse_named<'t>(lists: impl IntoIterator<Item = &'t str>, names: &Names<'_>) -> Self {
        let items = lists.into_iter().flat_map(|list| list.split(',')).map(str::trim);
        let range = |item: &str| match names.get(item).copied().or_else(|| item.parse().ok()) {
            Some(port) => Some(port..=port),
            None => {
                let (from, to) = item.split_once('-')?;
                Some(from.trim().parse().ok()?..=to.trim().parse().ok()?)
            }
        };
        let mut ranges: Vec<_> = items.filter_map(range).filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| *range.start());
        ranges.dedup_by(|next, last| {
            let touch = *next.start() <= last.end().saturating_add(1);
            if touch {
                *last = *last.start()..=*last.end().max(next.end());
            }
            touch
        });
        Self(ranges)
    }

    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let behind = self.0.partition_point(|range| *range.start() <= port);
        behind.checked_sub(1).is_some_and(|index| self.0[index].contains(&port))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_tolerantly() {
        let set = PortSet::parse([" 22, 8100-8102,mysql,70000,9-x,9-8"]);
        assert_eq!(set.to_string(), "22,8100-8102");
        assert!(set.contains(22) && set.contains(8101) && !set.contains(8103));
        assert!(!PortSet::parse([""]).contains(0));
    }

    #[test]
    fn lists_add_up() {
        let set = PortSet::parse(["30,10-20,15", "21,65535,1-65535"]);
        assert_eq!(set.to_string(), "1-65535");
        let set = PortSet::parse(["30,10-20,15", "21,32"]);
        assert_eq!(set.to_string(), "10-21,30,32");
    }

    #[test]
    fn names_come_before_ranges() {
        let names = Names::from_iter([("http", 8000), ("80-x", 1), ("80-90", 9)]);
        assert_eq!(PortSet::parse_named(["3306, http,80-x,80-90,grpc"], &names).to_string(), "1,9,3306,8000");
    }
}
