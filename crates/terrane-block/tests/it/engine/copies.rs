use super::*;
use terrane_block::engine::{Contents, Run};

#[test]
fn what_is_written_is_read_and_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    copy.write(5, &block(1)).unwrap();
    copy.write(1020, &[block(2), block(3), block(4), block(5), block(6), block(7)].concat()).unwrap();
    copy.zero(1021, 2).unwrap();
    let check = |copy: &Copy| {
        assert_eq!(peek(copy, 4), (Kind::Absent, 0));
        assert_eq!(peek(copy, 5), (Kind::Data, 1));
        let mut buf = vec![9; 7 * BLOCK];
        let run = |first, blocks, kind| Run { first, blocks, kind };
        let wanted = vec![
            run(1020, 1, Kind::Data),
            run(1021, 2, Kind::Zero),
            run(1023, 3, Kind::Data),
            run(1026, 1, Kind::Absent),
        ];
        assert_eq!(copy.read(1020, &mut buf).unwrap(), Contents::Mixed(wanted));
        let bytes: Vec<u8> = buf.chunks(BLOCK).map(|block| block[BLOCK - 1]).collect();
        assert_eq!(bytes, [2, 0, 0, 5, 6, 7, 0]);
        assert_eq!(copy.usage().unwrap().data_bytes, 5 * BLOCK as u64);
    };
    check(&copy);
    // Dropped without a flush: as a process that is killed.
    drop((copy, pool));
    let pool = open(&dir);
    let copy = pool.open_copy(KEY).unwrap();
    assert_eq!(copy.state().unwrap().record, b"record");
    check(&copy);
    copy.flush().unwrap();
    copy.commit(vec![Op::Retire(vec![0, 1])]).unwrap();
    assert_eq!(copy.usage().unwrap().log_extents, 0);
    check(&copy);
    assert!((0..copy.extents()).all(|extent| copy.verify(extent).unwrap().is_empty()));
    drop((copy, pool));
    let pool = open(&dir);
    assert_eq!(pool.usage().unwrap().data_bytes, 5 * BLOCK as u64);
    check(&pool.open_copy(KEY).unwrap());
}

#[test]
fn writes_need_the_activity_log_and_the_log_needs_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let (_pool, copy) = one_copy(&dir);
    assert!(matches!(copy.write(2048, &block(1)), Err(EngineError::NotLogged { extent: 2 })));
    assert!(matches!(copy.zero(2048, 1), Err(EngineError::NotLogged { extent: 2 })));
    assert!(copy.is_logged(0, 2048) && !copy.is_logged(2047, 2));
    copy.write(0, &block(1)).unwrap();
    let retire = || copy.commit(vec![Op::Retire(vec![0])]);
    assert!(matches!(retire(), Err(EngineError::Unflushed { extent: 0 })));
    copy.write(0, &block(2)).unwrap();
    copy.flush().unwrap();
    retire().unwrap();
    assert!(matches!(copy.write(0, &block(1)), Err(EngineError::NotLogged { extent: 0 })));
    copy.commit(vec![Op::Enter(vec![0])]).unwrap();
    copy.write(1, &block(3)).unwrap();
    assert_eq!((peek(&copy, 0), peek(&copy, 1)), ((Kind::Data, 2), (Kind::Data, 3)));
}

#[test]
fn what_a_copy_keeps_besides_its_blocks_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    let mark = |peer, runs: &[std::ops::Range<u64>]| Op::Mark { peer, runs: runs.to_vec() };
    copy.commit(vec![mark(1, &[5..9, 20..30]), mark(2, &[]), mark(3, &[1..2])]).unwrap();
    copy.commit(vec![Op::Record(b"other".to_vec()), Op::Forget { peer: 3 }, Op::Grow(5000)]).unwrap();
    copy.flush().unwrap();
    copy.commit(vec![Op::Retire(vec![1]), mark(1, &[8..21]), Op::Enter(vec![4])]).unwrap();
    drop((copy, pool));
    let copy = open(&dir).open_copy(KEY).unwrap();
    let state = copy.state().unwrap();
    assert_eq!(state.record, b"other");
    assert_eq!(state.log.into_iter().collect::<Vec<_>>(), [0, 4]);
    assert_eq!(state.bitmaps[&1].runs().collect::<Vec<_>>(), [5..30]);
    assert!(state.bitmaps[&2].is_empty() && !state.bitmaps.contains_key(&3));
    assert_eq!((copy.blocks(), peek(&copy, 4999)), (5000, (Kind::Absent, 0)));
}

#[test]
fn bad_requests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    assert!(matches!(copy.write(0, &[1; 100]), Err(EngineError::Misaligned { len: 100 })));
    assert!(matches!(copy.read(0, &mut []), Err(EngineError::Misaligned { len: 0 })));
    assert!(matches!(copy.write(3071, &[1; 2 * BLOCK]), Err(EngineError::Beyond { end: 3072, .. })));
    assert!(matches!(copy.zero(u64::MAX, 2), Err(EngineError::Beyond { .. })));
    assert!(matches!(copy.verify(u64::MAX), Err(EngineError::Beyond { .. })));
    let commit = |op| copy.commit(vec![op]);
    assert!(matches!(commit(Op::Enter(vec![3])), Err(EngineError::Beyond { .. })));
    assert!(matches!(commit(Op::Record(vec![0; 70_000])), Err(EngineError::TooLarge { .. })));
    assert!(matches!(commit(Op::Mark { peer: 1, runs: vec![0..4000] }), Err(EngineError::Beyond { .. })));
    assert!(matches!(pool.create_copy(KEY, 1, vec![]), Err(EngineError::Exists(KEY))));
    assert!(matches!(pool.open_copy(CopyKey(1)), Err(EngineError::NoCopy(CopyKey(1)))));
}

#[test]
fn the_activity_log_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, _) = open_with(&dir, PoolConfig { log_extents: 2, ..config() }).unwrap();
    let copy = pool.create_copy(KEY, 3 * 1024, vec![]).unwrap();
    copy.commit(vec![Op::Enter(vec![0, 1])]).unwrap();
    copy.commit(vec![Op::Enter(vec![1])]).unwrap();
    assert!(matches!(copy.commit(vec![Op::Enter(vec![2])]), Err(EngineError::LogFull { limit: 2 })));
    copy.commit(vec![Op::Retire(vec![0]), Op::Enter(vec![2])]).unwrap();
}

#[test]
fn many_threads_share_flushes_and_syncs_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let pool = open(&dir);
    let copy = pool.create_copy(KEY, 64 * 1024, vec![]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let copy = &copy;
            scope.spawn(move || {
                for round in 0..20 {
                    let extent = thread * 8 + round % 8;
                    copy.commit(vec![Op::Enter(vec![extent])]).unwrap();
                    copy.write(extent * 1024 + round, &block(thread as u8 + 1)).unwrap();
                    copy.flush().unwrap();
                    assert_eq!(peek(copy, extent * 1024 + round), (Kind::Data, thread as u8 + 1));
                    copy.commit(vec![Op::Retire(vec![extent])]).unwrap();
                }
            });
        }
    });
    assert_eq!(copy.usage().unwrap().data_bytes, 8 * 20 * BLOCK as u64);
    assert!((0..64).all(|extent| copy.verify(extent).unwrap().is_empty()));
}

#[test]
fn new_copies_have_small_extents_and_earlier_ones_keep_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    copy.write(1023, &[block(1), block(2)].concat()).unwrap();
    copy.flush().unwrap();
    drop((copy, pool));
    let usual = || PoolConfig { geometry: Geometry::default(), ..config() };
    let (pool, _) = open_with(&dir, usual()).unwrap();
    let (old, new) = (pool.open_copy(KEY).unwrap(), pool.create_copy(CopyKey(2), 1024, vec![]).unwrap());
    assert_eq!((old.extent_blocks(), old.extents(), peek(&old, 1024)), (1024, 3, (Kind::Data, 2)));
    assert_eq!((new.extent_blocks(), new.extents(), new.chunk_blocks()), (256, 4, 128));
    new.commit(vec![Op::Enter(vec![3])]).unwrap();
    new.write(1023, &block(3)).unwrap();
    drop((old, new, pool));
    let (pool, _) = open_with(&dir, usual()).unwrap();
    assert_eq!(peek(&pool.open_copy(CopyKey(2)).unwrap(), 1023), (Kind::Data, 3));
    assert_eq!(peek(&pool.open_copy(KEY).unwrap(), 1023), (Kind::Data, 1));
}
