use super::bed::*;
use crate::bucket::{BucketChange, Versioning};
use crate::head::RowKind;
use crate::ids::*;
use crate::write::*;
use crate::{ShardConfig, Sub};

fn change(change: BucketChange) -> Op {
    Op::ChangeBucket { name: "bucket".into(), incarnation: BUCKET, change }
}

fn delete_bucket() -> Op {
    Op::DeleteBucket { name: "bucket".into(), incarnation: BUCKET }
}

#[test]
fn names_are_taken_once_and_owners_are_limited() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    assert!(matches!(bed.create_bucket("bucket", Incarnation(5)), Err(WriteError::BucketExists(_))));
    for i in 0..9 {
        bed.create_bucket(&format!("b{i}"), Incarnation(100 + i)).unwrap();
    }
    assert_eq!(bed.create_bucket("more", Incarnation(5)).unwrap_err(), WriteError::TooManyBuckets(10));
}

#[test]
fn deleting_a_bucket_is_a_barrier() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.put("k", "e", high()).unwrap();
    assert_eq!(bed.run(delete_bucket(), Default::default()).unwrap_err(), WriteError::BucketNotEmpty);
    bed.no_fsync = true;
    let deletes = [delete("k", None), delete_bucket(), put("k", "e", Condition::default())]
        .map(|op| bed.ask(op, high()));
    assert!(bed.view.buckets.contains_key("bucket"), "not durable yet");
    bed.no_fsync = false;
    bed.settle();
    let answers = deletes.map(|asked| bed.answer(asked).unwrap().map(|_| ()));
    assert_eq!(answers, [Ok(()), Ok(()), Err(WriteError::NoSuchBucket)]);
    assert!(!bed.view.buckets.contains_key("bucket"));
    bed.create_bucket("bucket", Incarnation(78)).unwrap();
    assert_eq!(bed.put("k", "e", sync()).unwrap_err(), WriteError::NoSuchBucket, "another life");
}

#[test]
fn versions_stack_up_and_the_newest_live_one_is_current() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.put("k", "null", sync()).unwrap();
    bed.run(change(BucketChange::Versioning(Versioning::Enabled)), Default::default()).unwrap();
    let first = bed.put("k", "v1", hour()).unwrap().sub;
    let second = bed.put("k", "v2", sync()).unwrap().sub;
    assert!(matches!((first, second), (Sub::Version(a), Sub::Version(b)) if a < b));
    assert_eq!(bed.etag("k").as_deref(), Some("v2"));
    let marker = bed.delete("k", None, high()).unwrap();
    assert!(marker.delete_marker);
    assert_eq!(bed.current("k").unwrap().head.kind, RowKind::DeleteMarker);
    assert!(bed.delete("k", Some(marker.sub), sync()).unwrap().delete_marker);
    assert_eq!(bed.etag("k").as_deref(), Some("v2"));
    bed.delete("k", Some(second), hour()).unwrap();
    assert_eq!(bed.etag("k").as_deref(), Some("v1"));
    bed.run(change(BucketChange::Versioning(Versioning::Suspended)), Default::default()).unwrap();
    assert_eq!(bed.put("k", "null2", high()).unwrap().sub, Sub::Null);
    assert_eq!(bed.etag("k").as_deref(), Some("null2"));
    bed.delete("k", Some(Sub::Null), sync()).unwrap();
    assert_eq!(bed.etag("k").as_deref(), Some("v1"));
    let off = bed.run(change(BucketChange::Versioning(Versioning::Off)), Default::default());
    assert!(matches!(off, Err(WriteError::Malformed(_))));
}

#[test]
fn settings_and_defaults_survive_a_rebuild() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    let mode = crate::class::WriteMode::Delay { ms: 60_000 };
    bed.run(change(BucketChange::DefaultMode(Some(mode))), Default::default()).unwrap();
    let setting = BucketChange::Setting("tagging".into(), Some("x".into()));
    bed.run(change(setting), Default::default()).unwrap();
    assert_eq!(bed.put("k", "e", Default::default()).unwrap().keymap, KeymapState::Pending);
    let before = bed.view.buckets.clone();
    bed.crash(Default::default());
    assert_eq!(bed.view.buckets, before);
    assert_eq!(bed.etag("k").as_deref(), Some("e"));
}
