//! Who a drive is: two equal files in its directory, so that a swapped, foreign or copied directory is known.
//!
//! ```text
//! version u8 (1) · store ID u64 · drive ID u64 · home: drive ID u64 · home's generation u64
//! · CRC-32C of all that u32                                             (little endian)
//! ```
//! The *home* is the drive that holds keymap and runs. It moves when it is lost; the greatest generation in sight
//! tells, so that a drive that comes back with an old keymap does not pass for the home.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::data::crc32c;

/// The two files.
const FILES: [&str; 2] = ["drive", "drive.copy"];
const VERSION: u8 = 1;
const BYTES: usize = 1 + 4 * 8 + 4;

/// What a drive says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The store that it belongs to.
    pub(crate) store: u64,
    /// The drive; 0 in the data directory's own copy.
    pub(crate) drive: u64,
    /// The drive that holds the keymap.
    pub(crate) home: u64,
    /// How often that was another one.
    pub(crate) generation: u64,
}

/// Both files are there and neither is intact.
#[derive(Debug, thiserror::Error)]
#[error("the identity of the drive is damaged")]
pub(crate) struct Damaged;

impl Identity {
    /// As it is stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        for field in [self.store, self.drive, self.home, self.generation] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// From the bytes of a file, if they are intact.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(..BYTES - 4).filter(|_| bytes.len() == BYTES)?;
        let intact = body[0] == VERSION && bytes[BYTES - 4..] == crc32c(body).to_le_bytes();
        let mut fields = body[1..].chunks_exact(8).map(|field| {
            u64::from_le_bytes([
                field[0], field[1], field[2], field[3], field[4], field[5], field[6], field[7],
            ])
        });
        let identity = Self {
            store: fields.next()?,
            drive: fields.next()?,
            home: fields.next()?,
            generation: fields.next()?,
        };
        intact.then_some(identity)
    }

    /// Reads a directory's identity; `None` where there is no trace of one.
    pub(crate) fn read(dir: &Path) -> io::Result<Option<Self>> {
        let (mut found, mut damaged) = (None::<Self>, false);
        for name in FILES {
            match fs::read(dir.join(name)) {
                Ok(bytes) => match Self::decode(&bytes) {
                    // A crash between the two files leaves a newer and an older one.
                    Some(read) => found = found.filter(|f| f.generation >= read.generation).or(Some(read)),
                    None => damaged = true,
                },
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        match (found, damaged) {
            (None, true) => Err(io::Error::new(io::ErrorKind::InvalidData, Damaged)),
            (found, _) => Ok(found),
        }
    }

    /// Writes both files, each whole or not at all, durably.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        for name in FILES {
            let temporary = dir.join(format!("{name}.new"));
            let mut file = File::create(&temporary)?;
            file.write_all(&self.encode())?;
            file.sync_all()?;
            fs::rename(&temporary, dir.join(name))?;
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: Identity = Identity { store: 1, drive: 2, home: 3, generation: 0x0102_0304_0506_0708 };

    #[test]
    fn bytes_are_pinned() {
        assert_eq!(
            hex::encode(SAMPLE.encode()),
            "01010000000000000002000000000000000300000000000000080706050403020195879b34"
        );
    }

    #[test]
    fn one_intact_file_is_enough_and_the_newer_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), None);
        SAMPLE.write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(SAMPLE));
        fs::write(dir.path().join(FILES[0]), b"rot").unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(SAMPLE));
        let newer = Identity { generation: u64::MAX, ..SAMPLE };
        fs::write(dir.path().join(FILES[0]), newer.encode()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), Some(newer));
        for name in FILES {
            fs::write(dir.path().join(name), b"rot").unwrap();
        }
        assert!(Identity::read(dir.path()).is_err());
    }

    proptest! {
        #[test]
        fn only_intact_bytes_decode(at in 0..BYTES, mask in 1u8.., other in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut bytes = SAMPLE.encode();
            prop_assert_eq!(Identity::decode(&bytes), Some(SAMPLE));
            bytes[at] ^= mask;
            prop_assert_eq!(Identity::decode(&bytes), None);
            prop_assert!(Identity::decode(&other).is_none());
        }
    }
}
