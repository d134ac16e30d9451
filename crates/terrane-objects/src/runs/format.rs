//! Encoding of the parts of a run. Everything read is distrusted.

use bytes::{Buf, Bytes};

use crate::data::crc32c;

pub(super) const HEADER_BYTES: u64 = 16;
pub(super) const FOOTER_BYTES: u64 = 48;
const MAGIC: [u8; 4] = *b"TRRN";
const VERSION: u8 = 1;

pub(super) fn header(id: u64) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    bytes[8..].copy_from_slice(&id.to_le_bytes());
    bytes
}

/// The checksum of a block: bound to its run and place.
pub(super) fn block_crc(bytes: &[u8], id: u64, offset: u64) -> u32 {
    let place = (id ^ offset.rotate_left(17)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    crc32c(bytes) ^ (place >> 32) as u32
}

/// Takes the trailing checksum off, if it is right.
pub(super) fn unseal(mut bytes: Bytes, crc: impl Fn(&[u8]) -> u32) -> Option<Bytes> {
    let stored = bytes.split_off(bytes.len().checked_sub(4)?);
    (*stored == crc(&bytes).to_le_bytes()).then_some(bytes)
}

fn take(bytes: &mut Bytes, len: u64) -> Option<Bytes> {
    (len <= bytes.len() as u64).then(|| bytes.split_to(len as usize))
}

/// Sorted entries of one block.
pub(super) struct Block(Bytes);

impl Block {
    pub(super) fn decode(bytes: Bytes, id: u64, offset: u64) -> Option<Self> {
        unseal(bytes, |b| block_crc(b, id, offset)).map(Self)
    }
}

pub(super) fn encode_entry(block: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    block.extend_from_slice(&(key.len() as u32).to_le_bytes());
    block.extend_from_slice(&(value.len() as u32).to_le_bytes());
    block.extend_from_slice(key);
    block.extend_from_slice(value);
}

impl Iterator for Block {
    /// `Err`: the lengths do not fit, although the checksum did.
    type Item = Result<(Bytes, Bytes), ()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.entry().ok_or(());
        if entry.is_err() {
            self.0.clear();
        }
        Some(entry)
    }
}

impl Block {
    fn entry(&mut self) -> Option<(Bytes, Bytes)> {
        let key = self.0.try_get_u32_le().ok()?;
        let value = self.0.try_get_u32_le().ok()?;
        Some((take(&mut self.0, key.into())?, take(&mut self.0, value.into())?))
    }
}

pub(super) struct IndexEntry {
    pub(super) first_key: Bytes,
    pub(super) offset: u64,
    pub(super) len: u32,
}

pub(super) fn encode_index(index: &[IndexEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in index {
        bytes.extend_from_slice(&(entry.first_key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&entry.first_key);
        bytes.extend_from_slice(&entry.offset.to_le_bytes());
        bytes.extend_from_slice(&entry.len.to_le_bytes());
    }
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Blocks must ascend, lie one behind the other and end where the index begins.
pub(super) fn decode_index(bytes: &Bytes, index_at: u64) -> Option<Vec<IndexEntry>> {
    let mut rest = unseal(bytes.clone(), crc32c)?;
    let mut index: Vec<IndexEntry> = Vec::new();
    let mut end = HEADER_BYTES;
    while !rest.is_empty() {
        let key = rest.try_get_u32_le().ok()?;
        let first_key = take(&mut rest, key.into())?;
        let offset = rest.try_get_u64_le().ok()?;
        let len = rest.try_get_u32_le().ok()?;
        if offset != end || index.last().is_some_and(|before| before.first_key >= first_key) {
            return None;
        }
        end = offset.checked_add(len.into())?;
        index.push(IndexEntry { first_key, offset, len });
    }
    (end == index_at).then_some(index)
}

/// Where index and filter lie.
pub(super) struct Footer {
    pub(super) index: (u64, u64),
    pub(super) bloom: (u64, u64),
    pub(super) entries: u64,
}

impl Footer {
    pub(super) fn encode(&self, id: u64) -> Vec<u8> {
        let numbers = [self.index.0, self.index.1, self.bloom.0, self.bloom.1, self.entries];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        let crc = block_crc(&bytes, id, 0);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &Bytes, id: u64) -> Option<Self> {
        let mut rest = unseal(bytes.clone(), |b| block_crc(b, id, 0))?;
        let mut number = || rest.try_get_u64_le().ok();
        let footer =
            Self { index: (number()?, number()?), bloom: (number()?, number()?), entries: number()? };
        (*rest == [VERSION, 0, 0, 0]).then_some(footer)
    }

    /// Index, filter and footer lie one behind the other.
    pub(super) fn fits(&self, footer_at: u64) -> bool {
        self.index.0.checked_add(self.index.1) == Some(self.bloom.0)
            && self.bloom.0.checked_add(self.bloom.1) == Some(footer_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_pinned() {
        assert_eq!(hex::encode(header(3)), "5452524e010000000300000000000000");
        let mut block = Vec::new();
        encode_entry(&mut block, b"k", b"vv");
        assert_eq!(hex::encode(&block), "01000000020000006b7676");
        let footer = Footer { index: (16, 20), bloom: (36, 12), entries: 1 }.encode(3);
        assert_eq!(footer.len() as u64, FOOTER_BYTES);
        assert_eq!(hex::encode(&footer[40..]), "010000002df1e977");
    }
}
