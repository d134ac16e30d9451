//! Looking for damage before somebody needs what is damaged: all blocks are read and compared with their checksums,
//! all the time at a slow pace, and as fast as it goes when an operator asks. What is found is repaired by the
//! primary.

use super::devices::{Class, cost_of};
use super::reactor::{Handle, Reactor};
use crate::engine::{BLOCK, Run};
use std::time::Duration;
use terrane_block_core::copy::Event;
use terrane_block_core::{CopyId, Extent};
use terrane_block_wire::control::StripeId;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// When there is nothing to look at: before looking for something again.
const IDLE: Duration = Duration::from_secs(1);

/// Looks at one extent after the other, for ever.
pub(super) async fn run(handle: Handle, bytes_per_second: u64) {
    if bytes_per_second == 0 {
        return;
    }
    loop {
        let mut looked = false;
        for slot in handle.enter(|reactor| reactor.slots()) {
            for extent in 0.. {
                let Some(bytes) = look(&handle, slot, extent).await else { break };
                looked = true;
                sleep(Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64)).await;
            }
        }
        if !looked {
            sleep(IDLE).await;
        }
    }
}

/// Looks at an extent of the activity log's size. Returns its bytes; none beyond the end, or if the copy cannot be
/// used.
async fn look(handle: &Handle, slot: usize, extent: u64) -> Option<u64> {
    let (done, looked) = oneshot::channel();
    let bytes = handle.enter(|reactor| {
        let hosted = reactor.copy(slot)?;
        let life = hosted.life;
        let engine = &hosted.running.as_ref()?.engine;
        if extent >= engine.extents() {
            return None;
        }
        let bytes = engine.extent_blocks() * BLOCK as u64;
        let cost = cost_of(Extent { start: 0, len: engine.extent_blocks() });
        reactor.work_as(
            (slot, life),
            (Class::Scrub, cost),
            move |copy| copy.verify(extent),
            move |reactor, found| {
                match found {
                    Ok(damaged) => reactor.damaged(slot, &damaged),
                    Err(error) => {
                        tracing::warn!(copy = ?reactor.name(slot), %error, "an extent cannot be read")
                    }
                }
                reactor.metrics.scrubbed_bytes.inc_by(bytes);
                // Nobody waits if the server ends.
                let _ = done.send(());
            },
        );
        Some(bytes)
    })?;
    looked.await.ok()?;
    Some(bytes)
}

impl Reactor {
    fn damaged(&mut self, slot: usize, damaged: &[Run]) {
        for run in damaged {
            self.metrics.checksum_errors.inc_by(run.blocks);
            tracing::warn!(copy = ?self.name(slot), ?run, "scrubbing found damaged blocks");
            self.push(slot, Event::Scrubbed(Extent { start: run.first, len: run.blocks }));
        }
    }

    /// Looks at all of a copy at once; `done` hears when that is done.
    pub(super) fn scrub(
        &mut self,
        stripe: StripeId,
        copy: CopyId,
        done: impl FnOnce(&mut Self, Result<(), String>) + 'static,
    ) {
        let slot = self.index.get(&(stripe, copy)).copied();
        let (Some(slot), Some(handle)) = (slot, self.handle()) else {
            return done(self, Err("no such copy here".to_owned()));
        };
        spawn_local(async move {
            let extents =
                handle.enter(|reactor| Some(reactor.copy(slot)?.running.as_ref()?.engine.extents()));
            let mut result = extents.map(|_| ()).ok_or("the copy cannot be used now");
            for extent in 0..extents.unwrap_or(0) {
                if look(&handle, slot, extent).await.is_none() {
                    result = Err("the copy failed meanwhile");
                    break;
                }
            }
            handle.enter(|reactor| done(reactor, result.map_err(str::to_owned)));
        });
    }
}
