//! A full disk: reads and deletes go on, writes get an S3 error, and all is well again when space returns.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::installation::{Installation, wait_until};
use crate::tools::succeed;

const BUCKET: &str = "full";

/// A small file system in memory. Mounting it takes root, which `cargo xtask test` in CI has.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    fn mount(dir: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&dir).unwrap();
        succeed(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={size}"), "terrane-test"])
                .arg(&dir),
        );
        Self { dir }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.dir).status());
    }
}

#[test]
fn full_disk_refuses_writes_and_recovers_without_restart() {
    let temp = TempDir::with_prefix("terrane-full-").unwrap();
    let disk = SmallDisk::mount(temp.path().join("disk"), "1g");
    let data = disk.dir.join("data");
    let mut installation = Installation::start_in(temp, data, "");
    let mut client = installation.client();
    client.create_bucket(BUCKET).unwrap();
    for number in 0..20 {
        assert!(client.put(BUCKET, &format!("small/{number:02}"), &[], &[7; 1000]).unwrap().is_success());
    }

    // Objects of 8 MiB until one is refused, then small ones until those are refused, too.
    let large = vec![1; 8 << 20];
    let mut stored = 0;
    let refused = loop {
        let answer = client.put(BUCKET, &format!("large/{stored:04}"), &[], &large).unwrap();
        if !answer.is_success() {
            break answer;
        }
        stored += 1;
        assert!(stored < 1000, "the disk is never full");
    };
    assert!(stored > 0);
    assert!((500..600).contains(&refused.status), "{}", refused.text());
    assert!(refused.text().contains("<Code>"), "an S3 error: {}", refused.text());

    // Reads go on, and what was refused is not there.
    assert_eq!(client.get(BUCKET, "small/07").unwrap().body, [7; 1000]);
    assert_eq!(client.get(BUCKET, "large/0000").unwrap().body, large);
    assert_eq!(client.get(BUCKET, &format!("large/{stored:04}")).unwrap().status, 404);
    assert_eq!(client.list_all(BUCKET, "large/").unwrap().len(), stored);

    // Deletes go on, and their space comes back without a restart.
    for number in 0..stored {
        let answer = client.delete(BUCKET, &format!("large/{number:04}")).unwrap();
        assert!(answer.is_success(), "delete {number}: {}", answer.text());
    }
    wait_until("space returns", Duration::from_secs(60), || {
        client.put(BUCKET, "large/again", &[], &large).unwrap().is_success()
    });
    assert_eq!(client.get(BUCKET, "large/again").unwrap().body, large);

    installation.kill();
    installation.launch();
    let mut client = installation.client();
    assert_eq!(client.get(BUCKET, "large/again").unwrap().body, large);
    assert_eq!(client.list_all(BUCKET, "").unwrap().len(), 21);
    drop(installation);
    drop(disk);
}
