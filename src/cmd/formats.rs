//! `--output FORMAT[=FILE]`, which may be repeated: one output to stdout, the others to files.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::bail;

use super::{output, write};

/// A format that a command can print.
pub(crate) trait Format: Copy + Eq + 'static {
    /// Every format of the command.
    const ALL: &'static [Self];

    /// The name on the command line.
    fn as_str(self) -> &'static str;
}

/// A format, and the file that it is written to; without one, stdout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Output<F> {
    pub(crate) format: F,
    pub(crate) file: Option<PathBuf>,
}

/// Parses `json` or `json=FILE`.
pub(crate) fn parse<F: Format>(text: &str) -> Result<Output<F>, String> {
    let (name, file) = match text.split_once('=') {
        Some((_, "")) => return Err("the file name after the = is missing".to_owned()),
        Some((name, file)) => (name, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let format = F::ALL.iter().copied().find(|format| format.as_str() == name);
    let known = F::ALL.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", ");
    let format = format.ok_or_else(|| format!("unknown format {name:?}; expected one of {known}"))?;
    Ok(Output { format, file })
}

/// Checks that each output has its own destination; `name` is that of a file to suggest.
pub(crate) fn check<F: Format>(outputs: &[Output<F>], name: &str) -> anyhow::Result<()> {
    let mut places = BTreeSet::new();
    for Output { format, file } in outputs {
        if !places.insert(file) {
            match file {
                Some(file) => bail!("two outputs go to {}: give each its own file", file.display()),
                None => bail!(
                    "two outputs go to stdout: write one to a file, such as --output {0}={name}.{0}",
                    format.as_str()
                ),
            }
        }
    }
    Ok(())
}

/// Writes every output: files first, because the reader of stdout may read them next.
pub(crate) fn write_all<F: Format>(
    outputs: &[Output<F>],
    render: impl Fn(&Output<F>) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    for output in outputs.iter().filter(|output| output.file.is_some()) {
        if let Some(file) = &output.file {
            write::atomically(file, &render(output)?)?;
        }
    }
    for output in outputs.iter().filter(|output| output.file.is_none()) {
        output::print(&render(output)?)?;
    }
    Ok(())
}
