//! The AWS command line.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::installation::Installation;
use crate::tools::{run, succeed, tool};
use crate::tree;

fn aws(installation: &Installation, args: &[&str]) -> Command {
    let mut command = Command::new(tool("aws"));
    installation.environment(&mut command);
    command.args(args);
    command
}

fn s3api(installation: &Installation, args: &[&str]) -> Value {
    let text = succeed(aws(installation, &["s3api", "--output", "json"]).args(args));
    if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
}

#[test]
fn s3_commands_on_ten_thousand_real_files() {
    let installation = Installation::start();
    let source = installation.scratch().join("tree");
    let files = tree::copy(&source, 10_000);
    let path = source.to_str().unwrap();
    succeed(&mut aws(&installation, &["s3", "mb", "s3://real-files"]));

    // Up, all of it; a second sync finds nothing to do.
    succeed(&mut aws(&installation, &["s3", "sync", "--only-show-errors", path, "s3://real-files/all"]));
    let again = succeed(&mut aws(&installation, &["s3", "sync", path, "s3://real-files/all"]));
    assert_eq!(again.trim(), "", "a second sync copies nothing");

    let listed =
        succeed(&mut aws(&installation, &["s3", "ls", "--recursive", "--summarize", "s3://real-files"]));
    let total = format!("Total Objects: {files}");
    assert!(
        listed.contains(&total),
        "{total} is missing in …{}",
        &listed[listed.len().saturating_sub(200)..]
    );

    // Down again, all of it.
    let back = installation.scratch().join("back");
    let mut down =
        aws(&installation, &["s3", "cp", "--recursive", "--only-show-errors", "s3://real-files/all"]);
    succeed(down.arg(&back));
    tree::assert_same(&source, &back);

    // A changed file is the only one that is copied; a deleted one vanishes with --delete.
    let mut names = tree::digests(&source).into_keys();
    let (changed, deleted) = (names.next().unwrap(), names.next().unwrap());
    fs::write(source.join(&changed), b"changed, and of another length than before").unwrap();
    fs::remove_file(source.join(&deleted)).unwrap();
    let synced = succeed(&mut aws(
        &installation,
        &["s3", "sync", "--no-progress", "--delete", path, "s3://real-files/all"],
    ));
    assert_eq!(synced.lines().count(), 2, "one upload and one delete: {synced}");

    succeed(&mut aws(&installation, &["s3", "rm", "--recursive", "--only-show-errors", "s3://real-files"]));
    let left = run(&mut aws(&installation, &["s3", "ls", "--recursive", "s3://real-files"]));
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    succeed(&mut aws(&installation, &["s3", "rb", "s3://real-files"]));
}

#[test]
fn versions_by_s3api() {
    let installation = Installation::start();
    s3api(&installation, &["create-bucket", "--bucket", "versions"]);
    s3api(
        &installation,
        &["put-bucket-versioning", "--bucket", "versions", "--versioning-configuration", "Status=Enabled"],
    );
    let body = installation.scratch().join("body");
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        fs::write(&body, text).unwrap();
        let put = s3api(
            &installation,
            &["put-object", "--bucket", "versions", "--key", "k", "--body", body.to_str().unwrap()],
        );
        ids.push(put["VersionId"].as_str().unwrap().to_owned());
    }
    let deleted = s3api(&installation, &["delete-object", "--bucket", "versions", "--key", "k"]);
    assert_eq!(deleted["DeleteMarker"], true);

    let listed = s3api(&installation, &["list-object-versions", "--bucket", "versions"]);
    let listed_ids: Vec<&str> =
        listed["Versions"].as_array().unwrap().iter().map(|v| v["VersionId"].as_str().unwrap()).collect();
    assert_eq!(listed_ids, [ids[2].as_str(), ids[1].as_str(), ids[0].as_str()], "newest first");
    assert_eq!(listed["DeleteMarkers"][0]["IsLatest"], true);

    let get = |extra: &[&str]| {
        let mut args = vec!["s3api", "get-object", "--bucket", "versions", "--key", "k"];
        args.extend_from_slice(extra);
        args.push(body.to_str().unwrap());
        run(&mut aws(&installation, &args))
    };
    assert!(!get(&[]).status.success(), "the current version is a delete marker");
    for (id, text) in ids.iter().zip(["one", "two", "three"]) {
        assert!(get(&["--version-id", id]).status.success());
        assert_eq!(fs::read_to_string(&body).unwrap(), text);
    }
    // Taking the delete marker away brings the newest version back; then it goes, too.
    let marker = deleted["VersionId"].as_str().unwrap();
    for (version, then) in [(marker, "three"), (&ids[2], "two")] {
        s3api(
            &installation,
            &["delete-object", "--bucket", "versions", "--key", "k", "--version-id", version],
        );
        assert!(get(&[]).status.success());
        assert_eq!(fs::read_to_string(&body).unwrap(), then);
    }
}

#[test]
fn multipart_upload_of_a_gibibyte() {
    let installation = Installation::start();
    let file = installation.scratch().join("large");
    let digest = write_noise(&file, 1 << 30);
    s3api(&installation, &["create-bucket", "--bucket", "large"]);
    succeed(&mut aws(
        &installation,
        &["s3", "cp", "--only-show-errors", file.to_str().unwrap(), "s3://large/dir/object"],
    ));
    fs::remove_file(&file).unwrap();

    let head = s3api(&installation, &["head-object", "--bucket", "large", "--key", "dir/object"]);
    assert_eq!(head["ContentLength"], 1_u64 << 30);
    assert!(head["ETag"].as_str().unwrap().ends_with("-16\""), "16 parts of 64 MiB: {head}");
    succeed(&mut aws(
        &installation,
        &["s3", "cp", "--only-show-errors", "s3://large/dir/object", file.to_str().unwrap()],
    ));
    let mut back = Sha256::new();
    std::io::copy(&mut File::open(&file).unwrap(), &mut HashWriter(&mut back)).unwrap();
    assert_eq!(<[u8; 32]>::from(back.finalize()), digest);

    // A range across the border of two parts.
    let part = installation.scratch().join("part");
    let range = format!("bytes={}-{}", (64 << 20) - 10, (64 << 20) + 9);
    s3api(
        &installation,
        &[
            "get-object",
            "--bucket",
            "large",
            "--key",
            "dir/object",
            "--range",
            &range,
            part.to_str().unwrap(),
        ],
    );
    assert_eq!(fs::read(&part).unwrap().len(), 20);
    assert_eq!(fs::read(&part).unwrap(), noise((64 << 20) - 10, 20));
}

struct HashWriter<'h>(&'h mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes without a pattern that compression or a wrong offset could hide behind: each depends on its place.
fn noise(start: usize, len: usize) -> Vec<u8> {
    (start..start + len)
        .map(|at| (((at / 8) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (8 * (at % 8))) as u8)
        .collect()
}

fn write_noise(file: &Path, bytes: usize) -> [u8; 32] {
    let mut out = File::create(file).unwrap();
    let mut digest = Sha256::new();
    for start in (0..bytes).step_by(1 << 20) {
        let block = noise(start, 1 << 20);
        digest.update(&block);
        out.write_all(&block).unwrap();
    }
    digest.finalize().into()
}
