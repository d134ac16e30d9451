//! Tags of volumes and instances.

use std::collections::BTreeMap;

use terrane_ec2::service::{Caller, ResourceId, ServiceError, TAGS_MAX, TagRemoval, Tags};
use terrane_store::Tx;

use super::CallError;
use crate::db::Changes;
use crate::rows::{INSTANCES, VOLUMES, volume_key};

/// Changes the tags of one resource of the caller's.
async fn change(
    tx: &Tx,
    caller: &Caller,
    id: &ResourceId,
    changed: &mut Changes,
    with: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), ServiceError>,
) -> Result<(), CallError> {
    match id {
        ResourceId::Volume(volume) => {
            if let Some(mut row) = VOLUMES.get(tx, &volume_key(&caller.account, volume)).await? {
                with(&mut row.tags)?;
                return Ok(changed.put_volume(tx, row).await?);
            }
        }
        ResourceId::Instance(instance) => {
            let key = (caller.account.clone(), instance.as_str().to_owned());
            if let Some(mut row) = INSTANCES.get(tx, &key).await? {
                with(&mut row.tags)?;
                return Ok(INSTANCES.put(tx, &key, &row).await?);
            }
        }
        ResourceId::Snapshot(_) => {}
    }
    Err(ServiceError::ResourceNotFound(id.clone()).into())
}

pub(super) async fn add(
    tx: Tx,
    caller: &Caller,
    ids: &[ResourceId],
    tags: &Tags,
) -> Result<((), Changes), CallError> {
    let mut changed = Changes::default();
    for id in ids {
        change(&tx, caller, id, &mut changed, |have| {
            have.extend(tags.clone());
            if have.len() > TAGS_MAX { Err(ServiceError::TagLimit(id.clone())) } else { Ok(()) }
        })
        .await?;
    }
    Ok(((), changed))
}

pub(super) async fn remove(
    tx: Tx,
    caller: &Caller,
    ids: &[ResourceId],
    removals: &[TagRemoval],
) -> Result<((), Changes), CallError> {
    let goes = |key: &str, value: &str| {
        let named = |removal: &TagRemoval| {
            removal.key == key && removal.value.as_deref().is_none_or(|wanted| wanted == value)
        };
        removals.is_empty() || removals.iter().any(named)
    };
    let mut changed = Changes::default();
    for id in ids {
        change(&tx, caller, id, &mut changed, |have| {
            have.retain(|key, value| !goes(key, value));
            Ok(())
        })
        .await?;
    }
    Ok(((), changed))
}
