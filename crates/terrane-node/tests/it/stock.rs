//! Stock clients on a node manager's socket: libnbd's tools, QEMU's, and fio.

use crate::cluster::Shape;
use crate::site::{Site, run};

#[tokio::test]
async fn nbdinfo_sees_a_volume() {
    let site = Site::new(Shape::simple(2)).await;
    let text = run("nbdinfo", &[&site.url]).await;
    for line in [
        "export-size: 67108864 (64M)",
        "is_read_only: false",
        "can_multi_conn: true",
        "can_fua: true",
        "can_fast_zero: true",
        "block_size_minimum: 1",
        "block_size_preferred: 4096",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    site.node.stop().await;
}

#[tokio::test]
async fn nbdcopy_copies_an_image_there_and_back() {
    let site = Site::new(Shape { copies: 2, stripes: 2, stripe_bytes: 1 << 20, size: 64 << 20 }).await;
    let (image, back) = (site.path("image"), site.path("back"));
    let mut data = vec![0; 64 << 20];
    for (n, byte) in data.iter_mut().enumerate() {
        if (n >> 20) % 3 == 0 {
            *byte = (n ^ (n >> 8) ^ (n >> 16)) as u8;
        }
    }
    std::fs::write(&image, &data).unwrap();
    run("nbdcopy", &["--connections=4", "--flush", &image, &site.url]).await;
    run("nbdcopy", &["--connections=4", &site.url, &back]).await;
    assert!(std::fs::read(&back).unwrap() == data);
    let map = run("nbdinfo", &["--map", &site.url]).await;
    assert!(map.contains("hole,zero") && map.contains("data"), "{map}");
    site.node.stop().await;
}

#[tokio::test]
async fn qemu_io_writes_sectors() {
    let site = Site::new(Shape::simple(1)).await;
    run(
        "qemu-io",
        &[
            "-f",
            "raw",
            "-c",
            "write -P 7 512 1536",
            "-c",
            "write -P 9 4096 64k",
            "-c",
            "write -z -u 8192 512",
            "-c",
            "discard 16k 16k",
            "-c",
            "flush",
            "-c",
            "read -P 7 512 1536",
            "-c",
            "read -P 0 2048 2048",
            "-c",
            "read -P 9 4096 4096",
            "-c",
            "read -P 0 8192 512",
            "-c",
            "read -P 9 8704 512",
            &site.url,
        ],
    )
    .await;
    site.node.stop().await;
}

#[tokio::test]
async fn fio_verifies_what_it_wrote() {
    let site = Site::new(Shape::simple(2)).await;
    let uri = format!("--uri={}", site.url);
    let printed = run(
        "fio",
        &[
            "--name=verify",
            "--ioengine=nbd",
            &uri,
            "--rw=randwrite",
            "--bsrange=512-16k",
            "--bs_unaligned",
            "--size=8m",
            "--iodepth=32",
            "--fsync=64",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
        ],
    )
    .await;
    assert!(printed.contains("err= 0"), "{printed}");
    assert!(site.metric("terrane_node_request_seconds_count{operation=\"write\"}") > 500.0);
    site.node.stop().await;
}
