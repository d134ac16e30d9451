//! Cuts: images of a moment.

use super::*;
use terrane_block::engine::{Contents, CutId, Phase};

const CUT: CutId = CutId(1);

/// One block of a cut: its kind and its first byte, all bytes being equal.
fn peek_cut(copy: &Copy, cut: CutId, at: u64) -> (Kind, u8) {
    let mut buf = vec![0xee; BLOCK];
    let found = copy.read_cut(cut, at, &mut buf).unwrap();
    assert!(buf.iter().all(|byte| *byte == buf[0]));
    match found {
        Contents::All(kind) => (kind, buf[0]),
        mixed => panic!("one block of {mixed:?}"),
    }
}

fn chunks(copy: &Copy, since: CutId, until: Option<CutId>) -> Option<Vec<u64>> {
    copy.changed(since, until).unwrap().map(|changed| changed.runs().flatten().collect())
}

fn files(dir: &tempfile::TempDir, suffix: &str) -> usize {
    let names = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(suffix)).count()
}

fn phases(copy: &Copy) -> Vec<Phase> {
    copy.cuts().into_iter().map(|cut| cut.phase).collect()
}

#[test]
fn a_cut_shows_what_was_there_and_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    copy.write(0, &[block(1), block(2), block(3)].concat()).unwrap();
    copy.zero(1, 1).unwrap();
    copy.take_cut(CUT).unwrap();
    assert_eq!(phases(&copy), [Phase::Pending]);
    assert!(!copy.is_flushed() || copy.cuts().is_empty());
    let before = |copy: &Copy| {
        assert_eq!(peek_cut(copy, CUT, 0), (Kind::Data, 1));
        assert_eq!(peek_cut(copy, CUT, 1), (Kind::Zero, 0));
        assert_eq!(peek_cut(copy, CUT, 2), (Kind::Data, 3));
        assert_eq!(peek_cut(copy, CUT, 3), (Kind::Absent, 0));
        assert_eq!(peek_cut(copy, CUT, 1030), (Kind::Absent, 0));
        let mut buf = vec![0; 128 * BLOCK];
        assert!(!copy.read_cut(CUT, 0, &mut buf).unwrap().is_damaged());
    };
    before(&copy);
    // Also before the flush that makes it durable.
    copy.write(0, &block(7)).unwrap();
    before(&copy);
    copy.flush().unwrap();
    assert_eq!(phases(&copy), [Phase::Durable]);
    copy.zero(0, 4).unwrap();
    copy.write(3, &block(8)).unwrap();
    copy.write(1030, &block(9)).unwrap();
    copy.flush().unwrap();
    before(&copy);
    assert_eq!((peek(&copy, 2), peek(&copy, 3)), ((Kind::Zero, 0), (Kind::Data, 8)));
    assert_eq!(pool.usage().unwrap().cut_bytes, 2 * BLOCK as u64);
    drop((copy, pool));
    let pool = open(&dir);
    let copy = pool.open_copy(KEY).unwrap();
    assert_eq!(phases(&copy), [Phase::Durable]);
    before(&copy);
    copy.write(0, &[block(4), block(5), block(6)].concat()).unwrap();
    before(&copy);
    copy.release_cut(CUT).unwrap();
    assert!(matches!(copy.read_cut(CUT, 0, &mut block(0)), Err(EngineError::NoCut(CUT))));
    assert_eq!((files(&dir, ".cut"), pool.usage().unwrap().cut_bytes), (0, 0));
    assert_eq!(peek(&copy, 2), (Kind::Data, 6));
}

#[test]
fn several_cuts_keep_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (_pool, copy) = one_copy(&dir);
    for id in 1..=4 {
        copy.write(0, &block(id as u8)).unwrap();
        copy.take_cut(CutId(id)).unwrap();
        assert!(matches!(copy.take_cut(CutId(9)), Err(EngineError::CutExists(_))), "one is not durable yet");
        copy.flush().unwrap();
    }
    copy.write(0, &block(9)).unwrap();
    assert!(matches!(copy.take_cut(CutId(9)), Err(EngineError::TooLarge { limit: 4, .. })));
    copy.release_cut(CutId(2)).unwrap();
    for id in [1, 3, 4] {
        assert_eq!(peek_cut(&copy, CutId(id), 0), (Kind::Data, id as u8));
    }
}

#[test]
fn a_cut_that_no_flush_has_made_durable_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    copy.write(0, &block(1)).unwrap();
    copy.take_cut(CUT).unwrap();
    copy.write(0, &block(2)).unwrap();
    drop((copy, pool));
    assert_eq!(files(&dir, ".cut"), 1);
    let (pool, report) = open_with(&dir, config()).unwrap();
    let copy = pool.open_copy(KEY).unwrap();
    assert_eq!((copy.cuts().len(), files(&dir, ".cut"), report.removed_files), (0, 0, 1));
    // The same again, ended by a new life of the copy alone.
    copy.take_cut(CUT).unwrap();
    copy.end(EngineError::Hangs);
    let copy = pool.open_copy(KEY).unwrap();
    assert_eq!((copy.cuts().len(), files(&dir, ".cut")), (0, 0));
    copy.take_cut(CUT).unwrap();
    copy.flush().unwrap();
    pool.delete_copy(KEY).unwrap();
    assert_eq!(files(&dir, ".cut"), 0);
}

#[test]
fn what_changed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    assert_eq!((copy.chunk_blocks(), chunks(&copy, CUT, None)), (128, None));
    copy.write(0, &block(1)).unwrap();
    let take = |copy: &Copy, id| {
        copy.take_cut(CutId(id)).unwrap();
        copy.flush().unwrap();
        copy.release_cut(CutId(id)).unwrap();
    };
    take(&copy, 1);
    assert_eq!(chunks(&copy, CUT, None), Some(vec![]));
    copy.write(127, &[block(2), block(2)].concat()).unwrap();
    copy.zero(1500, 1).unwrap();
    assert_eq!(chunks(&copy, CUT, None), Some(vec![0, 1, 11]));
    // Between a cut and the flush that makes it durable; one extent leaves the log meanwhile, another later.
    copy.flush().unwrap();
    copy.take_cut(CutId(2)).unwrap();
    copy.commit(vec![Op::Retire(vec![1])]).unwrap();
    copy.write(300, &block(3)).unwrap();
    copy.flush().unwrap();
    copy.write(900, &block(4)).unwrap();
    copy.flush().unwrap();
    copy.commit(vec![Op::Retire(vec![0])]).unwrap();
    let told = |copy: &Copy| {
        assert_eq!(
            chunks(copy, CutId(1), Some(CutId(2))),
            Some(vec![0, 1, 2, 11]),
            "one too many is allowed"
        );
        assert_eq!(chunks(copy, CutId(2), None), Some(vec![2, 7]));
        assert_eq!(chunks(copy, CutId(1), None), Some(vec![0, 1, 2, 7, 11]));
        assert_eq!(chunks(copy, CutId(3), None), None);
    };
    told(&copy);
    drop((copy, pool));
    let pool = open(&dir);
    let copy = pool.open_copy(KEY).unwrap();
    told(&copy);
    // An attempt that came to nothing.
    copy.forget_changes(CutId(2)).unwrap();
    assert_eq!(chunks(&copy, CutId(1), None), Some(vec![0, 1, 2, 7, 11]));
    assert_eq!(chunks(&copy, CutId(2), None), None);
    copy.commit(vec![Op::Enter(vec![2])]).unwrap();
    drop((copy, pool));
    let pool = open(&dir);
    let copy = pool.open_copy(KEY).unwrap();
    let all: Vec<u64> = [0, 1, 2, 7, 11].into_iter().chain(16..24).collect();
    assert_eq!(chunks(&copy, CutId(1), None), Some(all), "after a crash all of what was in the log");
    copy.forget_changes(CutId(1)).unwrap();
    assert!(copy.state().unwrap().cuts.changes.is_empty());
}

#[test]
fn without_room_the_cut_is_void_and_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let tight = PoolConfig { cut_bytes_max: 2 * BLOCK as u64, ..config() };
    let (pool, _) = open_with(&dir, tight.clone()).unwrap();
    let copy = pool.create_copy(KEY, 3 * 1024, vec![]).unwrap();
    copy.commit(vec![Op::Enter(vec![0, 1])]).unwrap();
    copy.write(0, &vec![1; 8 * BLOCK]).unwrap();
    copy.take_cut(CUT).unwrap();
    copy.flush().unwrap();
    copy.write(0, &block(2)).unwrap();
    copy.write(5, &block(2)).unwrap();
    assert_eq!(peek_cut(&copy, CUT, 0), (Kind::Data, 1));
    copy.write(6, &block(2)).unwrap();
    assert_eq!(peek(&copy, 6), (Kind::Data, 2));
    let is_void = |copy: &Copy| {
        let error = copy.read_cut(CUT, 0, &mut block(0)).unwrap_err();
        assert!(matches!(error, EngineError::CutVoid { cut: CUT, .. }), "{error}");
    };
    is_void(&copy);
    assert_eq!((files(&dir, ".cut"), pool.usage().unwrap().cut_bytes), (0, 0));
    assert!(copy.write_cached(7, &block(3)).unwrap(), "nothing is to be kept any more");
    copy.flush().unwrap();
    drop((copy, pool));
    let (pool, _) = open_with(&dir, tight).unwrap();
    let copy = pool.open_copy(KEY).unwrap();
    is_void(&copy);
    copy.release_cut(CUT).unwrap();
    assert!(copy.cuts().is_empty());
    // The drive has less than what is left to writes.
    drop((copy, pool));
    let (pool, _) = open_with(&dir, PoolConfig { cut_bytes_spare: u64::MAX, ..config() }).unwrap();
    let copy = pool.open_copy(KEY).unwrap();
    copy.take_cut(CutId(2)).unwrap();
    copy.write(0, &block(4)).unwrap();
    assert!(matches!(phases(&copy)[..], [Phase::Void(_)]));
    copy.flush().unwrap();
    assert!(copy.state().unwrap().cuts.cuts.is_empty(), "it is not recorded");
}

#[test]
fn a_cut_whose_file_is_lost_is_void() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    copy.take_cut(CUT).unwrap();
    copy.flush().unwrap();
    drop((copy, pool));
    for file in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        if file.file_name().to_str().unwrap().ends_with(".cut") {
            std::fs::write(file.path(), [1; 1 << 20]).unwrap();
        }
    }
    let pool = open(&dir);
    let copy = pool.open_copy(KEY).unwrap();
    assert!(matches!(phases(&copy)[..], [Phase::Void(_)]));
    copy.write(0, &block(1)).unwrap();
    assert!(matches!(copy.read_cut(CUT, 0, &mut block(0)), Err(EngineError::CutVoid { .. })));
    assert_eq!(files(&dir, ".cut"), 0);
}

#[test]
fn growing_is_after_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (_pool, copy) = one_copy(&dir);
    copy.take_cut(CUT).unwrap();
    copy.flush().unwrap();
    copy.commit(vec![Op::Grow(4096), Op::Enter(vec![2])]).unwrap();
    copy.commit(vec![Op::Enter(vec![3])]).unwrap();
    copy.write(3071, &[block(1), block(2)].concat()).unwrap();
    assert_eq!(peek_cut(&copy, CUT, 3071), (Kind::Absent, 0));
    assert!(matches!(copy.read_cut(CUT, 3072, &mut block(0)), Err(EngineError::Beyond { end: 3072, .. })));
    assert_eq!(chunks(&copy, CUT, None), Some(vec![23, 24]));
}

#[test]
fn writers_and_a_cut_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let (_pool, copy) = one_copy(&dir);
    // Each thread writes rising numbers to its blocks, the first before the second.
    std::thread::scope(|scope| {
        for lane in 0..4_u64 {
            let copy = &copy;
            scope.spawn(move || {
                for round in 1..=100_u8 {
                    copy.write(lane * 8, &block(round)).unwrap();
                    copy.write(1024 + lane * 8, &block(round)).unwrap();
                }
            });
        }
        for id in 1..=4 {
            copy.take_cut(CutId(id)).unwrap();
            copy.flush().unwrap();
        }
    });
    for id in 1..=4 {
        for lane in 0..4 {
            let first = peek_cut(&copy, CutId(id), lane * 8).1;
            let second = peek_cut(&copy, CutId(id), 1024 + lane * 8).1;
            assert!(first == second || first == second + 1, "{first} then {second}");
        }
    }
}
