//! Copies whose blocks are fetched as they are needed.

use super::*;
use terrane_block::engine::CutId;

fn lazy(dir: &tempfile::TempDir) -> (Pool, Arc<Copy>) {
    let pool = open(dir);
    let copy = pool.create_lazy_copy(KEY, 1024, vec![], b"snapshot 7".to_vec()).unwrap();
    copy.commit(vec![Op::Enter(vec![0])]).unwrap();
    (pool, copy)
}

#[test]
fn fills_only_what_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = lazy(&dir);
    assert_eq!(copy.state().unwrap().cuts.origin.unwrap().source, b"snapshot 7");
    assert_eq!(peek(&copy, 0), (Kind::Unfetched, 0));
    copy.write(1, &block(1)).unwrap();
    copy.zero(3, 2).unwrap();
    assert_eq!(copy.unfetched(0, 8, 9).unwrap(), [0..1, 2..3, 5..8]);
    assert_eq!(copy.unfetched(0, 1024, 1).unwrap(), [0..1]);
    assert_eq!(copy.allocated(0, 8, 9).unwrap(), [(3, true), (2, false), (3, true)]);
    let chunk = [block(9), block(9), block(9), block(9), block(9), block(0), block(9)].concat();
    copy.fill(0, &chunk).unwrap();
    let filled = |copy: &Copy| {
        let found: Vec<_> = (0..8).map(|at| peek(copy, at)).collect();
        let data = |byte| (Kind::Data, byte);
        let zero = (Kind::Zero, 0);
        assert_eq!(found, [data(9), data(1), data(9), zero, zero, zero, data(9), (Kind::Unfetched, 0)]);
    };
    filled(&copy);
    copy.fill(0, &vec![8; 7 * BLOCK]).unwrap();
    filled(&copy);
    assert_eq!(copy.usage().unwrap().data_bytes, 4 * BLOCK as u64);
    drop((copy, pool));
    let pool = open(&dir);
    let copy = pool.open_copy(KEY).unwrap();
    filled(&copy);
    assert!(matches!(copy.fill(0, &[1; 9]), Err(EngineError::Misaligned { .. })));
}

#[test]
fn a_restore_ends_when_nothing_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = lazy(&dir);
    copy.fill(0, &vec![1; 1000 * BLOCK]).unwrap();
    assert!(matches!(copy.end_restore(), Err(EngineError::Unfetched { block: 1000 })));
    copy.commit(vec![Op::Grow(2000)]).unwrap();
    assert_eq!(peek(&copy, 1500), (Kind::Absent, 0), "what it grew by was never in the snapshot");
    copy.zero(1000, 24).unwrap();
    copy.take_cut(CutId(1)).unwrap();
    assert!(matches!(copy.end_restore(), Err(EngineError::CutExists(CutId(1)))));
    copy.release_cut(CutId(1)).unwrap();
    copy.end_restore().unwrap();
    copy.end_restore().unwrap();
    assert!(!copy.is_lazy());
    drop((copy, pool));
    let copy = open(&dir).open_copy(KEY).unwrap();
    assert!(!copy.is_lazy() && copy.state().unwrap().cuts.origin.is_none());
    assert!(matches!(open_lazy_too_large(), Err(EngineError::TooLarge { .. })));
}

fn open_lazy_too_large() -> Result<Arc<Copy>, EngineError> {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).create_lazy_copy(KEY, 8, vec![], vec![0; 5000])
}

#[test]
fn a_cut_of_a_restore_knows_what_was_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (_pool, copy) = lazy(&dir);
    let cut = CutId(1);
    copy.write(1, &block(1)).unwrap();
    copy.take_cut(cut).unwrap();
    copy.flush().unwrap();
    copy.fill(0, &vec![9; 4 * BLOCK]).unwrap();
    copy.zero(4, 1).unwrap();
    copy.write(1, &block(2)).unwrap();
    let kind = |at| {
        let mut buf = block(7);
        let found = copy.read_cut(cut, at, &mut buf).unwrap();
        (found, buf[0])
    };
    let all = terrane_block::engine::Contents::All;
    assert_eq!([kind(0), kind(1)], [(all(Kind::Unfetched), 0), (all(Kind::Data), 1)]);
    assert_eq!([kind(3), kind(4)], [(all(Kind::Unfetched), 0), (all(Kind::Unfetched), 0)]);
    let changed = copy.changed(cut, None).unwrap().unwrap();
    assert_eq!(changed.runs().collect::<Vec<_>>(), [0..1]);
    copy.flush().unwrap();
    copy.release_cut(cut).unwrap();
    copy.take_cut(CutId(2)).unwrap();
    copy.flush().unwrap();
    copy.fill(0, &vec![9; 1024 * BLOCK]).unwrap();
    assert!(copy.changed(CutId(2), None).unwrap().unwrap().is_empty(), "filling changes nothing");
}
