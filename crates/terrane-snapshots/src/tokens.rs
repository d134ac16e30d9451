//! Tokens of blocks and of pages: what they are for, when they expire, and a keyed BLAKE3 hash over both. They hold no
//! secret and cannot be made or altered without the installation's key.
//!
//! ```text
//! base64( version u8 = 1 | expires u64 (s since 1970) | place u64 | hash [32] )
//! ```
//! `place` is the next block of a page and 0 of a block's token. The hash covers the kind of token, everything before
//! it, and what it is bound to: snapshot and block, or the listing's snapshots.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use terrane_types::SnapshotId;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const HASH_BYTES: usize = 32;
const TOKEN_BYTES: usize = 1 + 8 + 8 + HASH_BYTES;

/// Makes and checks tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    key: Zeroizing<[u8; 32]>,
}

/// What a token is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// A block of a snapshot.
    Block(&'a SnapshotId, u64),
    /// A listing of a snapshot's blocks.
    List(&'a SnapshotId),
    /// A listing of two snapshots' differences.
    Changes(&'a SnapshotId, &'a SnapshotId),
}

impl Tokens {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key }
    }

    fn hash(&self, subject: Subject<'_>, head: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let (kind, ids, block): (u8, [Option<&SnapshotId>; 2], u64) = match subject {
            Subject::Block(id, block) => (0, [Some(id), None], block),
            Subject::List(id) => (1, [Some(id), None], 0),
            Subject::Changes(first, second) => (2, [Some(first), Some(second)], 0),
        };
        hasher.update(&[kind]);
        hasher.update(&block.to_be_bytes());
        for id in ids.into_iter().flatten() {
            hasher.update(&(id.as_str().len() as u64).to_be_bytes());
            hasher.update(id.as_str().as_bytes());
        }
        hasher.update(head);
        hasher.finalize()
    }

    /// A token that is good until `expires` (seconds since 1970).
    pub(crate) fn make(&self, subject: Subject<'_>, expires: u64, place: u64) -> String {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.push(VERSION);
        bytes.extend(expires.to_be_bytes());
        bytes.extend(place.to_be_bytes());
        let hash = self.hash(subject, &bytes);
        bytes.extend(hash.as_bytes());
        STANDARD.encode(bytes)
    }

    /// The place in a token, if it is one of this subject and has not expired.
    pub(crate) fn check(&self, subject: Subject<'_>, token: &str, now: u64) -> Option<u64> {
        let bytes: [u8; TOKEN_BYTES] = STANDARD.decode(token).ok()?.try_into().ok()?;
        let (head, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
        // In constant time, as blake3::Hash compares.
        if self.hash(subject, head) != blake3::Hash::from_bytes(*hash) {
            return None;
        }
        let (version, rest) = head.split_first()?;
        let (expires, place) = rest.split_first_chunk::<8>()?;
        let place = u64::from_be_bytes(place.try_into().ok()?);
        (*version == VERSION && u64::from_be_bytes(*expires) > now).then_some(place)
    }
}

/// Checks whatever text is as a token; for fuzzing.
pub fn fuzz_decode(bytes: &[u8]) {
    let tokens = Tokens::new(Zeroizing::new([7; 32]));
    let id = SnapshotId::from_bits(1);
    let text = String::from_utf8_lossy(bytes);
    for subject in [Subject::Block(&id, 1), Subject::List(&id), Subject::Changes(&id, &id)] {
        assert_eq!(tokens.check(subject, &text, 0), None, "nobody guesses a hash");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(Zeroizing::new([1; 32]))
    }

    #[test]
    fn the_form_is_pinned() {
        let token = tokens().make(Subject::Block(&SnapshotId::from_bits(1), 2), 3, 0);
        // Version, expiry, place; 17 bytes are 22 characters and a part of the next one.
        assert!(token.starts_with("AQAAAAAAAAADAAAAAAAAAA"), "{token}");
        assert_eq!(token.len(), 68);
    }

    #[test]
    fn a_token_is_good_for_one_thing_and_a_time() {
        let (one, two) = (SnapshotId::from_bits(1), SnapshotId::from_bits(2));
        let tokens = tokens();
        let subjects = [
            Subject::Block(&one, 0),
            Subject::Block(&one, 1),
            Subject::Block(&two, 0),
            Subject::List(&one),
            Subject::List(&two),
            Subject::Changes(&one, &two),
            Subject::Changes(&two, &one),
        ];
        for (i, made) in subjects.iter().enumerate() {
            let token = tokens.make(*made, 100, 9);
            for (j, asked) in subjects.iter().enumerate() {
                assert_eq!(tokens.check(*asked, &token, 99), (i == j).then_some(9), "{made:?} {asked:?}");
            }
            assert_eq!(tokens.check(*made, &token, 100), None, "it has expired");
            let other = Tokens::new(Zeroizing::new([2; 32]));
            assert_eq!(other.check(*made, &token, 99), None, "another installation's");
        }
    }

    proptest! {
        #[test]
        fn what_was_altered_is_refused(at in 0usize..TOKEN_BYTES, flip in 1u8..) {
            let id = SnapshotId::from_bits(1);
            let token = tokens().make(Subject::List(&id), 100, 9);
            let mut bytes = STANDARD.decode(token).unwrap();
            bytes[at] ^= flip;
            prop_assert_eq!(tokens().check(Subject::List(&id), &STANDARD.encode(bytes), 0), None);
        }

        #[test]
        fn whatever_comes_is_refused(bytes: Vec<u8>) {
            fuzz_decode(&bytes);
        }
    }
}
