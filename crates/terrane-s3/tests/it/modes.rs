//! When the keymap is brought up to date.

use crate::server::Server;

#[test]
fn bad_modes_store_nothing() {
    let server = Server::with_bucket();
    for bad in ["TRUE", "yes", "time=", "time=5w", "time=0s", "time=1y", "time=1s,true"] {
        let call = server.call("PUT", "/bucket/key").body(b"x").header("x-terrane-async", bad);
        call.send().expect_error(400, "InvalidArgument");
    }
    let call = server.call("PUT", "/bucket/key").body(b"x").header("x-terrane-priority", "urgent");
    call.send().expect_error(400, "InvalidArgument");
    server.get("/bucket/key").expect_error(404, "NoSuchKey");
    server.put("/bucket/key", b"x");
    let delete = server.call("DELETE", "/bucket/key").header("x-terrane-async", "perhaps");
    delete.send().expect_error(400, "InvalidArgument");
    server.get("/bucket/key").expect(200);
}

#[test]
fn answers_say_what_happened() {
    let server = Server::with_bucket();
    let put =
        |mode: &str| server.call("PUT", "/bucket/key").body(b"x").header("x-terrane-async", mode).send();
    for (mode, keymap) in
        [("false", "applied"), ("true", "pending"), ("async", "pending"), ("time=1h", "pending")]
    {
        let reply = put(mode);
        reply.expect(200);
        assert_eq!(reply.header("x-terrane-keymap"), Some(keymap), "{mode}");
        assert!(reply.header("x-terrane-operation").is_some_and(|id| !id.is_empty()));
    }
    let deleted = server.call("DELETE", "/bucket/key").send();
    assert!(deleted.header("x-terrane-keymap").is_some() && deleted.header("x-terrane-operation").is_some());
}
