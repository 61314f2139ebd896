//! How long the proxy keeps an idle connection to the app before it opens a new one.

use std::{fmt, time::Duration};

use crate::{
    base::duration,
    linkerd::version::{Line, Version},
};

/// The idle timeout of the pool since 2.11.5 and 2.12.1: `LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT`.
pub const POOL_IDLE_TIMEOUT: &str = "LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT";
/// The idle timeout of the pool before that (removed in 2.13): `LINKERD2_PROXY_INBOUND_ROUTER_MAX_IDLE_AGE`.
pub const ROUTER_MAX_IDLE_AGE: &str = "LINKERD2_PROXY_INBOUND_ROUTER_MAX_IDLE_AGE";
/// After this time without a request the proxy drops the whole client with its pool.
const DISCOVERY_IDLE_TIMEOUT: &str = "LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT";
/// The annotation from which the injector sets it, in whole seconds (2.13 and newer).
pub(super) const DISCOVERY_UNUSED_TIMEOUT: &str =
    "config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout";
/// 0 disables the pool (the inbound one too, although the name does not say so).
const MAX_IDLE_CONNECTIONS: &str = "LINKERD2_PROXY_MAX_IDLE_CONNS_PER_ENDPOINT";

/// The pool's idle timeout since edge-22.9.1, 2.12.1 and 2.11.5 (linkerd2-proxy c6ba98b7d).
const DEFAULT: Duration = Duration::from_secs(3);
/// The default from edge-20.11.2 and 2.9.1 until then (linkerd2-proxy #734).
const DEFAULT_BEFORE_22_9_1: Duration = Duration::from_secs(20);
/// The default of 2.9.0 and older: hyper keeps connections for 90 s, but the proxy keeps the client for 60 s
/// (linkerd2-proxy release/v2.118 on hyper 0.13).
const DEFAULT_OF_2_9_0: Duration = Duration::from_secs(60);
/// How long an unused client is kept, since edge-23.1.1 and 2.13 (linkerd2-proxy `linkerd/app/src/env.rs`).
const DEFAULT_DISCOVERY: Duration = Duration::from_secs(90);

/// The idle timeout of the inbound HTTP/1 pool, called L in the documentation, and its source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolIdle {
    /// The longest idle time after which a connection is still reused; zero if none is.
    pub timeout: Duration,
    /// The source of the value.
    pub from: PoolFrom,
}

/// The source of the pool's idle timeout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PoolFrom {
    /// An environment variable of the proxy.
    Env(&'static str),
    /// An annotation that the injector turns into a variable.
    Annotation(&'static str),
    /// The default of a known version or release line.
    DefaultOf(String),
    /// The default of a variable that caps the pool's own timeout.
    DefaultCap(&'static str),
    /// The default of current versions, because the version is unknown.
    Assumed(String),
    /// A default, because the source of the real value cannot be read.
    Unread(String),
    /// A default, because the proxy does not start with the configured value.
    Bad {
        /// The variable.
        name: &'static str,
        /// The value.
        value: String,
    },
}

impl fmt::Display for PoolFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "set by {name}"),
            Self::Annotation(key) => write!(f, "set by annotation {key}"),
            Self::DefaultOf(version) => write!(f, "default of Linkerd {version}"),
            Self::DefaultCap(name) => write!(f, "default of {name}"),
            Self::Assumed(why) => write!(f, "default since Linkerd 2.11.5 and 2.12.1; {why}"),
            Self::Unread(why) => write!(f, "assumed default; {why}"),
            Self::Bad { name, value } => {
                write!(f, "assumed default; the proxy does not start with {name} {value:?}")
            }
        }
    }
}

/// The inputs that determine the timeout of the pool.
pub(super) struct PoolInputs<'t, V> {
    /// The environment of the proxy: returns the value of a variable, or why it is unknown.
    pub(super) variable: V,
    /// [`DISCOVERY_UNUSED_TIMEOUT`].
    pub(super) discovery: Option<&'t str>,
    /// The version.
    pub(super) version: Option<Version>,
    /// The version as written.
    pub(super) version_text: &'t str,
    /// The release line.
    pub(super) line: Option<Line>,
}

impl<V: Fn(&str) -> Option<Result<String, String>>> PoolInputs<'_, V> {
    /// The timeout from the environment of the proxy, otherwise from its version or release line. It is capped by the
    /// time for which the proxy keeps the client.
    pub(super) fn pool(&self) -> PoolIdle {
        if (self.variable)(MAX_IDLE_CONNECTIONS).is_some_and(|value| value.is_ok_and(|it| it.trim() == "0")) {
            return PoolIdle { timeout: Duration::ZERO, from: PoolFrom::Env(MAX_IDLE_CONNECTIONS) };
        }
        let names: &[&str] = match has_short_pool(self.version, self.line) {
            Some(true) => &[POOL_IDLE_TIMEOUT],
            // The old variable counts in versions before the new one was introduced, and if the version is unknown.
            Some(false) | None => &[POOL_IDLE_TIMEOUT, ROUTER_MAX_IDLE_AGE],
        };
        let set = names.iter().find_map(|name| self.set(name));
        let pool = match set {
            Some(Ok(set)) => set,
            Some(Err(from)) => PoolIdle { from, ..self.default() },
            None => self.default(),
        };
        match self.cap() {
            Some(cap) if cap.timeout < pool.timeout => cap,
            Some(_) | None => pool,
        }
    }

    /// The value of a variable: a timeout, or why it is unknown.
    fn set(&self, name: &'static str) -> Option<Result<PoolIdle, PoolFrom>> {
        let value = match (self.variable)(name)? {
            Ok(value) => value,
            Err(why) => return Some(Err(PoolFrom::Unread(why))),
        };
        Some(match proxy_duration(&value) {
            Some(timeout) => Ok(PoolIdle { timeout, from: PoolFrom::Env(name) }),
            None => Err(PoolFrom::Bad { name, value: value.chars().take(MAX_SHOWN).collect() }),
        })
    }

    /// How long the proxy keeps an unused client.
    fn cap(&self) -> Option<PoolIdle> {
        if let Some(Ok(set)) = self.set(DISCOVERY_IDLE_TIMEOUT) {
            return Some(set);
        }
        let is_older = match (self.version, self.line) {
            (Some(version), _) => version.has((23, 1, 1), &[(13, 0)]) == Some(false),
            (None, line) => line.is_some_and(|line| line.newest.is_some_and(|newest| newest < 13)),
        };
        if is_older {
            return None;
        }
        Some(match self.discovery.and_then(|text| duration::parse(text).ok()) {
            Some(timeout) => PoolIdle {
                timeout: Duration::from_secs(timeout.as_secs()),
                from: PoolFrom::Annotation(DISCOVERY_UNUSED_TIMEOUT),
            },
            None => {
                PoolIdle { timeout: DEFAULT_DISCOVERY, from: PoolFrom::DefaultCap(DISCOVERY_IDLE_TIMEOUT) }
            }
        })
    }

    fn default(&self) -> PoolIdle {
        let known = match (self.version, self.line) {
            (Some(version), _) => version.to_string(),
            (None, Some(line)) => line.to_string(),
            (None, None) => {
                let why = if self.version_text.is_empty() {
                    "the pod spec does not show the proxy version".to_owned()
                } else {
                    format!("{:?} is not a Linkerd version", self.version_text)
                };
                return PoolIdle { timeout: DEFAULT, from: PoolFrom::Assumed(why) };
            }
        };
        let is_2_9_0 = self.version.is_some_and(|it| it.has((20, 11, 2), &[(9, 1)]) == Some(false));
        let (timeout, from) = match has_short_pool(self.version, self.line) {
            Some(true) => (DEFAULT, PoolFrom::DefaultOf(known)),
            Some(false) if is_2_9_0 => (DEFAULT_OF_2_9_0, PoolFrom::DefaultOf(known)),
            Some(false) => (DEFAULT_BEFORE_22_9_1, PoolFrom::DefaultOf(known)),
            None => {
                (DEFAULT, PoolFrom::Assumed(format!("version {known} does not include the patch number")))
            }
        };
        PoolIdle { timeout, from }
    }
}

/// How many characters of an invalid value are shown.
const MAX_SHOWN: usize = 30;

/// The variable that sets the timeout of the pool in this version.
pub fn setting_name(version: Option<Version>, line: Option<Line>) -> &'static str {
    match has_short_pool(version, line) {
        Some(false) => ROUTER_MAX_IDLE_AGE,
        Some(true) | None => POOL_IDLE_TIMEOUT,
    }
}

/// Whether the default of the pool is 3 s; `None` if the version is unknown, or only some patch releases of the line
/// have it.
fn has_short_pool(version: Option<Version>, line: Option<Line>) -> Option<bool> {
    match (version, line) {
        (Some(version), _) => version.has((22, 9, 1), &[(12, 1), (11, 5)]),
        (None, Some(line)) if line.oldest > 12 => Some(true),
        (None, Some(line)) if line.newest.is_some_and(|newest| newest < 11) => Some(false),
        (None, Some(_) | None) => None,
    }
}

/// Parses a duration as the proxy does: digits and a unit, which may be missing only after 0 (linkerd2-proxy
/// `linkerd/app/src/env/types.rs`). `None` for values with which the proxy does not start.
fn proxy_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..unit].parse().ok()?;
    let scale = match &text[unit..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 0,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(scale)?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn inputs(
        env: &[(&str, Result<&str, &str>)],
        discovery: Option<&str>,
        version: &str,
        line: Option<Line>,
    ) -> PoolIdle {
        let variable = |name: &str| {
            let (_, value) = env.iter().rev().find(|(found, _)| *found == name)?;
            Some(value.map(str::to_owned).map_err(str::to_owned))
        };
        let (version, version_text) = (Version::parse(version), version);
        PoolInputs { variable, discovery, version, version_text, line }.pool()
    }

    fn pool(env: &[(&'static str, &'static str)], version: &str) -> (u128, String) {
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, Ok(*value))).collect();
        let pool = inputs(&env, None, version, Version::parse(version).and_then(Version::line));
        (pool.timeout.as_millis(), pool.from.to_string())
    }

    #[rstest]
    #[case::newest("edge-26.8.3", 3_000, "default of Linkerd edge-26.8.3")]
    #[case::stable("stable-2.14.10", 3_000, "default of Linkerd 2.14.10")]
    #[case::backport("stable-2.11.5", 3_000, "default of Linkerd 2.11.5")]
    #[case::before_it("stable-2.12.0", 20_000, "default of Linkerd 2.12.0")]
    #[case::old("stable-2.10.2", 20_000, "default of Linkerd 2.10.2")]
    #[case::oldest("stable-2.9.0", 60_000, "default of Linkerd 2.9.0")]
    #[case::enterprise("enterprise-2.17.1", 3_000, "default of Linkerd 2.17.1")]
    fn versions_have_defaults(#[case] version: &str, #[case] millis: u128, #[case] from: &str) {
        assert_eq!(pool(&[], version), (millis, from.to_owned()));
    }

    #[rstest]
    #[case::placeholder(
        "test-inject-proxy-version",
        "\"test-inject-proxy-version\" is not a Linkerd version"
    )]
    #[case::none("", "the pod spec does not show the proxy version")]
    fn an_unknown_version_is_assumed_to_be_current(#[case] version: &str, #[case] why: &str) {
        let expected = format!("default since Linkerd 2.11.5 and 2.12.1; {why}");
        assert_eq!(pool(&[], version), (3_000, expected));
    }

    #[rstest]
    #[case::set(&[(POOL_IDLE_TIMEOUT, "20s")], "edge-24.11.8", 20_000)]
    #[case::last_wins(&[(POOL_IDLE_TIMEOUT, "20s"), (POOL_IDLE_TIMEOUT, "500ms")], "edge-24.11.8", 500)]
    #[case::capped_by_discovery(&[(POOL_IDLE_TIMEOUT, "5m"), (DISCOVERY_IDLE_TIMEOUT, "90s")], "2.17.0", 90_000)]
    #[case::old_variable_in_old_proxy(&[(ROUTER_MAX_IDLE_AGE, "30s")], "stable-2.10.2", 30_000)]
    #[case::old_variable_in_new_proxy(&[(ROUTER_MAX_IDLE_AGE, "30s")], "stable-2.14.10", 3_000)]
    #[case::no_pool(&[(MAX_IDLE_CONNECTIONS, "0")], "stable-2.14.10", 0)]
    #[case::zero_needs_no_unit(&[(POOL_IDLE_TIMEOUT, "0")], "stable-2.14.10", 0)]
    #[case::capped_by_default(&[(POOL_IDLE_TIMEOUT, "5m")], "2.17.0", 90_000)]
    #[case::no_cap_before_2_13(&[(ROUTER_MAX_IDLE_AGE, "5m")], "stable-2.10.2", 300_000)]
    fn the_environment_decides(
        #[case] env: &[(&'static str, &'static str)],
        #[case] version: &str,
        #[case] millis: u128,
    ) {
        assert_eq!(pool(env, version).0, millis);
    }

    #[rstest]
    #[case::old("2.10", Line::exactly(10), 20_000, "default of Linkerd 2.10")]
    #[case::two_old("2.9-2.10", Line::between(9, 10), 20_000, "default of Linkerd 2.9-2.10")]
    #[case::patch_decides(
        "2.11",
        Line::exactly(11),
        3_000,
        "default since Linkerd 2.11.5 and 2.12.1; version 2.11 does not include the patch number"
    )]
    #[case::new("2.16-2.17", Line::between(16, 17), 3_000, "default of Linkerd 2.16-2.17")]
    #[case::newest("2.20+", Line::since(20), 3_000, "default of Linkerd 2.20+")]
    fn lines_have_defaults(
        #[case] shown: &str,
        #[case] line: Line,
        #[case] millis: u128,
        #[case] from: &str,
    ) {
        assert_eq!(line.to_string(), shown);
        let pool = inputs(&[], None, "acme-7", Some(line));
        assert_eq!((pool.timeout.as_millis(), pool.from.to_string()), (millis, from.to_owned()));
    }

    #[test]
    fn a_line_without_a_patch_is_taken_for_a_new_one() {
        let from = "default since Linkerd 2.11.5 and 2.12.1; version 2.12 does not include the patch number";
        assert_eq!(pool(&[], "version-2.12"), (3_000, from.to_owned()));
    }

    #[rstest]
    #[case::old("edge-21.1.1", 300_000)]
    #[case::new("edge-23.1.1", 90_000)]
    fn the_cap_came_to_the_edges_as_well(#[case] version: &str, #[case] millis: u128) {
        let name = if millis == 90_000 { POOL_IDLE_TIMEOUT } else { ROUTER_MAX_IDLE_AGE };
        assert_eq!(pool(&[(name, "5m")], version).0, millis);
    }

    #[rstest]
    #[case::without_a_unit("20")]
    #[case::empty("")]
    #[case::fraction("1.5s")]
    fn a_bad_value_stops_the_proxy(#[case] value: &'static str) {
        let from = format!("assumed default; the proxy does not start with {POOL_IDLE_TIMEOUT} {value:?}");
        assert_eq!(pool(&[(POOL_IDLE_TIMEOUT, value)], "stable-2.14.10"), (3_000, from));
    }

    #[test]
    fn an_unreadable_source_is_reported() {
        let env = [(POOL_IDLE_TIMEOUT, Ok("1s")), (POOL_IDLE_TIMEOUT, Err("it comes from ConfigMap pool"))];
        let pool = inputs(&env, None, "stable-2.14.10", None);
        let actual = (pool.timeout.as_secs(), pool.from.to_string());
        assert_eq!(actual, (3, "assumed default; it comes from ConfigMap pool".to_owned()));
    }

    #[rstest]
    #[case::lower(
        Some("1500ms"),
        None,
        1,
        "set by annotation config.linkerd.io/proxy-inbound-discovery-cache-unused-timeout"
    )]
    #[case::higher(Some("5s"), None, 3, "default of Linkerd 2.14.10")]
    #[case::the_variable_wins(
        Some("1s"),
        Some("2s"),
        2,
        "set by LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT"
    )]
    #[case::unreadable(Some("soon"), None, 3, "default of Linkerd 2.14.10")]
    fn an_unused_client_goes_with_its_pool(
        #[case] annotation: Option<&str>,
        #[case] variable: Option<&str>,
        #[case] seconds: u64,
        #[case] from: &str,
    ) {
        let env: Vec<_> = variable.into_iter().map(|value| (DISCOVERY_IDLE_TIMEOUT, Ok(value))).collect();
        let pool = inputs(&env, annotation, "stable-2.14.10", Some(Line::exactly(14)));
        assert_eq!((pool.timeout.as_secs(), pool.from.to_string()), (seconds, from.to_owned()));
    }
}
