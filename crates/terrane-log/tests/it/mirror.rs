use super::*;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use terrane_log::disk::{Disk, DiskFile, Open};
use terrane_log::mirror::{
    Drive, DriveState, MirrorConfig, MirrorDisk, MirrorError, MirrorReport, MirrorStatus,
};

/// Drives as directories, some of which fail on demand.
struct Rig {
    dir: tempfile::TempDir,
    /// Drives whose syncs fail.
    broken: Arc<Mutex<BTreeSet<String>>>,
}

/// A directory whose syncs may fail.
struct Fragile {
    inner: Arc<dyn Disk>,
    name: String,
    broken: Arc<Mutex<BTreeSet<String>>>,
}

struct FragileFile {
    inner: Arc<dyn DiskFile>,
    name: String,
    broken: Arc<Mutex<BTreeSet<String>>>,
}

impl Disk for Fragile {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(name, how)?;
        Ok(Arc::new(FragileFile { inner, name: self.name.clone(), broken: self.broken.clone() }))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }
}

impl DiskFile for FragileFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.broken.lock().contains(&self.name) {
            return Err(io::Error::other("the drive is broken"));
        }
        self.inner.sync_data()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
}

impl Rig {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), broken: Arc::default() }
    }

    fn path(&self, drive: &str) -> std::path::PathBuf {
        self.dir.path().join(drive)
    }

    fn disk(&self, drive: &str) -> Arc<dyn Disk> {
        let inner = FsDisk::open(self.path(drive)).unwrap();
        Arc::new(Fragile { inner, name: drive.into(), broken: self.broken.clone() })
    }

    /// Drives named `-a` are not there.
    fn drives(&self, names: &[&str]) -> Vec<Drive> {
        let drive = |name: &&str| match name.strip_prefix('-') {
            Some(name) => Drive { name: name.into(), disk: Err(io::ErrorKind::NotFound.into()) },
            None => Drive { name: (*name).into(), disk: Ok(self.disk(name)) },
        };
        names.iter().map(drive).collect()
    }

    fn open_with(
        &self,
        names: &[&str],
        accept_loss: bool,
    ) -> Result<(MirrorDisk, MirrorReport, Log), MirrorError> {
        let config = MirrorConfig { accept_loss, ..MirrorConfig::default() };
        let (mirror, report) = MirrorDisk::open(self.drives(names), config)?;
        let (log, _) = Log::open(Arc::new(mirror.clone()), config_of_log()).unwrap();
        Ok((mirror, report, log))
    }

    fn open(&self, names: &[&str]) -> (MirrorDisk, MirrorReport, Log) {
        self.open_with(names, false).unwrap()
    }
}

fn config_of_log() -> LogConfig {
    LogConfig { preallocate: Preallocate::Background, ..config() }
}

fn states(status: &MirrorStatus) -> Vec<DriveState> {
    status.drives.iter().map(|drive| drive.state.clone()).collect()
}

fn segment(dir: &Path, id: u64) -> Vec<u8> {
    fs::read(dir.join(format!("{id:016x}.log"))).unwrap()
}

#[test]
fn all_members_have_the_same_log_and_any_of_them_is_enough() {
    let rig = Rig::new();
    let (_, report, mut log) = rig.open(&["a", "b", "c"]);
    assert!(report.formed && report.status.epoch == 1);
    let all = fill(&mut log, 0, 100, 3);
    drop(log);
    for id in 1..=all.last().unwrap().0.segment {
        let one = segment(&rig.path("a"), id);
        assert!(one == segment(&rig.path("b"), id) && one == segment(&rig.path("c"), id));
    }
    for only in ["a", "b", "c"] {
        let names =
            ["a", "b", "c"].map(|name| if name == only { name.to_owned() } else { format!("-{name}") });
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let copy = Rig::new();
        fs::create_dir(copy.path(only)).unwrap();
        for entry in fs::read_dir(rig.path(only)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path(only).join(entry.file_name())).unwrap();
        }
        assert!(matches!(copy.open_with(&names, false), Err(MirrorError::MembersMissing { .. })));
        let (_, report, log) = copy.open_with(&names, true).unwrap();
        assert!(report.loss_accepted && !report.formed);
        assert_eq!(replay(&log, None).unwrap(), all);
    }
}

#[test]
fn a_drive_whose_sync_fails_leaves_and_is_not_read_until_it_was_copied_to() {
    let rig = Rig::new();
    let (mirror, _, mut log) = rig.open(&["a", "b"]);
    let mut all = fill(&mut log, 0, 10, 3);
    rig.broken.lock().insert("a".into());
    all.extend(fill(&mut log, 10, 60, 3));
    assert!(matches!(&states(&mirror.status())[..], [DriveState::Lost(_), DriveState::InSet]));
    assert!(mirror.status().epoch > 1);
    drop((log, mirror));
    rig.broken.lock().clear();
    // The drive works again, but does not know what it missed.
    assert!(matches!(rig.open_with(&["a", "-b"], false), Err(MirrorError::MembersMissing { .. })));
    let (mirror, _, mut log) = rig.open(&["a", "b"]);
    assert_eq!(states(&mirror.status()), [DriveState::Stale, DriveState::InSet]);
    assert_eq!(replay(&log, None).unwrap(), all);
    mirror.resync(0, rig.disk("a")).unwrap();
    assert_eq!(states(&mirror.status()), [DriveState::InSet, DriveState::InSet]);
    rig.broken.lock().insert("b".into());
    all.extend(fill(&mut log, 70, 10, 3));
    drop((log, mirror));
    let (_, _, log) = rig.open(&["a", "-b"]);
    assert_eq!(replay(&log, None).unwrap(), all);
}

#[test]
fn a_log_on_one_drive_becomes_a_mirror() {
    let rig = Rig::new();
    let (mut log, _) = Log::open(rig.disk("a"), config()).unwrap();
    let all = fill(&mut log, 0, 100, 3);
    drop(log);
    let (mirror, report, log) = rig.open(&["a", "b"]);
    assert!(report.formed);
    assert_eq!(states(&report.status), [DriveState::InSet, DriveState::Blank]);
    assert_eq!(replay(&log, None).unwrap(), all);
    mirror.resync(1, rig.disk("b")).unwrap();
    assert!(matches!(mirror.resync(1, rig.disk("b")), Err(MirrorError::InUse { .. })));
    assert_eq!(segment(&rig.path("a"), 1), segment(&rig.path("b"), 1));
}

#[test]
fn a_drive_is_copied_to_while_the_log_goes_on() {
    let rig = Rig::new();
    let (mirror, _, mut log) = rig.open(&["a"]);
    let mut all = fill(&mut log, 0, 300, 3);
    drop((log, mirror));
    let (mirror, _, mut log) = rig.open(&["a", "b"]);
    let copier = {
        let (mirror, disk) = (mirror.clone(), rig.disk("b"));
        std::thread::spawn(move || mirror.resync(1, disk))
    };
    let mut next = 300;
    while !copier.is_finished() {
        all.extend(fill(&mut log, next, 10, 2));
        let oldest = log.reader().segments()[0];
        if oldest.sealed {
            log.remove_segment(oldest.id).unwrap();
            all.retain(|(at, _)| at.segment != oldest.id);
        }
        next += 10;
    }
    copier.join().unwrap().unwrap();
    all.extend(fill(&mut log, next, 10, 2));
    rig.broken.lock().insert("a".into());
    all.extend(fill(&mut log, next + 10, 10, 2));
    drop((log, mirror));
    let (_, _, log) = rig.open(&["-a", "b"]);
    assert_eq!(replay(&log, None).unwrap(), all);
}

#[test]
fn rot_is_read_around_and_healed() {
    let rig = Rig::new();
    let (mirror, _, mut log) = rig.open(&["a", "b"]);
    let all = fill(&mut log, 0, 100, 3);
    let rot = |drive: &str, n: usize| {
        let path = rig.path(drive).join(format!("{:016x}.log", all[n].0.segment));
        let mut bytes = fs::read(&path).unwrap();
        bytes[all[n].0.offset as usize] ^= 1;
        // In place: the log has the file open.
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    };
    let reader = log.reader();
    rot("a", 5);
    assert_eq!(reader.read(all[5].0).unwrap(), all[5].1);
    assert_eq!(mirror.status().healed, 1);
    rot("a", 7);
    rot("b", 8);
    assert_eq!(replay(&log, None).unwrap(), all);
    assert_eq!(mirror.status().healed, 2);
    assert_eq!(reader.scrub_segment(all[8].0.segment).unwrap().healed, 1);
    assert_eq!(reader.scrub_segment(all[8].0.segment).unwrap().healed, 0);
    // On both: lost, and reported.
    rot("a", 9);
    rot("b", 9);
    assert!(matches!(reader.read(all[9].0), Err(LogError::Corrupt { .. })));
    assert!(matches!(reader.scrub_segment(all[9].0.segment), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_batch_that_only_one_drive_has_is_the_same_on_both_afterwards() {
    let rig = Rig::new();
    let (_, _, mut log) = rig.open(&["a", "b"]);
    let all = fill(&mut log, 0, 6, 3);
    drop(log);
    // Drive b lost the last record, and drive a rotted before it.
    let last = all.last().unwrap();
    let path = |drive: &str| rig.path(drive).join(format!("{:016x}.log", last.0.segment));
    let mut bytes = fs::read(path("b")).unwrap();
    bytes[last.0.start().offset as usize..].fill(0);
    fs::write(path("b"), &bytes).unwrap();
    let mut bytes = fs::read(path("a")).unwrap();
    bytes[all[1].0.offset as usize] ^= 1;
    fs::write(path("a"), &bytes).unwrap();
    let (_, report, log) = rig.open(&["a", "b"]);
    assert!(report.equalised.rewritten > 0 && report.status.healed > 0);
    assert_eq!(replay(&log, None).unwrap(), all);
    assert_eq!(fs::read(path("a")).unwrap(), fs::read(path("b")).unwrap());
}

#[test]
fn foreign_drives_and_files_are_refused_and_left_alone() {
    let rig = Rig::new();
    let names = |result: Result<_, MirrorError>| result.map(|_: (MirrorDisk, MirrorReport, Log)| ());
    drop(rig.open(&["a"]));
    drop(rig.open(&["b"]));
    assert!(matches!(names(rig.open_with(&["a", "b"], true)), Err(MirrorError::Foreign { .. })));
    fs::create_dir(rig.path("c")).unwrap();
    fs::write(rig.path("c").join("0000000000000001.log"), "someone's").unwrap();
    assert!(matches!(names(rig.open_with(&["a", "c"], true)), Err(MirrorError::Unclaimed { .. })));
    let (mirror, _, _log) = rig.open(&["a", "d"]);
    assert!(matches!(mirror.resync(1, rig.disk("b")), Err(MirrorError::Foreign { .. })));
    assert!(matches!(mirror.resync(1, rig.disk("c")), Err(MirrorError::Unclaimed { .. })));
    assert_eq!(fs::read(rig.path("c").join("0000000000000001.log")).unwrap(), b"someone's");
    assert!(MirrorDisk::open(Vec::new(), MirrorConfig::default()).is_err());
}
