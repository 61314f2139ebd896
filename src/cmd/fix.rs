//! `lint --fix`: changes manifests so that findings are fixed, or shows the changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use diffy::DiffOptions;
use json_patch::jsonptr::{Pointer, PointerBuf};
use serde_json::Value;

use super::{
    manifests::{CollectedDocument, Loaded, Origin},
    write,
};
use crate::{
    judgement::{
        finding::{Action, Finding, RuleId},
        judge::Judgement,
    },
    lint::{
        fix::{self, Change, Proposal},
        report::{ObjectReport, Report},
    },
    workload::object::Object,
};

/// The changes of `lint --fix`.
#[derive(Debug, Default)]
pub(crate) struct Fixes {
    /// The files that change, with their old and new texts.
    files: BTreeMap<PathBuf, (String, String)>,
    /// The number of fixed findings.
    pub(crate) fixed: usize,
    /// The number of findings in rendered manifests, whose sources are unknown.
    pub(crate) rendered: usize,
    /// Why objects could not be changed, each with its location.
    pub(crate) failed: Vec<String>,
}

/// The key of equal findings in an object.
type Key = (RuleId, Option<String>);

/// The findings to fix in the pod at a pointer.
type Wanted = (PointerBuf, BTreeSet<Key>);

impl Fixes {
    /// Plans the fixes for the findings of a report.
    pub(crate) fn plan(loaded: &Loaded, report: &Report) -> anyhow::Result<Self> {
        let mut fixes = Self::default();
        // The findings of each document. The pointer of the pod selects one of several pod templates.
        let mut documents: Vec<(&CollectedDocument, Vec<Wanted>)> = Vec::new();
        for ((collection, object), reported) in loaded.objects().zip(&report.objects) {
            let wanted = wanted(reported);
            if wanted.is_empty() {
                continue;
            }
            match &collection.origin {
                Origin::Rendered(_) => fixes.rendered += wanted.len(),
                Origin::Named | Origin::Found => {
                    let wanted = (object.pod.at.to_buf(), wanted);
                    match documents.last_mut().filter(|(last, _)| std::ptr::eq(*last, collection)) {
                        Some((_, all)) => all.push(wanted),
                        None => documents.push((collection, vec![wanted])),
                    }
                }
            }
        }
        for (collection, wanted) in documents {
            fixes.fix(loaded, collection, wanted)?;
        }
        Ok(fixes)
    }

    /// Fixes the findings of a document.
    fn fix(
        &mut self,
        loaded: &Loaded,
        collection: &CollectedDocument,
        wanted: Vec<Wanted>,
    ) -> anyhow::Result<()> {
        let document = &collection.document;
        let path = PathBuf::from(document.file());
        if !path.is_file() {
            bail!("--fix changes files, but {} is not a file", document.file());
        }
        let Ok(mut object) = serde_json::from_str::<Value>(document.json()) else { return Ok(()) };
        let (mut accepted, mut fixed) = (Vec::new(), 0);
        for (at, wanted) in wanted {
            let (changes, number) = accept(loaded, &mut object, &at, wanted);
            accepted.extend(changes);
            fixed += number;
        }
        if accepted.is_empty() {
            return Ok(());
        }
        if !self.files.contains_key(&path) {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if text.trim_start_matches(BYTE_ORDER_MARK) != document.text() {
                bail!(
                    "{} changed while it was read: nothing was written; run the command again",
                    path.display()
                );
            }
            self.files.insert(path.clone(), (text.clone(), text));
        }
        let Some((_, text)) = self.files.get_mut(&path) else { return Ok(()) };
        let mark = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK } else { "" };
        // An earlier change may have moved the object.
        let moved = line_of(&text[mark.len()..], document.file(), document.json());
        let changed = moved
            .ok_or(fix::FixError::NotFound)
            .and_then(|line| fix::apply(document.file(), &text[mark.len()..], line, &accepted));
        match changed {
            Ok(changed) => {
                *text = format!("{mark}{changed}");
                self.fixed += fixed;
            }
            Err(error) => self.failed.push(format!("{}:{}: {error}", document.file(), document.line())),
        }
        Ok(())
    }

    /// The changed files.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&Path, &str, &str)> {
        let files = self.files.iter().map(|(path, (old, new))| (path.as_path(), old.as_str(), new.as_str()));
        files.filter(|(_, old, new)| old != new)
    }

    /// The changes in the format of `patch -p0`.
    pub(crate) fn diff(&self) -> String {
        self.changed()
            .map(|(path, old, new)| {
                let name = path.display().to_string();
                DiffOptions::new()
                    .set_original_filename(name.clone())
                    .set_modified_filename(name)
                    .create_patch(old, new)
                    .to_string()
            })
            .collect()
    }

    /// Writes the files, each atomically.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        self.changed().try_for_each(|(path, _, new)| write::atomically(path, new))
    }
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The findings to fix: reported ones, of the rules that the period of a probe or a flag of a server can satisfy.
fn wanted(object: &ObjectReport) -> BTreeSet<Key> {
    let suppressed: BTreeSet<Key> = object
        .findings
        .iter()
        .filter(|finding| !finding.counts())
        .map(|finding| (finding.rule, finding.container.clone()))
        .collect();
    let keys = object.findings.iter().map(|finding| (finding.rule, finding.container.clone()));
    keys.filter(|key| is_fixable(key.0) && !suppressed.contains(key)).collect()
}

const fn is_fixable(rule: RuleId) -> bool {
    match rule {
        RuleId::ProbeMatchesIdleTimeout | RuleId::IdleTimeoutBelowProxyPool => true,
        RuleId::CloseWaitUnset
        | RuleId::CloseWaitBroken
        | RuleId::CloseWaitUnsupported
        | RuleId::CloseWaitUntrusted
        | RuleId::InvalidAnnotation => false,
    }
}

/// The number of findings for each key.
fn counts(judgement: &Judgement<'_>) -> BTreeMap<Key, usize> {
    let mut counts = BTreeMap::new();
    for finding in findings(judgement) {
        *counts.entry((finding.rule, finding.container.clone())).or_insert(0) += 1;
    }
    counts
}

fn findings<'j>(judgement: &'j Judgement<'_>) -> impl Iterator<Item = &'j Finding> {
    let judged = judgement.verdict.judged.iter();
    judged.filter(|judged| judged.action != Action::Ignore && judged.exempt.is_none()).map(|it| &it.finding)
}

/// Changes an object so that findings of the pod at a pointer are fixed without adding new ones. Returns the changes and
/// the number of fixed findings.
fn accept(loaded: &Loaded, value: &mut Value, at: &Pointer, wanted: BTreeSet<Key>) -> (Vec<Change>, usize) {
    let (mut accepted, mut open): (Vec<Change>, _) = (Vec::new(), wanted);
    let before: usize =
        judged(loaded, value, at, |judgement| counts(judgement).values().sum()).unwrap_or_default();
    while let Some(key) = open.first().cloned() {
        match improve(loaded, value, at, &key) {
            Some((proposal, better)) => {
                // Of several changes to a value only the last is kept.
                accepted.extend(proposal);
                *value = better;
            }
            None => {
                open.remove(&key);
            }
        }
    }
    let after = judged(loaded, value, at, |judgement| counts(judgement).values().sum()).unwrap_or_default();
    (accepted, before.saturating_sub(after))
}

/// The first proposal that reduces the findings with this key, and adds no others.
fn improve(loaded: &Loaded, value: &Value, at: &Pointer, key: &Key) -> Option<(Proposal, Value)> {
    let (before, proposals) = judged(loaded, value, at, |judgement| {
        let of_key =
            findings(judgement).filter(|finding| (finding.rule, &finding.container) == (key.0, &key.1));
        let proposals: Vec<_> =
            of_key.flat_map(|finding| fix::proposals(finding, &judgement.survey, value)).collect();
        (counts(judgement), proposals)
    })?;
    proposals.into_iter().find_map(|proposal| {
        let mut better = value.clone();
        if !fix::set(&mut better, &proposal) {
            return None;
        }
        let after = judged(loaded, &better, at, counts)?;
        let of = |counts: &BTreeMap<Key, usize>, key: &Key| counts.get(key).copied().unwrap_or_default();
        let fewer = of(&after, key) < of(&before, key);
        let no_more = after.keys().all(|key| of(&after, key) <= of(&before, key));
        (fewer && no_more).then_some((proposal, better))
    })
}

fn judged<R>(
    loaded: &Loaded,
    value: &Value,
    at: &Pointer,
    then: impl FnOnce(&Judgement<'_>) -> R,
) -> Option<R> {
    let json = value.to_string();
    let objects = Object::read_all(&json).ok()?.objects();
    let object = objects.into_iter().find(|object| *object.pod.at == *at)?;
    Some(loaded.judge(&object, then))
}

/// The first line of the object with this JSON.
fn line_of(text: &str, file: &str, json: &str) -> Option<usize> {
    let documents = crate::lint::manifest::read(file, text).documents;
    let mut same = documents.iter().filter(|document| document.json() == json);
    same.next().map(crate::lint::manifest::Document::line)
}
