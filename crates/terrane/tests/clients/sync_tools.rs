//! s5cmd, rclone and s3cmd, each as it comes from its registry.

use std::fs;
use std::process::Command;

use crate::installation::Installation;
use crate::tools::{run, succeed, tool};
use crate::tree;

#[test]
fn s5cmd_copies_a_tree_both_ways() {
    let installation = Installation::start();
    let source = installation.scratch().join("tree");
    let files = tree::copy(&source, 2_000);
    let s5cmd = |args: &[&str]| {
        let mut command = Command::new(tool("s5cmd"));
        installation.environment(&mut command);
        succeed(command.arg("--endpoint-url").arg(installation.url()).args(args))
    };
    let back = installation.scratch().join("back");
    s5cmd(&["mb", "s3://five"]);
    s5cmd(&["--log", "error", "cp", &format!("{}/", source.display()), "s3://five/tree/"]);
    let listed = s5cmd(&["ls", "s3://five/tree/*"]);
    assert_eq!(listed.lines().count(), files);
    s5cmd(&["--log", "error", "sync", "s3://five/tree/*", &format!("{}/", back.display())]);
    tree::assert_same(&source, &back);
    s5cmd(&["--log", "error", "mv", "s3://five/tree/*", "s3://five/moved/"]);
    assert_eq!(s5cmd(&["ls", "s3://five/moved/*"]).lines().count(), files);
    s5cmd(&["--log", "error", "rm", "s3://five/*"]);
    s5cmd(&["rb", "s3://five"]);
}

#[test]
fn rclone_syncs_and_checks() {
    let installation = Installation::start();
    let source = installation.scratch().join("tree");
    tree::copy(&source, 3_000);
    let rclone = |args: &[&str]| {
        let mut command = Command::new(tool("rclone"));
        installation.environment(&mut command);
        command
            .env("RCLONE_CONFIG", installation.scratch().join("rclone.conf"))
            .env("RCLONE_CONFIG_T_TYPE", "s3")
            .env("RCLONE_CONFIG_T_PROVIDER", "Other")
            .env("RCLONE_CONFIG_T_ENV_AUTH", "true")
            .env("RCLONE_CONFIG_T_ENDPOINT", installation.url())
            .args(args);
        command
    };
    let path = source.to_str().unwrap();
    succeed(&mut rclone(&["mkdir", "t:clone"]));
    succeed(&mut rclone(&["sync", "--transfers", "16", path, "t:clone/tree"]));
    // By content: rclone reads both sides.
    succeed(&mut rclone(&["check", "--download", "--one-way", path, "t:clone/tree"]));
    succeed(&mut rclone(&["check", path, "t:clone/tree"]));

    let victim = tree::digests(&source).into_keys().next().unwrap();
    fs::remove_file(source.join(&victim)).unwrap();
    assert!(!run(&mut rclone(&["check", path, "t:clone/tree"])).status.success(), "a difference is seen");
    succeed(&mut rclone(&["sync", "--transfers", "16", path, "t:clone/tree"]));
    succeed(&mut rclone(&["check", path, "t:clone/tree"]));
    succeed(&mut rclone(&["purge", "t:clone"]));
}

#[test]
fn s3cmd_puts_lists_gets_and_removes() {
    let installation = Installation::start();
    let source = installation.scratch().join("tree");
    let files = tree::copy(&source, 200);
    let url = installation.url();
    let host = url.trim_start_matches("http://");
    let credentials = installation.credentials();
    let s3cmd = |args: &[&str]| {
        let mut command = Command::new(tool("s3cmd"));
        installation.environment(&mut command);
        command
            .args(["--no-ssl", "--host", host, "--host-bucket", host, "--config", "/dev/null"])
            .args(["--access_key", &credentials.access_key, "--secret_key", &credentials.secret_key])
            .args(args);
        succeed(&mut command)
    };
    let back = installation.scratch().join("back");
    fs::create_dir(&back).unwrap();
    s3cmd(&["mb", "s3://cmd"]);
    s3cmd(&["sync", "--quiet", &format!("{}/", source.display()), "s3://cmd/tree/"]);
    assert_eq!(s3cmd(&["ls", "--recursive", "s3://cmd"]).lines().count(), files);
    s3cmd(&["sync", "--quiet", "s3://cmd/tree/", &format!("{}/", back.display())]);
    tree::assert_same(&source, &back);
    let info = s3cmd(&["info", "s3://cmd"]);
    assert!(info.contains("Location"), "{info}");
    s3cmd(&["rb", "--recursive", "--force", "s3://cmd"]);
}
