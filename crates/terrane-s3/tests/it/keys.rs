//! Keys at the edges of UTF-8 and XML.

use crate::server::Server;

#[test]
fn odd_keys_are_kept_as_they_are() {
    let server = Server::with_bucket();
    for key in [
        "..",
        "../..",
        "a/../b",
        "./a",
        "a//b",
        "/",
        "//",
        "a%20b",
        "%C3%A4",
        "%F0%9F%98%80",
        "%EF%BF%BF",
        "+",
        "a%3Fb",
        "%01",
        "%7F",
        "%0A",
        "a%22b",
        "%E2%80%AE",
        "%25",
    ] {
        let target = format!("/bucket/{key}");
        server.put(&target, key.as_bytes());
        assert_eq!(server.get(&target).body, key.as_bytes(), "{key}");
        server.call("DELETE", &target).send().expect(204);
        server.get(&target).expect_error(404, "NoSuchKey");
    }
}

#[test]
fn keys_have_1024_bytes_at_most() {
    let server = Server::with_bucket();
    server.put(&format!("/bucket/{}", "k".repeat(1024)), b"x");
    server.put(&format!("/bucket/{}", "%C3%A4".repeat(512)), b"x");
    for long in ["k".repeat(1025), "%C3%A4".repeat(513)] {
        let target = format!("/bucket/{long}");
        server.call("PUT", &target).body(b"x").send().expect_error(400, "KeyTooLongError");
    }
}

#[test]
fn keys_are_utf8() {
    let server = Server::with_bucket();
    for bad in ["%ff", "%C3", "%ED%A0%80", "%C0%80"] {
        let target = format!("/bucket/{bad}");
        server.call("PUT", &target).body(b"x").send().expect_error(400, "InvalidURI");
    }
    assert_eq!(server.get("/bucket").elements("Key"), [] as [&str; 0]);
}

#[test]
fn listings_write_only_what_xml_can() {
    let server = Server::with_bucket();
    server.put("/bucket/a%3C%26b", b"x");
    assert_eq!(server.get("/bucket").elements("Key"), ["a&lt;&amp;b"]);
    server.put("/bucket/b%01c", b"x");
    server.get("/bucket").expect_error(400, "InvalidArgument");
    let encoded = server.get("/bucket?encoding-type=url");
    assert_eq!(encoded.elements("Key"), ["a%3C%26b", "b%01c"]);
    server.get("/bucket?encoding-type=rot13").expect_error(400, "InvalidArgument");
}
