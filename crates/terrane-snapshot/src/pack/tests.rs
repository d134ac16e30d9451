use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

fn account() -> AccountId {
    AccountId::parse("000000000001").unwrap()
}

fn key() -> ChunkKey {
    ChunkKey::new(3, Zeroizing::new([7; 32]))
}

fn pack(chunks: &[&[u8]]) -> (Vec<u8>, Vec<PackEntry>) {
    let mut pack = PackBuilder::new();
    for chunk in chunks {
        let entry = pack.add(ChunkHash::of(chunk), chunk);
        assert_eq!(usize::try_from(entry.len).unwrap(), chunk.len());
    }
    pack.finish(&key(), [9; 12], &account())
}

#[test]
fn head_and_tail_are_pinned() {
    let (bytes, entries) = pack(&[b"sealed"]);
    assert_eq!(&bytes[..14], b"\x01TRNPACKsealed");
    assert_eq!((entries[0].offset, entries[0].len), (8, 6));
    let plain = [&[1, 1][..], &ChunkHash::of(b"sealed").0, &[8, 6]].concat();
    let tail = &bytes[bytes.len() - 36..];
    assert_eq!(tail[..32], ChunkHash::of(&plain).0);
    assert_eq!(tail[32..], u32::try_from(plain.len() + crate::seal::SEAL_BYTES).unwrap().to_be_bytes());
    assert_eq!(index_key("p", &bytes).unwrap(), 3);
    assert_eq!(index("p", &bytes, &key(), &account()).unwrap(), entries);
}

#[test]
fn a_newer_pack_is_told_apart() {
    let (mut bytes, _) = pack(&[b"sealed"]);
    bytes[0] = 2;
    assert!(matches!(index_key("p", &bytes), Err(SnapshotError::NewerFormat { found: 2, .. })));
}

#[test]
fn a_pack_is_full_before_it_is_too_long() {
    let mut pack = PackBuilder::new();
    let chunk = vec![1; CHUNK_BYTES + crate::seal::SEAL_BYTES];
    while !pack.is_full(usize::MAX) {
        pack.add(ChunkHash([0; 32]), &chunk);
    }
    let (bytes, _) = pack.finish(&key(), [9; 12], &account());
    assert!(bytes.len() > PACK_BYTES_MAX - 3 * CHUNK_BYTES - ROOM_BYTES && bytes.len() <= PACK_BYTES_MAX);
}

proptest! {
    /// A changed index is noticed; changed chunks are noticed where they are opened.
    #[test]
    fn no_changed_or_cut_index_is_believed(at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index) {
        let (bytes, entries) = pack(&[b"one", b"two"]);
        let cut = index("p", &bytes[..cut.index(bytes.len())], &key(), &account());
        prop_assert!(cut.is_err());
        let mut changed = bytes.clone();
        let at = at.index(bytes.len());
        changed[at] ^= 1 << bit;
        match index("p", &changed, &key(), &account()) {
            Ok(found) => {
                prop_assert_eq!(found, entries);
                prop_assert!((8..14).contains(&at), "only a chunk's bytes may differ unnoticed, not {}", at);
            }
            Err(error) => {
                let typed = matches!(error, SnapshotError::Corrupt { .. } | SnapshotError::NewerFormat { .. });
                prop_assert!(typed);
            }
        }
    }

    #[test]
    fn any_bytes_do_no_harm(bytes: Vec<u8>) {
        fuzz_decode(&bytes);
        fuzz_decode(&[&MAGIC[..], &bytes].concat());
    }
}
