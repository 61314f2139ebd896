//! The rule `probe-matches-idle-timeout` as a ValidatingAdmissionPolicy, compiled from the catalog.
//!
//! Expressions read literal words and variables; they do not follow shell scripts, expand `$(NAME)` or read files. An object
//! is rejected only if the webhook rejects it, too: whatever an expression cannot read exactly is left alone.
//!
//! CEL has no local names, so each variable is a list with an item for each container, and refers to the lists before it by
//! the index `i`.

use serde_json::{Value, json};

use super::{
    cel::{bind, field, text, texts, variable},
    servers::{self, Column, column, flag_value, variable_value},
};
use crate::{
    judgement::policy::{Policy, RejectAt},
    linkerd::{
        DEFAULT_OPAQUE, DEFAULT_SKIPPED, INJECT, OPAQUE_PORTS, OPAQUE_PORTS_ENV, OWN_PORTS, PROXY,
        SKIP_INBOUND_PORTS, proxy_init,
    },
    servers::literal::LiteralServer,
    workload::annotations::{EXEMPT, IDLE_TIMEOUT},
    workload::object::Kind,
};

/// A duration of whole seconds in the annotation.
const WHOLE_SECONDS: &str = "[1-9][0-9]{0,4}[hms]([0-9]{1,4}[ms]){0,2}";
/// Longer words are not read. Each comparison costs as much as the word is long.
const MAX_WORD: usize = 1024;
/// Containers with more words are not read.
const MAX_WORDS: usize = 128;

/// The variables and the validation.
pub(super) fn fields(policy: &Policy) -> Value {
    let mut literals = Vec::new();
    for server in policy.catalog.servers() {
        literals.extend(policy.catalog.literal(server).ok());
    }
    json!({
        "variables": variables(policy, &literals),
        "validations": [{
            "expression": "size(variables.hits) == 0",
            "messageExpression": "'linkerd-linger: ' + variables.hits[0] + '. To fix: raise the idle timeout well above the period, \
                or choose another period; see docs/rules.md#probe-matches-idle-timeout'",
            "message": "linkerd-linger: a probe arrives when the server closes the idle connection",
            "reason": "Forbidden",
        }],
    })
}

/// A list with an item for each app container, computed from its index `i`.
fn each(item: &str) -> String {
    format!("lists.range(size(variables.apps)).map(i, {item})")
}

fn variables(policy: &Policy, literals: &[LiteralServer<'_>]) -> Vec<Value> {
    let list = |of: &str, field: &str| format!("(has({of}.{field}) ? {of}.{field} : [])");
    let app = "variables.apps[i]";
    let is_linkerds = texts([PROXY, proxy_init::NAME]);
    let running = format!(
        "{}.filter(c, has(c.restartPolicy) && c.restartPolicy == 'Always') + variables.pod.spec.containers",
        list("variables.pod.spec", "initContainers")
    );
    vec![
        variable("pod", template("object")),
        variable(
            "annotations",
            "has(variables.pod.metadata) && has(variables.pod.metadata.annotations) ? \
             variables.pod.metadata.annotations : {}",
        ),
        variable(
            "all",
            format!("{} + variables.pod.spec.containers", list("variables.pod.spec", "initContainers")),
        ),
        variable("apps", format!("({running}).filter(c, !(c.name in {is_linkerds}))")),
        // The ports that bypass the proxy, and those that it forwards as TCP.
        variable("proxies", format!("variables.all.filter(c, c.name == {})", text(PROXY))),
        variable(
            "inits",
            format!(
                "{}.filter(c, c.name == {})",
                list("variables.pod.spec", "initContainers"),
                text(proxy_init::NAME)
            ),
        ),
        variable("isMeshed", is_meshed(policy)),
        variable("isChanged", is_changed()),
        variable("bypass", bypass()),
        // The server of each container.
        variable("env", each(&list(app, "env"))),
        variable("argv", each(&format!("{} + {}", list(app, "command"), list(app, "args")))),
        // Out of two wrappers, such as `tini -- poetry run`.
        variable("inner", each(&servers::unwrapped("variables.argv[i]"))),
        variable("words", each(&servers::unwrapped("variables.inner[i]"))),
        variable(
            "isRead",
            each(&format!(
                "size(variables.words[i]) <= {MAX_WORDS} && variables.words[i].all(w, size(w) <= {MAX_WORD} && \
                 !w.contains('$') && w != '--')"
            )),
        ),
        variable("image", each(&servers::image(app))),
        variable("version", each(&servers::version(app))),
        variable("starts", servers::starts(literals)),
        variable("server", each(&servers::server(app))),
        variable("mode", each(&servers::mode(literals))),
        variable("behaviours", servers::behaviours(literals)),
        variable(
            "behaviour",
            each(&bind(
                "key",
                "variables.server[i] + '/' + variables.mode[i]",
                "key in variables.behaviours ? variables.behaviours[key] : []",
            )),
        ),
        // The timeout of each container: when it closes at the earliest and at the latest, in milliseconds.
        variable("declared", text_of_annotation()),
        variable("window", each(&window())),
        // The probes of each container: their names and periods.
        variable("probes", each(&probes(app))),
        variable("hits", hits(policy)),
    ]
}

/// The pod, or the pod template, of an object.
fn template(object: &str) -> String {
    format!(
        "request.kind.kind == 'Pod' ? {object} : request.kind.kind == 'CronJob' ? \
         {object}.spec.jobTemplate.spec.template : request.kind.kind == 'PodTemplate' ? {object}.template : \
         {object}.spec.template"
    )
}

/// Whether an update changes what the rule reads. Running workloads must not be blocked by a change of something else.
fn is_changed() -> String {
    let fields = |container: &str| {
        let fields = [
            "image",
            "command",
            "args",
            "env",
            "envFrom",
            "ports",
            "volumeMounts",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "restartPolicy",
            "lifecycle",
        ];
        let fields = fields.map(|name| format!("dyn({})", field(container, name, "dyn('')")));
        format!("[dyn({container}.name), {}]", fields.join(", "))
    };
    let of = |pod: &str| {
        let init = field(&format!("{pod}.spec"), "initContainers", "[]");
        let annotations = format!(
            "(has({pod}.metadata) && has({pod}.metadata.annotations) ? {pod}.metadata.annotations : {{}})\
             .transformMap(k, v, k.startsWith('linkerd-linger.io/') || k.startsWith('linkerd.io/') || \
             k.contains('.linkerd.io/'), v)"
        );
        format!("[dyn((({init}) + {pod}.spec.containers).map(c, {})), dyn({annotations})]", fields("c"))
    };
    format!(
        "request.operation != 'UPDATE' || {}",
        bind("old", &template("oldObject"), &format!("{} != {}", of("old"), of("variables.pod")))
    )
}

/// Whether the pod has a proxy, or its template asks for one.
fn is_meshed(policy: &Policy) -> String {
    let inject = text(INJECT);
    let assumed = if policy.assume_injected {
        format!("!({inject} in variables.annotations) || ")
    } else {
        String::new()
    };
    format!(
        "!('kubernetes.io/config.mirror' in variables.annotations) && \
         (!has(variables.pod.spec.hostNetwork) || !variables.pod.spec.hostNetwork) && \
         (size(variables.proxies) == 1 || request.kind.kind != 'Pod' && \
         ({assumed}{inject} in variables.annotations && variables.annotations[{inject}] in ['enabled', 'ingress']) && \
         size(variables.inits) == 0 && !variables.all.exists(c, c.name in ['istio-proxy', 'istio-init'] || \
         c.image.contains('l5d.io/linkerd/proxy') || c.image.contains('istio/proxy')))"
    )
}

/// The items of the lists of ports that bypass the proxy or are opaque. `*` stands for every port.
fn bypass() -> String {
    let annotation = |key: &str, default: &str| {
        let key = text(key);
        format!("({key} in variables.annotations ? variables.annotations[{key}] : {})", text(default))
    };
    let flag = "--inbound-ports-to-ignore";
    let of_init = format!(
        "(variables.inits[0].args.exists(a, a.startsWith('--ports-to-redirect')) ? '*' : \
         lists.range(size(variables.inits[0].args)).map(j, \
         variables.inits[0].args[j].startsWith('{flag}=') ? variables.inits[0].args[j].substring({}) : \
         j > 0 && variables.inits[0].args[j - 1] == '{flag}' ? variables.inits[0].args[j] : '').join(','))",
        flag.len() + 1
    );
    let [control, admin] = OWN_PORTS;
    let own = format!("{} + ',' + {}", annotation(control.0, control.1), annotation(admin.0, admin.1));
    let default_own = format!("'{},{}'", control.1, admin.1);
    let opaque_env = format!(
        "(has(variables.proxies[0].env) ? variables.proxies[0].env.filter(e, e.name == {}).map(e, has(e.value) ? \
         e.value : '*').join(',') : '')",
        text(OPAQUE_PORTS_ENV)
    );
    let injected = format!(
        "(size(variables.inits) == 0 ? {default_own} + ',' + {} : has(variables.inits[0].args) ? {of_init} : '') + ',' \
         + {opaque_env}",
        annotation(SKIP_INBOUND_PORTS, "")
    );
    let expected = format!(
        "{own} + ',' + {} + ',' + {}",
        annotation(SKIP_INBOUND_PORTS, DEFAULT_SKIPPED),
        annotation(OPAQUE_PORTS, DEFAULT_OPAQUE)
    );
    format!(
        "(size(variables.proxies) == 0 ? {expected} : {injected}).replace(' ', '').split(',').filter(item, item != '')"
    )
}

/// Whether a port may bypass the proxy or be opaque. Names are not resolved: a list with one stands for every port.
fn is_bypassed(port: &str) -> String {
    format!(
        "variables.bypass.exists(item, item.matches('^[0-9]{{1,5}}$') ? int(item) == {port} : \
         item.matches('^[0-9]{{1,5}}-[0-9]{{1,5}}$') ? int(item.split('-')[0]) <= {port} && \
         {port} <= int(item.split('-')[1]) : true)"
    )
}

/// The annotation with the idle timeout.
fn text_of_annotation() -> String {
    let key = text(IDLE_TIMEOUT);
    format!("{key} in variables.annotations ? variables.annotations[{key}] : ''")
}

/// The window of a container in milliseconds: empty if it is not certain.
fn window() -> String {
    let millis = |text: &str| format!("duration({text}).getSeconds() * 1000");
    let name = "variables.apps[i].name";
    let item = format!("({WHOLE_SECONDS}|none)");
    let for_all = bind("ms", &millis("variables.declared"), "[ms, ms]");
    let own = bind(
        "own",
        &format!("variables.declared.split(',').filter(item, item.startsWith({name} + '='))"),
        &format!(
            "size(own) == 1 && !own[0].endsWith('=none') ? {} : []",
            bind("ms", &millis("own[0].substring(own[0].indexOf('=') + 1)"), "[ms, ms]")
        ),
    );
    let names =
        "variables.declared.split(',').all(item, variables.all.exists(c, c.name == item.split('=')[0]))";
    let is_named = format!("variables.declared.matches('^[a-z0-9-]+={item}(,[a-z0-9-]+={item})*$')");
    let is_own = format!("variables.declared.split(',').exists(item, item.startsWith({name} + '='))");
    let declared = format!(
        "variables.declared.matches('^{WHOLE_SECONDS}$') ? {for_all} : {is_named} && {names} ? \
         ({is_own} ? {own} : {}) : []",
        detected()
    );
    format!("variables.declared == '' ? {} : {declared}", detected())
}

/// The window of the server of a container.
fn detected() -> String {
    let app = "variables.apps[i]";
    let c = column;
    let has_from = format!("has({app}.envFrom) && size({app}.envFrom) > 0");
    let at = |kind: &str, place: &str| {
        format!(
            "({kind} == 'flag' ? {} : {kind} == 'variable' ? {} : [])",
            flag_value(place),
            variable_value(place)
        )
    };
    let first = at(&c(Column::FirstKind), &c(Column::First));
    let second = at(&c(Column::SecondKind), &c(Column::Second));
    let has_mounts = format!(
        "has({app}.volumeMounts) && {app}.volumeMounts.exists(m, \
         m.mountPath != '/var/run/secrets/kubernetes.io/serviceaccount') || has({app}.lifecycle)"
    );
    let doubtful = format!(
        "size(variables.behaviour[i]) == 0 || {} == 'yes' && ({has_mounts}) || \
         {words} != '' && variables.words[i].exists(w, w.matches({words})) || \
         {vars} != '' && variables.env[i].exists(e, e.name.matches({vars})) || \
         {vars} != '' && {has_from} || {images} != '' && {app}.image.matches({images}) && \
         !({since} != '' && (variables.version[i] == -1 || variables.version[i] >= int({since})))",
        c(Column::Files),
        words = c(Column::Words),
        vars = c(Column::Variables),
        images = c(Column::Images),
        since = c(Column::Since)
    );
    let format = c(Column::Format);
    let number = "v[0].matches('^[1-9][0-9]{0,6}$')";
    let millis = format!(
        "({format} == 'seconds' && {number} ? int(v[0]) * 1000 : {format} == 'milliseconds' && {number} ? int(v[0]) : \
         {format} == 'nginx' && v[0].matches('^[1-9][0-9]{{0,6}}s?$') ? int(v[0].replace('s', '')) * 1000 : \
         {format} == 'duration' && v[0].matches('^{WHOLE_SECONDS}$') ? duration(v[0]).getSeconds() * 1000 : -1)"
    );
    let margins = |from: &str, to: &str| {
        format!(
            "[{from} - int({early}) < 0 ? 0 : {from} - int({early}), {to} + int({late})]",
            early = c(Column::Early),
            late = c(Column::Late)
        )
    };
    let set = bind("ms", &millis, &format!("ms < 0 ? [] : {}", margins("ms", "ms")));
    let default = format!(
        "{from} == '' || {} == 'yes' && {has_from} ? [] : {}",
        c(Column::ReadsVariables),
        margins(&format!("int({})", c(Column::From)), &format!("int({})", c(Column::To))),
        from = c(Column::From)
    );
    // A flag that is set decides whatever unknown variables contain.
    let value = bind("f", &first, &format!("size(f) > 0 ? f : {second}"));
    let of_value = bind("v", &value, &format!("size(v) > 0 ? {set} : {default}"));
    format!("({doubtful} ? [] : {of_value})")
}

/// The probes of a container whose requests use the pool of the proxy, as their names and their periods in seconds.
fn probes(app: &str) -> String {
    let port = |probe: &str| {
        let named = format!("{app}.ports.filter(p, has(p.name) && p.name == {probe}.httpGet.port)");
        let of_http = format!(
            "(type({probe}.httpGet.port) == int ? {probe}.httpGet.port : has({app}.ports) && size({named}) > 0 ? \
             {named}[0].containerPort : 0)"
        );
        format!("(has({probe}.httpGet) ? {of_http} : has({probe}.grpc) ? {probe}.grpc.port : 0)")
    };
    let is_plain = |probe: &str| {
        format!(
            "(!has({probe}.httpGet) || (!has({probe}.httpGet.scheme) || {probe}.httpGet.scheme == 'HTTP') && \
             (!has({probe}.httpGet.host) || {probe}.httpGet.host == ''))"
        )
    };
    // Another container that declares the port answers.
    let answers = |port: &str| {
        let declares = |c: &str| format!("has({c}.ports) && {c}.ports.exists(p, p.containerPort == {port})");
        format!("({} || !variables.apps.exists(c, {}))", declares(app), declares("c"))
    };
    let of = |kind: &str, field: &str| {
        let probe = format!("{app}.{field}");
        let period =
            format!("has({probe}.periodSeconds) && {probe}.periodSeconds != 0 ? {probe}.periodSeconds : 10");
        let found = bind(
            "port",
            &port(&probe),
            &format!(
                "port > 0 && {} && {} && !{} ? [['{kind}', string(port), string({period})]] : []",
                is_plain(&probe),
                answers("port"),
                is_bypassed("port")
            ),
        );
        format!("(has({probe}) ? {found} : [])")
    };
    let all = [("liveness", "livenessProbe"), ("readiness", "readinessProbe"), ("startup", "startupProbe")];
    all.map(|(kind, field)| of(kind, field)).join(" + ")
}

/// The messages about the probes that arrive when the server closes the connection.
fn hits(policy: &Policy) -> String {
    let tolerance = policy.tolerance.as_millis();
    let name = format!(
        "(variables.declared == '' && size(variables.behaviour[i]) > 0 ? {} : 'its server')",
        column(Column::Name)
    );
    let seconds =
        |ms: &str| format!("(string({ms} / 1000) + ({ms} % 1000 == 0 ? '' : '.' + string({ms} % 1000)))");
    let message = format!(
        "variables.apps[i].name + ': ' + {name} + ' closes idle connections after ' + {} + 's' + \
         (variables.window[i][1] > variables.window[i][0] ? ' to ' + {} + 's' : '') + '; the ' + p[0] + \
         ' probe on port ' + p[1] + ' runs every ' + p[2] + 's'",
        seconds("variables.window[i][0]"),
        seconds("variables.window[i][1]")
    );
    let meets = format!(
        "int(p[2]) * 1000 + {tolerance} >= variables.window[i][0] && int(p[2]) * 1000 <= variables.window[i][1] + {tolerance}"
    );
    let of_another = format!(
        "size(variables.behaviour[i]) > 0 && {}.contains(',' + p[1] + ',')",
        column(Column::OtherPorts)
    );
    let exempt = if policy.annotation_exemptions {
        format!("{} in variables.annotations || ", text(EXEMPT))
    } else {
        String::new()
    };
    let owner = match policy.reject_at {
        RejectAt::Both => String::new(),
        RejectAt::Workloads => {
            let kinds = texts(Kind::BUILT_IN.map(Kind::as_str));
            // Only groups of custom resources have a dot, apart from groups whose objects own no pods.
            let creates = format!("o.kind in {kinds} || o.apiVersion.contains('.')");
            format!(
                "has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(o, {creates}) || "
            )
        }
    };
    format!(
        "{exempt}{owner}!variables.isMeshed || !variables.isChanged ? [] : lists.range(size(variables.apps)).map(i, size(variables.window[i]) == 0 ? [] : \
         variables.probes[i].filter(p, {meets} && !({of_another})).map(p, {message})).flatten()"
    )
}
