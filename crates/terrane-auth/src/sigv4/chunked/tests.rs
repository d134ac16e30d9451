//! The two examples that AWS publishes, whole and in pieces; manipulated streams; random bytes.

use proptest::prelude::*;

use super::super::Rules;
use super::super::tests::{example_time, request, secret};
use super::*;
use crate::sigv4::SigError;

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const WITH_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// The head of the reference's `PUT /examplebucket/chunkObject.txt`, with its seed signature.
fn claim(payload: &str, seed: &str) -> (Claim, SigningKey) {
    let trailer = payload == WITH_TRAILER;
    let signed = if trailer {
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class;x-amz-trailer"
    } else {
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
         x-amz-decoded-content-length;x-amz-storage-class"
    };
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed},Signature={seed}"
    );
    let mut headers = vec![
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", &authorization),
        ("x-amz-content-sha256", payload),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ];
    headers.push(if trailer {
        ("x-amz-trailer", "x-amz-checksum-crc32c")
    } else {
        ("content-length", "66824")
    });
    let request = request("PUT", "/examplebucket/chunkObject.txt", &headers);
    let claim = Claim::parse((&request).into()).unwrap().unwrap();
    let key = SigningKey::derive(&secret(), &claim.scope);
    let verified = claim.verify((&request).into(), &key, &Rules::default(), "s3", example_time(), None);
    assert_eq!(verified, Ok::<(), SigError>(()), "the published seed signature");
    (claim, key)
}

fn signed_claim() -> (Claim, SigningKey) {
    claim(SIGNED, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
}

fn trailer_claim() -> (Claim, SigningKey) {
    claim(WITH_TRAILER, "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")
}

fn chunk(out: &mut Vec<u8>, data: &[u8], signature: &str) {
    out.extend_from_slice(format!("{:x};chunk-signature={signature}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    if !data.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
}

fn published_body() -> Vec<u8> {
    let mut body = Vec::new();
    chunk(&mut body, &[b'a'; 65536], "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
    chunk(&mut body, &[b'a'; 1024], "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
    chunk(&mut body, &[], "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
    body.extend_from_slice(b"\r\n");
    assert_eq!(body.len(), 66824, "the published content length");
    body
}

fn published_trailer_body(value_end: &str) -> Vec<u8> {
    let mut body = Vec::new();
    chunk(&mut body, &[b'a'; 65536], "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2");
    chunk(&mut body, &[b'a'; 1024], "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7");
    chunk(&mut body, &[], "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992");
    body.extend_from_slice(b"x-amz-checksum-crc32c:sOO8/Q==");
    body.extend_from_slice(value_end.as_bytes());
    body.extend_from_slice(b"x-amz-trailer-signature:");
    body.extend_from_slice(b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n");
    body
}

fn decoder((claim, key): (Claim, SigningKey)) -> Decoder {
    Decoder::new(&claim, &key, Some(66560), Limits::default()).unwrap()
}

/// Feeds `body` in pieces; returns the decoded bytes and trailing headers.
fn run(mut decoder: Decoder, body: &[u8], piece: usize) -> Result<(Vec<u8>, HeaderMap), ChunkError> {
    let mut out = Vec::new();
    for piece in body.chunks(piece.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(data) = decoder.decode(&mut input)? {
            out.extend_from_slice(&data);
        }
        assert!(input.is_empty());
    }
    Ok((out, decoder.finish()?))
}

#[test]
fn the_published_chunks_verify_in_pieces_of_any_size() {
    for piece in [1, 2, 7, 86, 1000, 65537, usize::MAX] {
        let (data, trailers) = run(decoder(signed_claim()), &published_body(), piece).unwrap();
        assert!(data.len() == 66560 && data.iter().all(|b| *b == b'a') && trailers.is_empty());
    }
}

#[test]
fn the_published_trailer_verifies_with_either_line_end() {
    for end in ["\r\n", "\n\r\n"] {
        for piece in [1, 3, usize::MAX] {
            let (data, trailers) =
                run(decoder(trailer_claim()), &published_trailer_body(end), piece).unwrap();
            assert_eq!(data.len(), 66560);
            assert_eq!(trailers.get("x-amz-checksum-crc32c").unwrap(), "sOO8/Q==");
        }
    }
}

#[test]
fn chunks_left_out_repeated_swapped_or_changed_do_not_verify() {
    let body = published_body();
    let (first, rest) = body.split_at(65536 + 22 + 64 + 4);
    let (second, last) = rest.split_at(1024 + 20 + 64 + 4);
    let mut changed = body.clone();
    changed[1000] ^= 1;
    for wrong in [
        [first, last].concat(),
        [first, first, second, last].concat(),
        [second, first, last].concat(),
        [second, second, last].concat(),
        changed,
    ] {
        let (claim, key) = signed_claim();
        let lenient = Decoder::new(&claim, &key, None, Limits::default()).unwrap();
        assert_eq!(run(lenient, &wrong, 4096), Err(ChunkError::Mismatch("a chunk")));
    }
    let cut = run(decoder(signed_claim()), &[first, second].concat(), 4096);
    assert_eq!(cut, Err(ChunkError::Incomplete), "without the last, empty chunk");
}

#[test]
fn a_changed_or_unsigned_trailer_is_refused() {
    let body = String::from_utf8(published_trailer_body("\r\n")).unwrap();
    let changed = body.replace("sOO8", "sOO9");
    assert_eq!(
        run(decoder(trailer_claim()), changed.as_bytes(), 999),
        Err(ChunkError::Mismatch("the trailer"))
    );
    let cut = body.replace("x-amz-trailer-signature:", "x-amz-other:");
    assert!(matches!(run(decoder(trailer_claim()), cut.as_bytes(), 999), Err(ChunkError::Malformed(_))));
    let added = body.replace("\r\n\r\n", "\r\nx-amz-meta-a:b\r\n\r\n");
    assert!(matches!(run(decoder(trailer_claim()), added.as_bytes(), 999), Err(ChunkError::Malformed(_))));
}

#[test]
fn more_or_less_than_announced_is_refused() {
    for (announced, found) in [(66559, 66560), (66561, 66560), (0, 65536), (65536, 66560)] {
        let (claim, key) = signed_claim();
        let decoder = Decoder::new(&claim, &key, Some(announced), Limits::default()).unwrap();
        let expected = Err(ChunkError::WrongLength { found, expected: announced });
        assert_eq!(run(decoder, &published_body(), 4096), expected);
    }
    let longer = [published_body(), b"x".to_vec()].concat();
    assert_eq!(
        run(decoder(signed_claim()), &longer, 4096),
        Err(ChunkError::Malformed("bytes after its end"))
    );
}

#[test]
fn large_chunks_and_endless_lines_are_refused() {
    let (claim, key) = signed_claim();
    let limits = Limits { chunk_bytes_max: 65535, trailer_bytes_max: 16 };
    let small = Decoder::new(&claim, &key, None, limits).unwrap();
    let refused = run(small, &published_body(), 4096).unwrap_err();
    assert_eq!(refused, ChunkError::ChunkTooLarge { size: 65536, max: 65535 });
    let endless = vec![b'0'; 100_000];
    assert!(matches!(run(decoder(signed_claim()), &endless, 4096), Err(ChunkError::Malformed(_))));
    let (claim, key) = unsigned_claim();
    let small = Decoder::new(&claim, &key, None, limits).unwrap();
    let trailers = b"0\r\na:b\r\nc:d\r\ne:0123456789\r\n\r\n";
    assert_eq!(run(small, trailers, 4096), Err(ChunkError::Malformed("a line is too long")));
}

fn unsigned_claim() -> (Claim, SigningKey) {
    let (mut claim, key) = trailer_claim();
    claim.payload = Payload::UnsignedChunksTrailer;
    (claim, key)
}

#[test]
fn unsigned_chunks_with_a_trailer() {
    let body = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    for piece in 1..body.len() {
        let (claim, key) = unsigned_claim();
        let decoder = Decoder::new(&claim, &key, Some(11), Limits::default()).unwrap();
        let (data, trailers) = run(decoder, body, piece).unwrap();
        assert_eq!(data, b"hello world");
        assert_eq!(trailers.get("x-amz-checksum-crc32").unwrap(), "DUoRhQ==");
    }
}

#[test]
fn broken_framing_is_refused() {
    for bad in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-5\r\nhello",
        "0x5\r\nhello",
        "+5\r\nhello",
        " 5\r\nhello",
        "\r\n",
        "g\r\n",
        "11111111111111111\r\n",
        "5;chunk-signature=00\r\nhello",
        "0\r\nno colon\r\n\r\n",
        "0\r\na b:c\r\n\r\n",
        "0\r\na:b\r\na:c\r\n\r\n",
        "0\r\n\r\nmore",
        "0\r\nx-amz-trailer-signature:0\r\n\r\n",
    ] {
        let (claim, key) = unsigned_claim();
        let decoder = Decoder::new(&claim, &key, None, Limits::default()).unwrap();
        assert!(matches!(run(decoder, bad.as_bytes(), 2), Err(ChunkError::Malformed(_))), "{bad:?}");
    }
    for cut in [
        "",
        "5",
        "5\nhello\n0\n\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "0\r\n",
        "0\r\na:b",
        "0\r\na:b\r\n",
    ] {
        let (claim, key) = unsigned_claim();
        let decoder = Decoder::new(&claim, &key, None, Limits::default()).unwrap();
        assert_eq!(run(decoder, cut.as_bytes(), 2), Err(ChunkError::Incomplete), "{cut:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..Default::default() })]

    /// Any single changed byte of a signed body is noticed, wherever it is and however the input is cut.
    #[test]
    fn every_flipped_bit_is_noticed(at in 0usize..2400, bit in 0u8..8, piece in 1usize..5000) {
        let mut body = published_trailer_body("\r\n");
        let at = if at < 1200 { at } else { body.len() - (2400 - at) };
        body[at] ^= 1 << bit;
        // Upper and lower case of hex digits in a size and of a header's name mean the same.
        let same = run(decoder(trailer_claim()), &body, piece);
        if let Ok((data, trailers)) = same {
            prop_assert_eq!(data.len(), 66560);
            prop_assert!(data.iter().all(|b| *b == b'a'));
            prop_assert_eq!(trailers.get("x-amz-checksum-crc32c").unwrap(), "sOO8/Q==");
        }
    }

    #[test]
    fn random_bytes_do_no_harm(body: Vec<u8>, piece in 1usize..64, mode in 0u8..3) {
        let (claim, key) = match mode { 0 => signed_claim(), 1 => trailer_claim(), _ => unsigned_claim() };
        let decoder = Decoder::new(&claim, &key, None, Limits::default()).unwrap();
        let _ = run(decoder, &body, piece);
    }

    /// Pieces of valid syntax in random order reach deeper states than random bytes do.
    #[test]
    fn shuffled_syntax_does_no_harm(
        tokens in prop::collection::vec(
            prop::sample::select(vec!["0", "5", "ff", "\r\n", "\r", "\n", "hello", ":", "a:b", ";chunk-signature=",
                "x-amz-trailer-signature:", "FFFFFFFFFFFFFFFF"]), 0..40),
        piece in 1usize..16,
    ) {
        let (claim, key) = unsigned_claim();
        let decoder = Decoder::new(&claim, &key, None, Limits::default()).unwrap();
        let _ = run(decoder, tokens.concat().as_bytes(), piece);
    }
}
