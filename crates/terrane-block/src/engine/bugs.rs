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
    /// What a cut needs is copied when it has been overwritten.
    pub cut_copies_late: bool,
    /// What an extent was at a cut goes to the drive whenever it likes.
    pub cut_leaf_unsynced: bool,
    /// Only the newest cut keeps what is overwritten.
    pub cut_newest_only: bool,
    /// A TRIM overwrites nothing, as cuts see it.
    pub cut_ignores_trim: bool,
    /// A cut is recorded before what it shows is durable.
    pub cut_sealed_early: bool,
    /// A flush does not make durable what cuts have kept.
    pub cut_kept_unsynced: bool,
    /// A cut without room for what it should keep goes on.
    pub cut_ignores_no_room: bool,
    /// Snapshots of the journal leave cuts out.
    pub snapshot_forgets_cuts: bool,
    /// Snapshots of the journal leave out what changed since cuts.
    pub snapshot_forgets_changes: bool,
    /// What changed in an extent of the activity log since the last cut is forgotten in a crash.
    pub crash_forgets_changes: bool,
    /// What changed in an extent since the last cut is forgotten when it leaves the activity log.
    pub retire_forgets_changes: bool,
    /// An attempt's changes go with it.
    pub forget_drops_changes: bool,
    /// A fill writes over what is there.
    pub fill_overwrites: bool,
    /// TRIM of an absent block leaves it absent.
    pub trim_leaves_absent: bool,
}
