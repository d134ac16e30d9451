use super::*;
use std::os::unix::fs::MetadataExt;

#[test]
fn records_come_back_in_order_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, report) = open(&dir);
    assert_eq!(report.tail, Position::default());
    let mut all = fill(&mut log, 0, 300, 7);
    assert_eq!(replay(&log, None).unwrap(), all);
    let first_epoch = report.epoch;
    drop(log);

    let (mut log, report) = open(&dir);
    assert!(report.epoch > first_epoch);
    assert_eq!((report.erased_bytes, report.tail), (0, all[299].0.end()));
    all.extend(fill(&mut log, 300, 100, 3));
    assert_eq!(replay(&log, None).unwrap(), all);
    drop(log);

    let (log, _) = open(&dir);
    assert_eq!(replay(&log, None).unwrap(), all);
    for at in [1, 150, 399] {
        assert_eq!(replay(&log, Some(all[at].0.start())).unwrap(), all[at..]);
        assert_eq!(replay(&log, Some(all[at].0.end())).unwrap(), all[at + 1..]);
    }
}

#[test]
fn readers_see_what_is_durable_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let reader = log.reader();
    let at = log.append(&[b"one"]).unwrap();
    assert!(matches!(reader.read(at), Err(LogError::NotFound { .. })));
    log.sync().unwrap();
    assert_eq!(reader.read(at).unwrap(), &b"one"[..]);
    let wrong = RecordLocator { offset: at.offset + 1, ..at };
    assert!(matches!(reader.read(wrong), Err(LogError::NotFound { .. })));
    let shorter = RecordLocator { len: 2, ..at };
    assert!(matches!(reader.read(shorter), Err(LogError::Corrupt { .. })));
    let inside = RecordLocator { offset: 1, ..at };
    assert!(matches!(reader.read(inside), Err(LogError::NotFound { .. })));
    let all = fill(&mut log, 0, 200, 5);
    for (at, bytes) in &all {
        assert_eq!(reader.read(*at).unwrap(), bytes);
    }
    let mut scanned = Vec::new();
    for segment in reader.segments() {
        let visit = |at, payload: &[u8]| {
            scanned.push((at, payload.to_vec()));
            Ok::<(), LogError>(())
        };
        reader.scan_segment(segment.id, visit).unwrap();
    }
    assert_eq!(scanned[1..], all);
    assert_eq!(reader.bytes_since(all[199].0.end()), 0);
    assert_eq!(reader.bytes_since(all[199].0.start()), 32 + u64::from(all[199].0.len));
}

#[test]
fn removed_segments_become_spares_and_identifiers_are_never_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let all = fill(&mut log, 0, 200, 5);
    let segments = log.reader().segments();
    let newest = segments.last().unwrap().id;
    assert!(segments.len() > 4);
    assert!(matches!(log.remove_segment(newest), Err(LogError::NotSealed { .. })));
    assert!(matches!(log.remove_segment(newest + 1), Err(LogError::NotFound { .. })));
    for segment in &segments[..segments.len() - 1] {
        log.remove_segment(segment.id).unwrap();
    }
    assert!(matches!(log.reader().read(all[0].0), Err(LogError::NotFound { .. })));
    let spares = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap());
        names.filter(|e| e.file_name().to_str().unwrap().starts_with("spare-")).collect::<Vec<_>>()
    };
    assert_eq!(spares().len(), config().spares);
    assert!(spares().iter().all(|e| e.metadata().unwrap().size() == u64::from(SEGMENT)));
    let kept: Vec<_> = all.iter().filter(|(at, _)| at.segment == newest).cloned().collect();
    assert_eq!(replay(&log, None).unwrap(), kept);
    let more = fill(&mut log, 200, 200, 5);
    assert!(more.iter().all(|(at, _)| at.segment >= newest));
    assert!(spares().is_empty());
    drop(log);
    let (log, _) = open(&dir);
    assert_eq!(replay(&log, None).unwrap(), [kept, more].concat());
}

#[test]
fn a_segment_that_is_read_is_not_recycled() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let all = fill(&mut log, 0, 200, 5);
    let reader = log.reader();
    let mut seen = 0;
    let visit = |at: RecordLocator, payload: &[u8]| {
        if seen == 0 {
            log.remove_segment(at.segment).unwrap();
            fill(&mut log, 200, 300, 5);
        }
        assert_eq!(payload, all[seen].1);
        seen += 1;
        Ok::<(), LogError>(())
    };
    reader.scan_segment(all[0].0.segment, visit).unwrap();
    assert_eq!(seen, all.iter().filter(|(at, _)| at.segment == all[0].0.segment).count());
}

#[test]
fn sealing_makes_the_segment_removable_once_another_has_started() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    log.seal().unwrap();
    let at = log.append(&[b"x"]).unwrap();
    log.seal().unwrap();
    assert!(log.reader().segments()[0].sealed);
    assert!(matches!(log.remove_segment(at.segment), Err(LogError::NotSealed { .. })));
    drop(log);
    let (mut log, report) = open(&dir);
    assert_eq!(report.tail, Position { segment: at.segment, offset: at.end().offset + 32 });
    let next = log.append(&[b"y"]).unwrap();
    log.sync().unwrap();
    assert_eq!(next.segment, at.segment + 1);
    assert_eq!(replay(&log, None).unwrap(), [(at, b"x".to_vec()), (next, b"y".to_vec())]);
    log.remove_segment(at.segment).unwrap();
    assert_eq!(replay(&log, None).unwrap(), [(next, b"y".to_vec())]);
}

#[test]
fn segments_of_another_size_stay_readable() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let mut all = fill(&mut log, 0, 100, 5);
    drop(log);
    for segment_bytes in [SEGMENT / 4, SEGMENT * 2] {
        let config = LogConfig { segment_bytes, max_record_bytes: 1 << 10, ..config() };
        let (mut log, _) = Log::open(disk(&dir), config).unwrap();
        assert_eq!(replay(&log, None).unwrap(), all);
        all.extend(fill(&mut log, all.len(), 100, 5));
        assert_eq!(replay(&log, None).unwrap(), all);
        for (at, bytes) in &all {
            assert_eq!(log.reader().read(*at).unwrap(), bytes);
        }
    }
    let (mut log, _) = open(&dir);
    for segment in log.reader().segments().iter().rev().skip(1) {
        log.remove_segment(segment.id).unwrap();
    }
    fill(&mut log, 0, 100, 5);
}

#[test]
fn limits_are_typed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let big = vec![1; 8 << 10];
    assert!(matches!(log.append(&[&big, b"x"]), Err(LogError::TooLarge { len: 8193, limit: 8192 })));
    for _ in 0..7 {
        log.append(&[&big]).unwrap();
    }
    assert!(matches!(log.append(&[&big]), Err(LogError::BatchFull { .. })));
    assert!(log.pending_bytes() > 7 * 8192);
    log.sync().unwrap();
    assert_eq!(log.pending_bytes(), 0);
    log.append(&[&big]).unwrap();
    let bad = LogConfig { max_record_bytes: SEGMENT, ..config() };
    assert!(matches!(Log::open(disk(&dir), bad), Err(LogError::Config(_))));
}

#[test]
fn the_background_maker_keeps_a_spare_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { preallocate: Preallocate::Background, ..config() };
    let (mut log, _) = Log::open(disk(&dir), config.clone()).unwrap();
    let all = fill(&mut log, 0, 300, 7);
    assert_eq!(replay(&log, None).unwrap(), all);
    drop(log);
    let (log, _) = Log::open(disk(&dir), config).unwrap();
    assert_eq!(replay(&log, None).unwrap(), all);
}
