//! Schedules that once broke the protocol, or break it with one rule taken away. Kept for ever.

use crate::actions::Action;
use crate::configs::{AIMED, CONFIGS, Config};
use crate::world::World;
use std::fs;
use std::path::Path;
use terrane_block_core::bugs::Bugs;

const TRACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/traces");

/// A file of `traces/`: comments, the switch, the configuration, and a named event per line.
struct Trace {
    bug: String,
    config: Config,
    schedule: Vec<String>,
}

fn parse(text: &str) -> Trace {
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut word = |name: &str| {
        let line = lines.next().unwrap_or_default();
        line.strip_prefix(name).unwrap_or_else(|| panic!("{line:?} is not {name}")).trim().to_owned()
    };
    let bug = word("bug");
    let name = word("config");
    let config = CONFIGS.iter().chain(AIMED).find(|config| config.name == name);
    let config = config.unwrap_or_else(|| panic!("no configuration {name:?}")).clone();
    Trace { bug, config, schedule: lines.map(str::to_owned).collect() }
}

/// Follows the schedule. An event that cannot happen is left out: without the bug things go differently.
fn replay(trace: &Trace, bugs: Bugs) -> (usize, Option<String>) {
    let config = Config { bugs, ..trace.config.clone() };
    let mut world = World::new(&config);
    let mut happened = 0;
    for name in &trace.schedule {
        let named = |action: &Action| action.to_string() == *name;
        let Some(action) = world.actions(&config).into_iter().find(named) else { continue };
        world.act(&config, action);
        happened += 1;
        if let Some(what) = world.violation {
            return (happened, Some(what));
        }
    }
    (happened, None)
}

/// Where the kept schedule of a bug leads without its last events, and how.
pub(crate) fn most_of(bug: &str, left_out: usize) -> (Config, World, Vec<String>) {
    let path = Path::new(TRACES).join(format!("{bug}.txt"));
    let mut trace = parse(&fs::read_to_string(path).expect("there is a trace of this name"));
    trace.schedule.truncate(trace.schedule.len().saturating_sub(left_out));
    let config = Config { bugs: Bugs::named(bug), ..trace.config.clone() };
    let mut world = World::new(&config);
    for name in &trace.schedule {
        let actions = world.actions(&config);
        let action = actions.into_iter().find(|action| action.to_string() == *name);
        world.act(&config, action.expect("the schedule fits"));
    }
    (config, world, trace.schedule)
}

#[test]
fn every_trace_breaks_the_switched_off_rule_and_only_that() {
    let mut seen = Vec::new();
    for entry in fs::read_dir(TRACES).expect("the directory of traces is there") {
        let path = entry.expect("the directory can be read").path();
        let trace = parse(&fs::read_to_string(&path).expect("a trace is a text"));
        assert!(Bugs::NAMES.contains(&trace.bug.as_str()), "{path:?}: no switch {:?}", trace.bug);
        let (happened, broken) = replay(&trace, Bugs::named(&trace.bug));
        assert!(broken.is_some(), "{path:?}: nothing is violated any more");
        assert_eq!(happened, trace.schedule.len(), "{path:?}: the schedule does not fit any more");
        assert_eq!(replay(&trace, Bugs::NONE).1, None, "{path:?} breaks the protocol as it is");
        seen.push(trace.bug);
    }
    let missing: Vec<_> = Bugs::NAMES.iter().filter(|name| !seen.iter().any(|bug| bug == *name)).collect();
    assert_eq!(missing, [&"never_go_back"; 1], "a trace for every switch; the last is a test of the manager");
}
