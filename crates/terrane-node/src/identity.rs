//! Who this machine is: an instance, for as long as the directory exists.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use terrane_types::InstanceId;

/// The file's name.
const FILE: &str = "node.json";
/// The file's version.
const VERSION: u8 = 1;

/// Why it is not known who this machine is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not name an instance: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The file was written by a newer version of this program.
    #[error("{path} has version {version}; {VERSION} is the newest that is understood")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u8,
    },
    /// The directory belongs to another instance than the configured one.
    #[error("{path} belongs to instance {found}, not {configured}")]
    Other {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: InstanceId,
        /// Whose it should be.
        configured: InstanceId,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    version: u8,
    instance: InstanceId,
}

/// The instance that `dir` belongs to. A new directory becomes `configured`'s, or a random one's.
pub(crate) fn load(dir: &Path, configured: Option<InstanceId>) -> Result<InstanceId, IdentityError> {
    let path = dir.join(FILE);
    let at = |source| IdentityError::Io { path: path.clone(), source };
    let found = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(at(error)),
    };
    let Some(bytes) = found else {
        let instance = configured.unwrap_or_else(|| InstanceId::from_bits(rand::random()));
        write(dir, &path, &Identity { version: VERSION, instance: instance.clone() }).map_err(at)?;
        return Ok(instance);
    };
    let identity: Identity = serde_json::from_slice(&bytes)
        .map_err(|source| IdentityError::Content { path: path.clone(), source })?;
    match configured {
        _ if identity.version != VERSION => Err(IdentityError::Version { path, version: identity.version }),
        Some(configured) if configured != identity.instance => {
            Err(IdentityError::Other { path, found: identity.instance, configured })
        }
        _ => Ok(identity.instance),
    }
}

/// Writes the file so that it is there as a whole or not at all.
fn write(dir: &Path, path: &Path, identity: &Identity) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(serde_json::to_string(identity).map_err(io::Error::other)?.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_instance_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("node");
        let instance = load(&below, None).unwrap();
        assert_eq!(load(&below, None).unwrap(), instance);
        assert_eq!(load(&below, Some(instance)).unwrap(), load(&below, None).unwrap());
        let other = load(&below, Some(InstanceId::from_bits(1)));
        assert!(matches!(other, Err(IdentityError::Other { .. })), "{other:?}");
    }

    #[test]
    fn the_file_is_read_back_as_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        load(dir.path(), Some(InstanceId::from_bits(7))).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"version":1,"instance":"i-00000000000000007"}"#);
        fs::write(&path, text.replace(":1", ":2")).unwrap();
        assert!(matches!(load(dir.path(), None), Err(IdentityError::Version { version: 2, .. })));
        fs::write(&path, "i-7").unwrap();
        assert!(matches!(load(dir.path(), None), Err(IdentityError::Content { .. })));
    }
}
