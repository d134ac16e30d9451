//! Expressions of the knowledge base and commands of the read-only grammar: parsed or refused, evaluated over any tree.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use terrane_router_drivers::{Command, Expr, Node, Place, Scope, Tables};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (first, rest) = text.split_once('\0').unwrap_or((&text, "{\"a\":[1,{\"b\":\"2d03h\"}]}"));
    drop(Command::parse(first));
    let (Ok(expr), Ok(node)) = (Expr::parse(first), Node::from_json(rest.as_bytes())) else { return };
    let (variables, tables) = (BTreeMap::new(), Tables::new());
    drop(expr.value(&Scope { place: Place::root(&node), variables: &variables, tables: &tables }));
});
