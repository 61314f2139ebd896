//! Counts with English plurals.

/// `1 object`, `2 objects`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
