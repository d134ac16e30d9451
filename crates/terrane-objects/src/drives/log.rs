//! The log over the drives: `terrane_log::mirror`, told which drives there are.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use terrane_log::disk::{Disk, FsDisk};
use terrane_log::mirror::{Drive as LogDrive, DriveState, MirrorConfig, MirrorDisk, MirrorError};

use super::{Drive, DriveSet};

/// The mirror of the log, and the drives that it lies on.
#[derive(Clone)]
pub(crate) struct LogMirror {
    mirror: MirrorDisk,
    drives: Vec<Arc<Drive>>,
    /// Which of them had a current copy at the last look.
    current: Arc<Mutex<Vec<bool>>>,
    /// Held by who copies to drives that lag behind.
    copying: Arc<Mutex<()>>,
}

impl LogMirror {
    /// Opens the log's drives. Members that are missing are an error unless their loss is accepted.
    pub(crate) fn open(set: &DriveSet, accept_loss: bool) -> Result<Self, MirrorError> {
        let drives = set.of_log().to_vec();
        let members = drives.iter().map(|drive| LogDrive {
            name: drive.root().display().to_string(),
            disk: match drive.cause() {
                None => open(drive),
                Some(cause) => Err(io::Error::new(io::ErrorKind::NotFound, cause)),
            },
        });
        let config = MirrorConfig { accept_loss, ..MirrorConfig::default() };
        let (mirror, report) = MirrorDisk::open(members.collect(), config)?;
        if report.loss_accepted {
            tracing::warn!(
                "started without drives that may have held more of the log, as the operator accepted"
            );
        }
        tracing::info!(epoch = report.status.epoch, equalised = ?report.equalised, "the log's drives");
        let current = Arc::new(Mutex::new(vec![false; drives.len()]));
        Ok(Self { mirror, drives, current, copying: Arc::default() })
    }

    /// What the log is written to.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.mirror.clone())
    }

    /// How the copies of the log stand, by drive, in a word each.
    pub(crate) fn words(&self) -> Vec<&'static str> {
        let word = |state: &DriveState| match state {
            DriveState::InSet => "current",
            DriveState::Lost(_) => "lost",
            DriveState::Stale | DriveState::Blank => "behind",
            DriveState::Resyncing { .. } => "copying",
        };
        self.mirror.status().drives.iter().map(|drive| word(&drive.state)).collect()
    }

    /// Pieces written anew, and reads that another drive answered, since the start.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let status = self.mirror.status();
        (status.healed, status.read_around)
    }

    /// A drive that the log has lost is not trusted with anything else. To be called now and then.
    pub(crate) fn share_failures(&self) {
        let mut current = self.current.lock();
        for ((drive, status), was) in self.drives.iter().zip(self.mirror.status().drives).zip(&mut *current) {
            if let DriveState::Lost(why) = &status.state
                && *was
            {
                drive.fail(&io::Error::other(why.clone()));
            }
            *was = status.state == DriveState::InSet;
        }
    }

    /// Copies the log to every drive in use whose copy is not current, one after the other, until told to stop. The log
    /// goes on meanwhile. Does nothing if somebody is at it.
    pub(crate) fn catch_up(&self, stop: &dyn Fn() -> bool) {
        let Some(_copying) = self.copying.try_lock() else { return };
        for (number, (drive, word)) in self.drives.iter().zip(self.words()).enumerate() {
            if !drive.is_live() || !matches!(word, "behind" | "lost") {
                continue;
            }
            let name = drive.root().display();
            match self.copy(number, drive, stop) {
                Ok(true) => tracing::info!(drive = %name, "its copy of the log is current"),
                Ok(false) => return,
                Err(error) => tracing::warn!(error, drive = %name, "copying the log"),
            }
        }
    }

    /// Copies the log to a drive; false if told to stop.
    fn copy(&self, number: usize, drive: &Drive, stop: &dyn Fn() -> bool) -> Result<bool, String> {
        let disk = open(drive).map_err(|error| error.to_string())?;
        let mut copy = self.mirror.begin_resync(number, disk).map_err(|error| error.to_string())?;
        while !stop() {
            if !copy.step().map_err(|error| error.to_string())? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn open(drive: &Drive) -> io::Result<Arc<dyn Disk>> {
    let disk: Arc<dyn Disk> = FsDisk::open(drive.root().join("log"))?;
    Ok(disk)
}
