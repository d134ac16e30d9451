//! What must be so when nothing is under way.

use std::collections::{BTreeMap, BTreeSet};

use terrane_block_core::CopyId;
use terrane_block_wire::control::{PoolName, ServerId, StripeId};
use terrane_store::StoreError;
use terrane_types::VolumeId;

use super::Fleet;
use crate::db;
use crate::rows::{DELETIONS, Demand, STRIPES, VOLUMES};

impl Fleet {
    /// Everything is whole: copies in sync on different servers that are not drained, no copy too many anywhere, and pools
    /// promise exactly what is there.
    pub(crate) async fn check_at_rest(&self) {
        let (volumes, stripes, deletions, map) = self
            .store
            .read(|tx| async move {
                let (volumes, deletions) = (db::all(&VOLUMES, &tx).await?, db::all(&DELETIONS, &tx).await?);
                Ok::<_, StoreError>((volumes, db::all(&STRIPES, &tx).await?, deletions, db::map(&tx).await?))
            })
            .await
            .unwrap();
        assert!(self.unfinished().await.is_empty());
        let sizes: BTreeMap<&VolumeId, u64> =
            volumes.iter().map(|(_, row)| (&row.id, row.blocks_of_stripe(row.settings.size_gib))).collect();
        let mut promised: BTreeMap<(ServerId, PoolName), Demand> = BTreeMap::new();
        let mut wanted: BTreeSet<(ServerId, StripeId, CopyId)> = BTreeSet::new();
        for (_, row) in &stripes {
            let record = row.record.as_ref().unwrap_or_else(|| panic!("not made: {row:?}"));
            assert!(record.active && !record.fencing, "{row:?}");
            assert_eq!(row.change, None, "{row:?}");
            assert_eq!(row.identity.blocks, sizes[&row.identity.volume], "{row:?}");
            let wanted_copies = row.wanted as usize;
            assert_eq!(record.now.in_sync.len(), wanted_copies, "{row:?}");
            assert_eq!((record.now.joining.len(), record.now.absent.len()), (0, 0), "{row:?}");
            let servers: BTreeSet<ServerId> = row.places.values().map(|place| place.server).collect();
            assert_eq!((servers.len(), row.places.len()), (wanted_copies, wanted_copies), "{row:?}");
            for (copy, place) in &row.places {
                assert!(!map.servers[&place.server].0.draining, "{row:?}");
                assert_eq!(map.servers[&place.server].1[&place.pool].media, row.media, "{row:?}");
                wanted.insert((place.server, row.id, *copy));
                let there = &self.servers[&place.server].copies[&(row.id, *copy)];
                assert!(there.identity.blocks >= row.identity.blocks, "{row:?}");
                promised.entry((place.server, place.pool)).or_default().add(row.demand);
            }
        }
        let there =
            self.servers.iter().flat_map(|(id, server)| server.copies.keys().map(|(s, c)| (*id, *s, *c)));
        assert_eq!(there.collect::<BTreeSet<_>>(), wanted, "copies there and copies wanted");
        assert!(deletions.is_empty(), "{deletions:?}");
        for (id, (_, pools)) in &map.servers {
            for (pool, row) in pools {
                let expected = promised.get(&(*id, *pool)).copied().unwrap_or_default();
                assert_eq!(row.promised, expected, "{id:?} {pool:?}");
            }
        }
        assert_eq!(self.leader.stripes.len(), stripes.len());
    }
}
