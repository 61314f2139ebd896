//! What a review costs, and that it does not grow with the catalog: recognising a server is a look-up of its signs.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark has no users, and fails by panicking")]

use std::{
    borrow::Cow,
    fs,
    hint::black_box,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};

use divan::{Bencher, counter::BytesCount};
use jiff::civil::date;
use linkerd_linger::{
    judgement::policy::Policy,
    review::{self, Endpoint, Mode, WebhookKind},
    servers::{Catalog, RawServer},
};
use serde_json::Value;
use serde_saphyr::Spanned;

/// A pod with two probes that Linkerd 2.17 had injected, as a real API server sent it.
const POD: &[u8] = include_bytes!("../tests/fixtures/reviews/real-injector/edge-24.11.8/cart-gunicorn.json");
const COPIES: usize = 99;

static BUILTIN: LazyLock<Policy> = LazyLock::new(Policy::default);
static LARGE: LazyLock<Policy> =
    LazyLock::new(|| Policy { catalog: Cow::Owned(large_catalog()), ..Policy::default() });

/// The built-in catalog, and copies of it under other names and signs.
fn large_catalog() -> Catalog {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/src/servers/catalog");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let families = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let read = |path| serde_saphyr::from_str::<Vec<Value>>(&fs::read_to_string(path).unwrap()).unwrap();
    let servers: Vec<Value> = families.flat_map(read).collect();
    // A parser of YAML takes so many nodes in one text and no more, so that each copy is a text of its own.
    let mut copies: Vec<Spanned<RawServer>> = Vec::new();
    for copy in 0..COPIES {
        let copied: Vec<Value> = servers
            .iter()
            .cloned()
            .map(|mut server| {
                for key in ["id", "refines"] {
                    if let Some(id) = server.get(key).and_then(Value::as_str) {
                        server[key] = format!("{id}-{copy}").into();
                    }
                }
                for strength in ["reliable", "hints"] {
                    rename(copy, server.get_mut(strength));
                }
                for product in server.get_mut("products").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    rename(copy, Some(product));
                }
                server
            })
            .collect();
        let text = serde_saphyr::to_string(&copied).unwrap();
        copies.extend(serde_saphyr::from_str::<Vec<Spanned<RawServer>>>(&text).unwrap());
    }
    let large = Catalog::builtin().with(copies).unwrap();
    assert_eq!(large.servers().count(), (COPIES + 1) * servers.len());
    large
}

/// Gives each sign another name of the same kind.
fn rename(copy: usize, signs: Option<&mut Value>) {
    let Some(signs) = signs.and_then(Value::as_object_mut) else { return };
    let kinds = ["images", "commands", "modules", "jars", "classes", "settings", "flags"];
    for (kind, signs) in signs.iter_mut().filter(|(kind, _)| kinds.contains(&kind.as_str())) {
        for sign in signs.as_array_mut().unwrap() {
            let text = sign.as_str().unwrap();
            let (head, name) = ["--", "*/"]
                .into_iter()
                .find_map(|head| Some((head, text.strip_prefix(head)?)))
                .unwrap_or(("", text));
            *sign = match kind.as_str() {
                "images" if head.is_empty() => text.replacen('/', &format!("/copy{copy}/"), 1),
                _ => format!("{head}copy{copy}.{name}"),
            }
            .into();
        }
    }
}

fn review(policy: &Policy) {
    let today = date(2026, 11, 23);
    let reviewed =
        review::review(black_box(POD), Endpoint::new(WebhookKind::Mutating, Mode::Enforce), policy, today);
    black_box(reviewed.unwrap());
}

#[divan::bench]
fn builtin_catalog(bencher: Bencher<'_, '_>) {
    let policy: &Policy = &BUILTIN;
    bencher.counter(BytesCount::of_slice(POD)).bench(|| review(policy));
}

#[divan::bench]
fn catalog_of_100_times_the_size(bencher: Bencher<'_, '_>) {
    let policy: &Policy = &LARGE;
    bencher.counter(BytesCount::of_slice(POD)).bench(|| review(policy));
}

/// The fastest of many rounds: what else the machine does only makes a round slower.
fn fastest(policy: &Policy) -> Duration {
    const REVIEWS: u32 = 20;
    let round = || {
        let start = Instant::now();
        (0..REVIEWS).for_each(|_| review(policy));
        start.elapsed() / REVIEWS
    };
    (0..200).map(|_| round()).min().unwrap()
}

fn main() {
    divan::main();
    let (builtin, large) = (fastest(&BUILTIN), fastest(&LARGE));
    let rate = POD.len() as f64 / builtin.as_secs_f64() / 1e6;
    println!("review of {} bytes: {builtin:?}, {rate:.0} MB/s", POD.len());
    println!("with 100 times the catalog: {large:?}, {:.2} times as long", large.div_duration_f64(builtin));
}
