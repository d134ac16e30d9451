//! 128-bit fingerprints of states, and the set of those that were seen.

use std::hash::{Hash, Hasher};

/// Two independent 64-bit lanes; good enough that a collision among some million states is unheard of.
struct Fingerprint(u64, u64);

impl Fingerprint {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
        self.1 = (self.1.rotate_left(37) ^ word).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        self.1 ^= self.1 >> 31;
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }
    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word) | 1 << 60);
    }
    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word) | 1 << 61);
    }
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }
    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64 | 1 << 62);
    }
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }
}

pub(crate) fn fingerprint<T: Hash + ?Sized>(state: &T) -> u128 {
    let mut hasher = Fingerprint(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
    state.hash(&mut hasher);
    hasher.mix(0);
    hasher.mix(1);
    (u128::from(hasher.0) << 64 | u128::from(hasher.1)).max(1)
}

/// An open-addressing table of fingerprints: 16 bytes each, nothing else.
pub(crate) struct Visited {
    slots: Vec<u128>,
    count: usize,
}

impl Visited {
    pub(crate) fn new() -> Self {
        Self { slots: vec![0; 1 << 16], count: 0 }
    }

    /// Whether it is new.
    pub(crate) fn insert(&mut self, fingerprint: u128) -> bool {
        if self.count * 4 > self.slots.len() * 3 {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![0; old.len() * 2];
            for fingerprint in old.into_iter().filter(|slot| *slot != 0) {
                self.place(fingerprint);
            }
        }
        let new = self.place(fingerprint);
        self.count += usize::from(new);
        new
    }

    fn place(&mut self, fingerprint: u128) -> bool {
        let mask = self.slots.len() - 1;
        let mut at = fingerprint as usize & mask;
        while self.slots[at] != 0 {
            if self.slots[at] == fingerprint {
                return false;
            }
            at = (at + 1) & mask;
        }
        self.slots[at] = fingerprint;
        true
    }
}
