//! What the machine itself can do: its drive, its loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::sh;

/// How many bytes loopback carries in one measurement.
const LOOPBACK_BYTES: usize = 4 << 30;

/// 4 KiB writes per second, each followed by fdatasync, of eight writers to preallocated files of their own.
pub(super) fn fdatasyncs(dir: &Path, seconds: f64) -> Result<f64> {
    let report = fio(
        dir,
        &[
            "--rw=randwrite",
            "--bs=4k",
            "--size=64m",
            "--numjobs=8",
            "--group_reporting",
            "--fdatasync=1",
            "--time_based",
            &format!("--runtime={seconds}"),
            "--ioengine=psync",
            "--fallocate=posix",
            "--overwrite=1",
        ],
    )?;
    Ok(report["write"]["iops"].as_f64().unwrap_or_default())
}

/// Bytes per second of sequential 1 MiB writes, flushed at the end.
pub(super) fn sequential_writes(dir: &Path, mib: u64) -> Result<f64> {
    let size = format!("--size={mib}m");
    let report =
        fio(dir, &["--rw=write", "--bs=1m", &size, "--ioengine=psync", "--end_fsync=1", "--fallocate=none"])?;
    Ok(report["write"]["bw_bytes"].as_f64().unwrap_or_default())
}

/// Bytes per second of sequential 1 MiB reads of a file that the kernel does not keep in memory.
pub(super) fn sequential_reads(dir: &Path, mib: u64) -> Result<f64> {
    let size = format!("--size={mib}m");
    let load = ["--rw=read", "--bs=1m", &size, "--ioengine=psync", "--invalidate=1", "--fallocate=none"];
    Ok(fio(dir, &load)?["read"]["bw_bytes"].as_f64().unwrap_or_default())
}

/// Has the kernel forget what it keeps of all files in and below a directory, once that is on the drive.
pub(super) fn forget_cached(dir: &Path) -> Result<()> {
    let find = ["-type", "f", "-size", "+64k", "-exec", "sync", "{}", "+"];
    sh::run(Command::new("find").arg(dir).args(find))?;
    let forget = [
        "-type",
        "f",
        "-size",
        "+64k",
        "-exec",
        "dd",
        "if={}",
        "iflag=nocache",
        "count=0",
        "status=none",
        ";",
    ];
    sh::run(Command::new("find").arg(dir).args(forget))
}

fn fio(dir: &Path, arguments: &[&str]) -> Result<Value> {
    let work = dir.join("drive");
    std::fs::create_dir_all(&work)?;
    let mut command = Command::new("fio");
    command.current_dir(&work).args(["--name=drive", "--output-format=json"]).args(arguments);
    let text = sh::output(&mut command)?;
    let json = text.find('{').map(|at| &text[at..]).context("fio printed no JSON")?;
    let mut report: Value = serde_json::from_str(json)?;
    std::fs::remove_dir_all(&work)?;
    Ok(report["jobs"][0].take())
}

/// Bytes per second of one TCP connection over loopback, 1 MiB at a time.
pub(super) fn loopback() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || -> Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let block = vec![1; 1 << 20];
        for _ in 0..LOOPBACK_BYTES >> 20 {
            stream.write_all(&block)?;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let (began, mut block, mut received) = (Instant::now(), vec![0; 1 << 20], 0);
    while received < LOOPBACK_BYTES {
        let read = stream.read(&mut block)?;
        if read == 0 {
            break;
        }
        received += read;
    }
    let rate = received as f64 / began.elapsed().as_secs_f64();
    sender.join().map_err(|_| anyhow!("the sender panicked"))??;
    Ok(rate)
}
