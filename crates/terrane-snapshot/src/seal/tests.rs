use proptest::prelude::*;

use super::*;

fn account(n: u8) -> AccountId {
    AccountId::parse(&format!("{n:012}")).unwrap()
}

fn key() -> ChunkKey {
    ChunkKey::new(3, Zeroizing::new([7; 32]))
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    let owner = account(1);
    seal(&key(), [9; 12], Context { account: &owner, kind: Kind::Pack, hash: ChunkHash::of(plain) }, plain)
}

fn open(bytes: &[u8], plain: &[u8]) -> Result<Bytes> {
    let owner = account(1);
    let context = Context { account: &owner, kind: Kind::Pack, hash: ChunkHash::of(plain) };
    Sealed::parse(&"x", bytes)?.open(&"x", &key(), context)
}

/// Checked against Python's `cryptography` (AESGCM).
#[test]
fn the_bytes_are_pinned() {
    let bytes = sealed(b"chunk");
    assert_eq!(hex::encode(&bytes), PINNED);
    assert_eq!(open(&bytes, b"chunk").unwrap(), &b"chunk"[..]);
}

const PINNED: &str =
    "010000000000030000000509090909090909090909090944edf1fad5a639b3c3f93525f9098720531669f448";

#[test]
fn compression_is_used_when_it_helps() {
    let text = b"the same again and again ".repeat(1000);
    let bytes = sealed(&text);
    assert!(bytes.len() < text.len() / 10);
    assert_eq!(Sealed::parse(&"x", &bytes).unwrap().codec, Codec::Zstd);
    let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().into_iter_bytes(4096);
    let bytes = sealed(&noise);
    assert_eq!(bytes.len(), noise.len() + SEAL_BYTES);
    assert_eq!(Sealed::parse(&"x", &bytes).unwrap().codec, Codec::Raw);
    assert_eq!(open(&bytes, &noise).unwrap(), noise);
}

trait Noise {
    fn into_iter_bytes(self, len: usize) -> Vec<u8>;
}

impl Noise for blake3::OutputReader {
    fn into_iter_bytes(mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.fill(&mut out);
        out
    }
}

#[test]
fn it_opens_only_as_what_it_is() {
    let bytes = sealed(b"chunk");
    let parsed = Sealed::parse(&"x", &bytes).unwrap();
    let (owner, other) = (account(1), account(2));
    let hash = ChunkHash::of(b"chunk");
    let right = Context { account: &owner, kind: Kind::Pack, hash };
    let wrong = [
        Context { account: &other, ..right },
        Context { kind: Kind::Segment, ..right },
        Context { hash: ChunkHash::of(b"other"), ..right },
    ];
    assert!(parsed.open(&"x", &key(), right).is_ok());
    for context in wrong {
        assert!(parsed.open(&"x", &key(), context).unwrap_err().is_corrupt());
    }
    let foreign = ChunkKey::new(3, Zeroizing::new([8; 32]));
    assert!(parsed.open(&"x", &foreign, right).is_err());
    assert_eq!(format!("{:?}", key()), "ChunkKey(3, …)");
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let mut bytes = sealed(b"chunk");
    bytes[0] = 2;
    assert!(matches!(open(&bytes, b"chunk"), Err(SnapshotError::NewerFormat { found: 2, .. })));
}

proptest! {
    #[test]
    fn what_was_sealed_opens_and_no_flipped_bit_does(
        plain in prop::collection::vec(any::<u8>(), 0..2000),
        repeated in 1usize..4,
        at: prop::sample::Index,
        bit in 0u8..8,
        cut: prop::sample::Index,
    ) {
        let plain = plain.repeat(repeated);
        let mut bytes = sealed(&plain);
        prop_assert_eq!(open(&bytes, &plain).unwrap(), &plain);
        prop_assert!(open(&bytes[..cut.index(bytes.len())], &plain).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(open(&bytes, &plain).is_err());
    }

    #[test]
    fn any_bytes_do_no_harm(bytes: Vec<u8>) {
        fuzz_open(&bytes);
    }
}
