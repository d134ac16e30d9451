//! One ciphertext: `version | key reference | nonce | AES-256-GCM ciphertext and tag`.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use rand::Rng as _;
use zeroize::Zeroizing;

/// The form that is written.
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// 256 bits that encrypt. Wiped when dropped.
#[derive(Clone)]
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    pub(super) fn random() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(&mut *key);
        Self(key)
    }

    pub(super) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.0).into())
    }

    /// Encrypts. `reference` says which key this is and stands in the clear; it and `context` must be the
    /// same to decrypt.
    pub(super) fn seal<const N: usize>(
        &self,
        reference: [u8; N],
        context: &[&[u8]],
        secret: &[u8],
    ) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        self.seal_with(nonce, reference, context, secret)
    }

    fn seal_with<const N: usize>(
        &self,
        nonce: [u8; NONCE_BYTES],
        reference: [u8; N],
        context: &[&[u8]],
        secret: &[u8],
    ) -> Vec<u8> {
        let aad = associated_data(&reference, context);
        let sealed = self
            .cipher()
            .encrypt(&Nonce::from(nonce), Payload { msg: secret, aad: &aad })
            .expect("AES-GCM encrypts anything shorter than 64 GiB");
        let mut out = Vec::with_capacity(1 + N + NONCE_BYTES + sealed.len());
        out.push(VERSION);
        out.extend_from_slice(&reference);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Decrypts. `None`: another key, another context, or damaged.
    pub(super) fn open<const N: usize>(
        &self,
        envelope: &Envelope<'_, N>,
        context: &[&[u8]],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let aad = associated_data(&envelope.reference, context);
        let payload = Payload { msg: envelope.sealed, aad: &aad };
        self.cipher().decrypt(&Nonce::from(envelope.nonce), payload).ok().map(Zeroizing::new)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A ciphertext taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a, const N: usize> {
    pub(super) reference: [u8; N],
    nonce: [u8; NONCE_BYTES],
    sealed: &'a [u8],
}

impl<'a, const N: usize> Envelope<'a, N> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (reference, rest) = rest.split_first_chunk::<N>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        (*version == VERSION && sealed.len() >= TAG_BYTES).then_some(Self {
            reference: *reference,
            nonce: *nonce,
            sealed,
        })
    }
}

/// Version, reference and context, each of the context's parts behind its length, so that no two contexts
/// have the same bytes.
fn associated_data(reference: &[u8], context: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(reference);
    for part in context {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixed() -> Key {
        Key::from_bytes(Zeroizing::new([7; 32]))
    }

    /// Checked against Python's `cryptography` (AESGCM).
    #[test]
    fn the_bytes_are_pinned() {
        let sealed = fixed().seal_with([9; 12], 3u32.to_be_bytes(), &[b"000000000001", b"test"], b"secret");
        assert_eq!(hex::encode(&sealed), PINNED);
        let envelope = Envelope::<4>::parse(&sealed).unwrap();
        assert_eq!(u32::from_be_bytes(envelope.reference), 3);
        assert_eq!(fixed().open(&envelope, &[b"000000000001", b"test"]).unwrap().as_slice(), b"secret");
    }

    const PINNED: &str = "010000000309090909090909090909090954e0e7e6db84b67e6fdce353e2f30f86df3ab9161aaa";

    #[test]
    fn another_key_or_context_does_not_open() {
        let sealed = fixed().seal([1], &[b"a", b"bc"], b"secret");
        let envelope = Envelope::<1>::parse(&sealed).unwrap();
        for context in [&[b"ab".as_slice(), b"c"][..], &[b"a", b"bd"], &[b"abc"], &[]] {
            assert!(fixed().open(&envelope, context).is_none());
        }
        assert!(Key::random().open(&envelope, &[b"a", b"bc"]).is_none());
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_noticed(secret: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut sealed = fixed().seal([1, 2], &[b"a"], &secret);
            let opened = fixed().open(&Envelope::<2>::parse(&sealed).unwrap(), &[b"a"]).unwrap();
            prop_assert_eq!(&*opened, &secret);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            let opened = Envelope::<2>::parse(&sealed).and_then(|e| fixed().open(&e, &[b"a"]));
            prop_assert!(opened.is_none());
        }

        #[test]
        fn random_bytes_do_no_harm(bytes: Vec<u8>) {
            if let Some(envelope) = Envelope::<4>::parse(&bytes) {
                prop_assert!(fixed().open(&envelope, &[]).is_none());
            }
        }
    }
}
