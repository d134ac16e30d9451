//! A Bloom filter over keys: no file access for most of the keys that a run lacks.

use bytes::Bytes;

use super::format::unseal;
use crate::data::crc32c;

const BITS_PER_KEY: usize = 10;
const PROBES: u64 = 6;

pub(super) struct Bloom {
    bits: Bytes,
}

/// Two hashes from one pass (FNV-1a, then a finaliser), combined as Kirsch and Mitzenmacher do.
pub(super) fn hash(key: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

fn probes(hash: u64, bits: u64) -> impl Iterator<Item = (usize, u8)> {
    let step = (hash >> 32) | 1;
    (0..PROBES).map(move |i| {
        let bit = hash.wrapping_add(i.wrapping_mul(step)) % bits;
        ((bit / 8) as usize, 1 << (bit % 8))
    })
}

impl Bloom {
    /// The encoded filter of these hashes.
    pub(super) fn encode(hashes: &[u64]) -> Vec<u8> {
        let mut bytes = vec![0u8; (hashes.len() * BITS_PER_KEY).div_ceil(8).max(8)];
        let bits = bytes.len() as u64 * 8;
        for hash in hashes {
            for (byte, mask) in probes(*hash, bits) {
                bytes[byte] |= mask;
            }
        }
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let bits = unseal(bytes.clone(), crc32c)?;
        (!bits.is_empty()).then_some(Self { bits })
    }

    pub(super) fn may_contain(&self, key: &[u8]) -> bool {
        let bits = self.bits.len() as u64 * 8;
        probes(hash(key), bits).all(|(byte, mask)| self.bits.get(byte).is_some_and(|b| b & mask != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_keys_and_few_others() {
        let key = |i: u32| format!("key-{i}").into_bytes();
        let hashes: Vec<u64> = (0..10_000).map(|i| hash(&key(i))).collect();
        let bloom = Bloom::decode(&Bloom::encode(&hashes).into()).unwrap();
        assert!((0..10_000).all(|i| bloom.may_contain(&key(i))));
        let wrong = (10_000..20_000).filter(|i| bloom.may_contain(&key(*i))).count();
        assert!(wrong < 300, "{wrong} of 10,000");
    }
}
