//! Conditional requests.

use crate::server::Server;

#[test]
fn reads() {
    let server = Server::with_bucket();
    let etag = server.put("/bucket/key", b"data").header("etag").unwrap().to_owned();
    let get = |name: &str, value: &str| server.call("GET", "/bucket/key").header(name, value).send();
    get("if-match", &etag).expect(200);
    get("if-match", "*").expect(200);
    get("if-match", "\"other\"").expect_error(412, "PreconditionFailed");
    get("if-none-match", "\"other\"").expect(200);
    get("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT").expect(200);
    get("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT").expect_error(412, "PreconditionFailed");
    for (name, value) in
        [("if-none-match", etag.as_str()), ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")]
    {
        let reply = get(name, value);
        reply.expect(304);
        assert!(reply.body.is_empty());
        assert_eq!(reply.header("etag"), Some(etag.as_str()));
        assert!(reply.header("last-modified").is_some());
    }
    let head = server.call("HEAD", "/bucket/key").header("if-match", "\"other\"").send();
    assert_eq!((head.status, head.body.len()), (412, 0));
}

#[test]
fn writes() {
    let server = Server::with_bucket();
    let put =
        |name: &str, value: &str| server.call("PUT", "/bucket/key").header(name, value).body(b"new").send();
    put("if-match", "\"other\"").expect_error(404, "NoSuchKey");
    put("if-none-match", "*").expect(200);
    put("if-none-match", "*").expect_error(412, "PreconditionFailed");
    let etag = server.put("/bucket/key", b"data").header("etag").unwrap().to_owned();
    put("if-match", "\"other\"").expect_error(412, "PreconditionFailed");
    assert_eq!(server.get("/bucket/key").body, b"data");
    put("if-match", &etag).expect(200);
    let delete = |value: &str| server.call("DELETE", "/bucket/key").header("if-match", value).send();
    delete(&etag).expect_error(412, "PreconditionFailed");
    delete("*").expect(204);
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
}
