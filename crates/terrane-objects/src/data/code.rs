//! Blocks to pieces and back.

use bytes::{Bytes, BytesMut};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use super::format::{self, BLOCK_BYTES, CRC_BYTES};
use crate::redundancy::Redundancy;

/// Gathers payload and makes it the bytes that follow each other in a segment's files.
///
/// A mirror's copies are the same bytes, which are gathered once: there are as many *streams* as files that differ.
pub(super) struct Framer {
    segment: u64,
    redundancy: Redundancy,
    streams: Vec<BytesMut>,
    /// Payload of the open block, where blocks are cut in pieces; else it is at the stream's end.
    block: BytesMut,
    /// Payload bytes of the open block.
    open: usize,
    encoder: Option<ReedSolomonEncoder>,
}

/// Streams of a layout.
pub(super) fn streams(redundancy: Redundancy) -> usize {
    if redundancy.is_copies() { 1 } else { redundancy.shards() }
}

/// The stream of one shard.
pub(super) fn stream_of(redundancy: Redundancy, shard: usize) -> usize {
    if redundancy.is_copies() { 0 } else { shard }
}

impl Framer {
    pub(super) fn new(segment: u64, redundancy: Redundancy, capacity: usize) -> Self {
        let each = capacity / redundancy.data_shards();
        Self {
            segment,
            redundancy,
            streams: (0..streams(redundancy)).map(|_| BytesMut::with_capacity(each)).collect(),
            block: BytesMut::new(),
            open: 0,
            encoder: None,
        }
    }

    /// Payload that the open block still takes.
    pub(super) fn room(&self) -> usize {
        BLOCK_BYTES as usize - self.open
    }

    /// Whether the open block has no payload.
    pub(super) fn is_sealed(&self) -> bool {
        self.open == 0
    }

    /// Bytes gathered for each file.
    pub(super) fn len(&self) -> usize {
        self.streams[0].len()
    }

    /// Appends to the open block, which has the room.
    pub(super) fn push(&mut self, payload: &[u8]) {
        let target = if self.redundancy.is_copies() { &mut self.streams[0] } else { &mut self.block };
        target.extend_from_slice(payload);
        self.open += payload.len();
    }

    /// Ends the open block, whose pieces lie at `offset`.
    pub(super) fn seal(&mut self, offset: u64, whole: &mut crc_fast::Digest) {
        if self.redundancy.is_copies() {
            let start = self.streams[0].len() - self.open;
            whole.update(&self.streams[0][start..]);
            let crc = format::crc32c(&self.streams[0][start..]);
            let sealed = format::seal(self.segment, offset, 0, crc);
            self.streams[0].extend_from_slice(&sealed.to_le_bytes());
        } else {
            whole.update(&self.block);
            let block = std::mem::take(&mut self.block);
            let Self { streams, encoder, redundancy, segment, .. } = self;
            split(*redundancy, encoder, &block, |stream, piece| {
                streams[stream].extend_from_slice(piece);
                let sealed = format::seal(*segment, offset, stream, format::crc32c(piece));
                streams[stream].extend_from_slice(&sealed.to_le_bytes());
            });
            self.block = block;
            self.block.clear();
        }
        self.open = 0;
    }

    /// What was gathered, for each stream.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        let capacity = |stream: &BytesMut| BytesMut::with_capacity(stream.capacity());
        self.streams.iter_mut().map(|s| std::mem::replace(s, capacity(s)).freeze()).collect()
    }
}

/// Cuts a block in pieces and computes their parity.
fn split(
    redundancy: Redundancy,
    encoder: &mut Option<ReedSolomonEncoder>,
    block: &[u8],
    mut emit: impl FnMut(usize, &[u8]),
) {
    let (data, spare) = (redundancy.data_shards(), redundancy.spare_shards());
    let len = format::piece_len(redundancy, block.len() as u64) as usize;
    const WHY: &str = "at most 24 shards of an even, positive length";
    let encoder = match encoder {
        Some(encoder) => {
            encoder.reset(data, spare, len).expect(WHY);
            encoder
        }
        None => encoder.insert(ReedSolomonEncoder::new(data, spare, len).expect(WHY)),
    };
    let mut padded = Vec::new();
    for shard in 0..data {
        let piece = block.get(shard * len..).unwrap_or_default();
        let piece = if let Some(piece) = piece.get(..len) {
            piece
        } else {
            padded.clear();
            padded.extend_from_slice(piece);
            padded.resize(len, 0);
            &padded
        };
        emit(shard, piece);
        encoder.add_original_shard(piece).expect(WHY);
    }
    let parity = encoder.encode().expect("every data shard was added");
    for (shard, piece) in parity.recovery_iter().enumerate() {
        emit(data + shard, piece);
    }
}

/// The frames, piece and checksum, of a block for each stream.
pub(super) fn frames(segment: u64, redundancy: Redundancy, offset: u64, block: &[u8]) -> Vec<Bytes> {
    let mut framer = Framer::new(segment, redundancy, block.len() + CRC_BYTES as usize);
    framer.push(block);
    framer.seal(offset, &mut crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi));
    framer.take()
}

/// The pieces of one block as far as they are intact, by shard.
#[derive(Clone)]
pub(super) struct Pieces(pub(super) Vec<Option<Bytes>>);

impl Pieces {
    pub(super) fn none(redundancy: Redundancy) -> Self {
        Self(vec![None; redundancy.shards()])
    }

    /// Whether the block can be had from them.
    pub(super) fn suffice(&self, redundancy: Redundancy) -> bool {
        self.0.iter().filter(|piece| piece.is_some()).count() >= redundancy.data_shards()
    }

    /// The block of so many bytes, if enough pieces are there.
    pub(super) fn join(&self, redundancy: Redundancy, len: usize) -> Option<Bytes> {
        if redundancy.is_copies() {
            return self.0.iter().flatten().next().cloned();
        }
        let data = redundancy.data_shards();
        let (originals, parity) = self.0.split_at(data.min(self.0.len()));
        let mut block = BytesMut::with_capacity(len + 2 * data);
        if originals.iter().all(Option::is_some) {
            originals.iter().flatten().for_each(|piece| block.extend_from_slice(piece));
        } else {
            let piece = format::piece_len(redundancy, len as u64) as usize;
            let mut decoder = ReedSolomonDecoder::new(data, redundancy.spare_shards(), piece).ok()?;
            for (shard, piece) in originals.iter().enumerate() {
                piece.iter().try_for_each(|piece| decoder.add_original_shard(shard, piece)).ok()?;
            }
            for (shard, piece) in parity.iter().enumerate() {
                piece.iter().try_for_each(|piece| decoder.add_recovery_shard(shard, piece)).ok()?;
            }
            let restored = decoder.decode().ok()?;
            for (shard, piece) in originals.iter().enumerate() {
                block.extend_from_slice(piece.as_deref().or_else(|| restored.restored_original(shard))?);
            }
        }
        block.truncate(len);
        (block.len() == len).then(|| block.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_redundancy() -> impl Strategy<Value = Redundancy> {
        prop_oneof![
            (0u8..8).prop_map(|spare| Redundancy::new(1, spare).unwrap()),
            (2u8..=16, 1u8..=8).prop_map(|(data, spare)| Redundancy::new(data, spare).unwrap()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Any `data` pieces of a block give it back; fewer do not.
        #[test]
        fn any_sufficient_pieces_give_the_block_back(
            redundancy in any_redundancy(),
            block in prop::collection::vec(any::<u8>(), 1..5_000),
            order in prop::collection::vec(any::<u16>(), 32),
        ) {
            let frames = frames(7, redundancy, 24, &block);
            let len = format::piece_len(redundancy, block.len() as u64) as usize;
            let mut shards: Vec<usize> = (0..redundancy.shards()).collect();
            shards.sort_by_key(|shard| order[*shard]);
            let mut pieces = Pieces::none(redundancy);
            for (had, shard) in shards.into_iter().take(redundancy.data_shards()).enumerate() {
                prop_assert_eq!(pieces.suffice(redundancy), had >= redundancy.data_shards());
                let frame = &frames[stream_of(redundancy, shard)];
                prop_assert_eq!(frame.len(), len + 4);
                pieces.0[shard] = Some(frame.slice(..len));
            }
            prop_assert!(pieces.suffice(redundancy));
            prop_assert_eq!(pieces.join(redundancy, block.len()), Some(Bytes::from(block)));
        }

        /// Gathering in any portions makes the same streams as framing block by block.
        #[test]
        fn streams_are_frames_in_a_row(
            redundancy in any_redundancy(),
            body in prop::collection::vec(any::<u8>(), 1..200_000),
            portion in 1usize..100_000,
        ) {
            let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
            let mut framer = Framer::new(9, redundancy, 1 << 20);
            let mut expected = vec![Vec::new(); streams(redundancy)];
            for (index, block) in body.chunks(BLOCK_BYTES as usize).enumerate() {
                let offset = 24 + format::block_offset(redundancy, index as u64);
                block.chunks(portion).for_each(|payload| framer.push(payload));
                framer.seal(offset, &mut digest);
                let frames = frames(9, redundancy, offset, block);
                expected.iter_mut().zip(frames).for_each(|(all, frame)| all.extend_from_slice(&frame));
            }
            prop_assert_eq!(digest.finalize() as u32, format::crc32c(&body));
            let streams: Vec<Vec<u8>> = framer.take().into_iter().map(Vec::from).collect();
            prop_assert_eq!(expected[0].len() as u64, format::framed_len(redundancy, body.len() as u64));
            prop_assert_eq!(streams, expected);
        }
    }
}
