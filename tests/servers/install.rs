//! Installs servers from package registries into the target directory, once.
//!
//! Does not change the machine: Debian packages are unpacked into a directory and overlaid for a process tree.

use std::{
    collections::BTreeMap,
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::case::Origin;

/// Longer than any one package takes.
const INSTALL: Duration = Duration::from_secs(240);
/// Longer than a program takes to tell its version.
const TELL: Duration = Duration::from_secs(30);
/// After so many failures of a registry without any success the others of it are not tried.
const PATIENCE: usize = 2;

/// A server that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) dir: PathBuf,
    pub(crate) version: String,
    /// Goes in front of a command.
    pub(crate) wrapper: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// Directories for `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// A directory that Node.js looks for in the working directory.
    pub(crate) modules: Option<PathBuf>,
}

/// Installs packages of one registry, one after the other.
pub(crate) struct Installer {
    cache: PathBuf,
    deadline: Instant,
    /// What was installed before, or why it cannot be.
    known: BTreeMap<Origin, Result<Package, String>>,
    successes: usize,
    failures: usize,
}

impl Installer {
    pub(crate) fn new(cache: &Path, deadline: Instant) -> Self {
        Self { cache: cache.to_owned(), deadline, known: BTreeMap::new(), successes: 0, failures: 0 }
    }

    /// The package of an origin, or why it cannot be had.
    pub(crate) fn package(&mut self, origin: &Origin) -> Result<Package, String> {
        if let Some(known) = self.known.get(origin) {
            return known.clone();
        }
        let package = self.find_or_install(origin);
        self.known.insert(origin.clone(), package.clone());
        package
    }

    fn find_or_install(&mut self, origin: &Origin) -> Result<Package, String> {
        let (registry, label) = (
            origin.registry(),
            match origin {
                Origin::Debian(packages) | Origin::Pip(packages) | Origin::Npm(packages) => &packages[0],
                Origin::Go(module) => module,
                Origin::Maven(artifact) => artifact,
                Origin::Project(project) => &project.name,
                Origin::Program(command) => return program(command),
            },
        );
        let mut hasher = DefaultHasher::new();
        origin.hash_into(&mut hasher);
        let plain: String =
            label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let dir = self.cache.join(format!("{registry}-{plain}-{:08x}", hasher.finish() as u32));
        let stamp = dir.join("installed");
        if !stamp.exists() {
            if self.successes == 0 && self.failures >= PATIENCE {
                return Err(format!("{registry} gave none of {} other packages", self.failures));
            }
            if Instant::now() > self.deadline {
                return Err("no time is left to install it".to_owned());
            }
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
            let shell = Shell { dir: &dir, deadline: self.deadline.min(Instant::now() + INSTALL) };
            match install(origin, &shell) {
                Ok(version) => {
                    fs::write(&stamp, version).map_err(|error| error.to_string())?;
                    self.successes += 1;
                }
                Err(why) => {
                    self.failures += 1;
                    return Err(why);
                }
            }
        }
        let version = fs::read_to_string(&stamp).map_err(|error| error.to_string())?;
        Ok(describe(origin, dir, version))
    }
}

impl Origin {
    /// Where it comes from: packages of different registries are installed at the same time.
    pub(crate) const fn registry(&self) -> &'static str {
        match self {
            Self::Debian(_) => "debian",
            Self::Pip(_) => "pip",
            Self::Npm(_) => "npm",
            Self::Go(_) => "go",
            Self::Maven(_) | Self::Project(_) => "maven",
            Self::Program(_) => "program",
        }
    }

    fn hash_into(&self, hasher: &mut impl Hasher) {
        format!("{self:?}").hash(hasher);
    }
}

/// Where programs run, and until when.
struct Shell<'d> {
    dir: &'d Path,
    deadline: Instant,
}

impl<'d> Shell<'d> {
    /// For a program that tells something of itself.
    fn here(dir: &'d Path) -> Self {
        Self { dir, deadline: Instant::now() + TELL }
    }

    /// Runs a program, and returns what it prints.
    fn run(&self, command: &[&str]) -> Result<String, String> {
        let left = self.deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
        // Servers that are measured meanwhile go first.
        let output = Command::new("nice")
            .args(["-n", "5", "timeout", "-k", "5", &left.to_string()])
            .args(command)
            .current_dir(self.dir)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run {}: {error}", command[0]))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        if output.status.code() == Some(TIMED_OUT) {
            return Err(format!("{} did not end within {left} s", shown(command)));
        }
        // Some programs print their errors to standard output.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let tells = |line: &&str| line.contains("error") || line.contains("ERROR");
        let mut lines = said.lines().filter(|line| !line.trim().is_empty());
        let last = lines.clone().find(tells).or_else(|| lines.next_back()).unwrap_or_default();
        Err(format!("{} ended with {}: {last}", shown(command), output.status))
    }
}

/// How `timeout` ends where a program did not.
const TIMED_OUT: i32 = 124;

/// The beginning of a command line.
fn shown(command: &[&str]) -> String {
    command[..command.len().min(3)].join(" ")
}

/// Installs into a directory; returns the version.
fn install(origin: &Origin, shell: &Shell<'_>) -> Result<String, String> {
    let dir = shell.dir;
    let pinned = |package: &str| {
        let at = package.rfind(['=', '@']).map_or(0, |at| at + 1);
        package[at..].to_owned()
    };
    match origin {
        Origin::Debian(packages) => debian(packages, shell),
        Origin::Pip(packages) => {
            let words = ["python3", "-m", "pip", "install", "--quiet", "--no-cache-dir", "--retries", "1"];
            let words = [&words[..], &["--timeout", "30", "--target", "lib"]].concat();
            let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
            shell.run(&[&words[..], &packages].concat())?;
            Ok(pinned(packages[0]))
        }
        Origin::Npm(packages) => {
            let words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
            let words = [&words[..], &["--fetch-retries", "1", "--prefix", "."]].concat();
            let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
            shell.run(&[&words[..], &packages].concat())?;
            Ok(pinned(packages[0]))
        }
        Origin::Go(module) => {
            let bin = format!("GOBIN={}", dir.display());
            shell.run(&["env", &bin, "GOFLAGS=-mod=mod", "go", "install", module])?;
            Ok(pinned(module).trim_start_matches('v').to_owned())
        }
        Origin::Maven(artifact) => {
            let goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";
            let artifact_flag = format!("-Dartifact={artifact}");
            shell.run(&["mvn", "-q", "-B", goal, &artifact_flag, "-DoutputDirectory=."])?;
            let archives = fs::read_dir(dir).map_err(|error| error.to_string())?.flatten();
            for archive in archives.map(|entry| entry.path()) {
                if archive.extension().is_some_and(|ending| ending == "gz") {
                    let archive = archive.display().to_string();
                    shell.run(&["tar", "-xzf", &archive, "--strip-components=1"])?;
                }
            }
            Ok(artifact.split(':').nth(2).unwrap_or_default().to_owned())
        }
        Origin::Project(project) => {
            for (name, text) in &project.files {
                let path = dir.join(name);
                let folder = path.parent().unwrap_or(dir);
                fs::create_dir_all(folder).map_err(|error| error.to_string())?;
                fs::write(path, text.replace("{version}", &project.version))
                    .map_err(|error| error.to_string())?;
            }
            shell.run(&["mvn", "-q", "-B", "-DskipTests", "package"])?;
            Ok(project.version.clone())
        }
        Origin::Program(_) => unreachable!("a program is installed already"),
    }
}

/// Downloads the packages that the machine lacks, and unpacks them.
fn debian(packages: &[String], shell: &Shell<'_>) -> Result<String, String> {
    let dir = shell.dir;
    fs::create_dir_all(dir.join("archives/partial")).map_err(|error| error.to_string())?;
    fs::create_dir_all(dir.join("root/usr")).map_err(|error| error.to_string())?;
    fs::create_dir_all(dir.join("root/etc")).map_err(|error| error.to_string())?;
    let archives = format!("Dir::Cache::archives={}/archives", dir.display());
    let words = ["apt-get", "-y", "-qq", "--no-install-recommends", "--download-only"];
    let words = [&words[..], &["-o", &archives, "-o", "Debug::NoLocking=1", "install"]].concat();
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    let words = [&words[..], &names].concat();
    if shell.run(&words).is_err() {
        // The lists may be missing or old.
        shell.run(&["apt-get", "update", "-qq"])?;
        shell.run(&words)?;
    }
    // /lib is a link to /usr/lib on the machine, and a directory of its own in older packages.
    let unpack =
        "for deb in archives/*.deb; do [ -e \"$deb\" ] || continue; dpkg-deb -x \"$deb\" root || exit 1; done
        for name in bin sbin lib lib64; do
            if [ -d root/$name ] && ! [ -L root/$name ]; then
                mkdir -p root/usr/$name && cp -a root/$name/. root/usr/$name/ || exit 1
            fi
        done
        rm -rf archives";
    shell.run(&["sh", "-c", unpack])?;
    shell
        .run(&["apt-cache", "show", "--no-all-versions", names[0]])?
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))
        .map(upstream)
        .ok_or_else(|| format!("apt-cache shows no version of {}", names[0]))
}

/// The version of the program in that of a Debian package: `2:1.22.1-9+deb12u1` is 1.22.1.
fn upstream(version: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    let version = version.rsplit_once('-').map_or(version, |(version, _)| version);
    version.split(['+', '~']).next().unwrap_or_default().to_owned()
}

/// How an installed package is started.
fn describe(origin: &Origin, dir: PathBuf, version: String) -> Package {
    let mut package = Package {
        version,
        wrapper: Vec::new(),
        env: BTreeMap::new(),
        path: Vec::new(),
        modules: None,
        dir: dir.clone(),
    };
    match origin {
        Origin::Debian(_) => {
            const OVER: &str = "for name in usr etc; do
                mount -t overlay overlay -o lowerdir=\"$0/$name:/$name\" \"/$name\" || exit 97
            done; exec \"$@\"";
            let share = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
            let root = dir.join("root").display().to_string();
            package.wrapper = ["unshare", share, "--", "sh", "-c", OVER]
                .map(str::to_owned)
                .into_iter()
                .chain([root])
                .collect();
        }
        Origin::Pip(_) => {
            package.path.push(dir.join("lib/bin"));
            package.env.insert("PYTHONPATH".to_owned(), dir.join("lib").display().to_string());
            // A launcher of `python3` may need variables that a server does not get.
            if let Ok(python) = Shell::here(&dir).run(&["python3", "-c", "import sys; print(sys.executable)"])
            {
                package.path.extend(Path::new(&python).parent().map(Path::to_owned));
            }
        }
        Origin::Npm(_) => {
            package.path.push(dir.join("node_modules/.bin"));
            package.modules = Some(dir.join("node_modules"));
        }
        Origin::Go(_) => package.path.push(dir),
        Origin::Project(_) | Origin::Program(_) => {}
        Origin::Maven(_) => package.path.push(dir.join("bin")),
    }
    package
}

/// A program that the machine has or has not.
fn program(command: &[String]) -> Result<Package, String> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let version = Shell::here(&env::temp_dir()).run(&words)?;
    let number = version
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find(|word| word.contains('.'))
        .unwrap_or(&version);
    Ok(Package {
        version: number.to_owned(),
        wrapper: Vec::new(),
        env: BTreeMap::new(),
        path: Vec::new(),
        modules: None,
        dir: env::temp_dir(),
    })
}
