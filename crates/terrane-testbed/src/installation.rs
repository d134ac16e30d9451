//! What can be asked of any installation through its command line.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::volume::Volume;
use crate::{PATIENCE, wait_until};

/// An installation with a command line.
pub trait Installation {
    /// `terrane ARGS --output json` as the root account.
    ///
    /// # Errors
    /// It fails; the error has what it printed.
    fn cli(&self, args: &[&str]) -> Result<Value>;

    /// Makes a volume and waits until it can be attached; returns its ID.
    ///
    /// # Errors
    /// It is refused, or is not available in time.
    fn create_volume(&self, size_gib: u32) -> Result<String> {
        self.create_volume_with(size_gib, &[])
    }

    /// The same with more options of `terrane volume create`: type, IOPS, throughput.
    ///
    /// # Errors
    /// As [`Self::create_volume`].
    fn create_volume_with(&self, size_gib: u32, options: &[&str]) -> Result<String> {
        let size = size_gib.to_string();
        let made = self.cli(&[&["volume", "create", "--size", &size], options].concat())?;
        let id = made["id"].as_str().with_context(|| format!("no id in {made}"))?.to_owned();
        self.wait_state(&id, "available")?;
        Ok(id)
    }

    /// Attaches a volume to a machine and waits until it is served; returns the NBD URL.
    ///
    /// # Errors
    /// It is refused, or is not served in time.
    fn attach(&self, id: &str, instance: &str) -> Result<String> {
        self.cli(&["volume", "attach", id, "--instance", instance, "--device", "/dev/sdf"])?;
        let mut url = None;
        wait_until(&format!("{id} is served"), PATIENCE, || {
            let volume = self.volume(id)?;
            url = volume.attachments.into_iter().find(|(at, _)| at == instance).map(|(_, url)| url);
            Ok(url.is_some())
        })?;
        url.context("it was waited for")
    }

    /// Detaches a volume and waits until it is available again.
    ///
    /// # Errors
    /// It is refused, or does not become available in time.
    fn detach(&self, id: &str, how: &[&str]) -> Result<()> {
        self.cli(&[&["volume", "detach", id], how].concat())?;
        self.wait_state(id, "available")
    }

    /// `terrane volume show`.
    ///
    /// # Errors
    /// It fails.
    fn volume(&self, id: &str) -> Result<Volume> {
        Volume::parse(self.cli(&["volume", "show", id])?)
    }

    /// Waits until a volume is in a state.
    ///
    /// # Errors
    /// It is not in time.
    fn wait_state(&self, id: &str, state: &str) -> Result<()> {
        wait_until(&format!("{id} is {state}"), PATIENCE, || Ok(self.volume(id)?.state == state)).map(drop)
    }

    /// Waits until a volume has so many copies, all in sync; returns how long that took.
    ///
    /// # Errors
    /// It has not in time.
    fn wait_redundant(&self, id: &str, copies: usize, within: Duration) -> Result<Duration> {
        let mut last = String::new();
        let waited = wait_until(&format!("{id} has {copies} copies in sync"), within, || {
            let volume = self.volume(id)?;
            last = volume.raw.to_string();
            Ok(volume.is_redundant(copies))
        });
        waited.with_context(|| format!("at last it was {last}"))
    }
}

/// What a command printed, as JSON; null if it had nothing to say.
pub(crate) fn answer(args: &[&str], text: &str) -> Result<Value> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).with_context(|| format!("{args:?} did not print JSON: {text}"))
}
