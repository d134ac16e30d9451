//! What the blocks of a group were at a cut: written into the cut's file, durably, before any of them is overwritten.
//!
//! ```text
//! version u8 · cut u128 · group u64 · states, 2 bits per block · checksum of each block's data u32 · crc32c u32
//! ```
//!
//! It lies where the group's table would lie in a copy's file. All zeros: nothing of the group was overwritten.

use super::codec::{Reader, Writer};
use super::entry::{Content, State};
use super::error::EngineError;
use super::layout::Geometry;
use super::record::CutId;

const VERSION: u8 = 1;

/// Bytes of a leaf.
pub(crate) fn bytes(shape: Geometry) -> usize {
    1 + 16 + 8 + shape.blocks() / 4 + 4 * shape.blocks() + 4
}

/// Of a cut's file. `None`: there is no leaf.
pub(crate) fn decode(
    bytes: &[u8],
    cut: CutId,
    group: u64,
    shape: Geometry,
) -> Result<Option<Box<[Content]>>, EngineError> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let mut reader = Reader::sealed("a cut's group", bytes, VERSION)?;
    if (CutId(reader.u128()?), reader.u64()?) != (cut, group) {
        return Err(reader.broken("a group of another cut or place"));
    }
    let states = reader.take(shape.blocks() / 4)?;
    let state = |index: usize| states.get(index / 4).map_or(0, |byte| byte >> (2 * (index % 4)));
    let contents = (0..shape.blocks())
        .map(|index| Ok(Content { state: State::of(state(index)), sum: reader.u32()? }))
        .collect::<Result<_, EngineError>>()?;
    reader.end()?;
    Ok(Some(contents))
}

pub(crate) fn encode(cut: CutId, group: u64, contents: &[Content]) -> Vec<u8> {
    let mut out = Writer::with_version(VERSION);
    out.u128(cut.0);
    out.u64(group);
    for four in contents.chunks(4) {
        out.u8(four.iter().rev().fold(0, |bits, content| bits << 2 | content.state as u8));
    }
    contents.iter().for_each(|content| out.u32(content.sum));
    out.seal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Geometry = Geometry { group_blocks: 8 };

    fn contents() -> impl Strategy<Value = Vec<Content>> {
        let content = (0..4_u8, any::<u32>()).prop_map(|(bits, sum)| Content { state: State::of(bits), sum });
        proptest::collection::vec(content, 8)
    }

    proptest! {
        #[test]
        fn round_trips_at_its_place_only(contents in contents(), cut: u128, group: u64, at: usize, bit in 0..8_u8) {
            let cut = CutId(cut);
            let mut encoded = encode(cut, group, &contents);
            prop_assert_eq!(encoded.len(), bytes(SHAPE));
            let found = decode(&encoded, cut, group, SHAPE).unwrap().unwrap();
            prop_assert_eq!(&*found, &contents[..]);
            prop_assert!(decode(&encoded, cut, group ^ 1, SHAPE).is_err());
            prop_assert!(decode(&encoded, CutId(cut.0 ^ 1), group, SHAPE).is_err());
            let at = at % encoded.len();
            encoded[at] ^= 1 << bit;
            prop_assert!(decode(&encoded, cut, group, SHAPE).is_err());
        }

        #[test]
        fn decodes_anything(bytes: Vec<u8>) {
            let _ = decode(&bytes, CutId(1), 2, SHAPE);
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let mut contents = vec![Content::default(); 8];
        contents[1] = Content::data(0x0102_0304);
        contents[2] = Content { state: State::Zero, sum: 5 };
        contents[7] = Content::INVALID;
        let encoded: String = encode(CutId(6), 7, &contents).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(encoded, PINNED);
        assert!(bytes(Geometry::default()) <= 4 << 10, "there is room for it");
        assert!(decode(&vec![0; bytes(SHAPE)], CutId(6), 7, SHAPE).unwrap().is_none());
    }

    const PINNED: &str = concat!(
        "0106000000000000000000000000000000070000000000000018c0",
        "0000000004030201050000000000000000000000000000000000000000000000b712121f"
    );
}
