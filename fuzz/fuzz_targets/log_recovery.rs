//! Opening and replaying a log whose segment was damaged anywhere. What it takes for its records is what it had,
//! goes on being so after appending, and is so again after the next open.
//!
//! Input: groups of an offset (2 bytes) and a byte that is put there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrane_log::disk::Open;
use terrane_log::{Log, LogConfig, LogError, Preallocate, RecordLocator};
use terrane_sim::coverage::Coverage;
use terrane_sim::disk::SimDisk;
use terrane_sim::rng::SimRng;

fuzz_target!(|data: &[u8]| {
    let config = LogConfig {
        segment_bytes: 4096,
        max_record_bytes: 1024,
        max_batch_bytes: 2048,
        preallocate: Preallocate::Inline,
        epoch_nonce: Some(7),
        ..LogConfig::default()
    };
    let disk = SimDisk::new(&mut SimRng::new(1), 1 << 20, Coverage::default());
    let (mut log, _) = Log::open(disk.as_disk(), config.clone()).expect("an empty disk opens");
    for number in 0..6_u8 {
        log.append(&[&[number; 100]]).expect("there is room");
        log.sync().expect("the disk has no faults");
    }
    drop(log);
    let disk = disk.as_disk();
    let names = disk.list().expect("the disk has no faults");
    let file = disk.open(&names[0], Open::Write).expect("it was listed");
    for damage in data.chunks_exact(3) {
        let offset = u64::from(u16::from_le_bytes([damage[0], damage[1]]) % 4096);
        file.write_at(&damage[2..], offset).expect("the disk has no faults");
    }
    let Ok((mut log, _)) = Log::open(disk.clone(), config.clone()) else { return };
    let Ok(mut records) = replay(&log) else { return };
    for (number, (_, bytes)) in (0..).zip(&records) {
        assert_eq!(bytes[..], [number; 100]);
    }
    records.push((log.append(&[b"after"]).expect("there is room"), b"after".to_vec()));
    log.sync().expect("the disk has no faults");
    drop(log);
    let (log, _) = Log::open(disk, config).expect("it opened before");
    assert_eq!(replay(&log).expect("it was replayed before"), records);
});

fn replay(log: &Log) -> Result<Vec<(RecordLocator, Vec<u8>)>, LogError> {
    let mut records = Vec::new();
    log.replay(None, |at, bytes| {
        records.push((at, bytes.to_vec()));
        Ok::<(), LogError>(())
    })?;
    Ok(records)
}
