//! How many writes the core alone carries on one core, and what a pending entry costs in memory:
//! `cargo run --release -p terrane-keymap --example throughput`.

use std::time::Instant;

use bytes::Bytes;
use terrane_keymap::class::{ClassName, ExplicitMode, ModeRequest};
use terrane_keymap::completion::EventKind;
use terrane_keymap::keymap::{KeymapMeta, KeymapRows, MemoryKeymap, plan};
use terrane_keymap::write::{Condition, NewData, NewPayload, Op, WriteRequest};
use terrane_keymap::{
    Incarnation, Input, Locator, Lsn, OpRef, Output, Recovery, Shard, ShardConfig, Timestamp, WorkerId,
};

const BUCKET: Incarnation = Incarnation(7);
const GROUP: u64 = 64;

struct Bench {
    shard: Shard,
    keymap: MemoryKeymap,
    bytes: u64,
    appended: Lsn,
    apply: bool,
}

impl Bench {
    fn new(apply: bool) -> Self {
        let config = ShardConfig {
            pending_bytes_soft: 1 << 40,
            pending_bytes_hard: 1 << 41,
            replay_bytes_max: 1 << 50,
            outbox_max: 0,
            ..ShardConfig::default()
        };
        let keymap = MemoryKeymap::default();
        let recovery = Recovery::new(config, KeymapMeta::default(), Timestamp(0));
        let shard = recovery
            .finish(&KeymapRows(&keymap), &mut |_| Ok(Bytes::new()))
            .expect("an empty keymap recovers to an empty shard");
        let mut bench = Self { shard, keymap, bytes: 0, appended: Lsn::ZERO, apply };
        bench.feed(Input::WorkerReady { worker: WorkerId(1) });
        bench.feed(Input::Pause { class: None, paused: !apply });
        bench
    }

    fn feed(&mut self, input: Input) {
        self.shard.handle(Timestamp(1), input, &KeymapRows(&self.keymap));
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.shard.poll_output() {
                match output {
                    Output::Append { lsn, header, payload, .. } => {
                        let len = (header.len() + payload.len()) as u32;
                        let locator = Locator { segment: self.bytes >> 26, offset: self.bytes as u32, len };
                        self.bytes += u64::from(len);
                        self.appended = lsn;
                        self.feed(Input::Appended { lsn, locator });
                    }
                    Output::Apply(batch) if self.apply => {
                        let planned = plan(&batch, &self.keymap, &mut |_| Ok(Vec::new()));
                        let planned = planned.expect("nothing is fenced here");
                        self.keymap.commit(planned.mutations);
                        self.feed(Input::BatchApplied { batch: batch.id, unpurged: planned.unpurged });
                    }
                    _ => {}
                }
            }
            if self.appended <= self.shard.visible() {
                return;
            }
            self.feed(Input::Durable { upto: self.appended });
        }
    }

    fn put(&mut self, number: u64) {
        let object = NewPayload {
            size: 4_096,
            etag: format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_str().into(),
            meta: Bytes::from_static(&[7; 80]),
            data: NewData::Inline(Bytes::from_static(&[7; 4_096])),
            ..NewPayload::default()
        };
        let key = Bytes::from(format!("some/directory/object-{number:010}"));
        let (condition, event) = (Condition::default(), EventKind::Put);
        let op = Op::Put { bucket: BUCKET, key, object, condition, source: None, event };
        let mode = ModeRequest { explicit: Some(ExplicitMode::Async), priority: None };
        self.feed(Input::Write { op_ref: OpRef(number), request: Box::new(WriteRequest { op, mode }) });
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

fn run(name: &str, apply: bool, writes: u64) {
    let mut bench = Bench::new(apply);
    let op = Op::CreateBucket {
        name: "bucket".into(),
        incarnation: BUCKET,
        owner: terrane_types::AccountId::root(),
        region: None,
        limit: 1,
    };
    let request = Box::new(WriteRequest { op, mode: ModeRequest::default() });
    bench.feed(Input::Write { op_ref: OpRef(u64::MAX), request });
    bench.settle();
    let (began, before) = (Instant::now(), resident_bytes());
    for number in 0..writes {
        bench.put(number);
        if number % GROUP == GROUP - 1 {
            bench.settle();
        }
    }
    bench.settle();
    let seconds = began.elapsed().as_secs_f64();
    let (pending, estimate) = bench.shard.pending();
    println!("{name}: {:.0} writes/s", writes as f64 / seconds);
    let grown = resident_bytes().saturating_sub(before);
    if let (Some(each), Some(estimate)) = (grown.checked_div(pending), estimate.checked_div(pending)) {
        println!("  {pending} pending, {each} bytes each (estimated {estimate})");
    }
    let high = bench.shard.queues().into_iter().find(|queue| queue.class == ClassName::High);
    println!("  left in the high class: {}", high.map_or(0, |queue| queue.depth));
}

fn main() {
    run("sequenced, published, kept pending", false, 1_000_000);
    run("sequenced, published, applied to a map in memory", true, 300_000);
}
