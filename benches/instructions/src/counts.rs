//! Instructions per review, in all and by function.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What may be more before it fails, in percent.
const ALLOWED: f64 = 5.0;

/// How many functions of a review are kept.
const FUNCTIONS: usize = 30;

/// The file.
#[derive(Debug, Deserialize, Serialize)]
pub struct Recorded {
    /// The compiler, as it names itself.
    pub rustc: String,
    pub reviews: BTreeMap<String, Counts>,
}

/// The instructions of one review.
#[derive(Debug, Deserialize, Serialize)]
pub struct Counts {
    pub instructions: u64,
    /// Those of the functions that take most, without those that they call.
    pub functions: BTreeMap<String, u64>,
}

impl Recorded {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} has another form", path.display()))
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Counts {
    /// Reads a listing of callgrind_annotate over this many reviews: `1,234  file:function [object]`.
    pub fn read(listing: &str, reviews: u64) -> anyhow::Result<Self> {
        let mut total = None;
        let mut functions = BTreeMap::<String, u64>::new();
        for line in listing.lines() {
            let Some((count, place)) = line.trim_start().split_once(' ') else { continue };
            let Ok(count) = count.replace(',', "").parse::<u64>() else { continue };
            let place = place.trim_start();
            if place.starts_with("PROGRAM TOTALS") {
                total = Some(count);
                continue;
            }
            *functions.entry(name(place)).or_default() += count;
        }
        let total = total.context("there is no line with PROGRAM TOTALS")?;
        let mut most: Vec<_> = functions.into_iter().map(|(name, count)| (name, count / reviews)).collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        most.truncate(FUNCTIONS);
        Ok(Self { instructions: total / reviews, functions: most.into_iter().collect() })
    }

    /// Says how this differs from before, and whether it is too much.
    pub fn compare(&self, review: &str, before: &Self) -> (String, bool) {
        let percent = |now: u64, before: u64| (now as f64 / before as f64 - 1.0) * 100.0;
        let change = percent(self.instructions, before.instructions);
        let mut text = format!("{review}: {} instructions, {change:+.1} %", self.instructions);
        let rose = change > ALLOWED;
        if rose {
            let mut functions: Vec<_> = self
                .functions
                .iter()
                .map(|(name, now)| (name, *now, before.functions.get(name).copied().unwrap_or_default()))
                .filter(|(_, now, before)| now > before)
                .collect();
            functions.sort_by_key(|(_, now, before)| std::cmp::Reverse(now - before));
            for (name, now, before) in functions.into_iter().take(10) {
                let _ = write!(text, "\n  {:+} (from {before} to {now}) in {name}", now - before);
            }
        }
        (text, rose)
    }
}

/// The function without its file, its object and the hash of its symbol.
fn name(place: &str) -> String {
    let place = place.rsplit_once(" [").map_or(place, |(function, _)| function);
    let function = place.split_once(':').map_or(place, |(_, function)| function);
    match function.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => function,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
--------------------------------------------------------------------------------
Ir
--------------------------------------------------------------------------------
2,000  PROGRAM TOTALS

--------------------------------------------------------------------------------
Ir     file:function
--------------------------------------------------------------------------------
1,500  ???:serde_json::read::parse_str::h0123456789abcdef [/x/instructions]
  400  ./string/memcpy.S:__memcpy_avx [/usr/lib/libc.so.6]
  100  ???:serde_json::read::parse_str::hfedcba9876543210 [/x/instructions]
";

    #[test]
    fn counts_are_per_review_and_by_function() {
        let counts = Counts::read(LISTING, 2).unwrap();
        assert_eq!(counts.instructions, 1_000);
        assert_eq!(counts.functions["serde_json::read::parse_str"], 800);
        assert_eq!(counts.functions["__memcpy_avx"], 200);
    }

    #[test]
    fn a_listing_without_a_total_is_refused() {
        assert!(Counts::read("nothing", 1).is_err());
    }

    #[test]
    fn a_rise_over_the_limit_names_its_functions() {
        let of = |instructions, parse| Counts {
            instructions,
            functions: BTreeMap::from([("parse".to_owned(), parse), ("copy".to_owned(), 10)]),
        };
        let (text, rose) = of(1_060, 160).compare("a.json", &of(1_000, 100));
        assert!(rose);
        assert!(text.contains("+60 (from 100 to 160) in parse") && !text.contains("copy"), "{text}");
        assert!(!of(1_040, 140).compare("a.json", &of(1_000, 100)).1);
    }
}
