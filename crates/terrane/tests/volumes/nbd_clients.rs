//! libnbd's tools, QEMU's, and fio on an attached volume; and clients that break the rules.

use std::fs;
use std::path::Path;
use std::process::Command;

use terrane_testbed::fio::Job;
use terrane_testbed::{Installation, Up, output, succeed};

use crate::setup::{BINARY, attached, nbd_script};

const GIB: u64 = 1 << 30;

fn program(name: &str, arguments: &[&str]) -> String {
    succeed(Command::new(name).args(arguments)).unwrap()
}

/// An image with data and holes, and an end that is no multiple of much.
fn image(dir: &Path) -> String {
    let path = dir.join("image");
    let mut data = vec![0; (9 << 20) + 4096];
    for (at, byte) in data.iter_mut().enumerate() {
        if (at >> 20) % 3 == 0 {
            *byte = (at ^ (at >> 8) ^ (at >> 16)) as u8 | 1;
        }
    }
    fs::write(&path, data).unwrap();
    path.to_str().unwrap().to_owned()
}

fn same_begin(image: &str, copy: &str) {
    let (image, copy) = (fs::read(image).unwrap(), fs::read(copy).unwrap());
    assert_eq!(copy.len() as u64, GIB);
    assert!(copy.starts_with(&image), "what comes back is not what went in");
    assert!(copy[image.len()..].iter().all(|byte| *byte == 0), "nothing else was written");
}

#[test]
fn stock_clients_do_all_that_they_can() {
    let up = Up::start(Path::new(BINARY)).unwrap();
    let (_, url) = attached(&up, &up.instance().unwrap());
    let url = url.as_str();

    let info = program("nbdinfo", &[url]);
    for line in ["export-size: 1073741824 (1G)", "is_read_only: false", "can_flush: true", "can_fua: true"] {
        assert!(info.contains(line), "{line} is missing:\n{info}");
    }
    for line in ["can_trim: true", "can_zero: true", "can_cache: true", "base:allocation"] {
        assert!(info.contains(line), "{line} is missing:\n{info}");
    }
    let map = program("nbdinfo", &["--map", "--totals", url]);
    assert!(map.contains("100.0%") && map.contains("hole,zero"), "a new volume is one hole: {map}");

    let (image, back) = (image(up.dir()), up.dir().join("back"));
    let back = back.to_str().unwrap();
    program("nbdcopy", &["--connections=4", "--flush", &image, url]);
    program("nbdcopy", &["--connections=4", url, back]);
    same_begin(&image, back);
    program("qemu-img", &["compare", "-f", "raw", "-F", "raw", back, url]);
    let map = program("qemu-img", &["map", "-f", "raw", "--output=json", url]);
    assert!(map.contains(r#""data": false"#) && map.contains(r#""data": true"#), "{map}");

    let commands = [
        "write -P 7 4096 1M",
        "write -P 9 9000 77",
        "read -P 9 9000 77",
        "write -z -u 65536 4096",
        "read -P 0 65536 4096",
        "read -P 7 69632 4096",
        "write -f -P 3 900M 32M",
        "read -P 3 900M 32M",
        "discard 0 512M",
        "discard 900M 32M",
        "read -P 0 0 64M",
        "read -P 0 900M 32M",
        "flush",
    ];
    let mut arguments = vec!["-f", "raw", "-d", "unmap"];
    arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
    arguments.push(url);
    let printed = program("qemu-io", &arguments);
    assert!(!printed.contains("failed") && !printed.contains("error"), "{printed}");

    assert_eq!(nbd_script("commands.py", &[url]).trim(), "all commands");
    let options = "--size=32m --bsrange=512-64k --bs_unaligned=0 --iodepth=32 --fsync=64 --verify=crc32c \
                   --verify_fatal=1 --verify_state_save=0 --do_verify=1";
    Job::new(url, "randwrite", options).run(up.dir()).unwrap();
}

#[test]
fn clients_that_break_the_rules_harm_nobody() {
    let mut up = Up::start(Path::new(BINARY)).unwrap();
    let instance = up.instance().unwrap();
    let (volume, url) = attached(&up, &instance);
    assert_eq!(nbd_script("rules.py", &[&url]).trim(), "all rules");

    // Names are secrets: nothing lists them, a wrong one gets what an unknown one gets, and an ID is no name.
    let (name, socket) = url.strip_prefix("nbd+unix:///").unwrap().split_once("?socket=").unwrap();
    for guess in ["", &volume, "00000000000000000000000000000000", &name[1..]] {
        let refused = output(Command::new("nbdinfo").arg(format!("nbd+unix:///{guess}?socket={socket}")));
        let refused = refused.unwrap();
        let words = [refused.stdout, refused.stderr].concat();
        let words = String::from_utf8_lossy(&words);
        assert!(!refused.status.success() && !words.contains("export-size"), "{guess:?}: {words}");
    }
    let listed = output(Command::new("nbdinfo").args(["--list", &format!("nbd+unix:///?socket={socket}")]));
    let listed = listed.unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(name), "OPT_LIST tells secrets");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // The URL dies with the attachment; the next one has another.
    up.detach(&volume, &[]).unwrap();
    assert!(!output(Command::new("nbdinfo").arg(&url)).unwrap().status.success());
    let again = up.attach(&volume, &instance).unwrap();
    assert_ne!(again, url);
    assert!(!output(Command::new("nbdinfo").arg(&url)).unwrap().status.success());
    program("nbdinfo", &[&again]);
    up.stop().unwrap();
}
