//! Which pool a directory is: one small file that is written once and replaced whole.

use super::codec::{Reader, Writer};
use super::config::{Declared, Drive};
use super::error::EngineError;
use std::fmt;
use terrane_log::disk::{Disk, Open};

/// The file's name.
pub(crate) const NAME: &str = "pool.identity";
const FRESH: &str = "pool.identity.new";

const VERSION: u8 = 1;
const MAGIC: &[u8; 7] = b"TRNPOOL";

/// Whether a directory that has only such names may become a pool.
pub(crate) fn may_precede(name: &str) -> bool {
    name == FRESH || name == "lost+found"
}

/// Names a pool for ever; drawn at random when it is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u128);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pool: PoolId,
    pub(crate) server: u128,
    pub(crate) declared: Declared,
}

impl Identity {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_version(VERSION);
        out.bytes(MAGIC);
        out.u128(self.pool.0);
        out.u128(self.server);
        out.u8(match self.declared.drive {
            Drive::Ssd => 1,
            Drive::Hdd => 2,
        });
        out.u64(self.declared.capacity);
        out.u32(self.declared.iops);
        out.u64(self.declared.throughput);
        out.seal()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        let mut reader = Reader::sealed("a pool's identity", bytes, VERSION)?;
        if &reader.array::<7>()? != MAGIC {
            return Err(reader.broken("other magic bytes"));
        }
        let (pool, server) = (PoolId(reader.u128()?), reader.u128()?);
        let drive = match reader.u8()? {
            1 => Drive::Ssd,
            2 => Drive::Hdd,
            other => return Err(reader.broken(format!("drive kind {other}"))),
        };
        let declared =
            Declared { drive, capacity: reader.u64()?, iops: reader.u32()?, throughput: reader.u64()? };
        reader.end()?;
        Ok(Self { pool, server, declared })
    }

    /// What the directory says; `None` if it has no identity.
    pub(crate) fn load(disk: &dyn Disk) -> Result<Option<Self>, EngineError> {
        let file = match disk.open(NAME, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(EngineError::io("open a pool's identity")(error)),
        };
        let doing = "read a pool's identity";
        let len = file.len().map_err(EngineError::io(doing))?;
        let mut bytes = vec![0; usize::try_from(len.min(4096)).unwrap_or(4096)];
        file.read_at(&mut bytes, 0).map_err(EngineError::io(doing))?;
        Self::decode(&bytes).map(Some)
    }

    /// Writes the file, in place of what was there.
    pub(crate) fn store(&self, disk: &dyn Disk) -> Result<(), EngineError> {
        let doing = EngineError::io("write a pool's identity");
        let write = || {
            if disk.list()?.iter().any(|name| name == FRESH) {
                disk.remove(FRESH)?;
            }
            let file = disk.open(FRESH, Open::Create)?;
            file.write_at(&self.encode(), 0)?;
            file.sync_data()?;
            disk.rename(FRESH, NAME)?;
            disk.sync_dir()
        };
        write().map_err(doing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pinned() {
        let identity = Identity {
            pool: PoolId(1),
            server: 2,
            declared: Declared { drive: Drive::Hdd, capacity: 3, iops: 4, throughput: 5 },
        };
        let bytes = identity.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, PINNED);
        assert_eq!(Identity::decode(&bytes).unwrap(), identity);
    }

    const PINNED: &str = concat!(
        "0154524e504f4f4c0100000000000000000000000000000002000000000000000000000000000000",
        "02030000000000000004000000050000000000000069c8ca23"
    );
}
