//! A body in aws-chunked encoding, cut into pieces: decoded, or the error says what is wrong.
#![no_main]

use bytes::Bytes;
use http::Request;
use libfuzzer_sys::fuzz_target;
use terrane_auth::Secret;
use terrane_auth::sigv4::chunked::{Decoder, Limits};
use terrane_auth::sigv4::{Claim, SigningKey};

const MODES: [&str; 3] = [
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
];

fn decoder(mode: &str) -> Option<Decoder> {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host, Signature={}",
        "0".repeat(64)
    );
    let request = Request::put("/b/k")
        .header("authorization", authorization)
        .header("x-amz-date", "20130524T000000Z")
        .header("x-amz-content-sha256", mode)
        .body(())
        .ok()?;
    let claim = Claim::parse((&request).into()).ok()??;
    let key = SigningKey::derive(&Secret::new("secret".into()), &claim.scope);
    Decoder::new(&claim, &key, None, Limits::default()).ok()
}

fuzz_target!(|data: &[u8]| {
    let [mode, piece, body @ ..] = data else { return };
    let mode = MODES[usize::from(*mode) % MODES.len()];
    let mut decoder = decoder(mode).expect("a well-formed claim");
    for piece in body.chunks(usize::from(*piece).max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    let _ = decoder.finish();
});
