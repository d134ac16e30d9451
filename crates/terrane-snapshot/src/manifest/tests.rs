use proptest::prelude::*;

use super::*;
use crate::CaptureId;

fn name(kind: Kind, n: u32) -> ObjectName {
    ObjectName { kind, capture: CaptureId { number: 1, nonce: 2 }, n }
}

fn chunk(pack: u32, hash: u8) -> ChunkRef {
    ChunkRef { pack: name(Kind::Pack, pack), offset: 8, len: 300, hash: ChunkHash([hash; 32]) }
}

#[test]
fn the_bytes_are_pinned() {
    let segment = ObjectRef { name: name(Kind::Segment, 5), len: 300, hash: ChunkHash([4; 32]) };
    let manifest = Manifest { chunks: 2000, segments: BTreeMap::from([(1, segment)]) };
    let head = [1, 0xd0, 0x0f, 1, 1, 1, 1, 2, 5, 0xac, 2];
    assert_eq!(manifest.encode(), [&head[..], &[4; 32]].concat());
    assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);

    let segment = Segment { chunks: BTreeMap::from([(3, chunk(7, 9))]) };
    let bytes = [&[1, 1, 0, 1, 2, 7, 1, 3, 0, 8, 0xac, 2][..], &[9; 32]].concat();
    assert_eq!(segment.encode(), bytes);
    assert_eq!(Segment::decode(&bytes).unwrap(), segment);
}

#[test]
fn what_cannot_be_is_refused() {
    let reference = |kind| ObjectRef { name: name(kind, 5), len: 1, hash: ChunkHash([4; 32]) };
    let beyond = Manifest { chunks: 1024, segments: BTreeMap::from([(1, reference(Kind::Segment))]) };
    assert!(Manifest::decode(&beyond.encode()).is_err());
    let pack = Manifest { chunks: 1024, segments: BTreeMap::from([(0, reference(Kind::Pack))]) };
    assert!(Manifest::decode(&pack.encode()).is_err());
    assert!(Manifest::decode(&[]).is_err());
    assert!(matches!(Manifest::decode(&[2]), Err(SnapshotError::NewerFormat { .. })));
    assert!(Manifest::empty(CHUNKS_MAX + 1).is_err());
    assert!(Manifest::empty(10).unwrap().locate(10).is_err());
    let wrong = [
        ChunkRef { len: 1, ..chunk(1, 1) },
        ChunkRef { offset: u32::MAX, ..chunk(1, 1) },
        ChunkRef { pack: name(Kind::Segment, 1), ..chunk(1, 1) },
    ];
    for chunk in wrong {
        let segment = Segment { chunks: BTreeMap::from([(3, chunk)]) };
        assert!(Segment::decode(&segment.encode()).is_err());
    }
    let far = Segment { chunks: BTreeMap::from([(1024, chunk(1, 1))]) };
    assert!(Segment::decode(&far.encode()).is_err());
}

#[test]
fn the_largest_volume_has_a_manifest_that_can_be_sealed() {
    let segment = |n| ObjectRef {
        name: ObjectName { kind: Kind::Segment, capture: CaptureId { number: u64::MAX, nonce: u64::MAX }, n },
        len: u32::MAX,
        hash: ChunkHash([255; 32]),
    };
    let segments = u32::try_from(CHUNKS_MAX / SEGMENT_CHUNKS).unwrap();
    let all = (0..segments).map(|n| (n, segment(u32::MAX - n))).collect();
    let bytes = Manifest { chunks: CHUNKS_MAX, segments: all }.encode();
    assert!(bytes.len() <= crate::seal::PLAIN_BYTES_MAX, "{}", bytes.len());
}

proptest! {
    #[test]
    fn segments_round_trip(slots in prop::collection::btree_map(0u16..1024, (0u32..5, any::<u8>()), 0..50)) {
        let chunks = slots.into_iter().map(|(slot, (pack, hash))| (slot, chunk(pack, hash))).collect();
        let segment = Segment { chunks };
        prop_assert_eq!(Segment::decode(&segment.encode()).unwrap(), segment);
    }

    #[test]
    fn any_bytes_decode_or_not(mut bytes: Vec<u8>) {
        let _ = (Manifest::decode(&bytes), Segment::decode(&bytes));
        bytes.insert(0, VERSION);
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        }
        if let Ok(segment) = Segment::decode(&bytes) {
            prop_assert_eq!(Segment::decode(&segment.encode()).unwrap(), segment);
        }
    }

    #[test]
    fn mutated_manifests_decode_or_not(at: prop::sample::Index, byte: u8) {
        let segment = Segment { chunks: (0..20).map(|n| (n, chunk(u32::from(n) / 7, 9))).collect() };
        let mut bytes = segment.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Segment::decode(&bytes);
    }
}
