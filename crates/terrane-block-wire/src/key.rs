//! The key that all processes of a cluster share.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
const LEN: usize = 32;

/// What block servers, node managers and managers prove to each other that they know. Never shown.
#[derive(Clone)]
pub struct ClusterKey([u8; LEN]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The host says.
    #[error("cluster key {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// Not 64 hex digits.
    #[error("cluster key {0}: not 64 hex digits")]
    Malformed(PathBuf),
    /// Others than the owner may read it.
    #[error("cluster key {path}: mode {mode:o}; nobody but the owner may read it (0600)")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// The bits of a key's mode that would let others read it. In its credentials directory a service is alone, but systemd
/// (since 254) lets its user in by an ACL, which looks like a group that may read.
fn others(path: &Path, credentials: Option<&Path>) -> u32 {
    if credentials.is_some_and(|directory| path.parent() == Some(directory)) { 0o037 } else { 0o077 }
}

impl ClusterKey {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// One that is known.
    #[must_use]
    pub fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(bytes)
    }

    /// Reads a file of 64 hex digits that only its owner may read.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.into(), source };
        let mode = std::fs::metadata(path).map_err(io)?.mode() & 0o777;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        if mode & others(path, credentials.as_deref().map(Path::new)) != 0 {
            return Err(KeyError::Exposed { path: path.into(), mode });
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
        Self::parse(text.trim()).ok_or_else(|| KeyError::Malformed(path.into()))
    }

    /// Reads the file, or makes it with a new key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.into(), source };
        if path.exists() {
            return Self::load(path);
        }
        let key = Self::random();
        let temporary = path.with_extension("new");
        let _ = std::fs::remove_file(&temporary);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary).map_err(io)?;
        let text: Zeroizing<String> =
            key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        writeln!(file, "{}", *text).and_then(|()| file.sync_all()).map_err(io)?;
        // A link does not replace what another process has made meanwhile.
        match std::fs::hard_link(&temporary, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io(error)),
        }
        std::fs::remove_file(&temporary).map_err(io)?;
        Self::load(path)
    }

    fn parse(text: &str) -> Option<Self> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let mut key = Self([0; LEN]);
        if pairs.len() != LEN {
            return None;
        }
        for (byte, pair) in key.0.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        Some(key)
    }

    /// HMAC-SHA256 of the parts, one behind the other.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

impl Drop for ClusterKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn made_once_read_often_and_only_if_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.key");
        let key = ClusterKey::load_or_create(&path).unwrap();
        assert_eq!(ClusterKey::load_or_create(&path).unwrap().0, key.0);
        assert_eq!(ClusterKey::load(&path).unwrap().0, key.0);
        assert_eq!(format!("{key:?}"), "ClusterKey(hidden)");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(ClusterKey::load(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_service_may_keep_it_among_its_credentials() {
        let directory = Path::new("/run/credentials/terrane-node.service");
        for (path, credentials, mode, exposed) in [
            ("/run/credentials/terrane-node.service/cluster.key", Some(directory), 0o440, false),
            ("/run/credentials/terrane-node.service/cluster.key", Some(directory), 0o444, true),
            ("/run/credentials/terrane-node.service/cluster.key", Some(directory), 0o460, true),
            ("/run/credentials/terrane-node.service/cluster.key", None, 0o440, true),
            ("/etc/terrane/cluster.key", Some(directory), 0o440, true),
            ("/etc/terrane/cluster.key", None, 0o400, false),
        ] {
            assert_eq!(mode & others(Path::new(path), credentials) != 0, exposed, "{path} {mode:o}");
        }
    }

    #[test]
    fn anything_but_64_hex_digits_is_refused() {
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66)] {
            assert!(ClusterKey::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(ClusterKey::parse(&"0f".repeat(32)).unwrap().0, [15; 32]);
    }
}
