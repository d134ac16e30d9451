//! Multipart uploads.

use crate::server::Server;
use crate::wire::Reply;

const MIB5: usize = 5 << 20;

fn begin(server: &Server, headers: &[(&str, &str)]) -> String {
    let call = server.call("POST", "/bucket/key?uploads");
    let reply = headers.iter().fold(call, |call, (n, v)| call.header(n, v)).send();
    reply.expect(200);
    reply.element("UploadId").unwrap()
}

fn part(server: &Server, id: &str, number: &str, body: &[u8]) -> Reply {
    server.call("PUT", &format!("/bucket/key?partNumber={number}&uploadId={id}")).body(body).send()
}

fn complete(server: &Server, id: &str, parts: &[(u32, &str)]) -> Reply {
    let parts: String = parts
        .iter()
        .map(|(n, etag)| format!("<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    server.call("POST", &format!("/bucket/key?uploadId={id}")).body(document.as_bytes()).send()
}

fn etag(reply: &Reply) -> String {
    reply.expect(200);
    reply.header("etag").unwrap().to_owned()
}

#[test]
fn parts_become_an_object() {
    let server = Server::with_bucket();
    let id = begin(&server, &[("x-amz-meta-a", "b"), ("content-type", "text/plain")]);
    let (one, two) = (vec![1; MIB5], vec![2; 10]);
    let (a, b) = (etag(&part(&server, &id, "1", &one)), etag(&part(&server, &id, "7", &two)));
    let listed = server.get(&format!("/bucket/key?uploadId={id}"));
    assert_eq!(listed.elements("PartNumber"), ["1", "7"]);
    assert_eq!(server.get("/bucket?uploads").elements("Key"), ["key"]);
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
    let done = complete(&server, &id, &[(1, &a), (7, &b)]);
    done.expect(200);
    assert!(done.element("ETag").unwrap().contains("-2"));
    let object = server.get("/bucket/key");
    assert!(object.body == [one, two.clone()].concat());
    assert_eq!(
        (object.header("x-amz-meta-a"), object.header("content-type")),
        (Some("b"), Some("text/plain"))
    );
    let second = server.get("/bucket/key?partNumber=2");
    assert_eq!((second.status, second.header("x-amz-mp-parts-count")), (206, Some("2")));
    assert!(second.body == two);
    server.get("/bucket/key?partNumber=3").expect_error(400, "InvalidPart");
    assert_eq!(server.get("/bucket?uploads").elements("Key"), [] as [&str; 0]);
    // An answer may have been lost: completing again succeeds while the object is current.
    let again = complete(&server, &id, &[(1, &a), (7, &b)]);
    assert_eq!((again.status, again.element("ETag")), (200, done.element("ETag")));
}

#[test]
fn what_does_not_fit_is_refused() {
    let server = Server::with_bucket();
    let id = begin(&server, &[]);
    for bad in ["0", "10001", "-1", "x"] {
        part(&server, &id, bad, b"x").expect_error(400, "InvalidArgument");
    }
    part(&server, "nonsense", "1", b"x").expect_error(404, "NoSuchUpload");
    let (a, b) = (etag(&part(&server, &id, "1", b"small")), etag(&part(&server, &id, "2", b"x")));
    complete(&server, &id, &[(1, &a), (2, &b)]).expect_error(400, "EntityTooSmall");
    complete(&server, &id, &[(2, &b), (1, &a)]).expect_error(400, "InvalidPartOrder");
    complete(&server, &id, &[(1, &b)]).expect_error(400, "InvalidPart");
    complete(&server, &id, &[(3, &b)]).expect_error(400, "InvalidPart");
    complete(&server, &id, &[]).expect_error(400, "MalformedXML");
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
    server.call("DELETE", &format!("/bucket/key?uploadId={id}")).send().expect(204);
    server.call("DELETE", &format!("/bucket/key?uploadId={id}")).send().expect_error(404, "NoSuchUpload");
    complete(&server, &id, &[(1, &a)]).expect_error(404, "NoSuchUpload");
}

#[test]
fn checksums_of_parts() {
    let server = Server::with_bucket();
    let refuse = |headers: &[(&str, &str)]| {
        let call = server.call("POST", "/bucket/key?uploads");
        headers
            .iter()
            .fold(call, |call, (n, v)| call.header(n, v))
            .send()
            .expect_error(400, "InvalidRequest");
    };
    refuse(&[("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-type", "FULL_OBJECT")]);
    refuse(&[("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "COMPOSITE")]);
    refuse(&[("x-amz-checksum-type", "COMPOSITE")]);
    refuse(&[("x-amz-checksum-algorithm", "MD6")]);
    let id = begin(&server, &[("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", "FULL_OBJECT")]);
    let target = format!("/bucket/key?partNumber=1&uploadId={id}");
    let other = server.call("PUT", &target).header("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKfuNEE=");
    other.body(b"123456789").send().expect_error(400, "InvalidRequest");
    let wrong = server.call("PUT", &target).header("x-amz-checksum-crc32", "AAAAAA==").body(b"123456789");
    wrong.send().expect_error(400, "BadDigest");
    let reply = part(&server, &id, "1", b"123456789");
    assert_eq!(reply.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let done = complete(&server, &id, &[(1, &etag(&reply))]);
    assert_eq!(done.element("ChecksumCRC32").as_deref(), Some("y/Q5Jg=="));
    assert_eq!(done.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));
}

#[test]
fn parts_by_copy() {
    let server = Server::with_bucket();
    server.put("/bucket/source", b"0123456789");
    let id = begin(&server, &[]);
    let target = format!("/bucket/key?partNumber=1&uploadId={id}");
    let copy = |range: &str| {
        let call = server.call("PUT", &target).header("x-amz-copy-source", "/bucket/source");
        call.header("x-amz-copy-source-range", range).send()
    };
    copy("bytes=0-10").expect_error(416, "InvalidRange");
    for bad in ["0-5", "bytes=5", "bytes=5-2", "bytes=-5"] {
        copy(bad).expect_error(400, "InvalidArgument");
    }
    let copied = copy("bytes=2-5");
    copied.expect(200);
    let etag = copied.element("ETag").unwrap().replace("&quot;", "\"");
    complete(&server, &id, &[(1, &etag)]).expect(200);
    assert_eq!(server.get("/bucket/key").body, b"2345");
}
