use super::*;

#[test]
fn a_full_pool_refuses_what_needs_room_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.declared.capacity = 10 * BLOCK as u64;
    let (pool, _) = open_with(&dir, config).unwrap();
    let copy = pool.create_copy(KEY, 1024, vec![]).unwrap();
    copy.commit(vec![Op::Enter(vec![0])]).unwrap();
    (0..10).for_each(|at| copy.write(at, &block(1)).unwrap());
    let full = copy.write(10, &block(2)).unwrap_err();
    assert!(full.is_no_space(), "{full}");
    assert_eq!(peek(&copy, 10), (Kind::Absent, 0));
    copy.write(3, &block(2)).unwrap();
    copy.flush().unwrap();
    copy.zero(4, 2).unwrap();
    copy.write(10, &block(3)).unwrap();
    copy.write(11, &block(3)).unwrap();
    assert!(copy.write(12, &block(3)).unwrap_err().is_no_space());
    assert_eq!(pool.usage().unwrap().data_bytes, 10 * BLOCK as u64);
    assert_eq!(
        [peek(&copy, 3), peek(&copy, 4), peek(&copy, 11)],
        [(Kind::Data, 2), (Kind::Zero, 0), (Kind::Data, 3)]
    );
}

#[test]
fn trim_gives_room_back_after_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let (_pool, copy) = one_copy(&dir);
    copy.write(0, &vec![7; 1024 * BLOCK]).unwrap();
    copy.flush().unwrap();
    let before = copy.usage().unwrap();
    assert!(before.file_bytes >= 4 << 20);
    copy.zero(0, 1000).unwrap();
    copy.flush().unwrap();
    let after = copy.usage().unwrap();
    assert_eq!((before.data_bytes, after.data_bytes), (4 << 20, 24 * BLOCK as u64));
    assert!(after.file_bytes < 1 << 20, "{} bytes are still taken", after.file_bytes);
    assert_eq!((peek(&copy, 999), peek(&copy, 1000)), ((Kind::Zero, 0), (Kind::Data, 7)));
}

#[test]
fn what_one_copy_leaves_no_other_one_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (pool, copy) = one_copy(&dir);
    copy.write(0, &vec![7; 1024 * BLOCK]).unwrap();
    copy.flush().unwrap();
    pool.delete_copy(KEY).unwrap();
    assert!(matches!(copy.write(0, &block(1)), Err(EngineError::NoCopy(KEY))));
    assert!(matches!(copy.read(0, &mut block(1)), Err(EngineError::NoCopy(KEY))));
    assert_eq!(pool.usage().unwrap().data_bytes, 0);
    let next = pool.create_copy(KEY, 1024, vec![]).unwrap();
    let mut buf = vec![1; 1024 * BLOCK];
    assert!(!next.read(0, &mut buf).unwrap().is_damaged());
    assert!(buf.iter().all(|byte| *byte == 0));
    drop((next, pool));
    let (pool, report) = open_with(&dir, config()).unwrap();
    assert_eq!((report.removed_files, pool.usage().unwrap().copies), (0, 1));
}
