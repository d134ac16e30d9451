//! `terrane-sim WORLD --first F --seeds N [--bug NAME] [--events N] [--trace]`

use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;
use terrane_sim::runner::{self, Plan, World};
use terrane_sim::switches::Switches;
use terrane_sim::worlds;

/// Runs simulated histories of one world on all cores until one violates something.
#[derive(Parser)]
#[command(name = "terrane-sim")]
struct Cli {
    /// The world; `list` shows all with their bugs.
    world: String,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// A bug to put back.
    #[arg(long)]
    bug: Option<String>,
    /// Events of a history, instead of the world's own number.
    #[arg(long)]
    events: Option<u64>,
    /// Run only the first seed and print what happens.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.world == "list" {
        for world in worlds::all() {
            println!("{}: {} events; bugs: {}", world.name(), world.events(), world.bugs().join(", "));
        }
        return ExitCode::SUCCESS;
    }
    let Some(world) = worlds::all().into_iter().find(|world| world.name() == cli.world) else {
        eprintln!("no world {:?}; `terrane-sim list` shows them", cli.world);
        return ExitCode::from(2);
    };
    let switches = match &cli.bug {
        None => Switches::NONE,
        Some(name) => match world.bugs().iter().find(|bug| *bug == name) {
            Some(bug) => Switches::bug(bug),
            None => {
                eprintln!("{} has no bug {name:?}; it has {:?}", world.name(), world.bugs());
                return ExitCode::from(2);
            }
        },
    };
    if cli.trace { trace(world, &cli, switches) } else { many(world, &cli, switches) }
}

fn trace(world: &dyn World, cli: &Cli, switches: Switches) -> ExitCode {
    let mut plan = Plan::new(world, cli.first, switches);
    plan.events = cli.events.unwrap_or(plan.events);
    let outcome = runner::run(world, &plan, true);
    let (hash, count) = (outcome.trace.hash(), outcome.trace.count());
    for line in outcome.trace.into_lines() {
        println!("{line}");
    }
    println!("{} events, {count} lines, hash {hash:016x}\n{}", outcome.events, outcome.coverage);
    match outcome.result {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("violation: {violation}");
            ExitCode::FAILURE
        }
    }
}

fn many(world: &dyn World, cli: &Cli, switches: Switches) -> ExitCode {
    let started = Instant::now();
    let report = runner::run_many(world, cli.first, cli.seeds, switches);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}: {} histories from seed {}, {} events, {seconds:.1} s\n{}",
        world.name(),
        report.histories,
        cli.first,
        report.events,
        report.coverage
    );
    if let Some((plan, violation)) = &report.failure {
        println!("{}", runner::explain(world, plan, violation));
        return ExitCode::FAILURE;
    }
    let missing = report.coverage.missing(world.coverage());
    if !missing.is_empty() {
        println!("never happened: {missing:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
