//! Running many histories, and making the failing ones small.

mod shrink;
#[cfg(test)]
mod tests;

pub use shrink::shrink;

use crate::coverage::Coverage;
use crate::rng::SimRng;
use crate::switches::Switches;
use crate::trace::Trace;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Something that can be run from a seed.
pub trait World: Sync {
    /// What the command line calls it.
    fn name(&self) -> &'static str;
    /// Names of the bugs that can be switched on; each must be found within [`BUG_SEEDS`] seeds.
    fn bugs(&self) -> &'static [&'static str];
    /// Counters that must not be zero after a run of many seeds.
    fn coverage(&self) -> &'static [&'static str];
    /// Kinds of fault that the shrinker may switch off ([`Plan::allows`]).
    fn faults(&self) -> &'static [&'static str];
    /// Events of a whole history: at least 2,000.
    fn events(&self) -> u64 {
        2_000
    }
    /// Runs one history of `plan.events` events and the checks after it. Everything random comes from `context.rng`,
    /// so that the history of fewer events is a prefix of the one of more.
    ///
    /// # Errors
    /// What was violated. (A panic counts as well.)
    fn run(&self, plan: &Plan, context: &mut Context) -> Result<(), Violation>;
}

/// Seeds within which every bug must be found.
pub const BUG_SEEDS: u64 = 500;

/// Which history to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// How many events.
    pub events: u64,
    /// The bug put back, if any.
    pub switches: Switches,
    /// Kinds of fault switched off by the shrinker.
    pub without: Vec<&'static str>,
}

impl Plan {
    /// A whole history of a world.
    #[must_use]
    pub fn new(world: &dyn World, seed: u64, switches: Switches) -> Self {
        Self { seed, events: world.events(), switches, without: Vec::new() }
    }

    /// Whether a kind of fault may happen.
    #[must_use]
    pub fn allows(&self, fault: &str) -> bool {
        !self.without.contains(&fault)
    }
}

/// What a history writes to.
pub struct Context {
    /// The seeded generator.
    pub rng: SimRng,
    /// What happened.
    pub trace: Trace,
    /// What was gone through.
    pub coverage: Coverage,
    /// Events so far; the world counts them.
    pub events: u64,
}

/// What was violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl Violation {
    /// From anything that can be shown.
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One history's end.
pub struct Outcome {
    /// The history.
    pub plan: Plan,
    /// Nothing was violated, or what was.
    pub result: Result<(), Violation>,
    /// What happened.
    pub trace: Trace,
    /// What was gone through.
    pub coverage: Coverage,
    /// Events that happened.
    pub events: u64,
}

/// Runs one history. Keeps the lines of its trace if `keep_trace`.
#[must_use]
pub fn run(world: &dyn World, plan: &Plan, keep_trace: bool) -> Outcome {
    let mut context = Context {
        rng: SimRng::new(plan.seed),
        trace: Trace::new(keep_trace),
        coverage: Coverage::default(),
        events: 0,
    };
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| world.run(plan, &mut context)));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Violation(format!("panic: {}", text.unwrap_or("of unknown kind"))))
    });
    let Context { trace, coverage, events, .. } = context;
    Outcome { plan: plan.clone(), result, trace, coverage, events }
}

/// What many histories came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Histories run.
    pub histories: u64,
    /// Events in them.
    pub events: u64,
    /// What they went through together.
    pub coverage: Coverage,
    /// The first failing history found, and what it violated.
    pub failure: Option<(Plan, Violation)>,
}

/// Runs the seeds from `first` on, on all cores, until one fails.
#[must_use]
pub fn run_many(world: &dyn World, first: u64, seeds: u64, switches: Switches) -> Report {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let work = || {
        let mut report = Report::default();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= seeds {
                break;
            }
            let plan = Plan::new(world, first.wrapping_add(index), switches);
            let outcome = run(world, &plan, false);
            report.histories += 1;
            report.events += outcome.events;
            report.coverage.merge(&outcome.coverage);
            if let Err(violation) = outcome.result {
                stop.store(true, Ordering::Relaxed);
                report.failure = Some((plan, violation));
            }
        }
        report
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut all = Report::default();
    for report in reports {
        all.histories += report.histories;
        all.events += report.events;
        all.coverage.merge(&report.coverage);
        let seed = |failure: &Option<(Plan, Violation)>| failure.as_ref().map_or(u64::MAX, |f| f.0.seed);
        if seed(&report.failure) < seed(&all.failure) {
            all.failure = report.failure;
        }
    }
    all
}

/// The text that a failing history is reported with: what, how to run it again, and the smallest form found.
#[must_use]
pub fn explain(world: &dyn World, plan: &Plan, violation: &Violation) -> String {
    let (small, what) = shrink(world, plan, violation);
    let lines = run(world, &small, true).trace.into_lines();
    let tail = &lines[lines.len().saturating_sub(40)..];
    format!(
        "{}: seed {} violates: {violation}\nsmallest form: {} events, without {:?}: {what}\n\
         again: terrane-sim {} --first {} --events {}{} --trace\nlast lines of its trace:\n{}",
        world.name(),
        plan.seed,
        small.events,
        small.without,
        world.name(),
        plan.seed,
        small.events,
        small.switches,
        tail.join("\n"),
    )
}

/// For tests: `seeds` histories from `first` on violate nothing and go through everything that the world names.
///
/// # Panics
/// If not, with the failing history's smallest form.
pub fn assert_holds(world: &dyn World, first: u64, seeds: u64) -> Report {
    let report = run_many(world, first, seeds, Switches::NONE);
    if let Some((plan, violation)) = &report.failure {
        panic!("{}", explain(world, plan, violation));
    }
    let events = report.events / report.histories.max(1);
    assert!(events >= world.events(), "{}: only {events} events in a history", world.name());
    let missing = report.coverage.missing(world.coverage());
    assert!(missing.is_empty(), "{}: never happened: {missing:?}\n{}", world.name(), report.coverage);
    report
}

/// For tests: every bug that the world names is found within [`BUG_SEEDS`] seeds.
///
/// # Panics
/// If one is not.
pub fn assert_finds_bugs(world: &dyn World) {
    assert_finds_bugs_from(world, 0);
}

/// As [`assert_finds_bugs`], with seeds from `first` on.
///
/// # Panics
/// If one is not.
pub fn assert_finds_bugs_from(world: &dyn World, first: u64) {
    for bug in world.bugs() {
        let report = run_many(world, first, BUG_SEEDS, Switches::bug(bug));
        let Some((plan, violation)) = report.failure else {
            panic!("{}: bug {bug:?} not found within {BUG_SEEDS} seeds", world.name());
        };
        println!("{}: bug {bug:?} found by seed {}: {violation}", world.name(), plan.seed);
    }
}

/// For tests: the same seed gives the same trace, another seed another.
///
/// # Panics
/// If not.
pub fn assert_repeats(world: &dyn World) {
    let hash = |seed| {
        let outcome = run(world, &Plan::new(world, seed, Switches::NONE), false);
        assert!(outcome.trace.count() > 0, "{}: a history without a trace", world.name());
        outcome.trace.hash()
    };
    for seed in 0..5 {
        assert_eq!(hash(seed), hash(seed), "{}: seed {seed} gives two traces", world.name());
        assert_ne!(hash(seed), hash(seed + 1), "{}: two seeds give one trace", world.name());
    }
}

/// A seed from the clock, for the batch of a test run that is new every time. Print it.
#[must_use]
pub fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |since| u64::try_from(since.as_millis()).unwrap_or(1))
}
