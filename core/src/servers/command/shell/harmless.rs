//! Commands that write no files, so that the configuration of the server stays unchanged.

use crate::{
    servers::command::wrappers,
    workload::word::{Word, basename},
};

/// Commands that write no files. Any other command could write the configuration of the server.
const HARMLESS: [&str; 47] = [
    ":",
    "[",
    "[[",
    "break",
    "cat",
    "cd",
    "chmod",
    "chown",
    "continue",
    "date",
    "echo",
    "exit",
    "false",
    "grep",
    "head",
    "hostname",
    "id",
    "let",
    "ls",
    "mkdir",
    "nc",
    "nproc",
    "pg_isready",
    "printenv",
    "printf",
    "pwd",
    "read",
    "return",
    "rm",
    "set",
    "shift",
    "sleep",
    "tail",
    "test",
    "touch",
    "trap",
    "true",
    "ulimit",
    "umask",
    "uname",
    "unset",
    "wait",
    "wait-for",
    "wait-for-it",
    "wait-for-it.sh",
    "which",
    "whoami",
];

/// Further harmless commands by their first words; an asterisk matches any word. A Python virtual environment changes
/// PATH, migrations change a database, and the others only print something.
const HARMLESS_BEGINNINGS: [&str; 22] = [
    ". activate",
    "source activate",
    "manage.py",
    "python manage.py",
    "python -m django",
    "django-admin",
    "alembic",
    "python -m alembic",
    "flask db",
    "flask --app * db",
    "python -m flask db",
    "python -m flask --app * db",
    "rails",
    "rake",
    "php artisan migrate",
    "python --version",
    "python -V",
    "pip list",
    "nginx -t",
    "nginx -v",
    "wget -qO-",
    "wget --spider",
];

/// Whether a command writes no file.
pub(in crate::servers::command) fn is_harmless(words: &[Word]) -> bool {
    let words = wrappers::inner(words);
    let name = |at: usize| words.get(at).and_then(|word| word.known().ok()).map(basename);
    let Some(first) = name(0) else { return words.is_empty() };
    let versioned = first.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let begins = |known: &&str| {
        known.split(' ').enumerate().all(|(at, word)| {
            word == "*" && at < words.len() || name(at) == Some(word) || at == 0 && versioned == word
        })
    };
    match first {
        "curl" => !words.iter().any(writes_by_curl),
        // Runs the command after the dashes.
        "wait-for" | "wait-for-it" | "wait-for-it.sh" => !words.iter().any(|word| word.known() == Ok("--")),
        _ => HARMLESS.contains(&first) || HARMLESS_BEGINNINGS.iter().any(begins),
    }
}

/// Whether a word of curl may write a file: any option except a few well-known ones.
fn writes_by_curl(word: &Word) -> bool {
    const PLAIN: [&str; 12] = [
        "connect-timeout",
        "data",
        "fail",
        "head",
        "insecure",
        "location",
        "max-time",
        "request",
        "retry",
        "show-error",
        "silent",
        "user",
    ];
    let text = word.prefix();
    if word.why().is_some() && (text.is_empty() || text.starts_with('-')) {
        return true;
    }
    match (text.strip_prefix("--"), text.strip_prefix('-')) {
        (Some(long), _) => !PLAIN.iter().any(|known| long.starts_with(known)),
        (None, Some(short)) => !short.chars().all(|c| "dfHIkLmsSuvX0123456789".contains(c)),
        (None, None) => false,
    }
}
