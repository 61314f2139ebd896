//! Which server runs in a container.
//!
//! Turns image, command line and variables into one catalog entry: by one reliable sign, or by two hints that do not
//! depend on each other. What it does with idle connections is left to `settle`.

mod program;

use std::borrow::Cow;

pub(super) use self::program::JAVA_VALUED;
use self::program::Program;
use super::{
    catalog::{Catalog, Server, SignKind, Strength, Version},
    command::Launch,
};
use crate::workload::{
    image::ImageRef,
    pod::Container,
    word::{Place, Word, basename},
};

/// A server and what we saw of it.
#[derive(Clone, Debug)]
pub(super) struct Recognition<'c> {
    pub(super) server: &'c Server,
    /// From the image's tag.
    pub(super) version: Option<Version>,
    /// The image is one of the server's own, with the configuration that comes with it.
    pub(super) own_image: bool,
    /// That image's ENTRYPOINT starts it.
    pub(super) own_entrypoint: bool,
    /// The server's arguments.
    pub(super) arguments: Vec<Word>,
    /// Options of the program that runs it.
    pub(super) options: Vec<Word>,
}

/// What a container shows of its server.
#[derive(Clone, Debug)]
pub(super) enum Recognised<'c> {
    /// Enough.
    Server(Recognition<'c>),
    /// Too little, and why.
    Hint(&'c Server, String),
    /// Nothing, and why.
    Nothing(String),
}

/// The way out of every doubt.
pub(super) const WAY_OUT: &str = "say it with annotation linkerd-linger.io/idle-timeout";

/// What speaks for one entry.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    server: usize,
    image: Option<Strength>,
    command: Option<Strength>,
    setting: Option<Strength>,
}

impl Candidate {
    fn hints(self) -> usize {
        [self.image, self.command, self.setting].iter().flatten().count()
    }

    /// 0 when not recognised; a command proves more than an image does.
    fn rank(self) -> u8 {
        match (self.command, self.image) {
            (Some(Strength::Reliable), _) => 3,
            (_, Some(Strength::Reliable)) => 2,
            _ => u8::from(self.hints() > 1),
        }
    }
}

/// The image of a container.
struct Image<'t> {
    /// With its registry.
    repository: Cow<'t, str>,
    /// `None` where only a digest says which image it is.
    tag: Option<&'t str>,
}

/// Recognises the server of a container; `launch` is its unwrapped command line.
pub(super) fn recognise<'c>(
    catalog: &'c Catalog,
    container: &Container<'_>,
    launch: &Launch,
) -> Recognised<'c> {
    let image = ImageRef::of(&container.image);
    let tag = match image.tag {
        "" if container.image.contains('@') => None,
        "" => Some("latest"),
        tag => Some(tag),
    };
    let image = Image { repository: image.qualified(), tag };
    let mut candidates = Candidates { catalog, list: Vec::new() };
    if launch.instead.iter().any(|words| candidates.knows(&Program::read(words))) {
        let why = "the shell script has a server that may or may not be reached";
        return Recognised::Nothing(format!("{why}; {WAY_OUT}"));
    }
    candidates.image(&image);
    let program = candidates.program(launch);
    candidates.command(&program);
    candidates.settings(&program, launch);
    candidates.choose(&image, program, launch)
}

/// Variables in which every JVM finds options, the strongest first; the first also beats the command line.
pub(super) const JVM_OPTIONS: [&str; 3] = ["_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"];

/// The names of system properties in the variables that every JVM reads.
fn jvm_options(launch: &Launch) -> Vec<String> {
    let lines = JVM_OPTIONS.into_iter().filter_map(|name| launch.environment.get(name));
    let words = lines.flat_map(|line| shlex::split(line.prefix()).unwrap_or_default());
    words
        .filter_map(|word| {
            let name = word.strip_prefix("-D")?;
            Some(name.split('=').next().unwrap_or(name).to_owned())
        })
        .collect()
}

struct Candidates<'c> {
    catalog: &'c Catalog,
    list: Vec<Candidate>,
}

impl<'c> Candidates<'c> {
    fn of(&mut self, server: usize) -> &mut Candidate {
        let at = self.list.iter().position(|candidate| candidate.server == server).unwrap_or_else(|| {
            self.list.push(Candidate { server, image: None, command: None, setting: None });
            self.list.len() - 1
        });
        &mut self.list[at]
    }

    fn server(&self, candidate: Candidate) -> Option<&'c Server> {
        self.catalog.server(candidate.server)
    }

    fn image(&mut self, image: &Image<'_>) {
        for mark in self.catalog.marks(SignKind::Image, &image.repository) {
            if mark.takes_tag(image.tag) {
                let found = &mut self.of(mark.server).image;
                *found = (*found).max(Some(mark.strength));
            }
        }
    }

    /// The program that runs. Only `args` leaves the image's ENTRYPOINT in place, which most often runs a command
    /// that it is given, and adds flags to its own.
    fn program(&self, launch: &Launch) -> Program {
        let Some(first) = launch.words.first() else { return Program::default() };
        let program = Program::read(&launch.words);
        if launch.replaces_entrypoint || self.knows(&program) {
            return program;
        }
        let mut servers = self.list.iter().filter_map(|candidate| self.server(*candidate));
        let entrypoint =
            servers.find_map(|server| Some(&server.entrypoint).filter(|words| !words.is_empty()));
        let first = first.prefix();
        let no_command = first.starts_with('-') || first.contains('=');
        match entrypoint {
            Some(entrypoint) if no_command || is_node_script(first) => {
                let entrypoint = entrypoint.iter().map(|text| Word::text(text, Place::Args(0)));
                Program::read(&entrypoint.chain(launch.words.iter().cloned()).collect::<Vec<_>>())
            }
            None if no_command => Program { arguments: launch.words.clone(), ..Program::default() },
            Some(_) | None => program,
        }
    }

    fn knows(&self, program: &Program) -> bool {
        program.signs.iter().any(|(kind, text)| !self.catalog.marks(*kind, text).is_empty())
    }

    /// A command that is something else overrules the image.
    fn command(&mut self, program: &Program) {
        for (kind, text) in &program.signs {
            for mark in self.catalog.marks(*kind, text) {
                let found = &mut self.of(mark.server).command;
                *found = (*found).max(Some(mark.strength));
            }
        }
        if program.name.is_some() {
            self.list.retain(|candidate| candidate.command.is_some());
        }
    }

    /// Settings that only one server reads, in the environment or on the command line. They count beside the program
    /// that runs such a server, and not beside others.
    fn settings(&mut self, program: &Program, launch: &Launch) {
        let variables = launch.environment.names().into_iter().map(str::to_owned);
        let options = if program.runtime == Some("java") { jvm_options(launch) } else { Vec::new() };
        let names: Vec<String> = variables.chain(program.settings()).chain(options).collect();
        for name in names {
            for mark in self.catalog.marks(SignKind::Setting, &name) {
                let Some(server) = self.catalog.server(mark.server) else { continue };
                let runs_it = program.runtime.is_some() && program.runtime == server.runtime.as_deref();
                let already = self.list.iter().any(|candidate| candidate.server == mark.server);
                if program.name.is_some() && !runs_it && !already {
                    continue;
                }
                let candidate = self.of(mark.server);
                candidate.setting = Some(mark.strength);
                if runs_it {
                    candidate.command = candidate.command.max(Some(Strength::Hint));
                }
            }
        }
    }

    /// A more special entry replaces the general one if it is recognised, and yields to it if not.
    fn refine(&mut self) {
        let list = self.list.clone();
        let catalog = self.catalog;
        self.list.retain(|candidate| {
            let Some(server) = catalog.server(candidate.server) else { return false };
            !list.iter().filter_map(|other| Some((other, catalog.server(other.server)?))).any(
                |(other, of)| {
                    let replaced = of.refines.as_deref() == Some(&server.id) && other.rank() > 0;
                    let yields = server.refines.as_deref() == Some(&of.id) && candidate.rank() == 0;
                    replaced && other.rank() >= candidate.rank() || yields
                },
            )
        });
    }

    fn choose(mut self, image: &Image<'_>, program: Program, launch: &Launch) -> Recognised<'c> {
        self.refine();
        self.list.sort_by_key(|candidate| candidate.server);
        let Some(best) = self.list.iter().map(|candidate| (candidate.rank(), candidate.hints())).max() else {
            return Recognised::Nothing(nothing(image, &program));
        };
        let mut leaders = self.list.iter().filter(|candidate| (candidate.rank(), candidate.hints()) == best);
        let (leader, second) = (leaders.next().copied(), leaders.next().copied());
        let Some((candidate, server)) = leader.and_then(|leader| Some((leader, self.server(leader)?))) else {
            return Recognised::Nothing(nothing(image, &program));
        };
        if let Some(other) = second.and_then(|second| self.server(second)) {
            return Recognised::Nothing(format!("it may be {} or {}; {WAY_OUT}", server.id, other.id));
        }
        if best.0 == 0 {
            return Recognised::Hint(server, hint(candidate, server));
        }
        let tells = server.version_from.iter().any(|from| *from == image.repository);
        let own_image = candidate.image == Some(Strength::Reliable);
        Recognised::Server(Recognition {
            server,
            version: image.tag.filter(|_| tells).and_then(Version::from_tag),
            own_image,
            own_entrypoint: own_image && !launch.replaces_entrypoint,
            arguments: program.arguments,
            options: program.options,
        })
    }
}

/// A script that `node` runs; the entrypoint of its image takes other words for commands.
fn is_node_script(word: &str) -> bool {
    [".js", ".mjs", ".cjs"].iter().any(|ending| word.ends_with(ending))
}

fn hint(candidate: Candidate, server: &Server) -> String {
    let sign = match candidate {
        Candidate { image: Some(_), .. } => "only the image",
        Candidate { command: Some(_), .. } => "only the command",
        Candidate { .. } => "only a setting",
    };
    let doubt = server.doubt.as_deref().map_or_else(String::new, |doubt| format!(" ({doubt})"));
    format!("{sign} hints at {}{doubt}; {WAY_OUT}", server.id)
}

fn nothing(image: &Image<'_>, program: &Program) -> String {
    let what = match &program.name {
        Some(name) => format!("{} is no server that we know", shorten(basename(name))),
        None if image.repository.is_empty() => "nothing tells which server runs".to_owned(),
        None => format!("image {} does not tell which server runs", shorten(&image.repository)),
    };
    format!("{what}; {WAY_OUT}")
}

/// Keeps a message readable.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let head: String = text.chars().take(LONGEST).collect();
    format!("{head}...")
}
