use super::*;
use proptest::prelude::*;

const FRAME: Frame =
    Frame { kind: Kind::Data, batch_start: true, len: 0, segment: 7, epoch: 0x1_0000_0002, prev: 9, crc: 0 };

#[test]
fn bytes_of_a_frame_are_pinned() {
    let mut out = Vec::new();
    FRAME.write(64, 5, &[b"he", b"llo"], &mut out);
    assert_eq!(hex(&out), "01010100050000000700000000000000020000000100000009000000a136ff8368656c6c6f");
}

#[test]
fn bytes_of_a_segment_header_are_pinned() {
    let (bytes, _) = SegmentHeader { id: 7, epoch: 0x1_0000_0002, prev_segment: 6, prev: 9 }.encode();
    assert_eq!(
        hex(&bytes),
        "0154524e4c4f470007000000000000000200000001000000060000000000000009000000000000000000000000000000000000000000000000000000b8588333"
    );
}

#[test]
fn a_newer_segment_is_told_from_a_damaged_one() {
    let (mut bytes, _) = SegmentHeader { id: 7, epoch: 1, prev_segment: 6, prev: 9 }.encode();
    bytes[0] = 2;
    assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Damaged));
    let crc = checksum(0, &bytes[..60], &[]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Newer(2)));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

proptest! {
    #[test]
    fn frames_round_trip_and_any_flipped_bit_is_noticed(
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        offset: u32,
        bit in 0usize..(32 + 200) * 8,
    ) {
        let mut out = Vec::new();
        let len = u32::try_from(payload.len()).unwrap();
        let crc = FRAME.write(offset, len, &[&payload], &mut out);
        let head: [u8; 32] = out[..32].try_into().unwrap();
        let frame = Frame::parse(&head).unwrap();
        prop_assert_eq!(frame, Frame { len, crc, ..FRAME });
        prop_assert!(frame.verify(offset, &out));
        prop_assert!(!frame.verify(offset.wrapping_add(1), &out));
        let bit = bit % (out.len() * 8);
        out[bit / 8] ^= 1 << (bit % 8);
        let head: [u8; 32] = out[..32].try_into().unwrap();
        prop_assert!(!Frame::parse(&head).is_ok_and(|f| f.len == len && f.verify(offset, &out)) );
    }

    #[test]
    fn parsers_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 64)) {
        let head: [u8; 64] = bytes[..].try_into().unwrap();
        prop_assert!(SegmentHeader::decode(&head).is_err());
        let head: [u8; 32] = bytes[..32].try_into().unwrap();
        if let Ok(frame) = Frame::parse(&head) {
            prop_assert!(!frame.verify(0, &bytes));
        }
    }
}
