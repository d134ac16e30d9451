use super::bed::*;
use crate::ShardConfig;
use crate::bucket::Versioning;
use crate::list::{Item, ListKind, ListQuery, ListStart, list};

#[test]
fn a_listing_merges_overlay_and_keymap() {
    let mut bed = Bed::with_bucket(ShardConfig::default());
    for (key, mode) in [("a/1", sync()), ("a/2", hour()), ("b", sync()), ("c", hour()), ("d", sync())] {
        bed.put(key, "e", mode).unwrap();
    }
    bed.delete("b", None, hour()).unwrap();
    let mut query = ListQuery {
        incarnation: BUCKET,
        versioning: Versioning::Off,
        kind: ListKind::Current,
        prefix: Vec::new(),
        delimiter: b"/".to_vec(),
        start: ListStart::Beginning,
        max: 2,
    };
    let mut seen = Vec::new();
    loop {
        let page = bed.read(|rows| list(rows, &query)).unwrap();
        seen.extend(page.items.iter().map(|item| match item {
            Item::Row { key, .. } | Item::Prefix(key) => String::from_utf8(key.clone()).unwrap(),
        }));
        let Some(next) = page.next else { break };
        query.start = ListStart::decode(&next.encode()).unwrap();
    }
    assert_eq!(seen, ["a/", "c", "d"]);
}
