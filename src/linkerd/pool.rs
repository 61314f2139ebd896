//! How long the proxy keeps an idle connection to the app before it opens a new one.

use std::{fmt, time::Duration};

use crate::{linkerd::version::Version, pod::EnvVar};

/// `LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT`: the pool's idle timeout, since 2.11.5 and 2.12.1.
pub const POOL_IDLE_TIMEOUT: &str = "LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT";
/// `LINKERD2_PROXY_INBOUND_ROUTER_MAX_IDLE_AGE`: the same before that (gone since 2.13).
pub const ROUTER_MAX_IDLE_AGE: &str = "LINKERD2_PROXY_INBOUND_ROUTER_MAX_IDLE_AGE";
/// After this long without a request the whole client is dropped, and its pool with it.
const DISCOVERY_IDLE_TIMEOUT: &str = "LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT";
/// 0 switches the pool off (sic: inbound, though the name does not say so).
const MAX_IDLE_CONNECTIONS: &str = "LINKERD2_PROXY_MAX_IDLE_CONNS_PER_ENDPOINT";

/// The pool's idle timeout since edge-22.9.1, 2.12.1 and 2.11.5 (linkerd2-proxy c6ba98b7d).
const DEFAULT: Duration = Duration::from_secs(3);
/// From edge-20.11.2 and 2.9.1 until then (linkerd2-proxy #734).
const DEFAULT_BEFORE_22_9_1: Duration = Duration::from_secs(20);
/// In 2.9.0 and before: hyper's own 90 s (linkerd2-proxy release/v2.118 on hyper 0.13).
const DEFAULT_OF_2_9_0: Duration = Duration::from_secs(90);

/// The inbound HTTP/1 pool's idle timeout, called L in our documents, and how we know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolIdle {
    /// The longest idle time after which a connection is still re-used; zero when none is.
    pub timeout: Duration,
    /// Where it comes from.
    pub from: PoolFrom,
}

/// Where the pool's idle timeout comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PoolFrom {
    /// A variable of the proxy's environment.
    Env(&'static str),
    /// The default of a version that we know.
    DefaultOf(String),
    /// The default of today's versions, since the version cannot be told.
    Assumed(String),
}

impl fmt::Display for PoolFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "{name} of the proxy"),
            Self::DefaultOf(version) => write!(f, "default of Linkerd {version}"),
            Self::Assumed(why) => write!(f, "default since 2.11.5 and 2.12.1, assumed: {why}"),
        }
    }
}

impl PoolIdle {
    /// From the proxy's environment (of two variables with one name the last counts), else from its version.
    pub(super) fn of(env: &[EnvVar<'_>], version: Option<Version>, version_text: &str) -> Self {
        let last = |name: &str| {
            let var = env.iter().rev().find(|var| &*var.name == name && var.value_from.is_none())?;
            proxy_duration(&var.value)
        };
        if env
            .iter()
            .rev()
            .find(|var| &*var.name == MAX_IDLE_CONNECTIONS)
            .is_some_and(|var| var.value.trim() == "0")
        {
            return Self { timeout: Duration::ZERO, from: PoolFrom::Env(MAX_IDLE_CONNECTIONS) };
        }
        let set = [POOL_IDLE_TIMEOUT, ROUTER_MAX_IDLE_AGE]
            .into_iter()
            .filter(|name| *name == POOL_IDLE_TIMEOUT || reads_router_max_idle_age(version))
            .find_map(|name| Some(Self { timeout: last(name)?, from: PoolFrom::Env(name) }));
        let pool = set.unwrap_or_else(|| Self::default_of(version, version_text));
        match last(DISCOVERY_IDLE_TIMEOUT) {
            Some(cap) if cap < pool.timeout => {
                Self { timeout: cap, from: PoolFrom::Env(DISCOVERY_IDLE_TIMEOUT) }
            }
            _ => pool,
        }
    }

    fn default_of(version: Option<Version>, version_text: &str) -> Self {
        let Some(version) = version else {
            let why = if version_text.is_empty() {
                "the pod does not tell its proxy's version".to_owned()
            } else {
                format!("version {version_text:?} is not one of Linkerd's")
            };
            return Self { timeout: DEFAULT, from: PoolFrom::Assumed(why) };
        };
        let known = PoolFrom::DefaultOf(version.to_string());
        match has_short_pool(version) {
            Some(true) => Self { timeout: DEFAULT, from: known },
            Some(false) if version.has((20, 11, 2), &[(9, 1)]) == Some(false) => {
                Self { timeout: DEFAULT_OF_2_9_0, from: known }
            }
            Some(false) => Self { timeout: DEFAULT_BEFORE_22_9_1, from: known },
            None => Self {
                timeout: DEFAULT,
                from: PoolFrom::Assumed(format!(
                    "{version} does not tell its patch, and older ones keep 20s"
                )),
            },
        }
    }
}

/// The variable that sets the pool's timeout in this version.
pub fn knob(version: Option<Version>) -> &'static str {
    match version.and_then(has_short_pool) {
        Some(false) => ROUTER_MAX_IDLE_AGE,
        Some(true) | None => POOL_IDLE_TIMEOUT,
    }
}

/// Whether the pool's timeout is 3 s by default.
fn has_short_pool(version: Version) -> Option<bool> {
    version.has((22, 9, 1), &[(12, 1), (11, 5)])
}

/// The old variable counts in versions before the new one came, and when we cannot tell the version.
fn reads_router_max_idle_age(version: Option<Version>) -> bool {
    version.is_none_or(|version| has_short_pool(version) != Some(true))
}

/// A duration as the proxy reads it: digits and a unit, which only 0 may lack (linkerd2-proxy
/// `linkerd/app/src/env/types.rs`). `None` for what would stop the proxy from starting.
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

    fn pool(env: &[(&'static str, &'static str)], version: &str) -> (u128, String) {
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| EnvVar { name: (*name).into(), value: (*value).into(), value_from: None })
            .collect();
        let pool = PoolIdle::of(&env, Version::parse(version), version);
        (pool.timeout.as_millis(), pool.from.to_string())
    }

    #[rstest]
    #[case::newest("edge-26.8.3", 3_000, "default of Linkerd edge-26.8.3")]
    #[case::stable("stable-2.14.10", 3_000, "default of Linkerd 2.14.10")]
    #[case::backport("stable-2.11.5", 3_000, "default of Linkerd 2.11.5")]
    #[case::before_it("stable-2.12.0", 20_000, "default of Linkerd 2.12.0")]
    #[case::old("stable-2.10.2", 20_000, "default of Linkerd 2.10.2")]
    #[case::oldest("stable-2.9.0", 90_000, "default of Linkerd 2.9.0")]
    #[case::enterprise("enterprise-2.17.1", 3_000, "default of Linkerd 2.17.1")]
    fn versions_have_defaults(#[case] version: &str, #[case] millis: u128, #[case] from: &str) {
        assert_eq!(pool(&[], version), (millis, from.to_owned()));
    }

    #[rstest]
    #[case::placeholder(
        "test-inject-proxy-version",
        "version \"test-inject-proxy-version\" is not one of Linkerd's"
    )]
    #[case::none("", "the pod does not tell its proxy's version")]
    #[case::line_only("version-2.12", "2.12 does not tell its patch, and older ones keep 20s")]
    fn an_untold_version_is_assumed_to_be_of_today(#[case] version: &str, #[case] why: &str) {
        let expected = format!("default since 2.11.5 and 2.12.1, assumed: {why}");
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
    #[case::a_bad_value_is_not_one(&[(POOL_IDLE_TIMEOUT, "20")], "stable-2.14.10", 3_000)]
    fn the_environment_decides(
        #[case] env: &[(&'static str, &'static str)],
        #[case] version: &str,
        #[case] millis: u128,
    ) {
        assert_eq!(pool(env, version).0, millis);
    }
}
