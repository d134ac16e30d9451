//! A server's bytes in transmission, as a client reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = terrane_nbd::client::decode_all(data);
});
