use super::*;

/// Counts up; with its bug it fails at the first event after the 700th in which a rare fault happens.
struct Counter;

impl World for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }
    fn bugs(&self) -> &'static [&'static str] {
        &["rare"]
    }
    fn coverage(&self) -> &'static [&'static str] {
        &["rare", "harmless"]
    }
    fn faults(&self) -> &'static [&'static str] {
        &["rare", "harmless"]
    }
    fn run(&self, plan: &Plan, context: &mut Context) -> Result<(), Violation> {
        for event in 0..plan.events {
            context.events += 1;
            let number = context.rng.below(1000);
            context.trace.note(format_args!("{event} {number}"));
            if number < 10 && plan.allows("harmless") {
                context.coverage.hit("harmless");
            }
            if number == 999 && plan.allows("rare") {
                context.coverage.hit("rare");
                if event > 700 && plan.switches.has("rare") {
                    return Err(Violation::new(format_args!("rare at {event}")));
                }
            }
        }
        Ok(())
    }
}

#[test]
fn a_world_is_run_repeats_and_its_bug_is_found() {
    let report = assert_holds(&Counter, 0, 50);
    assert_eq!((report.histories, report.events), (50, 100_000));
    assert_repeats(&Counter);
    assert_finds_bugs(&Counter);
}

#[test]
fn a_failing_history_is_cut_to_its_first_violation_and_loses_needless_faults() {
    let report = run_many(&Counter, 0, BUG_SEEDS, Switches::bug("rare"));
    let (plan, violation) = report.failure.unwrap();
    let (small, what) = shrink(&Counter, &plan, &violation);
    assert_eq!(what, violation);
    assert_eq!(small.without, ["harmless"]);
    assert_eq!(format!("rare at {}", small.events - 1), what.0);
    assert!(explain(&Counter, &plan, &violation).contains("--trace"));
}

#[test]
#[should_panic(expected = "never happened: [\"rare\"]")]
fn a_counter_at_zero_fails_the_run() {
    let seed = (0..).find(|seed| {
        run(&Counter, &Plan::new(&Counter, *seed, Switches::NONE), false).coverage.get("rare") == 0
    });
    assert_holds(&Counter, seed.unwrap(), 1);
}

#[test]
fn a_panic_is_a_violation() {
    struct Panics;
    impl World for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }
        fn bugs(&self) -> &'static [&'static str] {
            &[]
        }
        fn coverage(&self) -> &'static [&'static str] {
            &[]
        }
        fn faults(&self) -> &'static [&'static str] {
            &[]
        }
        fn run(&self, plan: &Plan, _: &mut Context) -> Result<(), Violation> {
            assert_eq!(plan.seed, 0, "not zero");
            Ok(())
        }
    }
    let report = run_many(&Panics, 0, 2, Switches::NONE);
    let (plan, violation) = report.failure.unwrap();
    assert_eq!(plan.seed, 1);
    assert!(violation.0.contains("not zero"));
}
