use super::bed::*;
use crate::bucket::{BucketChange, Versioning};
use crate::class::{ClassName, WriteMode};
use crate::completion::OperationStatus;
use crate::config::Threshold;
use crate::events::Input;
use crate::ids::*;
use crate::write::*;
use crate::{ShardConfig, Sub};

#[test]
fn a_synchronous_write_is_answered_once_it_is_applied() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.hold = true;
    let asked = bed.ask(put("k", "e1", Condition::default()), sync());
    assert_eq!(bed.etag("k").as_deref(), Some("e1"), "visible as soon as it is durable");
    assert!(bed.answer(asked).is_none(), "and answered when it is applied");
    bed.commit_held();
    let written = bed.answer(asked).unwrap().unwrap();
    assert_eq!(written.keymap, KeymapState::Applied);
    assert_eq!(bed.shard.operation(written.operation.unwrap()), OperationStatus::Applied);
    assert!(bed.view.overlay.is_empty());
    assert_eq!(bed.etag("k").as_deref(), Some("e1"));
}

#[test]
fn nothing_is_visible_or_answered_before_it_is_durable() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.no_fsync = true;
    let first = bed.ask(put("k", "e1", Condition::default()), high());
    let none = Condition { if_none_match: Some(EtagSet::Any), ..Condition::default() };
    let second = bed.ask(put("k", "e2", none), high());
    assert!(bed.answer(first).is_none() && bed.etag("k").is_none());
    assert!(bed.answer(second).is_none(), "the refusal follows from a record that may still be lost");
    bed.no_fsync = false;
    bed.settle();
    assert!(bed.answer(first).unwrap().is_ok());
    assert_eq!(bed.answer(second).unwrap().unwrap_err(), WriteError::PreconditionFailed("If-None-Match"));
}

#[test]
fn a_log_without_room_leaves_nothing_behind() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.no_fsync = true;
    let asked = bed.ask(put("k", "e1", Condition::default()), high());
    bed.feed(Input::AppendFailed);
    bed.no_fsync = false;
    bed.settle();
    assert_eq!(bed.answer(asked).unwrap().unwrap_err(), WriteError::NoSpace);
    assert!(bed.etag("k").is_none());
    bed.put("k", "e2", sync()).unwrap();
    assert_eq!(bed.etag("k").as_deref(), Some("e2"));
}

#[test]
fn an_hour_is_an_hour_and_overwrites_coalesce() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.after(100);
    let before = bed.completions().len();
    let first = bed.put("k", "e1", hour()).unwrap().operation.unwrap();
    bed.jump(1_800_000);
    let second = bed.put("k", "e2", hour()).unwrap().operation.unwrap();
    assert_eq!(bed.etag("k").as_deref(), Some("e2"), "seen at once");
    assert!(matches!(bed.shard.operation(first), OperationStatus::Pending { due: Some(_) }));
    bed.jump(1_600_000);
    assert!(!bed.rows().iter().any(|(row, _)| row.parse().unwrap().incarnation == BUCKET), "held");
    bed.after(200_000);
    assert_eq!(bed.rows().iter().filter(|(_, head)| head.etag.matches("e2")).count(), 1);
    for operation in [first, second] {
        assert_eq!(bed.shard.operation(operation), OperationStatus::Applied);
    }
    let seen: Vec<_> = bed.completions()[before..].iter().map(|c| (c.operation, c.superseded)).collect();
    assert_eq!(seen, [(first, true), (second, false)], "both complete, in the order of their LSNs");
    assert_eq!(bed.shard.counters().applied_late, 0);
}

#[test]
fn a_synchronous_overwrite_completes_what_it_supersedes() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    let delayed = bed.put("k", "e1", hour()).unwrap().operation.unwrap();
    bed.put("other", "x", hour()).unwrap();
    bed.put("k", "e2", sync()).unwrap();
    assert_eq!(bed.shard.operation(delayed), OperationStatus::Applied);
    // Its LSN is beyond its class's watermark nowhere or an exception: replay skips it either way.
    let keymap = bed.keymap.clone();
    bed.crash(keymap);
    assert_eq!(bed.shard.operation(delayed), OperationStatus::Applied);
    assert_eq!(bed.shard.pending().0, 1, "only the other is pending");
}

#[test]
fn paused_workers_make_unforced_writes_pending_and_refuse_forced_ones() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.feed(Input::Pause { class: None, paused: true });
    for i in 0..100 {
        assert_eq!(bed.put(&format!("k{i}"), "e", Default::default()).unwrap().keymap, KeymapState::Pending);
    }
    assert!(matches!(bed.put("k", "e", sync()), Err(WriteError::SlowDown { .. })));
    bed.jump(7 * 24 * 3_600_000);
    assert_eq!(bed.shard.pending().0, 100);
    assert!((0..100).all(|i| bed.etag(&format!("k{i}")).is_some()));
    bed.feed(Input::Pause { class: None, paused: false });
    bed.after(1_000);
    assert_eq!(bed.shard.pending().0, 0);
    assert_eq!(bed.put("k", "e", sync()).unwrap().keymap, KeymapState::Applied);
}

#[test]
fn a_drain_applies_delayed_entries_now() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.put("k", "e", hour()).unwrap();
    bed.feed(Input::Pause { class: Some(ClassName::Delay), paused: true });
    bed.feed(Input::Drain { class: Some(ClassName::Delay), op_ref: OpRef(9_999) });
    bed.settle();
    assert_eq!(bed.shard.pending().0, 0);
}

#[test]
fn load_beyond_thresholds_makes_writes_asynchronous_and_back() {
    let step = |on: f64, mode| Threshold { on, off: on * 0.8, mode };
    let thresholds = vec![step(100.0, WriteMode::High), step(400.0, WriteMode::Low)];
    let mut bed = Bed::with_bucket(ShardConfig { thresholds, ..ShardConfig::default() });
    let mut classes = Vec::new();
    for (writes_per_10_ms, rounds) in [(0, 50), (2, 300), (10, 300), (0, 500)] {
        for _ in 0..rounds {
            bed.after(10);
            for i in 0..writes_per_10_ms {
                bed.put(&format!("k{i}"), "e", Default::default()).unwrap();
            }
        }
        let class = bed.put("k", "e", Default::default()).unwrap().operation.unwrap().class;
        classes.push(class.name());
    }
    assert_eq!(classes, [ClassName::Sync, ClassName::High, ClassName::Low, ClassName::Sync]);
}

#[test]
fn bounds_keep_a_share_for_deletes() {
    let config =
        ShardConfig { pending_bytes_soft: 1 << 40, pending_bytes_hard: 20_000, ..ShardConfig::default() };
    let mut bed = Bed::with_bucket(config);
    bed.put("first", "e", high()).unwrap();
    bed.feed(Input::Pause { class: None, paused: true });
    let refused = (0..1_000).find_map(|i| bed.put(&format!("k{i}"), "e", high()).err()).unwrap();
    assert!(matches!(refused, WriteError::SlowDown { .. }));
    bed.delete("first", None, high()).unwrap();
    assert!(bed.etag("first").is_none());
}

#[test]
fn unversioned_deletes_leave_no_row_behind() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.put("k", "e", sync()).unwrap();
    let gone = bed.delete("k", None, sync()).unwrap();
    assert!(gone.operation.is_some() && !gone.delete_marker);
    let missing = bed.delete("k", None, sync()).unwrap();
    assert!(missing.operation.is_none());
    bed.after(10_000);
    let tombstones =
        bed.read(|rows| rows.scan(&[], &[]).filter(|row| row.as_ref().unwrap().1.is_tombstone()).count());
    assert_eq!(tombstones, 0, "purged");
}

#[test]
fn a_copy_onto_a_changed_source_is_refused() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.put("k", "e1", sync()).unwrap();
    let row = crate::RowId::new(BUCKET, b"k", Sub::Null);
    let guard = bed.current("k").unwrap().head.guard;
    bed.put("k", "e2", sync()).unwrap();
    let Op::Put { bucket, key, object, condition, event, .. } = put("k", "e3", Condition::default()) else {
        unreachable!()
    };
    let op = Op::Put { bucket, key, object, condition, event, source: Some((row, guard)) };
    assert_eq!(bed.run(op, sync()).unwrap_err(), WriteError::Conflict);
}

#[test]
fn a_zombie_worker_is_fenced() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.hold = true;
    let asked = bed.ask(put("k", "e1", Condition::default()), sync());
    let zombie = bed.held.pop().unwrap();
    bed.feed(Input::WorkerLost { worker: zombie.worker });
    bed.add_worker();
    bed.commit_held();
    bed.hold = false;
    assert!(bed.answer(asked).unwrap().is_ok());
    bed.put("k", "e2", sync()).unwrap();
    bed.delete("k", None, sync()).unwrap();
    bed.after(10_000);
    let before = bed.keymap.clone();
    bed.commit(&zombie);
    assert_eq!(bed.keymap, before, "refused by its epoch, although the tombstone is purged");
}

#[test]
fn the_log_can_fail_for_good() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    bed.no_fsync = true;
    let asked = bed.ask(put("k", "e", Condition::default()), high());
    bed.feed(Input::LogFailed { why: "fsync".into() });
    bed.settle();
    assert!(matches!(bed.answer(asked), Some(Err(WriteError::Unavailable(_)))));
    assert!(matches!(bed.put("k", "e", high()), Err(WriteError::Unavailable(_))));
    assert!(bed.etag("k").is_none());
}

/// As ceph/s3-tests has it (`test_delete_object_*if_match*`).
#[test]
fn conditions_of_deletes_ask_only_of_what_is_there() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    let if_match = |tag: &str| {
        let set = if tag == "*" { EtagSet::Any } else { EtagSet::Tags(vec![tag.into()]) };
        Condition { if_match: Some(set), ..Condition::default() }
    };
    let of_size = |size| Condition { if_match_size: Some(size), ..Condition::default() };
    let of_time = |seconds| Condition { if_match_mtime_seconds: Some(seconds), ..Condition::default() };
    let remove = |bed: &mut Bed, condition: Condition| {
        let Op::Delete { bucket, key, version, mtime, .. } = delete("k", None) else { unreachable!() };
        bed.run(Op::Delete { bucket, key, version, condition, mtime }, high())
    };
    let failed = |what| Err(WriteError::PreconditionFailed(what));
    for versioned in [false, true] {
        if versioned {
            let change = BucketChange::Versioning(Versioning::Enabled);
            let op = Op::ChangeBucket { name: "bucket".into(), incarnation: BUCKET, change };
            bed.run(op, Default::default()).unwrap();
        }
        for condition in [if_match("*"), if_match("bad"), of_size(9), of_time(9)] {
            let gone = remove(&mut bed, condition).unwrap();
            assert!(gone.operation.is_none() && !gone.delete_marker, "nothing to hide, nothing to log");
        }
        bed.put("k", "e", high()).unwrap();
        assert_eq!(remove(&mut bed, if_match("bad")).map(|_| ()), failed("If-Match"));
        assert_eq!(remove(&mut bed, of_size(9)).map(|_| ()), failed("x-amz-if-match-size"));
        assert_eq!(remove(&mut bed, if_match("e")).unwrap().delete_marker, versioned);
    }
    // The current version is a delete marker now.
    assert_eq!(remove(&mut bed, if_match("bad")).map(|_| ()), failed("If-Match"));
    assert_eq!(remove(&mut bed, if_match("")).map(|_| ()), failed("If-Match"));
    assert_eq!(remove(&mut bed, of_size(9)).map(|_| ()), failed("x-amz-if-match-size"));
    let time = "x-amz-if-match-last-modified-time";
    assert_eq!(remove(&mut bed, of_time(9)).map(|_| ()), failed(time));
    assert!(remove(&mut bed, if_match("*")).unwrap().delete_marker);
}
