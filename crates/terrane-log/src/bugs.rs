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
