//! What may happen to a fleet, and its end.

use terrane_block_wire::control::ServerId;
use terrane_ec2::service::VolumeService as _;

use super::Fleet;
use crate::db;
use crate::rows::SERVERS;

impl Fleet {
    pub(in crate::leader::tests) async fn chaos(&mut self, what: u8, which: usize) {
        let id = ServerId(which as u128 + 1);
        let volume = self.volumes.get(which % self.volumes.len().max(1)).cloned();
        match (what, volume) {
            (0 | 1, _) if self.volumes.len() < 4 => {
                // A zone may be down.
                let _ = self.create(if which.is_multiple_of(2) { "a" } else { "b" }).await;
            }
            (2, _) => self.kill(id),
            (3, _) => self.start(id),
            (4, _) => self.freeze(id),
            (5, _) => self.thaw(id),
            (6, _) => self.disconnect(id),
            (7, _) => self.new_manager(true).await,
            (8, _) => self.drain(id, which.is_multiple_of(2)).await,
            (9, _) => self.fail_jobs = 3,
            (10, Some(volume)) => {
                // Which of them is possible depends.
                if self.attach(&volume).await.is_err() {
                    let _ = self.detach(&volume, which.is_multiple_of(2)).await;
                }
            }
            (11, Some(volume)) if self.manager.delete_volume(&self.caller, &volume).await.is_ok() => {
                self.volumes.retain(|other| *other != volume);
            }
            (12, Some(volume)) => {
                // It may not be made yet, or have no room.
                let size = self.leader.volume(&volume).map_or(1, |row| row.settings.size_gib) + 1;
                let _ = self.resize(&volume, size).await;
            }
            (13, _) => self.hang(id, which.is_multiple_of(2)),
            (_, Some(volume)) => self.write(&volume),
            (_, None) => {}
        }
    }

    /// Everything is repaired; volumes that could not be made are deleted.
    pub(in crate::leader::tests) async fn heal(&mut self) {
        self.fail_jobs = 0;
        let ids: Vec<ServerId> = self.servers.keys().copied().collect();
        let known = self.store.read(|tx| async move { db::all(&SERVERS, &tx).await }).await.unwrap();
        for id in ids {
            self.thaw(id);
            self.start(id);
            self.hang(id, false);
            if known.iter().any(|(_, row)| row.id == id) {
                self.drain(id, false).await;
            }
        }
        self.run(2000).await;
        for volume in self.volumes.clone() {
            let failed = self
                .leader
                .volume(&volume)
                .is_some_and(|row| matches!(row.life, crate::rows::LifeRow::Failed(_)));
            if failed {
                self.manager.delete_volume(&self.caller, &volume).await.unwrap();
            }
        }
    }
}
