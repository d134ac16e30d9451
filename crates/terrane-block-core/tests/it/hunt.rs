//! A short search of every configuration; by hand: one search, chosen by the environment.
//!
//! `CONFIG` names searches, `BUG` a switch, `STATES` how far; `SHOW=1` prints the schedule, `WRITE=DIR` keeps it there
//! as a trace. `PREFIX=A;B` instead follows the events whose names begin so, and prints what may happen after each.

use crate::actions::Action;
use crate::configs::{AIMED, CONFIGS, Config};
use crate::search::search;
use crate::world::World;
use terrane_block_core::bugs::Bugs;

#[test]
fn hunt() {
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    let states = env("STATES").parse().unwrap_or(1000);
    for config in CONFIGS.iter().chain(AIMED) {
        let wanted = env("CONFIG");
        if !wanted.is_empty() && !wanted.split(',').any(|w| w == config.name) {
            continue;
        }
        let mut config = config.clone();
        config.bugs = Bugs::named(&env("BUG"));
        let prefix = env("PREFIX");
        if !prefix.is_empty() {
            follow(&config, &prefix);
            continue;
        }
        let found = search(&config, states);
        print!("{} {}: {} states, depth {}, ", env("BUG"), config.name, found.states, found.depth);
        let Some((schedule, what)) = found.counterexample else {
            println!("exhausted {}", found.exhausted);
            continue;
        };
        println!("FOUND {what} ({})", schedule.len());
        keep(&config, &schedule, &what);
        assert!(!env("BUG").is_empty(), "{}: {what}", config.name);
    }
}

/// Prints the schedule and writes it to a file, if asked for.
fn keep(config: &Config, schedule: &[Action], what: &str) {
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    let mut text = format!("# {what}\nbug {}\nconfig {}\n", env("BUG"), config.name);
    for action in schedule {
        text += &format!("{action}\n");
    }
    if env("SHOW") == "1" {
        println!("{text}");
    }
    if !env("WRITE").is_empty() {
        let path = format!("{}/{}.txt", env("WRITE"), env("BUG"));
        std::fs::write(path, text).expect("the directory can be written");
    }
}

fn follow(config: &Config, prefix: &str) {
    let mut world = World::new(config);
    let mut schedule = Vec::new();
    for name in prefix.split(';') {
        let action = world.actions(config).into_iter().find(|action| action.to_string().starts_with(name));
        let Some(action) = action else {
            println!("{name}: cannot happen");
            continue;
        };
        world.act(config, action);
        schedule.push(action);
        if let Some(what) = &world.violation {
            println!("FOUND {what} ({})", schedule.len());
            keep(config, &schedule, what);
            return;
        }
        println!("{action}: {:?}\n  {:?}", world.violation, world.record);
        for action in world.actions(config) {
            println!("    {action}");
        }
    }
    for machine in &world.copies {
        println!("{:?} {:?} {:?}", machine.up, machine.disk, machine.state.volatile);
    }
}
