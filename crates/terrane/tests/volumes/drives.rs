//! Bad drives and bad clocks, process by process: each is survived or refused, and never silent.
//!
//! A library that is preloaded into one server makes its drive bad (`bad_drive.c`). It sees calls of libc only, so these
//! servers do without io_uring. Full drives are small file systems in memory; mounting takes root.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use terrane_testbed::fio::{Job, Verifier};
use terrane_testbed::{Cluster, CopyState, Installation, Member, PATIENCE, Plan, Role, succeed, wait_until};

use crate::setup::{BINARY, attached};

const SERVERS: [Member; 2] = [Member::Server(0), Member::Server(1)];

/// For the preloaded library to see everything.
const PORTABLE: &str = "[volumes]\ndata_path = \"portable\"\ndrive_hang_ms = 1000\n";

/// What is wrong with a member's drive and clock.
struct Control(File);

impl Control {
    fn new(path: &Path) -> Self {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap();
        file.set_len(4096).unwrap();
        Self(file)
    }

    /// One of the letters of `bad_drive.c`; 0: nothing.
    fn drive(&self, fault: u8) {
        self.0.write_all_at(&[fault], 0).unwrap();
    }

    /// So many seconds fast.
    fn clock(&self, seconds: i64) {
        self.0.write_all_at(&seconds.to_ne_bytes(), 8).unwrap();
    }
}

/// A cluster of two servers whose drives and clocks can be made bad, as those of all others.
struct Scene {
    cluster: Cluster,
    controls: Vec<(Member, Control)>,
    volume: String,
    url: String,
}

impl Scene {
    fn new() -> Self {
        let dir = TempDir::with_prefix("terrane-bad-").unwrap();
        let library = dir.path().join("bad_drive.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/volumes/bad_drive.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        succeed(compiler.arg(&library).arg(&source)).unwrap();
        let mut plan = Plan::new(BINARY, 2, 1);
        plan.server_config = PORTABLE.to_owned();
        let mut controls = Vec::new();
        for member in [SERVERS[0], SERVERS[1], Member::Manager(0), Member::Node(0)] {
            let control = dir.path().join(format!("{}.control", member.name()));
            controls.push((member, Control::new(&control)));
            let drive = dir.path().join(member.name()).join("ssd/");
            let text = |path: &Path| path.to_str().unwrap().to_owned();
            let environment = [
                ("LD_PRELOAD", text(&library)),
                ("BAD_DRIVE_CONTROL", text(&control)),
                ("BAD_DRIVE_DIR", text(&drive)),
            ];
            plan.environment.insert(member, environment.map(|(name, value)| (name.to_owned(), value)).into());
        }
        let cluster = Cluster::start_in(plan, dir).unwrap();
        let (volume, url) = attached(&cluster, &cluster.instance(Member::Node(0)).unwrap());
        Self { cluster, controls, volume, url }
    }

    fn control(&self, member: Member) -> &Control {
        &self.controls.iter().find(|(one, _)| *one == member).unwrap().1
    }

    fn member(&self, role: Role) -> Member {
        let volume = self.cluster.volume(&self.volume).unwrap();
        self.cluster.server_named(volume.server(role).unwrap()).unwrap()
    }

    fn verifier(&self) -> Verifier {
        Verifier::start(&self.url, "64m", "16m", self.cluster.dir())
    }

    fn finish(&self, verifier: Verifier) {
        let runs = verifier.finish().unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.logs()));
        assert!(runs > 0);
    }

    fn wait_whole(&self) {
        let whole = self.cluster.wait_redundant(&self.volume, 2, PATIENCE);
        whole.unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.logs()));
    }

    /// What `terrane server show` says is wrong with a server's pool.
    fn trouble(&self, member: Member) -> Option<String> {
        let shown = self.cluster.cli(&["server", "show", &member.name()]).unwrap();
        let pools = shown["pools"].as_array().unwrap();
        pools.iter().find_map(|pool| pool["trouble"].as_str()).map(str::to_owned)
    }

    fn wait_trouble(&self, member: Member, says: &str) {
        let mut last = None;
        let waited = wait_until("the pool's trouble", PATIENCE, || {
            last = self.trouble(member);
            Ok(last.as_ref().is_some_and(|trouble| trouble.contains(says)))
        });
        waited.unwrap_or_else(|error| panic!("{error:#}: {last:?}\n{}", self.cluster.logs()));
    }

    fn is_in_sync(&self, member: Member) -> bool {
        let volume = self.cluster.volume(&self.volume).unwrap();
        volume.copies.iter().any(|copy| copy.server == member.name() && copy.state == CopyState::InSync)
    }

    /// The drive of one copy goes bad under load in a way that is noticed: the copy leaves, says why, nobody else
    /// notices, and it comes back without a restart when the drive is well.
    fn leaves_and_comes_back(self, role: Role, fault: u8, says: &str) {
        let member = self.member(role);
        let verifier = self.verifier();
        wait_until("load", PATIENCE, || {
            Ok(self.cluster.metric(member, "terrane_block_stage_seconds_count")? > 200.0)
        })
        .unwrap();
        self.control(member).drive(fault);
        self.wait_trouble(member, says);
        let left = wait_until("the copy is out", PATIENCE, || Ok(!self.is_in_sync(member)));
        left.unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.logs()));
        assert!(self.cluster.metric(member, "terrane_block_pool_troubled").unwrap() > 0.0);
        std::thread::sleep(Duration::from_secs(1));
        assert!(verifier.is_running(), "{:#}", verifier.finish().unwrap_err());
        self.control(member).drive(0);
        self.wait_whole();
        self.finish(verifier);
        assert_eq!(self.trouble(member), None);
        self.compare_copies();
    }

    /// The copies say the same.
    fn compare_copies(mut self) {
        let from_one = self.digest();
        self.cluster.kill(self.member(Role::Primary)).unwrap();
        assert_eq!(from_one, self.digest(), "the copies differ");
    }

    fn digest_of(&self) -> anyhow::Result<String> {
        let end = (80_u64 << 20).to_string();
        succeed(
            Command::new("/usr/bin/python3")
                .arg("-u")
                .arg(crate::setup::script("digest.py"))
                .args([&self.url, "0", &end]),
        )
    }

    fn digest(&self) -> String {
        self.digest_of().unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.logs()))
    }
}

#[test]
fn a_drive_whose_syncs_fail() {
    Scene::new().leaves_and_comes_back(Role::Primary, b'F', "error");
    Scene::new().leaves_and_comes_back(Role::Mirror, b'F', "error");
}

#[test]
fn a_drive_that_becomes_read_only() {
    Scene::new().leaves_and_comes_back(Role::Primary, b'R', "Read-only");
    Scene::new().leaves_and_comes_back(Role::Mirror, b'R', "Read-only");
}

#[test]
fn a_drive_that_hangs() {
    Scene::new().leaves_and_comes_back(Role::Primary, b'H', "does not answer");
    Scene::new().leaves_and_comes_back(Role::Mirror, b'H', "does not answer");
}

#[test]
fn a_slow_drive_slows_and_breaks_nothing() {
    let scene = Scene::new();
    let verifier = scene.verifier();
    for role in [Role::Primary, Role::Mirror] {
        let member = scene.member(role);
        scene.control(member).drive(b'S');
        std::thread::sleep(Duration::from_secs(4));
        scene.control(member).drive(0);
        scene.wait_whole();
    }
    scene.finish(verifier);
    scene.compare_copies();
}

/// Blocks that were acknowledged are not there: checksums notice, the other copy has them, and the one whose repairs do
/// not last leaves.
#[test]
fn a_drive_that_loses_what_it_has_taken() {
    let scene = Scene::new();
    let member = scene.member(Role::Primary);
    let verifier = scene.verifier();
    scene.control(member).drive(b'L');
    let lost = || Ok(scene.cluster.metric(member, "terrane_block_checksum_errors_total")? > 0.0);
    let noticed = wait_until("damage is noticed", PATIENCE, lost);
    noticed.unwrap_or_else(|error| panic!("{error:#}\n{}", scene.cluster.logs()));
    std::thread::sleep(Duration::from_secs(1));
    scene.control(member).drive(0);
    scene.finish(verifier);
}

/// The other copy dies while one has lost something: what it lost is refused, until somebody has it again.
#[test]
fn what_only_a_lying_drive_should_have_is_refused() {
    let mut scene = Scene::new();
    let (primary, mirror) = (scene.member(Role::Primary), scene.member(Role::Mirror));
    let (url, dir) = (scene.url.clone(), scene.cluster.dir().to_path_buf());
    let write = |options: &str| {
        let options = format!("--size=64m --bs=64k --iodepth=4 {options}");
        Job::new(&url, "write", &options).run(&dir).unwrap()
    };
    write("--buffer_pattern=0x11 --end_fsync=1");
    scene.control(mirror).drive(b'L');
    write("--buffer_pattern=0x22 --end_fsync=1");
    scene.control(mirror).drive(0);
    let written = scene.digest();
    scene.cluster.kill(primary).unwrap();
    if let Ok(digest) = scene.digest_of() {
        assert_eq!(digest, written, "something else was read than was written");
    }
    // Whoever knows what should be there can still write it.
    write("--buffer_pattern=0x33 --end_fsync=1");
    let written = scene.digest();
    scene.cluster.launch(primary).unwrap();
    scene.wait_whole();
    scene.cluster.kill(mirror).unwrap();
    assert_eq!(scene.digest(), written);
}

/// A file system in memory, unmounted at the end.
struct SmallDrive(PathBuf);

impl SmallDrive {
    fn mount(dir: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&dir).unwrap();
        let mut mount = Command::new("mount");
        succeed(mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "terrane-test"]).arg(&dir))
            .unwrap();
        Self(dir)
    }
}

impl Drop for SmallDrive {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// A cluster with small drives for these servers, with a volume.
fn on_small_drives(servers: &[Member]) -> (Vec<SmallDrive>, Cluster, String, String) {
    let dir = TempDir::with_prefix("terrane-small-").unwrap();
    let mount = |server: &Member| SmallDrive::mount(dir.path().join(server.name()).join("ssd"), "320m");
    let drives = servers.iter().map(mount).collect();
    let cluster = Cluster::start_in(Plan::new(BINARY, 2, 1), dir).unwrap();
    let (volume, url) = attached(&cluster, &cluster.instance(Member::Node(0)).unwrap());
    (drives, cluster, volume, url)
}

#[test]
fn one_full_drive_is_left_and_nobody_notices() {
    let (_drives, cluster, volume, url) = on_small_drives(&[Member::Server(1)]);
    let options =
        "--size=480m --bs=256k --iodepth=4 --verify=crc32c --verify_fatal=1 --do_verify=1 --end_fsync=1";
    let ran = Job::new(&url, "write", options).run(cluster.dir());
    ran.unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
    let shown = cluster.volume(&volume).unwrap();
    let full = shown.copies.iter().find(|copy| copy.server == "server1").unwrap();
    assert_ne!(full.state, CopyState::InSync, "{}", shown.raw);
    let servers = cluster.cli(&["server", "show", "server1"]).unwrap().to_string();
    assert!(servers.contains("no space") || servers.contains("full"), "{servers}");
}

#[test]
fn where_all_drives_are_full_writes_are_refused_and_trim_makes_room() {
    let (_drives, cluster, _, url) = on_small_drives(&SERVERS);
    let dir = cluster.dir().to_path_buf();
    let job = |rw: &str, options: &str| Job::new(&url, rw, &format!("{options} --iodepth=4")).run(&dir);
    job("write", "--size=32m --bs=64k --verify=crc32c --do_verify=1 --verify_fatal=1 --end_fsync=1").unwrap();
    let refused = job("write", "--offset=64m --size=480m --bs=256k").unwrap_err();
    assert!(format!("{refused:#}").contains("No space"), "{refused:#}");
    // What was there before is there.
    job("read", "--size=32m --bs=64k --verify=crc32c --verify_fatal=1 --do_verify=1").unwrap();
    job("trim", "--offset=64m --size=480m --bs=1m --end_fsync=1").unwrap();
    let again =
        job("write", "--offset=64m --size=32m --bs=64k --verify=crc32c --do_verify=1 --verify_fatal=1");
    again.unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.logs()));
}

/// Wall clocks order nothing and time nothing: hours to and fro at all servers and the node manager, minutes at the
/// manager (whose callers sign the time).
#[test]
fn clocks_that_jump() {
    let scene = Scene::new();
    let verifier = scene.verifier();
    let generation = scene.cluster.volume(&scene.volume).unwrap().generation;
    for round in 0..40_i64 {
        for (at, (member, control)) in (0..).zip(&scene.controls) {
            let sign = if (round + at) % 2 == 0 { 1 } else { -1 };
            let most = if *member == Member::Manager(0) { 240 } else { 90_000 };
            control.clock(sign * (most * (round % 7 + 1) / 7));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    scene.controls.iter().for_each(|(_, control)| control.clock(0));
    scene.finish(verifier);
    let after = scene.cluster.volume(&scene.volume).unwrap();
    assert!(after.is_redundant(2), "{}", after.raw);
    assert_eq!(after.generation, generation, "somebody was taken for dead");
    scene.compare_copies();
}
