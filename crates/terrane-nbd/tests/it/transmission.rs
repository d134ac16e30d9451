//! The transmission phase, over a pipe.
//!
//! Test and server share one thread, so that a test can know that the server has come to rest.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use terrane_nbd::handshake::ReplyStyle::{self, Extended, Simple, Structured};
use terrane_nbd::{ConnectionError, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{BLOCK_STATUS, Client, DISC, FLUSH, READ, Reply, server_of};
use crate::probe::Probe;

const MIB: u64 = 1 << 20;
const STYLES: [ReplyStyle; 3] = [Simple, Structured, Extended];

/// Returns when no task can go on: each time, every task that can is polled before this one.
async fn quiet() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

async fn connect(probe: &Arc<Probe>, style: ReplyStyle) -> Client {
    Client::transmitting(&server_of(probe.clone(), ServerConfig::default()), style, 1 << 20).await
}

#[tokio::test]
async fn what_was_written_is_read() {
    for style in STYLES {
        let mut client = connect(&Probe::open(MIB), style).await;
        client.send_write(1, 5, b"hello").await;
        assert_eq!(client.reply().await, Reply { cookie: 1, kind: 0, payload: vec![] });
        client.send(READ, 2, 5, 5).await;
        let reply = client.reply_with(5).await;
        assert_eq!((reply.cookie, reply.kind), (2, u32::from(style > Simple)));
        assert!(reply.payload.ends_with(b"hello"));
        client.send(DISC, 3, 0, 0).await;
        client.ended().await.unwrap();
    }
}

#[tokio::test]
async fn zeros_are_not_sent_where_the_client_understands_holes() {
    let mut client = connect(&Probe::open(64 * MIB), Structured).await;
    client.send(READ, 1, 4096, 32 * MIB).await;
    let hole = client.reply().await;
    assert_eq!((hole.kind, hole.payload), (2, b"\0\0\0\0\0\0\x10\0\x02\0\0\0".to_vec()));
}

#[tokio::test]
async fn replies_come_as_requests_finish() {
    for style in STYLES {
        let mut probe = Probe::new(MIB);
        probe.free_at_zero = true;
        let probe = Arc::new(probe);
        let mut client = connect(&probe, style).await;
        client.send(READ, 1, 4096, 1).await;
        client.send(READ, 2, 0, 1).await;
        assert_eq!(client.reply_with(1).await.cookie, 2);
        probe.release_all();
        assert_eq!(client.reply_with(1).await.cookie, 1);
    }
}

#[tokio::test]
async fn refused_requests_do_not_end_the_connection() {
    for style in STYLES {
        let mut client = connect(&Probe::open(MIB), style).await;
        client.send(READ, 1, MIB, 1).await;
        client.send(99, 2, 0, 1).await;
        client.send_write(3, MIB - 1, &[7; 100_000]).await;
        client.send(READ, 4, 0, 1).await;
        for (cookie, code) in [(1, 22), (2, 22), (3, 28)] {
            let Reply { cookie: got, kind, payload } = client.reply().await;
            let error = if style == Simple { kind } else { u32::from(payload[3]) };
            assert_eq!((got, error), (cookie, code), "{style:?}");
        }
        assert_eq!(client.reply_with(1).await.cookie, 4);
    }
}

#[tokio::test]
async fn an_export_that_breaks_its_contract_is_an_io_error() {
    for style in STYLES {
        let mut probe = Probe::new(MIB);
        probe.broken = true;
        probe.release_all();
        let mut client = connect(&Arc::new(probe), style).await;
        client.send(READ, 1, 0, 10).await;
        let reply = client.reply_with(10).await;
        assert_eq!(if style == Simple { reply.kind } else { reply.payload[3].into() }, 5);
        if style > Simple {
            client.send(BLOCK_STATUS, 2, 0, 10).await;
            assert_eq!(client.reply().await.payload[3], 5);
        }
    }
}

#[tokio::test]
async fn requests_at_once_are_bounded() {
    let probe = Arc::new(Probe::new(MIB));
    let config = ServerConfig { requests_max: 4, ..ServerConfig::default() };
    let mut client = Client::transmitting(&server_of(probe.clone(), config), Structured, 1 << 20).await;
    for cookie in 0..100 {
        client.send(READ, cookie, 0, 1).await;
    }
    quiet().await;
    assert_eq!(probe.started.load(SeqCst), 4);
    probe.release_all();
    for _ in 0..100 {
        client.reply().await;
    }
    assert_eq!(probe.most_at_once.load(SeqCst), 4);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from() {
    for bytes_max in [MIB, 10 * MIB] {
        let probe = Probe::open(64 * MIB);
        let config = ServerConfig { bytes_max, ..ServerConfig::default() };
        let mut client = Client::transmitting(&server_of(probe.clone(), config), Simple, 64 << 10).await;
        for cookie in 0..100 {
            client.send(READ, cookie, 0, MIB).await;
        }
        quiet().await;
        let started = probe.started.load(SeqCst) as u64;
        assert_eq!(started, bytes_max / MIB);
        for _ in 0..100 {
            client.reply_with(MIB as usize).await;
        }
    }
}

#[tokio::test]
async fn refusals_count_too() {
    let config = ServerConfig { requests_max: 8, ..ServerConfig::default() };
    let client = Client::transmitting(&server_of(Probe::open(MIB), config), Structured, 4096).await;
    let nonsense = client.request(99, 1, 0, 1).repeat(20_000);
    let (mut replies, mut requests) = tokio::io::split(client.stream);
    let flood = tokio::spawn(async move { requests.write_all(&nonsense).await });
    quiet().await;
    assert!(!flood.is_finished(), "backpressure");
    let reading = tokio::spawn(async move { tokio::io::copy(&mut replies, &mut tokio::io::sink()).await });
    flood.await.unwrap().unwrap();
    client.stop.cancel();
    reading.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_begun_is_finished_though_the_client_is_gone() {
    let probe = Arc::new(Probe::new(MIB));
    let mut client = connect(&probe, Structured).await;
    client.send_write(1, 0, &[7; 4096]).await;
    quiet().await;
    assert_eq!(probe.started.load(SeqCst), 1);
    drop(client.stream);
    quiet().await;
    assert!(!client.served.is_finished());
    probe.release_all();
    let _ = client.served.await.unwrap();
    assert_eq!(probe.memory.allocated(), 4096);
}

#[tokio::test]
async fn disc_waits_for_what_is_in_flight() {
    let probe = Arc::new(Probe::new(MIB));
    let mut client = connect(&probe, Simple).await;
    client.send_write(1, 0, &[7; 4096]).await;
    client.send(DISC, 2, 0, 0).await;
    client.send(FLUSH, 3, 0, 0).await;
    quiet().await;
    probe.release_all();
    assert_eq!(client.reply().await.cookie, 1);
    client.ended().await.unwrap();
}

#[tokio::test]
async fn a_detached_export_answers_what_is_in_flight_and_closes() {
    let probe = Arc::new(Probe::new(MIB));
    let mut client = connect(&probe, Structured).await;
    client.send(FLUSH, 1, 0, 0).await;
    quiet().await;
    probe.memory.detach();
    probe.release_all();
    let reply = client.reply().await;
    assert_eq!((reply.cookie, reply.payload[3]), (1, 108), "NBD_ESHUTDOWN");
    client.ended().await.unwrap();
}

#[tokio::test]
async fn requests_behind_a_stop_are_refused() {
    let config = ServerConfig { requests_max: 1, ..ServerConfig::default() };
    let probe = Arc::new(Probe::new(MIB));
    let mut client = Client::transmitting(&server_of(probe.clone(), config), Simple, 1 << 20).await;
    for cookie in 1..=3 {
        client.send(READ, cookie, 0, 1).await;
    }
    quiet().await;
    client.stop.cancel();
    quiet().await;
    probe.release_all();
    assert_eq!(client.reply_with(1).await, Reply { cookie: 1, kind: 0, payload: vec![0] });
    for cookie in 2..=3 {
        assert_eq!(client.reply_with(1).await, Reply { cookie, kind: 108, payload: vec![] });
    }
    client.ended().await.unwrap();
    assert_eq!(probe.started.load(SeqCst), 1);
}

#[tokio::test]
async fn requests_behind_a_stop_are_left_to_a_successor() {
    let config = ServerConfig { requests_max: 1, hang_up_at_stop: true, ..ServerConfig::default() };
    let probe = Arc::new(Probe::new(MIB));
    let mut client = Client::transmitting(&server_of(probe.clone(), config), Simple, 1 << 20).await;
    for cookie in 1..=3 {
        client.send(READ, cookie, 0, 1).await;
    }
    quiet().await;
    client.stop.cancel();
    quiet().await;
    probe.release_all();
    assert_eq!(client.reply_with(1).await, Reply { cookie: 1, kind: 0, payload: vec![0] });
    client.ended().await.unwrap();
    assert_eq!(probe.started.load(SeqCst), 1);
}

#[tokio::test]
async fn an_idle_connection_closes_when_its_export_goes() {
    let probe = Probe::open(MIB);
    let client = connect(&probe, Structured).await;
    probe.memory.detach();
    client.ended().await.unwrap();
}

#[tokio::test]
async fn nonsense_is_hung_up_on() {
    let mut client = connect(&Probe::open(MIB), Structured).await;
    client.stream.write_all(&[0; 28]).await.unwrap();
    assert!(matches!(client.ended().await, Err(ConnectionError::Request(_))));
}

#[tokio::test]
async fn a_size_is_seen_by_the_next_connection() {
    let probe = Probe::open(MIB);
    let server = server_of(probe.clone(), ServerConfig::default());
    let mut old = Client::transmitting(&server, Simple, 1 << 16).await;
    probe.memory.resize(2 * MIB);
    let mut new = Client::transmitting(&server, Simple, 1 << 16).await;
    for (client, expected) in [(&mut old, 22), (&mut new, 0)] {
        client.send(READ, 1, MIB, 1).await;
        assert_eq!(client.reply_with(1).await.kind, expected);
    }
    probe.memory.resize(1);
    new.send(READ, 2, MIB, 1).await;
    assert_eq!(new.reply_with(1).await.kind, 22, "the export itself refuses what it has lost");
}

#[tokio::test]
async fn extended_requests_reach_beyond_4_gib() {
    const TIB: u64 = 1 << 40;
    let mut client = connect(&Probe::open(2 * TIB), Extended).await;
    client.send_write(1, TIB, &[1; 4096]).await;
    assert_eq!(client.reply().await.kind, 0);
    client.send(BLOCK_STATUS, 2, 0, 2 * TIB).await;
    let status = client.reply().await;
    let words: Vec<u64> =
        status.payload[8..].chunks(8).map(|b| u64::from_be_bytes(b.try_into().unwrap())).collect();
    assert_eq!((status.kind, words), (6, vec![TIB, 3, 4096, 0, TIB - 4096, 3]));
}

/// The server closes its side, and waits for the client's for a second at most.
#[tokio::test]
async fn a_silent_client_is_not_waited_for_at_the_end() {
    let client = connect(&Probe::open(MIB), Structured).await;
    client.stop.cancel();
    client.served.await.unwrap().unwrap();
    let mut rest = Vec::new();
    let mut stream = client.stream;
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
