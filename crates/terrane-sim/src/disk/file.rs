//! The bytes of one file: as reads see them, as the disk has them, and the writes between the two.

use super::{Loss, SECTOR};
use crate::coverage::Coverage;
use crate::rng::SimRng;
use std::io;

#[derive(Default)]
pub(super) struct Inode {
    /// What reads see.
    live: Vec<u8>,
    /// What a power failure leaves for certain.
    durable: Vec<u8>,
    /// What was done since the last sync, oldest first.
    pending: Vec<Op>,
    /// Open handles.
    pub(super) handles: u32,
}

enum Op {
    Write { at: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl Inode {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn len(&self) -> u64 {
        self.live.len() as u64
    }

    /// Bytes of room taken. (Holes are not modelled: all of a file takes room.)
    pub(super) fn allocated(&self) -> u64 {
        self.len()
    }

    pub(super) fn read(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = from.checked_add(buf.len()).and_then(|to| self.live.get(from..to));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) {
        if !bytes.is_empty() {
            put(&mut self.live, bytes, at);
            self.pending.push(Op::Write { at, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        resize(&mut self.live, len);
        self.pending.push(Op::SetLen(len));
    }

    pub(super) fn flip(&mut self, at: u64, mask: u8) {
        for bytes in [&mut self.live, &mut self.durable] {
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
                *byte ^= mask;
            }
        }
    }

    pub(super) fn sync(&mut self) {
        for op in self.pending.drain(..) {
            match op {
                Op::Write { at, bytes } => put(&mut self.durable, &bytes, at),
                Op::SetLen(len) => resize(&mut self.durable, len),
            }
        }
    }

    /// Some of it reached the disk; the rest is forgotten as clean, though reads still see it.
    pub(super) fn sync_in_part(&mut self, rng: &mut SimRng) {
        self.apply_some(Loss::AnySector, rng, &Coverage::default());
    }

    pub(super) fn crash(&mut self, loss: Loss, rng: &mut SimRng, coverage: &Coverage) {
        self.apply_some(loss, rng, coverage);
        self.live.clone_from(&self.durable);
    }

    fn apply_some(&mut self, loss: Loss, rng: &mut SimRng, coverage: &Coverage) {
        // One draw decides how much survives, so that both extremes are common.
        let mut luck = Luck { loss, odds: rng.range(1..8), prefix: 0 };
        let sectors = self.pending.iter().map(Op::sectors).sum::<u64>();
        luck.prefix = if sectors > 0 { rng.range(0..sectors + 1) } else { 0 };
        for op in std::mem::take(&mut self.pending) {
            match op {
                Op::SetLen(len) if luck.survives(rng) => resize(&mut self.durable, len),
                Op::SetLen(_) => coverage.hit("disk.resize_lost"),
                Op::Write { at, bytes } => {
                    for (from, to) in sectors_of(at, bytes.len() as u64) {
                        let piece = &bytes[(from - at) as usize..(to - at) as usize];
                        if luck.survives(rng) {
                            put(&mut self.durable, piece, from);
                        } else if loss != Loss::Everything && rng.one_in(16) {
                            // The power went while this sector was written.
                            coverage.hit("disk.sector_torn");
                            put(&mut self.durable, &piece[..rng.below(piece.len())], from);
                        } else {
                            coverage.hit("disk.sector_lost");
                        }
                    }
                }
            }
        }
    }
}

impl Op {
    fn sectors(&self) -> u64 {
        match self {
            Op::Write { at, bytes } => sectors_of(*at, bytes.len() as u64).count() as u64,
            Op::SetLen(_) => 1,
        }
    }
}

struct Luck {
    loss: Loss,
    odds: u64,
    prefix: u64,
}

impl Luck {
    fn survives(&mut self, rng: &mut SimRng) -> bool {
        match self.loss {
            Loss::Nothing => true,
            Loss::Everything => false,
            Loss::AnySector => rng.range(0..8) < self.odds,
            Loss::Tail => {
                let survives = self.prefix > 0;
                self.prefix = self.prefix.saturating_sub(1);
                survives
            }
        }
    }
}

/// The pieces of a write, cut where sectors end.
fn sectors_of(at: u64, len: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = at + len;
    let first = at / SECTOR;
    let last = end.div_ceil(SECTOR);
    (first..last).map(move |sector| ((sector * SECTOR).max(at), ((sector + 1) * SECTOR).min(end)))
}

fn put(file: &mut Vec<u8>, bytes: &[u8], at: u64) {
    if bytes.is_empty() {
        return;
    }
    let at = at as usize;
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

fn resize(file: &mut Vec<u8>, len: u64) {
    file.resize(len as usize, 0);
}
