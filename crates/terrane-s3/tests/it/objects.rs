//! Objects, ranges, versions.

use crate::server::Server;

#[test]
fn ranges() {
    let server = Server::with_bucket();
    let data: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    server.put("/bucket/key", &data);
    for (range, expected) in [
        ("bytes=0-9", 0..10),
        ("bytes=100000-", 100_000..200_000),
        ("bytes=-5", 199_995..200_000),
        ("bytes=199999-300000", 199_999..200_000),
        ("bytes=-300000", 0..200_000),
    ] {
        let reply = server.call("GET", "/bucket/key").header("range", range).send();
        reply.expect(206);
        assert!(reply.body == data[expected.clone()], "{range}");
        let told = format!("bytes {}-{}/200000", expected.start, expected.end - 1);
        assert_eq!(reply.header("content-range"), Some(told.as_str()));
        assert_eq!(reply.header("content-length"), Some(expected.len().to_string().as_str()));
    }
    let beyond = server.call("GET", "/bucket/key").header("range", "bytes=200000-").send();
    beyond.expect_error(416, "InvalidRange");
    assert_eq!(beyond.header("content-range"), Some("bytes */200000"));
    let head = server.call("HEAD", "/bucket/key").header("range", "bytes=0-9").send();
    assert_eq!((head.status, head.header("content-length")), (206, Some("10")));
}

#[test]
fn headers_come_back() {
    let server = Server::with_bucket();
    let put = server
        .call("PUT", "/bucket/key")
        .header("content-type", "text/plain")
        .header("cache-control", "no-store")
        .header("content-disposition", "attachment")
        .header("content-language", "de")
        .header("expires", "Fri, 01 Jan 2100 00:00:00 GMT")
        .header("x-amz-meta-a", "b")
        .body(b"x");
    put.send().expect(200);
    let reply = server.call("HEAD", "/bucket/key").send();
    for (name, value) in [
        ("content-type", "text/plain"),
        ("cache-control", "no-store"),
        ("content-disposition", "attachment"),
        ("content-language", "de"),
        ("expires", "Fri, 01 Jan 2100 00:00:00 GMT"),
        ("x-amz-meta-a", "b"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    let target = "/bucket/key?response-cache-control=public&response-content-type=text%2Fhtml";
    let reply = server.get(target);
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("cache-control"), Some("public"));
    server.put("/bucket/bare", b"x");
    assert_eq!(server.get("/bucket/bare").header("content-type"), Some("binary/octet-stream"));
}

#[test]
fn empty_objects() {
    let server = Server::with_bucket();
    server.put("/bucket/key", b"");
    let reply = server.get("/bucket/key");
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("0")));
    assert_eq!(reply.header("etag"), Some("\"d41d8cd98f00b204e9800998ecf8427e\""));
    let range = server.call("GET", "/bucket/key").header("range", "bytes=0-0").send();
    range.expect_error(416, "InvalidRange");
}

#[test]
fn versions_and_delete_markers() {
    let server = Server::with_bucket();
    server.versioned();
    let first = server.put("/bucket/key", b"1").header("x-amz-version-id").unwrap().to_owned();
    let second = server.put("/bucket/key", b"2").header("x-amz-version-id").unwrap().to_owned();
    assert_eq!(server.get("/bucket/key").body, b"2");
    assert_eq!(server.get(&format!("/bucket/key?versionId={first}")).body, b"1");
    let deleted = server.call("DELETE", "/bucket/key").send();
    assert_eq!(deleted.header("x-amz-delete-marker"), Some("true"));
    let marker = deleted.header("x-amz-version-id").unwrap().to_owned();
    let gone = server.get("/bucket/key");
    gone.expect_error(404, "NoSuchKey");
    assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
    server.get(&format!("/bucket/key?versionId={marker}")).expect_error(405, "MethodNotAllowed");
    let head = server.call("HEAD", "/bucket/key").send();
    assert_eq!((head.status, head.header("x-amz-delete-marker")), (404, Some("true")));
    server.call("DELETE", &format!("/bucket/key?versionId={marker}")).send().expect(204);
    assert_eq!(server.get("/bucket/key").body, b"2");
    server.call("DELETE", &format!("/bucket/key?versionId={second}")).send().expect(204);
    assert_eq!(server.get("/bucket/key").body, b"1");
    server.get(&format!("/bucket/key?versionId={second}")).expect_error(404, "NoSuchVersion");
    server.get("/bucket/key?versionId=junk").expect_error(400, "InvalidArgument");
}

#[test]
fn many_deletes_at_once() {
    let server = Server::with_bucket();
    for key in ["a", "b", "c"] {
        server.put(&format!("/bucket/{key}"), b"x");
    }
    let delete = |document: &str| {
        let sum = crate::signer::sha256(document.as_bytes());
        let call = server.call("POST", "/bucket?delete").body(document.as_bytes());
        call.header("x-amz-checksum-sha256", &base64_of_hex(&sum))
    };
    let document = "<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object><Object><Key>b</Key><VersionId>junk</VersionId></Object></Delete>";
    let reply = delete(document).send();
    assert_eq!(reply.elements("Deleted").len(), 2);
    assert_eq!(reply.elements("Code"), ["NoSuchVersion"]);
    let quiet = delete("<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>").send();
    assert_eq!(quiet.elements("Deleted").len(), 0);
    assert_eq!(server.get("/bucket").elements("Key"), ["c"]);
    let bare = server.call("POST", "/bucket?delete").body(b"<Delete><Object><Key>c</Key></Object></Delete>");
    bare.send().expect_error(400, "InvalidRequest");
    let wrong = server.call("POST", "/bucket?delete").header("content-md5", "rL0Y20xC+Fzt72VPzMSk2A==");
    let wrong = wrong.body(b"<Delete><Object><Key>c</Key></Object></Delete>");
    wrong.send().expect_error(400, "BadDigest");
    let many = "<Object><Key>k</Key></Object>".repeat(1001);
    delete(&format!("<Delete>{many}</Delete>")).send().expect_error(400, "MalformedXML");
    server.get("/bucket/c").expect(200);
}

fn base64_of_hex(hex: &str) -> String {
    use base64::Engine;
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn attributes() {
    let server = Server::with_bucket();
    let etag = server.put("/bucket/key", b"data").header("etag").unwrap().to_owned();
    let get = |names: &str| {
        server.call("GET", "/bucket/key?attributes").header("x-amz-object-attributes", names).send()
    };
    let reply = get("ETag,ObjectSize,StorageClass");
    assert_eq!(reply.element("ETag"), Some(etag.trim_matches('"').to_owned()));
    assert_eq!(reply.element("ObjectSize").as_deref(), Some("4"));
    assert_eq!(reply.element("StorageClass").as_deref(), Some("STANDARD"));
    get("Colour").expect_error(400, "InvalidArgument");
}

#[test]
fn tags_of_objects() {
    let server = Server::with_bucket();
    server.put("/bucket/key", b"x");
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    server.call("PUT", "/bucket/key?tagging").body(tags).send().expect(200);
    assert_eq!(server.get("/bucket/key?tagging").element("Value").as_deref(), Some("b"));
    assert_eq!(server.get("/bucket/key").header("x-amz-tagging-count"), Some("1"));
    server.call("DELETE", "/bucket/key?tagging").send().expect(204);
    assert_eq!(server.get("/bucket/key?tagging").element("Value"), None);
    server.call("PUT", "/bucket/none?tagging").body(tags).send().expect_error(404, "NoSuchKey");
}
