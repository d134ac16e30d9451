#![allow(clippy::single_range_in_vec_init, reason = "runs of one range are meant")]

use super::*;
use proptest::prelude::*;

fn runs() -> impl Strategy<Value = Vec<Range<u64>>> {
    proptest::collection::vec((0..1_u64 << 20, 1..100_u64).prop_map(|(start, len)| start..start + len), 0..5)
}

fn cuts() -> impl Strategy<Value = CutState> {
    let cut = || any::<u128>().prop_map(CutId);
    let origin = (0..1_u64 << 36, proptest::collection::vec(any::<u8>(), 0..20));
    let parts = (
        proptest::collection::btree_map(cut(), 0..1_u64 << 36, 0..3),
        proptest::collection::vec((cut(), runs()), 0..3),
        proptest::option::of(origin.prop_map(|(blocks, source)| Origin { blocks, source })),
    );
    parts.prop_map(|(cuts, changes, origin)| CutState {
        cuts,
        changes: changes.into_iter().map(|(cut, runs)| (cut, runs.into_iter().collect())).collect(),
        origin,
    })
}

fn cut_op() -> impl Strategy<Value = CutOp> {
    let cut = || any::<u128>().prop_map(CutId);
    prop_oneof![
        (cut(), 0..1_u64 << 36, runs(), runs()).prop_map(|(cut, blocks, before, since)| CutOp::Seal {
            cut,
            blocks,
            before,
            since
        }),
        cut().prop_map(|cut| CutOp::Release { cut }),
        cut().prop_map(|cut| CutOp::Forget { cut }),
        Just(CutOp::Fetched),
    ]
}

fn state() -> impl Strategy<Value = CopyState> {
    let parts = (
        any::<u64>(),
        3..11_u32,
        0..1_u64 << 36,
        any::<u64>(),
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::btree_set(any::<u64>(), 0..5),
        proptest::collection::btree_map(any::<u64>(), runs(), 0..3),
        cuts(),
    );
    parts.prop_map(|(salt, power, blocks, cold_blocks, record, log, bitmaps, cuts)| CopyState {
        salt,
        geometry: Geometry { group_blocks: 1 << power },
        blocks,
        cold_blocks,
        record,
        log,
        bitmaps: bitmaps.into_iter().map(|(peer, runs)| (peer, runs.into_iter().collect())).collect(),
        cuts,
    })
}

fn some_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Op::Record),
        proptest::collection::vec(any::<u64>(), 0..5).prop_map(Op::Enter),
        proptest::collection::vec(any::<u64>(), 0..5).prop_map(Op::Retire),
        (any::<u64>(), runs()).prop_map(|(peer, runs)| Op::Mark { peer, runs }),
        any::<u64>().prop_map(|peer| Op::Forget { peer }),
        (0..1_u64 << 36).prop_map(Op::Grow),
    ]
}

fn some_record() -> impl Strategy<Value = Record> {
    let key = any::<u128>().prop_map(CopyKey);
    let ops = proptest::collection::vec(some_op(), 0..4);
    prop_oneof![
        any::<u128>().prop_map(|pool| Record::Begin { pool: PoolId(pool) }),
        (key.clone(), state()).prop_map(|(key, state)| Record::State { key, state }),
        any::<u32>().prop_map(|copies| Record::End { copies }),
        (key.clone(), state()).prop_map(|(key, state)| Record::Create { key, state }),
        (key.clone(), any::<i64>(), ops, runs()).prop_map(|(key, cold, ops, changed)| Record::Change {
            key,
            cold,
            ops,
            changed
        }),
        key.clone().prop_map(|key| Record::Delete { key }),
        (key, cut_op()).prop_map(|(key, op)| Record::Cut { key, op }),
    ]
}

proptest! {
    #[test]
    fn records_round_trip(record in some_record()) {
        prop_assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    }

    #[test]
    fn damaged_records_do_no_harm(record in some_record(), damage: Vec<(u16, u8)>, cut in 0..400_usize) {
        let mut bytes = record.encode();
        for (at, byte) in damage {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        crate::engine::fuzz::journal(&[&(bytes.len() as u16).to_le_bytes()[..], &bytes].concat());
        crate::engine::fuzz::identity(&bytes);
        crate::engine::fuzz::header(&bytes);
        crate::engine::fuzz::table(&bytes);
        crate::engine::fuzz::leaf(&bytes);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes: Vec<u8>) {
        crate::engine::fuzz::journal(&bytes);
        crate::engine::fuzz::identity(&bytes);
        crate::engine::fuzz::header(&bytes);
        crate::engine::fuzz::table(&bytes);
        crate::engine::fuzz::leaf(&bytes);
    }
}

#[test]
fn bytes_are_pinned() {
    let state = CopyState {
        salt: 1,
        geometry: Geometry { group_blocks: 8 },
        blocks: 2,
        cold_blocks: 3,
        record: vec![4, 5],
        log: BTreeSet::from([6]),
        bitmaps: BTreeMap::from([(7, [8..9].into_iter().collect())]),
        cuts: CutState::default(),
    };
    let ops = vec![
        Op::Record(vec![1]),
        Op::Enter(vec![2]),
        Op::Retire(vec![3]),
        Op::Mark { peer: 4, runs: vec![5..6] },
        Op::Forget { peer: 7 },
        Op::Grow(8),
    ];
    let key = CopyKey(9);
    let records = [
        Record::Begin { pool: PoolId(9) },
        Record::State { key, state: state.clone() },
        Record::End { copies: 1 },
        Record::Create { key, state },
        Record::Change { key, cold: -1, ops, changed: Vec::new() },
        Record::Delete { key },
    ];
    assert_eq!(records.each_ref().map(hex), PINNED);
}

#[test]
fn bytes_of_cuts_are_pinned() {
    let (key, cut) = (CopyKey(9), CutId(0x0a));
    let cuts = CutState {
        cuts: BTreeMap::from([(cut, 2)]),
        changes: vec![(cut, [3..4].into_iter().collect())],
        origin: Some(Origin { blocks: 5, source: vec![6] }),
    };
    let state = CopyState {
        salt: 1,
        geometry: Geometry { group_blocks: 8 },
        blocks: 2,
        cold_blocks: 0,
        record: vec![],
        log: BTreeSet::new(),
        bitmaps: BTreeMap::new(),
        cuts,
    };
    let records = [
        Record::State { key, state },
        Record::Change { key, cold: 1, ops: vec![Op::Retire(vec![2])], changed: vec![3..4] },
        Record::Cut { key, op: CutOp::Seal { cut, blocks: 2, before: vec![3..4], since: vec![5..6] } },
        Record::Cut { key, op: CutOp::Release { cut } },
        Record::Cut { key, op: CutOp::Forget { cut } },
        Record::Cut { key, op: CutOp::Fetched },
    ];
    assert_eq!(records.each_ref().map(hex), PINNED_CUTS);
}

fn hex(record: &Record) -> String {
    record.encode().iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! key {
    () => {
        "09000000000000000000000000000000"
    };
}

macro_rules! cut {
    () => {
        "0a000000000000000000000000000000"
    };
}

const PINNED_CUTS: [&str; 6] = [
    concat!(
        "0202",
        key!(),
        "010000000000000008000000020000000000000000000000000000000000000000000000",
        "00000000",
        "01000000",
        cut!(),
        "0200000000000000",
        "01000000",
        cut!(),
        "0100000003000000000000000400000000000000",
        "0105000000000000000100000006"
    ),
    concat!(
        "0205",
        key!(),
        "0100000000000000",
        "070100000003000000000000000400000000000000",
        "03010000000200000000000000"
    ),
    concat!(
        "0207",
        key!(),
        "01",
        cut!(),
        "0200000000000000",
        "0100000003000000000000000400000000000000",
        "0100000005000000000000000600000000000000"
    ),
    concat!("0207", key!(), "02", cut!()),
    concat!("0207", key!(), "03", cut!()),
    concat!("0207", key!(), "04"),
];

macro_rules! state {
    () => {
        concat!(
            "01000000000000000800000002000000000000000300000000000000",
            "02000000040501000000060000000000000001000000070000000000000001000000",
            "08000000000000000900000000000000"
        )
    };
}

const PINNED: [&str; 6] = [
    "010109000000000000000000000000000000",
    concat!("010209000000000000000000000000000000", state!()),
    "010301000000",
    concat!("010409000000000000000000000000000000", state!()),
    concat!(
        "010509000000000000000000000000000000ffffffffffffffff",
        "010100000001",
        "02010000000200000000000000",
        "03010000000300000000000000",
        "0404000000000000000100000005000000000000000600000000000000",
        "050700000000000000",
        "060800000000000000"
    ),
    "010609000000000000000000000000000000",
];
