//! Limits of volumes.

use proptest::prelude::*;
use terrane_qos::{Allowance, Cost, Gcra, Limiter, Limits, Nanos, SECOND};

const MS: Nanos = 1_000_000;

/// Asks as often as it may, `gap` apart at least. Returns when what passed, in units.
fn greedy(gcra: &mut Gcra, from: Nanos, until: Nanos, gap: Nanos, units: u64) -> Vec<Nanos> {
    let (mut now, mut passed) = (from, Vec::new());
    while now < until {
        if gcra.open_at() <= now {
            gcra.take(now, units);
            passed.push(now);
            now += gap;
        } else {
            now = gcra.open_at();
        }
    }
    passed
}

proptest! {
    /// In no window more than the rate, the burst and one request pass; over a long time no less than the rate.
    #[test]
    fn a_rate_holds_in_every_window(
        rate in 1u64..100_000,
        burst in 0u64..10_000,
        units in 1u64..50,
        waits in prop::collection::vec(0u64..300 * MS, 1..200),
    ) {
        let mut gcra = Gcra::new(Allowance { rate, burst });
        let (mut now, mut passed) = (7, Vec::new());
        for wait in waits {
            now += wait;
            if gcra.open_at() <= now {
                gcra.take(now, units);
                passed.push(now);
            }
        }
        for (first, from) in passed.iter().enumerate() {
            for (last, to) in passed.iter().enumerate().skip(first) {
                let done = (last - first + 1) as u128 * u128::from(units);
                let may = u128::from(rate) * u128::from(to - from) / u128::from(SECOND)
                    + u128::from(burst) + u128::from(units) + 1;
                prop_assert!(done <= may, "{done} > {may} in {} ns", to - from);
            }
        }
    }

    #[test]
    fn all_of_a_rate_can_be_used(rate in 10u64..50_000, burst in 0u64..1000, units in 1u64..8) {
        let mut gcra = Gcra::new(Allowance { rate, burst });
        let passed = greedy(&mut gcra, 0, 10 * SECOND, 1, units).len() as u64 * units;
        // Without a burst nothing makes good that each wait ends with a whole nanosecond.
        let rounded = passed * rate / SECOND + 1;
        prop_assert!(passed + units + rounded >= 10 * rate, "{passed}");
        prop_assert!(passed <= 10 * rate + burst + 2 * units, "{passed}");
    }

    /// Changing a limit back and forth gives nobody a new burst.
    #[test]
    fn a_change_gives_no_credit(rates in prop::collection::vec(100u64..10_000, 1..20)) {
        let burst = 500;
        let mut gcra = Gcra::new(Allowance { rate: 1000, burst });
        let (mut now, mut passed) = (0, greedy(&mut gcra, 0, 100 * MS, 1, 1).len() as u64);
        let mut fair = 100 + burst;
        for rate in rates {
            gcra.set(now + 100 * MS, Allowance { rate, burst });
            now += 100 * MS;
            passed += greedy(&mut gcra, now, now + 100 * MS, 1, 1).len() as u64;
            fair += rate / 10 + 2;
        }
        prop_assert!(passed <= fair + 2, "{passed} > {fair}");
    }
}

fn gp2() -> Limits {
    let for_ever = Allowance { rate: 100, burst: 5_400 };
    let peak = Allowance { rate: 3_000, burst: 30 };
    Limits { ops: [Some(for_ever), Some(peak)], ..Limits::default() }
}

/// Runs a limiter as hard as it lets. Returns requests per second.
fn per_second(limiter: &mut Limiter, seconds: std::ops::Range<u64>, cost: Cost) -> Vec<u64> {
    let mut counts = Vec::new();
    for second in seconds {
        let (mut now, mut count) = (second * SECOND, 0);
        while now < (second + 1) * SECOND {
            match limiter.admit(now, cost) {
                Ok(()) => count += 1,
                Err(at) => now = at,
            }
        }
        counts.push(count);
    }
    counts
}

#[test]
fn credit_is_spent_at_the_peak_and_earned_when_idle() {
    let mut limiter = Limiter::new(&gp2());
    let one = Cost { ops: 1, bytes: 4096 };
    let counts = per_second(&mut limiter, 0..5, one);
    assert!((3000..=3031).contains(&counts[0]), "{counts:?}");
    assert!((2300..=2700).contains(&counts[1]), "the credit ends: {counts:?}");
    assert!(counts[2..].iter().all(|count| (99..=101).contains(count)), "{counts:?}");
    // Idle for ten seconds: a thousand more at once.
    let later = per_second(&mut limiter, 15..17, one);
    assert!((1090..=1110).contains(&later[0]) && (99..=101).contains(&later[1]), "{later:?}");
}

#[test]
fn both_operations_and_bytes_count() {
    let steady = |rate, burst| [Some(Allowance { rate, burst }), None];
    let limits = Limits { ops: steady(1000, 10), bytes: steady(10 << 20, 1 << 20) };
    let mut limiter = Limiter::new(&limits);
    assert!((1000..=1011).contains(&per_second(&mut limiter, 0..1, Cost { ops: 1, bytes: 4096 })[0]));
    let large = per_second(&mut limiter, 10..12, Cost { ops: 4, bytes: 1 << 20 });
    assert!((11..=12).contains(&large[0]) && (10..=11).contains(&large[1]), "{large:?}");
}

#[test]
fn no_limit_is_none() {
    let mut limiter = Limiter::default();
    assert!((0..1000).all(|_| limiter.admit(5, Cost { ops: 1000, bytes: u32::MAX }).is_ok()));
}

#[test]
fn a_lower_limit_holds_at_once_and_a_higher_one_too() {
    let of = |rate| Limits { ops: [Some(Allowance { rate, burst: rate / 10 }), None], ..Limits::default() };
    let one = Cost { ops: 1, bytes: 0 };
    let mut limiter = Limiter::new(&of(10_000));
    assert!(per_second(&mut limiter, 0..1, one)[0] >= 10_000);
    limiter.set(SECOND, &of(100));
    assert!(per_second(&mut limiter, 1..2, one)[0] <= 111);
    limiter.set(2 * SECOND, &of(10_000));
    assert!(per_second(&mut limiter, 2..3, one)[0] >= 9_980);
    limiter.set(3 * SECOND, &Limits::default());
    assert!((0..100_000).all(|_| limiter.admit(3 * SECOND, one).is_ok()));
}
