//! What a newcomer does: a disk that is booted from, and a file system that moves from machine to machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use terrane_testbed::{Cluster, Installation, Member, Plan, Up, guest, succeed};

use crate::setup::{BINARY, tool};

fn aws(up: &Up, arguments: &[&str]) -> Value {
    let mut command = up.client(&tool("aws")).unwrap();
    let text = succeed(command.args(["ec2", "--output", "json"]).args(arguments)).unwrap();
    if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
}

#[test]
fn a_guest_boots_from_a_volume_that_awscli_made() {
    let up = Up::start(Path::new(BINARY)).unwrap();
    let made = aws(&up, &["create-volume", "--size", "1", "--availability-zone", "us-east-1a"]);
    let volume = made["VolumeId"].as_str().unwrap();
    aws(&up, &["wait", "volume-available", "--volume-ids", volume]);
    let hosts = aws(&up, &["describe-instances"]);
    let instance = hosts["Reservations"][0]["Instances"][0]["InstanceId"].as_str().unwrap();
    let place = ["--volume-id", volume, "--instance-id", instance, "--device", "/dev/sdf"];
    aws(&up, &[&["attach-volume"], &place[..]].concat());
    aws(&up, &["wait", "volume-in-use", "--volume-ids", volume]);
    let (_, url) = up.volume(volume).unwrap().attachments.remove(0);

    let image = guest::image(up.dir(), "terrane's guest is up").unwrap();
    succeed(Command::new("nbdcopy").arg("--flush").arg(&image).arg(&url)).unwrap();
    let said = guest::boot(&url).unwrap();
    assert!(said.contains("terrane's guest is up") && said.contains("guest has written"), "{said}");

    let back = up.dir().join("back.img");
    succeed(Command::new("nbdcopy").arg(&url).arg(&back)).unwrap();
    assert_eq!(File::open(&back).unwrap().metadata().unwrap().len(), 1 << 30);
    guest::check(up.dir(), &back).unwrap();

    aws(&up, &["detach-volume", "--volume-id", volume]);
    aws(&up, &["wait", "volume-available", "--volume-ids", volume]);
    aws(&up, &["delete-volume", "--volume-id", volume]);
    aws(&up, &["wait", "volume-deleted", "--volume-ids", volume]);
}

/// A volume's block device with its file system mounted; taken apart when dropped, whatever happened.
struct Mounted<'c> {
    cluster: &'c Cluster,
    volume: String,
    at: PathBuf,
    mount: PathBuf,
    open: bool,
}

impl<'c> Mounted<'c> {
    /// Makes the device as `terrane volume device` does, a file system if asked to, and mounts it.
    fn new(cluster: &'c Cluster, volume: &str, name: &str, format: bool) -> Self {
        let (at, mount) = (cluster.dir().join(name), cluster.dir().join(format!("{name}.mnt")));
        fs::create_dir_all(&mount).unwrap();
        let made = cluster.cli(&["volume", "device", volume, "--at", at.to_str().unwrap()]).unwrap();
        let mounted = Self { cluster, volume: volume.to_owned(), at, mount, open: true };
        let device = made["device"].as_str().unwrap();
        if format {
            succeed(Command::new("mkfs.ext4").args(["-q", device])).unwrap();
        }
        succeed(Command::new("mount").arg(device).arg(&mounted.mount)).unwrap();
        mounted
    }

    fn close(mut self) {
        self.take_apart().unwrap();
    }

    fn take_apart(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        let unmounted = succeed(Command::new("umount").arg(&self.mount));
        let at = self.at.to_string_lossy();
        self.cluster.cli_text(&["volume", "device", &self.volume, "--at", &at, "--remove"])?;
        unmounted.map(drop)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(self.take_apart());
    }
}

#[test]
fn a_source_tree_moves_with_its_volume_to_another_machine() {
    let cluster = Cluster::start(Plan::new(BINARY, 2, 2)).unwrap();
    let volume = cluster.create_volume(1).unwrap();
    let [here, there] = [Member::Node(0), Member::Node(1)].map(|node| cluster.instance(node).unwrap());
    // The sources of this workspace.
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let archive = cluster.dir().join("sources.tar");
    succeed(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(sources).arg(".")).unwrap();
    let expected = cluster.dir().join("expected");
    let unpack = |into: &Path| {
        fs::create_dir_all(into).unwrap();
        succeed(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(into)).unwrap();
    };
    unpack(&expected);
    let same = |found: &Path| succeed(Command::new("diff").arg("-r").arg(&expected).arg(found)).unwrap();

    cluster.attach(&volume, &here).unwrap();
    let mounted = Mounted::new(&cluster, &volume, "here", true);
    unpack(&mounted.mount.join("sources"));
    same(&mounted.mount.join("sources"));
    // A volume whose device is mounted is not taken away in peace.
    let busy = cluster.cli(&["volume", "device", &volume, "--at", mounted.at.to_str().unwrap(), "--remove"]);
    assert!(busy.is_err());
    mounted.close();
    cluster.detach(&volume, &[]).unwrap();

    cluster.attach(&volume, &there).unwrap();
    let mounted = Mounted::new(&cluster, &volume, "there", false);
    same(&mounted.mount.join("sources"));
    mounted.close();
    cluster.detach(&volume, &[]).unwrap();
    cluster.cli(&["volume", "delete", &volume]).unwrap();
}
