//! What a device printed as JSON or XML: a tree or an error, and paths find their way through whatever came out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrane_router_drivers::{Node, Path, Place};

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let node = if choice % 2 == 0 { Node::from_json(data) } else { Node::from_xml(data) };
    let Ok(node) = node else { return };
    for path in ["a/{b}/*", "**a/../b[c=d]", "**b[!c]/~"] {
        let path = Path::parse(path).expect("these paths are well-formed");
        drop(path.places(&Place::root(&node)));
    }
});
