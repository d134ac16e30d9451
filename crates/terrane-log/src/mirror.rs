//! One log on several drives (design rule 10).
//!
//! [`MirrorDisk`] is a [`crate::disk::Disk`] over the disks of its members: what is written is written to all of
//! them, and what is read is read from one. The members at any time are *the set*; it has an epoch, and a record
//! of it lies on every member ([`Record`]).
//!
//! * **A drive that fails leaves the set**, for good: what a failed `fsync` covered is unknown, and it is never
//!   retried. Before the operation that noticed returns success, the new set with the next epoch is durable on
//!   all that stay. So whatever was acknowledged is on every member of the latest set.
//! * **A start is refused unless the latest set is certain.** The greatest epoch that can be seen names its
//!   members; if all of them are there, there is no later set, for that would have been written to some of them
//!   first. If one is missing, it might have gone on alone: [`MirrorError::MembersMissing`], unless an operator
//!   accepts the loss ([`MirrorConfig::accept_loss`]).
//! * **Drives outside the latest set are never read.** [`MirrorDisk::resync`] copies everything to them, while
//!   the log goes on, and then makes a set that includes them.
//! * **Members are made equal before serving**: what was written and not acknowledged before a crash is the same
//!   on all then.
//! * **Rot is read around and healed**: see [`crate::disk::DiskFile::heal`] and
//!   [`crate::LogReader::scrub_segment`].

mod decide;
mod disk;
mod equalise;
mod error;
mod fan;
mod file;
mod open;
mod record;
mod resync;
mod set;

pub use equalise::Equalised;
pub use error::{MirrorError, MissingMember};
pub use record::{BadRecord, MAX_DRIVES, MirrorId, Phase, Record};
pub use resync::Resync;

use crate::disk::Disk;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The disk that a log is mirrored on. Cheap to clone; clones are the same mirror. It takes files of a log only.
#[derive(Clone)]
pub struct MirrorDisk(Arc<set::Inner>);

impl MirrorDisk {
    /// What the drives are at the moment.
    #[must_use]
    pub fn status(&self) -> MirrorStatus {
        let set = self.0.set();
        let drive = |(number, member): (usize, &set::Member)| {
            let now = member.now.read();
            let state = match &now.failed {
                Some(why) => DriveState::Lost(why.clone()),
                None if set.members.contains(&number) => DriveState::InSet,
                None => now.idle.clone(),
            };
            DriveStatus { name: member.name.clone(), id: now.id, state }
        };
        MirrorStatus {
            store: self.0.store,
            epoch: set.epoch,
            set: self.0.ids_of(&set),
            drives: self.0.drives.iter().enumerate().map(drive).collect(),
            healed: self.0.healed.load(Ordering::Relaxed),
            read_around: self.0.read_around.load(Ordering::Relaxed),
        }
    }
}

/// A configured drive.
pub struct Drive {
    /// What operators call it: its directory.
    pub name: String,
    /// Its directory for the log, or why it cannot be opened.
    pub disk: io::Result<Arc<dyn Disk>>,
}

/// How the drives of a set are synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FanOut {
    /// All at once: a thread for each drive, so that a sync takes as long as the slowest drive.
    #[default]
    Threads,
    /// One after the other, in order (simulator).
    InTurn,
}

/// Configuration of a [`MirrorDisk`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MirrorConfig {
    /// Go on without members of the latest known set that are not there. To be set for one start, by an operator
    /// who has read [`MirrorError::MembersMissing`]. A drive given up like this does not know: it must not be
    /// started from later without one that does and whose record can be read. Beside such a one it is stale, or the
    /// start is refused ([`MirrorError::Split`]).
    pub accept_loss: bool,
    /// How drives are synced.
    pub fan_out: FanOut,
    /// From what identifiers are drawn; `None` is at random. The simulator passes its own.
    pub seed: Option<u64>,
    /// Test-only switches.
    pub bugs: crate::bugs::MirrorBugs,
}

/// What a drive is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriveState {
    /// In the set: has everything that was acknowledged.
    InSet,
    /// Not there, or failed: the reason. Not used until it is copied to.
    Lost(String),
    /// There, but left the set at some time, so that its content is old. Not used until it is copied to.
    Stale,
    /// There and empty. Not used until it is copied to.
    Blank,
    /// Being copied to: bytes done, of about as many.
    Resyncing {
        /// Bytes copied.
        done: u64,
        /// Bytes to copy.
        total: u64,
    },
}

/// One drive, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveStatus {
    /// Its name as configured.
    pub name: String,
    /// Its identifier, if it has one.
    pub id: Option<MirrorId>,
    /// What it is.
    pub state: DriveState,
}

/// A mirror, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorStatus {
    /// The mirror's identifier.
    pub store: MirrorId,
    /// The set's epoch.
    pub epoch: u64,
    /// The set of this epoch, as its members' records have it. (A drive that failed just now is in it still.)
    pub set: Vec<MirrorId>,
    /// All drives, in the order configured.
    pub drives: Vec<DriveStatus>,
    /// Pieces of copies that were rotten or unreadable and have been rewritten from another copy, since the start.
    pub healed: u64,
    /// Reads that one drive failed and another answered, since the start.
    pub read_around: u64,
}

/// What [`MirrorDisk::open`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorReport {
    /// The mirror was made.
    pub formed: bool,
    /// Members that may have been needed are missing, and the operator accepted that.
    pub loss_accepted: bool,
    /// What it took to make the members equal.
    pub equalised: Equalised,
    /// The drives.
    pub status: MirrorStatus,
}
