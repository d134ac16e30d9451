//! What an operator and a client may ask.

use super::Shard;
use crate::class::{ClassName, WriteMode};
use crate::completion::{OperationKey, OperationStatus};
use crate::ids::{Lsn, Timestamp};

/// State of one queue class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueStatus {
    /// Which.
    pub class: ClassName,
    /// Pending entries in memory.
    pub depth: u64,
    /// Estimate of the memory that they hold, in bytes.
    pub bytes: u64,
    /// Rows in spill runs.
    pub spilled: u64,
    /// Age of the oldest pending entry in milliseconds.
    pub oldest_age_ms: u64,
    /// Applied per second, smoothed.
    pub rate: f64,
    /// Whether application is paused.
    pub paused: bool,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What has happened since the start; for metrics and for the simulator's coverage.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Names and values.
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counters! {
    /// Requests taken.
    requests,
    /// Records logged.
    logged,
    /// Requests answered SlowDown or NoSpace at once.
    refused_by_bounds,
    /// Answers that waited for the durability of a record that they follow from.
    waited_for_durable,
    /// Rows overwritten while pending.
    coalesced,
    /// Writes applied, superseded ones included.
    applied,
    /// Writes applied after their due time.
    applied_late,
    /// Completion records written.
    completions,
    /// Completion records dropped because the outbox was full.
    dead_letters,
    /// Batches handed out.
    batches,
    /// Batches given up.
    batches_forgotten,
    /// Answers from batches that were given up before.
    stale_batches,
    /// Failed log batches.
    appends_failed,
    /// Slots that got another owner.
    slots_moved,
    /// Workers lost.
    workers_lost,
    /// Decisions for more workers.
    scaled_up,
    /// Decisions for fewer workers.
    scaled_down,
    /// Runs written.
    spills,
    /// Rows written to runs.
    spilled_entries,
    /// Runs applied.
    runs_applied,
    /// Keymap syncs asked for.
    syncs,
    /// Keymap syncs failed.
    syncs_failed,
    /// Batches that purged tombstones.
    purges,
    /// Synchronous writes answered "pending" because nobody applied them.
    sync_timeouts,
    /// Records read in recovery.
    replayed,
    /// Of these, found applied already.
    replayed_applied,
}

impl Shard {
    /// All queue classes.
    pub fn queues(&mut self) -> Vec<QueueStatus> {
        ClassName::ALL.into_iter().map(|class| self.queue(class)).collect()
    }

    fn queue(&mut self, class: ClassName) -> QueueStatus {
        let oldest = self.slots.oldest(class, &self.pending).into_iter().chain(self.runs.oldest(class)).min();
        QueueStatus {
            class,
            depth: self.pending.depth(class),
            bytes: self.pending.class_bytes(class),
            spilled: self.runs.spilled(class),
            oldest_age_ms: oldest.map_or(0, |oldest| self.now.since_ms(oldest)),
            rate: self.rates[class.index()].per_second(self.now),
            paused: self.paused[class.index()],
        }
    }

    /// How a write stands.
    pub fn operation(&self, key: OperationKey) -> OperationStatus {
        if key.lsn > self.visible || key.lsn == Lsn::ZERO {
            return OperationStatus::Unknown;
        }
        let due = key.class.delay_ms();
        match self.pending.get(key.lsn) {
            Some(op) => OperationStatus::Pending { due: op.due() },
            // A run is applied as a whole, when its first entry is due.
            None if self.runs.holds(key.lsn) => {
                OperationStatus::Pending { due: due.and_then(|_| self.runs.due_of(key.lsn)) }
            }
            None => OperationStatus::Applied,
        }
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Smoothed writes per second, the mode that the load asks for, and how often it changed.
    pub fn load(&mut self) -> (f64, WriteMode, u64) {
        let now = self.now;
        (self.load.rate.per_second(now), self.load.mode(now), self.load.switches)
    }

    /// Entries pending in memory, and the estimate of the memory that they hold.
    pub fn pending(&self) -> (u64, u64) {
        (self.pending.len() as u64, self.pending.bytes())
    }

    /// Workers that get batches, and how many are wanted.
    pub fn workers(&self) -> (usize, usize) {
        (self.workers.count(), self.workers.target)
    }

    /// Spill runs, in whatever state.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// What recovery would cost now, as [`ShardConfig::replay_bytes_max`](crate::ShardConfig) counts.
    pub fn replay_bytes_now(&self) -> u64 {
        self.replay_bytes()
    }

    /// Everything up to here is durable and visible.
    pub fn visible(&self) -> Lsn {
        self.visible
    }

    /// When [`crate::Input::Tick`] is wanted at the latest.
    pub fn next_wake(&self) -> Timestamp {
        let busy = self.pending.len() > 0 || self.runs.len() > 0;
        self.now.plus_ms(if busy { 50 } else { 500 })
    }
}
