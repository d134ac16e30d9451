use super::*;
use crate::control::{Command, CopyIdentity, CopyReport, Media, PoolName, PoolReport, ServerId};
use crate::data::BLOCK;
use crate::fuzz;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use terrane_block_core::manager::Request;
use terrane_block_core::message::{
    Answer, Body, Message as CopyMessage, Op, Outcome, Stamp, ToClient, ToPrimary,
};
use terrane_block_core::record::Record;
use terrane_block_core::{
    AttachmentEpoch, BlockSet, Content, Digest, Extent, Generation, Incarnation, LayoutEpoch, SessionId,
};
use terrane_types::{VolumeId, Zone};

const STRIPE: StripeId = StripeId(0x0102);

fn body<M: Message>(message: &M) -> Vec<u8> {
    let mut out = BytesMut::new();
    let content = message.encode(&mut out);
    [&out[..], &content[..]].concat()
}

fn stamp() -> Stamp {
    Stamp { generation: Generation(3), layout: LayoutEpoch(1), from: Incarnation(7), to: Incarnation(9) }
}

fn content() -> Content<Bytes> {
    Content::Data(vec![0xaa; 2 * BLOCK].into())
}

fn copy_messages() -> Vec<CopyMessage<Bytes>> {
    let extent = Extent { start: 5, len: 2 };
    let set = |numbers: &[u64]| numbers.iter().copied().collect::<BlockSet>();
    let link = |body| CopyMessage::Link { stamp: stamp(), seq: 11, body };
    let ack = |answer| CopyMessage::Ack { stamp: stamp(), seq: 11, answer };
    vec![
        link(Body::Query),
        link(Body::Write { extent, content: content(), recopied: true }),
        link(Body::Write { extent, content: Content::Zero, recopied: false }),
        link(Body::Flush { exclude: set(&[1, 2, 3, 9]) }),
        link(Body::Retire { flush: 8 }),
        link(Body::Fetch { extent }),
        link(Body::Digest { extent }),
        ack(Answer::Done),
        ack(Answer::Touched { log: set(&[0]), blocks: set(&[4, 5, 100]) }),
        ack(Answer::Content(None)),
        ack(Answer::Digests(vec![Digest(1 << 100), Digest::ZERO])),
        ack(Answer::Content(Some(content()))),
        CopyMessage::LeaseRequest { stamp: stamp(), round: 4 },
        CopyMessage::LeaseGrant { stamp: stamp(), round: 4 },
        CopyMessage::Damaged { stamp: stamp(), extent },
        CopyMessage::FlushWanted { stamp: stamp() },
        CopyMessage::Release { stamp: stamp() },
        CopyMessage::Refused { generation: Generation(6) },
    ]
}

fn data_messages() -> Vec<DataMessage> {
    let extent = Extent { start: 5, len: 2 };
    let (epoch, session) = (AttachmentEpoch(2), SessionId(3));
    let (from, to) = (CopyId(1), CopyId(2));
    let request = |op| DataMessage::ToPrimary {
        stripe: STRIPE,
        to,
        message: ToPrimary::Request { epoch, session, seq: 12, op },
    };
    let told = |message| DataMessage::ToClient { stripe: STRIPE, from, message };
    let reply = |outcome| told(ToClient::Reply { session, seq: 12, outcome });
    let mut all: Vec<DataMessage> = copy_messages()
        .into_iter()
        .map(|message| DataMessage::Copy { stripe: STRIPE, from, to, message })
        .collect();
    all.extend([
        DataMessage::ToPrimary {
            stripe: STRIPE,
            to,
            message: ToPrimary::Hello { epoch, session, generation: Generation(9) },
        },
        request(Op::Read(extent)),
        request(Op::Write(extent, content())),
        request(Op::Write(extent, Content::Zero)),
        request(Op::Flush),
        told(ToClient::Welcome { session }),
        reply(Outcome::Done),
        reply(Outcome::Content(content())),
        reply(Outcome::Content(Content::Zero)),
        reply(Outcome::Damaged),
        reply(Outcome::OutOfRange),
        reply(Outcome::NoSpace),
        told(ToClient::Refused { session, generation: Generation(4) }),
        DataMessage::StatusQuery { stripe: STRIPE, to, id: 1, start: 0, len: 99 },
        DataMessage::Status { stripe: STRIPE, from, id: 1, runs: vec![(90, true), (9, false)] },
    ]);
    all
}

fn report() -> CopyReport {
    CopyReport {
        stripe: STRIPE,
        copy: CopyId(1),
        pool: PoolName(4),
        incarnation: Some(Incarnation(5)),
        kept: BTreeSet::from([Incarnation(4)]),
        identity: CopyIdentity {
            volume: VolumeId::from_bits(1),
            account: "acct".into(),
            stripe_index: 0,
            stripes: 1,
            stripe_bytes: 0,
            blocks: 256,
        },
        record: Some(Record::create(
            &BTreeMap::from([(CopyId(1), Incarnation(5))]),
            CopyId(1),
            LayoutEpoch(1),
        )),
        trouble: None,
    }
}

#[test]
fn every_data_message_round_trips() {
    for message in data_messages() {
        let bytes = body(&message);
        assert_eq!(DataMessage::decode(bytes.clone().into()).unwrap(), message);
        fuzz::decoders(&bytes);
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(DataMessage::decode(longer.into()).is_err(), "{message:?}");
        assert!(DataMessage::decode(bytes[..bytes.len() - 1].to_vec().into()).is_err(), "{message:?}");
    }
}

#[test]
fn content_is_not_copied() {
    let write = Body::Write { extent: Extent { start: 5, len: 2 }, content: content(), recopied: false };
    let message = CopyMessage::Link { stamp: stamp(), seq: 1, body: write };
    let bytes: Bytes =
        body(&DataMessage::Copy { stripe: STRIPE, from: CopyId(1), to: CopyId(2), message }).into();
    let range = bytes.as_ptr_range();
    let DataMessage::Copy { message: CopyMessage::Link { body: Body::Write { content, .. }, .. }, .. } =
        DataMessage::decode(bytes.clone()).unwrap()
    else {
        panic!("a write is a write");
    };
    let Content::Data(data) = content else { panic!("data is data") };
    assert_eq!(data.as_ptr_range().end, range.end);
}

#[test]
fn bytes_are_pinned() {
    let (epoch, session) = (AttachmentEpoch(2), SessionId(3));
    let op = Op::Write(Extent { start: 5, len: 1 }, Content::Zero);
    let message = ToPrimary::Request { epoch, session, seq: 12, op };
    let bytes = body(&DataMessage::ToPrimary { stripe: STRIPE, to: CopyId(9), message });
    #[rustfmt::skip]
    assert_eq!(bytes, [
        2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // stripe
        2, 9, 0, 0, 0, 0, 0, 0, 0, // to a primary: which
        1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, // request: epoch, session, sequence
        1, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, // write: extent, zero
    ]);
    let command = Command::DeleteCopy { stripe: STRIPE, copy: CopyId(3) };
    assert_eq!(body(&FromManager::Command { id: 1, command }), [6, 1, 1, 130, 2, 3]);
    let command =
        Command::HandOver { stripe: STRIPE, copy: CopyId(3), generation: Generation(4), to: CopyId(5) };
    assert_eq!(body(&FromManager::Command { id: 1, command }), [6, 1, 3, 130, 2, 3, 4, 5]);
    let request =
        Request::Activate { copy: CopyId(1), incarnation: Incarnation(2), generation: Generation(3) };
    assert_eq!(body(&ToManager::Request { stripe: STRIPE, request }), [4, 130, 2, 0, 1, 2, 3]);
}

#[test]
fn control_messages_round_trip() {
    let pool = PoolReport {
        pool: PoolName(4),
        media: Media::Ssd,
        capacity: 1,
        used: 2,
        host_free: 3,
        iops: 4,
        throughput: 5,
        device: 6,
        trouble: Some("full".into()),
    };
    let hello = ToManager::ServerHello {
        server: ServerId(u128::MAX),
        zone: Zone::parse("us-east-1a").unwrap(),
        name: "one".into(),
        address: "127.0.0.1:1".into(),
        process: 7,
        pools: vec![pool],
        copies: vec![report()],
    };
    let bytes = body(&hello);
    assert_eq!(ToManager::decode(bytes.clone().into()).unwrap(), hello);
    assert!(ToManager::decode([&bytes[..], &[0]].concat().into()).is_err());
    assert!(ToManager::decode(bytes[..bytes.len() - 1].to_vec().into()).is_err());
}

#[test]
fn content_that_does_not_fit_its_extent_is_refused() {
    let (epoch, session) = (AttachmentEpoch(2), SessionId(3));
    for (len, bytes) in [(1, 2 * BLOCK), (2, BLOCK), (1, 100), (300, 300 * BLOCK)] {
        let op = Op::Write(Extent { start: 5, len }, Content::Data(vec![1; bytes].into()));
        let message = ToPrimary::Request { epoch, session, seq: 12, op };
        let bytes = body(&DataMessage::ToPrimary { stripe: STRIPE, to: CopyId(9), message });
        assert!(DataMessage::decode(bytes.into()).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn decodes_anything(bytes: Vec<u8>) {
        fuzz::decoders(&bytes);
    }

    #[test]
    fn decodes_damaged_messages(index in 0..1000_usize, at in 0..1000_usize, byte: u8, cut in 0..200_usize) {
        let all = data_messages();
        let mut bytes = body(&all[index % all.len()]);
        let at = at % bytes.len();
        bytes[at] = byte;
        fuzz::decoders(&bytes);
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        fuzz::decoders(&bytes);
    }
}
