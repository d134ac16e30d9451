use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

fn segment_file(dir: &tempfile::TempDir, id: u64) -> PathBuf {
    dir.path().join(format!("{id:016x}.log"))
}

fn damage(dir: &tempfile::TempDir, id: u64, at: u32, bytes: &[u8]) {
    let mut content = fs::read(segment_file(dir, id)).unwrap();
    content[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    fs::write(segment_file(dir, id), content).unwrap();
}

#[test]
fn a_torn_tail_is_erased_durably_before_the_first_append() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let kept = fill(&mut log, 0, 3, 3);
    let torn = fill(&mut log, 3, 3, 3);
    drop(log);
    // The middle of the last batch never reached the disk; its last record did.
    damage(&dir, torn[1].0.segment, torn[1].0.offset, &vec![0; torn[1].1.len()]);
    let (log, report) = open(&dir);
    assert_eq!(replay(&log, None).unwrap(), [&kept[..], &torn[..1]].concat());
    assert!(report.erased_bytes >= u64::from(torn[2].0.len));
    let content = fs::read(segment_file(&dir, 1)).unwrap();
    assert!(content[report.tail.offset as usize..].iter().all(|b| *b == 0));
    assert_eq!(content.len(), SEGMENT as usize);
}

#[test]
fn damage_before_a_later_batch_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let all = fill(&mut log, 0, 9, 3);
    drop(log);
    damage(&dir, 1, all[4].0.offset, &[!all[4].1[0]]);
    let error = Log::open(disk(&dir), config()).err().unwrap();
    assert!(matches!(error, LogError::Corrupt { at, .. } if at == all[4].0.start()), "{error}");
}

#[test]
fn damage_in_an_older_segment_is_an_error_of_replay_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let all = fill(&mut log, 0, 100, 3);
    drop(log);
    damage(&dir, 1, all[1].0.offset + 3, &[!all[1].1[3]]);
    let (log, _) = open(&dir);
    assert!(matches!(replay(&log, None), Err(LogError::Corrupt { at, .. }) if at == all[1].0.start()));
    assert!(matches!(log.reader().read(all[1].0), Err(LogError::Corrupt { .. })));
    assert_eq!(log.reader().read(all[2].0).unwrap(), all[2].1);
    assert_eq!(replay(&log, Some(all[2].0.start())).unwrap(), all[2..]);
}

#[test]
fn a_missing_segment_is_an_error_from_the_replay_start_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let all = fill(&mut log, 0, 200, 3);
    drop(log);
    fs::remove_file(segment_file(&dir, 2)).unwrap();
    let missing = Log::open(disk(&dir), config()).err().unwrap();
    assert!(matches!(missing, LogError::MissingSegment { segment: 2 }), "{missing}");
    let start = all.iter().find(|(at, _)| at.segment == 3).unwrap().0.start();
    let (log, _) = Log::open(disk(&dir), LogConfig { replay_from: Some(start), ..config() }).unwrap();
    let later: Vec<_> = all.iter().filter(|(at, _)| at.segment >= 3).cloned().collect();
    assert_eq!(replay(&log, Some(start)).unwrap(), later);
    drop(log);
    let gone = Position { segment: 2, offset: 64 };
    let gone = Log::open(disk(&dir), LogConfig { replay_from: Some(gone), ..config() }).err().unwrap();
    assert!(matches!(gone, LogError::MissingSegment { segment: 2 }));
    let beyond = Position { segment: 99, offset: 64 };
    let beyond = Log::open(disk(&dir), LogConfig { replay_from: Some(beyond), ..config() }).err().unwrap();
    assert!(matches!(beyond, LogError::NotFound { .. }));
}

#[test]
fn a_segment_that_was_never_started_is_dropped_and_its_identifier_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let all = fill(&mut log, 0, 5, 5);
    log.seal().unwrap();
    drop(log);
    fs::write(segment_file(&dir, 2), vec![7; SEGMENT as usize]).unwrap();
    let (mut log, _) = open(&dir);
    assert_eq!(replay(&log, None).unwrap(), all);
    assert_eq!(fill(&mut log, 5, 1, 1)[0].0.segment, 3);
}

#[test]
fn a_damaged_header_of_a_used_segment_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    fill(&mut log, 0, 6, 2);
    drop(log);
    damage(&dir, 1, 20, &[9]);
    let error = Log::open(disk(&dir), config()).err().unwrap();
    assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lost+found.txt"), "mine").unwrap();
    fs::write(dir.path().join("notes.log"), "mine too").unwrap();
    let (mut log, _) = open(&dir);
    fill(&mut log, 0, 5, 2);
    drop(log);
    open(&dir);
    assert_eq!(fs::read_to_string(dir.path().join("notes.log")).unwrap(), "mine too");
}

#[test]
fn a_copy_of_the_log_inside_a_record_is_not_taken_for_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&dir);
    let mut all = fill(&mut log, 0, 6, 2);
    let copy = fs::read(segment_file(&dir, 1)).unwrap()[..all[5].0.end().offset as usize].to_vec();
    let at = log.append(&[&copy]).unwrap();
    log.sync().unwrap();
    drop(log);
    // That record is torn, so recovery looks at its bytes for proof of later batches.
    damage(&dir, 1, at.offset, &[!copy[0]]);
    let (mut log, _) = open(&dir);
    assert_eq!(replay(&log, None).unwrap(), all);
    all.extend(fill(&mut log, 6, 3, 1));
    assert_eq!(replay(&log, None).unwrap(), all);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever lies in the directory: an error or a log, never a panic, and nothing that has no right checksum.
    #[test]
    fn any_bytes_are_opened_or_refused(
        flips in proptest::collection::vec((0usize..SEGMENT as usize, any::<u8>()), 0..6),
        cut in proptest::option::of(0usize..SEGMENT as usize),
        id in 1u64..4,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(&dir);
        let all = fill(&mut log, 0, 90, 4);
        drop(log);
        let path = segment_file(&dir, id);
        let mut bytes = fs::read(&path).unwrap();
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut);
        }
        fs::write(&path, bytes).unwrap();
        if let Ok((log, _)) = Log::open(disk(&dir), config()) {
            for (at, payload) in replay(&log, None).unwrap_or_default() {
                prop_assert!(all.contains(&(at, payload)));
            }
            for (at, payload) in &all {
                if let Ok(read) = log.reader().read(*at) {
                    prop_assert_eq!(&read[..], &payload[..]);
                }
            }
        }
    }
}
