//! The machine that owns the log, and what it must remember.

use crate::disk::{DiskFaults, Loss, SimDisk};
use crate::runner::{Context, Plan, Violation};
use std::collections::BTreeSet;
use terrane_log::bugs::Bugs;
use terrane_log::{Log, LogConfig, LogError, Position, Preallocate, RecordLocator};

const SEGMENT: u32 = 8 << 10;
const RESERVE: u64 = 2 * SEGMENT as u64;
/// Room for everything.
pub(super) const AMPLE: u64 = 64 * SEGMENT as u64;

const LENGTHS: [usize; 4] = [24, 100, 600, 2000];

/// One record as appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) at: RecordLocator,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Machine {
    pub(super) disk: SimDisk,
    pub(super) config: LogConfig,
    pub(super) log: Option<Log>,
    /// Acknowledged records, oldest first. All of history stays here, to prove that old locators read nothing else.
    pub(super) acked: Vec<Written>,
    /// The records from here on are not yet in the consumer's own durable state.
    pub(super) consumed: usize,
    /// Where the last acknowledged batch starts: damage behind it looks like a torn write to any reader.
    pub(super) last_batch: usize,
    /// Appended since the last successful sync, oldest first.
    pub(super) pending: Vec<Written>,
    pub(super) removed: BTreeSet<u64>,
    /// Those whose removal failed halfway.
    unsure: BTreeSet<u64>,
    pub(super) full: bool,
    pub(super) faults: DiskFaults,
    pub(super) plan: Plan,
    serial: u64,
    /// Most records are of one length, so that a stale one often lies exactly where the next one is expected.
    usual: usize,
    recycles_early: bool,
}

impl Machine {
    pub(super) fn new(plan: &Plan, context: &mut Context) -> Result<Self, Violation> {
        let disk = SimDisk::new(&mut context.rng, AMPLE, context.coverage.clone());
        let config = LogConfig {
            segment_bytes: SEGMENT,
            max_record_bytes: 4 << 10,
            max_batch_bytes: 16 << 10,
            spares: 2,
            reserve_bytes: RESERVE,
            replay_from: None,
            preallocate: Preallocate::Inline,
            epoch_nonce: None,
            bugs: Bugs {
                ack_before_fsync: plan.switches.has("acknowledge-before-fsync"),
                accept_stale_tail: plan.switches.has("accept-stale-tail"),
                reuse_segment_id: plan.switches.has("reuse-segment-id"),
            },
        };
        let mut machine = Self {
            disk,
            config,
            log: None,
            acked: Vec::new(),
            consumed: 0,
            last_batch: 0,
            pending: Vec::new(),
            removed: BTreeSet::new(),
            unsure: BTreeSet::new(),
            full: false,
            faults: DiskFaults::default(),
            plan: plan.clone(),
            serial: 0,
            usual: LENGTHS[0],
            recycles_early: plan.switches.has("recycle-before-sync-point"),
        };
        machine.open(context)?;
        Ok(machine)
    }

    /// A writer appends a record.
    pub(super) fn write(&mut self, context: &mut Context, writer: u8) -> Result<(), Violation> {
        let reserved = context.rng.one_in(10);
        let len = if context.rng.one_in(4) { *context.rng.pick(&LENGTHS) } else { self.usual };
        self.serial += 1;
        let mut bytes = vec![writer; len];
        bytes[..8].copy_from_slice(&self.serial.to_be_bytes());
        let Some(log) = &mut self.log else { return Ok(()) };
        let (head, tail) = bytes.split_at(8);
        let appended = if reserved { log.append_reserved(&[head, tail]) } else { log.append(&[head, tail]) };
        match appended {
            Ok(at) => {
                context.trace.note(format_args!("  {at} serial {}", self.serial));
                let before = self.pending.last().or(self.acked.last());
                if before.is_some_and(|before| before.at.segment != at.segment) {
                    context.coverage.hit("log.rolled");
                }
                if reserved && self.full {
                    context.coverage.hit("log.reserve_used");
                }
                self.pending.push(Written { at, bytes });
                Ok(())
            }
            Err(LogError::BatchFull { .. }) => self.sync(context),
            Err(LogError::NoSpace { .. }) if self.full => {
                context.coverage.hit("log.no_space_at_append");
                Ok(())
            }
            Err(error) => self.failed(context, error),
        }
    }

    /// What waits becomes durable and is acknowledged.
    pub(super) fn sync(&mut self, context: &mut Context) -> Result<(), Violation> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let seals = context.rng.one_in(12);
        let was_full = self.full;
        let synced = if seals { log.seal() } else { log.sync().map(|_| ()) };
        match synced {
            Ok(()) => {
                context.coverage.add("log.acknowledged", self.pending.len() as u64);
                if seals {
                    context.coverage.hit("log.sealed");
                }
                if !self.pending.is_empty() {
                    self.last_batch = self.acked.len();
                    self.acked.append(&mut self.pending);
                }
                Ok(())
            }
            // The writers are told that nothing was stored, so it must never be seen again.
            Err(LogError::NoSpace { .. }) if was_full => {
                context.coverage.hit("log.no_space_at_sync");
                self.pending.clear();
                Ok(())
            }
            Err(error) => self.failed(context, error),
        }
    }

    /// The consumer has made some more of its state durable; segments before that are removed.
    pub(super) fn consume(&mut self, context: &mut Context) -> Result<(), Violation> {
        let behind = context.rng.below(self.acked.len() - self.consumed + 1);
        self.consumed += behind;
        let Some(log) = &mut self.log else { return Ok(()) };
        let Some(newest) = self.acked.last().map(|w| w.at.segment) else { return Ok(()) };
        // At the very end of a segment the next record's segment may not be there yet.
        let keep = match self.acked.get(self.consumed) {
            _ if self.recycles_early => newest,
            Some(first) => first.at.segment,
            None => newest,
        };
        let victims: Vec<u64> =
            log.reader().segments().iter().map(|s| s.id).filter(|id| *id < keep).collect();
        let spares = self.spares();
        for id in victims {
            // Compaction leaves gaps: some segments stay for long.
            if context.rng.one_in(3) {
                continue;
            }
            context.trace.note(format_args!("  remove {id}"));
            let Some(log) = &mut self.log else { break };
            match log.remove_segment(id) {
                Ok(()) => {
                    self.removed.insert(id);
                    context.coverage.hit("log.removed");
                }
                Err(error) => {
                    self.unsure.insert(id);
                    return self.failed(context, error);
                }
            }
        }
        if self.spares() > spares {
            context.coverage.hit("log.recycled");
        }
        Ok(())
    }

    fn spares(&self) -> usize {
        use terrane_log::disk::Disk;
        let names = self.disk.list().unwrap_or_default();
        names.iter().filter(|name| name.starts_with("spare-")).count()
    }

    /// Any locator ever handed out reads its own record or nothing.
    pub(super) fn read(&mut self, context: &mut Context) -> Result<(), Violation> {
        let Some(log) = &self.log else { return Ok(()) };
        let reader = log.reader();
        for _ in 0..4 {
            if self.acked.is_empty() {
                return Ok(());
            }
            let record = &self.acked[context.rng.below(self.acked.len())];
            let removed = self.removed.contains(&record.at.segment);
            match reader.read(record.at) {
                Ok(bytes) if bytes == record.bytes && !removed => {}
                Ok(_) => return Err(violation("read another record or a removed one", record)),
                Err(LogError::NotFound { .. }) if self.may_be_gone(record) => {}
                Err(LogError::Io { .. }) if self.read_may_fail() => {}
                Err(error) => return Err(violation(&format!("read failed: {error}"), record)),
            }
        }
        if let Some(unsynced) = self.pending.first()
            && !matches!(reader.read(unsynced.at), Err(LogError::NotFound { .. }))
        {
            return Err(violation("read what was not synced", unsynced));
        }
        Ok(())
    }

    pub(super) fn may_be_gone(&self, record: &Written) -> bool {
        self.removed.contains(&record.at.segment) || self.unsure.contains(&record.at.segment)
    }

    fn failed(&mut self, context: &mut Context, error: LogError) -> Result<(), Violation> {
        context.trace.note(format_args!("  {error}"));
        match error {
            LogError::Poisoned { .. } => {
                context.coverage.hit("log.poisoned");
                self.restart(context)
            }
            LogError::Io { .. } if self.faulty() => Ok(()),
            error => Err(Violation::new(format_args!("unexpected: {error}"))),
        }
    }

    /// The process ends, with or without the machine, and starts again.
    pub(super) fn crash(&mut self, context: &mut Context) -> Result<(), Violation> {
        let losses = [Loss::Nothing, Loss::Everything, Loss::AnySector, Loss::Tail];
        let loss = if self.plan.allows("power") { *context.rng.pick(&losses) } else { Loss::Nothing };
        context.trace.note(format_args!("  crash: {loss:?}"));
        self.log = None;
        self.disk.crash(loss);
        if context.rng.one_in(4) {
            self.usual = *context.rng.pick(&LENGTHS);
        }
        self.open(context)
    }

    /// A poisoned log is opened anew by the same process, or by one on a restarted machine.
    fn restart(&mut self, context: &mut Context) -> Result<(), Violation> {
        if self.disk.is_off() || context.rng.one_in(2) {
            return self.crash(context);
        }
        self.log = None;
        self.disk.crash(Loss::Nothing);
        self.open(context)
    }

    /// Opens and replays; disks that go on failing are replaced by good ones after a while.
    fn open(&mut self, context: &mut Context) -> Result<(), Violation> {
        for attempt in 0.. {
            if attempt > 3 {
                self.calm(context);
            } else if attempt < 2 && self.plan.allows("power") && context.rng.one_in(4) {
                self.disk.power_off_after(context.rng.range(1..12));
            }
            match self.try_open(context)? {
                Some(log) => {
                    self.log = Some(log);
                    return Ok(());
                }
                None => {
                    context.coverage.hit("log.crash_in_open");
                    let loss = if self.plan.allows("power") { Loss::AnySector } else { Loss::Nothing };
                    self.disk.crash(loss);
                }
            }
        }
        Ok(())
    }

    fn try_open(&mut self, context: &mut Context) -> Result<Option<Log>, Violation> {
        self.config.replay_from = self.replay_from();
        self.config.epoch_nonce = Some(context.rng.u64() as u32);
        let opened = Log::open(self.disk.as_disk(), self.config.clone());
        let (log, report) = match opened {
            Ok(opened) => opened,
            Err(LogError::Io { .. }) if self.faulty() => return Ok(None),
            Err(error) => return Err(Violation::new(format_args!("open: {error}"))),
        };
        let replayed = match self.replay(&log) {
            Ok(replayed) => replayed,
            Err(LogError::Io { .. }) if self.faulty() => return Ok(None),
            Err(error) => return Err(Violation::new(format_args!("replay: {error}"))),
        };
        context.trace.note(format_args!("  open: tail {}, {} records", report.tail, replayed.len()));
        if report.erased_bytes > 0 {
            context.coverage.hit("log.torn_tail_erased");
        }
        self.compare(context, replayed)?;
        let back = log.reader().segments().into_iter().find(|s| self.removed.contains(&s.id));
        match back {
            Some(segment) => Err(Violation::new(format_args!("removed segment {} is back", segment.id))),
            None => Ok(Some(log)),
        }
    }

    /// Where the consumer's own durable state ends.
    pub(super) fn replay_from(&self) -> Option<Position> {
        match (self.acked.get(self.consumed), self.acked.last()) {
            (Some(first), _) => Some(first.at.start()),
            (None, Some(last)) => Some(last.at.end()),
            (None, None) => None,
        }
    }

    pub(super) fn replay(&self, log: &Log) -> Result<Vec<Written>, LogError> {
        let mut replayed = Vec::new();
        log.replay(self.replay_from(), |at, payload| {
            replayed.push(Written { at, bytes: payload.to_vec() });
            Ok::<(), LogError>(())
        })?;
        Ok(replayed)
    }

    /// All that was acknowledged, then what was about to be, in order.
    fn compare(&mut self, context: &mut Context, replayed: Vec<Written>) -> Result<(), Violation> {
        let expected = self.acked[self.consumed..].iter().chain(&self.pending);
        let must = self.acked.len() - self.consumed;
        for (index, (found, expected)) in replayed.iter().zip(expected).enumerate() {
            if found != expected {
                let what = if index < must { "replayed wrongly" } else { "resurrected" };
                return Err(violation(&format!("{what}: {} instead of", found.at), expected));
            }
        }
        if let Some(missing) = self.acked.get(self.consumed + replayed.len()) {
            return Err(violation("acknowledged and not replayed", missing));
        }
        let extra = replayed.len() - must;
        if let Some(unknown) = replayed.get(must + self.pending.len()) {
            return Err(violation("replayed and not appended", unknown));
        }
        context.coverage.add("log.unacknowledged_replayed", extra as u64);
        context.coverage.add("log.unacknowledged_lost", (self.pending.len() - extra) as u64);
        if extra > 0 {
            self.last_batch = self.acked.len();
            self.acked.extend(self.pending.drain(..extra));
        }
        self.pending.clear();
        Ok(())
    }
}

pub(super) fn violation(what: &str, record: &Written) -> Violation {
    Violation(format!(
        "{what} {} (length {}, starts {:?})",
        record.at,
        record.bytes.len(),
        &record.bytes[..8]
    ))
}
