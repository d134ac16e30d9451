//! Who may use a snapshot.

use terrane_ec2::service::{Caller, PermissionChange, SHARED_WITH_MAX, SnapshotError};
use terrane_store::Tx;
use terrane_types::{AccountId, SnapshotId};

use crate::rows::{EVERYBODY, OwnerRow, SHARES, SNAPSHOTS, SnapshotRow, key};
use crate::show::own;
use crate::site::CallError;

/// The grantees of a row.
fn grantees(row: &SnapshotRow) -> impl Iterator<Item = String> {
    let everybody = row.public.then(|| EVERYBODY.to_owned());
    row.shared_with.iter().map(ToString::to_string).chain(everybody)
}

/// Takes a snapshot out of the listings of those with whom it was shared.
pub(crate) async fn unlist(tx: &Tx, id: &SnapshotId, row: &SnapshotRow) -> Result<(), CallError> {
    for grantee in grantees(row) {
        SHARES.delete(tx, &(grantee, id.as_str().to_owned())).await?;
    }
    Ok(())
}

/// Puts it into them.
pub(crate) async fn list(
    tx: &Tx,
    owner: &AccountId,
    id: &SnapshotId,
    row: &SnapshotRow,
) -> Result<(), CallError> {
    for grantee in grantees(row) {
        let owner = OwnerRow { owner: owner.clone() };
        SHARES.put(tx, &(grantee, id.as_str().to_owned()), &owner).await?;
    }
    Ok(())
}

pub(super) async fn change(
    tx: Tx,
    caller: &Caller,
    id: &SnapshotId,
    change: &PermissionChange,
) -> Result<(), CallError> {
    let mut row = own(&tx, caller, id).await?;
    unlist(&tx, id, &row).await?;
    if change.reset {
        row.shared_with.clear();
        row.public = false;
    }
    row.shared_with.retain(|account| !change.remove.accounts.contains(account));
    row.public = (row.public && !change.remove.public) || change.add.public;
    let added = change.add.accounts.iter().filter(|account| **account != caller.account);
    row.shared_with.extend(added.cloned());
    if row.shared_with.len() > SHARED_WITH_MAX {
        return Err(SnapshotError::TooMany { what: "accounts to share with", max: SHARED_WITH_MAX }.into());
    }
    list(&tx, &caller.account, id, &row).await?;
    SNAPSHOTS.put(&tx, &key(&caller.account, id), &row).await?;
    Ok(())
}
