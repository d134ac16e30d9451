//! Switches that take a rule away, to prove that the checks would notice.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The rules taken away. Only tests switch any on.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct Bugs {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Bugs {
            /// Every rule as it is.
            pub const NONE: Self = Self { $($name: false,)* };

            /// All names.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// The bug of this name; none if there is no such name.
            #[must_use]
            pub fn named(name: &str) -> Self {
                let mut bugs = Self::default();
                match name {
                    $(stringify!($name) => bugs.$name = true,)*
                    _ => {}
                }
                bugs
            }
        }
    };
}

bugs! {
    /// Rule 1: the client has overlapping writes outstanding.
    client_overlaps,
    /// Rule 1: the primary lets overlapping writes and reads run together.
    primary_overlaps,
    /// Rule 1: a write is acknowledged before the mirrors have it.
    ack_before_mirror,
    /// Rule 1: a duplicate of an older write is applied again.
    apply_duplicates,
    /// Rule 2: a mirror takes messages of an older generation.
    accept_old_generation,
    /// Rule 2: a primary acts before its adoption is confirmed.
    act_before_confirmation,
    /// Rule 2: the manager never continues from the generation before one that was never active.
    never_go_back,
    /// Rule 3: a restarted copy stays in sync.
    keep_restarted,
    /// Rule 3: a restarted grantor does not wait for a lease period.
    skip_settling,
    /// Rule 4: one lease is enough, whoever gave it.
    one_lease,
    /// Rule 4: a promoted copy acts before its own grants have lapsed.
    skip_grants,
    /// Rule 5: a primary goes on without a mirror that it lost, on its own judgement.
    shrink_alone,
    /// Rule 5: a joining copy is not part of a FLUSH.
    joiner_skips_flush,
    /// Rule 6: data is written before its log entry is durable.
    data_before_log,
    /// Rule 6: what is recopied or equalised is not entered in the log.
    recopies_unlogged,
    /// Rule 6: only the primary keeps bitmaps.
    bitmap_at_primary,
    /// Rule 6: a bitmap starts empty, not from the log.
    bitmap_starts_empty,
    /// Rule 6: a bitmap is believed although it was interrupted.
    trust_broken_bitmap,
    /// Rule 6: a copy that was forgotten and comes back counts as in sync until then.
    trust_forgotten,
    /// Rule 6: a copy forgets its bitmaps when a record, perhaps a never active one, says that it is out of sync.
    drop_bitmaps,
    /// Rule 6: a joining copy retires what was in its log before it began to catch up.
    joiner_retires,
    /// Rules 6 and 7: what is still being written for an earlier primary is left out of what may differ.
    forget_applies,
    /// Rule 7: the suspect set is the new primary's log alone.
    suspects_one_sided,
    /// Rule 7: suspect extents are served.
    serve_suspects,
    /// Rule 7: a FLUSH completes while there are suspects.
    flush_before_suspects,
    /// Rule 7: a FLUSH retires extents with a write in flight at its start.
    retire_in_flight,
    /// Rule 7: a mirror's FLUSH retires extents of writes that followed it in the stream and overtook its start.
    retire_later_writes,
    /// Rule 8: a join is committed before the copy has flushed.
    join_before_flush,
    /// Hand-over: a primary that has relinquished goes on while it believes to hold leases.
    serve_relinquished,
    /// Hand-over: a primary that has relinquished takes it back when nobody follows in time.
    resume_relinquished,
    /// Hand-over: a primary relinquishes with writes in flight and logs that are not empty.
    relinquish_undrained,
    /// Hand-over: a release of an earlier generation or life is believed.
    believe_old_release,
    /// Retirement: a copy that is let go while it is out of sync stays known to the generation before.
    retire_only_now,
    /// Rule 10: what an older session sent is accepted.
    accept_old_session,
    /// Rule 10: a forced detach completes before every in-sync copy has adopted it.
    detach_early,
}
