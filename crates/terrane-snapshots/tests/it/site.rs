//! A keeper, callers, blocks, and what boto3's users would do with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use terrane_auth::KeyService;
use terrane_auth::keys::MasterKey;
use terrane_ec2::service::{
    BLOCK_BYTES, BlockPage, Caller, Completion, PutBlock, Scope, Select, Snapshot, SnapshotError,
    SnapshotResult, SnapshotService as _, SnapshotState, StartSnapshot, Tags,
};
use terrane_snapshot::objects::MemoryObjects;
use terrane_snapshots::{SnapshotMetrics, Snapshots, SnapshotsConfig};
use terrane_store::Store;
use terrane_types::{AccountId, SnapshotId};

pub(crate) struct Site {
    pub(crate) keeper: Snapshots,
    pub(crate) objects: MemoryObjects,
    pub(crate) store: Store,
    keys: KeyService,
    config: SnapshotsConfig,
}

pub(crate) type Blocks = BTreeMap<u64, u8>;

impl Site {
    pub(crate) async fn new() -> Self {
        let config = SnapshotsConfig {
            exclusive: true,
            collect_interval: Duration::from_millis(50),
            grace: Duration::from_millis(10),
            ..SnapshotsConfig::default()
        };
        Self::with(config).await
    }

    pub(crate) async fn with(config: SnapshotsConfig) -> Self {
        let store = Store::memory();
        let keys = KeyService::ephemeral(store.clone(), MasterKey::random()).await.unwrap();
        let objects = MemoryObjects::new();
        let keeper = start(&store, &keys, &objects, config).await;
        Self { keeper, objects, store, keys, config }
    }

    /// The process ends and another one begins.
    pub(crate) async fn restart(&mut self) {
        self.keeper.stop().await;
        self.keeper = start(&self.store, &self.keys, &self.objects, self.config).await;
    }

    pub(crate) async fn begin(&self, who: &Caller, parent: Option<&SnapshotId>) -> SnapshotId {
        let wish = StartSnapshot { parent: parent.cloned(), ..wish() };
        self.keeper.start_snapshot(who, wish).await.unwrap().id
    }

    pub(crate) async fn put(
        &self,
        who: &Caller,
        id: &SnapshotId,
        index: u64,
        seed: u8,
    ) -> SnapshotResult<()> {
        self.keeper.put_block(who, id, block(index, seed)).await
    }

    pub(crate) async fn complete(
        &self,
        who: &Caller,
        id: &SnapshotId,
        blocks: &Blocks,
    ) -> SnapshotResult<SnapshotState> {
        let mut digest = Sha256::new();
        blocks.values().for_each(|seed| digest.update(Sha256::digest(content(*seed))));
        let sha256 = Some(digest.finalize().into());
        self.keeper.complete_snapshot(who, id, Completion { blocks: blocks.len() as u64, sha256 }).await
    }

    /// A completed snapshot of these blocks.
    pub(crate) async fn build(
        &self,
        who: &Caller,
        parent: Option<&SnapshotId>,
        blocks: &Blocks,
    ) -> SnapshotId {
        let id = self.begin(who, parent).await;
        for (index, seed) in blocks {
            self.put(who, &id, *index, *seed).await.unwrap();
        }
        self.complete(who, &id, blocks).await.unwrap();
        self.until(who, &id, SnapshotState::Completed).await;
        id
    }

    pub(crate) async fn find(&self, who: &Caller, id: &SnapshotId) -> SnapshotResult<Snapshot> {
        let found = self.keeper.snapshots(who, Scope::Usable, Select::Ids(std::slice::from_ref(id))).await;
        found.map(|mut found| found.remove(0))
    }

    pub(crate) async fn until(&self, who: &Caller, id: &SnapshotId, state: SnapshotState) -> Snapshot {
        loop {
            let snapshot = self.find(who, id).await.unwrap();
            if snapshot.state == state {
                return snapshot;
            }
            assert_eq!(snapshot.state, SnapshotState::Pending, "{:?}", snapshot.message);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// All blocks that are not zeros, listed in pages and read by their tokens.
    pub(crate) async fn read(&self, who: &Caller, id: &SnapshotId) -> SnapshotResult<Blocks> {
        let mut found = Blocks::new();
        let mut token: Option<String> = None;
        loop {
            let page = BlockPage { token: token.as_deref(), first: 0, limit: 3 };
            let list = self.keeper.list_blocks(who, id, page).await?;
            for entry in list.blocks {
                let bytes = self.keeper.block(who, id, entry.index, &entry.token).await?;
                assert!(bytes.iter().all(|byte| *byte == bytes[0]) && bytes.len() == BLOCK_BYTES);
                found.insert(entry.index, bytes[0]);
            }
            token = list.next;
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Waits until the object store holds so many objects: garbage is gone.
    pub(crate) async fn until_objects(&self, count: usize) {
        while self.objects.names().len() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn start(
    store: &Store,
    keys: &KeyService,
    objects: &MemoryObjects,
    config: SnapshotsConfig,
) -> Snapshots {
    let objects = Arc::new(objects.clone());
    let metrics = SnapshotMetrics::default();
    Snapshots::start(store.clone(), keys.clone(), objects, config, metrics).await.unwrap()
}

pub(crate) fn caller(number: u8) -> Caller {
    Caller {
        account: AccountId::parse(&format!("{number:012}")).unwrap(),
        principal: "root".into(),
        request_id: "r".into(),
    }
}

pub(crate) fn wish() -> StartSnapshot {
    StartSnapshot {
        size_gib: 1,
        parent: None,
        description: "d".into(),
        tags: Tags::new(),
        token: None,
        timeout_minutes: 60,
    }
}

pub(crate) fn content(seed: u8) -> Bytes {
    vec![seed; BLOCK_BYTES].into()
}

pub(crate) fn block(index: u64, seed: u8) -> PutBlock {
    let data = content(seed);
    let sha256 = Sha256::digest(&data).into();
    PutBlock { index, data, sha256 }
}

/// The name of what was refused.
pub(crate) fn refusal<T: std::fmt::Debug>(result: SnapshotResult<T>) -> &'static str {
    match result.unwrap_err() {
        SnapshotError::NotFound(_) => "NotFound",
        SnapshotError::IncorrectState { .. } => "IncorrectState",
        SnapshotError::Locked(_) => "Locked",
        SnapshotError::LockRefused(_) => "LockRefused",
        SnapshotError::TokenMismatch => "TokenMismatch",
        SnapshotError::TagLimit(_) => "TagLimit",
        SnapshotError::TooMany { .. } => "TooMany",
        SnapshotError::VolumeSize(_) => "VolumeSize",
        SnapshotError::NoSuchBlock { .. } => "NoSuchBlock",
        SnapshotError::Mismatch(_) => "Mismatch",
        SnapshotError::BlockToken => "BlockToken",
        SnapshotError::PageToken => "PageToken",
        SnapshotError::Unrelated => "Unrelated",
        other => panic!("{other}"),
    }
}
