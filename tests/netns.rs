//! Tests `set-close-wait` with the kernel, in network namespaces that these tests create.
//!
//! The tests need root and a kernel with nf_conntrack; otherwise each prints why it was not run, which is a failure in
//! CI. Each namespace belongs to a process and ends with it.

#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use linkerd_linger::cmd::set_close_wait::SYSCTL_FILE;
use tokio::process::Command;

use self::support::{NotRun, within};

const BINARY: &str = env!("CARGO_BIN_EXE_linkerd-linger");

/// Runs a script in a network namespace of its own, with a mount namespace beside it.
async fn in_namespace(script: &str, binary: &str) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-ec", script]);
    command.env("FILE", SYSCTL_FILE).env("BINARY", binary).kill_on_drop(true);
    within("the script ended", command.output()).await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Whether this machine can run such a test, after saying so where it cannot.
async fn can_run(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        !std::env::split_paths(&paths).any(|path| path.join(tool).is_file())
    });
    let reason = if let Some(missing) = missing {
        format!("there is no {missing}")
    } else {
        let tried =
            in_namespace("test -e \"$FILE\" || { echo \"there is no $FILE\"; exit 1; }", BINARY).await;
        if tried.status.success() {
            return true;
        }
        format!("{}{}", stdout(&tried), stderr(&tried))
    };
    NotRun(reason.trim().to_owned()).tell();
    false
}

/// The timeout of the namespace that the tests run in, where it can be read.
fn here() -> Option<String> {
    fs::read_to_string(SYSCTL_FILE).ok()
}

#[tokio::test]
async fn the_timeout_is_set_in_its_own_namespace_only() {
    if !can_run(&["unshare", "sh", "cat"]).await {
        return;
    }
    let before = here();
    let output =
        in_namespace("cat $FILE; $BINARY set-close-wait 3600; cat $FILE; $BINARY set-close-wait 1", BINARY)
            .await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        format!("60\n{SYSCTL_FILE}: 3600 (was 60)\n3600\n{SYSCTL_FILE}: 1 (was 3600)\n")
    );
    assert_eq!(here(), before);
}

#[tokio::test]
async fn the_flag_refuses_values_above_the_kernel_limit() {
    for seconds in ["0", "-1", "60s", "2147484", "0x10", ""] {
        let command = Command::new(BINARY).args(["set-close-wait", "--", seconds]).output();
        let output = within("it ended", command).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{seconds:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn without_root_it_says_that_it_takes_root() {
    if !can_run(&["unshare", "sh", "setpriv"]).await {
        return;
    }
    // The binary itself may be in a directory that only its builder can enter.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = directory.path().join("linkerd-linger");
    fs::copy(BINARY, &binary).unwrap();
    let script = "exec setpriv --reuid 65534 --regid 65534 --clear-groups $BINARY set-close-wait 3600";
    let output = in_namespace(script, binary.to_str().unwrap()).await;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        format!(
            "error: cannot set {SYSCTL_FILE}: Permission denied (os error 13); it needs uid 0: set \
             securityContext.runAsUser: 0\n"
        )
    );
}

#[tokio::test]
async fn in_a_container_without_privilege_it_says_that_it_takes_that() {
    if !can_run(&["unshare", "sh", "mount", "cat"]).await {
        return;
    }
    let before = here();
    let script = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys
                  $BINARY set-close-wait 3600 || { code=$?; cat $FILE; exit $code; }";
    let output = in_namespace(script, BINARY).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(stdout(&output), "60\n");
    assert_eq!(
        stderr(&output),
        format!(
            "error: cannot set {SYSCTL_FILE}: Read-only file system (os error 30); /proc/sys is writable only in a \
             container with securityContext.privileged: true\n"
        )
    );
    assert_eq!(here(), before);
}
