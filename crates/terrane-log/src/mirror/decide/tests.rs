use super::*;
use proptest::prelude::*;

fn record(member: u128, epoch: u64, members: &[u128]) -> Record {
    let members = members.iter().map(|id| MirrorId(*id)).collect();
    Record {
        store: MirrorId(9),
        member: MirrorId(member),
        epoch,
        phase: Phase::Member,
        members,
        overrides: vec![],
    }
}

fn seen(found: Vec<Found>) -> Vec<Seen> {
    let drive = |(n, record)| {
        let files = matches!(&record, Found::Record(record) if record.phase != Phase::Forming);
        Seen { name: format!("drive {n}"), record, files }
    };
    (0..).zip(found).map(drive).collect()
}

fn records(records: Vec<Record>) -> Vec<Seen> {
    seen(records.into_iter().map(Found::Record).collect())
}

fn served(seen: &[Seen], accept: Option<u64>) -> (u64, Vec<usize>) {
    match decide(seen, accept, false) {
        Ok(Decision::Serve { epoch, set, .. }) => (epoch, set.into_iter().map(|(index, _)| index).collect()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_latest_set_serves_when_it_is_whole() {
    assert_eq!(served(&records(vec![record(1, 3, &[1, 2]), record(2, 3, &[1, 2])]), None), (3, vec![0, 1]));
    // Drive 2 left; drive 1 knows.
    assert_eq!(served(&records(vec![record(2, 3, &[1, 2]), record(1, 4, &[1])]), None), (4, vec![1]));
    // The change to {1, 2} did not reach drive 2 before the power went.
    let three = records(vec![record(1, 4, &[1, 2]), record(2, 3, &[1, 2, 3]), record(3, 3, &[1, 2, 3])]);
    assert_eq!(served(&three, None), (4, vec![0, 1]));
    // Drive 2's copy was complete: others name it.
    let mut copied = record(2, 0, &[]);
    copied.phase = Phase::Copying;
    assert_eq!(served(&records(vec![record(1, 4, &[1, 2]), copied]), None), (4, vec![0, 1]));
}

#[test]
fn a_missing_member_refuses_the_start_until_its_loss_is_accepted() {
    let gone = seen(vec![Found::Record(record(1, 3, &[1, 2])), Found::Missing("no such directory".into())]);
    let error = decide(&gone, None, false).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, MirrorError::MembersMissing { epoch: 3, of: 2, .. }), "{text}");
    assert!(text.contains("drive 1: no such directory") && text.contains("later than drive 0"), "{text}");
    assert_eq!(served(&gone, Some(5)), (3 + OVERRIDE_STEP, vec![0]));
    for other in [Found::None, Found::Bad(BadRecord::Damaged)] {
        let gone = seen(vec![Found::Record(record(1, 3, &[1, 2])), other]);
        assert!(matches!(decide(&gone, None, false), Err(MirrorError::MembersMissing { .. })));
    }
}

#[test]
fn histories_that_exclude_each_other_are_refused() {
    let forked = |first: Record, second: Record| {
        let error = decide(&records(vec![first, second]), Some(1), false);
        assert!(matches!(error, Err(MirrorError::Split { .. })), "{error:?}");
    };
    forked(record(1, 3, &[1]), record(2, 3, &[2]));
    // Both went on without the other, each by an override of its own.
    let one = Record { overrides: vec![4], ..record(1, 3 + OVERRIDE_STEP, &[1]) };
    let two = Record { overrides: vec![5], ..record(2, 9 + OVERRIDE_STEP, &[2]) };
    forked(one.clone(), two);
    // A cloned drive.
    forked(record(1, 3, &[1]), record(1, 3, &[1]));
    // But not: one went on, the other comes back as it was.
    assert_eq!(served(&records(vec![one, record(2, 7, &[1, 2])]), None).1, [0]);
}

#[test]
fn foreign_and_unclaimed_drives_and_newer_records_are_refused() {
    let foreign = Record { store: MirrorId(8), ..record(2, 1, &[2]) };
    let error = decide(&records(vec![record(1, 3, &[1]), foreign]), Some(1), false);
    assert!(matches!(error, Err(MirrorError::Foreign { .. })));
    let mut unclaimed = seen(vec![Found::Record(record(1, 3, &[1])), Found::None]);
    assert_eq!(served(&unclaimed, None), (3, vec![0]));
    unclaimed[1].files = true;
    assert!(matches!(decide(&unclaimed, Some(1), false), Err(MirrorError::Unclaimed { .. })));
    let newer = seen(vec![Found::Record(record(1, 3, &[1])), Found::Bad(BadRecord::Newer(2))]);
    assert!(matches!(decide(&newer, Some(1), false), Err(MirrorError::Newer { .. })));
}

#[test]
fn a_mirror_is_made_only_where_certainly_none_is() {
    let mut blank = seen(vec![Found::None, Found::None]);
    assert_eq!(decide(&blank, None, false).unwrap(), Decision::Form(vec![0, 1]));
    blank[1].files = true;
    assert_eq!(decide(&blank, None, false).unwrap(), Decision::Form(vec![1]));
    blank[0].files = true;
    assert!(matches!(decide(&blank, None, false), Err(MirrorError::Unclaimed { .. })));
    let forming = Record { phase: Phase::Forming, ..record(1, 0, &[]) };
    let interrupted = seen(vec![Found::Record(forming), Found::None]);
    assert_eq!(decide(&interrupted, None, false).unwrap(), Decision::Form(vec![0, 1]));
    let copying = Record { phase: Phase::Copying, ..record(1, 0, &[]) };
    for other in [Found::Missing(String::new()), Found::Bad(BadRecord::Damaged), Found::Record(copying)] {
        let error = decide(&seen(vec![Found::None, other]), Some(1), false);
        assert!(matches!(error, Err(MirrorError::NoSet(_))), "{error:?}");
    }
}

proptest! {
    /// The drives of a mirror lose members one by one; a drive may miss that, for a set's record is written to
    /// its members in any order and the last change may have been cut off. Whatever drives are there afterwards:
    /// those that serve are members of the set that acknowledged last, or the start is refused.
    #[test]
    fn only_drives_that_have_everything_serve(
        leaves in proptest::collection::vec(0usize..4, 0..4),
        unfinished in any::<[bool; 4]>(),
        present in any::<[bool; 4]>(),
    ) {
        let mut members: Vec<u128> = (0..4).collect();
        let mut drives: Vec<Record> = (0..4).map(|id| record(id, 1, &members)).collect();
        for (change, leaver) in leaves.iter().enumerate() {
            let before = members.clone();
            members.retain(|id| *id != *leaver as u128);
            if members.is_empty() || members == before {
                members = before;
                continue;
            }
            let epoch = 2 + change as u64;
            let last = change == leaves.len() - 1;
            // A change that was cut off is acknowledged by nothing.
            let written = |id: u128| !(last && unfinished[id as usize]);
            for id in members.clone().into_iter().filter(|id| written(*id)) {
                drives[id as usize] = record(id, epoch, &members);
            }
            if members.iter().any(|id| !written(*id)) {
                members = before;
            }
        }
        let there = seen((0..4).map(|id| match present[id] {
            true => Found::Record(drives[id].clone()),
            false => Found::Missing("gone".into()),
        }).collect());
        match decide(&there, None, false) {
            Ok(Decision::Serve { set, .. }) => {
                prop_assert!(!set.is_empty());
                for (index, _) in set {
                    prop_assert!(members.contains(&(index as u128)), "{index} is not in {members:?}");
                }
            }
            Ok(form) => prop_assert!(false, "{form:?}"),
            Err(_) => prop_assert!(present.contains(&false)),
        }
    }
}
