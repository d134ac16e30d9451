//! What the object store reads from its drives and from clients: none of it panics, whatever the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrane_objects::fuzz;

fuzz_target!(|data: &[u8]| {
    fuzz::attributes(data);
    fuzz::run_file(data);
    fuzz::drives(data);
    fuzz::texts(data);
});
