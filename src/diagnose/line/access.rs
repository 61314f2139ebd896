//! A line of the access log, in either form.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Access, Event, Line, number, object, port_of, time::Times};

/// The fields of a JSON line that tell of a request.
#[derive(Debug, Default, Deserialize, Eq, PartialEq)]
struct JsonAccess<'a> {
    #[serde(rename = "client.addr", borrow)]
    client: Cow<'a, str>,
    #[serde(rename = "client.id", borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    host: Cow<'a, str>,
    status: u16,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    total_ns: Cow<'a, str>,
    #[serde(borrow, default)]
    user_agent: Cow<'a, str>,
}

impl<'a> JsonAccess<'a> {
    /// Reads a line as the proxy writes it: one object without spaces, its values texts without escapes, or digits.
    ///
    /// `None` for any other line, for which a JSON parser is needed.
    fn scan(object: &'a str) -> Option<Self> {
        let mut access = Self::default();
        let mut seen = 0;
        // No shortcut at the first: without one, the compiler looks at many bytes at once.
        if object.bytes().fold(false, |found, byte| found | (byte < b' ')) {
            return None;
        }
        let mut rest = object.strip_prefix('{')?;
        loop {
            let (key, after) = quoted(rest)?;
            let value = after.strip_prefix(':')?;
            let field = match key {
                "client.addr" => Some((1, &mut access.client)),
                "client.id" => Some((2, &mut access.id)),
                "host" => Some((4, &mut access.host)),
                "timestamp" => Some((8, &mut access.timestamp)),
                "total_ns" => Some((16, &mut access.total_ns)),
                "user_agent" => Some((32, &mut access.user_agent)),
                _ => None,
            };
            let (bit, end) = if let Some((bit, field)) = field {
                let (text, end) = quoted(value)?;
                *field = Cow::Borrowed(text);
                (bit, end)
            } else if key == "status" {
                let digits = value.bytes().take_while(u8::is_ascii_digit).count();
                let (digits, end) = value.split_at(digits);
                access.status = digits.parse().ok().filter(|_| !digits.starts_with('0'))?;
                (64, end)
            } else {
                (0, quoted(value)?.1)
            };
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            match end.as_bytes() {
                [b',', ..] => rest = &end[1..],
                [b'}'] => break,
                _ => return None,
            }
        }
        const NEEDED: u8 = 1 | 8 | 16 | 64;
        (seen & NEEDED == NEEDED).then_some(access)
    }

    fn line(&self, times: &mut Times) -> Line {
        let total = self.total_ns.parse::<i64>().ok().filter(|total| *total >= 0);
        let (Some(start), Some(total)) = (times.read(&self.timestamp), total) else { return Line::Foreign };
        Line::Event(Event::Access(Access {
            client: number(&self.client),
            host: Some(number(&self.host)),
            port: port_of(&self.host).unwrap_or(0),
            start,
            total: Some(total / 1000),
            status: self.status,
            from_kubelet: self.user_agent.starts_with("kube-probe/"),
            meshed: !matches!(&*self.id, "" | "-"),
        }))
    }
}

/// A text in quotation marks without escapes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    let (text, after) = text.split_at(end);
    Some((text, after.strip_prefix('"')?))
}

/// How the proxy begins a line of the JSON form.
pub(super) const BEGINNING: &[u8] = b"{\"client.addr\":";

/// A line of the JSON form with nothing around it, as the proxy writes it; `None` for any other.
pub(super) fn bare_json(line: &[u8], times: &mut Times) -> Option<Line> {
    Some(JsonAccess::scan(std::str::from_utf8(line).ok()?)?.line(times))
}

/// A line of the JSON form.
pub(super) fn json(line: &[u8], times: &mut Times) -> Line {
    object(line)
        .and_then(|text| JsonAccess::scan(text).or_else(|| serde_json::from_str(text).ok()))
        .map_or(Line::Foreign, |access| access.line(times))
}

/// `10.0.0.1:38998 - - [2026-11-27T08:08:53.551746074Z] "GET /healthz HTTP/1.1" 502`
pub(super) fn apache(line: &[u8], times: &mut Times) -> Option<Line> {
    let text = std::str::from_utf8(line).ok()?;
    let (request, status) = text.trim_end().rsplit_once("\" ")?;
    let status = status.split(' ').next()?.parse().ok().filter(|status| (100..600).contains(status))?;
    let (before, _) = request.split_once(" \"")?;
    let (who, time) = before.strip_suffix(']')?.rsplit_once(" [")?;
    let start = times.read(time)?;
    // `ADDRESS IDENTITY -`, after what others write before it.
    let mut words = who.rsplit(' ');
    let (dash, id, client) = (words.next()?, words.next()?, words.next()?);
    (dash == "-" && port_of(client).is_some()).then(|| {
        Line::Event(Event::Access(Access {
            client: number(client),
            host: None,
            port: 0,
            start,
            total: None,
            status,
            from_kubelet: false,
            meshed: id != "-",
        }))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const WHOLE: &str = r#"{"client.addr":"192.0.2.1:60314","client.id":"-","host":"192.0.2.2:8003","method":"GET","processing_ns":"349916","request_bytes":"","response_bytes":"0","status":502,"timestamp":"2026-11-27T08:09:37.874096391Z","total_ns":"460924","trace_id":"","uri":"/healthz","user_agent":"kube-probe/1.33","version":"HTTP/1.1"}"#;

    #[test]
    fn the_proxys_line_needs_no_parser() {
        assert_eq!(JsonAccess::scan(WHOLE), serde_json::from_str(WHOLE).ok());
        assert!(JsonAccess::scan(WHOLE).is_some());
    }

    #[rstest]
    #[case::escape(&WHOLE.replace("/healthz", "/\\u0061"))]
    #[case::space(&WHOLE.replace(",", ", "))]
    #[case::number(&WHOLE.replace("\"0\"", "0"))]
    #[case::nested(&WHOLE.replace("\"GET\"", "{\"a\":\"b\"}"))]
    #[case::twice(&WHOLE.replace("method", "host"))]
    #[case::without_client(&WHOLE.replace("client.addr", "client"))]
    #[case::leading_zero(&WHOLE.replace("502", "0502"))]
    #[case::control(&WHOLE.replace("GET", "G\tT"))]
    fn any_other_line_is_left_to_the_parser(#[case] line: &str) {
        assert_eq!(JsonAccess::scan(line), None);
    }

    proptest! {
        #[test]
        fn what_is_scanned_is_what_the_parser_reads(
            at in 0..WHOLE.len(), cut in 0..8_usize, text in "[\\PC\u{1}]{0,4}|[\"\\\\{},:0-9]{0,4}"
        ) {
            let line = format!("{}{text}{}", &WHOLE[..at], &WHOLE[(at + cut).min(WHOLE.len())..]);
            if let Some(scanned) = JsonAccess::scan(&line) {
                prop_assert_eq!(Some(scanned), serde_json::from_str(&line).ok());
            }
        }
    }
}
