use terrane_sim::runner::{assert_finds_bugs, assert_holds, assert_repeats, fresh_seed};
use terrane_sim::worlds::MirrorWorld;

#[test]
fn holds() {
    assert_holds(&MirrorWorld, 0, 2_000);
}

#[test]
fn holds_on_fresh_seeds() {
    let first = fresh_seed();
    println!("first seed {first}");
    assert_holds(&MirrorWorld, first, 500);
}

#[test]
fn finds_its_bugs() {
    assert_finds_bugs(&MirrorWorld);
}

#[test]
fn repeats() {
    assert_repeats(&MirrorWorld);
}
