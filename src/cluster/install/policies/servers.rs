//! Recognises the server of a container in CEL, and what it does, from tables that are compiled from the catalog.
//!
//! The lists of the policy have an item for each container, see `probes`; `i` is its index.

use std::{collections::BTreeMap, time::Duration};

use super::cel::{bind, literal as exactly, text, texts};
use crate::servers::literal::{Behaviour, Choice, Literal, LiteralFormat, LiteralServer, Start, wrappers};

/// The factors of the three parts of a version. A part has at most four digits.
const VERSION_FACTORS: [u64; 3] = [100_000_000, 10_000, 1];

/// The repository of the image with its registry.
pub(super) fn image(app: &str) -> String {
    let repository = format!("(has({app}.image) ? {app}.image : '').split('@')[0].replace(' ', '')");
    let without_tag = bind("r", &repository, "r.matches(':[^/]*$') ? r.substring(0, r.lastIndexOf(':')) : r");
    bind(
        "r",
        &without_tag,
        "r.matches('^[^/]*[.:][^/]*/') || r.startsWith('localhost/') ? r : \
         'docker.io/' + (r.contains('/') ? '' : 'library/') + r",
    )
}

/// The version in the tag of the image, as a number: 102030004 for 1.203.4, which is larger than that of each older version. -1 if the
/// tag is no version, and -2 if it may be one.
pub(super) fn version(app: &str) -> String {
    let tag = bind(
        "r",
        &format!("(has({app}.image) ? {app}.image : '').split('@')[0]"),
        "r.matches(':[^/]*$') ? r.substring(r.lastIndexOf(':') + 1) : ''",
    );
    let part = |at: usize, factor: u64| format!("(size(n) > {at} ? int(n[{at}]) * {factor} : 0)");
    let [first, second, third] = VERSION_FACTORS;
    let number = bind(
        "n",
        "tag.find('[0-9]+([.][0-9]+)*').split('.')",
        &format!("{} + {} + {}", part(0, first), part(1, second), part(2, third)),
    );
    bind(
        "tag",
        &tag,
        &format!(
            "tag == '' || tag.matches('^v?[^v0-9.]') ? -1 : tag.matches('^v?[0-9]{{1,4}}([.][0-9]{{1,4}}){{0,2}}([-_+].*)?$') ? {number} : -2"
        ),
    )
}

/// The words without a wrapper, such as `tini --` or `poetry run`. The words of a wrapper with options are not changed, and then
/// no server is recognised.
pub(super) fn unwrapped(words: &str) -> String {
    let wrappers: Vec<_> =
        wrappers().map(|(name, subcommand)| format!("{}: {}", text(name), text(subcommand))).collect();
    let rest = |at: usize| {
        let next = at + 1;
        format!(
            "size({words}) > {next} && {words}[{at}] == '--' ? {words}.slice({next}, size({words})) : size({words}) > {at} && \
             !{words}[{at}].startsWith('-') && !{words}[{at}].contains('=') ? {words}.slice({at}, size({words})) : {words}"
        )
    };
    let (one, two) = (rest(1), rest(2));
    bind(
        "wrappers",
        &format!("{{{}}}", wrappers.join(", ")),
        &format!(
            "size({words}) == 0 ? {words} : {}",
            bind(
                "program",
                &format!("{words}[0].substring({words}[0].lastIndexOf('/') + 1)"),
                &format!(
                    "!(program in wrappers) ? {words} : wrappers[program] == '' ? ({one}) : \
                     size({words}) > 1 && {words}[1] == wrappers[program] ? ({two}) : {words}"
                )
            )
        ),
    )
}

/// The server of each start: `c` for a command, `m` for a module, `i` for an image.
pub(super) fn starts(literals: &[LiteralServer<'_>]) -> String {
    let mut table = BTreeMap::new();
    for literal in literals {
        for start in &literal.starts {
            let key = match start {
                Start::Command(words) => format!("c {words}"),
                Start::Module(words) => format!("m {words}"),
                Start::Image(repository) => format!("i {repository}"),
            };
            table.insert(key, literal.server.id.clone());
        }
    }
    let entries: Vec<_> = table.iter().map(|(key, id)| format!("{}: {}", text(key), text(id))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// The id of the server, or nothing.
pub(super) fn server(app: &str) -> String {
    let words = "variables.words[i]";
    let command = format!("{words}[0].substring({words}[0].lastIndexOf('/') + 1)");
    let with_next = |kind: &str, first: &str, at: usize| {
        let second = format!(
            "(size({words}) > {at} ? ' ' + {words}[{at}].substring({words}[{at}].lastIndexOf('/') + 1) : '')"
        );
        bind(
            "one",
            &format!("'{kind} ' + {first}"),
            &format!("one + {second} in variables.starts ? one + {second} : one"),
        )
    };
    let of_command = bind(
        "program",
        &command,
        &format!(
            "program.matches('^(python|pypy)[0-9.]*$') ? (size({words}) > 2 && {words}[1] == '-m' ? {} : '') : {}",
            with_next("m", &format!("{words}[2]"), 3),
            with_next("c", "program", 1)
        ),
    );
    let start = format!(
        "has({app}.command) && size({app}.command) > 0 ? {of_command} : size({words}) == 0 || \
         {words}[0].startsWith('-') ? 'i ' + variables.image[i] : ''"
    );
    format!(
        "!variables.isRead[i] ? '' : {}",
        bind("start", &start, "start in variables.starts ? variables.starts[start] : ''")
    )
}

/// The value at a place, in a list: empty if it is not set, and `?` if it cannot be read.
fn value(at: &Literal) -> String {
    match at {
        Literal::Flag(pattern) => flag_value(&text(pattern)),
        Literal::Variable(name) => variable_value(&text(name)),
    }
}

pub(super) fn flag_value(pattern: &str) -> String {
    let words = "variables.words[i]";
    bind(
        "h",
        &format!("{words}.filter(w, w.matches({pattern}))"),
        &format!(
            "size(h) == 0 ? [] : size(h) > 1 ? ['?'] : h[0].contains('=') ? [h[0].substring(h[0].indexOf('=') + 1)] : \
             {words}.indexOf(h[0]) + 1 < size({words}) ? [{words}[{words}.indexOf(h[0]) + 1]] : ['?']"
        ),
    )
}

pub(super) fn variable_value(name: &str) -> String {
    let has_from = "has(variables.apps[i].envFrom) && size(variables.apps[i].envFrom) > 0";
    bind(
        "h",
        &format!("variables.env[i].filter(e, e.name == {name})"),
        &format!(
            "size(h) == 0 ? ({has_from} ? ['?'] : []) : size(h) > 1 || has(h[0].valueFrom) ? ['?'] : has(h[0].value) ? \
             (h[0].value.contains('$') ? ['?'] : [h[0].value]) : ['']"
        ),
    )
}

/// The mode of the server; `?` if it cannot be read.
pub(super) fn mode(literals: &[LiteralServer<'_>]) -> String {
    let with_modes = literals.iter().filter(|literal| !literal.steps.is_empty());
    let modes = with_modes.map(|literal| {
        let start = literal.behaviours.first().map_or("", |behaviour| behaviour.mode.as_str());
        let mut mode = text(start);
        for step in &literal.steps {
            let choices =
                step.choices.iter().rev().fold("m".to_owned(), |rest, choice| chosen(choice, &rest));
            let body = if step.when.is_empty() {
                format!("m == '?' ? m : {choices}")
            } else {
                format!("m in {} ? {choices} : m", texts(&step.when))
            };
            mode = bind("m", &mode, &body);
        }
        format!("variables.server[i] == {} ? {mode} : ", text(&literal.server.id))
    });
    format!("{}''", modes.collect::<String>())
}

/// The mode that a choice selects, or that of the choices after it.
fn chosen(choice: &Choice, rest: &str) -> String {
    let values: Vec<_> =
        choice.values.iter().map(|(value, mode)| format!("{}: {}", text(value), text(mode))).collect();
    let otherwise = choice.otherwise.as_deref().unwrap_or("?");
    bind(
        "v",
        &value(&choice.at),
        &format!(
            "size(v) == 0 ? {rest} : v[0] == '?' ? '?' : v[0] in {{{values}}} ? {{{values}}}[v[0]] : {}",
            text(otherwise),
            values = values.join(", ")
        ),
    )
}

/// What each server does in each mode, as texts; see [`row`].
pub(super) fn behaviours(literals: &[LiteralServer<'_>]) -> String {
    let rows = literals.iter().flat_map(|literal| {
        literal.behaviours.iter().map(move |behaviour| {
            format!(
                "{}: {}",
                text(&format!("{}/{}", literal.server.id, behaviour.mode)),
                row(literal, behaviour)
            )
        })
    });
    format!("{{{}}}", rows.collect::<Vec<_>>().join(", "))
}

/// The columns of a behaviour.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// The name of the server.
    Name,
    /// The kind of the first place: `flag`, `variable` or nothing.
    FirstKind,
    /// The first place.
    First,
    /// The kind of the second place.
    SecondKind,
    /// The second place.
    Second,
    /// The format of both.
    Format,
    /// Words that make the answer unknown.
    Words,
    /// Variables that make the answer unknown.
    Variables,
    /// The default: from, in milliseconds.
    From,
    /// The default: to.
    To,
    /// How much earlier it may close.
    Early,
    /// How much later it may close.
    Late,
    /// `yes` if volumes and hooks can change the answer.
    Files,
    /// `yes` if unknown variables can change the answer.
    ReadsVariables,
    /// Parts of images with other versions.
    Images,
    /// The ports of other listeners, each between commas.
    OtherPorts,
    /// The first of these versions that has this behaviour, as a number; nothing if none has.
    Since,
}

fn row(literal: &LiteralServer<'_>, behaviour: &Behaviour) -> String {
    let millis = |duration: Duration| duration.as_millis().to_string();
    let yes = |is: bool| if is { "yes" } else { "" };
    let place = |at: Option<&Literal>| match at {
        None => ["", ""].map(str::to_owned),
        Some(Literal::Flag(pattern)) => ["flag".to_owned(), pattern.clone()],
        Some(Literal::Variable(name)) => ["variable".to_owned(), name.clone()],
    };
    let format = behaviour.settings.first().map(|setting| setting.format);
    let mut settings = behaviour.settings.iter().take_while(|setting| Some(setting.format) == format);
    let [first_kind, first] = place(settings.next().map(|setting| &setting.at));
    let [second_kind, second] = place(settings.next().map(|setting| &setting.at));
    // What has no column makes the answer unknown.
    let known =
        behaviour.settings.iter().take_while(|setting| Some(setting.format) == format).take(2).count();
    let (mut words, mut variables) = (behaviour.doubtful_words.clone(), behaviour.doubtful_variables.clone());
    for setting in behaviour.settings.iter().skip(known) {
        let (list, pattern) = match &setting.at {
            Literal::Flag(pattern) => (&mut words, pattern.clone()),
            Literal::Variable(name) => (&mut variables, format!("^{}$", exactly(name))),
        };
        *list = if list.is_empty() { pattern } else { format!("{list}|{pattern}") };
    }
    let (from, to) = behaviour.default.map_or_else(Default::default, |(from, to)| (millis(from), millis(to)));
    let images: Vec<_> = literal.not_images.iter().map(|image| exactly(image)).collect();
    let format = match format {
        Some(LiteralFormat::Seconds) => "seconds",
        Some(LiteralFormat::Milliseconds) => "milliseconds",
        Some(LiteralFormat::Duration) => "duration",
        Some(LiteralFormat::NginxSeconds) => "nginx",
        None => "",
    };
    texts([
        literal.server.name.as_str(),
        &first_kind,
        &first,
        &second_kind,
        &second,
        format,
        &words,
        &variables,
        &from,
        &to,
        &millis(behaviour.early),
        &millis(behaviour.late),
        yes(literal.reads_files),
        yes(literal.reads_variables),
        &images.join("|"),
        &literal.other_ports.iter().map(|port| format!(",{port},")).collect::<String>(),
        &literal.since.map(version_number).unwrap_or_default(),
    ])
}

/// See [`version`].
fn version_number(version: [u64; 3]) -> String {
    version.iter().zip(VERSION_FACTORS).map(|(part, factor)| part * factor).sum::<u64>().to_string()
}

/// A column of the behaviour of the container.
pub(super) fn column(column: Column) -> String {
    format!("variables.behaviour[i][{}]", column as usize)
}
