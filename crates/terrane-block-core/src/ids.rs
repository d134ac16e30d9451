//! Names, numbers and pieces of a stripe.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::Hash;
use std::ops::Range;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

number!(
    /// A copy of the stripe.
    CopyId, "c"
);
number!(
    /// A node manager that uses the volume.
    ClientId, "n"
);
number!(
    /// Counts the membership changes of a stripe. The record with the highest one is the truth.
    Generation, "g"
);
number!(
    /// Counts the layouts of the volume (which stripes it has).
    LayoutEpoch, "l"
);
number!(
    /// Counts the attachments of the volume; what belongs to an older one is refused.
    AttachmentEpoch, "e"
);
number!(
    /// One life of a copy's process. Drawn at random at each start and after each failed flush.
    Incarnation, "i"
);
number!(
    /// A client's connection to a primary; a later one of the same attachment fences the earlier.
    SessionId, "s"
);

/// What is stored in blocks. The core never looks inside: a driver uses its buffers, the checker a number.
pub trait Payload: Clone + fmt::Debug + Eq + Ord + Hash {}
impl<T: Clone + fmt::Debug + Eq + Ord + Hash> Payload for T {}

/// What an extent holds. A TRIM writes `Zero`, and stays one wherever it is copied to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content<P> {
    /// Nothing: reads as zeros, takes no room.
    Zero,
    /// Bytes of the extent's length.
    Data(P),
}

/// Stands for what one block holds, so that two copies can be compared without sending it: a cryptographic hash of the
/// block's bytes (cut to 128 bits), the same function on all servers, or [`Digest::ZERO`] for [`Content::Zero`], which bytes of value 0 are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub u128);

impl Digest {
    /// Of [`Content::Zero`]: nothing has to be read to tell it.
    pub const ZERO: Self = Self(0);
}

/// Consecutive blocks of a stripe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// The first block.
    pub start: u64,
    /// How many blocks; at least 1.
    pub len: u64,
}

impl Extent {
    /// One block.
    #[must_use]
    pub const fn block(block: u64) -> Self {
        Self { start: block, len: 1 }
    }

    /// Whether the two have a block in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// The block behind the last one.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// From the first block to the one behind the last.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.start..self.end()
    }

    /// Its blocks.
    pub fn blocks(&self) -> impl Iterator<Item = u64> + use<> {
        self.start..self.end()
    }

    /// The log extents (of `grain` blocks each) that it touches.
    #[must_use]
    pub const fn log_extents(&self, grain: u64) -> Range<u64> {
        self.start / grain..self.end().div_ceil(grain)
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.start, self.len)
    }
}
