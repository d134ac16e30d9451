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

#[test]
fn a_role_is_handed_over_by_who_has_it_to_one_in_sync() {
    let record = three();
    assert_eq!(hand_over(&record, CopyId(0)), None, "it rules already");
    assert_eq!(hand_over(&record, CopyId(7)), None, "nobody knows it");
    assert_eq!(hand_over(&record, CopyId(2)), Some(Generation(1)));
    let request = |copy: u64, incarnation: u64, generation: u64, to: u64| Request::Relinquish {
        copy: CopyId(copy),
        incarnation: Incarnation(incarnation),
        generation: Generation(generation),
        to: CopyId(to),
    };
    for wrong in [request(1, 11, 1, 2), request(0, 20, 1, 2), request(0, 10, 2, 2), request(0, 10, 1, 7)] {
        assert_eq!(transact(&record, &wrong, NONE), None, "{wrong:?}");
    }
    let next = transact(&record, &request(0, 10, 1, 2), NONE).unwrap();
    assert_eq!((next.generation, next.now.primary, next.active), (Generation(2), CopyId(2), false));
    assert_eq!(next.now.in_sync, record.now.in_sync, "all go on, in the lives that they are in");
    assert_eq!(hand_over(&next, CopyId(1)), None, "not before the generation is active");
    assert_eq!(transact(&next, &request(0, 10, 1, 2), NONE), None, "once is enough");
    let back = repair(&next, &alive(&[(0, 10), (1, 11)]), NONE).expect("who should have followed is dead");
    assert_eq!((back.now.primary, back.now.in_sync.len()), (CopyId(0), 2));
}

#[test]
fn what_is_let_go_stays_away_and_the_primary_stays() {
    let all = alive(&[(0, 10), (1, 11), (2, 12)]);
    let only = |copies: &[u64]| copies.iter().map(|copy| CopyId(*copy)).collect::<BTreeSet<_>>();
    assert_eq!(retire(&three(), &only(&[0, 9]), NONE), None, "never the primary");
    let next = retire(&three(), &only(&[0, 1]), NONE).unwrap();
    assert_eq!(next.generation, Generation(2));
    assert_eq!(next.now.in_sync.keys().copied().collect::<BTreeSet<_>>(), only(&[0, 2]));
    assert!(next.knows(CopyId(1)), "it may still be needed");
    assert_eq!(retire(&next, &only(&[2]), NONE), None, "not before the generation is active");
    let next = activated(&next);
    assert!(!next.knows(CopyId(1)), "now it may be freed");
    assert_eq!(repair(&next, &all, NONE), None, "nobody asks for it");
}

#[test]
fn what_is_let_go_while_it_joins_is_not_known_to_the_generation_before() {
    let two = activated(&repair(&three(), &alive(&[(0, 10), (1, 11)]), NONE).unwrap());
    let all = alive(&[(0, 10), (1, 11), (2, 22)]);
    let joining = activated(&repair(&two, &all, NONE).unwrap());
    assert!(joining.now.joining.contains_key(&CopyId(2)));
    let next = retire(&joining, &BTreeSet::from([CopyId(2)]), NONE).unwrap();
    assert_eq!((next.now.joining.len(), next.now.absent.len(), next.now.in_sync.len()), (0, 0, 2));
    assert!(!next.knows(CopyId(2)), "going back would believe bitmaps that are gone");
    let back = repair(&next, &alive(&[(1, 11), (2, 22)]), NONE).unwrap();
    assert_eq!((back.now.primary, back.now.joining.len()), (CopyId(1), 0));
}
