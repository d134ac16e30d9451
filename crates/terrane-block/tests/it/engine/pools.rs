use super::*;

fn foreign<T>(result: Result<T, EngineError>) {
    assert!(matches!(result, Err(EngineError::Foreign { .. })), "it should not belong here");
}

#[test]
fn pools_of_others_and_other_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, report) = open_with(&dir, config()).unwrap();
    assert!(report.is_new);
    let id = pool.id();
    drop(pool);
    let (pool, report) = open_with(&dir, PoolConfig { expected: Some(id), ..config() }).unwrap();
    assert!(!report.is_new && pool.id() == id);
    drop(pool);
    foreign(open_with(&dir, PoolConfig { server: 8, ..config() }));
    let other = tempfile::tempdir().unwrap();
    let expected = Some(id);
    foreign(open_with(&other, PoolConfig { expected, ..config() }));
    drop(open(&other));
    foreign(open_with(&other, PoolConfig { expected, ..config() }));
    let strange = tempfile::tempdir().unwrap();
    std::fs::write(strange.path().join("holiday.jpg"), b"x").unwrap();
    foreign(open_with(&strange, config()));
}

#[test]
fn a_lost_identity_or_journal_does_not_make_a_new_pool() {
    let dir = tempfile::tempdir().unwrap();
    drop(one_copy(&dir));
    let name = dir.path().join("pool.identity");
    let identity = std::fs::read(&name).unwrap();
    std::fs::remove_file(&name).unwrap();
    foreign(open_with(&dir, config()));
    let mut damaged = identity.clone();
    damaged[20] ^= 1;
    std::fs::write(&name, damaged).unwrap();
    assert!(matches!(open_with(&dir, config()), Err(EngineError::Corrupt { .. })));
    std::fs::write(&name, identity).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert!(matches!(open_with(&dir, config()), Err(EngineError::Corrupt { .. })));
}

#[test]
fn a_swapped_journal_or_copy_is_refused() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    dirs.iter().for_each(|dir| drop(one_copy(dir)));
    let file = |dir: &tempfile::TempDir| dir.path().join(format!("{KEY}.copy"));
    std::fs::copy(file(&dirs[0]), file(&dirs[1])).unwrap();
    foreign(open(&dirs[1]).open_copy(KEY));
    let identity = |dir: &tempfile::TempDir| dir.path().join("pool.identity");
    std::fs::copy(identity(&dirs[0]), identity(&dirs[1])).unwrap();
    foreign(open_with(&dirs[1], config()));
    std::fs::remove_file(file(&dirs[0])).unwrap();
    let (pool, report) = open_with(&dirs[0], config()).unwrap();
    assert_eq!(report.missing, [KEY]);
    assert!(matches!(pool.open_copy(KEY), Err(EngineError::Io { .. })));
}

#[test]
fn rot_is_reported_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    (0..10).for_each(|at| copy.write(at, &block(3)).unwrap());
    copy.flush().unwrap();
    copy.commit(vec![Op::Retire(vec![0, 1])]).unwrap();
    drop((copy, pool));
    let path = dir.path().join(format!("{KEY}.copy"));
    let mut bytes = std::fs::read(&path).unwrap();
    // A block's data, and another one's table entry.
    bytes[(32 << 10) + 4 * BLOCK + 77] ^= 0x10;
    bytes[(16 << 10) + 7 * 16] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let pool = open(&dir);
    let copy = pool.open_copy(KEY).unwrap();
    let damaged: Vec<_> = copy.verify(0).unwrap().into_iter().map(|run| (run.first, run.kind)).collect();
    assert_eq!(damaged, [(4, Kind::Corrupt), (7, Kind::Corrupt)]);
    assert_eq!((peek(&copy, 3), peek(&copy, 4)), ((Kind::Data, 3), (Kind::Corrupt, 0)));
    // What another copy has repairs it.
    copy.commit(vec![Op::Enter(vec![0])]).unwrap();
    copy.write(4, &block(3)).unwrap();
    copy.write(7, &block(3)).unwrap();
    assert!(copy.verify(0).unwrap().is_empty());
}

#[test]
fn the_journal_stays_short() {
    let dir = tempfile::tempdir().unwrap();
    let small = || PoolConfig { replay_bytes: 4 << 10, ..config() };
    let (pool, _) = open_with(&dir, small()).unwrap();
    let copy = pool.create_copy(KEY, 3 * 1024, vec![]).unwrap();
    for round in 0..500_u64 {
        copy.commit(vec![Op::Record(round.to_be_bytes().to_vec())]).unwrap();
    }
    drop((copy, pool));
    let (pool, report) = open_with(&dir, small()).unwrap();
    assert!(report.replayed_bytes < 8 << 10, "{} bytes replayed", report.replayed_bytes);
    assert_eq!(pool.states()[&KEY].record, 499_u64.to_be_bytes());
}
