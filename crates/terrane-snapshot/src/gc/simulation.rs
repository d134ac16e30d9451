//! Captures, copies, hydrations, deletions and collectors in any order, crashing anywhere: after every step
//! everything that can be referred to is there, and in the end nothing else is.

mod world;

use std::collections::BTreeMap;

use super::bug::Bug;
use world::World;

const SEEDS: u64 = 400;
const SEEDS_FOR_BUGS: u64 = 500;

#[test]
fn nothing_referred_to_is_deleted_and_everything_else_is() {
    let mut counters = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, None);
        world.run().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for (name, count) in world.counters {
            *counters.entry(name).or_insert(0) += count;
        }
    }
    let wanted = [
        "begin",
        "begin-with-parent",
        "dedup-hit",
        "dedup-of-condemned-refused",
        "commit",
        "commit-refused",
        "capture-crash",
        "zombie-put",
        "abort",
        "copy",
        "copy-refused",
        "drop",
        "read",
        "read-after-drop",
        "condemn",
        "rescue",
        "delete",
        "delete-failed",
        "late-delete",
        "collector-crash",
        "unreadable",
        "waited-for-capture",
        "cycle",
    ];
    for name in wanted {
        assert!(counters.get(name).is_some_and(|count| *count > 0), "{name} never happened: {counters:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let run = |seed| {
        let mut world = World::new(seed, None);
        world.run().unwrap();
        (world.counters, world.trace)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

#[test]
fn every_broken_rule_is_noticed() {
    for bug in Bug::ALL {
        let found = (0..SEEDS_FOR_BUGS).find(|seed| World::new(*seed, Some(bug)).run().is_err());
        assert!(found.is_some(), "{bug:?} was not found in {SEEDS_FOR_BUGS} seeds");
    }
}
