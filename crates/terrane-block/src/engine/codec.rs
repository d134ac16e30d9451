//! Little-endian fields of records and headers, all of which start with a version byte.

use super::error::EngineError;
use crc_fast::CrcAlgorithm;

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    // A 32-bit algorithm has its sum in the low half.
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Collects the fields of one record.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_version(version: u8) -> Self {
        Self(vec![version])
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u128(&mut self, value: u128) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// How many of something follow. Callers keep counts below 2³².
    pub(crate) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    /// The record with its checksum behind it.
    pub(crate) fn seal(mut self) -> Vec<u8> {
        let sum = crc32c(&self.0);
        self.u32(sum);
        self.0
    }
}

/// Takes a record apart. Trusts nothing.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A record whose checksum its container verifies.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8], known: u8) -> Result<Self, EngineError> {
        let mut reader = Self { what, rest: bytes };
        match reader.u8()? {
            version if version > known => Err(EngineError::NewerFormat { what, version }),
            0 => Err(reader.broken("version 0")),
            _ => Ok(reader),
        }
    }

    /// A record with a checksum behind it.
    pub(crate) fn sealed(what: &'static str, bytes: &'a [u8], known: u8) -> Result<Self, EngineError> {
        let reader = Self { what, rest: bytes };
        let Some((body, sum)) = bytes.split_last_chunk::<4>() else {
            return Err(reader.broken("too short"));
        };
        if crc32c(body) != u32::from_le_bytes(*sum) {
            return Err(reader.broken("a wrong checksum"));
        }
        Self::new(what, body, known)
    }

    pub(crate) fn broken(&self, found: impl Into<String>) -> EngineError {
        EngineError::Corrupt { what: self.what, found: found.into() }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], EngineError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.broken("cut short"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], EngineError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.broken("cut short"))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, EngineError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, EngineError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, EngineError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, EngineError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// A count of things of at least `least` bytes each: one that the rest could not hold is refused before anything
    /// is allocated for it.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, EngineError> {
        let count = self.u32()? as usize;
        if count.saturating_mul(least) > self.rest.len() {
            return Err(self.broken("a count beyond the end"));
        }
        Ok(count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn end(&self) -> Result<(), EngineError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.broken("bytes behind the end")) }
    }
}
