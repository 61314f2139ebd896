//! The oracles of the fuzz targets, over their seeds and over mutations of the seeds.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/oracles.rs"]
mod oracles;

use std::{fs, path::Path};

use oracles::{Oracle, TARGETS};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Value, json};

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

/// The seeds of a target, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(Path::new(FUZZ).join("seeds").join(target)).unwrap();
    let mut seeds: Vec<_> = files
        .map(|file| {
            let path = file.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

#[test]
fn every_seed_satisfies_its_oracle() {
    for (target, oracle) in TARGETS {
        for (name, seed) in seeds(target) {
            println!("{target}/{name}");
            oracle(&seed);
        }
    }
}

#[test]
fn every_oracle_is_a_fuzz_target() {
    let manifest = fs::read_to_string(Path::new(FUZZ).join("Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "fuzz/Cargo.toml has no bin {target}");
        let source = fs::read_to_string(format!("{FUZZ}/fuzz_targets/{target}.rs")).unwrap();
        assert!(source.contains(&format!("oracles::{target}(bytes)")), "{source}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len(), "a fuzz target has no oracle");
}

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Mutation {
    Remove(Index, Index),
    Repeat(Index, Index),
    Insert(Index, Vec<u8>),
}

const WORDS: [&str; 20] = [
    "0",
    "-1",
    "65535",
    "99999999999999999999",
    "1e309",
    "null",
    "\"",
    "'",
    "\\",
    "\n",
    "\r\n",
    "\0",
    "\u{1b}[31m",
    "\u{2028}",
    "${",
    "$(",
    "{",
    "]",
    "&a *a",
    "../",
];

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let index = any::<Index>;
    let word = prop_oneof![
        4 => (0..WORDS.len()).prop_map(|word| WORDS[word].as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(
        prop_oneof![
            (index(), index()).prop_map(|(from, length)| Mutation::Remove(from, length)),
            (index(), index()).prop_map(|(from, length)| Mutation::Repeat(from, length)),
            (index(), word).prop_map(|(at, word)| Mutation::Insert(at, word)),
        ],
        1..5,
    )
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let range = |from: &Index, length: &Index| {
        let from = from.index(bytes.len() + 1);
        from..bytes.len().min(from + length.index(40))
    };
    match mutation {
        Mutation::Remove(from, length) => drop(bytes.drain(range(from, length))),
        Mutation::Repeat(from, length) => {
            let range = range(from, length);
            let part = bytes[range.clone()].to_vec();
            bytes.splice(range.start..range.start, part);
        }
        Mutation::Insert(at, word) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, word.iter().copied());
        }
    }
}

/// The pointers to every value of a document.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(member, &format!("{at}/{key}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Other values for a value of a document.
fn other(value: &Value, choice: usize) -> Value {
    let mut others = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("Always"),
        json!("linkerd-init"),
        json!("linkerd-proxy"),
        json!("linger-close-wait"),
        json!("--timeout-close-wait-secs"),
        json!("a\u{1b}[31m\nb"),
        json!([]),
        json!({}),
    ];
    match value {
        Value::Array(items) => {
            others.push(items.iter().chain(items).cloned().collect());
            others.push(items.iter().rev().cloned().collect());
            others.push(items.iter().skip(1).cloned().collect());
        }
        Value::Object(members) => {
            for removed in members.keys() {
                others.push(members.clone().into_iter().filter(|(key, _)| key != removed).collect());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    others.swap_remove(choice % others.len())
}

/// The JSON of a target's seeds, with some values exchanged.
fn documents(target: &'static str) -> impl Strategy<Value = Value> {
    let seeds: Vec<Value> =
        seeds(target).iter().map(|(_, seed)| serde_json::from_slice(seed).unwrap()).collect();
    (select(seeds), vec((any::<Index>(), any::<usize>()), 1..4)).prop_map(|(mut document, changes)| {
        for (at, choice) in changes {
            let mut all = Vec::new();
            pointers(&document, "", &mut all);
            let value = document.pointer_mut(&all[at.index(all.len())]).unwrap();
            *value = other(value, choice);
        }
        document
    })
}

/// A target, and one of its seeds with some bytes changed.
fn inputs() -> impl Strategy<Value = (&'static str, Oracle, Vec<u8>)> {
    let seeds: Vec<_> = TARGETS
        .into_iter()
        .flat_map(|(target, oracle)| seeds(target).into_iter().map(move |(_, seed)| (target, oracle, seed)))
        .collect();
    (select(seeds), mutations()).prop_map(|((target, oracle, mut bytes), mutations)| {
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        (target, oracle, bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn changed_bytes_satisfy_the_oracle((target, oracle, bytes) in inputs()) {
        println!("{target}");
        oracle(&bytes);
    }

    #[test]
    fn changed_reviews_satisfy_the_oracle(review in documents("review")) {
        oracles::review(review.to_string().as_bytes());
    }

    #[test]
    fn changed_pods_satisfy_the_oracle(pod in documents("pod")) {
        oracles::pod(pod.to_string().as_bytes());
    }
}
