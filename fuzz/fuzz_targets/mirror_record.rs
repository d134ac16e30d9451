//! The record of a mirror's set that lies on every drive. What is decoded is encoded to the same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrane_log::mirror::Record;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::decode(data) {
        let bytes = record.encode();
        assert_eq!(bytes[..], data[..bytes.len()]);
    }
    let _ = Record::decode_file(data);
});
