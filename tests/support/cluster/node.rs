//! The parts of a node: containerd, the images of its pods, and programs of the machine.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{CACHE, build};
use crate::support::NotRun;

/// The version of containerd.
const CONTAINERD: &str = "v2.4.2";
const CONTAINERD_PACKAGES: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];
/// Where CNI plugins are, on Debian and elsewhere.
const CNI: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
/// The image of the tests' own programs: `tests/cluster/pod`.
pub(crate) const POD_IMAGE: &str = "localhost/pod:1";
/// The images of Linkerd in the recorded pods of `tests/fixtures/reviews`.
const PROXY_IMAGE: &str = "cr.l5d.io/linkerd/proxy:test-inject-proxy-version";
const INIT_IMAGES: [&str; 3] = [
    "cr.l5d.io/linkerd/proxy-init:v2.0.0",
    "cr.l5d.io/linkerd/proxy-init:v2.2.3",
    "cr.l5d.io/linkerd/proxy-init:v2.4.1",
];
/// The modules of the rules that `tests/cluster/pod` writes.
const IPTABLES_MODULES: [&str; 5] = ["tcp", "owner", "multiport", "REDIRECT", "standard"];

/// The flags of `cluster run` for a node, with its images below `dir`.
pub(super) fn flags(program: &Path, dir: &Path) -> Result<Vec<String>, NotRun> {
    if !rustix::process::geteuid().is_root() {
        return Err(NotRun("a node needs root".to_owned()));
    }
    for tool in ["runc", "iptables", "ldd", "strip"] {
        find(tool)?;
    }
    if !CNI.iter().any(|dir| Path::new(dir).join("bridge").is_file()) {
        return Err(NotRun(format!("there are no CNI plugins in {}", CNI.join(" or "))));
    }
    let containerd = containerd()?;
    let images = images(program, dir)?;
    let mut flags = vec!["--node".to_owned(), "--containerd".to_owned(), containerd.display().to_string()];
    flags.extend(images.iter().flat_map(|image| ["--image".to_owned(), image.display().to_string()]));
    Ok(flags)
}

fn find(tool: &str) -> Result<PathBuf, NotRun> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let mut paths = env::split_paths(&paths).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    let found = paths.find_map(|path| Some(path.join(tool)).filter(|path| path.is_file()));
    found.ok_or_else(|| NotRun(format!("there is no {tool}")))
}

/// The directory of containerd's programs, built once.
fn containerd() -> Result<PathBuf, NotRun> {
    let dir = Path::new(CACHE).join(format!("containerd-{CONTAINERD}"));
    let lock = File::create(Path::new(CACHE).join("containerd.lock")).unwrap();
    lock.lock().unwrap();
    if dir.join("ctr").exists() {
        return Ok(dir);
    }
    let unfinished = dir.with_extension("unfinished");
    fs::create_dir_all(&unfinished).unwrap();
    let mut command = Command::new("go");
    command.args([
        "install",
        "-v",
        "-trimpath",
        "-ldflags",
        "-s -w",
        "-tags",
        "no_btrfs,no_devmapper,no_zfs",
    ]);
    let package = |name| format!("github.com/containerd/containerd/v2/cmd/{name}@{CONTAINERD}");
    command.args(CONTAINERD_PACKAGES.map(package)).env("GOBIN", &unfinished).env("GOFLAGS", "-mod=mod");
    build::go(command, "containerd")?;
    fs::rename(unfinished, &dir).unwrap();
    Ok(dir)
}

/// The archives of images, the first of which is that of pods' sandboxes.
fn images(program: &Path, dir: &Path) -> Result<Vec<PathBuf>, NotRun> {
    let pod = build::pod()?;
    let image = |name: &str, references: &[&str], user: &str, entrypoint: &[&str], fill: &dyn Fn(&Path)| {
        let root = dir.join(name);
        fs::create_dir_all(&root).unwrap();
        fill(&root);
        let archive = dir.join(format!("{name}.tar"));
        let mut command = Command::new(program);
        command.arg("image").arg("--out").arg(&archive).arg("--root").arg(&root).args(["--user", user]);
        command.args(references.iter().flat_map(|reference| ["--reference", reference]));
        command.args(entrypoint.iter().flat_map(|word| ["--entrypoint", word]));
        assert!(command.status().unwrap().success(), "cannot write the image {name}");
        fs::remove_dir_all(root).unwrap();
        archive
    };
    let linkerd = |root: &Path| {
        for name in ["linkerd2-proxy", "linkerd2-proxy-init", "linkerd2-network-validator", "linkerd-await"] {
            copy(&pod, &root.join("usr/lib/linkerd").join(name));
        }
        let iptables = fs::canonicalize(find("iptables").unwrap()).unwrap();
        copy(&iptables, &root.join("usr/sbin/iptables"));
        copy_libraries(&iptables, root);
        let modules = iptables_modules();
        for name in IPTABLES_MODULES {
            let module = modules.join(format!("libxt_{name}.so"));
            copy(&module, &root.join(module.strip_prefix("/").unwrap()));
        }
    };
    let ours = install_image();
    Ok(vec![
        image("pod", &[POD_IMAGE], "0", &["/usr/bin/pod", "pause"], &|root| {
            copy(&pod, &root.join("usr/bin/pod"))
        }),
        image("linger", &[&ours], "65532:65532", &["/linkerd-linger"], &|root| {
            let binary = root.join("linkerd-linger");
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(&binary).arg(env!("CARGO_BIN_EXE_linkerd-linger"));
            assert!(strip.status().unwrap().success(), "cannot strip the binary");
            copy_libraries(&binary, root);
        }),
        image("proxy", &[PROXY_IMAGE], "2102", &["/usr/lib/linkerd/linkerd2-proxy"], &linkerd),
        // Unlike Linkerd's combined image, these have a sysctl.
        image("init", &INIT_IMAGES, "65534", &["/usr/lib/linkerd/linkerd2-proxy-init"], &|root| {
            linkerd(root);
            copy(&pod, &root.join("usr/sbin/sysctl"));
        }),
    ])
}

/// The image that `install` prints.
fn install_image() -> String {
    linkerd_linger::cluster::install::Options::default().image
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// The loader and the libraries of a program, to their own paths in an image.
fn copy_libraries(program: &Path, root: &Path) {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let library = Path::new(library);
        copy(library, &root.join(library.strip_prefix("/").unwrap()));
    }
}

/// Where iptables has its modules: beside the libraries, in a directory of the machine's triple.
fn iptables_modules() -> PathBuf {
    let triple = format!("/usr/lib/{}-linux-gnu/xtables", env::consts::ARCH);
    let places = [triple.as_str(), "/usr/lib64/xtables", "/usr/lib/xtables"];
    let found = places.iter().map(PathBuf::from).find(|place| place.is_dir());
    found.unwrap_or_else(|| panic!("iptables has no modules in {}", places.join(", ")))
}
