//! The load generator, a program of its own so that it is always an optimised build.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::servers::Address;
use crate::sh;

/// Figures of one load, as `terrane-bench` prints them.
#[derive(Debug)]
pub(super) struct Figures(Value);

impl Figures {
    /// A number by its name, 0 if it is not there.
    pub(super) fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_default()
    }

    /// A nested object.
    pub(super) fn part(&self, name: &str) -> Self {
        Self(self.0[name].clone())
    }

    /// The whole, if it is a single number.
    pub(super) fn as_number(&self) -> f64 {
        self.0.as_f64().unwrap_or_default()
    }

    /// Entries of a list.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.0[name].as_array().into_iter().flatten().map(ToString::to_string).collect()
    }

    /// What failed, as text; empty if nothing did.
    pub(super) fn errors(&self) -> String {
        match self.0["errors"].as_object() {
            Some(errors) if !errors.is_empty() => self.0["errors"].to_string(),
            _ => String::new(),
        }
    }

    /// An error unless nothing failed.
    pub(super) fn without_errors(self) -> Result<Self> {
        ensure!(self.errors().is_empty(), "requests failed: {}", self.errors());
        Ok(self)
    }
}

fn binary() -> PathBuf {
    sh::target_dir().join("release/terrane-bench")
}

/// Runs one load to its end.
pub(super) fn load(address: &Address, args: &[&str]) -> Result<Figures> {
    let mut command = Command::new(binary());
    command.args(args).args(["--endpoint", &address.url, "--credentials"]).arg(&address.credentials);
    let text = sh::output(&mut command)?;
    Ok(Figures(serde_json::from_str(text.trim()).context("the load generator did not print JSON")?))
}

/// MD5 on one core in bytes per second.
pub(super) fn md5_rate() -> Result<f64> {
    Ok(sh::output(Command::new(binary()).arg("md5"))?.trim().parse()?)
}
