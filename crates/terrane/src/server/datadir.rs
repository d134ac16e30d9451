//! The data directory: who owns it, and the files that tell clients how to get in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

/// A data directory that this process owns. Foreign files in it are left alone.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// Held for as long as the process lives; the kernel releases it however the process ends.
    _lock: Flock<File>,
}

/// `DIR/run/endpoints.json`: URLs of the services that exist.
pub(crate) const ENDPOINTS: &str = "endpoints.json";
/// `DIR/run/cluster.key`: what block servers and node managers of other machines get a copy of.
pub(crate) const CLUSTER_KEY: &str = "cluster.key";
/// `DIR/run/nbd.sock`: NBD for this machine's programs.
pub(crate) const NBD_SOCKET: &str = "nbd.sock";
/// `DIR/run/credentials`: an AWS shared-credentials file.
pub(crate) const CREDENTIALS: &str = "credentials";

impl DataDir {
    /// Makes the directory if it is missing and takes its lock, or says who has it.
    pub(crate) fn own(root: &Path) -> anyhow::Result<Self> {
        let run = root.join("run");
        let make = |dir: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        make(&run).with_context(|| format!("cannot make the data directory {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("cannot find {}", root.display()))?;
        let run = root.join("run");
        let path = run.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            let owner = fs::read_to_string(run.join("pid")).unwrap_or_default();
            let owner = match owner.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            bail!(
                "the data directory {} is in use by {owner}; stop that one first, or choose another with --data-dir",
                root.display()
            );
        };
        let dir = Self { root, _lock: lock };
        // What an earlier process left says nothing of this one.
        dir.remove_run_file(ENDPOINTS)?;
        dir.write_run_file("pid", &format!("{}\n", std::process::id()))?;
        Ok(dir)
    }

    /// A path below the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Replaces a file below `run` in one step; readable by the owner only.
    pub(crate) fn write_run_file(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.root.join("run").join(name);
        replace_file(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes a file below `run`, if it is there.
    pub(crate) fn remove_run_file(&self, name: &str) -> anyhow::Result<()> {
        let path = self.root.join("run").join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_owner_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("foreign"), "stays").unwrap();
        let first = DataDir::own(dir.path()).unwrap();
        let refusal = DataDir::own(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("in use by process {}", std::process::id())), "{refusal}");
        drop(first);
        DataDir::own(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("foreign")).unwrap(), "stays");
    }

    #[test]
    fn files_with_secrets_are_their_owners() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::own(dir.path()).unwrap();
        let path = dir.path().join("run").join(CREDENTIALS);
        fs::write(&path, "old and open to all").unwrap();
        data.write_run_file(CREDENTIALS, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        data.remove_run_file(CREDENTIALS).unwrap();
        data.remove_run_file(CREDENTIALS).unwrap();
    }
}
