//! Templates and the logs of runs, as the store has them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| terrane_workflow::machine::fuzz_decode(data));
