//! Test-only switches that break one rule each, so that the simulator can prove that it would notice. Never set
//! outside tests; all off by default.

/// Which rule to break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    /// Entering an extent into the activity log is reported before it is durable.
    pub data_before_log: bool,
    /// The table entry goes to the kernel after the data.
    pub entry_after_data: bool,
    /// Table entries stay in memory until their extent retires; a flush makes only data durable.
    pub flush_skips_table: bool,
    /// A flush is reported without a sync.
    pub flush_without_sync: bool,
    /// A failed sync is tried again, and believed if it works then.
    pub retry_failed_sync: bool,
    /// A trimmed block reads as what lies on the drive, instead of as zeros.
    pub trim_keeps_content: bool,
    /// Extents may leave the activity log with writes that are not flushed.
    pub retire_unflushed: bool,
    /// After a crash whatever lies in a logged extent is taken for good.
    pub trust_logged: bool,
    /// Old journal segments go before the snapshot that replaces them is durable.
    pub drop_journal_early: bool,
    /// Snapshots of the journal leave the bitmaps out.
    pub snapshot_forgets_bitmaps: bool,
    /// Reads do not verify.
    pub read_unverified: bool,
}
