//! Redundancy of buckets, and drives as operators see them.

use std::path::Path;
use std::sync::Arc;

use super::Store;
use crate::drives::LogMirror;
use crate::redundancy::Redundancy;
use crate::service::*;

impl Store {
    /// What bytes get where no bucket says.
    pub(crate) fn default_redundancy(&self) -> Redundancy {
        Redundancy::default_for(self.data.drives().len())
    }

    /// What a bucket's new bytes get. A setting that this store cannot do, because drives were taken out of the
    /// configuration, gives way to the default.
    pub(super) fn redundancy(&self, bucket: &BucketInfo) -> Redundancy {
        let setting = bucket.settings.get(REDUNDANCY_SETTING);
        let asked = setting.and_then(|text| std::str::from_utf8(text).ok()?.parse::<Redundancy>().ok());
        let drives = self.data.drives().len();
        asked.filter(|asked| asked.check(drives).is_ok()).unwrap_or_else(|| self.default_redundancy())
    }

    /// Refuses a change that this store cannot do.
    pub(super) fn check_change(&self, change: &BucketChange) -> Result<()> {
        let BucketChange::Setting(name, Some(value)) = change else { return Ok(()) };
        if name != REDUNDANCY_SETTING {
            return Ok(());
        }
        let text = std::str::from_utf8(value).unwrap_or_default();
        let checked = text.parse::<Redundancy>().and_then(|asked| asked.check(self.data.drives().len()));
        checked.map_err(|error| ObjectError::Refused(error.to_string()))
    }

    /// All drives and the scrubber.
    pub(crate) fn drives_status(&self) -> DrivesStatus {
        let mut drives = self.data.drives().status();
        let logs = self.mirror.as_ref().map(LogMirror::words).unwrap_or_default();
        for drive in &mut drives {
            drive.data_bytes = self.data.bytes_on(drive.number);
            drive.log = logs.get(drive.number).map(|word| (*word).to_owned());
        }
        let degraded = self.data.segments().iter().filter(|s| s.missing_shards > 0).count();
        DrivesStatus { drives, degraded_segments: degraded as u64, scrub: self.scrubber.status() }
    }

    /// Has the log copied, in the background, to drives in use that lack some of it.
    pub(crate) fn catch_up(&self) {
        if let Some(mirror) = self.mirror.clone() {
            let closing = self.closing.subscribe();
            drop(tokio::task::spawn_blocking(move || mirror.catch_up(&|| *closing.borrow())));
        }
    }

    /// Takes an empty directory into use in a missing drive's place, and has shards rebuilt on it.
    pub(super) async fn replace_drive(self: &Arc<Self>, path: &str) -> Result<()> {
        let (store, path) = (self.clone(), path.to_owned());
        let replaced =
            tokio::task::spawn_blocking(move || store.data.drives().replace(Path::new(&path))).await;
        let replaced = replaced.map_err(|e| ObjectError::Unavailable(e.to_string()))?;
        let drive = replaced.map_err(|error| ObjectError::Refused(error.to_string()))?;
        tracing::info!(drive = %drive.root().display(), "a drive was taken into use");
        self.space.poll();
        self.catch_up();
        self.scrubber.ask();
        Ok(())
    }
}
