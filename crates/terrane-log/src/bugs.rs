//! Test-only switches that break one rule each, so that the simulator can prove
//! that it would notice. Never set outside tests; all off by default.

/// Which rule to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// `sync` reports success without `fdatasync`.
    pub ack_before_fsync: bool,
    /// Recovery neither erases the torn tail nor checks the chain of checksums and epochs.
    pub accept_stale_tail: bool,
    /// A new segment takes the lowest identifier that no file has, not a fresh one.
    pub reuse_segment_id: bool,
}

/// Which rule of [`crate::mirror`] to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorBugs {
    /// An operation that a drive failed is acknowledged without the new set being durable.
    pub ack_before_set_durable: bool,
    /// Whatever drive has a record is served from, whether it is in the latest set or not.
    pub serve_stale: bool,
    /// Members are not made equal before they are served from.
    pub skip_equalise: bool,
    /// A failed sync is tried again, and believed if it works then.
    pub retry_failed_fsync: bool,
}
