use proptest::prelude::*;
use terrane_types::AccountId;

use super::*;

fn account(n: u32) -> AccountId {
    AccountId::parse(&format!("{n:012}")).unwrap()
}

#[test]
fn a_burst_passes_then_the_rate_holds() {
    let cell = Cell::new(RateLimit { per_second: 10, burst: 3 });
    for _ in 0..3 {
        assert_eq!(cell.take(0, 1), Ok(()));
    }
    assert_eq!(cell.take(0, 1), Err(Throttled { retry_after: Duration::from_millis(100) }));
    assert_eq!(cell.take(99_999_999, 1), Err(Throttled { retry_after: Duration::from_nanos(1) }));
    assert_eq!(cell.take(100_000_000, 1), Ok(()));
    assert_eq!(cell.take(10 * NANOS, 3), Ok(()), "full again, not fuller");
    assert!(cell.take(10 * NANOS, 1).is_err());
}

#[test]
fn a_cost_above_the_burst_passes_alone_and_is_paid_afterwards() {
    let cell = Cell::new(RateLimit { per_second: 1, burst: 2 });
    assert_eq!(cell.take(0, 10), Ok(()));
    assert_eq!(cell.take(0, 1), Err(Throttled { retry_after: Duration::from_secs(9) }));
    assert_eq!(cell.take(9 * NANOS, 1), Ok(()));
}

#[test]
fn accounts_are_separate_and_overrides_come_and_go() {
    let limits = RateLimits::new(Some(RateLimit { per_second: 1, burst: 1 }), 100);
    let (a, b) = (account(1), account(2));
    assert!(limits.admit(&a, 1).is_ok());
    assert!(limits.admit(&a, 1).is_err());
    assert!(limits.admit(&b, 1).is_ok());
    limits.configure(&a, Some(RateLimit { per_second: 1000, burst: 1000 }));
    assert!(limits.admit(&a, 500).is_ok());
    limits.configure(&a, None);
    assert!(limits.admit(&a, 1).is_ok());
    assert!(limits.admit(&a, 1).is_err(), "back to the default");
    limits.configure(&a, None);
    assert!(limits.admit(&a, 1).is_err(), "unchanged limits leave the bucket as it is");
}

#[test]
fn without_a_limit_everything_passes_and_nothing_is_tracked() {
    let limits = RateLimits::new(None, 100);
    for n in 0..1000 {
        assert!(limits.admit(&account(n), u32::MAX).is_ok());
    }
    limits.cells.run_pending_tasks();
    assert_eq!(limits.cells.entry_count(), 0);
    limits.configure(&account(7), Some(RateLimit { per_second: 1, burst: 1 }));
    assert!(limits.admit(&account(7), 1).is_ok());
    assert!(limits.admit(&account(7), 1).is_err());
    limits.configure(&account(7), None);
    assert!(limits.admit(&account(7), 1).is_ok());
}

#[test]
fn the_number_of_tracked_accounts_is_bounded() {
    let limits = RateLimits::new(Some(RateLimit { per_second: 1, burst: 1 }), 10);
    for n in 0..1000 {
        let _ = limits.admit(&account(n), 1);
    }
    limits.cells.run_pending_tasks();
    assert!(limits.cells.entry_count() <= 10);
}

proptest! {
    /// In any window, no more passes than the burst plus what the rate allows; and a caller that waits as
    /// long as it was told always passes.
    #[test]
    fn never_more_than_burst_plus_rate(
        per_second in 1u32..2000,
        burst in 1u32..100,
        steps in prop::collection::vec((0u64..50_000_000, 1u32..5), 1..200),
    ) {
        let cell = Cell::new(RateLimit { per_second, burst });
        let (mut now, mut passed) = (0u64, 0u64);
        for (pause, cost) in steps {
            now += pause;
            let cost = cost.min(burst);
            match cell.take(now, cost) {
                Ok(()) => passed += u64::from(cost),
                Err(throttled) => {
                    now += u64::try_from(throttled.retry_after.as_nanos()).unwrap();
                    prop_assert_eq!(cell.take(now, cost), Ok(()));
                    passed += u64::from(cost);
                }
            }
            let step = RateLimit { per_second, burst }.nanos_per_request();
            prop_assert!(passed <= u64::from(burst) + now / step);
        }
    }

    #[test]
    fn no_arithmetic_overflows(per_second: u32, burst: u32, now: u64, cost: u32) {
        let cell = Cell::new(RateLimit { per_second, burst });
        let _ = cell.take(now, cost);
        let _ = cell.take(now, cost);
    }
}
