//! Documents of answers. Times are seconds since 1970, as REST-JSON has them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::service::{BLOCK_BYTES, BlockEntry, BlockList, ChangedBlock, Snapshot, Tags};

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn time(time: Timestamp) -> Value {
    (time.as_millisecond() as f64 / 1000.0).into()
}

fn tags(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

pub(super) fn started(snapshot: &Snapshot) -> Value {
    let mut document = json!({
        "SnapshotId": snapshot.id.as_str(),
        "OwnerId": snapshot.owner.as_str(),
        "Status": snapshot.state.as_str(),
        "StartTime": time(snapshot.started),
        "VolumeSize": snapshot.size_gib,
        "BlockSize": BLOCK_BYTES,
    });
    if !snapshot.description.is_empty() {
        document["Description"] = snapshot.description.as_str().into();
    }
    if !snapshot.tags.is_empty() {
        document["Tags"] = tags(&snapshot.tags);
    }
    if let Some(parent) = &snapshot.parent {
        document["ParentSnapshotId"] = parent.as_str().into();
    }
    document
}

fn list<T>(name: &str, list: &BlockList<T>, block: impl Fn(&T) -> Value) -> Value {
    let mut document = json!({
        name: list.blocks.iter().map(block).collect::<Value>(),
        "ExpiryTime": time(list.expires),
        "VolumeSize": list.size_gib,
        "BlockSize": BLOCK_BYTES,
    });
    if let Some(next) = &list.next {
        document["NextToken"] = next.as_str().into();
    }
    document
}

pub(super) fn blocks(blocks: &BlockList<BlockEntry>) -> Value {
    list("Blocks", blocks, |block| json!({ "BlockIndex": block.index, "BlockToken": block.token }))
}

pub(super) fn changed(blocks: &BlockList<ChangedBlock>) -> Value {
    list("ChangedBlocks", blocks, |block| {
        let mut document = json!({ "BlockIndex": block.index });
        for (name, token) in [("FirstBlockToken", &block.first), ("SecondBlockToken", &block.second)] {
            if let Some(token) = token {
                document[name] = token.as_str().into();
            }
        }
        document
    })
}
