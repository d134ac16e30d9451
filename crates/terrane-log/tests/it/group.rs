use super::*;
use bytes::Bytes;
use std::sync::Mutex;
use terrane_log::commit::{GroupCommit, GroupConfig};

#[test]
fn many_writers_share_syncs_and_all_records_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(&dir);
    let group = GroupCommit::start(log, GroupConfig::default()).unwrap();
    let writers: Vec<_> = (0..8u8)
        .map(|writer| {
            let group = group.clone();
            std::thread::spawn(move || {
                let write = |n: u8| (group.append(Bytes::from(vec![writer, n])).unwrap(), vec![writer, n]);
                (0..50).map(write).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut written: Vec<_> = writers.into_iter().flat_map(|w| w.join().unwrap()).collect();
    written.sort();
    for (at, payload) in &written {
        assert_eq!(group.reader().read(*at).unwrap(), payload);
    }
    let log = group.close().unwrap();
    assert!(group.close().is_none());
    assert!(matches!(group.append(Bytes::new()), Err(LogError::Closed)));
    assert_eq!(replay(&log, None).unwrap(), written);
}

#[test]
fn answers_come_in_the_order_of_submission_and_errors_hit_only_their_record() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(&dir);
    let group = GroupCommit::start(log, GroupConfig { queue_records: 4, batch_bytes: 100 }).unwrap();
    let answers = Arc::new(Mutex::new(Vec::new()));
    for n in 0..100usize {
        let answers = answers.clone();
        let len = if n == 50 { 9 << 10 } else { n };
        group.submit(vec![Bytes::from(vec![1; len])], move |result| {
            answers.lock().unwrap().push((n, result.map(|at| at.len as usize)));
        });
    }
    let removed = group.with_log(|log| log.remove_segment(77).is_err()).unwrap();
    assert!(removed);
    let log = group.close().unwrap();
    let answers = answers.lock().unwrap();
    for (n, (number, result)) in answers.iter().enumerate() {
        assert_eq!(n, *number);
        match result {
            Ok(len) => assert_eq!(*len, n),
            Err(error) => assert!(n == 50 && matches!(error, LogError::TooLarge { .. })),
        }
    }
    assert_eq!((answers.len(), replay(&log, None).unwrap().len()), (100, 99));
}
