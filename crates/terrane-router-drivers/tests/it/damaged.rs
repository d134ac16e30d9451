//! Damaged output is answered or refused, never a panic: cut anywhere, bytes changed, lines lost.

use proptest::prelude::*;
use serde_json::Value;
use terrane_router_drivers::{KnowledgeBase, Recorded, Variables, translate};

use crate::{Case, cases, corpus};

fn translated(base: &KnowledgeBase, case: &Case, recorded: &Recorded) {
    let variables = Variables::from([("now".to_owned(), Value::from(1_500_000_000))]);
    drop(translate(base, &case.platform, &case.getter, &variables, recorded));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn cut_and_changed_output(pick: prop::sample::Index, cut: prop::sample::Index, change: Vec<(prop::sample::Index, u8)>) {
        let Some(corpus) = corpus() else { return Ok(()) };
        let cases = cases(&corpus);
        let case = &cases[pick.index(cases.len())];
        let recorded = Recorded::open(&case.dir).unwrap().map(|bytes| {
            let mut bytes = bytes.get(..cut.index(bytes.len() + 1)).unwrap_or_default().to_vec();
            for (at, byte) in &change {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            bytes
        });
        translated(&KnowledgeBase::embedded(), case, &recorded);
    }
}
