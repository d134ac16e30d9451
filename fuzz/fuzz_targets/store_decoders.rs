//! Everything that the store decodes: log records, RPC messages, backups, keys.
//!
//! The first byte chooses the decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrane_store::local::LogRecord;
use terrane_store::tuple::{Pack, Unpack};

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 4 {
        0 => {
            if let Ok(record) = LogRecord::decode(bytes) {
                let again = record.encode().expect("what was decoded encodes");
                assert_eq!(LogRecord::decode(&again).expect("and decodes"), record);
            }
        }
        1 => _ = terrane_store::remote::fuzz_decode(bytes),
        2 => _ = terrane_store::fuzz_backup(bytes),
        _ => {
            if let Ok(key) = <(String, Vec<u8>, u64, i64, bool)>::unpack(bytes) {
                assert_eq!(key.pack(), bytes, "one tuple has one encoding");
            }
        }
    }
});
