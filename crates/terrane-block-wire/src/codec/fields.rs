//! Fields of data messages. What is read is trusted in nothing.

use super::RUNS_MAX;
use crate::data::{BLOCK, CONTENT_BYTES_MAX};
use crate::error::WireError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use terrane_block_core::message::Stamp;
use terrane_block_core::{BlockSet, Content, Digest, Extent, Generation, Incarnation, LayoutEpoch};

/// Takes a message apart.
pub(super) struct Fields {
    what: &'static str,
    rest: Bytes,
}

macro_rules! number {
    ($name:ident, $try:ident) => {
        pub(super) fn $name(&mut self) -> Result<$name, WireError> {
            self.rest.$try().map_err(|_| self.short())
        }
    };
}

impl Fields {
    pub(super) fn new(what: &'static str, rest: Bytes) -> Self {
        Self { what, rest }
    }

    number!(u8, try_get_u8);
    number!(u32, try_get_u32_le);
    number!(u64, try_get_u64_le);
    number!(u128, try_get_u128_le);

    fn short(&self) -> WireError {
        WireError::broken(self.what, "cut short")
    }

    pub(super) fn unknown(&self, field: &str, value: u8) -> WireError {
        WireError::broken(self.what, format!("{field} {value}"))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::broken(self.what, "bytes behind its end")) }
    }

    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(self.unknown("flag", value)),
        }
    }

    pub(super) fn stamp(&mut self) -> Result<Stamp, WireError> {
        Ok(Stamp {
            generation: Generation(self.u64()?),
            layout: LayoutEpoch(self.u64()?),
            from: Incarnation(self.u64()?),
            to: Incarnation(self.u64()?),
        })
    }

    /// At least one block, and none beyond the last number.
    pub(super) fn extent(&mut self) -> Result<Extent, WireError> {
        let (start, len) = (self.u64()?, self.u64()?);
        if len == 0 || start.checked_add(len).is_none() {
            return Err(WireError::broken(self.what, format!("an extent of {len} blocks at {start}")));
        }
        Ok(Extent { start, len })
    }

    /// All the rest. `blocks`: how many there must be, if that is known.
    pub(super) fn content(&mut self, blocks: Option<u64>) -> Result<Content<Bytes>, WireError> {
        match self.u8()? {
            0 => Ok(Content::Zero),
            1 => {
                let bytes = std::mem::take(&mut self.rest);
                let found = (bytes.len() / BLOCK) as u64;
                let whole = !bytes.is_empty() && bytes.len().is_multiple_of(BLOCK);
                if !whole || bytes.len() > CONTENT_BYTES_MAX || blocks.is_some_and(|blocks| blocks != found) {
                    let found = format!("{} bytes for {blocks:?} blocks", bytes.len());
                    return Err(WireError::broken(self.what, found));
                }
                Ok(Content::Data(bytes))
            }
            value => Err(self.unknown("content", value)),
        }
    }

    /// A set of numbers.
    pub(super) fn set(&mut self) -> Result<BlockSet, WireError> {
        let count = self.u32()? as usize;
        if count > RUNS_MAX || count * 16 > self.rest.len() {
            return Err(WireError::broken("list of runs", "too long"));
        }
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            runs.push((self.u64()?, self.u64()?));
        }
        BlockSet::try_from(runs).map_err(|error| WireError::broken("list of runs", error.to_string()))
    }

    /// One for each block; they come last.
    pub(super) fn digests(&mut self) -> Result<Vec<Digest>, WireError> {
        let mut digests = Vec::with_capacity(self.rest.len() / 16);
        while !self.rest.is_empty() {
            digests.push(Digest(self.u128()?));
        }
        Ok(digests)
    }
}

pub(super) fn put_stamp(stamp: &Stamp, out: &mut BytesMut) {
    for field in [stamp.generation.0, stamp.layout.0, stamp.from.0, stamp.to.0] {
        out.put_u64_le(field);
    }
}

pub(super) fn put_extent(extent: &Extent, out: &mut BytesMut) {
    out.put_u64_le(extent.start);
    out.put_u64_le(extent.len);
}

/// Content comes last.
pub(super) fn put_content(content: &Content<Bytes>, out: &mut BytesMut) -> Bytes {
    match content {
        Content::Zero => {
            out.put_u8(0);
            Bytes::new()
        }
        Content::Data(bytes) => {
            out.put_u8(1);
            bytes.clone()
        }
    }
}

/// A set of numbers. All sets that are sent name what *may* differ or must *not* be retired: more than needed costs
/// time, less would be wrong. So one of too many runs is coarsened.
pub(super) fn put_set(set: &BlockSet, out: &mut BytesMut) {
    let coarse = (set.run_count() > RUNS_MAX).then(|| {
        let mut coarse = set.clone();
        coarse.coarsen(RUNS_MAX);
        coarse
    });
    let set = coarse.as_ref().unwrap_or(set);
    out.put_u32_le(set.run_count() as u32);
    set.runs().for_each(|run| put_extent(&run, out));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_runs_become_fewer_and_miss_nothing() {
        let set: BlockSet = (0..RUNS_MAX as u64 + 5).map(|n| n * 3).collect();
        let mut out = BytesMut::new();
        put_set(&set, &mut out);
        let mut fields = Fields::new("test", out.freeze());
        let read = fields.set().unwrap();
        fields.end().unwrap();
        assert!(set.runs().all(|run| read.contains_range(run.range())) && read.run_count() <= RUNS_MAX);
    }
}
