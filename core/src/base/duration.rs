//! Durations in Go's format: `1h`, `1m30s`, `100ms`.
//!
//! Accepts what Go's `time.ParseDuration` accepts, but for signs within the text and numbers that only a mistake
//! produces.

use std::{fmt::Write, time::Duration};

/// Nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

/// An invalid duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not a duration: {reason}; write it like 1h, 1m30s or 100ms")]
pub struct DurationError {
    /// The text.
    pub text: String,
    /// The reason.
    pub reason: String,
}

/// Parses a duration of zero or more. As in Go, it may start with a plus sign.
///
/// # Errors
///
/// Returns an error if `text` is empty, negative, without a unit, or too long.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let fail = |reason: &str| DurationError { text: text.to_owned(), reason: reason.to_owned() };
    let text = text.strip_prefix('+').unwrap_or(text);
    match text.as_bytes().first() {
        None => return Err(fail("it is empty")),
        Some(b'-') => return Err(fail("it is negative")),
        Some(b'0'..=b'9' | b'.') => {}
        Some(_) => return Err(fail("it does not begin with a number")),
    }
    if text.chars().any(|char| !char.is_alphanumeric() && char != '.') {
        return Err(fail("it contains characters other than digits, a decimal point and units"));
    }
    // Within these limits, no sum below exceeds its type.
    if text.len() > 30 || text.split(|char: char| !char.is_ascii_digit()).any(|digits| digits.len() > 12) {
        return Err(fail("it is too long"));
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fail("it has no unit"));
    }
    let is_number = |char: char| char.is_ascii_digit() || char == '.';
    let (mut rest, mut duration) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|char| !is_number(char)).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let unit = match unit {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            "us" | "\u{b5}s" | "\u{3bc}s" => Duration::from_micros(1),
            "ns" => Duration::from_nanos(1),
            "" => return Err(fail("missing a unit")),
            _ => return Err(fail("invalid unit")),
        };
        duration += times(number, unit).ok_or_else(|| fail("invalid number"))?;
        rest = after;
    }
    Ok(duration)
}

/// `number` times `unit`, without the part below a nanosecond.
fn times(number: &str, unit: Duration) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let nanos = (digits(whole)? * scale + digits(fraction)?) * unit.as_nanos() / scale;
    Some(Duration::new(u64::try_from(nanos / NANOS).ok()?, u32::try_from(nanos % NANOS).ok()?))
}

/// Formats a duration: `1h`, `2m30s`, `90s`, `1.5s`, `100ms`, `0s`. Uses seconds below two minutes, because probe
/// periods and most timeouts are in seconds.
pub fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 && !duration.is_zero() {
        return format!("{duration:?}");
    }
    if seconds < 120 && seconds != 60 {
        return format!("{}s", duration.as_secs_f64());
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = duration - Duration::from_secs(hours * 3600 + minutes * 60);
    let mut shown = String::new();
    // Writing to a String cannot fail.
    if hours > 0 {
        let _ = write!(shown, "{hours}h");
    }
    if minutes > 0 {
        let _ = write!(shown, "{minutes}m");
    }
    if !rest.is_zero() || shown.is_empty() {
        let _ = write!(shown, "{}s", rest.as_secs_f64());
    }
    shown
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1h", 3_600_000, "1h")]
    #[case("+1h", 3_600_000, "1h")]
    #[case("90s", 90_000, "90s")]
    #[case("150s", 150_000, "2m30s")]
    #[case("1m30s", 90_000, "90s")]
    #[case("60m", 3_600_000, "1h")]
    #[case("100ms", 100, "100ms")]
    #[case("0.1s", 100, "100ms")]
    #[case("1.5s", 1_500, "1.5s")]
    #[case("0", 0, "0s")]
    #[case("0s", 0, "0s")]
    #[case("1h1m1.25s", 3_661_250, "1h1m1.25s")]
    #[case(".5s", 500, "500ms")]
    #[case("1.s", 1_000, "1s")]
    #[case("1.5h30m", 7_200_000, "2h")]
    #[case("30m1h", 5_400_000, "1h30m")]
    #[case("1500\u{b5}s500us", 2, "2ms")]
    fn reads_and_shows(#[case] text: &str, #[case] millis: u64, #[case] shown: &str) {
        let duration = parse(text).unwrap();
        assert_eq!(duration, Duration::from_millis(millis));
        assert_eq!(format(duration), shown);
    }

    #[rstest]
    #[case("", "it is empty")]
    #[case("-1h", "it is negative")]
    #[case("+-1h", "it is negative")]
    #[case("++1h", "it does not begin with a number")]
    #[case("+", "it is empty")]
    #[case("60", "it has no unit")]
    #[case("1h-5m", "it contains characters other than digits, a decimal point and units")]
    #[case("9999999999999h", "it is too long")]
    #[case("1e3s", "invalid unit")]
    #[case("5 s", "it contains characters other than")]
    #[case("infs", "it does not begin with a number")]
    #[case("h", "it does not begin with a number")]
    #[case("1d", "invalid unit")]
    #[case("1.5", "missing a unit")]
    #[case("1h5", "missing a unit")]
    #[case(".s", "invalid number")]
    #[case("1.2.3s", "invalid number")]
    #[case("0.000000000000s1.2.3s", "invalid number")]
    fn refuses(#[case] text: &str, #[case] reason: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.reason.starts_with(reason), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9.hmsnu\u{b5}e+-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
