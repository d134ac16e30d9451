//! The machine that owns the log, and what it must remember.

use super::bay::Bay;
use crate::runner::{Context, Plan, Violation};
use std::collections::BTreeSet;
use std::sync::Arc;
use terrane_log::bugs::Bugs;
use terrane_log::disk::Disk;
use terrane_log::{Log, LogConfig, LogError, Position, Preallocate, RecordLocator};

const SEGMENT: u32 = 8 << 10;
/// Where a segment's first record starts.
const SEGMENT_HEADER: u32 = 64;
const RESERVE: u64 = 2 * SEGMENT as u64;
/// Room for all that a history writes, should its consumer never get to remove anything.
pub(in crate::worlds) const AMPLE: u64 = 4096 * SEGMENT as u64;

const LENGTHS: [usize; 4] = [24, 100, 600, 2000];

/// One record as appended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::worlds) struct Written {
    pub(in crate::worlds) at: RecordLocator,
    pub(in crate::worlds) bytes: Vec<u8>,
}

pub(in crate::worlds) struct Machine<B> {
    pub(in crate::worlds) bay: B,
    pub(in crate::worlds) config: LogConfig,
    pub(in crate::worlds) log: Option<Log>,
    /// Acknowledged records, oldest first. All of history stays here, to prove that old locators read nothing else.
    pub(in crate::worlds) acked: Vec<Written>,
    /// The records from here on are not yet in the consumer's own durable state.
    pub(in crate::worlds) consumed: usize,
    /// Where the last acknowledged batch starts: damage behind it looks like a torn write to any reader.
    pub(in crate::worlds) last_batch: usize,
    /// Appended since the last successful sync, oldest first.
    pub(in crate::worlds) pending: Vec<Written>,
    pub(in crate::worlds) removed: BTreeSet<u64>,
    /// What was lost with the acceptance of an operator, or not stored: a disk outside the set may have it still.
    forgotten: BTreeSet<Written>,
    /// Those whose removal failed halfway.
    unsure: BTreeSet<u64>,
    pub(in crate::worlds) plan: Plan,
    serial: u64,
    /// Most records are of one length, so that a stale one often lies exactly where the next one is expected.
    usual: usize,
    recycles_early: bool,
}

impl<B: Bay> Machine<B> {
    pub(in crate::worlds) fn new(bay: B, plan: &Plan, context: &mut Context) -> Result<Self, Violation> {
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
            bay,
            config,
            log: None,
            acked: Vec::new(),
            consumed: 0,
            last_batch: 0,
            pending: Vec::new(),
            removed: BTreeSet::new(),
            unsure: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            plan: plan.clone(),
            serial: 0,
            usual: LENGTHS[0],
            recycles_early: plan.switches.has("recycle-before-sync-point"),
        };
        machine.open(context)?;
        Ok(machine)
    }

    /// A writer appends a record.
    pub(in crate::worlds) fn write(&mut self, context: &mut Context, writer: u8) -> Result<(), Violation> {
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
                if reserved && self.bay.is_full() {
                    context.coverage.hit("log.reserve_used");
                }
                self.pending.push(Written { at, bytes });
                Ok(())
            }
            Err(LogError::BatchFull { .. }) => self.sync(context),
            Err(LogError::NoSpace { .. }) if self.bay.is_full() => {
                context.coverage.hit("log.no_space_at_append");
                Ok(())
            }
            Err(error) => self.failed(context, error),
        }
    }

    /// What waits becomes durable and is acknowledged.
    pub(in crate::worlds) fn sync(&mut self, context: &mut Context) -> Result<(), Violation> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let seals = context.rng.one_in(12);
        let was_full = self.bay.is_full();
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
                // A drive that could not take it back has left the set; an operator may start from it all the same.
                self.forgotten.extend(self.pending.drain(..));
                Ok(())
            }
            Err(error) => self.failed(context, error),
        }
    }

    /// The consumer has made some more of its state durable; segments before that are removed.
    pub(in crate::worlds) fn consume(&mut self, context: &mut Context) -> Result<(), Violation> {
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
        self.bay.names().iter().filter(|name| name.starts_with("spare-")).count()
    }

    /// Any locator ever handed out reads its own record or nothing.
    pub(in crate::worlds) fn read(&mut self, context: &mut Context) -> Result<(), Violation> {
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
                Err(LogError::Io { .. }) if self.bay.read_may_fail() => {}
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

    pub(in crate::worlds) fn may_be_gone(&self, record: &Written) -> bool {
        self.removed.contains(&record.at.segment) || self.unsure.contains(&record.at.segment)
    }

    fn failed(&mut self, context: &mut Context, error: LogError) -> Result<(), Violation> {
        context.trace.note(format_args!("  {error}"));
        match error {
            LogError::Poisoned { .. } => {
                context.coverage.hit("log.poisoned");
                self.restart(context)
            }
            LogError::Io { .. } if self.bay.may_fail() => Ok(()),
            error => Err(Violation::new(format_args!("unexpected: {error}"))),
        }
    }

    /// The process ends, with or without the machine, and starts again.
    pub(in crate::worlds) fn crash(&mut self, context: &mut Context) -> Result<(), Violation> {
        self.log = None;
        self.bay.crash(context, self.plan.allows("power"));
        if context.rng.one_in(4) {
            self.usual = *context.rng.pick(&LENGTHS);
        }
        self.open(context)
    }

    /// A poisoned log is opened anew by the same process, or by one on a restarted machine.
    fn restart(&mut self, context: &mut Context) -> Result<(), Violation> {
        if self.bay.is_off() || context.rng.one_in(2) {
            return self.crash(context);
        }
        self.log = None;
        self.bay.crash(context, false);
        self.open(context)
    }

    /// Opens and replays; disks that go on failing are replaced by good ones after a while.
    fn open(&mut self, context: &mut Context) -> Result<(), Violation> {
        for attempt in 0.. {
            if attempt > 3 {
                self.bay.calm(context);
            } else if attempt < 2 && self.plan.allows("power") && context.rng.one_in(4) {
                self.bay.power_off_after(context.rng.range(1..12));
            }
            match self.try_open(context, attempt)? {
                Some(log) => {
                    self.log = Some(log);
                    return self.bay.started(context);
                }
                None => {
                    context.coverage.hit("log.crash_in_open");
                    self.bay.crash(context, self.plan.allows("power"));
                }
            }
        }
        Ok(())
    }

    fn try_open(&mut self, context: &mut Context, attempt: u32) -> Result<Option<Log>, Violation> {
        let Some(disk) = self.bay.start(context, attempt)? else { return Ok(None) };
        self.config.epoch_nonce = Some(context.rng.u64() as u32);
        if self.bay.loss_accepted() {
            return self.adopt(context, &disk);
        }
        self.config.replay_from = self.replay_from();
        let (log, report) = match Log::open(disk, self.config.clone()) {
            Ok(opened) => opened,
            Err(LogError::Io { .. }) if self.bay.may_fail() => return Ok(None),
            Err(error) => return Err(Violation::new(format_args!("open: {error}"))),
        };
        let replayed = match self.replay(&log) {
            Ok(replayed) => replayed,
            Err(LogError::Io { .. }) if self.bay.may_fail() => return Ok(None),
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

    /// An operator went on without disks that may have had the end of the log: what is there is the truth now. It is
    /// still something that was once written.
    fn adopt(&mut self, context: &mut Context, disk: &Arc<dyn Disk>) -> Result<Option<Log>, Violation> {
        let mut ids: Vec<u64> = segments(&self.bay.names());
        let log = loop {
            // Earlier segments may have been removed, as the consumer did not need them.
            let newest = ids.pop().map(|segment| Position { segment, offset: SEGMENT_HEADER });
            self.config.replay_from = newest;
            match Log::open(disk.clone(), self.config.clone()) {
                Ok((log, _)) => break log,
                Err(LogError::Io { .. }) if self.bay.may_fail() => return Ok(None),
                Err(LogError::NotFound { .. } | LogError::MissingSegment { .. }) if newest.is_some() => {}
                Err(error) => return Err(Violation::new(format_args!("open after a loss: {error}"))),
            }
        };
        let mut found = Vec::new();
        let reader = log.reader();
        for segment in reader.segments() {
            let scanned = reader.scan_segment(segment.id, |at, payload| {
                found.push(Written { at, bytes: payload.to_vec() });
                Ok::<(), LogError>(())
            });
            match scanned {
                Err(LogError::Io { .. }) if self.bay.may_fail() => return Ok(None),
                scanned => scanned.map_err(|e| Violation::new(format_args!("scan after a loss: {e}")))?,
            }
        }
        let before = self.acked.len();
        self.forgotten.extend(self.acked.drain(..).chain(self.pending.drain(..)));
        if let Some(unknown) = found.iter().find(|record| !self.forgotten.contains(record)) {
            return Err(violation("found after a loss and never written", unknown));
        }
        context.trace.note(format_args!("  loss accepted: {} of {before}", found.len()));
        context.coverage.add("log.lost_by_override", before.saturating_sub(found.len()) as u64);
        self.acked = found;
        (self.consumed, self.last_batch) = (self.acked.len(), self.acked.len());
        self.removed.clear();
        self.unsure.clear();
        self.bay.loss_noted();
        Ok(Some(log))
    }

    /// Where the consumer's own durable state ends.
    pub(in crate::worlds) fn replay_from(&self) -> Option<Position> {
        match (self.acked.get(self.consumed), self.acked.last()) {
            (Some(first), _) => Some(first.at.start()),
            (None, Some(last)) => Some(last.at.end()),
            (None, None) => None,
        }
    }

    pub(in crate::worlds) fn replay(&self, log: &Log) -> Result<Vec<Written>, LogError> {
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
        self.forgotten.extend(self.pending.drain(..));
        Ok(())
    }
}

/// Identifiers of the segments among `names`.
pub(in crate::worlds) fn segments(names: &[String]) -> Vec<u64> {
    let id = |name: &String| u64::from_str_radix(name.strip_suffix(".log")?, 16).ok();
    names.iter().filter_map(id).collect()
}

pub(in crate::worlds) fn violation(what: &str, record: &Written) -> Violation {
    Violation(format!(
        "{what} {} (length {}, starts {:?})",
        record.at,
        record.bytes.len(),
        &record.bytes[..8]
    ))
}
