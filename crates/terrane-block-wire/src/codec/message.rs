//! The replication core's messages, field by field.

use super::fields::{Fields, put_content, put_extent, put_set, put_stamp};
use crate::error::WireError;
use bytes::{BufMut, Bytes, BytesMut};
use terrane_block_core::message::{Answer, Body, Message, Op, Outcome, ToClient, ToPrimary};
use terrane_block_core::{AttachmentEpoch, Generation, SessionId};

type Decoded<T> = Result<T, WireError>;

/// Tags that say all there is to say carry no content.
fn bare(tag: u8, out: &mut BytesMut) -> Bytes {
    out.put_u8(tag);
    Bytes::new()
}

fn put_numbers(numbers: [u64; 3], out: &mut BytesMut) {
    numbers.into_iter().for_each(|number| out.put_u64_le(number));
}

pub(super) fn put_copy(message: &Message<Bytes>, out: &mut BytesMut) -> Bytes {
    match message {
        Message::Link { stamp, seq, body } => {
            out.put_u8(0);
            put_stamp(stamp, out);
            out.put_u64_le(*seq);
            return put_body(body, out);
        }
        Message::Ack { stamp, seq, answer } => {
            out.put_u8(1);
            put_stamp(stamp, out);
            out.put_u64_le(*seq);
            return put_answer(answer, out);
        }
        Message::LeaseRequest { stamp, round } => {
            out.put_u8(2);
            put_stamp(stamp, out);
            out.put_u64_le(*round);
        }
        Message::LeaseGrant { stamp, round } => {
            out.put_u8(3);
            put_stamp(stamp, out);
            out.put_u64_le(*round);
        }
        Message::Damaged { stamp, extent } => {
            out.put_u8(4);
            put_stamp(stamp, out);
            put_extent(extent, out);
        }
        Message::Refused { generation } => {
            out.put_u8(5);
            out.put_u64_le(generation.0);
        }
        Message::FlushWanted { stamp } => {
            out.put_u8(6);
            put_stamp(stamp, out);
        }
        Message::Release { stamp } => {
            out.put_u8(7);
            put_stamp(stamp, out);
        }
    }
    Bytes::new()
}

pub(super) fn copy(fields: &mut Fields) -> Decoded<Message<Bytes>> {
    let tag = fields.u8()?;
    if tag == 5 {
        return Ok(Message::Refused { generation: Generation(fields.u64()?) });
    }
    let stamp = fields.stamp()?;
    Ok(match tag {
        0 => Message::Link { stamp, seq: fields.u64()?, body: body(fields)? },
        1 => Message::Ack { stamp, seq: fields.u64()?, answer: answer(fields)? },
        2 => Message::LeaseRequest { stamp, round: fields.u64()? },
        3 => Message::LeaseGrant { stamp, round: fields.u64()? },
        4 => Message::Damaged { stamp, extent: fields.extent()? },
        6 => Message::FlushWanted { stamp },
        7 => Message::Release { stamp },
        tag => return Err(fields.unknown("message between copies", tag)),
    })
}

fn put_body(body: &Body<Bytes>, out: &mut BytesMut) -> Bytes {
    match body {
        Body::Query => bare(0, out),
        Body::Write { extent, content, recopied } => {
            out.put_u8(1);
            put_extent(extent, out);
            out.put_u8(u8::from(*recopied));
            put_content(content, out)
        }
        Body::Flush { exclude } => {
            out.put_u8(2);
            put_set(exclude, out);
            Bytes::new()
        }
        Body::Retire { flush } => {
            out.put_u8(3);
            out.put_u64_le(*flush);
            Bytes::new()
        }
        Body::Fetch { extent } => {
            out.put_u8(4);
            put_extent(extent, out);
            Bytes::new()
        }
        Body::Digest { extent } => {
            out.put_u8(5);
            put_extent(extent, out);
            Bytes::new()
        }
    }
}

fn body(fields: &mut Fields) -> Decoded<Body<Bytes>> {
    Ok(match fields.u8()? {
        0 => Body::Query,
        1 => {
            let (extent, recopied) = (fields.extent()?, fields.flag()?);
            Body::Write { extent, content: fields.content(Some(extent.len))?, recopied }
        }
        2 => Body::Flush { exclude: fields.set()? },
        3 => Body::Retire { flush: fields.u64()? },
        4 => Body::Fetch { extent: fields.extent()? },
        5 => Body::Digest { extent: fields.extent()? },
        tag => return Err(fields.unknown("order to a mirror", tag)),
    })
}

fn put_answer(answer: &Answer<Bytes>, out: &mut BytesMut) -> Bytes {
    match answer {
        Answer::Done => bare(0, out),
        Answer::Touched { log, blocks } => {
            out.put_u8(1);
            put_set(log, out);
            put_set(blocks, out);
            Bytes::new()
        }
        Answer::Content(None) => bare(2, out),
        Answer::Content(Some(content)) => {
            out.put_u8(3);
            put_content(content, out)
        }
        Answer::Digests(digests) => {
            out.put_u8(4);
            digests.iter().for_each(|digest| out.put_u128_le(digest.0));
            Bytes::new()
        }
    }
}

fn answer(fields: &mut Fields) -> Decoded<Answer<Bytes>> {
    Ok(match fields.u8()? {
        0 => Answer::Done,
        1 => Answer::Touched { log: fields.set()?, blocks: fields.set()? },
        2 => Answer::Content(None),
        3 => Answer::Content(Some(fields.content(None)?)),
        4 => Answer::Digests(fields.digests()?),
        tag => return Err(fields.unknown("answer of a mirror", tag)),
    })
}

pub(super) fn put_to_primary(message: &ToPrimary<Bytes>, out: &mut BytesMut) -> Bytes {
    match message {
        ToPrimary::Hello { epoch, session, generation } => {
            out.put_u8(0);
            put_numbers([epoch.0, session.0, generation.0], out);
            Bytes::new()
        }
        ToPrimary::Request { epoch, session, seq, op } => {
            out.put_u8(1);
            put_numbers([epoch.0, session.0, *seq], out);
            match op {
                Op::Read(extent) => {
                    out.put_u8(0);
                    put_extent(extent, out);
                    Bytes::new()
                }
                Op::Write(extent, content) => {
                    out.put_u8(1);
                    put_extent(extent, out);
                    put_content(content, out)
                }
                Op::Flush => bare(2, out),
            }
        }
    }
}

pub(super) fn to_primary(fields: &mut Fields) -> Decoded<ToPrimary<Bytes>> {
    let tag = fields.u8()?;
    let (epoch, session) = (AttachmentEpoch(fields.u64()?), SessionId(fields.u64()?));
    Ok(match tag {
        0 => ToPrimary::Hello { epoch, session, generation: Generation(fields.u64()?) },
        1 => ToPrimary::Request { epoch, session, seq: fields.u64()?, op: op(fields)? },
        tag => return Err(fields.unknown("message to a primary", tag)),
    })
}

fn op(fields: &mut Fields) -> Decoded<Op<Bytes>> {
    Ok(match fields.u8()? {
        0 => Op::Read(fields.extent()?),
        1 => {
            let extent = fields.extent()?;
            Op::Write(extent, fields.content(Some(extent.len))?)
        }
        2 => Op::Flush,
        tag => return Err(fields.unknown("request", tag)),
    })
}

pub(super) fn put_to_client(message: &ToClient<Bytes>, out: &mut BytesMut) -> Bytes {
    match message {
        ToClient::Welcome { session } => {
            out.put_u8(0);
            out.put_u64_le(session.0);
            Bytes::new()
        }
        ToClient::Reply { session, seq, outcome } => {
            out.put_u8(1);
            out.put_u64_le(session.0);
            out.put_u64_le(*seq);
            match outcome {
                Outcome::Done => bare(0, out),
                Outcome::Content(content) => {
                    out.put_u8(1);
                    put_content(content, out)
                }
                Outcome::Damaged => bare(2, out),
                Outcome::OutOfRange => bare(3, out),
                Outcome::NoSpace => bare(4, out),
            }
        }
        ToClient::Refused { session, generation } => {
            out.put_u8(2);
            out.put_u64_le(session.0);
            out.put_u64_le(generation.0);
            Bytes::new()
        }
    }
}

pub(super) fn to_client(fields: &mut Fields) -> Decoded<ToClient<Bytes>> {
    let tag = fields.u8()?;
    let session = SessionId(fields.u64()?);
    Ok(match tag {
        0 => ToClient::Welcome { session },
        1 => {
            let seq = fields.u64()?;
            let outcome = match fields.u8()? {
                0 => Outcome::Done,
                1 => Outcome::Content(fields.content(None)?),
                2 => Outcome::Damaged,
                3 => Outcome::OutOfRange,
                4 => Outcome::NoSpace,
                tag => return Err(fields.unknown("outcome", tag)),
            };
            ToClient::Reply { session, seq, outcome }
        }
        2 => ToClient::Refused { session, generation: Generation(fields.u64()?) },
        tag => return Err(fields.unknown("message to a client", tag)),
    })
}
