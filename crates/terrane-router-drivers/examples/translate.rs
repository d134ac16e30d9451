//! Runs plans of a directory over recorded output, without building them in: for writing plans.
//!
//! `translate KNOWLEDGE PLATFORM GETTER INPUT [name=value…]`

use std::path::Path;

use serde_json::Value;
use terrane_router_drivers::{KnowledgeBase, Recorded, Variables, translate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [knowledge, platform, getter, input, rest @ ..] = arguments.as_slice() else {
        return Err("translate KNOWLEDGE PLATFORM GETTER INPUT [name=value…]".into());
    };
    let base = KnowledgeBase::open(Path::new(knowledge))?;
    let mut variables = Variables::new();
    for pair in rest {
        let (name, value) = pair.split_once('=').ok_or("name=value")?;
        variables.insert(name.into(), Value::from(value));
    }
    let answer = translate(&base, platform, getter, &variables, &Recorded::open(Path::new(input))?)?;
    println!("{}", serde_json::to_string_pretty(&answer)?);
    Ok(())
}
