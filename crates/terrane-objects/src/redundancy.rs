//! How often bulk bytes are stored, and on how many drives.

use std::fmt;
use std::str::FromStr;

/// Most copies of a mirror.
pub(crate) const COPIES_MAX: u8 = 8;
/// Most data shards and most parity shards of a code.
pub(crate) const DATA_SHARDS_MAX: u8 = 16;
/// See [`DATA_SHARDS_MAX`].
pub(crate) const PARITY_SHARDS_MAX: u8 = 8;

/// How bulk bytes are laid over drives: `single`, `mirror:N` or `rs:K+M` (Reed–Solomon).
///
/// All three are one thing: each block of 64 KiB becomes `data` pieces and `spare` more, every piece on a
/// drive of its own, and any `data` of them give the block back. A mirror has one data piece, the block itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Redundancy {
    data: u8,
    spare: u8,
}

impl Redundancy {
    /// One copy.
    pub const SINGLE: Self = Self { data: 1, spare: 0 };
    /// Two copies: the default where there are several drives.
    pub const MIRROR: Self = Self { data: 1, spare: 1 };

    /// From the numbers of data and spare shards, if there is such a layout.
    pub fn new(data: u8, spare: u8) -> Option<Self> {
        let mirror = data == 1 && spare < COPIES_MAX;
        let code = (2..=DATA_SHARDS_MAX).contains(&data) && (1..=PARITY_SHARDS_MAX).contains(&spare);
        (mirror || code).then_some(Self { data, spare })
    }

    /// Shards that give the bytes back.
    pub fn data_shards(self) -> usize {
        self.data.into()
    }

    /// Shards that may be lost.
    pub fn spare_shards(self) -> usize {
        self.spare.into()
    }

    /// Shards in all: the drives that it needs.
    pub fn shards(self) -> usize {
        self.data_shards() + self.spare_shards()
    }

    /// Shards without which nothing is acknowledged: all that it takes to read, and one that may be lost.
    pub fn shards_at_least(self) -> usize {
        self.data_shards() + self.spare_shards().min(1)
    }

    /// Whether every shard holds the same bytes.
    pub fn is_copies(self) -> bool {
        self.data == 1
    }

    /// What a store of so many drives does where nothing else is said.
    pub fn default_for(drives: usize) -> Self {
        if drives > 1 { Self::MIRROR } else { Self::SINGLE }
    }

    /// Whether a store of so many drives can do this.
    ///
    /// # Errors
    /// Why not.
    pub fn check(self, drives: usize) -> Result<(), RedundancyError> {
        if self == Self::SINGLE && drives > 1 {
            return Err(RedundancyError::SingleOnSeveral);
        }
        if self.shards() > drives {
            return Err(RedundancyError::TooFewDrives { redundancy: self, drives });
        }
        Ok(())
    }
}

impl fmt::Display for Redundancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.data, self.spare) {
            (1, 0) => f.write_str("single"),
            (1, spare) => write!(f, "mirror:{}", spare + 1),
            (data, spare) => write!(f, "rs:{data}+{spare}"),
        }
    }
}

/// Why a text or number of drives does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedundancyError {
    /// Not one of the three forms, or beyond the bounds.
    #[error(
        "{0:?} is not a redundancy: single, mirror:N (2 to {COPIES_MAX} copies) or rs:K+M (K from 2 to \
         {DATA_SHARDS_MAX} data and M from 1 to {PARITY_SHARDS_MAX} parity shards)"
    )]
    Unknown(String),
    /// More shards than drives.
    #[error("{redundancy} needs {} drives, there are {drives}", redundancy.shards())]
    TooFewDrives {
        /// What was asked for.
        redundancy: Redundancy,
        /// Drives of the store.
        drives: usize,
    },
    /// One copy on a store of several drives would be lost with any of them.
    #[error("single is for a store of one drive: choose mirror:N or rs:K+M")]
    SingleOnSeveral,
}

impl FromStr for Redundancy {
    type Err = RedundancyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let plain = (1..=3).contains(&digits.len()) && !digits.starts_with('0');
            if plain && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse::<u8>().ok() } else { None }
        };
        let parsed = if text == "single" {
            Some(Self::SINGLE)
        } else if let Some(copies) = text.strip_prefix("mirror:") {
            number(copies).filter(|copies| *copies > 1).and_then(|copies| Self::new(1, copies - 1))
        } else {
            let shards = text.strip_prefix("rs:").and_then(|shards| shards.split_once('+'));
            shards
                .and_then(|(data, parity)| Some((number(data)?, number(parity)?)))
                .filter(|(data, _)| *data > 1)
                .and_then(|(data, parity)| Self::new(data, parity))
        };
        parsed.ok_or_else(|| RedundancyError::Unknown(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_bounds() {
        for text in ["single", "mirror:2", "mirror:8", "rs:2+1", "rs:4+2", "rs:16+8"] {
            assert_eq!(text.parse::<Redundancy>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "none",
            "mirror:",
            "mirror:1",
            "mirror:9",
            "mirror:02",
            "rs:1+1",
            "rs:17+1",
            "rs:4+0",
            "rs:4+9",
            "rs:4",
            "rs:+4+2",
        ] {
            assert!(bad.parse::<Redundancy>().is_err(), "{bad}");
        }
    }

    #[test]
    fn drives_are_needed_for_every_shard() {
        let rs: Redundancy = "rs:4+2".parse().unwrap();
        assert_eq!((rs.shards(), rs.shards_at_least()), (6, 5));
        assert!(rs.check(6).is_ok() && rs.check(5).is_err());
        assert!(Redundancy::SINGLE.check(1).is_ok() && Redundancy::SINGLE.check(2).is_err());
        assert_eq!(Redundancy::default_for(1), Redundancy::SINGLE);
        assert_eq!(Redundancy::default_for(3), Redundancy::MIRROR);
    }
}
