use super::*;

fn bytes<T: Record>(row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![T::VERSION]).unwrap()
}

#[test]
fn the_small_rows_are_pinned() {
    let name =
        ObjectName { kind: terrane_snapshot::Kind::Pack, capture: CaptureId { number: 1, nonce: 2 }, n: 3 };
    let hash = terrane_snapshot::ChunkHash([7; 32]);
    let reference = ObjectRef { name, len: 4, hash };
    let chunk = ChunkRef { pack: name, offset: 9, len: 4, hash };
    let tail = [7; 32];
    assert_eq!(bytes(&RootRow { manifest: reference }), [&[1, 0, 1, 2, 3, 4][..], &tail].concat());
    let block = BlockRow { chunk: Some(chunk), sha256: [8; 32] };
    assert_eq!(bytes(&block), [&[1, 1, 0, 1, 2, 3, 9, 4][..], &tail, &[8; 32]].concat());
    let ledger = LedgerRow { epoch: 1, next: 2, dropped: 3, collected: 4, snapshots: 5 };
    assert_eq!(bytes(&ledger), [1, 1, 2, 3, 4, 5]);
    let capture = CaptureRow { nonce: 1, epoch: 2, parent: None, finds: true };
    assert_eq!(bytes(&capture), [1, 1, 2, 0, 1]);
    let entry = PackEntry { hash, offset: 9, len: 4 };
    assert_eq!(bytes(&PackRow { entries: vec![entry] }), [&[1, 1][..], &tail, &[9, 4]].concat());
    assert_eq!(bytes(&KnownRow { pack: name, offset: 9, len: 4 }), [1, 0, 1, 2, 3, 9, 4]);
    assert_eq!(bytes(&CondemnedRow { epoch: 5 }), [1, 5]);
    assert_eq!(bytes(&SecretRow { envelope: vec![1, 2] }), [1, 2, 1, 2]);
    let build = BuildRow { capture: name.capture, timeout_ms: 1, touched_ms: 2, sealed: true };
    assert_eq!(bytes(&build), [1, 1, 2, 2, 4, 1]);
    let account = AccountId::root();
    assert_eq!(bytes(&OwnerRow { owner: account.clone() }), [&[1, 12][..], b"000000000001"].concat());
    for (work, code) in [(Work::Assemble, 0), (Work::Clean, 2)] {
        let job = JobRow { work, capture: Some(name.capture), attempts: 4, due_ms: 1 };
        assert_eq!(bytes(&job), [1, code, 1, 1, 2, 4, 2]);
    }
    let job = JobRow::new(Work::Copy { owner: account, manifest: reference });
    let expected = [&[1, 1, 12][..], b"000000000001", &[0, 1, 2, 3, 4], &tail, &[0, 0, 0]].concat();
    assert_eq!(bytes(&job), expected);
}

#[test]
fn the_row_of_a_snapshot_is_pinned() {
    let snapshot = SnapshotRow {
        origin: OriginRow::Copy,
        volume: None,
        size_gib: 8,
        state: StateRow::Error("e".into()),
        progress: 5,
        started_ms: 1,
        completed_ms: Some(2),
        description: "d".into(),
        parent: None,
        lineage: "l".into(),
        full_bytes: Some(3),
        shared_with: BTreeSet::from([AccountId::root()]),
        public: true,
        lock: Some(LockRow {
            compliance: true,
            created_ms: 1,
            cool_off_hours: Some(2),
            days: 3,
            start_ms: None,
            expires_ms: Some(4),
        }),
        recycled_ms: Some((5, 6)),
        tags: BTreeMap::from([("k".into(), "v".into())]),
        token: Some("t".into()),
    };
    let expected = [
        &b"\x01\x02\x00\x08\x02\x01e\x05\x02\x01\x04\x01d\x00\x01l\x01\x03\x01\x0c"[..],
        b"000000000001",
        b"\x01\x01\x01\x02\x01\x02\x03\x00\x01\x08\x01\x0a\x0c\x01\x01k\x01v\x01\x01t",
    ]
    .concat();
    assert_eq!(bytes(&snapshot), expected);
}
