use bytes::Bytes;

use super::bed::*;
use crate::etag::Etag;
use crate::ids::*;
use crate::lookup;
use crate::write::*;
use crate::{ShardConfig, Sub};

fn key() -> Bytes {
    Bytes::from_static(b"k")
}

fn begin(bed: &mut Bed) -> Lsn {
    let op = Op::CreateUpload { bucket: BUCKET, key: key(), meta: Bytes::new(), mtime: Timestamp(7) };
    match bed.run(op, Default::default()).unwrap().sub {
        Sub::Upload(upload) => upload,
        other => panic!("{other:?}"),
    }
}

fn part(bed: &mut Bed, upload: Lsn, number: u32, size: u64) -> Answer {
    let extent = Extent { segment: 4, offset: u64::from(number) << 20, len: size, crc: 1 };
    let part = NewPayload {
        size,
        etag: Etag::from("p"),
        data: NewData::Extents(vec![extent]),
        ..NewPayload::default()
    };
    bed.run(Op::PutPart { bucket: BUCKET, key: key(), upload, number, part }, Default::default())
}

fn complete(bed: &mut Bed, upload: Lsn, numbers: &[u32]) -> Answer {
    let stored = bed.read(|rows| lookup::parts(rows, BUCKET, b"k", upload, 0, 100)).unwrap();
    let expect =
        |n: u32| stored.iter().find(|(number, _)| *number == n).map_or(Guard::default(), |(_, h)| h.guard);
    let parts = numbers.iter().map(|n| PartRef { number: *n, expect: expect(*n) }).collect();
    let object = NewPayload { size: 9, etag: Etag::from("whole"), ..NewPayload::default() };
    let op =
        Op::Complete { bucket: BUCKET, key: key(), upload, parts, object, condition: Condition::default() };
    bed.run(op, sync())
}

#[test]
fn parts_become_an_object_and_vanish() {
    let mut bed = Bed::with_bucket(ShardConfig { part_bytes_min: 10, ..ShardConfig::default() });
    let upload = begin(&mut bed);
    for (number, size) in [(1, 10), (2, 9), (3, 4)] {
        part(&mut bed, upload, number, size).unwrap();
    }
    assert_eq!(complete(&mut bed, upload, &[2, 1]).unwrap_err(), WriteError::InvalidPartOrder);
    assert_eq!(complete(&mut bed, upload, &[1, 7]).unwrap_err(), WriteError::InvalidPart(7));
    let small = WriteError::PartTooSmall { part: 2, size: 9, minimum: 10 };
    assert_eq!(complete(&mut bed, upload, &[1, 2, 3]).unwrap_err(), small);
    let written = complete(&mut bed, upload, &[1, 3]).unwrap();
    assert_eq!(written.keymap, KeymapState::Applied);
    assert_eq!(bed.etag("k").as_deref(), Some("whole"));
    assert_eq!(bed.current("k").unwrap().head.upload(), Some(upload));
    assert!(bed.read(|rows| lookup::parts(rows, BUCKET, b"k", upload, 0, 9)).unwrap().is_empty());
    let again = complete(&mut bed, upload, &[1, 3]).unwrap();
    assert!(again.operation.is_none(), "repeated: answered as the first time");
    bed.put("k", "new", sync()).unwrap();
    assert_eq!(complete(&mut bed, upload, &[1, 3]).unwrap_err(), WriteError::NoSuchUpload);
    assert_eq!(part(&mut bed, upload, 1, 10).unwrap_err(), WriteError::NoSuchUpload);
}

#[test]
fn a_replaced_part_makes_complete_read_again() {
    let mut bed = Bed::with_bucket(ShardConfig { part_bytes_min: 10, ..ShardConfig::default() });
    let upload = begin(&mut bed);
    part(&mut bed, upload, 1, 10).unwrap();
    let stale = bed.read(|rows| lookup::parts(rows, BUCKET, b"k", upload, 0, 9)).unwrap()[0].1.guard;
    part(&mut bed, upload, 1, 11).unwrap();
    let parts = vec![PartRef { number: 1, expect: stale }];
    let object = NewPayload::default();
    let op =
        Op::Complete { bucket: BUCKET, key: key(), upload, parts, object, condition: Condition::default() };
    assert_eq!(bed.run(op, sync()).unwrap_err(), WriteError::Conflict);
}

#[test]
fn a_bucket_goes_with_its_unfinished_uploads() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    let upload = begin(&mut bed);
    part(&mut bed, upload, 1, 10).unwrap();
    bed.run(Op::DeleteBucket { name: "bucket".into(), incarnation: BUCKET }, Default::default()).unwrap();
    bed.after(1_000);
    assert!(bed.rows().is_empty(), "no row keeps their bytes alive");
}

#[test]
fn an_aborted_upload_is_gone() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    let upload = begin(&mut bed);
    part(&mut bed, upload, 1, 10).unwrap();
    let abort = || Op::Abort { bucket: BUCKET, key: key(), upload };
    bed.run(abort(), Default::default()).unwrap();
    assert_eq!(bed.run(abort(), Default::default()).unwrap_err(), WriteError::NoSuchUpload);
}
