//! Everything that snapshots decode: sealed bytes, packs, manifests, names.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| terrane_snapshot::fuzz_decode(data));
