use terrane_sim::runner::{assert_finds_bugs, assert_holds, assert_repeats, fresh_seed};
use terrane_sim::worlds::EngineWorld;

#[test]
fn holds() {
    assert_holds(&EngineWorld, 0, 2_000);
}

#[test]
fn holds_on_fresh_seeds() {
    let first = fresh_seed();
    println!("first seed {first}");
    assert_holds(&EngineWorld, first, 200);
}

#[test]
fn finds_its_bugs() {
    assert_finds_bugs(&EngineWorld);
}

#[test]
fn repeats() {
    assert_repeats(&EngineWorld);
}
