//! Port lists as Linkerd writes them: `25,587,3306`, `8100-8102`, with blanks, and with names that nobody resolved.

use std::{fmt, ops::RangeInclusive};

/// A set of ports.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

impl PortSet {
    /// Reads a list; what is neither a port nor a range is left out, as a name that was not resolved says nothing of
    /// a number.
    pub fn parse(text: &str) -> Self {
        let mut set = Self::default();
        set.add(text);
        set
    }

    /// Adds the ports of another list.
    pub fn add(&mut self, text: &str) {
        self.0.extend(text.split(',').filter_map(|item| {
            let (from, to) = item.split_once('-').unwrap_or((item, item));
            Some(from.trim().parse().ok()?..=to.trim().parse().ok()?)
        }));
    }

    /// Whether the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
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
        let set = PortSet::parse(" 22, 8100-8102,mysql,70000,9-x");
        assert_eq!(set.to_string(), "22,8100-8102");
        assert!(set.contains(22) && set.contains(8101) && !set.contains(8103));
        assert!(!PortSet::parse("").contains(0));
    }
}
