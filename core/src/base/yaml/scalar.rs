//! YAML 1.1 scalars: booleans, numbers, null and strings.
//!
//! Follows `resolve` of goyaml.v2 in sigs.k8s.io/yaml, which kubectl uses: `0644` is 420, `on` is true.

/// A scalar: the text and the kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scalar {
    /// The text, unquoted.
    pub text: String,
    /// Whether it is unquoted.
    pub plain: bool,
    /// The kind.
    pub kind: Kind,
}

/// The kind of a scalar.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// null, ~ or empty.
    Null,
    /// true, yes, on, y and their opposites.
    Bool(bool),
    /// A number, as JSON writes it.
    Number(String),
    /// `.inf` and `.nan`, which JSON cannot represent.
    Infinite,
    /// A string.
    Text,
}

impl Scalar {
    /// Parses a scalar; `tag` is the last part of a `!!tag`.
    pub fn read(text: String, plain: bool, tag: Option<&str>) -> Self {
        let kind = match tag {
            Some("str" | "binary" | "timestamp") => Kind::Text,
            Some("int" | "float" | "bool" | "null") => kind_of(&text),
            _ if plain => kind_of(&text),
            _ => Kind::Text,
        };
        Self { text, plain, kind }
    }
}

fn kind_of(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Kind::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Kind::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf"
        | "-.Inf" | "-.INF" => return Kind::Infinite,
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Kind::Text;
    }
    // Go removes underscores, except from numbers that start with a point.
    let digits = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    integer(&digits).or_else(|| float(&digits)).map_or(Kind::Text, Kind::Number)
}

/// `strconv.ParseInt(text, 0, 64)`, else `ParseUint`.
fn integer(text: &str) -> Option<String> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some(two) if two.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return (size <= i64::MIN.unsigned_abs())
            .then(|| if size == 0 { "0".into() } else { format!("-{size}") });
    }
    // Only ParseInt accepts a sign.
    (size <= i64::MAX.unsigned_abs() || !text.starts_with('+')).then(|| size.to_string())
}

fn float(text: &str) -> Option<String> {
    if !is_float(text) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    // Go prints 8080.0 and 8.08e3 as 8080, so they are valid ports.
    if value.fract() == 0.0 && value.abs() < 1e21 {
        return Some(format!("{value:.0}"));
    }
    serde_json::Number::from_f64(value).map(|number| number.to_string())
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let some_digits = |text: &str| !text.is_empty() && all_digits(text);
    let number = match number.split_once('.') {
        Some(("", fraction)) => some_digits(fraction),
        Some((whole, fraction)) => some_digits(whole) && all_digits(fraction),
        None => some_digits(number),
    };
    number && exponent.is_none_or(some_digits)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::octal_of_old("0644", "420")]
    #[case::octal("0o644", "420")]
    #[case::hex("0x1F", "31")]
    #[case::binary("-0b101", "-5")]
    #[case::plus("+5", "5")]
    #[case::underscores("1_000", "1000")]
    #[case::zero("0", "0")]
    #[case::not_octal_but_a_float("089", "89")]
    #[case::whole_float("8080.0", "8080")]
    #[case::exponent("1e3", "1000")]
    #[case::fraction("0.5", "0.5")]
    #[case::no_zero(".5", "0.5")]
    #[case::largest("18446744073709551615", "18446744073709551615")]
    #[case::larger("18446744073709551616", "18446744073709551616")]
    fn numbers(#[case] text: &str, #[case] json: &str) {
        assert_eq!(kind_of(text), Kind::Number(json.into()));
    }

    #[rstest]
    #[case("1.2.3")]
    #[case("5s")]
    #[case("2027-01-31")]
    #[case("1e400")]
    #[case("0x")]
    #[case("--5")]
    #[case("0x-5")]
    #[case("-")]
    #[case("inf")]
    #[case("tRUE")]
    #[case("12:30:45")]
    #[case("é")]
    #[case("0é")]
    fn words(#[case] text: &str) {
        assert_eq!(kind_of(text), Kind::Text);
    }

    #[test]
    fn quotes_and_tags_decide() {
        assert_eq!(Scalar::read("yes".into(), false, None).kind, Kind::Text);
        assert_eq!(Scalar::read("80".into(), true, Some("str")).kind, Kind::Text);
        assert_eq!(Scalar::read("80".into(), false, Some("int")).kind, Kind::Number("80".into()));
        assert_eq!(Scalar::read("Off".into(), true, None).kind, Kind::Bool(false));
        assert_eq!(Scalar::read("~".into(), true, None).kind, Kind::Null);
        assert_eq!(Scalar::read("-.Inf".into(), true, None).kind, Kind::Infinite);
    }
}
