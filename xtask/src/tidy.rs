//! The rules of the house that neither compiler nor linter checks, each with its reason.

mod crates;
mod files;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::sh;

/// One broken rule.
#[derive(Debug)]
struct Finding {
    /// The file, relative to the workspace's root.
    file: PathBuf,
    /// The line from 1, or 0 for the file as a whole.
    line: usize,
    /// What is wrong, and why that is not wanted.
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Checks every rule and lists all that are broken.
pub(crate) fn run() -> Result<()> {
    let root = sh::root();
    let mut findings = Vec::new();
    let files = files::list(&root)?;
    for file in &files {
        files::check(file, &mut findings);
    }
    crates::check(&root, &mut findings)?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} finding(s)", findings.len());
    }
    println!("tidy: {} files, nothing found", files.len());
    Ok(())
}
