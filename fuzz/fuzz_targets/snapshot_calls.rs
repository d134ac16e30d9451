//! What the control plane of snapshots reads from outside: calls of the EBS direct APIs, tokens, listings of an S3 endpoint.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    terrane_ec2::ebs::fuzz_decode(data);
    terrane_snapshots::fuzz_tokens(data);
    terrane_snapshots::objects::fuzz_decode(data);
});
