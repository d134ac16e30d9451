use super::*;
use crate::rng::SimRng;
use RegisterOp::{Delete, Get, Put, PutIf, PutIfNone};
use RegisterRet::{Done, Failed, Value};
use proptest::prelude::*;

type H = History<Register<u8>>;

fn scan(items: &[(u8, u64)]) -> Scan<Register<u8>> {
    Scan { after: None, upto: None, items: items.iter().copied().collect() }
}

fn done(h: &mut H, key: u8, op: RegisterOp, ret: RegisterRet) {
    let id = h.invoke(key, op);
    h.returns(id, ret);
}

#[test]
fn a_sequence_is_right_or_wrong() {
    let mut h = H::default();
    done(&mut h, 1, Get, Value(None));
    done(&mut h, 1, Put(5), Done);
    done(&mut h, 1, PutIfNone(6), Failed);
    done(&mut h, 1, PutIf { expected: 5, value: 7 }, Done);
    done(&mut h, 1, PutIf { expected: 5, value: 8 }, Failed);
    done(&mut h, 1, Get, Value(Some(7)));
    done(&mut h, 1, Delete, Done);
    done(&mut h, 1, PutIfNone(9), Done);
    h.check().unwrap();
    done(&mut h, 1, Get, Value(Some(7)));
    assert!(h.check().unwrap_err().contains("no order explains"));
}

#[test]
fn overlapping_writes_may_go_either_way_but_only_one() {
    let mut h = H::default();
    let (a, b) = (h.invoke(1, Put(1)), h.invoke(1, Put(2)));
    h.returns(a, Done);
    h.returns(b, Done);
    let mut other = h.clone();
    done(&mut h, 1, Get, Value(Some(1)));
    done(&mut other, 1, Get, Value(Some(2)));
    h.check().unwrap();
    other.check().unwrap();
    done(&mut h, 1, Get, Value(Some(2)));
    assert!(h.check().is_err());
}

#[test]
fn a_stale_read_after_a_newer_one_is_wrong() {
    let mut h = H::default();
    done(&mut h, 1, Put(1), Done);
    let put = h.invoke(1, Put(2));
    let (a, b) = (h.invoke(1, Get), h.invoke(1, Get));
    h.returns(a, Value(Some(2)));
    h.returns(b, Value(Some(1)));
    h.check().unwrap();
    done(&mut h, 1, Get, Value(Some(1)));
    assert!(h.check().is_err());
    h.returns(put, Done);
}

#[test]
fn what_nobody_saw_the_end_of_may_happen_until_it_is_lost() {
    let mut h = H::default();
    done(&mut h, 1, Put(1), Done);
    let put = h.invoke(1, Put(2));
    h.forgets(put);
    done(&mut h, 1, Get, Value(Some(1)));
    let mut late = h.clone();
    done(&mut late, 1, Get, Value(Some(2)));
    late.check().unwrap();
    h.lost(put);
    done(&mut h, 1, Get, Value(Some(1)));
    h.check().unwrap();
    done(&mut h, 1, Get, Value(Some(2)));
    assert!(h.check().is_err());
}

#[test]
fn what_was_refused_never_happens() {
    let mut h = H::default();
    let put = h.invoke(1, Put(1));
    h.refused(put);
    done(&mut h, 1, Get, Value(None));
    h.check().unwrap();
    done(&mut h, 1, Get, Value(Some(1)));
    assert!(h.check().is_err());
}

#[test]
fn what_was_lost_unseen_may_have_happened() {
    for seen in [1, 2] {
        let mut h = H::default();
        done(&mut h, 1, Put(1), Done);
        h.invoke(1, Put(2));
        h.lost_all();
        done(&mut h, 1, Get, Value(Some(seen)));
        h.check().unwrap();
        done(&mut h, 1, Get, Value(Some(3 - seen)));
        assert!(h.check().is_err());
    }
}

#[test]
fn a_scan_sees_one_instant() {
    let mut h = H::default();
    done(&mut h, 1, Put(1), Done);
    let list = h.invoke_scan();
    done(&mut h, 1, Put(2), Done);
    done(&mut h, 2, Put(3), Done);
    for (items, right) in
        [(&[(1, 1)][..], true), (&[(1, 2)], true), (&[(1, 2), (2, 3)], true), (&[(1, 1), (2, 3)], false)]
    {
        let mut h = h.clone();
        h.returns_scan(list, scan(items));
        assert_eq!(h.check().is_ok(), right, "{items:?}");
    }
}

#[test]
fn two_scans_agree_on_an_order() {
    let mut h = H::default();
    let (a, b) = (h.invoke_scan(), h.invoke_scan());
    let (x, y) = (h.invoke(1, Put(1)), h.invoke(2, Put(2)));
    h.returns_scan(a, scan(&[(1, 1)]));
    h.returns_scan(b, scan(&[(2, 2)]));
    h.returns(x, Done);
    h.returns(y, Done);
    assert!(h.check().is_err());
}

#[test]
fn a_page_says_nothing_of_what_lies_outside() {
    let mut h = H::default();
    for key in 1..=4 {
        done(&mut h, key, Put(u64::from(key)), Done);
    }
    let page = |after, upto, items: &[(u8, u64)]| Scan { after, upto, ..scan(items) };
    for (page, right) in [
        (page(Some(1), Some(3), &[(2, 2), (3, 3)]), true),
        (page(Some(1), Some(3), &[(3, 3)]), false),
        (page(Some(3), None, &[(4, 4)]), true),
        (page(Some(3), None, &[]), false),
        (page(Some(4), None, &[]), true),
        (page(Some(4), None, &[(9, 9)]), false),
    ] {
        let mut h = h.clone();
        let id = h.invoke_scan();
        h.returns_scan(id, page.clone());
        assert_eq!(h.check().is_ok(), right, "{page:?}");
    }
}

/// A call, what it asks (`None`: a scan), and its answer once it has taken effect.
type Running = (Id, Option<(u8, RegisterOp)>, Option<RegisterRet>, Option<Scan<Register<u8>>>);

/// A real map, operated by clients whose operations take effect at a random instant between start and return.
fn real_history(seed: u64, ops: usize, keys: usize, clients: usize) -> (H, Vec<Id>) {
    let mut rng = SimRng::new(seed);
    let mut h = H::default();
    let mut map = BTreeMap::new();
    let mut open: Vec<Running> = Vec::new();
    let mut reads = Vec::new();
    for n in 0.. {
        if n >= ops && open.is_empty() {
            break;
        }
        if n < ops && open.len() < clients && rng.one_in(2) {
            let key = rng.below(keys) as u8;
            let value = n as u64;
            let op = match rng.weighted(&[4, 1, 1, 6, 2, 1]) {
                0 => Put(value),
                1 => PutIfNone(value),
                2 => PutIf { expected: map.get(&key).copied().unwrap_or(0), value },
                3 => Get,
                4 => Delete,
                _ => {
                    open.push((h.invoke_scan(), None, None, None));
                    continue;
                }
            };
            let id = h.invoke(key, op.clone());
            if op == Get {
                reads.push(id);
            }
            open.push((id, Some((key, op)), None, None));
        } else if !open.is_empty() {
            let at = rng.below(open.len());
            let (id, op, ret, seen) = &mut open[at];
            match (op, ret.take(), seen.take()) {
                (Some((key, op)), None, _) => {
                    let state = map.get(key).copied();
                    let candidates = [Done, Failed, Value(state)];
                    let answer =
                        candidates.into_iter().find(|r| Register::<u8>::step(&state, op, Some(r)).is_some());
                    let answer = answer.unwrap();
                    match Register::<u8>::step(&state, op, Some(&answer)).unwrap() {
                        Some(value) => map.insert(*key, value),
                        None => map.remove(key),
                    };
                    *ret = Some(answer);
                }
                (None, _, None) => *seen = Some(scan(&map.clone().into_iter().collect::<Vec<_>>())),
                (Some(_), Some(answer), _) => {
                    // One in ten callers never learns.
                    if rng.one_in(10) {
                        h.forgets(*id)
                    } else {
                        h.returns(*id, answer)
                    }
                    open.swap_remove(at);
                }
                (None, _, Some(answer)) => {
                    h.returns_scan(*id, answer);
                    open.swap_remove(at);
                }
            }
            if rng.one_in(200) {
                h.lost_all();
                open.clear();
            }
        }
    }
    (h, reads)
}

#[test]
fn thousands_of_operations_on_few_keys_are_checked() {
    for seed in 0..5 {
        let (h, _) = real_history(seed, 6000, 5, 12);
        assert!(h.len() > 2000);
        h.check().unwrap();
        let (h, _) = real_history(seed, 6000, 100, 12);
        h.check().unwrap();
    }
}

proptest! {
    #[test]
    fn what_a_real_map_did_is_right_and_a_changed_answer_is_wrong(seed: u64, keys in 1usize..8) {
        let (mut h, reads) = real_history(seed, 300, keys, 6);
        prop_assert_eq!(h.check(), Ok(()));
        let answered = |id: &&Id| matches!(&h.calls[id.0], Call::Op { ret: Some(_), .. });
        let read = reads.iter().find(answered).copied();
        if let Some(Id(read)) = read
            && let Call::Op { ret, .. } = &mut h.calls[read]
        {
            *ret = Some(Value(Some(123_456)));
            prop_assert!(h.check().is_err());
        }
    }

    /// Against the definition: try every order of a short history.
    #[test]
    fn short_histories_are_judged_as_by_trying_all_orders(seed: u64) {
        let mut rng = SimRng::new(seed);
        let (mut h, _) = real_history(seed, 14, 2, 3);
        // Change one answer at random, so that about half of the histories are wrong.
        let at = rng.below(h.calls.len().max(1));
        match h.calls.get_mut(at) {
            Some(Call::Op { ret: Some(Value(value)), .. }) => *value = rng.one_in(2).then(|| rng.range(0..14)),
            Some(Call::Scan(Some(scan))) => {
                scan.items.pop_first();
            }
            _ => {}
        }
        prop_assert_eq!(h.check().is_ok(), brute_force(&h));
    }
}

/// Whether some order of all calls is consistent with real time and all answers.
fn brute_force(h: &H) -> bool {
    let at = |id: usize, end: bool| {
        h.events.iter().position(|event| match event {
            Event::Invoke(other) => !end && other.0 == id,
            Event::Return(other) | Event::Lost(other) => end && other.0 == id,
        })
    };
    let calls: Vec<_> = (0..h.calls.len())
        .map(|id| (at(id, false).unwrap_or(0), at(id, true).unwrap_or(usize::MAX), &h.calls[id]))
        .collect();
    fn search(
        calls: &[(usize, usize, &Call<Register<u8>>)],
        used: &mut Vec<bool>,
        map: &BTreeMap<u8, u64>,
        seen: &mut BTreeSet<(Vec<bool>, BTreeMap<u8, u64>)>,
    ) -> bool {
        if !seen.insert((used.clone(), map.clone())) {
            return false;
        }
        let must =
            |call: &Call<Register<u8>>| matches!(call, Call::Op { ret: Some(_), .. } | Call::Scan(Some(_)));
        if calls.iter().zip(&*used).all(|((_, _, call), used)| *used || !must(call)) {
            return true;
        }
        // Only what started before the first unused return may be next.
        let bound = calls.iter().zip(&*used).filter(|((_, _, call), used)| !**used && must(call));
        let bound = bound.map(|((_, end, _), _)| *end).min().unwrap_or(usize::MAX);
        for at in 0..calls.len() {
            let (start, end, call) = calls[at];
            // A lost call that was not used in time is not used at all.
            let expired = calls.iter().zip(&*used).any(|((s, ..), used)| *used && *s > end);
            if used[at] || start > bound || expired {
                continue;
            }
            let mut next = map.clone();
            let fits = match call {
                Call::Scan(None) => false,
                Call::Scan(Some(scan)) => scan.items == *map,
                Call::Op { key, op, ret } => {
                    match Register::<u8>::step(&map.get(key).copied(), op, ret.as_ref()) {
                        Some(Some(value)) => {
                            next.insert(*key, value);
                            true
                        }
                        Some(None) => {
                            next.remove(key);
                            true
                        }
                        None => false,
                    }
                }
            };
            if fits {
                used[at] = true;
                if search(calls, used, &next, seen) {
                    return true;
                }
                used[at] = false;
            }
        }
        false
    }
    search(&calls, &mut vec![false; calls.len()], &BTreeMap::new(), &mut BTreeSet::new())
}
