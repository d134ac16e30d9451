use super::*;
use crate::ids::LayoutEpoch;

const NONE: Bugs = Bugs::NONE;

fn alive(copies: &[(u64, u64)]) -> BTreeMap<CopyId, Alive> {
    let living = |(copy, incarnation): &(u64, u64)| {
        (CopyId(*copy), Alive { incarnation: Incarnation(*incarnation), kept: BTreeSet::new() })
    };
    copies.iter().map(living).collect()
}

/// Copies 0 to 2 in incarnations 10 to 12, active under copy 0.
fn three() -> Record {
    let copies = (0..3).map(|copy| (CopyId(copy), Incarnation(10 + copy))).collect();
    let record = Record::create(&copies, CopyId(0), LayoutEpoch(1));
    activated(&record)
}

fn activated(record: &Record) -> Record {
    let copy = record.now.primary;
    let incarnation = record.now.incarnation(copy).unwrap();
    let request = Request::Activate { copy, incarnation, generation: record.generation };
    transact(record, &request, NONE).expect("the primary may activate")
}

#[test]
fn a_lost_primary_is_followed_by_a_mirror_and_joins_when_it_is_back() {
    let record = repair(&three(), &alive(&[(1, 11), (2, 12)]), NONE).unwrap();
    assert_eq!((record.generation, record.now.primary, record.active), (Generation(2), CopyId(1), false));
    assert_eq!(record.now.absent, BTreeMap::from([(CopyId(0), Generation(1))]));
    assert_eq!(repair(&record, &alive(&[(1, 11), (2, 12)]), NONE), None);
    let record = repair(&activated(&record), &alive(&[(0, 20), (1, 11), (2, 12)]), NONE).unwrap();
    assert_eq!(record.now.joining, BTreeMap::from([(CopyId(0), Incarnation(20))]));
    let request =
        Request::CommitJoin { generation: Generation(3), copy: CopyId(0), incarnation: Incarnation(20) };
    assert_eq!(transact(&record, &request, NONE), None, "not before the generation is active");
    let record = transact(&activated(&record), &request, NONE).unwrap();
    assert_eq!(record.now.in_sync[&CopyId(0)].since, Generation(4));
    assert!(record.now.absent.is_empty());
}

#[test]
fn a_generation_that_was_never_active_is_gone_back_from() {
    let record = repair(&three(), &alive(&[(0, 10)]), NONE).unwrap();
    assert_eq!(record.now.in_sync.len(), 1);
    let living = alive(&[(1, 11), (2, 12)]);
    let back = repair(&record, &living, NONE).expect("the mirrors of the last active generation go on");
    assert_eq!((back.now.primary, back.now.in_sync.len()), (CopyId(1), 2));
    assert_eq!(repair(&record, &living, Bugs::named("never_go_back")), None, "stranded without that rule");
    assert_eq!(repair(&activated(&record), &living, NONE), None, "an active one is not gone back from");
}

#[test]
fn one_restarted_copy_while_another_is_gone_strands_the_stripe() {
    let two = repair(&three(), &alive(&[(0, 10), (1, 11)]), NONE).unwrap();
    let two = activated(&two);
    assert_eq!(repair(&two, &alive(&[(0, 20), (2, 12)]), NONE), None);
    let mut living = alive(&[(0, 20), (1, 21), (2, 12)]);
    assert_eq!(repair(&two, &living, NONE).unwrap().now.primary, CopyId(0));
    living.get_mut(&CopyId(1)).unwrap().kept.insert(Incarnation(11));
    let picked = repair(&two, &living, NONE).unwrap();
    assert_eq!(picked.now.primary, CopyId(1), "the one that lost nothing");
    assert_eq!(picked.now.in_sync[&CopyId(1)].since, Generation(1), "its bitmaps are whole");
    living.remove(&CopyId(0));
    assert_eq!(repair(&two, &living, NONE).unwrap().now.primary, CopyId(1), "whoever else is there");
}

#[test]
fn a_loss_is_declared_only_when_no_lease_is_out() {
    let one = activated(&repair(&three(), &alive(&[(0, 10)]), NONE).unwrap());
    let other = alive(&[(1, 31)]).remove(&CopyId(1)).unwrap();
    assert_eq!(declare_lost(&one, CopyId(1), &other, false), None);
    let declared = declare_lost(&one, CopyId(1), &other, true).unwrap();
    assert_eq!(declared.now.in_sync[&CopyId(1)].since, Generation(3));
    assert_eq!(declared.now.absent[&CopyId(0)], Generation(2));
}

#[test]
fn a_forced_detach_waits_for_every_copy_in_sync() {
    let record = force_detach(&three(), NONE);
    assert_eq!(finish_fence(&record, NONE), None);
    let mut record = activated(&record);
    for copy in 0..3 {
        assert_eq!(finish_fence(&record, NONE), None);
        let (copy, incarnation) = (CopyId(copy), Incarnation(10 + copy));
        let stale = Request::Confirm { copy, incarnation, generation: Generation(1) };
        assert_eq!(transact(&record, &stale, NONE), None);
        let request = Request::Confirm { copy, incarnation, generation: record.generation };
        record = transact(&record, &request, NONE).unwrap();
    }
    assert!(!finish_fence(&record, NONE).unwrap().fencing);
}

#[test]
fn a_forgotten_copy_comes_back_as_one_that_never_was_in_sync() {
    let gone = BTreeSet::from([CopyId(2)]);
    let two = repair(&three(), &alive(&[(0, 10), (1, 11)]), NONE).unwrap();
    assert_eq!(forget(&two, &gone), None, "not before the generation is active");
    let two = activated(&two);
    let forgotten = forget(&two, &gone).expect("it is absent");
    assert_eq!((forgotten.generation, forgotten.knows(CopyId(2))), (two.generation, false));
    assert_eq!(forget(&forgotten, &gone), None, "once is enough");
    let all = alive(&[(0, 10), (1, 11), (2, 22)]);
    assert_eq!(repair(&forgotten, &all, NONE), None, "nobody asked for it");
    let back = repair(&admit(&forgotten, [CopyId(1), CopyId(2)], NONE), &all, NONE).unwrap();
    assert_eq!(back.now.absent, BTreeMap::from([(CopyId(2), Generation(0))]));
    assert_eq!(back.now.joining, BTreeMap::from([(CopyId(2), Incarnation(22))]));
    assert_eq!(forget(&activated(&back), &gone), None, "one that joins is needed");
}
