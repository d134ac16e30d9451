//! Damaged output is answered or refused, never a panic: cut anywhere, bytes changed, lines lost.

use proptest::prelude::*;
use serde_json::Value;
use terrane_router_drivers::{KnowledgeBase, Recorded, Variables, run, translate};
use terrane_router_model::napalm::Getter;

use crate::{Case, cases, corpus};

fn translated(base: &KnowledgeBase, case: &Case, recorded: &Recorded) {
    drop(translate(base, &case.platform, &case.getter, &variables(), recorded));
}

fn variables() -> Variables {
    Variables::from([("now".to_owned(), Value::from(1_500_000_000))])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

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

/// Every case whose output is small, cut at every byte.
#[test]
fn output_cut_at_every_byte() {
    const BYTES_MAX: u64 = 1_000;
    let Some(corpus) = corpus() else { return };
    let base = KnowledgeBase::embedded();
    let mut cuts = 0;
    for case in cases(&corpus) {
        let recorded = case.dir.read_dir().unwrap().map(|entry| entry.unwrap());
        let outputs = recorded.filter(|entry| entry.file_name() != "expected_result.json");
        let longest = outputs.map(|entry| entry.metadata().unwrap().len()).max().unwrap_or(0);
        if longest > BYTES_MAX {
            continue;
        }
        let Some(getter) = Getter::named(&case.getter) else { continue };
        let platform = base.platform(&case.platform).unwrap();
        let plan = base.plan(&case.platform, getter.kind, getter.view).unwrap();
        let recorded = Recorded::open(&case.dir).unwrap();
        for cut in 0..longest as usize {
            let cut = recorded.clone().map(|bytes| bytes.get(..cut).unwrap_or(bytes).to_vec());
            if let Ok(rows) = run(&platform, &plan, &variables(), &cut) {
                drop(getter.project(&rows, &plan.napalm));
            }
            cuts += 1;
        }
    }
    assert!(cuts > 5_000, "{cuts}");
}
