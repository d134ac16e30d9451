//! Frames, bodies and handshakes of the protocols between block servers, node managers and managers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| terrane_block_wire::fuzz::decoders(data));
