//! PodMonitors for the Prometheus Operator.

use serde_json::{Value, json};

use super::{Options, namespaced, server, sockets, with};
use crate::base::names;

const API: &str = "monitoring.coreos.com/v1";

/// One for the server, and one for the pods of `--sockets`, which are in another namespace.
pub(super) fn objects(options: &Options) -> Vec<Value> {
    let Some(labels) = &options.pod_monitor else { return Vec::new() };
    let mut objects =
        vec![monitor(namespaced(API, "PodMonitor", names::SERVER), &server::selector(), server::ADMIN)];
    if options.sockets {
        objects.push(monitor(sockets::inside(API, "PodMonitor"), &sockets::selector(), sockets::METRICS));
    }
    for object in &mut objects {
        for (key, value) in labels {
            object["metadata"]["labels"][key] = json!(value);
        }
    }
    objects
}

fn monitor(object: Value, selector: &Value, port: &str) -> Value {
    let spec = json!({
        "selector": {"matchLabels": selector},
        "podMetricsEndpoints": [{"port": port, "path": "/metrics"}],
    });
    with(object, json!({"spec": spec}))
}
