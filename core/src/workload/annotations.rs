//! The `linkerd-linger.io/*` annotations of a pod, except exemptions, which belong to the policy.
//!
//! Parses annotations into checked values, and reports every [`Mistake`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{base::duration, workload::pod::Pod};

/// The minimum timeout; proxy-init treats 0 as unset.
pub const MIN_SECONDS: u32 = 1;
/// The maximum timeout that every kernel accepts: `INT_MAX / HZ` with the largest HZ of 1000. A larger value fails with
/// EINVAL (measured with HZ 250: 8589934 is accepted, 8589935 is not).
pub const MAX_SECONDS: u32 = 2_147_483;

/// The prefix of the annotations.
pub const PREFIX: &str = "linkerd-linger.io/";
/// How long the server keeps an idle connection: `10s`, `none`, or `web=10s,admin=none`.
pub const IDLE_TIMEOUT: &str = "linkerd-linger.io/idle-timeout";
/// The desired close-wait timeout: a duration or `off`.
pub const CLOSE_WAIT_TIMEOUT: &str = "linkerd-linger.io/close-wait-timeout";
/// The periods of regular traffic other than probes: `30s,1m`.
pub const TRAFFIC_PERIOD: &str = "linkerd-linger.io/traffic-period";
/// Rules that do not apply to this pod, with an end date and a reason.
pub const EXEMPT: &str = "linkerd-linger.io/exempt";
/// Linkerd's own annotation for the close-wait timeout.
pub const LINKERD_CLOSE_WAIT_TIMEOUT: &str = "config.linkerd.io/close-wait-timeout";

/// All annotations of linkerd-linger.
pub const ALL: [&str; 4] = [IDLE_TIMEOUT, CLOSE_WAIT_TIMEOUT, TRAFFIC_PERIOD, EXEMPT];

/// The maximum number of periods in [`TRAFFIC_PERIOD`]; each is compared with each container.
const MAX_PERIODS: usize = 16;

/// The annotations of a pod.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Annotations {
    /// The idle timeout of each named container, and of all others (`None`).
    pub idle: BTreeMap<Option<String>, IdleTimeout>,
    /// The desired close-wait timeout.
    pub close_wait: Option<(CloseWait, &'static str)>,
    /// The periods of regular traffic.
    pub traffic_periods: Vec<Duration>,
    /// The invalid annotations.
    pub mistakes: Vec<Mistake>,
}

/// A declared idle timeout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdleTimeout {
    /// The server closes idle connections after this time.
    After(Duration),
    /// `none`: the server never closes them.
    None,
}

/// A desired close-wait timeout.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseWait {
    /// Seconds, within the range that proxy-init and the kernel accept.
    Seconds(u32),
    /// `off`: leave the timeout unchanged.
    Off,
}

/// An invalid annotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// The annotation.
    pub key: String,
    /// The problem and the reason.
    pub message: String,
    /// How to fix it.
    pub help: String,
}

impl Annotations {
    /// Reads the annotations of a pod.
    pub fn read(pod: &Pod<'_>) -> Self {
        let mut read = Self::default();
        for (key, value) in &pod.annotations.0 {
            let outcome = match &**key {
                IDLE_TIMEOUT => idle_timeouts(value, pod).map(|idle| read.idle = idle),
                CLOSE_WAIT_TIMEOUT => {
                    close_wait(value).map(|wanted| read.close_wait = Some((wanted, CLOSE_WAIT_TIMEOUT)))
                }
                TRAFFIC_PERIOD => periods(value).map(|periods| read.traffic_periods = periods),
                EXEMPT => Ok(()),
                other if other.starts_with(PREFIX) => Err((
                    "unknown annotation".to_owned(),
                    format!("use one of {}", ALL.map(|known| &known[PREFIX.len()..]).join(", ")),
                )),
                _ => Ok(()),
            };
            if let Err((message, help)) = outcome {
                read.mistakes.push(Mistake { key: key.to_string(), message, help });
            }
        }
        if read.close_wait.is_none() {
            read.close_wait = linkerds_close_wait(pod).map(|wanted| (wanted, LINKERD_CLOSE_WAIT_TIMEOUT));
        }
        read
    }

    /// The declaration for a container, otherwise the one for all containers.
    pub fn idle_of(&self, container: &str) -> Option<IdleTimeout> {
        let of = |name: Option<&str>| self.idle.get(&name.map(str::to_owned));
        of(Some(container)).or_else(|| of(None)).copied()
    }
}

type Read<T> = Result<T, (String, String)>;

fn idle_timeouts(text: &str, pod: &Pod<'_>) -> Read<BTreeMap<Option<String>, IdleTimeout>> {
    let known: BTreeSet<&str> = pod.all_containers().map(|container| &*container.name).collect();
    let mut read = BTreeMap::new();
    for item in text.split(',') {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (Some(name.trim()), value.trim()),
            None => (None, item.trim()),
        };
        if let Some(name) = name
            && !known.contains(name)
        {
            let names = pod.running_containers().map(|c| &*c.name).collect::<Vec<_>>().join(", ");
            return Err((
                format!("there is no container {name:?}"),
                format!("the pod's containers are {names}"),
            ));
        }
        let name = name.map(str::to_owned);
        if read.contains_key(&name) {
            let twice = name.map_or_else(|| "all containers".to_owned(), |name| format!("container {name}"));
            return Err((format!("it sets {twice} twice"), "set it once".to_owned()));
        }
        let idle = match value {
            "none" => IdleTimeout::None,
            _ => match duration::parse(value) {
                Ok(timeout) if timeout.is_zero() => {
                    return Err((
                        format!("the timeout cannot be {value:?}"),
                        "use none for a server that never closes idle connections".to_owned(),
                    ));
                }
                Ok(timeout) => IdleTimeout::After(timeout),
                Err(error) => {
                    return Err((
                        format!("{value:?} is not a duration: {}", error.reason),
                        "use a duration such as 10s, or none, or one per container: web=10s,admin=none"
                            .to_owned(),
                    ));
                }
            },
        };
        read.insert(name, idle);
    }
    Ok(read)
}

fn close_wait(text: &str) -> Read<CloseWait> {
    let help = format!("use off, or a duration such as 1h, from {MIN_SECONDS}s to {MAX_SECONDS}s");
    if text == "off" {
        return Ok(CloseWait::Off);
    }
    let timeout = duration::parse(text)
        .map_err(|error| (format!("{text:?} is not a duration: {}", error.reason), help.clone()))?;
    seconds(timeout).map(CloseWait::Seconds).ok_or_else(|| {
        (format!("{text} is outside of the range that proxy-init and the kernel accept"), help)
    })
}

/// Rounds to whole seconds as Linkerd does; `None` outside of the valid range.
fn seconds(timeout: Duration) -> Option<u32> {
    u32::try_from(timeout.as_secs()).ok().filter(|seconds| (MIN_SECONDS..=MAX_SECONDS).contains(seconds))
}

/// Linkerd's own annotation. Linkerd ignores an invalid value, or one that it rounds to 0, and so does this function.
fn linkerds_close_wait(pod: &Pod<'_>) -> Option<CloseWait> {
    let timeout = duration::parse(pod.annotations.get(LINKERD_CLOSE_WAIT_TIMEOUT)?).ok()?;
    seconds(timeout).map(CloseWait::Seconds)
}

fn periods(text: &str) -> Read<Vec<Duration>> {
    let help = || "use durations such as 30s,1m".to_owned();
    let mut periods = Vec::new();
    for item in text.split(',').map(str::trim) {
        let period = duration::parse(item)
            .map_err(|error| (format!("{item:?} is not a duration: {}", error.reason), help()))?;
        if period.is_zero() {
            return Err((format!("the period cannot be {item:?}"), help()));
        }
        if periods.contains(&period) {
            continue;
        }
        if periods.len() == MAX_PERIODS {
            return Err((
                format!("it has more than {MAX_PERIODS} periods"),
                "list only the shortest ones".to_owned(),
            ));
        }
        periods.push(period);
    }
    Ok(periods)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::workload::pod::{Container, StringMap};

    fn read(key: &'static str, value: &'static str) -> Annotations {
        let container = |name: &'static str| Container { name: name.into(), ..Container::default() };
        Annotations::read(&Pod {
            annotations: StringMap(vec![(key.into(), value.into())]),
            containers: vec![container("web"), container("admin")],
            ..Pod::default()
        })
    }

    #[rstest]
    #[case::for_all(
        "10s",
        Some(IdleTimeout::After(Duration::from_secs(10))),
        Some(IdleTimeout::After(Duration::from_secs(10)))
    )]
    #[case::none("none", Some(IdleTimeout::None), Some(IdleTimeout::None))]
    #[case::each(
        "web=1m30s, admin=none",
        Some(IdleTimeout::After(Duration::from_secs(90))),
        Some(IdleTimeout::None)
    )]
    #[case::one_and_the_rest(
        "5s,admin=none",
        Some(IdleTimeout::After(Duration::from_secs(5))),
        Some(IdleTimeout::None)
    )]
    #[case::one_only("web=5s", Some(IdleTimeout::After(Duration::from_secs(5))), None)]
    fn idle_timeouts_are_read(
        #[case] value: &'static str,
        #[case] web: Option<IdleTimeout>,
        #[case] admin: Option<IdleTimeout>,
    ) {
        let read = read(IDLE_TIMEOUT, value);
        assert_eq!(read.mistakes, []);
        assert_eq!((read.idle_of("web"), read.idle_of("admin")), (web, admin));
    }

    #[rstest]
    #[case::hour("1h", CloseWait::Seconds(3600))]
    #[case::fraction_is_cut("90.7s", CloseWait::Seconds(90))]
    #[case::off("off", CloseWait::Off)]
    fn close_wait_timeouts_are_read(#[case] value: &'static str, #[case] expected: CloseWait) {
        assert_eq!(read(CLOSE_WAIT_TIMEOUT, value).close_wait, Some((expected, CLOSE_WAIT_TIMEOUT)));
    }

    #[rstest]
    #[case::no_unit(IDLE_TIMEOUT, "10", "\"10\" is not a duration")]
    #[case::unknown_container(IDLE_TIMEOUT, "db=10s", "there is no container \"db\"")]
    #[case::twice(IDLE_TIMEOUT, "10s,5s", "it sets all containers twice")]
    #[case::zero(IDLE_TIMEOUT, "0s", "the timeout cannot be \"0s\"")]
    #[case::below_a_second(CLOSE_WAIT_TIMEOUT, "500ms", "500ms is outside of the range")]
    #[case::beyond_the_kernel(CLOSE_WAIT_TIMEOUT, "2147484s", "2147484s is outside of the range")]
    #[case::negative(CLOSE_WAIT_TIMEOUT, "-1h", "\"-1h\" is not a duration")]
    #[case::empty_item(TRAFFIC_PERIOD, "30s,", "\"\" is not a duration")]
    #[case::too_many_periods(
        TRAFFIC_PERIOD,
        "1s,2s,3s,4s,5s,6s,7s,8s,9s,10s,11s,12s,13s,14s,15s,16s,17s",
        "it has more than 16 periods"
    )]
    #[case::unknown_key("linkerd-linger.io/idle", "10s", "unknown annotation")]
    fn mistakes_are_reported(#[case] key: &'static str, #[case] value: &'static str, #[case] message: &str) {
        let mistakes = read(key, value).mistakes;
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].message.starts_with(message), "{mistakes:?}");
    }

    #[test]
    fn duplicate_periods_are_merged() {
        let read = read(TRAFFIC_PERIOD, "10s,1m,10s, 60s");
        assert_eq!(read.traffic_periods, [10, 60].map(Duration::from_secs));
    }

    #[rstest]
    #[case::read("30m", Some((CloseWait::Seconds(1800), LINKERD_CLOSE_WAIT_TIMEOUT)))]
    #[case::below_a_second_is_ignored("10ms", None)]
    #[case::invalid_is_ignored("1 hour", None)]
    fn linkerds_own_annotation_is_read_as_linkerd_reads_it(
        #[case] value: &'static str,
        #[case] expected: Option<(CloseWait, &'static str)>,
    ) {
        let read = read(LINKERD_CLOSE_WAIT_TIMEOUT, value);
        assert_eq!((read.close_wait, read.mistakes.len()), (expected, 0));
    }
}
