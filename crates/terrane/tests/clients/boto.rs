//! boto3: each script under `python/` is one topic and runs on an installation of its own.

use std::path::Path;
use std::process::Command;

use crate::installation::Installation;
use crate::tools::{succeed, tool};

fn script(name: &str) {
    let installation = Installation::start();
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
fn checksums_and_trailers() {
    script("checksums.py");
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
