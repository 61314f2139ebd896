//! Recognises the server in a container.
//!
//! Turns the image, the command line and the variables into a catalog entry: by one reliable sign, or by two
//! independent hints. `resolve` computes the idle timeout.

mod hidden;
mod program;
mod run_java;

use std::borrow::Cow;

pub(super) use self::program::JAVA_VALUED;
use self::program::Program;
use super::{
    catalog::{Catalog, MatchKind, Product, Server, SignKind, SignMatch, Strength, Version},
    command::Launch,
};
use crate::workload::{
    image::ImageRef,
    image_config::ImageFacts,
    pod::Container,
    word::{Place, Word, basename},
};

/// The server that a container runs, and the evidence for it.
#[derive(Clone, Debug)]
pub(super) struct Recognition<'c> {
    pub(super) server: &'c Server,
    /// The product, if the catalog entry covers several.
    pub(super) product: Option<&'c Product>,
    /// The version from the config of the image, or from its tag.
    pub(super) version: Option<Version>,
    /// The fields of the image's config that show the program and its version: `ENTRYPOINT of cart:3@sha256:...`,
    /// `NODE_VERSION in ENV of cart:3@sha256:...`.
    pub(super) image_fields: Vec<String>,
    /// Whether the image is one of the server's own, with its default configuration.
    pub(super) own_image: bool,
    /// The repository of the image, if only the last part of its name matches.
    pub(super) only_name: Option<String>,
    /// Whether the ENTRYPOINT of that image starts the server.
    pub(super) own_entrypoint: bool,
    /// The arguments of the server.
    pub(super) arguments: Vec<Word>,
    /// The options of its runtime.
    pub(super) options: Vec<Word>,
    /// Code or scripts that are not part of the input and may set the timeout.
    pub(super) hidden: Option<String>,
}

impl Recognition<'_> {
    /// Why the image may contain another build than the one in the catalog.
    pub(super) fn named_alike(&self) -> Option<String> {
        let repository = self.only_name.as_deref()?;
        let name = self.product.map_or(&self.server.name, |product| &product.name);
        Some(format!("only the image name {} suggests that it runs {name}", shorten(repository)))
    }
}

/// The result of recognition.
#[derive(Clone, Debug)]
pub(super) enum Recognised<'c> {
    /// A recognised server.
    Server(Recognition<'c>),
    /// A server with insufficient signs, and the reason.
    Hint(&'c Server, String),
    /// No server, and the reason.
    Nothing(String),
}

/// The help text for unknown answers.
pub(super) const HELP: &str = "set the annotation linkerd-linger.io/idle-timeout";

/// The signs for a catalog entry.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    server: usize,
    product: Option<usize>,
    image: Option<(Strength, MatchKind)>,
    command: Option<Strength>,
    setting: Option<Strength>,
}

impl Candidate {
    fn hints(self) -> usize {
        usize::from(self.image.is_some())
            + usize::from(self.command.is_some())
            + usize::from(self.setting.is_some())
    }

    /// The rank: 0 if not recognised; a command is stronger than an image, and both are stronger than a setting.
    fn rank(self) -> u8 {
        let reliable_image = self.image.filter(|(strength, _)| *strength == Strength::Reliable);
        match (self.command, reliable_image, self.setting) {
            (Some(Strength::Reliable), ..) => 4,
            (_, Some((_, MatchKind::Path)), _) => 3,
            (_, Some((_, MatchKind::Name)), _) | (_, _, Some(Strength::Reliable)) => 2,
            _ => u8::from(self.hints() > 1),
        }
    }
}

/// The image of a container.
struct Image<'t> {
    /// The repository, with its registry.
    repository: Cow<'t, str>,
    /// The tag; `None` for a digest without a tag.
    tag: Option<&'t str>,
}

/// Recognises the server of a container; `launch` is the unwrapped command line, and `facts` are those of the image, if
/// known.
pub(super) fn recognise<'c>(
    catalog: &'c Catalog,
    container: &Container<'_>,
    launch: &Launch,
    facts: Option<&ImageFacts>,
) -> Recognised<'c> {
    let image = ImageRef::of(&container.image);
    let tag = match image.tag {
        "" if container.image.contains('@') => None,
        "" => Some("latest"),
        tag => Some(tag),
    };
    let image = Image { repository: image.qualified(), tag };
    let mut candidates = Candidates { catalog, list: Vec::new() };
    if launch.alternatives.iter().any(|words| candidates.knows(&Program::read(words))) {
        let why = "the shell script may or may not reach the command that starts a server";
        return Recognised::Nothing(format!("{why}; {HELP}"));
    }
    if !launch.is_unread {
        candidates.image(&image);
    }
    let knows_image = !candidates.list.is_empty();
    let program = candidates.program(launch);
    candidates.command(&program);
    candidates.settings(&program, launch);
    let names_program = launch.replaces_entrypoint || knows_image;
    let mut recognised = candidates.choose(&image, program, launch, names_program);
    if let Recognised::Server(found) = &mut recognised {
        found.image_fields.extend(launch.image_fields.as_deref().map(str::to_owned));
        if let Some((variable, version)) = facts.and_then(|facts| version(found.server, facts)) {
            let name = facts.map_or_else(String::new, |facts| facts.name(&container.image));
            found.image_fields.push(format!("{variable} in ENV of {name}"));
            found.version = Some(version);
        }
    }
    recognised
}

/// The ENV variable of the image that contains the version, and the version.
fn version<'c>(server: &'c Server, facts: &ImageFacts) -> Option<(&'c str, Version)> {
    let variables = server.version_env.iter();
    let mut versions = variables.filter_map(|name| {
        let version = Version::from_variable(facts.config.variable(name)?)?;
        Some((name.as_str(), version))
    });
    versions.next()
}

/// Variables from which every JVM reads options, in order of precedence; the first also overrides the command line.
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

/// What variables make a runtime load before the app.
fn preloads(launch: &Launch) -> Option<String> {
    hidden::PRELOADING.into_iter().find_map(|name| {
        let word = launch.environment.get(name)?;
        hidden::preload_of_variable(name, word.known().ok()?)
    })
}

struct Candidates<'c> {
    catalog: &'c Catalog,
    list: Vec<Candidate>,
}

impl<'c> Candidates<'c> {
    fn of(&mut self, sign_match: &SignMatch) -> &mut Candidate {
        let server = sign_match.server;
        let at = self.list.iter().position(|candidate| candidate.server == server).unwrap_or_else(|| {
            let none = Candidate { server, product: None, image: None, command: None, setting: None };
            self.list.push(none);
            self.list.len() - 1
        });
        let candidate = &mut self.list[at];
        candidate.product = candidate.product.or(sign_match.product);
        candidate
    }

    fn server(&self, candidate: Candidate) -> Option<&'c Server> {
        self.catalog.server(candidate.server)
    }

    fn image(&mut self, image: &Image<'_>) {
        for (sign_match, how) in self.catalog.image_matches(&image.repository) {
            if sign_match.takes_tag(image.tag) {
                let found = &mut self.of(sign_match).image;
                *found = (*found).max(Some((sign_match.strength, how)));
            }
        }
    }

    /// The program that runs. With `args` alone, the image's ENTRYPOINT stays. It either runs a given command and adds
    /// flags to its own command, or is a program that takes all arguments.
    fn program(&self, launch: &Launch) -> Program {
        let is_known = |candidate: &Candidate| {
            candidate.image.is_some_and(|(strength, _)| strength == Strength::Reliable)
        };
        if !self.list.iter().any(is_known)
            && let Some(words) = run_java::words(launch)
        {
            return Program::read(&words);
        }
        let Some(first) = launch.words.first() else { return Program::default() };
        let program = Program::read(&launch.words);
        if launch.replaces_entrypoint || self.knows(&program) {
            return program;
        }
        let servers: Vec<_> = self.list.iter().filter_map(|candidate| self.server(*candidate)).collect();
        let entrypoint =
            servers.iter().find_map(|server| Some(&server.entrypoint).filter(|words| !words.is_empty()));
        let text = first.prefix();
        let no_command = text.starts_with('-') || text.contains('=');
        let takes_arguments = !text.starts_with('/') && servers.iter().any(|server| server.takes_arguments);
        match entrypoint {
            Some(entrypoint) if no_command || takes_arguments || is_node_script(text) => {
                let entrypoint = entrypoint.iter().map(|text| Word::text(text, Place::Args(0)));
                Program::read(&entrypoint.chain(launch.words.iter().cloned()).collect::<Vec<_>>())
            }
            None if no_command || takes_arguments => {
                Program { arguments: launch.words.clone(), ..Program::default() }
            }
            Some(_) | None => program,
        }
    }

    fn knows(&self, program: &Program) -> bool {
        program.signs.iter().any(|(kind, text)| !self.catalog.matches(*kind, text).is_empty())
    }

    /// A command that is another program overrides the image.
    fn command(&mut self, program: &Program) {
        for (kind, text) in &program.signs {
            for sign_match in self.catalog.matches(*kind, text) {
                let found = &mut self.of(sign_match).command;
                *found = (*found).max(Some(sign_match.strength));
            }
        }
        if program.name.is_some() {
            self.list.retain(|candidate| candidate.command.is_some());
        }
    }

    /// Adds settings that only one server reads, from the environment or the command line. A hint counts together with
    /// the runtime of such a server. A reliable sign counts unless another program is known to run.
    fn settings(&mut self, program: &Program, launch: &Launch) {
        let variables =
            launch.environment.names().into_iter().map(|name| (SignKind::Setting, name.to_owned()));
        let options = if program.runtime == Some("java") { jvm_options(launch) } else { Vec::new() };
        let properties = program.settings().chain(options).map(|name| (SignKind::Setting, name));
        let flags = program.flags().map(|flag| (SignKind::Flag, flag));
        let names: Vec<_> = variables.chain(properties).chain(flags).collect();
        let runs_another = self.list.iter().any(|candidate| candidate.command == Some(Strength::Reliable));
        for (kind, name) in names {
            for sign_match in self.catalog.matches(kind, &name) {
                let Some(server) = self.catalog.server(sign_match.server) else { continue };
                let runs_it = program.runtime.is_some() && program.runtime == server.runtime.as_deref();
                let already = self.list.iter().any(|candidate| candidate.server == sign_match.server);
                let fits = program.runtime.is_none() || runs_it;
                let proves = sign_match.strength == Strength::Reliable && fits && !runs_another;
                if program.name.is_some() && !runs_it && !already && !proves {
                    continue;
                }
                let candidate = self.of(sign_match);
                candidate.setting = candidate.setting.max(Some(sign_match.strength));
                if runs_it {
                    candidate.command = candidate.command.max(Some(Strength::Hint));
                }
            }
        }
    }

    /// Prefers a more specific entry to the general one if it is recognised, and drops it otherwise.
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

    fn choose(
        mut self,
        image: &Image<'_>,
        program: Program,
        launch: &Launch,
        names_program: bool,
    ) -> Recognised<'c> {
        self.refine();
        self.list.sort_by_key(|candidate| candidate.server);
        let nothing = || Recognised::Nothing(nothing(image, &program, names_program));
        let Some(best) = self.list.iter().map(|candidate| (candidate.rank(), candidate.hints())).max() else {
            return nothing();
        };
        let mut leaders = self.list.iter().filter(|candidate| (candidate.rank(), candidate.hints()) == best);
        let (leader, second) = (leaders.next().copied(), leaders.next().copied());
        let Some((candidate, server)) = leader.and_then(|leader| Some((leader, self.server(leader)?))) else {
            return nothing();
        };
        if let Some(other) = second.and_then(|second| self.server(second)) {
            return Recognised::Nothing(format!("it can be {} or {}; {HELP}", server.id, other.id));
        }
        if best.0 == 0 && !(server.command_is_enough && candidate.command.is_some()) {
            return Recognised::Hint(server, hint(candidate, server));
        }
        let path = image.repository.split_once('/').map_or("", |(_, path)| path);
        let is_from = |from: &String| {
            let known = from.split_once('/').map_or("", |(_, path)| path);
            *from == image.repository || path == known || path.ends_with(&format!("/{known}"))
        };
        let own_image = candidate.image == Some((Strength::Reliable, MatchKind::Path));
        let only_name = candidate.image.filter(|_| candidate.rank() == 2 && candidate.setting.is_none());
        Recognised::Server(Recognition {
            server,
            product: candidate.product.and_then(|at| server.products.get(at)),
            version: image
                .tag
                .filter(|_| server.version_from.iter().any(is_from))
                .and_then(Version::from_tag),
            own_image,
            only_name: only_name.map(|_| image.repository.to_string()),
            own_entrypoint: own_image && (!launch.replaces_entrypoint || launch.image_fields.is_some()),
            image_fields: Vec::new(),
            arguments: program.arguments,
            options: program.options,
            hidden: program.hidden.or_else(|| preloads(launch)),
        })
    }
}

/// A script for `node`; the entrypoint of its image treats other words as commands.
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
    format!("{sign} suggests {}{doubt}; {HELP}", server.id)
}

/// Why no server is recognised. With `args` alone, an unknown image decides which program runs.
fn nothing(image: &Image<'_>, program: &Program, names_program: bool) -> String {
    let what = match program.name.as_ref().filter(|_| names_program) {
        Some(name) => format!("{} is not a server in the catalog", shorten(basename(name))),
        None if image.repository.is_empty() => "nothing shows which server runs".to_owned(),
        None => format!("image {} is not a server in the catalog", shorten(&image.repository)),
    };
    format!("{what}; {HELP}")
}

/// Truncates long text in messages.
pub(super) fn shorten(text: &str) -> String {
    const MAX_LEN: usize = 60;
    if text.chars().count() <= MAX_LEN {
        return text.to_owned();
    }
    let head: String = text.chars().take(MAX_LEN).collect();
    format!("{head}...")
}
