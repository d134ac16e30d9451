use proptest::prelude::*;

use super::*;

#[test]
fn the_encoding_is_pinned() {
    let key = ("t", 258u64, -1i64, vec![7u8, 0, 9], true);
    let expected = [
        0x02, b't', 0, // "t"
        0x14, 0, 0, 0, 0, 0, 0, 1, 2, // 258
        0x13, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // -1
        0x01, 7, 0, 0xff, 9, 0,    // bytes with a zero
        0x27, // true
    ];
    assert_eq!(key.pack(), expected);
}

proptest! {
    #[test]
    fn order_is_kept(a: (String, Vec<u8>, i64, u64, bool), b: (String, Vec<u8>, i64, u64, bool)) {
        prop_assert_eq!(a.pack().cmp(&b.pack()), a.cmp(&b));
    }

    #[test]
    fn order_of_similar_byte_strings_is_kept(a in prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xfe, 0xff]), 0..6),
                                             b in prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xfe, 0xff]), 0..6),
                                             c: u64, d: u64) {
        prop_assert_eq!((&a, c).pack().cmp(&(&b, d).pack()), (&a, c).cmp(&(&b, d)));
    }

    #[test]
    fn tuples_round_trip(a: (String, Vec<u8>, i64, u64, bool), n: u32) {
        prop_assert_eq!(Unpack::unpack(&a.pack()), Ok(a));
        prop_assert_eq!(Unpack::unpack(&n.pack()), Ok(n));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, cut in 0usize..40) {
        let _ = <(String, u64)>::unpack(&bytes);
        let _ = <(Vec<u8>, i64, bool)>::unpack(&bytes);
        let mut good = ("some text", 7u64, &bytes[..]).pack();
        good.truncate(cut);
        prop_assert!(<(String, u64, Vec<u8>)>::unpack(&good).is_err() || cut >= good.len());
    }
}
