use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use terrane_keymap::bucket::{BucketState, Versioning};
use terrane_keymap::class::{Class, WriteMode};
use terrane_keymap::completion::{Completion, EventKind, OperationKey, Origin};
use terrane_keymap::etag::{Checksums, Etag};
use terrane_keymap::head::{HeadData, Rare, RowHead, RowKind};
use terrane_keymap::list::ListStart;
use terrane_keymap::record::{Change, Data, Payload, Record, RowState};
use terrane_keymap::run::RunEntry;
use terrane_keymap::{Extent, Guard, Incarnation, Locator, Lsn, RowId, Slot, Sub, Timestamp};
use terrane_types::AccountId;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn extent(offset: u64) -> Extent {
    Extent { segment: 3, offset, len: 20, crc: 0xdead_beef }
}

fn origin() -> Arc<Origin> {
    Arc::new(Origin { bucket: "photos".into(), owner: AccountId::root() })
}

fn payload() -> Payload {
    Payload {
        created: Some(Lsn(4)),
        size: 40,
        mtime: Timestamp(1_700_000_000_000),
        etag: Etag::from("d41d8cd98f00b204e9800998ecf8427e-2"),
        checksums: Checksums::new(["CRC32C"], Some("FULL_OBJECT")),
        storage_class: Some("GLACIER".into()),
        upload: Some(Lsn(2)),
        meta: Bytes::from_static(b"meta"),
        data: Data::Extents(vec![extent(0), extent(64)]),
    }
}

fn bucket() -> BucketState {
    BucketState {
        name: "photos".into(),
        incarnation: Incarnation(0x0102_0304),
        owner: AccountId::root(),
        created: Timestamp(1_700_000_000_000),
        region: Some("eu".into()),
        versioning: Versioning::Suspended,
        default_mode: Some(WriteMode::Delay { ms: 60_000 }),
        settings: BTreeMap::from([("tagging".to_owned(), Bytes::from_static(b"x"))]),
    }
}

/// One record with every kind of state.
fn record() -> Record {
    let states = [
        (Sub::Version(Lsn(9)), RowState::Object(Box::new(payload()))),
        (Sub::Null, RowState::DeleteMarker { created: None, mtime: Timestamp(7) }),
        (Sub::Upload(Lsn(2)), RowState::Tombstone),
        (Sub::Upload(Lsn(8)), RowState::Upload { mtime: Timestamp(7), meta: Bytes::from_static(b"u") }),
        (
            Sub::Part(Lsn(8), 1),
            RowState::Part(Box::new(Payload { data: Data::Inline, ..Payload::default() })),
        ),
        (Sub::Null, RowState::Bucket(Box::new(bucket()))),
    ];
    let mut changes: Vec<Change> = states.map(|(sub, state)| Change::new(sub, state)).to_vec();
    changes[0].guard = Some(Guard { lsn: Lsn(5), moved: 1 });
    Record {
        lsn: Lsn(9),
        class: Class::delay(3_600_000),
        accepted: Timestamp(1_700_000_000_001),
        event: Some(EventKind::Complete),
        origin: Some(origin()),
        incarnation: Incarnation(0x0102_0304),
        key: Bytes::from_static(b"a/b"),
        changes,
        inline: Bytes::from_static(b"payload"),
    }
}

fn head() -> RowHead {
    let at = Locator { segment: 1, offset: 64, len: 300 };
    record().head(&record().changes[0], at)
}

fn completion() -> Completion {
    Completion {
        cursor: 1 << 40,
        operation: OperationKey { slot: Slot(5), class: Class::Low, lsn: Lsn(9) },
        event: EventKind::Put,
        origin: origin(),
        incarnation: Incarnation(0x0102_0304),
        key: Bytes::from_static(b"a/b"),
        sub: Sub::Null,
        time: Timestamp(7),
        etag: Etag::from("odd"),
        size: 40,
        superseded: true,
    }
}

fn run_entry() -> RunEntry {
    let row = RowId::new(Incarnation(1), b"a", Sub::Null);
    RunEntry { row, head: Arc::new(head()), completions: vec![completion()] }
}

/// Every stored form by name.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("record", record().encode()),
        ("head", head().encode()),
        ("completion", completion().encode()),
        ("run entry", run_entry().encode_value()),
        ("token", ListStart::AfterVersion(b"a/b".to_vec(), Lsn(300)).encode()),
        ("operation", completion().operation.encode().to_vec()),
    ]
}

#[test]
fn stored_bytes_are_pinned() {
    let pinned = include_str!("pinned.txt");
    let now: Vec<String> = forms().iter().map(|(name, bytes)| format!("{name}: {}", hex(bytes))).collect();
    let now = now.join("\n");
    assert_eq!(
        now,
        pinned.trim_end(),
        "readers of existing data depend on these bytes: add a version instead"
    );
}

#[test]
fn stored_forms_round_trip() {
    assert_eq!(Record::decode(&record().encode().into()).unwrap(), record());
    assert_eq!(RowHead::decode(&head().encode()).unwrap(), head());
    assert_eq!(Completion::decode(&completion().encode()).unwrap(), completion());
    let entry = run_entry();
    assert_eq!(RunEntry::decode(entry.row.clone(), &entry.encode_value()).unwrap(), entry);
    let (row, head) = RunEntry::decode_row(entry.row.clone(), &entry.encode_value()).unwrap();
    assert_eq!((row, head), (entry.row, entry.head));
    for class in [Class::Sync, Class::High, Class::Low, Class::Move, Class::delay(1), Class::delay(u64::MAX)]
    {
        let key = OperationKey { slot: Slot(63), class, lsn: Lsn(u64::MAX) };
        assert_eq!(OperationKey::decode(&key.encode()), Some(key));
    }
    assert_eq!(OperationKey::decode(&[64, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None, "no such slot");
    assert_eq!(OperationKey::decode(&[0, 4, 0, 0, 0, 0, 0, 0, 0, 0]), None, "no such class");
}

#[test]
fn heads_say_what_listings_need() {
    let head = head();
    assert_eq!((head.guard, head.created), (Guard { lsn: Lsn(5), moved: 1 }, Lsn(4)));
    assert_eq!((head.kind, head.size, head.data), (RowKind::Object, 40, HeadData::Many(2)));
    let rare = Rare { storage_class: Some("GLACIER".into()), upload: Some(Lsn(2)) };
    assert_eq!(head.rare.as_deref(), Some(&rare));
    assert!(size_of::<RowHead>() <= 112, "a pending entry costs memory");
}

/// Whatever comes in, decoders answer; what they accept, they encode alike or at least read again.
fn feed(bytes: &[u8]) {
    let shared = Bytes::copy_from_slice(bytes);
    if let Ok(record) = Record::decode(&shared) {
        for change in &record.changes {
            let _ = record.head(change, Locator::default());
        }
        assert_eq!(Record::decode(&record.encode().into()).ok(), Some(record));
    }
    if let Ok(head) = RowHead::decode(bytes) {
        assert_eq!(RowHead::decode(&head.encode()).ok(), Some(head));
    }
    if let Ok(completion) = Completion::decode(bytes) {
        assert_eq!(Completion::decode(&completion.encode()).ok(), Some(completion));
    }
    let row = RowId::from_bytes(bytes);
    let _ = row.parse();
    let _ = RunEntry::decode(row.clone(), bytes);
    let _ = RunEntry::decode_row(row, bytes);
    let _ = ListStart::decode(bytes);
}

proptest! {
    #[test]
    fn decoders_bear_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        feed(&bytes);
        feed(&[&[1][..], &bytes].concat());
    }

    #[test]
    fn decoders_bear_mutated_bytes(form in 0usize..6, at in any::<usize>(), value in any::<u8>(), cut in any::<usize>()) {
        let (_, mut bytes) = forms().swap_remove(form);
        let index = at % bytes.len();
        bytes[index] = value;
        feed(&bytes);
        bytes.truncate(cut % (bytes.len() + 1));
        feed(&bytes);
    }
}
