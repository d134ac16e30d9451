//! Why a mirror does not start, and why a drive cannot be added.

use super::record::{BadRecord, MirrorId};
use std::fmt;
use std::io;
use std::sync::Arc;

/// A member of the latest known set that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingMember {
    /// The member.
    pub id: MirrorId,
    /// The configured drives that might be it, and what is wrong with them.
    pub why: String,
}

impl fmt::Display for MissingMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.why)
    }
}

/// An error of a mirror.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MirrorError {
    /// The list of drives makes no sense.
    #[error("mirror: {0}")]
    Config(&'static str),
    /// Members of the latest set that is known are not there. Each of them might have gone on without the drives
    /// that are there.
    #[error(
        "mirror: of the {of} drives in the latest known set (epoch {epoch}), {} missing: {}. Bring them back; or go on \
         without them by accepting a loss: whatever was acknowledged while only missing drives were in use is gone \
         then, for good; nothing is lost if none of them was in use later than {present}",
        if .missing.len() == 1 { "one is" } else { "some are" },
        list(.missing)
    )]
    MembersMissing {
        /// Epoch of the latest known set.
        epoch: u64,
        /// Its size.
        of: usize,
        /// Those not there.
        missing: Vec<MissingMember>,
        /// Names of those that are there.
        present: String,
    },
    /// No drive has a usable record, and not all are blank: a set may exist that cannot be seen.
    #[error(
        "mirror: no drive can say what the set is, and a new mirror is only made when all drives are there: {0}"
    )]
    NoSet(String),
    /// Two drives know of two histories that exclude each other (two starts that each accepted the loss of the
    /// other's drive, or a drive that was cloned).
    #[error(
        "mirror: {one} and {other} belong to two histories of the same mirror; leave out the one to be given up"
    )]
    Split {
        /// A drive.
        one: String,
        /// Another.
        other: String,
    },
    /// A drive belongs to another mirror.
    #[error("mirror: {drive} belongs to mirror {found}, {other} to {expected}")]
    Foreign {
        /// The drive.
        drive: String,
        /// Its mirror.
        found: MirrorId,
        /// A drive of the other mirror.
        other: String,
        /// That mirror.
        expected: MirrorId,
    },
    /// A drive has files of a log, but nothing says that they belong to this mirror.
    #[error("mirror: {drive} holds a log that belongs to no mirror; remove it or leave the drive out")]
    Unclaimed {
        /// The drive.
        drive: String,
    },
    /// A drive's record is of a newer format.
    #[error("mirror: the record of {drive} cannot be used: {why}")]
    Newer {
        /// The drive.
        drive: String,
        /// What was found.
        why: BadRecord,
    },
    /// No drive of the set works.
    #[error("mirror: no drive of the set works any more: {doing}: {source}")]
    NoDrive {
        /// What the mirror was doing.
        doing: &'static str,
        /// What the last drive said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A drive failed while the mirror was made or the drive was being added. The set is as it was.
    #[error("mirror: {drive}: {doing}: {source}")]
    Drive {
        /// The drive.
        drive: String,
        /// What the mirror was doing.
        doing: &'static str,
        /// What the drive said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The drive is in the set, or being copied to.
    #[error("mirror: {drive} is in use already")]
    InUse {
        /// The drive.
        drive: String,
    },
}

fn list(missing: &[MissingMember]) -> String {
    missing.iter().map(MissingMember::to_string).collect::<Vec<_>>().join(", ")
}
