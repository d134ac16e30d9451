use super::*;
use proptest::prelude::*;

fn disk(seed: u64) -> (SimDisk, Coverage) {
    let coverage = Coverage::default();
    (SimDisk::new(&mut SimRng::new(seed), 1 << 20, coverage.clone()), coverage)
}

fn file_with(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(name, Open::Create).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    file
}

#[test]
fn what_was_synced_survives_every_crash_and_the_rest_may_not() {
    let mut kept_some = 0;
    for seed in 0..200 {
        let (disk, _) = disk(seed);
        let file = file_with(&disk, "a", &[1; 4096]);
        file.write_at(&[2; 2048], 1024).unwrap();
        disk.crash(Loss::AnySector);
        let bytes = disk.contents("a").unwrap();
        assert!(bytes[..1024].iter().chain(&bytes[3072..]).all(|b| *b == 1));
        let twos = bytes.iter().filter(|b| **b == 2).count();
        kept_some += usize::from(twos > 0 && twos < 2048);
        assert!(file.read_at(&mut [0], 0).is_err(), "handles end with the crash");
    }
    assert!(kept_some > 50);
}

#[test]
fn a_process_that_dies_loses_nothing_and_a_total_loss_loses_all() {
    for (loss, expected) in [(Loss::Nothing, 2), (Loss::Everything, 1)] {
        let (disk, _) = disk(1);
        file_with(&disk, "a", &[1; 100]).write_at(&[2; 100], 0).unwrap();
        disk.crash(loss);
        assert_eq!(disk.contents("a").unwrap(), [expected; 100]);
    }
}

#[test]
fn a_failed_sync_forgets_writes_that_reads_still_see() {
    let lost = (0..50).any(|seed| {
        let (disk, _) = disk(seed);
        let file = file_with(&disk, "a", &[1; 2048]);
        disk.set_faults(DiskFaults { sync_fails: 1, ..DiskFaults::default() });
        file.write_at(&[2; 2048], 0).unwrap();
        assert!(file.sync_data().is_err());
        disk.set_faults(DiskFaults::default());
        file.sync_data().unwrap();
        assert_eq!(disk.contents("a").unwrap(), [2; 2048]);
        disk.crash(Loss::AnySector);
        disk.contents("a").unwrap().contains(&1)
    });
    assert!(lost);
}

#[test]
fn names_are_durable_only_after_their_sync() {
    let (disk, coverage) = disk(1);
    file_with(&disk, "a", b"x");
    disk.open("b", Open::Create).unwrap();
    disk.rename("a", "c").unwrap();
    assert_eq!(disk.list().unwrap(), ["b", "c"]);
    disk.crash(Loss::Everything);
    assert_eq!(disk.list().unwrap(), ["a"]);
    disk.remove("a").unwrap();
    assert!(disk.open("a", Open::Read).is_err());
    disk.crash(Loss::Everything);
    assert_eq!(disk.contents("a").unwrap(), b"x");
    assert_eq!(coverage.get("disk.name_lost"), 3);
}

#[test]
fn a_full_disk_refuses_what_needs_room_and_overwrites_still_work() {
    let (disk, _) = disk(1);
    disk.set_capacity(1000);
    let file = file_with(&disk, "a", &[1; 900]);
    assert_eq!(disk.free_space().unwrap(), 100);
    let full = disk.open("b", Open::Create).unwrap().allocate(101).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[2; 1001], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(&[2; 900], 0).unwrap();
    disk.remove("a").unwrap();
    assert_eq!(disk.free_space().unwrap(), 100, "an open file keeps its room");
    drop(file);
    disk.sync_dir().unwrap();
    assert_eq!(disk.free_space().unwrap(), 1000);
}

#[test]
fn rot_changes_one_bit_within_its_range() {
    let (disk, _) = disk(1);
    file_with(&disk, "a", &[0; 100]);
    let rot = disk.rot("a", 40..60).unwrap();
    assert!((40..60).contains(&rot.at));
    disk.crash(Loss::Everything);
    let ones: u32 = disk.contents("a").unwrap().iter().map(|b| b.count_ones()).sum();
    assert_eq!(ones, 1);
    disk.heal("a", rot);
    assert_eq!(disk.contents("a").unwrap(), [0; 100]);
    assert_eq!(disk.rot("a", 100..200), None);
    assert_eq!(disk.rot("b", 0..1), None);
}

proptest! {
    /// Without a crash a file is a byte array, whatever is synced in between.
    #[test]
    fn reads_see_the_last_writes(
        ops in proptest::collection::vec((0u64..3000, 1usize..700, any::<u8>(), any::<bool>()), 1..30),
    ) {
        let (disk, _) = disk(1);
        let file = disk.open("a", Open::Create).unwrap();
        let mut model = Vec::new();
        for (at, len, byte, sync) in ops {
            file.write_at(&vec![byte; len], at).unwrap();
            let end = at as usize + len;
            model.resize(model.len().max(end), 0u8);
            model[at as usize..end].fill(byte);
            if sync {
                file.sync_data().unwrap();
            }
        }
        let mut read = vec![0; model.len()];
        file.read_at(&mut read, 0).unwrap();
        prop_assert_eq!(read, model);
        prop_assert!(file.read_at(&mut [0; 1], file.len().unwrap()).is_err());
    }
}

#[test]
fn the_power_goes_in_the_middle_of_a_change_and_comes_back_with_the_crash() {
    let (disk, coverage) = disk(1);
    let file = file_with(&disk, "a", &[1; 2048]);
    disk.power_off_after(2);
    file.write_at(&[2; 2048], 0).unwrap();
    assert!(!disk.is_off());
    assert!(file.sync_data().is_err());
    assert!(disk.is_off());
    assert!(file.write_at(&[3; 2048], 0).is_err() && disk.sync_dir().is_err());
    disk.crash(Loss::Everything);
    assert!(!disk.is_off());
    assert!(disk.contents("a").unwrap().iter().all(|b| *b == 1));
    disk.open("a", Open::Write).unwrap().sync_data().unwrap();
    assert_eq!(coverage.get("disk.power_off"), 1);
}

#[test]
fn an_unplugged_disk_fails_alone_and_what_was_open_stays_dead() {
    let (disk, coverage) = disk(1);
    let other = disk.beside(&mut SimRng::new(2), 1 << 20);
    let file = file_with(&disk, "a", &[1; 10]);
    let elsewhere = file_with(&other, "a", &[1; 10]);
    disk.unplug(Loss::Everything);
    assert!(!disk.is_plugged() && coverage.get("disk.unplugged") == 1);
    assert!(disk.list().is_err() && disk.open("a", Open::Read).is_err() && disk.free_space().is_err());
    elsewhere.write_at(&[2; 10], 0).unwrap();
    disk.plug();
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(disk.open("a", Open::Read).unwrap().read_at(&mut [0; 10], 0).is_ok());
}

#[test]
fn the_power_goes_for_all_disks_of_a_machine() {
    let (disk, _) = disk(1);
    let other = disk.beside(&mut SimRng::new(2), 1 << 20);
    let file = file_with(&other, "a", &[1; 10]);
    disk.power_off_after(1);
    assert!(file.write_at(&[2; 10], 0).is_err());
    assert!(disk.is_off() && other.is_off());
    assert!(disk.open("b", Open::Create).is_err());
    for disk in [&disk, &other] {
        disk.crash(Loss::Everything);
    }
    assert_eq!(other.contents("a").unwrap(), [1; 10]);
}
