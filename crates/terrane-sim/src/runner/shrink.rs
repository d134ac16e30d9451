//! Making a failing history small.

use super::{Plan, Violation, World, run};

/// The shortest prefix of the history, with as few kinds of fault as possible, that still
/// violates something; and what it violates.
#[must_use]
pub fn shrink(world: &dyn World, plan: &Plan, violation: &Violation) -> (Plan, Violation) {
    let mut best = (plan.clone(), violation.clone());
    shorten(world, &mut best);
    for fault in world.faults() {
        let mut fewer = best.0.clone();
        fewer.without.push(fault);
        // Without the fault everything after it may differ, so the whole length is tried again.
        fewer.events = plan.events;
        if let Err(violation) = run(world, &fewer, false).result {
            best = (fewer, violation);
            shorten(world, &mut best);
        }
    }
    best
}

/// Bisects the number of events. (A longer history fails if a shorter one does, as that is its prefix;
/// checks at the end of a history can make exceptions, which cost size only.)
fn shorten(world: &dyn World, best: &mut (Plan, Violation)) {
    let mut passes = 0;
    while best.0.events - passes > 1 {
        let events = passes + (best.0.events - passes) / 2;
        let shorter = Plan { events, ..best.0.clone() };
        match run(world, &shorter, false).result {
            Ok(()) => passes = events,
            Err(violation) => *best = (shorter, violation),
        }
    }
}
