//! `schema`: prints the JSON Schemas of input files and of machine-readable output.

use std::process::ExitCode;

use clap::ValueEnum;
use schemars::Schema;

use super::output::print;
use crate::{
    cluster::audit,
    diagnose,
    judgement::{facts, policy},
    lint::{baseline, report},
};

/// The flags of `schema`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// The file or output to describe
    #[arg(value_enum)]
    name: Name,
}

/// What has a schema.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Name {
    /// The policy file of --policy
    Policy,
    /// The facts file of --facts
    Facts,
    /// The baseline file of --baseline
    Baseline,
    /// The output of `explain -o json` and `lint -o json`
    Report,
    /// The output of `diagnose -o json`
    Diagnose,
    /// The output of `audit -o json`
    Audit,
}

impl Name {
    /// All schemas.
    pub const ALL: [Self; 6] =
        [Self::Policy, Self::Facts, Self::Baseline, Self::Report, Self::Diagnose, Self::Audit];

    /// The name on the command line and in docs/schemas.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Facts => "facts",
            Self::Baseline => "baseline",
            Self::Report => "report",
            Self::Diagnose => "diagnose",
            Self::Audit => "audit",
        }
    }

    /// The schema.
    pub fn schema(self) -> Schema {
        match self {
            Self::Policy => policy::schema(),
            Self::Facts => facts::schema(),
            Self::Baseline => baseline::schema(),
            Self::Report => report::schema(),
            Self::Diagnose => diagnose::report::schema(),
            Self::Audit => audit::report::schema(),
        }
    }

    /// The schema as indented text, with a newline at the end.
    ///
    /// # Errors
    ///
    /// Every key is a string, so no error is known.
    pub fn text(self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&self.schema()).map(|text| text + "\n")
    }
}

/// Prints the schema.
///
/// # Errors
///
/// Returns an error if stdout cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    print(&args.name.text()?)?;
    Ok(ExitCode::SUCCESS)
}
