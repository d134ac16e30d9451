use super::bed::*;
use crate::ShardConfig;
use crate::class::ExplicitMode;
use crate::events::Input;
use crate::keymap::{KeymapRead, Keyspace};
use crate::record::{Data, Record};
use crate::rows::Sub;
use crate::write::*;

fn small() -> ShardConfig {
    ShardConfig {
        pending_bytes_soft: 20_000,
        pending_bytes_hard: 1 << 30,
        run_entries_max: 64,
        run_chunk_entries: 10,
        batch_entries_max: 16,
        ..ShardConfig::default()
    }
}

/// Keys `k0…`, some overwritten, some deleted, in several classes.
fn churn(bed: &mut Bed, rounds: usize) {
    for i in 0..rounds {
        let mode = [high(), hour(), mode(ExplicitMode::Delay(60_000))][i % 3];
        if i % 7 == 3 {
            bed.delete(&format!("k{}", i % 150), None, mode).unwrap();
        } else {
            bed.put(&format!("k{}", i % 200), &format!("e{i}"), mode).unwrap();
        }
    }
}

fn etags(bed: &Bed) -> Vec<Option<String>> {
    (0..200).map(|i| bed.etag(&format!("k{i}"))).collect()
}

#[test]
fn every_point_of_the_keymaps_past_recovers_to_the_same_state() {
    let mut bed = Bed::with_bucket(small());
    churn(&mut bed, 500);
    let states = [bed.keymap.clone(), bed.synced.clone(), Default::default()];
    let expected = etags(&bed);
    for keymap in states {
        bed.crash(keymap);
        assert_eq!(etags(&bed), expected);
        bed.after(10_000);
        assert_eq!(etags(&bed), expected);
    }
    bed.jump(4_000_000);
    bed.after(1_000);
    let applied = bed.rows();
    bed.crash(Default::default());
    assert_eq!(etags(&bed), expected);
    bed.jump(4_000_000);
    bed.after(1_000);
    assert_eq!(bed.rows(), applied, "rebuilt from the log alone");
}

#[test]
fn paused_entries_spill_and_come_back() {
    let mut bed = Bed::with_bucket(ShardConfig { replay_bytes_max: 100_000, ..small() });
    bed.feed(Input::Pause { class: None, paused: true });
    churn(&mut bed, 1_000);
    let expected = etags(&bed);
    assert!(bed.shard.counters().spills > 3 && bed.shard.pending().1 < 40_000, "{:?}", bed.shard.counters());
    let queued: usize = bed.shard.slots.states.iter().map(|slot| slot.queued()).sum();
    assert!(queued as u64 <= bed.shard.pending().0, "{queued}: what is spilled is out of the queues");
    bed.after(20_000);
    assert_eq!(etags(&bed), expected);
    assert!(bed.shard.replay_bytes_now() <= 100_000, "of three times as much");
    let keymap = bed.keymap.clone();
    bed.crash(keymap);
    assert_eq!(etags(&bed), expected, "runs are merged after a restart");
    bed.jump(4_000_000);
    bed.after(1_000);
    assert_eq!(etags(&bed), expected);
    assert_eq!((bed.shard.runs(), bed.shard.pending().0, bed.runs.len()), (0, 0, 0));
    let completed: std::collections::BTreeSet<_> =
        bed.completions().iter().map(|c| c.operation.lsn).collect();
    let events = bed.log.iter().filter(|(_, bytes)| Record::decode(bytes).unwrap().event.is_some());
    assert_eq!(completed.len(), events.count(), "every write is announced");
}

#[test]
fn a_rebuild_larger_than_memory_goes_through_the_keymap() {
    let mut bed = Bed::with_bucket(small());
    churn(&mut bed, 2_000);
    let expected = etags(&bed);
    bed.crash(Default::default());
    assert!(bed.shard.pending().1 <= 21_000);
    assert_eq!(etags(&bed), expected);
}

#[test]
fn moves_keep_the_write_and_lose_to_changes() {
    let mut bed = Bed::with_bucket(small());
    bed.put("k", "e1", sync()).unwrap();
    bed.after(100);
    let head = bed.current("k").unwrap().head;
    let (_, bytes) = bed.log.iter().find(|(at, _)| *at == head.record).unwrap().clone();
    let record = Record::decode(&bytes).unwrap();
    let state = record.changes[0].state.clone();
    assert!(matches!(&state, crate::record::RowState::Object(object) if object.data == Data::Inline));
    let op = || Op::Move {
        bucket: BUCKET,
        key: record.key.clone(),
        sub: Sub::Null,
        expect: head.guard,
        state: state.clone(),
        inline: record.inline.clone(),
    };
    bed.run(op(), Default::default()).unwrap();
    let moved = bed.current("k").unwrap().head;
    assert_eq!((moved.guard, moved.created), (head.guard.moved(), head.created));
    assert!(moved.record > head.record);
    assert_eq!(bed.run(op(), Default::default()).unwrap_err(), WriteError::Conflict);
    let old = bed.log.iter().position(|(at, _)| *at == head.record).unwrap();
    bed.log.remove(old);
    let expected = bed.current("k");
    bed.crash(Default::default());
    assert_eq!(bed.current("k"), expected, "rebuilt without the old record");
}

#[test]
fn an_idle_shard_has_nothing_to_commit() {
    let mut bed = Bed::new(ShardConfig::default());
    bed.after(10_000);
    assert!(bed.shard.counters().batches <= 1, "{:?}", bed.shard.counters());
}

#[test]
fn what_an_earlier_start_left_to_purge_is_purged_in_few_batches() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    for i in 0..12_000 {
        bed.put(&format!("k{i}"), "e", high()).unwrap();
        bed.delete(&format!("k{i}"), None, high()).unwrap();
    }
    let tombstones = |bed: &Bed| bed.keymap.range(Keyspace::Tombstones, &[], &[], usize::MAX).unwrap().len();
    bed.feed(Input::Pause { class: None, paused: true });
    let keymap = bed.keymap.clone();
    bed.crash(keymap);
    let left = tombstones(&bed);
    assert!(left > 64 * 128, "more than two batches take: {left}");
    bed.after(10_000);
    assert_eq!(tombstones(&bed), 0);
    assert!(bed.shard.counters().batches < 20, "{:?}", bed.shard.counters());
}
