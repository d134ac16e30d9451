//! The master key and its file.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::KeyError;
use super::envelope::Key;

/// The key that wraps all account keys.
#[derive(Clone, Debug)]
pub struct MasterKey(Key);

/// Names a master key without giving it away: the first bytes of a digest of it.
pub(super) type Fingerprint = [u8; 8];

impl MasterKey {
    /// A new key, for tests and for rotation.
    pub fn random() -> Self {
        Self(Key::random())
    }

    pub(super) fn key(&self) -> &Key {
        &self.0
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(b"terrane master key");
        hash.update(self.0.bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut out = [0; 8];
        out.copy_from_slice(&digest[..8]);
        out
    }
}

/// Where the master key lies: `PATH`, and during a rotation the coming key at `PATH.next`.
#[derive(Debug, Clone)]
pub(super) struct MasterFile {
    path: PathBuf,
}

impl MasterFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn next(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".next");
        name.into()
    }

    pub(super) fn read(&self) -> Result<Option<MasterKey>, KeyError> {
        read(&self.path)
    }

    pub(super) fn read_next(&self) -> Result<Option<MasterKey>, KeyError> {
        read(&self.next())
    }

    /// Makes the first key. Of several processes that start at once, one makes it and the others take it.
    pub(super) fn create(&self) -> Result<MasterKey, KeyError> {
        let _lock = self.lock()?.ok_or(KeyError::MasterRotating)?;
        if let Some(made) = self.read()? {
            return Ok(made);
        }
        let key = MasterKey::random();
        // By way of a rename, so that no crash leaves half a key under the final name.
        self.write_next(&key)?;
        self.promote_next()?;
        Ok(key)
    }

    pub(super) fn write_next(&self, key: &MasterKey) -> Result<(), KeyError> {
        let next = self.next();
        match fs::remove_file(&next) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(&next)(error)),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next).map_err(io(&next))?;
        file.write_all(key.0.bytes()).and_then(|()| file.sync_all()).map_err(io(&next))?;
        self.sync_dir()
    }

    /// One rotation at a time, over all processes. `None`: another process rotates. Makes the directory.
    pub(super) fn lock(&self) -> Result<Option<File>, KeyError> {
        if let Some(dir) = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(dir))?;
        }
        let mut path = self.path.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(io(&path)(error)),
        }
    }

    /// Makes the coming key the key.
    pub(super) fn promote_next(&self) -> Result<(), KeyError> {
        fs::rename(self.next(), &self.path).map_err(io(&self.path))?;
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<(), KeyError> {
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    move |source| KeyError::Io { path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Option<MasterKey>, KeyError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io(path))?,
    };
    let found = file.metadata().map_err(io(path))?;
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::NotPrivate { path: path.to_owned(), mode });
    }
    if !found.is_file() || found.len() != 32 {
        return Err(KeyError::NotAKey { path: path.to_owned(), found: found.len() });
    }
    let mut bytes = Zeroizing::new([0; 32]);
    file.read_exact(&mut *bytes).map_err(io(path))?;
    Ok(Some(MasterKey(Key::from_bytes(bytes))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_private_and_survives() {
        let dir = tempfile::tempdir().unwrap();
        let file = MasterFile::new(&dir.path().join("keys/master.key"));
        assert!(file.read().unwrap().is_none());
        let key = file.create().unwrap();
        assert_eq!(file.create().unwrap().fingerprint(), key.fingerprint());
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("keys")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(file.read().unwrap().unwrap().fingerprint(), key.fingerprint());
        assert!(file.read_next().unwrap().is_none());
    }

    #[test]
    fn loose_modes_and_wrong_lengths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = MasterFile::new(&dir.path().join("master.key"));
        file.create().unwrap();
        for mode in [0o640, 0o604, 0o610, 0o666] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(file.read(), Err(KeyError::NotPrivate { mode: m, .. }) if m == mode));
        }
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o400)).unwrap();
        assert!(file.read().unwrap().is_some());
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(file.path(), [0; 31]).unwrap();
        assert!(matches!(file.read(), Err(KeyError::NotAKey { found: 31, .. })));
    }

    #[test]
    fn nothing_prints_a_key() {
        let key = MasterKey::from_test_bytes([0xab; 32]);
        assert!(!format!("{key:?}").contains("ab"), "{key:?}");
    }

    impl MasterKey {
        fn from_test_bytes(bytes: [u8; 32]) -> Self {
            Self(Key::from_bytes(Zeroizing::new(bytes)))
        }
    }
}
