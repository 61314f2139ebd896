//! Times of day, as lines have them.

use jiff::Timestamp;

/// Reads times of day.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The minute of the last one, such as `2026-11-27T08:09:`.
    minute: String,
    /// Its beginning, in microseconds since 1970.
    start: i64,
}

/// The length of `2026-11-27T08:09:`.
const MINUTE: usize = 17;

impl Times {
    /// Reads a time of RFC 3339 in microseconds since 1970.
    ///
    /// Lines of one minute follow each other, so that a calendar is needed once for each.
    pub(super) fn read(&mut self, text: &str) -> Option<i64> {
        let split = text.split_at_checked(MINUTE).and_then(|(minute, rest)| Some((minute, seconds(rest)?)));
        if let Some((minute, micros)) = split
            && minute == self.minute
        {
            return Some(self.start + micros);
        }
        let time = text.parse::<Timestamp>().ok()?.as_microsecond();
        // Before 1970, a fraction is cut off towards 1970.
        if time > 0
            && let Some((minute, micros)) = split
        {
            minute.clone_into(&mut self.minute);
            self.start = time - micros;
        }
        Some(time)
    }

    /// The first word that is a time of day.
    pub(super) fn first(&mut self, text: &str) -> Option<i64> {
        text.split([' ', '\t'])
            .filter(|word| word.len() >= 20 && word.contains('T'))
            .find_map(|word| self.read(word))
    }
}

/// `37.874096391Z` in microseconds; what is below one is cut off.
fn seconds(text: &str) -> Option<i64> {
    let [tens, ones, rest @ .., b'Z'] = text.as_bytes() else {
        return None;
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    // A leap second is left to the library.
    let seconds = digit(*tens).filter(|tens| *tens < 6)? * 10 + digit(*ones)?;
    let fraction = match rest {
        [] => return Some(seconds * 1_000_000),
        [b'.', fraction @ ..] if (1..=9).contains(&fraction.len()) => fraction,
        _ => return None,
    };
    let (mut micros, mut unit) = (0, 100_000);
    for byte in fraction {
        micros += digit(*byte)? * unit;
        unit /= 10;
    }
    Some(seconds * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<i64> {
        Some(text.parse::<Timestamp>().ok()?.as_microsecond())
    }

    proptest! {
        #[test]
        fn a_time_is_what_the_library_reads(
            minutes in prop::collection::vec((0..3_u8, 0..3_u8), 1..6),
            rest in "[0-6][0-9](\\.[0-9]{0,10})?(Z|z|\\+01:00)?|[0-9.:Z]{0,4}"
        ) {
            let mut times = Times::default();
            for (hour, minute) in minutes {
                let text = format!("2026-11-27T0{hour}:0{minute}:{rest}");
                prop_assert_eq!(times.read(&text), parsed(&text), "{}", text);
            }
        }
    }

    #[test]
    fn before_1970_what_is_below_a_microsecond_is_not_read_otherwise() {
        let mut times = Times::default();
        for text in ["1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:58.0000001Z", "1969-12-31T23:59:57Z"] {
            assert_eq!(times.read(text), parsed(text), "{text}");
        }
    }
}
