//! Shares of a drive: what mClock promises, and that each rule of it is needed.

use super::drive::{DEPTH, DRIVE, Load, MS, Outcome, World, run};
use proptest::prelude::*;
use terrane_qos::bugs::Bugs;
use terrane_qos::{Cost, Nanos, Rate, SECOND, Share};

const SMALL: Cost = Cost { ops: 1, bytes: 4096 };
const LARGE: Cost = Cost { ops: 4, bytes: 1 << 20 };
/// Bytes of an operation that a reservation of operations is for.
const COMMITTED: u64 = 16 << 10;

fn ops(ops: u64) -> Rate {
    Rate { ops, bytes: ops * COMMITTED }
}

fn load(reserve: u64, weight: u32) -> Load {
    let share = Share { reserve: ops(reserve), weight, ceiling: Rate::NONE };
    Load { share, cost: SMALL, depth: 32, active: (SECOND, 0) }
}

/// The quiet volume with a commitment, and noisy neighbours of all kinds.
fn noisy() -> Vec<Load> {
    let burst = Load { active: (700 * MS, 300 * MS), depth: 200, ..load(0, 100) };
    let stream = Load { cost: LARGE, depth: 64, ..load(0, 400) };
    vec![Load { depth: 64, ..load(4000, 10) }, Load { depth: 200, ..load(0, 1000) }, burst, stream]
}

/// Whether a client that always wants something gets its reservation, nearly, in every second but the first.
fn is_met(outcome: &Outcome, reserve: u64, seconds: u64) -> bool {
    (1..seconds).all(|s| outcome.between(s * SECOND, (s + 1) * SECOND) * 100 >= reserve * 97)
}

/// Whether in every window at most the rate passes, a fiftieth of a second's worth and one request.
fn is_kept(outcome: &Outcome, rate: u64) -> bool {
    let went = &outcome.went;
    (0..went.len()).all(|first| {
        [10, 100, 1000].iter().filter_map(|n| went.get(first + n).map(|to| (*n as u64, *to))).all(
            |(n, to)| {
                let time = to - went[first];
                n <= rate * (time + SECOND / 50) / SECOND + 2
            },
        )
    })
}

#[test]
fn a_reservation_is_met_however_neighbours_behave() {
    for seed in 0..8 {
        let outcomes = run(seed, Bugs::NONE, &noisy(), 10 * SECOND);
        assert!(is_met(&outcomes[0], 4000, 10), "seed {seed}: {}", outcomes[0].went.len());
        for (index, outcome) in outcomes.iter().enumerate() {
            assert!(outcome.went.len() > 100, "seed {seed}: {index} starves");
        }
    }
    assert!(!is_met(&run(0, Bugs { weights_only: true, ..Bugs::NONE }, &noisy(), 10 * SECOND)[0], 4000, 10));
}

#[test]
fn the_drive_has_no_more_than_its_depth() {
    let most = |bugs| {
        let mut world = World::new(3, bugs, &noisy());
        world.run(2 * SECOND);
        world.most
    };
    assert_eq!(most(Bugs::NONE), DEPTH);
    assert!(most(Bugs { no_depth: true, ..Bugs::NONE }) > DEPTH);
}

#[test]
fn shares_are_as_weights() {
    let loads = [load(0, 100), load(0, 200), load(0, 700)];
    let outcomes = run(1, Bugs::NONE, &loads, 10 * SECOND);
    let counts: Vec<u64> = outcomes.iter().map(|o| o.between(SECOND, 10 * SECOND)).collect();
    let all: u64 = counts.iter().sum();
    assert!(all >= 9 * DRIVE.ops * 95 / 100, "{counts:?}");
    for (count, weight) in counts.iter().zip([100, 200, 700]) {
        let fair = all * weight / 1000;
        assert!(count.abs_diff(fair) * 100 <= fair * 3, "{counts:?}");
    }
}

/// What reservations leave goes by weight, and what one gets by weight is not taken from its reservation.
#[test]
fn what_is_left_goes_by_weight() {
    let loads = [load(2000, 100), load(0, 100), load(0, 100)];
    let spare = |bugs| {
        let outcomes = run(2, bugs, &loads, 10 * SECOND);
        let counts: Vec<u64> = outcomes.iter().map(|o| o.between(SECOND, 10 * SECOND) / 9).collect();
        counts
    };
    let counts = spare(Bugs::NONE);
    // All of them have a third: the reservation is less than that.
    assert!(counts.iter().all(|count| (3100..=3550).contains(count)), "{counts:?}");
}

#[test]
fn idle_shares_are_given_away() {
    // One is alone; one has the reservation of nearly all and does nothing.
    let sleeper = Load { depth: 0, ..load(9000, 1000) };
    let loads = [load(0, 1), sleeper];
    let outcomes = run(4, Bugs::NONE, &loads, 5 * SECOND);
    let alone = outcomes[0].between(SECOND, 5 * SECOND);
    assert!(alone >= 4 * DRIVE.ops * 95 / 100, "{alone}");
    // One with a reservation gets more if there is more.
    let loads = [load(1000, 100)];
    let more = |bugs| run(5, bugs, &loads, 5 * SECOND)[0].between(SECOND, 5 * SECOND);
    assert!(more(Bugs::NONE) >= 4 * DRIVE.ops * 95 / 100);
}

/// Beside somebody else, so that the queue is never empty.
#[test]
fn one_with_a_reservation_shares_the_rest() {
    let loads = [load(1000, 100), load(0, 100)];
    let count = |bugs| run(5, bugs, &loads, 5 * SECOND)[0].between(SECOND, 5 * SECOND);
    assert!(count(Bugs::NONE) >= 4 * 4500);
    assert!(count(Bugs { wastes_idle: true, ..Bugs::NONE }) < 4 * 2000);
}

/// A client that was alone for a while, used all and has the same weight as others, still has its reservation when they
/// come.
#[test]
fn what_was_spare_is_not_charged() {
    let late = Load { active: (SECOND, SECOND), depth: 200, ..load(0, 10_000) };
    let loads = [load(3000, 1), late];
    let least = |bugs| {
        let outcome = &run(6, bugs, &loads, 9 * SECOND)[0];
        (1..4).map(|n| outcome.between(2 * n * SECOND, 2 * n * SECOND + 500 * MS)).min().unwrap_or(0)
    };
    assert!(least(Bugs::NONE) >= 1400, "{}", least(Bugs::NONE));
    let charged = least(Bugs { spare_is_charged: true, ..Bugs::NONE });
    assert!(charged < 1400, "{charged}");
}

#[test]
fn nobody_passes_a_ceiling() {
    let ceiling = Share { reserve: Rate::NONE, weight: 1000, ceiling: Rate { ops: 500, bytes: 0 } };
    let loads =
        [Load { share: ceiling, ..load(0, 1) }, Load { active: (500 * MS, 500 * MS), ..load(0, 100) }];
    let kept = |bugs| is_kept(&run(7, bugs, &loads, 6 * SECOND)[0], 500);
    assert!(kept(Bugs::NONE));
    assert!(!kept(Bugs { no_ceilings: true, ..Bugs::NONE }));
    // And it is reached.
    let count = run(7, Bugs::NONE, &loads, 6 * SECOND)[0].between(SECOND, 6 * SECOND);
    assert!((2400..=2520).contains(&count), "{count}");
}

/// Who slept does not keep others waiting when it comes back.
#[test]
fn idle_time_is_not_saved() {
    let sleeper = Load { active: (500 * MS, 4500 * MS), depth: 100, ..load(0, 100) };
    let loads = [load(0, 100), sleeper];
    let share = |bugs| {
        let outcomes = run(8, bugs, &loads, 12 * SECOND);
        outcomes[0].between(10 * SECOND, 10 * SECOND + 400 * MS)
    };
    assert!(share(Bugs::NONE) >= 1700, "{}", share(Bugs::NONE));
    assert!(share(Bugs { idle_banks: true, ..Bugs::NONE }) < 1000);
}

/// The floor of background work: little weight, yet it gets on; and a ceiling when nobody else is there.
#[test]
fn background_work_has_floor_and_ceiling() {
    let mib = |mib: u64| Rate { ops: 0, bytes: mib << 20 };
    let share = Share { reserve: mib(16), weight: 10, ceiling: mib(100) };
    let resync = Load { share, cost: Cost { ops: 1, bytes: 256 << 10 }, depth: 8, active: (SECOND, 0) };
    let beside = run(9, Bugs::NONE, &[resync, Load { depth: 200, ..load(0, 1000) }], 6 * SECOND);
    let moved = beside[0].between(SECOND, 6 * SECOND) / 4 / 5;
    assert!((15..=30).contains(&moved), "{moved} MiB/s beside others");
    let alone = run(9, Bugs::NONE, &[resync], 6 * SECOND)[0].between(SECOND, 6 * SECOND) / 4 / 5;
    assert!((96..=103).contains(&alone), "{alone} MiB/s alone");
}

/// Clients of one simulated world.
fn any_loads() -> impl Strategy<Value = Vec<Load>> {
    // Beside a thousand times its weight one gets a thousandth: nothing that a few seconds show.
    let one = (0u64..6, 50u32..1000, 1u32..100, prop::bool::ANY, 0u64..3).prop_map(
        |(reserve, weight, depth, large, rest)| Load {
            depth,
            cost: if large { Cost { ops: 1, bytes: 64 << 10 } } else { SMALL },
            active: (300 * MS, rest * 200 * MS),
            ..load(reserve * 100, weight)
        },
    );
    prop::collection::vec(one, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whoever always wants something gets its reservation, and something beyond it by its weight; nothing is left unused.
    #[test]
    fn promises_hold_for_all_mixtures(loads in any_loads(), seed: u64) {
        let outcomes = run(seed, Bugs::NONE, &loads, 4 * SECOND);
        let mut used: Nanos = 0;
        for (load, outcome) in loads.iter().zip(&outcomes) {
            let always = load.active.1 == 0 && load.depth >= 2 * DEPTH;
            let each = COMMITTED.max(load.cost.bytes.into()) / COMMITTED;
            let least = 3 * load.share.reserve.ops / each;
            let count = outcome.between(SECOND, 4 * SECOND);
            if always {
                prop_assert!(count * 100 + 100 >= least * 95, "{count} of {least}");
                prop_assert!(count > 0);
            }
            let bytes = SECOND * u64::from(load.cost.bytes) / DRIVE.bytes;
            used += count * bytes.max(SECOND / DRIVE.ops);
        }
        if loads.iter().any(|load| load.active.1 == 0 && load.depth >= 2 * DEPTH) {
            prop_assert!(used * 100 >= 3 * SECOND * 90, "the drive was idle");
        }
    }

    /// The same calls, the same answers.
    #[test]
    fn it_is_deterministic(loads in any_loads(), seed: u64) {
        let count = |_| run(seed, Bugs::NONE, &loads, SECOND).iter().map(|o| o.went.clone()).collect::<Vec<_>>();
        prop_assert_eq!(count(0), count(1));
    }
}
