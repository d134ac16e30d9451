//! Which directories are drives.

use super::*;
use std::fs;

/// Three directories and the store's own.
struct Rig {
    _dir: tempfile::TempDir,
    main: PathBuf,
    drives: Vec<PathBuf>,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("main");
    fs::create_dir(&main).unwrap();
    let drives = ["a", "b", "c"].map(|name| dir.path().join(name)).to_vec();
    Rig { _dir: dir, main, drives }
}

impl Rig {
    fn open(&self) -> Result<DriveSet, DriveError> {
        let set = DriveSet::open(&self.drives, &self.main)?;
        set.settle(&self.main)?;
        Ok(set)
    }

    /// Makes the store one that has been written to.
    fn use_it(&self) {
        for drive in &self.drives {
            fs::create_dir_all(drive.join("log")).unwrap();
            fs::write(drive.join("log/segment"), b"records").unwrap();
        }
    }
}

fn states(set: &DriveSet) -> Vec<DriveState> {
    set.status().iter().map(|drive| drive.state).collect()
}

use DriveState::{Live, Missing};

#[test]
fn new_drives_are_made_and_known_again_in_any_order() {
    let mut rig = rig();
    let first = rig.open().unwrap();
    assert_eq!(states(&first), [Live, Live, Live]);
    assert_eq!(first.home(), rig.drives[0]);
    rig.use_it();
    let ids: Vec<_> = first.status().iter().map(|drive| drive.id.clone().unwrap()).collect();
    rig.drives.rotate_left(1);
    let again = rig.open().unwrap();
    let rotated: Vec<_> = again.status().iter().map(|drive| drive.id.clone().unwrap()).collect();
    assert_eq!(rotated, [ids[1].clone(), ids[2].clone(), ids[0].clone()]);
    assert_eq!(again.home(), rig.drives[2], "the keymap is where it was");
}

#[test]
fn foreign_copied_and_filled_directories_are_refused() {
    let (rig, other) = (rig(), rig());
    rig.open().unwrap();
    rig.use_it();
    other.open().unwrap();
    let with = |drives: &[&PathBuf]| {
        let drives: Vec<PathBuf> = drives.iter().map(|drive| (*drive).clone()).collect();
        DriveSet::open(&drives, &rig.main).map(|_| ())
    };
    let [a, b, c] = &rig.drives[..] else { panic!() };
    assert!(matches!(with(&[a, b, &other.drives[0]]), Err(DriveError::Foreign { .. })));
    assert!(matches!(with(&[&other.drives[0], &other.drives[1]]), Err(DriveError::Foreign { .. })));
    assert!(matches!(with(&[a, a]), Err(DriveError::Twice { .. })));
    assert!(matches!(with(&[]), Err(DriveError::Configured(_))));
    fs::copy(a.join("drive"), c.join("drive")).unwrap();
    fs::copy(a.join("drive"), c.join("drive.copy")).unwrap();
    assert!(matches!(with(&[a, b, c]), Err(DriveError::Twice { .. })));

    let filled = self::rig();
    fs::create_dir(&filled.drives[1]).unwrap();
    fs::write(filled.drives[1].join("thesis.txt"), b"x").unwrap();
    assert!(matches!(filled.open(), Err(DriveError::NotEmpty(_))));
    let plain = self::rig();
    fs::create_dir(plain.main.join("log")).unwrap();
    fs::write(plain.main.join("log/segment"), b"records").unwrap();
    assert!(matches!(plain.open(), Err(DriveError::Unlisted(_))));
    DriveSet::check_plain(&plain.main).unwrap();
    assert!(matches!(DriveSet::check_plain(&rig.main), Err(DriveError::Unnamed(_))));
    let adopting = [plain.main.clone(), plain.drives[0].clone()];
    let set = DriveSet::open(&adopting, &plain.main).unwrap();
    set.settle(&plain.main).unwrap();
    assert_eq!((states(&set), set.home()), (vec![Live, Live], &*plain.main));
}

#[test]
fn an_empty_directory_is_not_used_before_an_operator_says_so() {
    let rig = rig();
    rig.open().unwrap();
    rig.use_it();
    fs::remove_dir_all(&rig.drives[1]).unwrap();
    let set = rig.open().unwrap();
    assert_eq!(states(&set), [Live, Missing, Live]);
    assert_eq!(set.place(3, &[]).len(), 2);
    assert!(matches!(set.replace(&rig.drives[0]), Err(DriveError::NotReplaceable(_))));
    assert!(matches!(set.replace(Path::new("/nowhere")), Err(DriveError::NotReplaceable(_))));
    fs::create_dir(&rig.drives[1]).unwrap();
    fs::write(rig.drives[1].join("something"), b"x").unwrap();
    assert!(matches!(set.replace(&rig.drives[1]), Err(DriveError::NotEmpty(_))));
    fs::remove_file(rig.drives[1].join("something")).unwrap();
    set.replace(&rig.drives[1]).unwrap();
    assert_eq!(states(&set), [Live, Live, Live]);
    assert_eq!(states(&rig.open().unwrap()), [Live, Live, Live]);
    for drive in &rig.drives {
        fs::remove_dir_all(drive).unwrap();
    }
    assert!(matches!(rig.open(), Err(DriveError::NoneThere)), "unmounted drives are not new ones");
}

#[test]
fn the_home_moves_when_its_drive_is_lost_and_an_old_one_does_not_come_back() {
    let rig = rig();
    rig.open().unwrap();
    rig.use_it();
    for drive in &rig.drives {
        fs::create_dir(drive.join("keymap")).unwrap();
    }
    let away = rig.main.join("away");
    fs::rename(&rig.drives[0], &away).unwrap();
    // A start that goes no further changes nothing.
    drop(DriveSet::open(&rig.drives, &rig.main).unwrap());
    assert!(rig.drives[1].join("keymap").exists());
    assert_eq!(rig.open().unwrap().home(), rig.drives[1]);
    assert!(!rig.drives[1].join("keymap").exists(), "what lay there is not the latest");
    fs::rename(&away, &rig.drives[0]).unwrap();
    assert_eq!(rig.open().unwrap().home(), rig.drives[1]);
}

#[test]
fn a_drive_that_fails_leaves_the_set_and_room_decides_about_places() {
    let rig = rig();
    let set = rig.open().unwrap();
    for (drive, free) in set.all().iter().zip([1 << 20, 1 << 30, (1 << 30) + 5]) {
        drive.free.store(free, Ordering::Relaxed);
    }
    let places = |count| set.place(count, &[]).iter().map(|drive| drive.number).collect::<Vec<_>>();
    let firsts: std::collections::BTreeSet<usize> = (0..6).map(|_| places(1)[0]).collect();
    assert_eq!(firsts, [1, 2].into(), "the two with room take turns");
    assert_eq!(places(3)[2], 0);
    assert!(set.place(3, &[1, 2]).iter().all(|drive| drive.number == 0));
    set.all()[2].fail(&io::Error::other("gone"));
    assert_eq!(places(3), [1, 0]);
    assert_eq!(states(&set)[2], DriveState::Failed);
    let plain = DriveSet::plain(&rig.main);
    plain.all()[0].fail(&io::Error::other("gone"));
    assert_eq!(states(&plain), [Live], "the only drive stays");
}
