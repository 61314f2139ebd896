//! Links between the pages of the repository: each names a file that exists, and a heading that it has. `docs/SUMMARY.md`, the
//! contents of the site, lists every page.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use rstest::rstest;
use walkdir::WalkDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SUMMARY: &str = "docs/SUMMARY.md";

/// Every page of the repository, by its path.
fn pages() -> BTreeMap<PathBuf, String> {
    let skipped = |name: &str| name == "target" || (name.starts_with('.') && name != ".ci");
    let entries = WalkDir::new(ROOT)
        .min_depth(1)
        .into_iter()
        .filter_entry(|e| !skipped(&e.file_name().to_string_lossy()));
    let paths = entries.map(|entry| entry.unwrap().into_path());
    let pages = paths.filter(|path| path.extension().is_some_and(|found| found == "md"));
    pages
        .map(|path| (path.strip_prefix(ROOT).unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// The lines outside of code blocks, with inline code blanked out.
fn prose(page: &str) -> impl Iterator<Item = String> {
    let mut in_code = false;
    page.lines().filter_map(move |line| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            return None;
        }
        let even =
            |(index, part): (usize, &str)| if index % 2 == 0 { part.to_owned() } else { String::new() };
        (!in_code).then(|| line.split('`').enumerate().map(even).collect())
    })
}

/// The targets of all links and images.
fn links(page: &str) -> Vec<String> {
    let target = |rest: &str| rest.split_once(')').map(|(target, _)| target.to_owned());
    let of_line = |line: String| line.split("](").skip(1).filter_map(target).collect::<Vec<_>>();
    prose(page).flat_map(of_line).collect()
}

/// The anchors that GitHub and mdBook give to the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut in_code = false;
    let mut anchors = BTreeSet::new();
    for line in page.lines() {
        in_code ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if in_code || heading == line || !heading.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor = heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let free = [anchor.clone()].into_iter().chain(numbered).find(|anchor| !anchors.contains(anchor));
        anchors.insert(free.unwrap());
    }
    anchors
}

/// `docs/../README.md` -> `README.md`; `None` outside of the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => normal.pop().then_some(())?,
            Component::Normal(part) => normal.push(part),
            _ => {}
        }
    }
    Some(normal)
}

/// What is wrong with a link of a page.
fn fault(link: &str, from: &Path, pages: &BTreeMap<PathBuf, String>) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let to = match path {
        "" => Some(from.to_owned()),
        _ => normal(&from.parent().unwrap().join(path)),
    };
    let Some(to) = to.filter(|to| Path::new(ROOT).join(to).exists()) else {
        return Some(format!("{}: there is no {path}", from.display()));
    };
    let anchor = anchor?;
    let has = pages.get(&to).is_some_and(|page| anchors(page).contains(anchor));
    (!has).then(|| format!("{}: {} has no heading #{anchor}", from.display(), to.display()))
}

#[test]
fn each_link_names_a_file_and_a_heading() {
    let pages = pages();
    let faults = |(from, page): (&PathBuf, &String)| {
        links(page).iter().filter_map(|link| fault(link, from, &pages)).collect::<Vec<_>>()
    };
    let faults: Vec<_> = pages.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_summary_lists_each_page_once() {
    let pages = pages();
    let listed = links(&pages[Path::new(SUMMARY)]);
    let once: BTreeSet<_> = listed.iter().map(|link| Path::new("docs").join(link)).collect();
    assert_eq!(once.len(), listed.len(), "{SUMMARY} lists a page twice");
    let existing =
        pages.keys().filter(|path| path.starts_with("docs") && path.as_path() != Path::new(SUMMARY));
    assert_eq!(once, existing.cloned().collect());
}

#[rstest]
#[case::link("See [a](b.md) and ![c](d/e.svg#f).", &["b.md", "d/e.svg#f"])]
#[case::code("`[a](b.md)`\n```text\n[c](d.md)\n```\n[e](f.md)", &["f.md"])]
#[case::none("[a] (b.md)", &[])]
fn links_are_found(#[case] page: &str, #[case] expected: &[&str]) {
    assert_eq!(links(page), expected);
}

#[rstest]
#[case::words("# The policy file", &["the-policy-file"])]
#[case::code("## linkerd-linger.io/idle-timeout\n### `linkerd linger check`", &["linkerd-lingerioidle-timeout", "linkerd-linger-check"])]
#[case::twice("# Why\n# Why", &["why", "why-1"])]
#[case::no_heading("#! sh\n```sh\n# comment\n```", &[])]
fn headings_have_anchors(#[case] page: &str, #[case] expected: &[&str]) {
    assert_eq!(anchors(page), expected.iter().map(|&anchor| anchor.to_owned()).collect());
}

#[rstest]
#[case::file("policy.md", true)]
#[case::folder("decisions", true)]
#[case::above("../README.md#documentation", true)]
#[case::own_heading("#modules", true)]
#[case::elsewhere("https://example.com/nothing.md", true)]
#[case::no_file("nothing.md", false)]
#[case::no_heading("policy.md#nothing", false)]
#[case::outside("../../nothing.md", false)]
fn links_are_checked(#[case] link: &str, #[case] is_right: bool) {
    let found = fault(link, Path::new("docs/architecture.md"), &pages());
    assert_eq!(found.is_none(), is_right, "{found:?}");
}
