//! Duration formats of servers: each format has its own units and its own default unit.
//!
//! Parses the text of a setting into a [`Parsed`] value. The catalog defines the meaning of zero and negative numbers.

use std::time::Duration;

/// The format of a duration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::servers) enum Format {
    /// A whole number of seconds.
    Seconds,
    /// A number of seconds, possibly with a fraction.
    FloatSeconds,
    /// A whole number of milliseconds.
    Milliseconds,
    /// Seconds, or `500ms` (Apache httpd).
    ApacheTime,
    /// Spring: `20s`, `PT20S`; a number without a unit is in milliseconds.
    Spring,
    /// Go's `time.ParseDuration`: `1m30s`; the unit is required.
    Go,
    /// Go; a number without a unit is in seconds (Traefik).
    GoOrSeconds,
    /// Prometheus: `1d`, `5m`, `1h30m`; integers only.
    Prometheus,
    /// Quarkus: `30M`, `PT45S`; a number without a unit is in seconds.
    Quarkus,
    /// .NET `TimeSpan`: `[d.]hh:mm[:ss]`; a single number is in days.
    TimeSpan,
    /// ISO 8601: `PT1M`.
    Iso8601,
    /// HOCON: `75 s`, `1 minute`; a number without a unit is in milliseconds.
    Hocon,
    /// nginx: `1h30m`, `500ms`; a number without a unit is in seconds.
    Nginx,
    /// HAProxy: `10s`, `500ms`; a number without a unit is in milliseconds.
    Haproxy,
    /// Go; a number without a unit is in nanoseconds (a `time.Duration` in JSON).
    GoOrNanoseconds,
    /// A word, not a duration: only the special values of the catalog have an effect.
    Word,
}

/// A parsed value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::servers) enum Parsed {
    /// A duration, including zero.
    Time(Duration),
    /// A negative value.
    Negative,
    /// A word without a special meaning.
    Word,
}

type Units = &'static [(&'static str, f64)];

const SECONDS: Units = &[("", 1.0)];
const MILLISECONDS: Units = &[("", 1e-3)];
const APACHE: Units = &[("", 1.0), ("s", 1.0), ("ms", 1e-3)];
const SPRING: Units = &[
    ("", 1e-3),
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
];
const GO: Units = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
];
const PROMETHEUS: Units = &[
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
    ("w", 604_800.0),
    ("y", 31_536_000.0),
];
const NGINX: Units = &[
    ("", 1.0),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
    ("w", 604_800.0),
    ("M", 2_592_000.0),
    ("y", 31_536_000.0),
];
const HAPROXY: Units =
    &[("", 1e-3), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
const NANOSECONDS: Units = &[("", 1e-9)];
const ISO_TIME: Units = &[("H", 3_600.0), ("M", 60.0), ("S", 1.0)];
const HOCON: Units = &[
    ("", 1e-3),
    ("ns", 1e-9),
    ("us", 1e-6),
    ("ms", 1e-3),
    ("millis", 1e-3),
    ("milliseconds", 1e-3),
    ("s", 1.0),
    ("second", 1.0),
    ("seconds", 1.0),
    ("m", 60.0),
    ("minute", 60.0),
    ("minutes", 60.0),
    ("h", 3_600.0),
    ("hour", 3_600.0),
    ("hours", 3_600.0),
    ("d", 86_400.0),
    ("day", 86_400.0),
    ("days", 86_400.0),
];

impl Format {
    /// Every format.
    pub(in crate::servers) const ALL: [Self; 16] = [
        Self::Seconds,
        Self::FloatSeconds,
        Self::Milliseconds,
        Self::ApacheTime,
        Self::Spring,
        Self::Go,
        Self::GoOrSeconds,
        Self::Prometheus,
        Self::Quarkus,
        Self::TimeSpan,
        Self::Iso8601,
        Self::Hocon,
        Self::Nginx,
        Self::Haproxy,
        Self::GoOrNanoseconds,
        Self::Word,
    ];

    /// The name in the catalog.
    pub(in crate::servers) const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::FloatSeconds => "float-seconds",
            Self::Milliseconds => "milliseconds",
            Self::ApacheTime => "apache-time",
            Self::Spring => "spring-duration",
            Self::Go => "go-duration",
            Self::GoOrSeconds => "go-duration-or-seconds",
            Self::Prometheus => "prometheus-duration",
            Self::Quarkus => "quarkus-duration",
            Self::TimeSpan => "timespan",
            Self::Iso8601 => "iso-8601",
            Self::Hocon => "hocon-duration",
            Self::Nginx => "nginx-time",
            Self::Haproxy => "haproxy-time",
            Self::GoOrNanoseconds => "go-duration-or-nanoseconds",
            Self::Word => "word",
        }
    }

    /// The format with this name.
    pub(in crate::servers) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// Parses `text`; `None` if the server would not accept it either.
    pub(in crate::servers) fn read(self, text: &str) -> Option<Parsed> {
        if self == Self::Word {
            return Some(Parsed::Word);
        }
        let text = text.trim();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let seconds = self.seconds(text)?;
        if negative && seconds > 0.0 {
            return Some(Parsed::Negative);
        }
        Duration::try_from_secs_f64(seconds).ok().map(Parsed::Time)
    }

    fn seconds(self, text: &str) -> Option<f64> {
        let whole = !text.contains('.');
        match self {
            Self::Seconds => one(text, SECONDS).filter(|_| whole),
            Self::FloatSeconds => one(text, SECONDS),
            Self::Milliseconds => one(text, MILLISECONDS).filter(|_| whole),
            Self::ApacheTime => one(text, APACHE).filter(|_| whole),
            Self::Spring => iso(text).or_else(|| one(&text.to_ascii_lowercase(), SPRING).filter(|_| whole)),
            Self::Go => go(text),
            Self::GoOrSeconds => go(text).or_else(|| one(text, SECONDS).filter(|_| whole)),
            Self::Prometheus => {
                (text == "0").then_some(0.0).or_else(|| many(text, PROMETHEUS).filter(|_| whole))
            }
            Self::Quarkus => quarkus(text),
            Self::TimeSpan => time_span(text),
            Self::Iso8601 => iso(text),
            Self::Hocon => one(text, HOCON),
            Self::Nginx => many(text, NGINX).filter(|_| whole),
            Self::Haproxy => one(text, HAPROXY).filter(|_| whole),
            Self::GoOrNanoseconds => go(text).or_else(|| one(text, NANOSECONDS).filter(|_| whole)),
            Self::Word => None,
        }
    }
}

/// A number followed by a unit.
fn one(text: &str, units: Units) -> Option<f64> {
    let (number, rest) = number(text)?;
    units.iter().find(|(unit, _)| *unit == rest.trim_start()).map(|(_, seconds)| number * seconds)
}

/// A sequence of numbers with units.
fn many(text: &str, units: Units) -> Option<f64> {
    let mut sum = 0.0;
    let mut rest = text;
    loop {
        let (value, after) = number(rest)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (_, seconds) = units.iter().find(|(unit, _)| *unit == &after[..end])?;
        sum += value * seconds;
        rest = &after[end..];
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn go(text: &str) -> Option<f64> {
    if text == "0" { Some(0.0) } else { many(text, GO) }
}

/// `P[nD]T[nH][nM][nS]`.
fn iso(text: &str) -> Option<f64> {
    let text = text.to_ascii_uppercase();
    let (days, time) = text.strip_prefix('P')?.split_once('T').unwrap_or_else(|| (&text[1..], ""));
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let days = if days.is_empty() { 0.0 } else { many(days, &[("D", 86_400.0)])? };
    let time = if time.is_empty() { 0.0 } else { many(time, ISO_TIME)? };
    Some(days + time)
}

/// Quarkus adds `PT` to values that start with a digit, `P` to those that also end in `D`, and parses `500ms` directly.
fn quarkus(text: &str) -> Option<f64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return iso(text);
    }
    let upper = text.to_ascii_uppercase();
    one(text, SECONDS)
        .or_else(|| one(&upper, &[("MS", 1e-3), ("D", 86_400.0)]))
        .or_else(|| iso(&format!("PT{upper}")))
}

fn time_span(text: &str) -> Option<f64> {
    if !text.contains(':') {
        return text.parse::<u32>().ok().map(|days| f64::from(days) * 86_400.0);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (first, minutes, seconds) = match parts.as_slice() {
        [hours, minutes] => (*hours, *minutes, "0"),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    let (days, hours) = first.split_once('.').unwrap_or(("0", first));
    let whole = |text: &str| text.parse::<u32>().ok().map(f64::from);
    let (seconds, rest) = number(seconds)?;
    rest.is_empty().then_some(())?;
    Some(whole(days)? * 86_400.0 + whole(hours)? * 3_600.0 + whole(minutes)? * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::seconds(Format::Seconds, "75", 75_000)]
    #[case::seconds_with_space(Format::Seconds, " 75 ", 75_000)]
    #[case::float_seconds(Format::FloatSeconds, "2.5", 2_500)]
    #[case::milliseconds(Format::Milliseconds, "70000", 70_000)]
    #[case::apache_bare(Format::ApacheTime, "15", 15_000)]
    #[case::apache_milliseconds(Format::ApacheTime, "500ms", 500)]
    #[case::spring_bare(Format::Spring, "20000", 20_000)]
    #[case::spring_unit(Format::Spring, "20s", 20_000)]
    #[case::spring_minutes(Format::Spring, "1m", 60_000)]
    #[case::spring_upper_case(Format::Spring, "1M", 60_000)]
    #[case::spring_iso(Format::Spring, "PT20S", 20_000)]
    #[case::go(Format::Go, "1m30s", 90_000)]
    #[case::go_fraction(Format::Go, "1.5h", 5_400_000)]
    #[case::go_zero(Format::Go, "0", 0)]
    #[case::go_or_seconds(Format::GoOrSeconds, "42", 42_000)]
    #[case::go_or_seconds_unit(Format::GoOrSeconds, "30s", 30_000)]
    #[case::prometheus(Format::Prometheus, "1h30m", 5_400_000)]
    #[case::prometheus_day(Format::Prometheus, "1d", 86_400_000)]
    #[case::prometheus_zero(Format::Prometheus, "0", 0)]
    #[case::quarkus_bare(Format::Quarkus, "45", 45_000)]
    #[case::quarkus_minutes(Format::Quarkus, "30M", 1_800_000)]
    #[case::quarkus_milliseconds(Format::Quarkus, "500ms", 500)]
    #[case::quarkus_iso(Format::Quarkus, "PT45S", 45_000)]
    #[case::quarkus_days(Format::Quarkus, "1d", 86_400_000)]
    #[case::time_span(Format::TimeSpan, "00:02:10", 130_000)]
    #[case::time_span_days(Format::TimeSpan, "1.00:00:01", 86_401_000)]
    #[case::time_span_minutes(Format::TimeSpan, "01:30", 5_400_000)]
    #[case::time_span_bare_is_days(Format::TimeSpan, "2", 172_800_000)]
    #[case::iso(Format::Iso8601, "P1DT1H1M1.5S", 90_061_500)]
    #[case::hocon(Format::Hocon, "75 s", 75_000)]
    #[case::hocon_word(Format::Hocon, "1 minute", 60_000)]
    #[case::hocon_bare(Format::Hocon, "500", 500)]
    fn times(#[case] format: Format, #[case] text: &str, #[case] milliseconds: u64) {
        assert_eq!(format.read(text), Some(Parsed::Time(Duration::from_millis(milliseconds))));
    }

    #[rstest]
    #[case::seconds(Format::Seconds, "-1")]
    #[case::spring(Format::Spring, "-1")]
    #[case::go(Format::Go, "-5s")]
    #[case::iso(Format::Iso8601, "-PT5S")]
    fn below_zero(#[case] format: Format, #[case] text: &str) {
        assert_eq!(format.read(text), Some(Parsed::Negative));
    }

    #[rstest]
    #[case::seconds_with_unit(Format::Seconds, "5s")]
    #[case::seconds_with_fraction(Format::Seconds, "2.5")]
    #[case::empty(Format::Seconds, "")]
    #[case::words(Format::Milliseconds, "soon")]
    #[case::go_needs_a_unit(Format::Go, "30")]
    #[case::prometheus_needs_a_unit(Format::Prometheus, "30")]
    #[case::prometheus_fraction(Format::Prometheus, "1.5h")]
    #[case::spring_fraction(Format::Spring, "1.5s")]
    #[case::time_span_words(Format::TimeSpan, "1:2:3:4")]
    #[case::iso_empty(Format::Iso8601, "P")]
    #[case::iso_not_ascii(Format::Iso8601, "µ")]
    #[case::too_long(Format::FloatSeconds, "99999999999999999999999999")]
    fn unreadable(#[case] format: Format, #[case] text: &str) {
        assert_eq!(format.read(text), None);
    }

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(Format::find(format.as_str()), Some(format));
        }
        assert_eq!(Format::find("fortnights"), None);
        assert_eq!(Format::Word.read("anything"), Some(Parsed::Word));
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(text in ".*") {
            for format in Format::ALL {
                let _ = format.read(&text);
            }
        }
    }
}
