//! Entries for fuzzing.

use crate::control::{FromManager, ToManager};
use crate::data::DataMessage;
use crate::frame::{self, Frames, Message};
use crate::handshake::{Answer, Hello};
use crate::output::Output;
use bytes::{Bytes, BytesMut};
use std::fmt::Debug;

const VERSION: u8 = 1;

/// What somebody sends who knows the framing: bodies, and whole streams. What is taken is sent the same.
///
/// # Panics
/// If a decoder is wrong.
pub fn decoders(bytes: &[u8]) {
    body::<ToManager>(bytes);
    body::<FromManager>(bytes);
    body::<DataMessage>(bytes);
    if let Some(Ok(hello)) = bytes.first_chunk().map(Hello::decode) {
        assert_eq!(hello.encode(), bytes[..64]);
    }
    if let Some(Ok(answer)) = bytes.first_chunk().map(Answer::decode) {
        assert_eq!(answer.encode(), bytes[..64]);
    }
    stream(bytes);
}

fn body<M: Message + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = M::decode(Bytes::copy_from_slice(bytes)) else { return };
    let mut output = Output::default();
    frame::encode(&message, VERSION, &mut output).expect("what was received can be sent");
    let mut sent = BytesMut::from(&output.into_bytes()[..]);
    let read = Frames::<M>::new(VERSION).next(&mut sent).expect("what was sent is whole");
    assert_eq!(read.expect("all of it is there"), message);
}

fn stream(bytes: &[u8]) {
    let frames = Frames::<DataMessage>::new(VERSION);
    let mut input = BytesMut::from(bytes);
    while let Ok(Ok(_)) = frames.next(&mut input) {}
}
