//! The patch of the close-wait timeout as a MutatingAdmissionPolicy: what `judgement/close_wait` plans, in CEL.
//!
//! An API server evaluates its policies before its webhooks, so there is no linkerd-init at first. It evaluates a policy
//! again after a webhook changed the pod, but only if the policy's conditions matched before: so no condition uses a
//! field that the injector adds, and the patch is empty until linkerd-init is there.
//!
//! A pod is left unchanged if an expression cannot reproduce the plan exactly.

use serde_json::{Value, json};

use super::cel::{field, literal, text, texts, variable};
use crate::{
    base::names::INIT_CONTAINER,
    judgement::{
        close_wait::{COPIED_RESOURCES, COPIES_RESOURCES_OF, OWN_COMMAND, SYSCTL},
        finding::{Action, RuleId},
        policy::{Policy, Via},
    },
    linkerd::{
        PROXY,
        proxy_init::{self, COMBINED_COMMAND, FLAG, FlagValue, INJECTED_FLAGS, INJECTED_MOUNTS},
    },
    workload::{
        annotations::{CLOSE_WAIT_TIMEOUT, EXEMPT, LINKERD_CLOSE_WAIT_TIMEOUT, MAX_SECONDS, MIN_SECONDS},
        pod::DEFAULT_MESSAGE_PATH,
    },
};

/// Durations that Go, CEL and we read alike. A pod with another text in an annotation is left unchanged.
const DURATION: &str = r"^([0-9]{1,6}(\.[0-9]{1,9})?(h|m|s|ms)){1,3}$";
/// The pointer to linkerd-init.
const INIT: &str = "'/spec/initContainers/' + string(variables.index)";

/// The variables and the mutation.
pub(super) fn fields(policy: &Policy, image: &str) -> Value {
    json!({
        "variables": variables(policy),
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": mutation(image)}}],
    })
}

fn variables(policy: &Policy) -> Vec<Value> {
    let of_spec = |name: &str, list: &str| variable(name, field("object.spec", list, "[]"));
    let of_init = |name: &str, of: &str| variable(name, field("variables.init", of, "[]"));
    let init_names = "variables.initContainers.map(c, c.name)";
    let is_flag = format!("a == {} || a.startsWith({})", text(FLAG), text(&format!("{FLAG}=")));
    vec![
        of_spec("initContainers", "initContainers"),
        of_spec("volumes", "volumes"),
        variable("all", "variables.initContainers + object.spec.containers"),
        variable("annotations", field("object.metadata", "annotations", "{}")),
        variable("wanted", wanted(policy)),
        // linkerd-init.
        variable("index", format!("{init_names}.indexOf({})", text(proxy_init::NAME))),
        variable("init", "variables.index < 0 ? {} : variables.initContainers[variables.index]"),
        of_init("command", "command"),
        of_init("args", "args"),
        variable("security", field("variables.init", "securityContext", "{}")),
        variable("podSecurity", field("object.spec", "securityContext", "{}")),
        variable(
            "isCombined",
            format!(
                "size(variables.command) > 0 && variables.command[0].endsWith({})",
                text(COMBINED_COMMAND)
            ),
        ),
        variable("isAuthentic", authentic(policy)),
        // The arguments, one a line.
        variable("argsText", r"variables.args.map(a, a + '\n').join('')"),
        variable("areArgsRead", format!("variables.argsText.matches({})", text(&arguments()))),
        // The flag, and its value as proxy-init reads it.
        variable("flags", format!("variables.args.map(a, {is_flag})")),
        variable("flagAt", "variables.flags.indexOf(true)"),
        variable(
            "isJoined",
            format!("variables.flagAt >= 0 && variables.args[variables.flagAt] != {}", text(FLAG)),
        ),
        variable("valueAt", "variables.isJoined ? variables.flagAt : variables.flagAt + 1"),
        variable(
            "value",
            format!(
                "variables.flagAt < 0 || variables.valueAt >= size(variables.args) ? '' : variables.isJoined \
                 ? variables.args[variables.flagAt].substring({}) : variables.args[variables.valueAt]",
                FLAG.len() + 1
            ),
        ),
        variable("flag", flag()),
        variable("seconds", "variables.flag == 'valid' ? int(variables.value) : variables.wanted"),
        variable("lacksPrivileges", lacks_privileges()),
        variable("action", action(policy)),
        // Our init container.
        variable("resources", resources()),
        variable("at", INIT),
    ]
}

/// The desired seconds; -1 leaves the pod unchanged. An annotation that is clearly invalid is ignored, as Linkerd and the
/// webhook do.
fn wanted(policy: &Policy) -> String {
    let default =
        policy.close_wait.timeout.map_or(-1, |timeout| i64::try_from(timeout.as_secs()).unwrap_or(-1));
    let exempt = if policy.annotation_exemptions {
        // The end date of an exemption cannot be compared with the current date, which expressions do not know.
        format!("{} in variables.annotations ? -1 : ", text(EXEMPT))
    } else {
        String::new()
    };
    let of = |key: &str, special: &str| {
        let value = format!("variables.annotations[{}]", text(key));
        let seconds = format!("duration({value}).getSeconds()");
        let key = text(key);
        let range = format!("{seconds} >= {MIN_SECONDS} && {seconds} <= {MAX_SECONDS}");
        // (is read, its seconds)
        (
            format!("{key} in variables.annotations && ({special}!{value}.matches({}))", text(DURATION)),
            format!("{key} in variables.annotations && {range} ? {seconds} : "),
        )
    };
    let (own_unread, own) = of(CLOSE_WAIT_TIMEOUT, "");
    let (linkerd_unread, linkerd) = of(LINKERD_CLOSE_WAIT_TIMEOUT, "");
    format!("{exempt}({own_unread}) || ({linkerd_unread}) ? -1 : {own}{linkerd}{default}")
}

/// Whether linkerd-init was written by the injector, apart from its arguments: `ProxyInit::untrusted_reason`.
fn authentic(policy: &Policy) -> String {
    let repositories: Vec<_> = policy.close_wait.images.iter().map(|image| literal(image)).collect();
    let image = format!("^({})(:[^/:@]*)?(@.*)?$", repositories.join("|"));
    let empty = [
        "command",
        "env",
        "envFrom",
        "workingDir",
        "lifecycle",
        "volumeDevices",
        "stdin",
        "stdinOnce",
        "tty",
    ];
    let is_empty = |name: &str| match name {
        "lifecycle" => format!("!has(variables.init.{name})"),
        "stdin" | "stdinOnce" | "tty" => format!("(!has(variables.init.{name}) || !variables.init.{name})"),
        _ => format!("(!has(variables.init.{name}) || size(variables.init.{name}) == 0)"),
    };
    let path = texts(["", DEFAULT_MESSAGE_PATH]);
    let mounts = format!(
        "(!has(variables.init.volumeMounts) || size(variables.init.volumeMounts) <= {INJECTED_MOUNTS} && \
         variables.init.volumeMounts.all(m, {}))",
        mount()
    );
    let conditions = [format!("variables.init.image.matches({})", text(&image))]
        .into_iter()
        .chain(empty.into_iter().map(is_empty))
        .chain([
            format!(
                "(!has(variables.init.terminationMessagePath) || variables.init.terminationMessagePath in {path})"
            ),
            "(!has(variables.init.restartPolicy) || variables.init.restartPolicy != 'Always')".to_owned(),
            "(!has(variables.security.procMount) || variables.security.procMount == 'Default')".to_owned(),
            mounts,
        ]);
    format!("variables.index >= 0 && {}", conditions.collect::<Vec<_>>().join(" && "))
}

/// Whether the injector, or the ServiceAccount admission plugin, adds the mount `m`.
fn mount() -> String {
    let plain = "(!has(m.subPath) || m.subPath == '') && (!has(m.subPathExpr) || m.subPathExpr == '') && \
                 (!has(m.mountPropagation) || m.mountPropagation in ['', 'None'])";
    let is_volume = |what: &str| format!("variables.volumes.filter(v, v.name == m.name).{what}");
    format!(
        "{plain} && (m.mountPath == '/run' && {} && {} || \
         m.mountPath == '/var/run/secrets/kubernetes.io/serviceaccount' && {})",
        is_volume("size() == 1"),
        is_volume("all(v, has(v.emptyDir))"),
        is_volume("all(v, has(v.projected) || has(v.secret))"),
    )
}

/// The arguments that the injector writes, one a line. Values that look like flags are not read, so that a line is a flag
/// exactly if it begins with its name.
fn arguments() -> String {
    const VALUE: &str = "(-?[^-\n][^\n]*)?\n";
    let flags = INJECTED_FLAGS.iter().map(|(name, takes)| {
        let name = literal(name);
        match takes {
            FlagValue::Value => format!("{name}[\n=]{VALUE}"),
            FlagValue::OneOf(values) => {
                let values: Vec<_> = values.iter().map(|value| literal(value)).collect();
                format!("{name}[\n=]({})\n", values.join("|"))
            }
            FlagValue::Switch => format!("{name}(=[^\n]*)?\n"),
        }
    });
    let flags: Vec<_> = flags.collect();
    format!("^({})*({}\n)?$", flags.join("|"), literal(FLAG))
}

/// What the flag does: `none`, `zero` (which sets nothing), `valid`, `bad`, or `unclear`, for numbers that Go reads in
/// another base, and for several flags.
fn flag() -> String {
    let number = "int(variables.value)";
    format!(
        "variables.flagAt < 0 ? 'none' : size(variables.flags.filter(f, f)) > 1 ? 'unclear' : \
         variables.value == '0' ? 'zero' : variables.value.matches('^[1-9][0-9]{{0,6}}$') ? \
         ({number} >= {MIN_SECONDS} && {number} <= {MAX_SECONDS} ? 'valid' : 'bad') : \
         variables.value == '' || variables.value.matches('^-?[1-9][0-9]*$') || \
         !variables.value.matches('^[-+_0-9a-fA-FxXoO]*$') ? 'bad' : 'unclear'"
    )
}

/// Whether a field of `securityContext` prevents the write: `proxy_init::missing_fields`.
fn lacks_privileges() -> String {
    let inherited = |name: &str, absent: &str| {
        format!(
            "(has(variables.security.{name}) ? variables.security.{name} : {})",
            field("variables.podSecurity", name, absent)
        )
    };
    format!(
        "!has(variables.security.privileged) || !variables.security.privileged || \
         has(variables.security.allowPrivilegeEscalation) && !variables.security.allowPrivilegeEscalation || \
         {} != 0 || {}",
        inherited("runAsUser", "-1"),
        inherited("runAsNonRoot", "false")
    )
}

/// What to do: `none`, `add` the flag, `grant` what the flag needs, `replace` its value, `insert` our init container, or
/// `move` the timeout from the flag to our init container.
fn action(policy: &Policy) -> String {
    let unset = |action: &'static str| if patches(policy, RuleId::CloseWaitUnset) { action } else { "none" };
    let broken =
        |action: &'static str| if patches(policy, RuleId::CloseWaitBroken) { action } else { "none" };
    let choose = |unset: &str, lacks: &str, bad: &str| {
        format!(
            "(variables.flag in ['none', 'zero'] ? '{unset}' : variables.flag == 'valid' ? {lacks} : \
             variables.flag == 'bad' ? '{bad}' : 'none')"
        )
    };
    let if_lacking = |action: &str| format!("(variables.lacksPrivileges ? '{action}' : 'none')");
    let (insert, moved) = (unset("insert"), broken("move"));
    let combined = match policy.close_wait.via {
        Via::ProxyInit | Via::PodSysctl => "'none'".to_owned(),
        Via::Auto | Via::InitContainer => choose(insert, &format!("'{moved}'"), moved),
    };
    let separate = match policy.close_wait.via {
        Via::PodSysctl => "'none'".to_owned(),
        Via::ProxyInit | Via::Auto => {
            let authentic = choose(unset("add"), &if_lacking(broken("grant")), broken("replace"));
            let other = if policy.close_wait.via == Via::Auto { insert } else { "none" };
            format!("variables.isAuthentic ? {authentic} : {}", choose(other, "'none'", "none"))
        }
        Via::InitContainer => {
            let authentic = choose(insert, &if_lacking(moved), moved);
            format!("variables.isAuthentic ? {authentic} : {}", choose(insert, "'none'", "none"))
        }
    };
    let without = match policy.close_wait.via {
        Via::Auto if policy.close_wait.cni => insert,
        Via::InitContainer => insert,
        Via::Auto | Via::ProxyInit | Via::PodSysctl => "none",
    };
    let has = |name: &str| format!("variables.all.exists(c, c.name == {})", text(name));
    let sysctl = format!(
        "has(variables.podSecurity.sysctls) && \
         variables.podSecurity.sysctls.exists(s, s.name.replace('/', '.') == {})",
        text(SYSCTL)
    );
    format!(
        "variables.wanted < 0 || !{} || {} || {sysctl} ? 'none' : variables.index < 0 ? '{without}' : \
         !variables.areArgsRead ? 'none' : variables.isCombined ? {combined} : {separate}",
        has(PROXY),
        has(INIT_CONTAINER),
    )
}

fn patches(policy: &Policy, rule: RuleId) -> bool {
    policy.action(rule) == Action::Patch
}

/// The resources of the first of Linkerd's containers that has some, in a list; an empty list if none has.
fn resources() -> String {
    let has_some = |part: &str| {
        let any: Vec<_> =
            COPIED_RESOURCES.iter().map(|name| format!("{} in c.resources.{part}", text(name))).collect();
        format!("has(c.resources.{part}) && ({})", any.join(" || "))
    };
    format!(
        "{}.map(n, variables.all.filter(c, c.name == n && has(c.resources) && ({} || {}))).filter(l, size(l) > 0)\
         .map(l, l[0].resources)",
        texts(COPIES_RESOURCES_OF),
        has_some("limits"),
        has_some("requests")
    )
}

fn mutation(image: &str) -> String {
    let op = |op: &str, path: &str, value: &str| {
        let value = if value.is_empty() { String::new() } else { format!(", value: {value}") };
        format!("JSONPatch{{op: '{op}', path: {path}{value}}}")
    };
    let seconds = "string(variables.seconds)";
    let args = "variables.at + '/args'";
    let last = format!("{args} + '/-'");
    let add = format!(
        "(size(variables.args) == 0 ? [{}] : [{}, {}])",
        op("add", args, &format!("[{}, {seconds}]", text(FLAG))),
        op("add", &last, &text(FLAG)),
        op("add", &last, seconds)
    );
    let replace = format!(
        "[variables.valueAt >= size(variables.args) ? {} : {}]",
        op("add", &last, seconds),
        op(
            "replace",
            &format!("{args} + '/' + string(variables.valueAt)"),
            &format!("variables.isJoined ? {} + {seconds} : {seconds}", text(&format!("{FLAG}=")))
        )
    );
    let fields = [
        ("privileged", "true"),
        ("allowPrivilegeEscalation", "true"),
        ("runAsUser", "0"),
        ("runAsNonRoot", "false"),
    ];
    let whole: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let at = |name: &str| format!("variables.at + '/securityContext/{name}'");
    let each: Vec<_> = fields.iter().map(|(name, value)| op("add", &at(name), value)).collect();
    let grant = format!(
        "(!has(variables.init.securityContext) ? [{}] : [{}] + (has(variables.security.runAsGroup) ? [{}] : []))",
        op(
            "add",
            "variables.at + '/securityContext'",
            &format!("Object.spec.initContainers.securityContext{{{}}}", whole.join(", "))
        ),
        each.join(", "),
        op("add", &at("runAsGroup"), "0")
    );
    let remove_at = |index: &str| op("remove", &format!("{args} + '/' + string({index})"), "");
    // The flag and its value, the value first, since it comes later.
    let remove = format!(
        "(!variables.isJoined && variables.valueAt < size(variables.args) ? [{}] : []) + [{}]",
        remove_at("variables.valueAt"),
        remove_at("variables.flagAt")
    );
    let own = own_container(image);
    let insert = format!(
        "(size(variables.initContainers) == 0 ? [{}] : [{}])",
        op("add", "'/spec/initContainers'", &format!("[{own}]")),
        op("add", "'/spec/initContainers/0'", &own)
    );
    let when =
        |actions: &[&str], patch: &str| format!("(variables.action in {} ? {patch} : [])", texts(actions));
    [
        when(&["add"], &add),
        when(&["replace"], &replace),
        when(&["add", "replace", "grant"], &grant),
        when(&["move"], &remove),
        when(&["insert", "move"], &insert),
    ]
    .join(" + ")
}

/// The container of `own_init::container`.
fn own_container(image: &str) -> String {
    let names = texts(COPIED_RESOURCES);
    let part = |part: &str| {
        let given = format!("variables.resources[0].{part}");
        format!(
            "?{part}: has({given}) ? optional.of({given}.transformMap(k, v, k in {names}, v)) : optional.none()"
        )
    };
    format!(
        "Object.spec.initContainers{{name: {}, image: {}, args: [{}, string(variables.seconds)], \
         securityContext: Object.spec.initContainers.securityContext{{privileged: true, \
         readOnlyRootFilesystem: true, runAsNonRoot: false, runAsUser: 0}}, \
         terminationMessagePolicy: 'FallbackToLogsOnError', \
         ?resources: size(variables.resources) == 0 ? optional.none() : \
         optional.of(Object.spec.initContainers.resources{{{}, {}}})}}",
        text(INIT_CONTAINER),
        text(image),
        text(OWN_COMMAND),
        part("limits"),
        part("requests")
    )
}
