//! The linkerd-init container: whether it was written by Linkerd, whether it can set the close-wait timeout, and what
//! it needs for that.
//!
//! Turns the container into a [`ProxyInit`]. `close_wait` decides what to do.

use serde_json::Value;

use crate::workload::{
    annotations::{MAX_SECONDS, MIN_SECONDS},
    image::ImageRef,
    pod::{Container, Mount, Pod, SecurityContext},
};

/// The name of the container in every release line of Linkerd.
pub const NAME: &str = "linkerd-init";
/// The flag of proxy-init (since edge-20.5.4, linkerd2 acacf2e02).
pub const FLAG: &str = "--timeout-close-wait-secs";
/// The repositories where proxy-init images are published.
pub const UPSTREAM_IMAGES: [&str; 3] =
    ["cr.l5d.io/linkerd/proxy-init", "ghcr.io/linkerd/proxy-init", "gcr.io/linkerd-io/proxy-init"];

/// The end of `command[0]` if proxy-init runs from the proxy image (2.20 and newer, edge-25.11.3, linkerd2 0e9a38d7d).
/// That image has no `sysctl`, so the container crash-loops with the flag.
pub const COMBINED_COMMAND: &str = "linkerd2-proxy-init";

/// The flags that the injector writes, and how each takes its value (`_proxy-init.tpl` of 2.9 to 2.20).
pub const INJECTED_FLAGS: [(&str, FlagValue); 14] = [
    (FLAG, FlagValue::Value),
    ("--firewall-bin-path", FlagValue::OneOf(&["iptables", "iptables-legacy", "iptables-nft"])),
    (
        "--firewall-save-bin-path",
        FlagValue::OneOf(&["iptables-save", "iptables-legacy-save", "iptables-nft-save"]),
    ),
    ("--inbound-ports-to-ignore", FlagValue::Value),
    ("--incoming-proxy-port", FlagValue::Value),
    ("--iptables-mode", FlagValue::OneOf(&["legacy", "nft", "plain"])),
    ("--ipv6", FlagValue::Switch),
    ("--log-format", FlagValue::Value),
    ("--log-level", FlagValue::Value),
    ("--outbound-ports-to-ignore", FlagValue::Value),
    ("--outgoing-proxy-port", FlagValue::Value),
    ("--proxy-gid", FlagValue::Value),
    ("--proxy-uid", FlagValue::Value),
    ("--subnets-to-ignore", FlagValue::Value),
];

/// How a flag takes its value.
#[derive(Clone, Copy, Debug)]
pub enum FlagValue {
    /// The next argument, or the text after `=`.
    Value,
    /// The same, but only these values: a path would let a privileged container run another program.
    OneOf(&'static [&'static str]),
    /// Only the text after `=`: `--ipv6=false`.
    Switch,
}

/// The linkerd-init container of a pod.
#[derive(Clone, Debug)]
pub struct ProxyInit<'p> {
    /// The container.
    pub container: &'p Container<'p>,
    /// Whether it runs from the proxy image, which has no `sysctl`.
    pub combined: bool,
    /// Every occurrence of [`FLAG`], in order; the last one wins.
    pub flags: Vec<FlagAt>,
}

/// An occurrence of [`FLAG`] among the arguments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlagAt {
    /// The index of the argument with the value; one past the end if it is missing.
    pub value_at: usize,
    /// Whether the value follows `=` in the same argument.
    pub joined: bool,
    /// The value that proxy-init reads; `None` if it would exit with an error.
    pub seconds: Option<i64>,
}

impl<'p> ProxyInit<'p> {
    /// Finds the container by its name.
    pub fn find(pod: &'p Pod<'p>) -> Option<Self> {
        let container = pod.init_containers.iter().find(|container| &*container.name == NAME)?;
        let combined = container.command.first().is_some_and(|command| command.ends_with(COMBINED_COMMAND));
        Some(Self { container, combined, flags: flags(container) })
    }

    /// The value that proxy-init will set: that of the last flag; 0 sets nothing.
    ///
    /// # Errors
    ///
    /// Returns the argument that makes proxy-init, or its write to the kernel, fail.
    pub fn effective_seconds(&self) -> Result<Option<u32>, String> {
        for flag in &self.flags {
            if flag.seconds.is_none() {
                return Err(self.flag_text(flag));
            }
        }
        let Some(last) = self.flags.last() else { return Ok(None) };
        match last.seconds.map(u32::try_from) {
            Some(Ok(0)) => Ok(None),
            Some(Ok(seconds)) if seconds <= MAX_SECONDS => Ok(Some(seconds)),
            _ => Err(self.flag_text(last)),
        }
    }

    /// Whether proxy-init can parse all occurrences of the flag; only the kernel may then refuse the value.
    pub fn has_valid_flags(&self) -> bool {
        self.flags.iter().all(|flag| flag.seconds.is_some())
    }

    /// The flag as written in the arguments.
    pub fn flag_text(&self, flag: &FlagAt) -> String {
        let argument = self.container.args.get(flag.value_at).map_or("", |argument| argument);
        if flag.joined { argument.to_owned() } else { format!("{FLAG} {argument}").trim_end().to_owned() }
    }

    /// The requested seconds: those of the last flag, if they are within the valid range.
    pub fn requested_seconds(&self) -> Option<u32> {
        let seconds = u32::try_from(self.flags.last()?.seconds?).ok()?;
        (MIN_SECONDS..=MAX_SECONDS).contains(&seconds).then_some(seconds)
    }

    /// The fields of `securityContext` that prevent it from writing the timeout.
    pub fn missing_fields(&self, pod: &Pod<'_>) -> Vec<&'static str> {
        missing_fields(pod, self.container)
    }

    /// The fields of `securityContext` to change: the [missing ones](Self::missing_fields), and those that make the
    /// container equal to the one that Linkerd writes with `proxyInit.runAsRoot`.
    pub fn missing_privileges(&self) -> Vec<(&'static str, Value)> {
        let unset = SecurityContext::default();
        let now = self.container.security_context.as_ref().unwrap_or(&unset);
        [
            ("privileged", now.privileged != Some(true), Value::Bool(true)),
            ("allowPrivilegeEscalation", now.allow_privilege_escalation != Some(true), Value::Bool(true)),
            ("runAsUser", now.run_as_user != Some(0), Value::from(0)),
            ("runAsNonRoot", now.run_as_non_root != Some(false), Value::Bool(false)),
            ("runAsGroup", now.run_as_group.is_some_and(|group| group != 0), Value::from(0)),
        ]
        .into_iter()
        .filter(|(_, is_missing, _)| *is_missing)
        .map(|(field, _, needed)| (field, needed))
        .collect()
    }

    /// Why the container was not written by the injector; `None` if it was.
    ///
    /// The webhook makes this container privileged, so it must run nothing but proxy-init. The name alone proves
    /// nothing.
    pub fn untrusted_reason(&self, pod: &Pod<'_>, images: &[String]) -> Option<String> {
        let container = self.container;
        let repository = ImageRef::of(&container.image).repository;
        if !images.iter().any(|allowed| allowed == repository) {
            return Some(format!("its image {repository} is not in closeWait.images of the policy"));
        }
        if let Some(command) = container.command.first() {
            return Some(format!("it overrides the image's command with {command:?}"));
        }
        if let Some(argument) = unexpected_argument(container) {
            return Some(format!("it has the argument {argument:?}, which the injector does not set"));
        }
        if let Some(name) = container.env.first().map(|var| &var.name) {
            return Some(format!("it has the variable {name}, which the injector does not set"));
        }
        if !container.env_from.is_empty() {
            return Some("it has envFrom, which the injector does not set".to_owned());
        }
        if container.working_dir.as_deref().is_some_and(|directory| !directory.is_empty()) {
            return Some("it has workingDir, which the injector does not set".to_owned());
        }
        if let Some(field) = container.unusual.first() {
            return Some(format!("it has {field}, which the injector does not set"));
        }
        if container.restart_always {
            return Some("it has restartPolicy, which the injector does not set".to_owned());
        }
        let mount = container.security_context.as_ref().and_then(|context| context.proc_mount.as_deref());
        if mount.is_some_and(|mount| mount != "Default") {
            return Some("it has procMount, which the injector does not set".to_owned());
        }
        if container.mounts.len() > INJECTED_MOUNTS {
            return Some(format!(
                "it has {} volume mounts, more than the injector adds",
                container.mounts.len()
            ));
        }
        let unexpected = container.mounts.iter().find(|mount| !is_injected_mount(pod, mount))?;
        Some(if unexpected.is_plain {
            format!(
                "it mounts {} at {}, which the injector does not do",
                unexpected.name, unexpected.mount_path
            )
        } else {
            format!(
                "it mounts {} with a subPath or mountPropagation, which the injector does not do",
                unexpected.name
            )
        })
    }
}

/// The fields that prevent a container from writing the timeout (measured). A writable `/proc/sys` needs `privileged`,
/// and a child process keeps no capabilities unless it runs as root. The other two fields would make the API server or
/// kubelet refuse these values.
pub fn missing_fields(pod: &Pod<'_>, container: &Container<'_>) -> Vec<&'static str> {
    let unset = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&unset);
    let of_pod = pod.security_context.as_ref().unwrap_or(&unset);
    let lacks = [
        ("privileged", own.privileged != Some(true)),
        ("allowPrivilegeEscalation", own.allow_privilege_escalation == Some(false)),
        ("runAsUser", own.run_as_user.or(of_pod.run_as_user) != Some(0)),
        ("runAsNonRoot", own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true)),
    ];
    lacks.into_iter().filter(|(_, lacks)| *lacks).map(|(field, _)| field).collect()
}

/// The maximum number of mounts of linkerd-init: the lock of iptables and the service account token.
pub const INJECTED_MOUNTS: usize = 2;

/// The lock of iptables, in an emptyDir, or the token that the ServiceAccount admission plugin mounts.
fn is_injected_mount(pod: &Pod<'_>, mount: &Mount<'_>) -> bool {
    let mut volumes = pod.volumes.iter().filter(|volume| volume.name == mount.name);
    mount.is_plain
        && match &*mount.mount_path {
            "/run" => volumes.next().is_some_and(|volume| volume.is_empty_dir()),
            "/var/run/secrets/kubernetes.io/serviceaccount" => volumes.all(|volume| volume.is_token()),
            _ => false,
        }
}

/// The first argument that the injector does not write.
fn unexpected_argument<'c>(container: &'c Container<'_>) -> Option<&'c str> {
    let mut arguments = container.args.iter();
    while let Some(argument) = arguments.next() {
        let (name, joined) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&**argument, None),
        };
        let Some((_, takes)) = INJECTED_FLAGS.iter().find(|(flag, _)| *flag == name) else {
            return Some(argument);
        };
        let known = match takes {
            FlagValue::Value => joined.is_some() || arguments.next().is_some() || name == FLAG,
            FlagValue::OneOf(values) => {
                joined.or_else(|| arguments.next().map(|value| &**value)).is_some_and(|v| values.contains(&v))
            }
            FlagValue::Switch => true,
        };
        if !known {
            return Some(argument);
        }
    }
    None
}

/// The occurrences of the flag. As with pflag, a flag with a value takes whatever argument follows.
fn flags(container: &Container<'_>) -> Vec<FlagAt> {
    let mut found = Vec::new();
    let mut index = 0;
    while let Some(argument) = container.args.get(index) {
        let (name, joined) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&**argument, None),
        };
        if name == "--" {
            break;
        }
        let takes_next = joined.is_none()
            && name.starts_with("--")
            && !INJECTED_FLAGS
                .iter()
                .any(|(flag, takes)| matches!(takes, FlagValue::Switch) && *flag == name);
        if name == FLAG {
            let value = joined.or_else(|| container.args.get(index + 1).map(|value| &**value));
            found.push(FlagAt {
                value_at: if joined.is_some() { index } else { index + 1 },
                joined: joined.is_some(),
                seconds: value.and_then(go_integer),
            });
        }
        index += if takes_next { 2 } else { 1 };
    }
    found
}

/// Parses an integer as Go's `strconv.ParseInt(text, 0, 64)`, which pflag uses: `0x10`, `0o17`, `017`, `0b11`, with
/// underscores between digits or after a prefix.
pub fn go_integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, rest, prefixed) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..], true),
        [b'0', b'b', ..] => (2, &lower[2..], true),
        [b'0', b'o', ..] => (8, &lower[2..], true),
        [b'0', _, ..] => (8, &lower[1..], true),
        _ => (10, &*lower, false),
    };
    let well_placed = !rest.ends_with('_') && !rest.contains("__") && (prefixed || !rest.starts_with('_'));
    if !well_placed || rest.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(&rest.replace('_', ""), radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::decimal("3600", Some(3600))]
    #[case::octal("0600", Some(384))]
    #[case::hexadecimal("0x10", Some(16))]
    #[case::underscores("1_000", Some(1000))]
    #[case::underscore_after_prefix("0x_1f", Some(31))]
    #[case::underscore_in_octal("0_600", Some(384))]
    #[case::negative("-1", Some(-1))]
    #[case::zero("0", Some(0))]
    #[case::unit("60s", None)]
    #[case::empty("", None)]
    #[case::too_large("9223372036854775808", None)]
    #[case::smallest("-9223372036854775808", Some(i64::MIN))]
    #[case::bad_octal("09", None)]
    #[case::double_underscore("1__0", None)]
    #[case::leading_underscore("_1", None)]
    #[case::two_signs("--1", None)]
    fn integers_are_read_as_go_reads_them(#[case] text: &str, #[case] expected: Option<i64>) {
        assert_eq!(go_integer(text), expected);
    }

    fn container(args: &[&'static str]) -> Container<'static> {
        Container {
            name: NAME.into(),
            image: "cr.l5d.io/linkerd/proxy-init:v2.4.1".into(),
            args: args.iter().map(|arg| (*arg).into()).collect(),
            ..Container::default()
        }
    }

    #[rstest]
    #[case::absent(&["--proxy-uid", "2102"], Ok(None))]
    #[case::two_arguments(&[FLAG, "3600"], Ok(Some(3600)))]
    #[case::one_argument(&["--timeout-close-wait-secs=0x10"], Ok(Some(16)))]
    #[case::last_wins(&[FLAG, "60", FLAG, "120"], Ok(Some(120)))]
    #[case::last_unsets(&["--timeout-close-wait-secs=60", FLAG, "0"], Ok(None))]
    #[case::bad_value(&[FLAG, "60s"], Err("--timeout-close-wait-secs 60s"))]
    #[case::bad_value_before_a_good_one(&[FLAG, "x", FLAG, "5"], Err("--timeout-close-wait-secs x"))]
    #[case::missing_value(&["--ipv6=false", FLAG], Err("--timeout-close-wait-secs"))]
    #[case::negative(&[FLAG, "-1"], Err("--timeout-close-wait-secs -1"))]
    #[case::too_large(&["--timeout-close-wait-secs=2147484"], Err("--timeout-close-wait-secs=2147484"))]
    #[case::largest(&[FLAG, "2147483"], Ok(Some(2_147_483)))]
    #[case::value_of_another_flag(&["--log-level", FLAG], Ok(None))]
    #[case::after_the_end_of_flags(&["--", FLAG, "60"], Ok(None))]
    fn the_flag_is_read_as_proxy_init_reads_it(
        #[case] args: &[&'static str],
        #[case] expected: Result<Option<u32>, &str>,
    ) {
        let pod = Pod { init_containers: vec![container(args)], ..Pod::default() };
        let init = ProxyInit::find(&pod).unwrap();
        assert_eq!(init.effective_seconds(), expected.map_err(str::to_owned));
    }

    #[rstest]
    #[case::program_of_his_own(&["--firewall-bin-path", "/tmp/evil"], "--firewall-bin-path")]
    #[case::other_flag(&["--netns", "/proc/1/ns/net"], "--netns")]
    #[case::word(&["hello"], "hello")]
    #[case::end_of_flags(&["--"], "--")]
    fn foreign_arguments_are_found(#[case] args: &[&'static str], #[case] expected: &str) {
        assert_eq!(unexpected_argument(&container(args)), Some(expected));
    }
}
