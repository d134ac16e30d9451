use super::file::{Entry, decode};
use super::*;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use proptest::prelude::*;

fn metrics() -> (Metrics, Gauge, Counter) {
    let (metrics, depth, puts) = (Metrics::new(), Gauge::default(), Counter::default());
    metrics.with(|registry| {
        registry.register("terrane_depth", "Depth", depth.clone());
        registry.register("terrane_puts", "Puts", puts.clone());
    });
    (metrics, depth, puts)
}

fn all(history: &History) -> Vec<SeriesPoints> {
    history.query(&Query::default())
}

#[test]
fn gauges_are_values_and_counters_are_rates() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), &HistoryConfig::default()).unwrap();
    let (metrics, depth, puts) = metrics();
    for (time, step) in [(1000, 5), (1015, 30), (1030, 60)] {
        depth.set(step);
        puts.inc_by(step.unsigned_abs());
        history.sample(time, &metrics).unwrap();
    }
    // Time that stands still or goes back adds nothing.
    history.sample(1030, &metrics).unwrap();
    history.sample(900, &metrics).unwrap();
    let found = all(&history);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].series, "terrane_depth");
    assert_eq!(found[0].points, [(1000, Some(5.0)), (1015, Some(30.0)), (1030, Some(60.0))]);
    assert_eq!((&*found[1].series, found[1].per_second), ("terrane_puts_total", true));
    assert_eq!(found[1].points, [(1000, None), (1015, Some(2.0)), (1030, Some(4.0))]);
}

#[test]
fn a_restart_keeps_the_day_and_a_torn_tail_costs_one_sample() {
    let dir = tempfile::tempdir().unwrap();
    let (metrics, depth, _) = metrics();
    let config = HistoryConfig::default();
    let history = History::open(dir.path(), &config).unwrap();
    for n in 0..10u64 {
        depth.set(i64::try_from(n).unwrap());
        history.sample(1000 + 15 * n, &metrics).unwrap();
    }
    let before = all(&history);
    drop(history);
    let reopened = History::open(dir.path(), &config).unwrap();
    assert_eq!(all(&reopened), before);

    let path = dir.path().join("history-000000001000.bin");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    std::fs::write(dir.path().join("foreign"), "x").unwrap();
    let torn = History::open(dir.path(), &config).unwrap();
    assert_eq!(all(&torn)[0].points, before[0].points[..9]);
    torn.sample(2000, &metrics).unwrap();
    drop(torn);
    let again = all(&History::open(dir.path(), &config).unwrap());
    assert_eq!(again[0].points.len(), 10);
    assert_eq!(again[0].points[9].0, 2000);
}

#[test]
fn samples_series_and_files_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let config = HistoryConfig {
        interval: Duration::from_secs(600),
        keep: Duration::from_secs(6 * 3600),
        series_max: 1,
    };
    let history = History::open(dir.path(), &config).unwrap();
    let (metrics, ..) = metrics();
    for n in 0..1000u64 {
        history.sample(1_000_000 + n * 600, &metrics).unwrap();
    }
    let found = all(&history);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].points.len(), 36);
    assert_eq!(found[0].points[35].0, 1_000_000 + 999 * 600);
    assert!(history.series_left_out() > 0);
    assert!(std::fs::read_dir(dir.path()).unwrap().count() <= 9);
}

#[test]
fn queries_select_and_average() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), &HistoryConfig::default()).unwrap();
    let (metrics, depth, _) = metrics();
    for n in 0..8u64 {
        depth.set(i64::try_from(n).unwrap());
        history.sample(n * 15 + 15, &metrics).unwrap();
    }
    let query = Query { prefix: "terrane_de".into(), since: 75, points_max: 2 };
    let found = history.query(&query);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].points, [(75, Some(4.5)), (105, Some(6.5))]);
}

#[test]
fn the_files_bytes_are_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), &HistoryConfig::default()).unwrap();
    let (metrics, depth, _) = metrics();
    depth.set(3);
    history.sample(1000, &metrics).unwrap();
    let bytes = std::fs::read(dir.path().join("history-000000001000.bin")).unwrap();
    let mut expected = b"TRNH\x01".to_vec();
    expected.extend_from_slice(b"\x01\x10\0\0\0");
    expected.extend_from_slice(&bytes[10..14]);
    expected.extend_from_slice(b"\0\0\0terrane_depth");
    expected.extend_from_slice(b"\x02\x0e\0\0\0");
    expected.extend_from_slice(&bytes[35..39]);
    expected.extend_from_slice(b"\xe8\x03\0\0\0\0\0\0\0\0\0\0\x40\x40");
    assert_eq!(bytes, expected);
    assert_eq!(
        decode(&bytes),
        [
            Entry::Series { number: 0, is_counter: false, name: "terrane_depth" },
            Entry::Sample { time: 1000, values: vec![(0, 3.0)] }
        ]
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode(&bytes);
        let mut with_header = b"TRNH\x01".to_vec();
        with_header.extend_from_slice(&bytes);
        decode(&with_header);
    }

    #[test]
    fn a_changed_byte_never_yields_another_entry(at in 0usize..53, flip in 1u8..) {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(dir.path(), &HistoryConfig::default()).unwrap();
        let (metrics, ..) = metrics();
        history.sample(1000, &metrics).unwrap();
        let good = std::fs::read(dir.path().join("history-000000001000.bin")).unwrap();
        let mut bad = good.clone();
        prop_assume!(at < bad.len());
        bad[at] ^= flip;
        let (good, bad) = (decode(&good), decode(&bad));
        prop_assert!(bad.len() < good.len());
        prop_assert_eq!(&good[..bad.len()], &bad[..]);
    }
}
