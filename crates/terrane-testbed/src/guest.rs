//! A tiny guest: a disk image with boot loader, kernel and root file system, made from Debian's packages; booting it
//! under QEMU's emulation; and looking at what it has left on its disk.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::succeed;

/// What the guest does first, and then.
const INITRAMFS: &str = include_str!("guest/initramfs.sh");
const INIT: &str = include_str!("guest/init.sh");

/// The boot loader's configuration: the kernel speaks on the serial line.
const SYSLINUX: &str = "SERIAL 0 115200\nDEFAULT linux\nPROMPT 0\nLABEL linux\nKERNEL vmlinuz\nINITRD initrd\n\
                        APPEND console=ttyS0 quiet panic=-1\n";

/// Modules that make the disk visible, in the order in which they load.
const MODULES: [&str; 6] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
];

const MIB: u64 = 1 << 20;
/// The boot partition (FAT) begins after the first MiB, where the partition table is.
const BOOT_MIB: u64 = 32;
/// The root partition (ext4).
const ROOT_MIB: u64 = 16;
const ROOT_AT: u64 = (1 + BOOT_MIB) * MIB;

/// Bytes of the image.
pub const IMAGE_BYTES: u64 = ROOT_AT + (ROOT_MIB + 1) * MIB;

/// The kernel that `cargo xtask test` has unpacked.
fn kernel() -> Result<PathBuf> {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("crates/terrane-testbed")?;
    let dir = std::env::var_os("TERRANE_TEST_GUEST_KERNEL")
        .map_or_else(|| workspace.join("target/guest-kernel"), PathBuf::from);
    ensure!(dir.is_dir(), "{} is missing: run the tests by `cargo xtask test`", dir.display());
    Ok(dir)
}

/// The one entry of a directory whose name begins so.
fn entry(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
    let named = found.find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)));
    named.with_context(|| format!("no {prefix} in {}", dir.display()))
}

fn program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Makes the image: partition table and boot loader, a boot partition with the kernel, and a root file system whose
/// system prints `marker`. `dir` holds what it is made of.
///
/// # Errors
/// A tool or the kernel is missing (`cargo xtask test` installs them), or fails.
pub fn image(dir: &Path, marker: &str) -> Result<PathBuf> {
    let (disk, boot, root) = (dir.join("disk.img"), dir.join("boot.img"), dir.join("root.img"));
    boot_partition(dir, &boot)?;
    root_partition(dir, &root, marker)?;
    File::create(&disk)?.set_len(IMAGE_BYTES)?;
    let sectors = |bytes: u64| bytes / 512;
    let table = format!(
        "start={},size={},type=6,bootable\nstart={},size={},type=83\n",
        sectors(MIB),
        sectors(BOOT_MIB * MIB),
        sectors(ROOT_AT),
        sectors(ROOT_MIB * MIB)
    );
    let script = dir.join("partitions");
    fs::write(&script, table)?;
    succeed(Command::new("sh").args(["-c", "sfdisk --quiet \"$0\" < \"$1\""]).arg(&disk).arg(&script))?;
    let out = File::options().write(true).open(&disk)?;
    let loader = fs::read("/usr/lib/syslinux/mbr/mbr.bin").context("syslinux-common is missing")?;
    out.write_all_at(&loader, 0)?;
    for (part, at) in [(&boot, MIB), (&root, ROOT_AT)] {
        out.write_all_at(&fs::read(part)?, at)?;
        fs::remove_file(part)?;
    }
    Ok(disk)
}

fn boot_partition(dir: &Path, image: &Path) -> Result<()> {
    let kernel = kernel()?;
    let tree = dir.join("initramfs");
    for sub in ["bin", "dev", "proc", "root", "modules"] {
        fs::create_dir_all(tree.join(sub))?;
    }
    fs::copy("/usr/bin/busybox", tree.join("bin/busybox")).context("busybox-static is missing")?;
    program(&tree.join("init"), INITRAMFS)?;
    let modules = entry(&kernel.join("lib/modules"), "")?.join("kernel");
    let mut order = String::new();
    for module in MODULES {
        let name = module.rsplit('/').next().unwrap_or(module);
        fs::copy(modules.join(module), tree.join("modules").join(name)).with_context(|| module.to_owned())?;
        order += &format!("{name}\n");
    }
    fs::write(tree.join("modules/order"), order)?;
    let initrd = dir.join("initrd");
    let pack = "cd \"$0\" && find . | cpio --quiet -o -H newc | gzip -1 > \"$1\"";
    succeed(Command::new("sh").args(["-c", pack]).arg(&tree).arg(&initrd))?;
    let config = dir.join("syslinux.cfg");
    fs::write(&config, SYSLINUX)?;
    File::create(image)?.set_len(BOOT_MIB * MIB)?;
    succeed(Command::new("mkfs.vfat").arg(image))?;
    let copy = |file: &Path, name: &str| {
        succeed(Command::new("mcopy").arg("-i").arg(image).arg(file).arg(format!("::{name}")))
    };
    copy(&entry(&kernel.join("boot"), "vmlinuz")?, "vmlinuz")?;
    copy(&initrd, "initrd")?;
    copy(&config, "syslinux.cfg")?;
    succeed(Command::new("syslinux").arg("--install").arg(image)).map(drop)
}

fn root_partition(dir: &Path, image: &Path, marker: &str) -> Result<()> {
    let tree = dir.join("root");
    for sub in ["bin", "dev", "proc", "sbin", "etc"] {
        fs::create_dir_all(tree.join(sub))?;
    }
    fs::copy("/usr/bin/busybox", tree.join("bin/busybox"))?;
    program(&tree.join("sbin/init"), INIT)?;
    fs::write(tree.join("etc/marker"), format!("{marker}\n"))?;
    File::create(image)?.set_len(ROOT_MIB * MIB)?;
    succeed(Command::new("mkfs.ext4").args(["-q", "-d"]).arg(&tree).arg(image)).map(drop)
}

/// Boots from the disk behind an NBD URL and waits until the guest has turned itself off; returns what came over its
/// serial line.
///
/// # Errors
/// QEMU fails or takes longer than two minutes.
pub fn boot(url: &str) -> Result<String> {
    let drive = format!("file={url},format=raw,if=virtio");
    succeed(Command::new("timeout").args(["120", "qemu-system-x86_64", "-accel", "tcg", "-m", "256"]).args([
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
        "-nic",
        "none",
        "-drive",
        &drive,
    ]))
}

/// Checks the root file system of a copy of the disk, and that the guest's own writes are in it.
///
/// # Errors
/// The file system is damaged, or what the guest wrote is missing.
pub fn check(dir: &Path, disk: &Path) -> Result<()> {
    let root = dir.join("root-after.img");
    let mut bytes = vec![0; usize::try_from(ROOT_MIB * MIB)?];
    File::open(disk)?.read_exact_at(&mut bytes, ROOT_AT)?;
    fs::write(&root, bytes)?;
    succeed(Command::new("e2fsck").arg("-fn").arg(&root))?;
    let written = succeed(Command::new("debugfs").args(["-R", "cat /written"]).arg(&root))?;
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    ensure!(
        written == expected,
        "the guest's file has {} bytes instead of {}",
        written.len(),
        expected.len()
    );
    Ok(())
}
