//! Which of the configured directories are drives of this store, and what may be done with the others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::{DRIVES_MAX, Drive, DriveSet, Identity, State};

/// Directory of the store's own record of whose drives they are.
const ANCHOR: &str = "drives";

/// Why the configured drives cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// A directory or file.
    #[error("drive {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// None or too many, or one twice.
    #[error("{0}")]
    Configured(String),
    /// A drive of another store.
    #[error(
        "drive {} belongs to store {found:016x}, not to {expected:016x}: put the right drive there, or take the \
         directory out of the configuration",
        path.display()
    )]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        found: u64,
        /// Whose it should be.
        expected: u64,
    },
    /// Two directories are the same drive, or one is a copy of the other.
    #[error("{} and {} are the same drive, or copies of one", first.display(), second.display())]
    Twice {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A directory that should become a drive holds something already.
    #[error("{} is not empty: a new drive must be", .0.display())]
    NotEmpty(PathBuf),
    /// No drive of the store is there.
    #[error("none of the drives of the store is there: are they mounted?")]
    NoneThere,
    /// Objects lie where a store without drives keeps them.
    #[error(
        "{} holds the objects of a store without drives: name it as the first of the drives to go on with them",
        .0.display()
    )]
    Unlisted(PathBuf),
    /// The store lies on drives, and the configuration names none.
    #[error("the objects of {} lie on drives: name them in the configuration", .0.display())]
    Unnamed(PathBuf),
    /// No such drive, or one that is in use.
    #[error("{0}")]
    NotReplaceable(String),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DriveError {
    let path = path.to_owned();
    move |source| DriveError::Io { path, source }
}

/// Names in a directory that say nothing about its use.
fn is_empty(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                if entry?.file_name() != "lost+found" {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
}

fn holds_files(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// A number that nobody else has.
fn new_id() -> u64 {
    rand::random::<u64>().max(1)
}

/// What was found in the configured directories.
struct Found {
    drives: Vec<Drive>,
    identities: Vec<Option<Identity>>,
}

impl DriveSet {
    /// Refuses to take a directory for that of a store without drives if it is another's.
    pub(crate) fn check_plain(main: &Path) -> Result<(), DriveError> {
        match Identity::read(&main.join(ANCHOR)) {
            Ok(None) => Ok(()),
            _ => Err(DriveError::Unnamed(main.to_owned())),
        }
    }

    /// Opens the drives of the store whose own directory is `main`; makes them if the store is new.
    pub(crate) fn open(dirs: &[PathBuf], main: &Path) -> Result<Self, DriveError> {
        check(dirs)?;
        let own = main.join(ANCHOR);
        let anchor = Identity::read(&own).map_err(at(&own))?;
        let mut found = look(dirs, anchor)?;
        let known = found.identities.iter().flatten();
        let store = known.clone().next().map(|identity| identity.store).or(anchor.map(|a| a.store));
        let written = found.drives.iter().zip(&found.identities);
        let used = |drive: &Drive| holds_files(&drive.root.join("log")) || holds_files(&drive.data_dir());
        // Nothing was ever written: what has no identity yet is a drive whose making was cut short.
        let is_new = written.filter(|(_, identity)| identity.is_some()).all(|(drive, _)| !used(drive));
        if let Some(store) = store.filter(|_| anchor.is_some() || !is_new) {
            return Self::recognise(found, store);
        }
        let first_is_main = same(&dirs[0], main);
        if holds_files(&main.join("log")) && !first_is_main {
            return Err(DriveError::Unlisted(main.to_owned()));
        }
        let store = store.unwrap_or_else(new_id);
        let fresh: Vec<usize> = (0..dirs.len()).filter(|n| found.identities[*n].is_none()).collect();
        for number in &fresh {
            let root = &found.drives[*number].root;
            // The directory of a store without drives may become its first drive, with all that it holds.
            let adopted = *number == 0 && first_is_main;
            if !adopted && !is_empty(root).map_err(at(root))? {
                return Err(DriveError::NotEmpty(root.clone()));
            }
        }
        let home = found.identities[0].map_or_else(new_id, |identity| identity.drive);
        let mut record = Identity { store, drive: 0, home, generation: 1 };
        for number in fresh {
            record.drive = if number == 0 { home } else { new_id() };
            let drive = &found.drives[number];
            record.write(&drive.root).map_err(at(&drive.root))?;
            found.identities[number] = Some(record);
            *drive.state.lock() = State::Live;
        }
        Identity { drive: 0, ..record }.write(&own).map_err(at(&own))?;
        Self::recognise(found, store)
    }

    fn recognise(found: Found, store: u64) -> Result<Self, DriveError> {
        let Found { drives, identities } = found;
        let newest = identities.iter().flatten().max_by_key(|identity| identity.generation);
        let Some(newest) = newest.copied() else { return Err(DriveError::NoneThere) };
        for (drive, identity) in drives.iter().zip(&identities) {
            drive.id.store(identity.map_or(0, |identity| identity.drive), Ordering::Relaxed);
        }
        Ok(Self {
            drives: drives.into_iter().map(Arc::new).collect(),
            home: OnceLock::new(),
            record: Some(Mutex::new(Identity { store, drive: 0, ..newest })),
            rotation: AtomicUsize::new(0),
        })
    }

    /// Decides which drive holds keymap and runs, and has all say so: where they were, if that drive is in use; else they are
    /// made anew on another. To be called when it is certain that the store starts.
    pub(crate) fn settle(&self, main: &Path) -> Result<(), DriveError> {
        let Some(record) = &self.record else { return Ok(()) };
        let mut record = record.lock();
        let is_home = |drive: &&Arc<Drive>| drive.id.load(Ordering::Relaxed) == record.home;
        let home = match (self.live().find(is_home), self.live().next()) {
            (Some(home), _) => home.root.clone(),
            (None, Some(next)) => {
                let drive = next.root.display();
                tracing::warn!(%drive, "the keymap's drive is lost: it is made anew on another");
                record.home = next.id.load(Ordering::Relaxed);
                record.generation += 1;
                for old in ["keymap", "runs"].map(|part| next.root.join(part)) {
                    match fs::remove_dir_all(&old) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at(&old)(e)),
                        _ => {}
                    }
                }
                next.root.clone()
            }
            (None, None) => return Err(DriveError::NoneThere),
        };
        self.write_records(&record, &home, main)?;
        let _ = self.home.set(home);
        Ok(())
    }

    /// Has every live drive, and the store's own directory, say where the home is.
    fn write_records(&self, record: &Identity, home: &Path, main: &Path) -> Result<(), DriveError> {
        let own = main.join(ANCHOR);
        record.write(&own).map_err(at(&own))?;
        for drive in &self.drives {
            let identity = Identity { drive: drive.id.load(Ordering::Relaxed), ..*record };
            if drive.is_live()
                && let Err(error) = identity.write(&drive.root)
            {
                drive.fail(&error);
                if drive.is_live() || drive.root == home {
                    return Err(at(&drive.root)(error));
                }
            }
        }
        Ok(())
    }

    /// Takes an empty directory of the configuration into use, in the place of a drive that is missing or failed.
    pub(crate) fn replace(&self, path: &Path) -> Result<Arc<Drive>, DriveError> {
        let refuse = |why: String| Err(DriveError::NotReplaceable(why));
        let Some(drive) = self.drives.iter().find(|drive| same(&drive.root, path)) else {
            return refuse(format!("{} is not among the configured drives", path.display()));
        };
        match &*drive.state.lock() {
            State::Missing(_) => {}
            State::Live => return refuse(format!("drive {} is in use", path.display())),
            State::Failed(_) => {
                return refuse(format!(
                    "drive {} has failed in this run: exchange it and restart",
                    path.display()
                ));
            }
        }
        if !is_empty(&drive.root).map_err(at(path))? {
            return Err(DriveError::NotEmpty(path.to_owned()));
        }
        let id = new_id();
        let Some(record) = &self.record else { return refuse("this store has no drives".into()) };
        let record = Identity { drive: id, ..*record.lock() };
        record.write(&drive.root).map_err(at(path))?;
        fs::create_dir_all(drive.data_dir()).map_err(at(path))?;
        drive.id.store(id, Ordering::Relaxed);
        *drive.state.lock() = State::Live;
        Ok(drive.clone())
    }
}

fn check(dirs: &[PathBuf]) -> Result<(), DriveError> {
    if dirs.is_empty() || dirs.len() > DRIVES_MAX {
        return Err(DriveError::Configured(format!(
            "a store has 1 to {DRIVES_MAX} drives, not {}",
            dirs.len()
        )));
    }
    for (at, second) in dirs.iter().enumerate() {
        if let Some(first) = dirs[..at].iter().find(|first| same(first, second)) {
            return Err(DriveError::Twice { first: first.clone(), second: second.clone() });
        }
    }
    Ok(())
}

/// Whether two paths are one directory.
fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

fn look(dirs: &[PathBuf], anchor: Option<Identity>) -> Result<Found, DriveError> {
    let (mut drives, mut identities) = (Vec::new(), Vec::<Option<Identity>>::new());
    let mut expected = anchor.map(|anchor| anchor.store);
    for (number, dir) in dirs.iter().enumerate() {
        let drive = Drive::new(number, dir.clone(), dirs.len() > 1);
        let identity = match Identity::read(dir) {
            Ok(identity) => identity,
            Err(error) => {
                *drive.state.lock() = State::Missing(error.to_string());
                drives.push(drive);
                identities.push(None);
                continue;
            }
        };
        if let Some(identity) = identity {
            let expected = *expected.get_or_insert(identity.store);
            if identity.store != expected {
                return Err(DriveError::Foreign { path: dir.clone(), found: identity.store, expected });
            }
            let twin = identities.iter().position(|other| other.is_some_and(|o| o.drive == identity.drive));
            if let Some(twin) = twin {
                return Err(DriveError::Twice { first: dirs[twin].clone(), second: dir.clone() });
            }
        } else {
            let cause = if dir.exists() { "it carries no identity" } else { "there is no such directory" };
            *drive.state.lock() = State::Missing(cause.into());
        }
        drives.push(drive);
        identities.push(identity);
    }
    Ok(Found { drives, identities })
}
