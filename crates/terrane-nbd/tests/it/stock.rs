//! Stock clients: libnbd's tools, QEMU's, and fio.

use std::sync::Arc;

use terrane_nbd::{ExportInfo, MemoryExport};

use crate::site::{Site, output, run};

const MIB: u64 = 1 << 20;

fn site_with(name: &str, export: MemoryExport) -> (Site, Arc<MemoryExport>) {
    let site = Site::new();
    let export = Arc::new(export);
    site.add(name, export.clone());
    (site, export)
}

/// An image with data, holes, and an end that is no multiple of anything.
fn image(site: &Site) -> String {
    let path = site.path("image");
    let mut data = vec![0; 9 * MIB as usize + 512];
    for (n, byte) in data.iter_mut().enumerate() {
        if (n >> 20) % 3 == 0 {
            *byte = (n ^ (n >> 8) ^ (n >> 16)) as u8;
        }
    }
    std::fs::write(&path, data).unwrap();
    path
}

#[tokio::test]
async fn nbdinfo_sees_what_the_export_says() {
    let info = ExportInfo {
        read_only: true,
        rotational: true,
        trim: false,
        min_block: 4096,
        preferred_block: 65536,
        ..ExportInfo::new(64 * MIB)
    };
    let (site, _) = site_with("s3cret", MemoryExport::with_info(info));
    let text = run("nbdinfo", &[&site.uri("s3cret")]).await;
    for line in [
        "export-size: 67108864 (64M)",
        "is_rotational: true",
        "is_read_only: true",
        "can_multi_conn: false",
        "can_trim: false",
        "can_flush: true",
        "can_df: true",
        "block_size_minimum: 4096",
        "block_size_preferred: 65536",
        "base:allocation",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
}

#[tokio::test]
async fn nothing_lists_or_guesses_a_name() {
    let (site, _) = site_with("s3cret", MemoryExport::new(MIB));
    for arguments in [&["--list", &site.uri("")][..], &[&site.uri("guess")], &[&site.uri("")]] {
        let refused = output("nbdinfo", arguments).await;
        let words =
            [String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr)].concat();
        assert!(!words.contains("s3cret"), "{words}");
        assert!(!words.contains("export-size"), "{words}");
    }
}

#[tokio::test]
async fn nbdcopy_copies_there_and_back_over_several_connections() {
    let (site, export) = site_with("disk", MemoryExport::new(9 * MIB + 512));
    let (image, back) = (image(&site), site.path("back"));
    let uri = site.uri("disk");
    run("nbdcopy", &["--connections=4", "--flush", &image, &uri]).await;
    assert!(export.allocated() < 5 * MIB, "holes stay holes");
    run("nbdcopy", &["--connections=4", &uri, &back]).await;
    assert!(std::fs::read(&image).unwrap() == std::fs::read(&back).unwrap());
    let map = run("nbdinfo", &["--map", &uri]).await;
    let kinds: Vec<&str> = map.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let expected = ["data", "hole,zero", "data", "hole,zero", "data", "hole,zero", "data"];
    assert_eq!(kinds, expected, "{map}");
}

/// Every command and flag through libnbd's bindings, with its own checks off so that ours are met.
#[tokio::test]
async fn nbdsh_finds_every_command_as_specified() {
    let (site, _) = site_with("disk", MemoryExport::new(64 * MIB));
    let read_only = ExportInfo { read_only: true, ..ExportInfo::new(MIB) };
    site.add("read-only", Arc::new(MemoryExport::with_info(read_only)));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/commands.py");
    let socket = site.socket().display();
    let define = format!("socket = '{socket}'");
    let printed = run("nbdsh", &["-c", &define, "-c", &format!("exec(open('{script}').read())")]).await;
    assert_eq!(printed.trim_end(), "all commands");
}

#[tokio::test]
async fn qemu_img_converts_compares_and_maps() {
    let (site, _) = site_with("disk", MemoryExport::new(9 * MIB + 512));
    let (image, uri) = (image(&site), site.uri("disk"));
    run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &image, &uri]).await;
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &image, &uri]).await;
    let map = run("qemu-img", &["map", "-f", "raw", "--output=json", &uri]).await;
    assert!(map.contains(r#""data": false"#) && map.contains(r#""data": true"#), "{map}");
    let info = run("qemu-img", &["info", "-f", "raw", &uri]).await;
    assert!(info.contains("9 MiB (9437696 bytes)") || info.contains("9437696"), "{info}");
}

#[tokio::test]
async fn qemu_io_writes_zeroes_discards_and_reads_back() {
    let (site, export) = site_with("disk", MemoryExport::new(16 << 30));
    let uri = site.uri("disk");
    let commands = [
        "write -P 7 4096 1M",
        "write -P 9 9000 77",
        "read -P 9 9000 77",
        "write -z -u 65536 4096",
        "read -P 0 65536 4096",
        "read -P 7 69632 4096",
        "write -z 0 4k",
        "write -f -P 3 15G 32M",
        "read -P 3 15G 32M",
        "discard 0 1G",
        "discard 15G 1G",
        "read -P 0 15G 32M",
        "flush",
    ];
    let mut arguments = vec!["-f", "raw", "-d", "unmap"];
    arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
    arguments.push(&uri);
    let printed = run("qemu-io", &arguments).await;
    assert!(!printed.contains("failed") && !printed.contains("error"), "{printed}");
    assert_eq!(export.allocated(), 0);

    // Fast zeroing that must stay allocated is refused at once, and nothing is changed.
    let refused = output("qemu-io", &["-f", "raw", "-c", "write -z -n 0 1M", &uri]).await;
    let words =
        String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert!(words.contains("not supported"), "{words}");
    assert_eq!(export.allocated(), 0);
}

#[tokio::test]
async fn fio_verifies_what_it_wrote() {
    let (site, _) = site_with("disk", MemoryExport::new(16 * MIB));
    let uri = format!("--uri={}", site.uri("disk"));
    let arguments = [
        "--name=verify",
        "--ioengine=nbd",
        &uri,
        "--rw=randwrite",
        "--bsrange=512-64k",
        "--bs_unaligned=0",
        "--size=16m",
        "--iodepth=32",
        "--fsync=64",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--do_verify=1",
    ];
    let printed = run("fio", &arguments).await;
    assert!(printed.contains("err= 0"), "{printed}");
}

#[tokio::test]
async fn a_detached_export_ends_its_clients() {
    let (site, export) = site_with("disk", MemoryExport::new(MIB));
    export.detach();
    let gone = output("nbdcopy", &[&site.uri("disk"), &site.path("copy")]).await;
    assert!(!gone.status.success());
}
