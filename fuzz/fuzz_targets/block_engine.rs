//! Everything that the block server's storage engine decodes from a drive.
//!
//! The first byte chooses the decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrane_block::engine::fuzz;

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 4 {
        0 => fuzz::identity(bytes),
        1 => fuzz::header(bytes),
        2 => fuzz::table(bytes),
        _ => fuzz::journal(bytes),
    }
});
