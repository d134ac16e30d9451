//! What is written is read, at any offset and length, alone and together.

use bytes::Bytes;
use futures::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use terrane_nbd::{Export, ExtentKind, ZeroOptions};

use crate::cluster::Shape;
use crate::site::Site;

/// The range that the histories play in: some blocks over several stripes.
const RANGE: u64 = 40_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u64, u64, u8, bool),
    Trim(u64, u64),
    Zero(u64, u64),
    Read(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let any_range = (0..RANGE).prop_flat_map(|at| (Just(at), 1..=(RANGE - at).min(20_000)));
    let sectors = (0..RANGE / 512, 1_u64..9).prop_map(|(at, len)| (at * 512, len * 512));
    let blocks = (0..9_u64, 1_u64..2).prop_map(|(at, len)| (at * 4096, len * 4096));
    let range = prop_oneof![any_range, sectors, blocks]
        .prop_map(|(at, len)| (at.min(RANGE - 1), len.min(RANGE - at.min(RANGE - 1))));
    (0..6_u8, range, 1_u8.., any::<bool>()).prop_map(|(kind, (at, len), byte, fua)| match kind {
        0..3 => Step::Write(at, len, byte, fua),
        3 => Step::Trim(at, len),
        4 => Step::Zero(at, len),
        _ => Step::Read(at, len),
    })
}

async fn play(export: &impl Export, model: &mut [u8], step: Step) {
    let span = |at: u64, len: u64| at as usize..(at + len) as usize;
    match step {
        Step::Write(at, len, byte, fua) => {
            export.write(at, Bytes::from(vec![byte; len as usize]), fua).await.unwrap();
            model[span(at, len)].fill(byte);
        }
        Step::Trim(at, len) => {
            export.trim(at, len, true).await.unwrap();
            model[span(at, len)].fill(0);
        }
        Step::Zero(at, len) => {
            let options = ZeroOptions { fast: true, no_hole: true, fua: false };
            export.write_zeroes(at, len, options).await.unwrap();
            model[span(at, len)].fill(0);
        }
        Step::Read(at, len) => {
            assert!(export.read(at, len as u32).await.unwrap() == model[span(at, len)], "{step:?}");
        }
    }
}

/// Against a flat array: bytes, sectors, blocks, over the edges of stripes.
#[tokio::test]
async fn a_volume_is_like_a_file() {
    let shape = Shape { copies: 1, stripes: 3, stripe_bytes: 8192, size: 48 << 20 };
    let site = play_histories(Site::new(shape).await).await;
    assert_eq!(site.metric("terrane_node_cache_misses_total"), 0.0, "nothing is looked for");
    site.node.stop().await;
}

/// The same with a part of it in memory.
#[tokio::test]
async fn a_volume_in_memory_is_like_a_file() {
    let shape = Shape { copies: 1, stripes: 3, stripe_bytes: 8192, size: 48 << 20 };
    let site = play_histories(Site::caching(shape, RANGE / 2).await).await;
    assert!(site.metric("terrane_node_cache_hits_total") > 0.0);
    site.node.stop().await;
}

async fn play_histories(site: Site) -> Site {
    let client = site.client().await;
    let mut model = vec![0; RANGE as usize];
    let mut runner = TestRunner::default();
    for _ in 0..800 {
        let step = step().new_tree(&mut runner).unwrap().current();
        play(&client, &mut model, step).await;
    }
    client.flush().await.unwrap();
    assert!(client.read(0, RANGE as u32).await.unwrap() == model);
    assert!(site.metric("terrane_node_partial_writes_total") > 0.0);
    // What is said to be a hole reads as zeros.
    let mut at = 0_usize;
    for extent in client.block_status(0, RANGE, 100).await.unwrap() {
        let end = (at + extent.len as usize).min(model.len());
        assert!(extent.kind == ExtentKind::Data || model[at..end].iter().all(|byte| *byte == 0));
        at = end;
    }
    assert!(at > 0);
    site
}

/// Many small writes at the same time, into the same few blocks: none takes another one's bytes away.
#[tokio::test]
async fn parts_of_blocks_written_together_all_arrive() {
    let site = Site::new(Shape::simple(2)).await;
    let (first, second) = (site.client().await, site.client().await);
    for round in 1..6_u8 {
        let writes = (0..64_u64).map(|n| {
            let client = if n % 2 == 0 { &first } else { &second };
            let data = Bytes::from(vec![round.wrapping_mul(n as u8 + 1); 257]);
            client.write(n * 257, data, false)
        });
        let whole = first.write(8 * 4096, Bytes::from(vec![round; 4096]), false);
        let (written, whole) = tokio::join!(join_all(writes), whole);
        assert!(written.iter().all(Result::is_ok) && whole.is_ok());
        let bytes = second.read(0, 64 * 257).await.unwrap();
        for n in 0..64_usize {
            let expected = round.wrapping_mul(n as u8 + 1);
            assert!(bytes[n * 257..(n + 1) * 257].iter().all(|byte| *byte == expected), "{round} {n}");
        }
    }
    site.node.stop().await;
}

#[tokio::test]
async fn large_requests_are_split_and_zeroes_are_holes() {
    let site = Site::new(Shape { copies: 2, stripes: 2, stripe_bytes: 1 << 20, size: 64 << 20 }).await;
    let client = site.client().await;
    let data: Vec<u8> = (0..20 << 20).map(|n: usize| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
    let data = Bytes::from(data);
    client.write(3 << 20, data.clone(), true).await.unwrap();
    assert!(client.read(3 << 20, 20 << 20).await.unwrap() == data);
    client.trim(0, 64 << 20, false).await.unwrap();
    let zero = client.read(3 << 20, 20 << 20).await.unwrap();
    assert!(zero.iter().all(|byte| *byte == 0));
    let extents = client.block_status(0, 64 << 20, 100).await.unwrap();
    assert!(extents.iter().all(|extent| extent.kind == ExtentKind::Hole), "{extents:?}");
    site.node.stop().await;
}
