//! A replayable sorted view (fjall) behind a log: atomic batches, snapshots, sync points, restore.
