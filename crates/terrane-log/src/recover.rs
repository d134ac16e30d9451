//! Opening: finding the tail and making sure that nothing stale can ever follow it.

use crate::batch::Active;
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, Open};
use crate::error::LogError;
use crate::frame::{BadHeader, SegmentHeader};
use crate::position::{FRAME_HEADER, Position};
use crate::reader::{Extent, segment_name};
use crate::scan::{Chain, Scanner, Step, header_error};
use crate::spares::Spares;
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;

/// Bytes read, erased or rewritten at once.
const CHUNK: usize = 1 << 20;

/// What was found.
pub(crate) struct Found {
    pub(crate) table: BTreeMap<u64, Extent>,
    pub(crate) active: Option<Active>,
    /// This start's epoch, and the last checksum.
    pub(crate) chain: Chain,
    pub(crate) newest: u64,
    pub(crate) next_id: u64,
    pub(crate) erased_bytes: u64,
    pub(crate) spares: Spares,
}

/// The newest segment that is part of the log.
struct Newest {
    id: u64,
    file: Arc<dyn DiskFile>,
    tail: Tail,
}

/// The end of a segment.
struct Tail {
    end: u32,
    sealed: bool,
    chain: Chain,
    /// Where the batch starts whose sync may never have succeeded.
    last_batch: u32,
}

pub(crate) fn recover(disk: &Arc<dyn Disk>, config: &LogConfig) -> Result<Found, LogError> {
    // What is read as gone must not come back: the process before may have ended between removing a segment that
    // was not acknowledged and making that durable.
    disk.sync_dir().map_err(|e| LogError::io("sync the names of segments", e))?;
    let names = disk.list().map_err(|e| LogError::io("list segments", e))?;
    let mut ids: Vec<u64> = names.iter().filter_map(|name| parse_name(name)).collect();
    ids.sort_unstable();
    let next_id = match ids.last() {
        Some(last) => last.checked_add(1).ok_or(LogError::Config("no segment identifier is left"))?,
        None => 1,
    };
    let mut open = Opening { disk, config, erased_bytes: 0 };
    let mut table = BTreeMap::new();
    let mut last = None;
    if let Some(id) = ids.pop() {
        let file = open.file(id)?;
        last = match open.find_tail(id, &*file)? {
            Some(tail) => Some(Newest { id, file, tail }),
            None => open.drop_unstarted(id, ids.pop())?,
        };
    }
    open.check_links(&ids, last.as_ref().map(|last| last.id))?;
    for id in ids {
        let len = open.file(id)?.len().map_err(|e| LogError::io("measure a segment", e))?;
        // Not bounded by this configuration's size: segments of an earlier one may be longer.
        let end = u32::try_from(len).map_err(|_| header_error(id, BadHeader::Damaged))?;
        table.insert(id, Extent { end, sealed: true });
    }
    let mut active = None;
    let mut chain = Chain { epoch: 0, prev: 0 };
    let mut newest = 0;
    if let Some(Newest { id, file, tail }) = last {
        open.settle(&*file, &tail)?;
        table.insert(id, Extent { end: tail.end, sealed: tail.sealed });
        (newest, chain) = (id, tail.chain);
        active = (!tail.sealed).then_some(Active { id, file, end: tail.end });
    }
    chain.epoch = next_epoch(chain.epoch, config.epoch_nonce)?;
    let extents: Vec<_> = table.iter().map(|(id, extent)| (*id, *extent)).collect();
    check_start(&extents, config.replay_from)?;
    let erased_bytes = open.erased_bytes;
    // Only now: the names may include a segment that has just become a spare.
    let spares = disk.list().and_then(|names| {
        Spares::open(disk.clone(), config.segment_bytes, config.reserve_bytes, config.spares, &names)
    });
    let spares = spares.map_err(|e| LogError::io("open spare segments", e))?;
    Ok(Found { table, active, chain, newest, next_id, erased_bytes, spares })
}

struct Opening<'a> {
    disk: &'a Arc<dyn Disk>,
    config: &'a LogConfig,
    erased_bytes: u64,
}

impl Opening<'_> {
    fn file(&self, id: u64) -> Result<Arc<dyn DiskFile>, LogError> {
        self.disk.open(&segment_name(id), Open::Write).map_err(|e| LogError::io("open a segment", e))
    }

    /// The end of the newest segment, or `None` if it never got a durable header.
    fn find_tail(&self, id: u64, file: &dyn DiskFile) -> Result<Option<Tail>, LogError> {
        let len = file.len().map_err(|e| LogError::io("measure a segment", e))?;
        let Ok(len) = u32::try_from(len) else { return Err(header_error(id, BadHeader::Damaged)) };
        let mut scanner = match Scanner::open(file, id, len)? {
            Ok(scanner) => scanner,
            Err(bad @ BadHeader::Newer(_)) => return Err(header_error(id, bad)),
            Err(BadHeader::Damaged) => {
                let mut scanner = Scanner::headless(file, id, len);
                let proof = scanner.find_later_batch()?;
                return if proof.is_some() { Err(header_error(id, BadHeader::Damaged)) } else { Ok(None) };
            }
        };
        if self.config.bugs.accept_stale_tail {
            scanner.trust_stale();
        }
        let sealed = loop {
            match scanner.step()? {
                Step::Record { .. } => {}
                Step::Sealed => break true,
                Step::End(what) => {
                    let at = Position { segment: id, offset: scanner.at };
                    if !self.config.bugs.accept_stale_tail && scanner.find_later_batch()?.is_some() {
                        return Err(LogError::Corrupt { at, what });
                    }
                    break false;
                }
            }
        };
        let (end, chain, last_batch) = (scanner.at, scanner.chain(), scanner.last_batch);
        Ok(Some(Tail { end, sealed, chain, last_batch }))
    }

    /// Takes a segment whose first batch never became durable out of the log: the one before is the newest then.
    fn drop_unstarted(&self, id: u64, before: Option<u64>) -> Result<Option<Newest>, LogError> {
        let mut last = None;
        if let Some(before) = before {
            let file = self.file(before)?;
            let corrupt = |what| LogError::Corrupt { at: Position { segment: before, offset: 0 }, what };
            let tail = self.find_tail(before, &*file)?.ok_or_else(|| corrupt("no header"))?;
            if !tail.sealed {
                // The next segment is only ever started after the seal is durable.
                let at = Position { segment: before, offset: tail.end };
                return Err(LogError::Corrupt { at, what: "no seal although a segment follows" });
            }
            last = Some(Newest { id: before, file, tail });
        }
        let dropped = self.disk.remove(&segment_name(id)).and_then(|()| self.disk.sync_dir());
        dropped.map_err(|e| LogError::io("remove a segment that was never used", e))?;
        Ok(last)
    }

    /// From the replay start on, each segment continues the one before.
    fn check_links(&self, ids: &[u64], newest: Option<u64>) -> Result<(), LogError> {
        let first = self.config.replay_from.unwrap_or_default().segment;
        let mut before = None;
        for id in ids.iter().copied().chain(newest).filter(|id| *id >= first) {
            let file = self.file(id)?;
            let len = file.len().map_err(|e| LogError::io("measure a segment", e))?;
            let len = u32::try_from(len).map_err(|_| header_error(id, BadHeader::Damaged))?;
            let scanner = Scanner::open(&*file, id, len)?.map_err(|bad| header_error(id, bad))?;
            if let Some(before) = before
                && scanner.header.prev_segment != before
            {
                return Err(LogError::MissingSegment { segment: scanner.header.prev_segment });
            }
            before = Some(id);
        }
        Ok(())
    }

    /// Erases what follows the tail and makes durable what precedes it.
    fn settle(&mut self, file: &dyn DiskFile, tail: &Tail) -> Result<(), LogError> {
        let io = |e| LogError::io("settle the tail", e);
        if !self.config.bugs.accept_stale_tail && !tail.sealed {
            let len = file.len().map_err(io)?;
            self.erased_bytes += erase(file, u64::from(tail.end), len).map_err(io)?;
            // Zeros that an earlier attempt wrote and failed to sync are seen here and may be gone with the
            // power, those of one sector and not of another, and so make a whole of what was torn. Without its
            // first header nothing behind the tail is ever taken for a part of the log.
            let header = u64::from(FRAME_HEADER).min(len.saturating_sub(u64::from(tail.end)));
            file.write_at(&vec![0; header as usize], u64::from(tail.end)).map_err(io)?;
        }
        // After a failed sync the host may hold the last batch in memory, believe it
        // clean, and lose it with the power. Written again, it is dirty again.
        rewrite(file, u64::from(tail.last_batch), u64::from(tail.end)).map_err(io)?;
        file.sync_data().map_err(io)?;
        if !tail.sealed && file.allocate(u64::from(self.config.segment_bytes)).is_ok() {
            // Only preallocation: on a full disk the log opens without.
            file.sync_data().map_err(io)?;
        }
        Ok(())
    }
}

/// `from` names a place that is there.
pub(crate) fn check_start(extents: &[(u64, Extent)], from: Option<Position>) -> Result<(), LogError> {
    let Some(from) = from.filter(|from| *from != Position::default()) else { return Ok(()) };
    match extents.iter().find(|(id, _)| *id == from.segment) {
        Some((_, extent)) if from.offset <= extent.end => Ok(()),
        Some(_) => Err(LogError::NotFound { at: from }),
        None if extents.last().is_some_and(|(newest, _)| *newest > from.segment) => {
            Err(LogError::MissingSegment { segment: from.segment })
        }
        None => Err(LogError::NotFound { at: from }),
    }
}

/// A segment continues the one that ended with `chain`.
pub(crate) fn check_link(header: &SegmentHeader, before: u64, chain: Chain) -> Result<(), LogError> {
    if header.prev_segment != before {
        return Err(LogError::MissingSegment { segment: header.prev_segment });
    }
    if header.prev != chain.prev || header.epoch < chain.epoch {
        let at = Position { segment: header.id, offset: 0 };
        return Err(LogError::Corrupt { at, what: "a segment that does not continue the one before" });
    }
    Ok(())
}

pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|id| *id > 0)
}

/// A counter above, a random number below: greater than every earlier start's, and never guessed.
fn next_epoch(last: u64, nonce: Option<u32>) -> Result<u64, LogError> {
    let random = || RandomState::new().build_hasher().finish() as u32;
    let count = u32::try_from(last >> 32).ok().and_then(|count| count.checked_add(1));
    let count = count.ok_or(LogError::Config("no start epoch is left"))?;
    Ok((u64::from(count) << 32) | u64::from(nonce.unwrap_or_else(random)))
}

/// Overwrites what is not zero; the number of bytes in pieces that were not.
fn erase(file: &dyn DiskFile, mut at: u64, end: u64) -> io::Result<u64> {
    let mut buf = vec![0; CHUNK];
    let zeros = vec![0; CHUNK];
    let mut erased = 0;
    while at < end {
        let len = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        file.read_at(&mut buf[..len], at)?;
        if let Some(first) = buf[..len].iter().position(|b| *b != 0) {
            file.write_at(&zeros[first..len], at + first as u64)?;
            erased += (len - first) as u64;
        }
        at += len as u64;
    }
    Ok(erased)
}

fn rewrite(file: &dyn DiskFile, mut at: u64, end: u64) -> io::Result<()> {
    let mut buf = vec![0; CHUNK];
    while at < end {
        let len = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        file.read_at(&mut buf[..len], at)?;
        file.write_at(&buf[..len], at)?;
        at += len as u64;
    }
    Ok(())
}
