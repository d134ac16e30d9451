//! A record of the shard's log: decodes or says why not, and what decodes is encoded back to the same.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use terrane_keymap::Record;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(record) = Record::decode(&bytes) {
        let again = Record::decode(&Bytes::from(record.encode())).expect("what was decoded can be encoded");
        assert_eq!(format!("{record:?}"), format!("{again:?}"));
    }
});
