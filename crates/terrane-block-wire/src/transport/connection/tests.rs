use super::*;
use crate::control::{FromManager, StripeId, ToManager};
use crate::data::{BLOCK, CONTENT_BYTES_MAX, DataMessage};
use crate::handshake::Protocol;
use crate::key::ClusterKey;
use crate::tls::{Tls, TlsFiles};
use crate::transport::{Credentials, Listener, dial};
use terrane_block_core::message::{Op, ToPrimary};
use terrane_block_core::{AttachmentEpoch, ClientId, Content, CopyId, Extent, SessionId};

fn plain() -> Credentials {
    Credentials::plain(ClusterKey::from_bytes([1; 32]))
}

async fn pair(credentials: &Credentials, protocol: Protocol) -> (Connection, Connection) {
    let address = "127.0.0.1:0".parse().unwrap();
    let mut listener = Listener::bind(address, credentials.clone(), protocol, 5).await.unwrap();
    let target = listener.address().to_string();
    let who = Dialer::Client(ClientId(3));
    let (near, far) = tokio::join!(dial(&target, credentials, protocol, who, Some(5)), listener.accept());
    let near = near.unwrap();
    assert_eq!((far.dialer(), near.acceptor()), (who, 5));
    (near, far)
}

fn write(seq: u64, blocks: usize) -> DataMessage {
    let extent = Extent { start: seq, len: blocks as u64 };
    let content = Content::Data(vec![seq as u8; blocks * BLOCK].into());
    let (epoch, session) = (AttachmentEpoch(1), SessionId(1));
    let message = ToPrimary::Request { epoch, session, seq, op: Op::Write(extent, content) };
    DataMessage::ToPrimary { stripe: StripeId(1), to: CopyId(1), message }
}

async fn exchange(credentials: &Credentials) {
    let (near, far) = pair(credentials, Protocol::Data).await;
    let (_near, sender, writer) = near.split::<DataMessage, DataMessage>();
    let (mut reader, _far, _) = far.split::<DataMessage, DataMessage>();
    let writing = tokio::spawn(writer.run());
    let blocks = |seq| if seq % 10 == 0 { CONTENT_BYTES_MAX / BLOCK } else { 1 };
    for seq in 1..=100 {
        sender.send(&write(seq, blocks(seq))).unwrap();
    }
    sender.close();
    let mut read = Vec::new();
    let end = loop {
        if let Err(error) = reader.read(&mut read).await {
            break error;
        }
    };
    assert!(matches!(end, WireError::Closed), "{end}");
    let sent: Vec<DataMessage> = (1..=100).map(|seq| write(seq, blocks(seq))).collect();
    assert!(read == sent, "what was sent before the end arrives, in order");
    writing.await.unwrap().unwrap();
    assert!(matches!(sender.send(&write(1, 1)), Err(SendError::Closed)));
}

#[tokio::test]
async fn what_is_sent_arrives_in_order() {
    exchange(&plain()).await;
}

#[tokio::test]
async fn with_tls_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(path("ca"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let issuer = rcgen::Issuer::new(authority, &authority_key);
    std::fs::write(path("cert"), leaf.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    let files = TlsFiles { cert: path("cert"), key: path("key"), ca: path("ca") };
    let credentials = Credentials { tls: Some(Tls::load(&files).unwrap()), ..plain() };
    exchange(&credentials).await;
}

#[tokio::test]
async fn without_tls_nothing_off_loopback() {
    let bound = Listener::bind("0.0.0.0:0".parse().unwrap(), plain(), Protocol::Data, 1).await;
    assert!(matches!(bound.unwrap_err(), WireError::NeedsTls(_)));
    let dialed = dial("192.0.2.1:9", &plain(), Protocol::Data, Dialer::Manager, None).await;
    assert!(matches!(dialed.unwrap_err(), WireError::NeedsTls(_)));
}

#[tokio::test]
async fn who_does_not_read_loses_the_connection() {
    let (near, _far) = pair(&plain(), Protocol::Data).await;
    let (_reader, sender, writer) = near.split::<DataMessage, DataMessage>();
    let writing = tokio::spawn(writer.run());
    let message = write(1, CONTENT_BYTES_MAX / BLOCK);
    let most = 2 * OUTPUT_MAX / CONTENT_BYTES_MAX;
    assert!((0..most).any(|_| sender.send(&message).is_err()), "what waits is bounded");
    assert!(sender.is_closed());
    writing.await.unwrap().unwrap();
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_control_goes_both_ways() {
    let (near, far) = pair(&plain(), Protocol::Control).await;
    let (mut reader, sender, writer) = near.split::<FromManager, ToManager>();
    let (mut manager, answers, answering) = far.split::<ToManager, FromManager>();
    tokio::spawn(writer.run());
    tokio::spawn(answering.run());
    let beat = ToManager::Heartbeat { seq: 1, pools: Vec::new() };
    sender.send(&beat).unwrap();
    let mut heard = Vec::new();
    manager.read(&mut heard).await.unwrap();
    assert_eq!(heard, [beat]);
    answers.send(&FromManager::HeartbeatAck { seq: 1 }).unwrap();
    let mut acks = Vec::new();
    reader.read(&mut acks).await.unwrap();
    assert_eq!(acks, [FromManager::HeartbeatAck { seq: 1 }]);

    let (near, far) = pair(&plain(), Protocol::Control).await;
    let (_, sender, writer) = near.split::<FromManager, FromManager>();
    let (mut manager, ..) = far.split::<ToManager, FromManager>();
    tokio::spawn(writer.run());
    sender.send(&FromManager::HeartbeatAck { seq: 1 }).unwrap();
    assert!(matches!(manager.read(&mut Vec::new()).await, Err(WireError::Broken { .. })));
}
