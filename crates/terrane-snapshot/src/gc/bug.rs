//! Rules that tests switch off, one at a time, to see that the simulation notices.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Captures find condemned chunks.
    FindCondemned,
    /// The collector does not wait for captures that began before.
    NoWait,
    /// Nothing is rescued.
    NoRescue,
    /// Nothing is waited for before the deletion.
    NoGrace,
    /// The parent of a capture in progress is not a root.
    ParentIsNoRoot,
    /// A root may be made from one that is gone.
    #[cfg(test)]
    CopyFromNothing,
    /// A capture may be committed after it was aborted.
    CommitAborted,
    /// Chunks of deleted packs stay known.
    KnownForEver,
    /// What cannot be read is taken as empty.
    UnreadableIsEmpty,
}

#[cfg(test)]
impl Bug {
    pub(crate) const ALL: [Self; 9] = [
        Self::FindCondemned,
        Self::NoWait,
        Self::NoRescue,
        Self::NoGrace,
        Self::ParentIsNoRoot,
        Self::CopyFromNothing,
        Self::CommitAborted,
        Self::KnownForEver,
        Self::UnreadableIsEmpty,
    ];
}
