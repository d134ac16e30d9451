//! Bodies that are not what their requests say.

use std::time::Duration;

use terrane_s3::{Limits, S3Config};

use crate::server::Server;
use crate::signer::{self, Key};
use crate::wire::{Call, raw};

/// Nothing of a refused body is stored.
#[track_caller]
fn refused(server: &Server, call: Call<'_>, status: u16, code: &str) {
    call.send().expect_error(status, code);
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
}

#[test]
fn bodies_shorter_than_declared() {
    let server = Server::with_bucket();
    for size in [10, 100_000, 2_000_000] {
        let body = vec![7; size];
        let call =
            server.call("PUT", "/bucket/key").body(&body).declare(size + 1).payload("UNSIGNED-PAYLOAD");
        refused(&server, call, 400, "IncompleteBody");
    }
}

#[test]
fn payload_hashes_are_compared() {
    let server = Server::with_bucket();
    for size in [10, 100_000, 2_000_000] {
        let call = server.call("PUT", "/bucket/key").body(&vec![7; size]).payload(&signer::sha256(b"other"));
        refused(&server, call, 400, "XAmzContentSHA256Mismatch");
    }
    let document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let call = server.call("PUT", "/bucket?versioning").body(document).payload(&signer::sha256(b"other"));
    call.send().expect_error(400, "XAmzContentSHA256Mismatch");
}

#[test]
fn digests_are_compared() {
    let server = Server::with_bucket();
    let put = |name: &str, value: &str| server.call("PUT", "/bucket/key").body(b"bar").header(name, value);
    refused(&server, put("content-md5", "rL0Y20xC+Fzt72VPzMSk2A=="), 400, "BadDigest");
    refused(&server, put("content-md5", "AWS HAHAHA"), 400, "InvalidDigest");
    for (name, value) in [
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-checksum-crc32c", "AAAAAA=="),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
        ("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("x-amz-checksum-sha256", "bad"),
    ] {
        refused(&server, put(name, value), 400, "BadDigest");
    }
    let two = put("x-amz-checksum-crc32", "AAAAAA==").header("x-amz-checksum-crc32c", "AAAAAA==");
    refused(&server, two, 400, "InvalidRequest");
    let large = server.call("PUT", "/bucket/key").body(&vec![1; 3_000_000]);
    refused(&server, large.header("content-md5", "rL0Y20xC+Fzt72VPzMSk2A=="), 400, "BadDigest");
}

#[test]
fn checksums_are_kept_and_told_on_request() {
    let server = Server::with_bucket();
    let put = server.call("PUT", "/bucket/key").body(b"123456789");
    put.header("x-amz-checksum-crc32c", "4waSgw==").send().expect(200);
    assert_eq!(server.get("/bucket/key").header("x-amz-checksum-crc32c"), None);
    let reply = server.call("GET", "/bucket/key").header("x-amz-checksum-mode", "ENABLED").send();
    assert_eq!(reply.header("x-amz-checksum-crc32c"), Some("4waSgw=="));
    assert_eq!(reply.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
}

#[test]
fn a_length_is_required() {
    let server = Server::with_bucket();
    let call = server.call("PUT", "/bucket/key").payload("UNSIGNED-PAYLOAD");
    let call = call.unsigned("transfer-encoding", "chunked").body(b"3\r\nabc\r\n0\r\n\r\n");
    refused(&server, call, 411, "MissingContentLength");
}

#[test]
fn lengths_have_limits() {
    let config = S3Config { limits: Limits { put_bytes: 1000, ..Limits::default() }, ..S3Config::default() };
    let server = Server::with(config);
    server.call("PUT", "/bucket").send().expect(200);
    server.put("/bucket/fits", &[0; 1000]);
    refused(&server, server.call("PUT", "/bucket/key").body(&[0; 1001]), 400, "EntityTooLarge");
}

/// A streaming request signed chunk by chunk.
fn streaming(server: &Server, chunks: &[&[u8]], declared: usize, spoil: Option<usize>) -> (u16, String) {
    let date = signer::amz_date(0);
    let key = Key::of(1);
    let call = server
        .call("PUT", "/bucket/key")
        .payload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", &declared.to_string());
    let mut before = call.seed(&date);
    let mut body = Vec::new();
    for (at, chunk) in chunks.iter().chain([&&b""[..]]).enumerate() {
        before = signer::sign_chunk(&key, &date, "us-east-1", &before, chunk);
        let told = if spoil == Some(at) { "0".repeat(64) } else { before.clone() };
        body.extend_from_slice(format!("{:x};chunk-signature={told}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    let reply = call.body(&body).send_at(&date);
    (reply.status, reply.element("Code").unwrap_or_default())
}

#[test]
fn signed_chunks() {
    let server = Server::with_bucket();
    let (a, b) = (vec![1; 70_000], vec![2; 10]);
    let refuse = |declared: usize, spoil, code: &str| {
        assert_eq!(
            streaming(&server, &[&a, &b], declared, spoil),
            (if code.starts_with('S') { 403 } else { 400 }, code.into())
        );
        server.get("/bucket/key").expect_error(404, "NoSuchKey");
    };
    for spoiled in 0..3 {
        refuse(70_010, Some(spoiled), "SignatureDoesNotMatch");
    }
    for declared in [70_009, 70_011, 10] {
        refuse(declared, None, "IncompleteBody");
    }
    assert_eq!(streaming(&server, &[&a, &b], 70_010, None).0, 200);
    let stored = server.get("/bucket/key");
    assert!(stored.body == [a, b].concat());
    assert_eq!(stored.header("content-encoding"), None);
}

#[test]
fn signed_chunks_fit_in_memory() {
    let limits = Limits { signed_chunk_bytes: 1000, ..Limits::default() };
    let server = Server::with(S3Config { limits, ..S3Config::default() });
    server.call("PUT", "/bucket").send().expect(200);
    assert_eq!(streaming(&server, &[&[1; 1000]], 1000, None).0, 200);
    assert_eq!(streaming(&server, &[&[1; 1001]], 1001, None), (400, "InvalidChunkSizeError".into()));
}

fn with_trailer<'a>(server: &Server, chunk: &[u8], trailer: &str) -> Call<'a> {
    let mut body = format!("{:x}\r\n", chunk.len()).into_bytes();
    body.extend_from_slice(chunk);
    body.extend_from_slice(format!("\r\n0\r\n{trailer}\r\n").as_bytes());
    server
        .call("PUT", "/bucket/key")
        .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .header("x-amz-trailer", "x-amz-checksum-crc32")
        .header("x-amz-decoded-content-length", &chunk.len().to_string())
        .body(&body)
}

#[test]
fn trailers_are_compared() {
    let server = Server::with_bucket();
    let bad = with_trailer(&server, b"123456789", "x-amz-checksum-crc32:AAAAAA==\r\n");
    refused(&server, bad, 400, "BadDigest");
    refused(&server, with_trailer(&server, b"123456789", ""), 400, "MalformedTrailerError");
    with_trailer(&server, b"123456789", "x-amz-checksum-crc32:y/Q5Jg==\r\n").send().expect(200);
    assert_eq!(server.get("/bucket/key").body, b"123456789");
}

#[test]
fn one_huge_unsigned_chunk_is_no_burden() {
    let server = Server::with_bucket();
    let data = vec![0x61; 3 << 20];
    let reply = with_trailer(&server, &data, "x-amz-checksum-crc32:AAAAAA==\r\n").send();
    reply.expect_error(400, "BadDigest");
    let body = server.call("PUT", "/bucket/key").body(&data).header("x-amz-sdk-checksum-algorithm", "CRC32");
    let sum = body.send().header("x-amz-checksum-crc32").unwrap().to_owned();
    with_trailer(&server, &data, &format!("x-amz-checksum-crc32:{sum}\r\n")).send().expect(200);
    assert!(server.get("/bucket/key").body == data);
}

#[test]
fn malformed_chunks() {
    let server = Server::with_bucket();
    for body in [&b"zz\r\nabc\r\n0\r\n\r\n"[..], b"3\r\nabcX\r\n0\r\n\r\n", b"-1\r\n\r\n"] {
        let call = server
            .call("PUT", "/bucket/key")
            .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .header("x-amz-decoded-content-length", "3")
            .body(body);
        refused(&server, call, 400, "InvalidRequest");
    }
}

#[test]
fn stalled_bodies_are_given_up() {
    let limits = Limits { body_stall: Duration::from_millis(100), ..Limits::default() };
    let server = Server::with(S3Config { limits, ..S3Config::default() });
    server.call("PUT", "/bucket").send().expect(200);
    // The rest never comes, but the connection stays open.
    for (target, first) in [("/bucket/key", &b"abc"[..]), ("/bucket?versioning", b"<Ver")] {
        let date = signer::amz_date(0);
        let headers = vec![
            ("host".to_owned(), server.address.to_string()),
            ("x-amz-content-sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()),
            ("x-amz-date".to_owned(), date.clone()),
        ];
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let string =
            signer::string_v4(("PUT", path, query), &headers, "UNSIGNED-PAYLOAD", &date, "us-east-1");
        let signature = signer::sign_v4(&Key::of(1), &date, "us-east-1", &string);
        let head = format!(
            "PUT {target} HTTP/1.1\r\nhost: {}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: {date}\r\nauthorization: AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n",
            server.address,
            Key::of(1).id,
            signer::scope(&date, "us-east-1"),
        );
        let reply = raw(server.address, &[head.as_bytes(), first].concat(), false, false);
        reply.expect_error(400, "RequestTimeout");
    }
}

#[test]
fn documents_are_bounded_and_well_formed() {
    let server = Server::with_bucket();
    for document in ["", "<", "<a>", "<VersioningConfiguration><Status>Enabled", "not xml", "<Tagging/>"] {
        let reply = server.call("PUT", "/bucket?versioning").body(document.as_bytes()).send();
        let code = reply.element("Code").unwrap();
        assert_eq!(reply.status, 400, "{document}: {code}");
        let expected = ["MalformedXML", "MissingRequestBodyError", "IllegalVersioningConfigurationException"];
        assert!(expected.contains(&code.as_str()), "{document}: {code}");
    }
    let huge = vec![b' '; 3 << 20];
    let reply = server.call("PUT", "/bucket?versioning").body(&huge).send();
    reply.expect_error(400, "MaxMessageLengthExceeded");
    let deep = "<a>".repeat(100_000);
    server.call("PUT", "/bucket?tagging").body(deep.as_bytes()).send().expect_error(400, "MalformedXML");
}
