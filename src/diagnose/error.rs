//! Classifies the error messages of the proxy.
//!
//! The messages are those of linkerd2-proxy, hyper, h2 and the kernel, from the proxy of Linkerd 2.9 to that of
//! 2026-08.

use std::{hash::BuildHasher as _, sync::LazyLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use foldhash::fast::FixedState;

/// The kind of an error.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// An unknown error.
    #[default]
    Unknown,
    /// The request could not be sent or its response not be read; JSON logs do not say more.
    SendRequest,
    /// The connection could not be opened; JSON logs do not say more.
    Connect,
    /// The connection ended (FIN) before the response.
    Closed,
    /// The connection was reset while the proxy waited for the response.
    Reset,
    /// The connection was already reset when the proxy wrote the request.
    WriteFailed,
    /// The kernel refused the connection.
    Refused,
    /// The connection was not accepted in time.
    ConnectTimeout,
    /// The response is not HTTP.
    NotHttp,
    /// An error that the proxy itself names.
    Named(Named),
}

impl Kind {
    /// Whether the app's end of the connection was closed; both a race and an app that ends a request cause this.
    pub const fn is_ended_by_app(self) -> bool {
        matches!(self, Self::SendRequest | Self::Closed | Self::Reset | Self::WriteFailed)
    }
}

macro_rules! named {
    ($($variant:ident $name:literal $describe:literal $page:literal,)*) => {
        /// Errors that the proxy itself names.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Named {
            $(#[doc = $describe] $variant,)*
        }

        impl Named {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happened, in a sentence.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $describe,)* }
            }

            /// Linkerd's page for it.
            pub const fn page(self) -> &'static str {
                match self { $(Self::$variant => $page,)* }
            }
        }
    };
}

named! {
    FailFast "fail-fast" "The proxy had no ready endpoint, and failed the request immediately."
        "https://linkerd.io/2/common-errors/failfast/",
    LoadShed "load-shedding" "The proxy's queue was full, so the proxy rejected the request."
        "https://linkerd.io/2/common-errors/http-503-504/",
    Unauthorized "unauthorized" "A policy of the server does not authorize this client."
        "https://linkerd.io/2/features/server-policy/",
    NoRoute "no-route" "No route of the policy matches the request."
        "https://linkerd.io/2/features/httproute/",
    RateLimited "rate-limited" "A rate limit of the server was exceeded."
        "https://linkerd.io/2/features/rate-limiting/",
    InvalidPolicy "invalid-policy" "The proxy could not use a policy resource."
        "https://linkerd.io/2/features/server-policy/",
    InjectedFailure "configured-failure" "A route is configured to fail this request."
        "https://linkerd.io/2/features/httproute/",
    Loop "loop" "The request would have looped back to the same proxy."
        "https://linkerd.io/2/common-errors/",
    ResponseTimeout "response-timeout" "The response did not arrive within the timeout of the route."
        "https://linkerd.io/2/features/retries-and-timeouts/",
    Detect "protocol-detection" "The proxy could not detect the protocol in time."
        "https://linkerd.io/2/common-errors/protocol-detection/",
    Tls "tls" "TLS between the proxies failed."
        "https://linkerd.io/2/features/automatic-mtls/",
    Unreachable "unreachable" "The network has no route to the server."
        "https://linkerd.io/2/common-errors/http-502/",
    Http2 "http2" "The HTTP/2 connection or stream was closed."
        "https://linkerd.io/2/common-errors/http-502/",
    Io "i/o" "The connection failed with a kernel error."
        "https://linkerd.io/2/common-errors/http-502/",
    Unnamed "other" "The proxy reports an unknown error."
        "https://linkerd.io/2/common-errors/",
}

/// Words, and what they mean; the first that is found counts.
const WORDS: &[(&str, Kind)] = &[
    // "no route to host" is the kernel's, "no route" the proxy's.
    ("no route to host", Kind::Named(Named::Unreachable)),
    ("fail-fast", Kind::Named(Named::FailFast)),
    ("failfast", Kind::Named(Named::FailFast)),
    ("shedding load", Kind::Named(Named::LoadShed)),
    ("load shed", Kind::Named(Named::LoadShed)),
    ("at capacity", Kind::Named(Named::LoadShed)),
    ("service unavailable", Kind::Named(Named::LoadShed)),
    ("max concurrency", Kind::Named(Named::LoadShed)),
    ("unauthorized", Kind::Named(Named::Unauthorized)),
    ("no route", Kind::Named(Named::NoRoute)),
    ("rate-limit", Kind::Named(Named::RateLimited)),
    ("rate limit", Kind::Named(Named::RateLimited)),
    ("server policy", Kind::Named(Named::InvalidPolicy)),
    ("client policy", Kind::Named(Named::InvalidPolicy)),
    ("configured to fail with", Kind::Named(Named::InjectedFailure)),
    ("loop detected", Kind::Named(Named::Loop)),
    ("must not target port", Kind::Named(Named::Loop)),
    ("connect timed out", Kind::ConnectTimeout),
    ("connection timed out", Kind::ConnectTimeout),
    ("response timeout", Kind::Named(Named::ResponseTimeout)),
    ("header timeout", Kind::Named(Named::ResponseTimeout)),
    ("stream timeout", Kind::Named(Named::ResponseTimeout)),
    ("request timed out", Kind::Named(Named::ResponseTimeout)),
    ("detection timed out", Kind::Named(Named::Detect)),
    ("read timed out", Kind::Named(Named::Detect)),
    ("connection refused", Kind::Refused),
    ("unreachable", Kind::Named(Named::Unreachable)),
    ("certificate", Kind::Named(Named::Tls)),
    ("mutually authenticated", Kind::Named(Named::Tls)),
    ("tls ", Kind::Named(Named::Tls)),
    ("required id", Kind::Named(Named::Tls)),
    ("parsed", Kind::NotHttp),
    ("message head is too large", Kind::NotHttp),
    ("http2 error", Kind::Named(Named::Http2)),
    ("h2 protocol error", Kind::Named(Named::Http2)),
    ("stream error", Kind::Named(Named::Http2)),
    ("goaway", Kind::Named(Named::Http2)),
    ("error writing a body to connection", Kind::WriteFailed),
    ("broken pipe", Kind::WriteFailed),
    ("not connected", Kind::WriteFailed),
    ("connection reset", Kind::Reset),
    ("connection closed before message completed", Kind::Closed),
    ("unexpected end of file", Kind::Closed),
    ("connection aborted", Kind::Reset),
    ("connection error", Kind::Reset),
    ("(connect)", Kind::Connect),
    ("error trying to connect", Kind::Connect),
    ("(sendrequest)", Kind::SendRequest),
    ("os error", Kind::Named(Named::Io)),
];

/// As much of the end of a text is looked at: the chain of sources ends with the first cause, and repeats itself before.
const END: usize = 160;

/// Finds the words.
static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = WORDS.iter().map(|(words, _)| words);
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).ascii_case_insensitive(true).build(words).ok()
});

/// As many texts are remembered.
const REMEMBERED: usize = 64;

/// Tells the kinds of errors, and remembers some: a log has few texts, each very often.
#[derive(Debug, Default)]
pub struct Kinds {
    /// By the hash of the text.
    known: Vec<(Vec<u8>, Kind)>,
}

impl Kinds {
    /// What a text of the proxy says.
    pub fn of(&mut self, text: &[u8]) -> Kind {
        let end = &text[text.len().saturating_sub(END)..];
        self.known.resize_with(REMEMBERED, Default::default);
        let slot = FixedState::default().hash_one(end) % (REMEMBERED as u64);
        let Some((known, kind)) = usize::try_from(slot).ok().and_then(|slot| self.known.get_mut(slot)) else {
            return Kind::Unknown;
        };
        if known != end {
            *kind = self::kind(end);
            known.clear();
            known.extend_from_slice(end);
        }
        *kind
    }
}

fn kind(end: &[u8]) -> Kind {
    let found = FINDER.iter().flat_map(|finder| finder.find_overlapping_iter(end));
    match found.map(|found| found.pattern().as_usize()).min().and_then(|first| WORDS.get(first)) {
        Some((_, kind)) => *kind,
        None if end.trim_ascii().is_empty() => Kind::Unknown,
        None => Kind::Named(Named::Unnamed),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::closed("client error (SendRequest), connection closed before message completed", Kind::Closed)]
    #[case::reset(
        "client error (SendRequest), connection error, client: Connection reset by peer (os error 104)",
        Kind::Reset
    )]
    #[case::write(
        "client error (SendRequest), error writing a body to connection, client: Connection reset by peer (os error 104)",
        Kind::WriteFailed
    )]
    #[case::refused("client error (Connect), Connection refused (os error 111)", Kind::Refused)]
    #[case::refused_2_9("error trying to connect: Connection refused (os error 111)", Kind::Refused)]
    #[case::timeout("client error (Connect), connect timed out after 100ms", Kind::ConnectTimeout)]
    #[case::not_http("client error (SendRequest), invalid HTTP version parsed", Kind::NotHttp)]
    #[case::json_send("client error (SendRequest)", Kind::SendRequest)]
    #[case::json_connect("client error (Connect)", Kind::Connect)]
    #[case::fail_fast_2_10("HTTP Logical service in fail-fast", Kind::Named(Named::FailFast))]
    #[case::fail_fast("logical service 10.0.0.1:80: service in fail-fast", Kind::Named(Named::FailFast))]
    #[case::policy_2_11("unauthorized connection on server web", Kind::Named(Named::Unauthorized))]
    #[case::no_route("no route found for request", Kind::Named(Named::NoRoute))]
    #[case::no_host(
        "client error (Connect), No route to host (os error 113)",
        Kind::Named(Named::Unreachable)
    )]
    #[case::nothing("", Kind::Unknown)]
    #[case::unheard_of("the flux capacitor is empty", Kind::Named(Named::Unnamed))]
    fn words_say(#[case] text: &str, #[case] expected: Kind) {
        let mut kinds = Kinds::default();
        assert_eq!(kinds.of(text.as_bytes()), expected);
        assert_eq!(kinds.of(text.as_bytes()), expected, "remembered");
    }

    #[test]
    fn a_text_that_is_remembered_is_not_taken_for_another() {
        let mut kinds = Kinds::default();
        for number in 0..1000 {
            assert_eq!(kinds.of(format!("connection refused {number}").as_bytes()), Kind::Refused);
            assert_eq!(kinds.of(format!("connection reset {number}").as_bytes()), Kind::Reset);
        }
    }
}
