//! Which worker should have which routers. The proposal only says who tries; the lease's epoch decides.

use crate::{RouterId, WorkerId};

/// Number of shards.
pub const SHARDS: u16 = 256;

/// A part of the routers, leased by one worker at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// That of a router.
    #[must_use]
    pub fn of(router: RouterId) -> Self {
        Self(mix(router.0).to_be_bytes()[0])
    }

    /// Its number.
    #[must_use]
    pub fn index(self) -> u8 {
        self.0
    }

    /// Of those workers that can reach its routers, the one that should have it (rendezvous hashing: when one goes,
    /// only its shards move).
    #[must_use]
    pub fn proposed(self, workers: impl IntoIterator<Item = WorkerId>) -> Option<WorkerId> {
        workers.into_iter().max_by_key(|worker| (mix(mix(worker.0) ^ u64::from(self.0)), *worker))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit changes half of the output's.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shards_of_who_goes_move() {
        let four: Vec<_> = (1..5).map(WorkerId).collect();
        let mut counts = [0; 5];
        for shard in Shard::all() {
            let before = shard.proposed(four.iter().copied()).unwrap();
            let after = shard.proposed(four[..3].iter().copied()).unwrap();
            counts[usize::try_from(before.0).unwrap()] += 1;
            assert!(before == after || before == WorkerId(4));
        }
        assert!(counts[1..].iter().all(|count| (32..110).contains(count)), "{counts:?}");
        assert_eq!(Shard::all().count(), usize::from(SHARDS));
        assert_eq!(Shard::of(RouterId(1)).index(), 145, "routers stay in their shards");
    }
}
