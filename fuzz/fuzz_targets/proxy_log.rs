//! Any bytes as the log of a proxy and as its metrics: nothing panics or loops, and no more failures are counted than there are lines.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use linkerd_linger::diagnose::{cause::diagnose, log::Log, metrics::Metrics};

fuzz_target!(|bytes: &[u8]| {
    let mut log = Log::default();
    for chunk in bytes.chunks(97) {
        log.feed(chunk);
    }
    log.end();
    let logs = log.finish();
    let mut metrics = Metrics::default();
    let _ = metrics.read(&String::from_utf8_lossy(bytes));
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let failed: u64 = diagnose(&logs, &metrics, &BTreeMap::new())
        .iter()
        .flat_map(|port| &port.findings)
        .map(|finding| finding.count)
        .sum();
    assert!(failed <= lines as u64, "{failed} failures in {lines} lines");
});
