//! Once a second: how much room there is, and what the metrics should say.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use terrane_keymap::Input;
use terrane_keymap::class::WriteMode;

use super::Store;
use crate::metrics::{ClassLabel, DriveLabel};
use crate::service::DriveState;

const INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(store: Arc<Store>) {
    let mut closing = store.closing.subscribe();
    loop {
        look(&store).await;
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// What the metrics should say of the drives.
fn look_at_drives(store: &Store) {
    let metrics = &store.metrics.drives;
    if let Some(mirror) = &store.mirror {
        mirror.share_failures();
        let (healed, read_around) = mirror.counts();
        raise(&metrics.log_healed, healed);
        raise(&metrics.log_reads_around, read_around);
    }
    let status = store.drives_status();
    for drive in status.drives {
        let label = DriveLabel { drive: drive.number as u32 };
        let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.live.get_or_create(&label).set((drive.state == DriveState::Live).into());
        metrics.free_bytes.get_or_create(&label).set(bytes(drive.free_bytes));
        metrics.data_bytes.get_or_create(&label).set(bytes(drive.data_bytes));
        raise(&metrics.errors.get_or_create(&label), drive.errors);
        raise(&metrics.repaired_blocks.get_or_create(&label), drive.repaired_blocks);
    }
    metrics.degraded_segments.set(i64::try_from(status.degraded_segments).unwrap_or(i64::MAX));
    raise(&metrics.reads_around, store.data.damage().reads_around());
}

/// Has a counter say what was counted elsewhere.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

/// Looks once.
pub(super) async fn look(store: &Arc<Store>) {
    let polled = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.space.poll()).await
    };
    if let Err(error) = polled {
        tracing::warn!(%error, "the disk space probe had panicked");
    }
    look_at_drives(store);
    store.driver.tell(Input::DiskPressure { low: !store.space.admits(0) });
    let status = store.driver.ask(|shard| {
        let runs = shard.runs();
        (shard.queues(), shard.load(), *shard.counters(), runs)
    });
    let Ok((queues, (load, mode, switches), counters, runs)) = status.await else { return };
    let metrics = &store.metrics;
    for queue in queues {
        let class = ClassLabel { class: queue.class.as_str() };
        metrics.queue_depth.get_or_create(&class).set((queue.depth + queue.spilled) as f64);
        metrics.queue_bytes.get_or_create(&class).set(queue.bytes as f64);
        metrics.queue_age_seconds.get_or_create(&class).set(queue.oldest_age_ms as f64 / 1_000.0);
        metrics.queue_rate.get_or_create(&class).set(queue.rate);
    }
    metrics.load.set(load);
    metrics.mode.set(match mode {
        WriteMode::Sync => 0,
        WriteMode::High => 1,
        WriteMode::Low => 2,
        WriteMode::Delay { .. } => 3,
    });
    metrics.mode_switches.inc_by(switches.saturating_sub(metrics.mode_switches.get()));
    metrics.dead_letters.inc_by(counters.dead_letters.saturating_sub(metrics.dead_letters.get()));
    metrics.spill_runs.set(runs as i64);
    let segments = store.data.segments();
    metrics.data_segments.set(segments.len() as i64);
    metrics.data_bytes.set(segments.iter().map(|s| s.bytes as i64).sum());
    metrics.data_live_bytes.set(segments.iter().map(|s| s.live_bytes as i64).sum());
    metrics.log_segments.set(store.driver.reader.segments().len() as i64);
    metrics.keymap_memory_bytes.set(store.driver.engine.view().memory_bytes() as i64);
    metrics.keymap_disk_bytes.set(store.driver.engine.view().disk_bytes() as i64);
    metrics.disk_free_bytes.set(i64::try_from(store.space.free_bytes()).unwrap_or(i64::MAX));
}
