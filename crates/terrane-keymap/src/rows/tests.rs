use proptest::prelude::*;

use super::*;

fn subs() -> impl Strategy<Value = Sub> {
    prop_oneof![
        Just(Sub::Null),
        any::<u64>().prop_map(|n| Sub::Version(Lsn(n))),
        any::<u64>().prop_map(|n| Sub::Upload(Lsn(n))),
        (any::<u64>(), any::<u32>()).prop_map(|(n, p)| Sub::Part(Lsn(n), p)),
    ]
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..12)
}

/// How rows are to sort, said without the encoding.
fn rank(name: &RowName) -> (u64, u8, Vec<u8>, u64, u64, u32) {
    let (space, a, b, c) = match name.sub {
        Sub::Null => (0, 0, 0, 0),
        Sub::Version(lsn) => (0, 1, u64::MAX - lsn.0, 0),
        Sub::Upload(lsn) => (1, lsn.0, 0, 0),
        Sub::Part(lsn, part) => (2, lsn.0, 0, part),
    };
    (name.incarnation.0, space, name.key.clone(), a, b, c)
}

proptest! {
    #[test]
    fn encoding_round_trips_and_keeps_the_order(
        a in (0u64..3, keys(), subs()), b in (0u64..3, keys(), subs())
    ) {
        let names = [a, b].map(|(i, key, sub)| RowName { incarnation: Incarnation(i), key, sub });
        let ids = names.clone().map(|n| RowId::new(n.incarnation, &n.key, n.sub));
        for (id, name) in ids.iter().zip(&names) {
            prop_assert_eq!(&id.parse().unwrap(), name);
        }
        prop_assert_eq!(ids[0].cmp(&ids[1]), rank(&names[0]).cmp(&rank(&names[1])));
    }

    #[test]
    fn prefixes_cover_exactly_their_rows(key in keys(), other in keys(), sub in subs(), cut in 0usize..12) {
        let inc = Incarnation(5);
        let id = RowId::new(inc, &key, sub);
        let within = |prefix: &[u8]| id.as_bytes() >= prefix && id.as_bytes() < &prefix_end(prefix)[..];
        prop_assert!(within(&key_prefix(inc, sub.space(), &key)));
        prop_assert_eq!(within(&key_prefix(inc, sub.space(), &other)), key == other);
        prop_assert!(within(&open_prefix(inc, sub.space(), &key[..cut.min(key.len())])));
        prop_assert_eq!(within(&open_prefix(inc, sub.space(), &other)), key.starts_with(&other));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_decode_only_what_was_encoded(
        bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0x10), Just(0x30), any::<u8>()], 0..48)
    ) {
        if let Ok(name) = RowName::parse(&bytes) {
            let id = RowId::new(name.incarnation, &name.key, name.sub);
            prop_assert_eq!(id.as_bytes(), &bytes[..]);
        }
    }
}

#[test]
fn encoded_bytes_are_pinned() {
    let inc = Incarnation(0x0102_0304_0506_0708);
    let hex =
        |sub| RowId::new(inc, b"a\0b", sub).as_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>();
    let head = "0102030405060708";
    assert_eq!(hex(Sub::Null), format!("{head}106100ff62000100"));
    assert_eq!(hex(Sub::Version(Lsn(3))), format!("{head}106100ff62000101fffffffffffffffc"));
    assert_eq!(hex(Sub::Upload(Lsn(3))), format!("{head}206100ff6200010000000000000003"));
    assert_eq!(hex(Sub::Part(Lsn(3), 2)), format!("{head}306100ff620001000000000000000300000002"));
}
