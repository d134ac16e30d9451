//! boto3: each script under `python/` is one topic and runs on an installation of its own.

use std::path::Path;
use std::process::Command;

use crate::installation::Installation;
use crate::tools::{succeed, tool};

fn script(name: &str) {
    script_on(&Installation::start(), name);
}

fn script_on(installation: &Installation, name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python").join(name);
    let mut command = Command::new(tool("python3"));
    installation.environment(&mut command);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    succeed(command.arg(file).current_dir(installation.scratch()));
}

#[test]
fn presigned_v4_and_v2() {
    script("presigned.py");
}

#[test]
fn conditional_requests() {
    script("conditional.py");
}

#[test]
fn checksums() {
    script("checksums.py");
}

#[test]
fn trailers_over_https() {
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    script_on(&Installation::start_https(&made.cert.pem(), &made.signing_key.serialize_pem()), "trailers.py");
}

#[test]
fn tags_metadata_and_copies() {
    script("attributes.py");
}

#[test]
fn listings_page_by_page() {
    script("listing.py");
}

#[test]
fn multipart_uploads() {
    script("multipart.py");
}

#[test]
fn asynchronous_headers() {
    script("asynchronous.py");
}

/// As the root account, and with the keys of another.
#[test]
fn snapshots_block_by_block() {
    let installation = Installation::start();
    let account = installation.cli(&["account", "create", "other"]);
    let id = account["id"].as_str().unwrap();
    let key = installation.cli(&["key", "create", "--account", id]);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/snapshots.py");
    let mut command = Command::new(tool("python3"));
    installation.environment(&mut command);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("OTHER_ACCESS_KEY_ID", key["id"].as_str().unwrap())
        .env("OTHER_SECRET_ACCESS_KEY", key["secret"].as_str().unwrap());
    succeed(command.arg(file).current_dir(installation.scratch()));
}
