//! What is durable of a copy besides its blocks, its activity log and its bitmaps: the engine keeps it as one opaque
//! record.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::{fs, io};
use terrane_block_core::record::Record;
use terrane_block_core::{CopyId, Incarnation};
use terrane_block_wire::control::{CopyIdentity, StripeId};

const VERSION: u8 = 1;
/// Earlier lives that are remembered; of older ones nobody asks any more.
const LIVES_MAX: usize = 64;

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) stripe: StripeId,
    pub(super) copy: CopyId,
    pub(super) identity: CopyIdentity,
    pub(super) life: Life,
    /// The replication core's record, as adopted.
    pub(super) record: Option<Record>,
}

/// A life of the copy, and the earlier ones of which nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    /// Which run of the machine it is in: what the kernel had then, it still has.
    pub(super) boot: String,
    pub(super) incarnation: Incarnation,
    /// Oldest first.
    kept: VecDeque<Incarnation>,
}

impl Life {
    /// The first one.
    pub(super) fn first(boot: &str) -> Self {
        Self { boot: boot.to_owned(), incarnation: Incarnation(rand::random()), kept: VecDeque::new() }
    }

    /// The one after this. `lost`: a write or flush failed in it, so that the kernel may have dropped what it had.
    pub(super) fn next(&self, boot: &str, lost: bool) -> Self {
        let mut next = Self::first(boot);
        if self.boot == boot && !lost {
            next.kept = self.kept.clone();
            next.kept.push_back(self.incarnation);
            while next.kept.len() > LIVES_MAX {
                next.kept.pop_front();
            }
        }
        next
    }

    pub(super) fn kept(&self) -> BTreeSet<Incarnation> {
        self.kept.iter().copied().collect()
    }
}

/// Why a copy's record says nothing.
#[derive(Debug, thiserror::Error)]
#[error("a copy's record cannot be read: {0}")]
pub(super) struct BadMeta(String);

impl Meta {
    /// With the size that the copy has: the engine has grown it since.
    pub(super) fn with_blocks(mut self, blocks: u64) -> Self {
        self.identity.blocks = blocks;
        self
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let bytes = postcard::to_extend(self, vec![VERSION]);
        bytes.expect("these types can be serialised, and memory takes all")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadMeta> {
        let Some((version, rest)) = bytes.split_first() else { return Err(BadMeta("it is empty".into())) };
        if *version != VERSION {
            return Err(BadMeta(format!("version {version}; this program knows {VERSION}")));
        }
        match postcard::take_from_bytes(rest) {
            Ok((meta, [])) => Ok(meta),
            Ok((_, behind)) => Err(BadMeta(format!("{} bytes behind its end", behind.len()))),
            Err(error) => Err(BadMeta(error.to_string())),
        }
    }
}

/// The machine's run: changes when it starts anew.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Copies whose life ended with a failed write or flush, until their next one is durable: files in the server's
/// directory. They need not survive the machine, whose next run keeps nothing anyway; so they are with the kernel
/// before anybody hears of the failure, however broken the drive is.
#[derive(Clone, Debug)]
pub(super) struct Failures(PathBuf);

impl Failures {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let dir = dir.join("failed");
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    fn file(&self, key: crate::engine::CopyKey) -> PathBuf {
        self.0.join(key.to_string())
    }

    pub(super) fn note(&self, key: crate::engine::CopyKey) {
        if let Err(error) = fs::write(self.file(key), []) {
            tracing::error!(%key, %error, "cannot note that a copy failed");
        }
    }

    pub(super) fn has(&self, key: crate::engine::CopyKey) -> bool {
        self.file(key).exists()
    }

    pub(super) fn clear(&self, key: crate::engine::CopyKey) {
        match fs::remove_file(self.file(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%key, %error, "cannot clear the note that a copy failed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use terrane_types::VolumeId;

    fn meta() -> Meta {
        let identity = CopyIdentity {
            volume: VolumeId::from_bits(7),
            account: "a".into(),
            stripe_index: 0,
            stripes: 1,
            stripe_bytes: 4096,
            blocks: 300,
        };
        let life =
            Life { boot: "b".into(), incarnation: Incarnation(5), kept: VecDeque::from([Incarnation(4)]) };
        Meta { stripe: StripeId(3), copy: CopyId(2), identity, life, record: None }
    }

    #[test]
    fn bytes_are_pinned() {
        let bytes = meta().encode();
        assert_eq!(Meta::decode(&bytes).unwrap(), meta());
        assert_eq!(bytes[..4], [1, 3, 2, 21]);
        assert_eq!(bytes[4..25], *b"vol-00000000000000007");
        assert_eq!(bytes[25..], [1, 97, 0, 1, 128, 32, 172, 2, 1, 98, 5, 1, 4, 0]);
    }

    #[test]
    fn lives_are_kept_until_something_is_lost() {
        let first = Life::first("boot");
        let second = first.next("boot", false);
        let third = second.next("boot", false);
        assert_eq!(third.kept(), BTreeSet::from([first.incarnation, second.incarnation]));
        assert!(third.next("boot", true).kept().is_empty());
        assert!(third.next("another boot", false).kept().is_empty());
        let mut life = first;
        (0..2 * LIVES_MAX).for_each(|_| life = life.next("boot", false));
        assert_eq!(life.kept().len(), LIVES_MAX);
    }

    proptest! {
        #[test]
        fn decodes_anything(bytes: Vec<u8>, at in 0..60_usize, byte: u8) {
            let _ = Meta::decode(&bytes);
            let mut damaged = meta().encode();
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = Meta::decode(&damaged);
        }
    }
}
