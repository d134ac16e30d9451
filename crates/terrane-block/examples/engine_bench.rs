//! How fast the storage engine is on a directory: `engine_bench DIR [SECONDS]`. Figures are for one thread unless
//! said otherwise; processor time is that of the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use terrane_block::engine::media::FsMedia;
use terrane_block::engine::{BLOCK, Copy, CopyKey, Declared, Drive, Op, Pool, PoolConfig};
use terrane_log::disk::{Disk, FsDisk, Open};

/// 1 GiB.
const BLOCKS: u64 = 1 << 18;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: engine_bench DIR [SECONDS]")?;
    let time = Duration::from_secs(args.next().map_or(Ok(3), |seconds| seconds.parse())?);
    let declared = Declared { drive: Drive::Ssd, capacity: 1 << 40, iops: 100_000, throughput: 1 << 31 };
    let (pool, _) = Pool::open(FsMedia::open(format!("{dir}/pool"))?, PoolConfig::new(1, declared))?;
    let copy = pool.create_copy(CopyKey(1), BLOCKS, Vec::new())?;
    copy.commit(vec![Op::Enter((0..copy.extents()).collect())])?;
    let bytes = vec![0x5a_u8; 1 << 20];
    for first in (0..BLOCKS).step_by(256) {
        copy.write(first, &bytes)?;
    }
    copy.flush()?;
    let block = &bytes[..BLOCK];
    report("4 KiB random writes, log warm, not flushed", time, 1, |at| Ok(copy.write(at % BLOCKS, block)?))?;
    copy.flush()?;
    report("the same, 2 threads", time, 2, |at| Ok(copy.write(at % BLOCKS, block)?))?;
    copy.flush()?;
    report("4 KiB random reads, cached", time, 1, |at| {
        copy.read(at % BLOCKS, &mut [0; BLOCK])?;
        Ok(())
    })?;
    report("1 MiB random reads, cached", time, 1, |at| {
        copy.read(at % (BLOCKS / 256) * 256, &mut vec![0; 1 << 20])?;
        Ok(())
    })?;
    for threads in [1, 8] {
        let name = format!("4 KiB write + flush, {threads} threads");
        report(&name, time, threads, |at| write_and_flush(&copy, at % BLOCKS, block))?;
    }
    let entered = AtomicU64::new(0);
    report("enter + retire an extent, 8 threads", time, 8, |_| {
        let extent = entered.fetch_add(1, Ordering::Relaxed) % copy.extents();
        Ok(copy
            .commit(vec![Op::Retire(vec![extent]), Op::Enter(vec![])])
            .and_then(|()| copy.commit(vec![Op::Enter(vec![extent])]))?)
    })?;
    let disk = FsDisk::open(&dir)?;
    let file = disk.open("bare", Open::Create)?;
    file.allocate(16 << 20)?;
    file.sync_data()?;
    report("bare: 4 KiB write + fdatasync of a preallocated file", time, 1, |at| {
        file.write_at(block, at % 4096 * BLOCK as u64)?;
        Ok(file.sync_data()?)
    })?;
    disk.remove("bare")?;
    drop(file);
    pool.delete_copy(CopyKey(1))?;
    Ok(())
}

fn write_and_flush(copy: &Arc<Copy>, at: u64, block: &[u8]) -> Result<(), AnyError> {
    copy.write(at, block)?;
    Ok(copy.flush()?)
}

/// Does it for a while and prints how often.
fn report(
    name: &str,
    time: Duration,
    threads: u64,
    work: impl Fn(u64) -> Result<(), AnyError> + Sync,
) -> Result<(), AnyError> {
    let (started, cpu) = (Instant::now(), cpu_time()?);
    let count = AtomicU64::new(0);
    let failed = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (count, failed, work) = (&count, &failed, &work);
            scope.spawn(move || {
                let mut at = thread + 1;
                while started.elapsed() < time {
                    // Knuth's generator: any that spreads will do.
                    at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    if let Err(error) = work(at >> 24) {
                        *failed.lock().expect("no thread panics with it") = Some(error.to_string());
                        return;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().expect("no thread panics with it") {
        return Err(format!("{name}: {error}").into());
    }
    let count = count.into_inner().max(1);
    let per_second = count as f64 / started.elapsed().as_secs_f64();
    let cpu = (cpu_time()? - cpu).as_secs_f64() * 1e6 / count as f64;
    println!("{name:<55} {per_second:>10.0} /s {cpu:>8.1} µs of processor time each");
    Ok(())
}

fn cpu_time() -> Result<Duration, AnyError> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let duration = |time: TimeVal| {
        Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec().unsigned_abs() as u32 * 1000)
    };
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}
