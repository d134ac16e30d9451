//! A filesystem on a device that is made of memory. Needs root, FUSE and loop devices.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is a failed test")]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use terrane_device::{Device, DeviceError, Support};
use terrane_nbd::{ExportInfo, ExportTable, Listener, MemoryExport, SecretName, Server, ServerConfig};
use tokio_util::sync::CancellationToken;

const MIB: u64 = 1 << 20;

/// Runs a program that must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it"));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A mounted filesystem, unmounted however the test ends.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &str, at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        run("mount", &[device, at.to_str().unwrap()]);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()));
    }
}

/// Dropped in this order.
struct Site {
    device: Device,
    export: Arc<MemoryExport>,
    dir: TempDir,
}

impl Site {
    async fn new(export: MemoryExport) -> Self {
        let support = Support::detect();
        assert!(support.fuse && support.loops, "needs root, /dev/fuse and loop devices: {support:?}");
        let dir = TempDir::new().unwrap();
        let mountpoint = dir.path().join("fuse");
        fs::create_dir(&mountpoint).unwrap();
        let export = Arc::new(export);
        let device = Device::attach(export.clone(), &mountpoint).await.unwrap();
        Self { device, export, dir }
    }

    fn device(&self) -> String {
        self.device.path().unwrap().display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filesystem_survives_its_device() {
    let mut site = Site::new(MemoryExport::new(64 * MIB)).await;
    let device = site.device();
    let data: Vec<u8> = (0..5 * MIB as usize).map(|n| (n ^ (n >> 9)) as u8).collect();
    let (kept, at) = (data.clone(), site.dir.path().join("mnt"));
    let busy = {
        run("mkfs.ext4", &["-q", &device]);
        let mounted = Mounted::new(&device, &at);
        fs::create_dir(at.join("directory")).unwrap();
        fs::write(at.join("directory/file"), &kept).unwrap();
        let file = fs::File::create(at.join("synced")).unwrap();
        file.write_all_at(b"synced", 0).unwrap();
        file.sync_all().unwrap();
        drop(file);
        let busy = site.device.detach().await;
        drop(mounted);
        busy
    };
    assert!(matches!(busy, Err(DeviceError::Busy { .. })), "{busy:?}");
    site.device.detach().await.unwrap();
    assert_eq!(site.device.path(), None);
    assert_eq!(fs::read_dir(site.dir.path().join("fuse")).unwrap().count(), 0, "unmounted");

    // The same export, attached again.
    let mountpoint = site.dir.path().join("fuse");
    site.device = Device::attach(site.export.clone(), &mountpoint).await.unwrap();
    let device = site.device();
    run("e2fsck", &["-f", "-n", &device]);
    let mounted = Mounted::new(&device, &at);
    assert!(fs::read(at.join("directory/file")).unwrap() == data);
    assert_eq!(fs::read(at.join("synced")).unwrap(), b"synced");
    drop(mounted);
    site.device.detach().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discarded_blocks_are_zero_and_free() {
    let info = ExportInfo { min_block: 4096, ..ExportInfo::new(16 * MIB) };
    let mut site = Site::new(MemoryExport::with_info(info)).await;
    let device = site.device();
    run(
        "dd",
        &["if=/dev/urandom", &format!("of={device}"), "bs=1M", "count=16", "oflag=direct", "status=none"],
    );
    assert_eq!(site.export.allocated(), 16 * MIB);
    run("blkdiscard", &["--offset", "4194304", "--length", "8388608", &device]);
    assert_eq!(site.export.allocated(), 8 * MIB);
    let zeros = fs::File::open(&device).unwrap();
    let mut block = vec![1; 4096];
    zeros.read_exact_at(&mut block, 4 * MIB).unwrap();
    assert!(block.iter().all(|byte| *byte == 0));
    drop(zeros);
    assert_eq!(run("blockdev", &["--getss", &device]).trim(), "4096");
    site.device.detach().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fio_verifies_a_device_that_grows() {
    let mut site = Site::new(MemoryExport::new(16 * MIB)).await;
    let device = site.device();
    site.export.resize(32 * MIB);
    site.device.resize().await.unwrap();
    assert_eq!(run("blockdev", &["--getsize64", &device]).trim(), (32 * MIB).to_string());
    let file = format!("--filename={device}");
    let printed = run(
        "fio",
        &[
            "--name=verify",
            &file,
            "--ioengine=libaio",
            "--direct=1",
            "--rw=randwrite",
            "--bs=4k",
            "--size=32m",
            "--iodepth=16",
            "--fsync=128",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
        ],
    );
    assert!(printed.contains("err= 0"), "{printed}");
    site.device.detach().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_export_is_a_read_only_device() {
    let info = ExportInfo { read_only: true, ..ExportInfo::new(MIB) };
    let mut site = Site::new(MemoryExport::with_info(info)).await;
    assert_eq!(run("blockdev", &["--getro", &site.device()]).trim(), "1");
    site.device.detach().await.unwrap();
}

/// The kernel ends the connection as it does when the serving process dies.
fn cut(mountpoint: &Path, control: &Path) {
    fs::create_dir(control).unwrap();
    run("mount", &["-t", "fusectl", "none", control.to_str().unwrap()]);
    let control = Mounted(control.to_owned());
    let number = nix::sys::stat::minor(fs::metadata(mountpoint).unwrap().dev());
    fs::write(control.0.join(number.to_string()).join("abort"), "1").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_left_is_taken_away() {
    let mut site = Site::new(MemoryExport::new(MIB)).await;
    let mountpoint = site.dir.path().join("fuse");
    let dead = site.device();
    cut(&mountpoint, &site.dir.path().join("control"));
    assert!(fs::read(&dead).is_err());

    let again = Device::attach(site.export.clone(), &mountpoint).await.unwrap();
    // The process that died has no destructors run.
    std::mem::forget(std::mem::replace(&mut site.device, again));
    assert_eq!(fs::read(site.device()).unwrap().len() as u64, MIB);
    let backing = format!("{}/volume", mountpoint.display());
    let attached = run("losetup", &["--list", "--noheadings", "--output", "BACK-FILE"]);
    assert_eq!(attached.lines().filter(|line| line.trim() == backing).count(), 1, "{attached}");
    site.device.detach().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_sizes_are_refused() {
    let dir = TempDir::new().unwrap();
    for (size, block) in [(0, 512), (1000, 512), (MIB, 65536), (MIB + 512, 4096)] {
        let info = ExportInfo { min_block: block, preferred_block: 65536, ..ExportInfo::new(size) };
        let refused = Device::attach(Arc::new(MemoryExport::with_info(info)), dir.path()).await;
        assert!(matches!(refused, Err(DeviceError::Geometry { .. })), "{size}/{block}");
    }
}

/// A server of one export on a socket, until it is stopped.
fn serve(export: &Arc<MemoryExport>, socket: &Path) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let exports = Arc::new(ExportTable::new());
    exports.insert(&SecretName::new("disk"), export.clone());
    let server = Arc::new(Server::new(exports, ServerConfig::default()));
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(Listener::unix(socket).unwrap(), stop.clone()));
    (stop, running)
}

/// The server goes and another one comes while a filesystem is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_survives_its_server() {
    let dir = TempDir::new().unwrap();
    let (mountpoint, socket) = (dir.path().join("fuse"), dir.path().join("socket"));
    fs::create_dir(&mountpoint).unwrap();
    let export = Arc::new(MemoryExport::new(64 * MIB));
    let (stop, running) = serve(&export, &socket);
    let uri = format!("nbd+unix:///disk?socket={}", socket.display());
    let mut device = Device::attach_uri(&uri, None, &mountpoint).await.unwrap();
    let path = device.path().unwrap().display().to_string();
    let fio = tokio::task::spawn_blocking(move || {
        let file = format!("--filename={path}");
        let verify = ["--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0"];
        let work =
            ["--ioengine=libaio", "--direct=1", "--rw=randwrite", "--bs=4k", "--size=32m", "--iodepth=8"];
        run("fio", &[&["--name=verify", &file, "--fsync=16"][..], &work, &verify].concat())
    });
    while export.allocated() < MIB {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.cancel();
    running.await.unwrap();
    let (stop, running) = serve(&export, &socket);
    let printed = fio.await.unwrap();
    assert!(printed.contains("err= 0"), "{printed}");
    device.detach().await.unwrap();
    stop.cancel();
    running.await.unwrap();
}
