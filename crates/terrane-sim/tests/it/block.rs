use terrane_sim::runner::{assert_finds_bugs, assert_holds, assert_repeats, explain, fresh_seed, run_many};
use terrane_sim::switches::Switches;
use terrane_sim::worlds::BlockWorld;

#[test]
fn holds() {
    assert_holds(&BlockWorld, 0, 5_000);
}

#[test]
fn holds_on_fresh_seeds() {
    let first = fresh_seed();
    println!("first seed {first}");
    let report = run_many(&BlockWorld, first, 1_000, Switches::NONE);
    if let Some((plan, violation)) = &report.failure {
        panic!("{}", explain(&BlockWorld, plan, violation));
    }
}

#[test]
fn finds_its_bugs() {
    assert_finds_bugs(&BlockWorld);
}

#[test]
fn repeats() {
    assert_repeats(&BlockWorld);
}
