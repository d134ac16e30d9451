use super::*;
use crate::control::ToManager;
use crate::data::DataMessage;
use proptest::prelude::*;

fn framed(message: &ToManager) -> BytesMut {
    let mut output = Output::default();
    encode(message, 1, &mut output).unwrap();
    BytesMut::from(&output.into_bytes()[..])
}

#[test]
fn bytes_are_pinned() {
    let bytes = framed(&ToManager::Heartbeat { seq: 300, pools: Vec::new() });
    assert_eq!(bytes[..], [10, 0, 0, 0, 1, 1, 32, 78, 169, 28, 2, 172, 2, 0]);
}

#[test]
fn a_frame_comes_when_all_of_it_is_there() {
    let message = ToManager::Heartbeat { seq: 300, pools: Vec::new() };
    let whole = framed(&message);
    let frames = Frames::<ToManager>::new(1);
    for len in 0..whole.len() {
        let mut input = BytesMut::from(&whole[..len]);
        let Missing(missing) = frames.next(&mut input).unwrap().unwrap_err();
        assert!(missing > 0 && missing <= whole.len() - len);
    }
    let mut input = whole.clone();
    input.extend_from_slice(&whole[..3]);
    assert_eq!(frames.next(&mut input).unwrap(), Ok(message));
    assert_eq!(frames.next(&mut input).unwrap(), Err(Missing(HEAD - 3)));
}

#[test]
fn another_version_kind_or_length_is_refused() {
    let whole = framed(&ToManager::Heartbeat { seq: 1, pools: Vec::new() });
    assert!(matches!(Frames::<ToManager>::new(2).next(&mut whole.clone()), Err(WireError::Broken { .. })));
    assert!(matches!(Frames::<DataMessage>::new(1).next(&mut whole.clone()), Err(WireError::Broken { .. })));
    let mut long = whole.clone();
    long[3] = 0x7f;
    assert!(matches!(Frames::<ToManager>::new(1).next(&mut long), Err(WireError::TooLarge { .. })));
    let mut short = whole;
    short[0] = 5;
    assert!(matches!(Frames::<ToManager>::new(1).next(&mut short), Err(WireError::Broken { .. })));
}

proptest! {
    #[test]
    fn a_flipped_bit_is_noticed(seq: u64, bit in 0..usize::MAX) {
        let mut bytes = framed(&ToManager::Heartbeat { seq, pools: Vec::new() });
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!matches!(Frames::<ToManager>::new(1).next(&mut bytes), Ok(Ok(_))));
    }
}
