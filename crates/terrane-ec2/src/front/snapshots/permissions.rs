//! Who may use a snapshot.

use terrane_types::AccountId;

use super::{Shelf, own, rehearse};
use crate::dto::{
    CreateVolumePermission, DescribeSnapshotAttributeRequest, DescribeSnapshotAttributeResult,
    ModifySnapshotAttributeRequest, OperationType, PermissionGroup, ResetSnapshotAttributeRequest,
    SnapshotAttributeName,
};
use crate::error::{Ec2Error, shortened};
use crate::front::Context;
use crate::front::words::snapshot_id;
use crate::service::{PermissionChange, Permissions};
use crate::xml::Done;

pub(in crate::front) async fn describe_attribute(
    cx: &Context<'_>,
    request: DescribeSnapshotAttributeRequest,
) -> Result<DescribeSnapshotAttributeResult, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    rehearse(cx, &request, Shelf::OWN, &id).await?;
    let permissions = own(cx, &id).await?.permissions;
    let snapshot_id = Some(id.to_string());
    Ok(match request.attribute {
        SnapshotAttributeName::ProductCodes => DescribeSnapshotAttributeResult {
            product_codes: Some(Vec::new()),
            snapshot_id,
            ..DescribeSnapshotAttributeResult::default()
        },
        SnapshotAttributeName::CreateVolumePermission => {
            let everybody = permissions
                .public
                .then_some(CreateVolumePermission { group: Some(PermissionGroup::All), user_id: None });
            let accounts = permissions
                .accounts
                .iter()
                .map(|account| CreateVolumePermission { group: None, user_id: Some(account.to_string()) });
            DescribeSnapshotAttributeResult {
                create_volume_permissions: Some(everybody.into_iter().chain(accounts).collect()),
                snapshot_id,
                ..DescribeSnapshotAttributeResult::default()
            }
        }
    })
}

/// Permissions as a request says them.
fn permissions<'a>(
    users: impl Iterator<Item = &'a str>,
    groups: impl Iterator<Item = &'a str>,
) -> Result<Permissions, Ec2Error> {
    let mut all = Permissions::default();
    for user in users {
        let refused = |_| {
            let text = format!("Invalid user id: \"{}\" (12 digits)", shortened(user));
            Ec2Error::new("InvalidUserID.Malformed", text)
        };
        all.accounts.insert(AccountId::parse(user).map_err(refused)?);
    }
    for group in groups {
        if group != "all" {
            let text =
                format!("Invalid attribute item value \"{}\" for userGroup item type.", shortened(group));
            return Err(Ec2Error::new("InvalidAMIAttributeItemValue", text));
        }
        all.public = true;
    }
    Ok(all)
}

fn of_items(items: &[CreateVolumePermission]) -> Result<Permissions, Ec2Error> {
    permissions(
        items.iter().filter_map(|item| item.user_id.as_deref()),
        items.iter().filter_map(|item| item.group.map(PermissionGroup::as_str)),
    )
}

pub(in crate::front) async fn modify_attribute(
    cx: &Context<'_>,
    request: ModifySnapshotAttributeRequest,
) -> Result<Done, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    if request.attribute == Some(SnapshotAttributeName::ProductCodes) {
        return Err(Ec2Error::unsupported("Product codes of snapshots cannot be changed."));
    }
    let listed = permissions(
        request.user_ids.iter().map(String::as_str),
        request.group_names.iter().map(String::as_str),
    )?;
    let change = match (&request.create_volume_permission, request.operation_type) {
        (Some(_), Some(_)) => {
            return Err(Ec2Error::combination(
                "The parameter CreateVolumePermission cannot be used with the parameter OperationType",
            ));
        }
        (Some(changes), None) => PermissionChange {
            add: of_items(&changes.add)?,
            remove: of_items(&changes.remove)?,
            reset: false,
        },
        (None, Some(OperationType::Add)) => PermissionChange { add: listed, ..PermissionChange::default() },
        (None, Some(OperationType::Remove)) => {
            PermissionChange { remove: listed, ..PermissionChange::default() }
        }
        (None, None) => return Err(Ec2Error::missing("CreateVolumePermission")),
    };
    if change == PermissionChange::default() {
        return Err(Ec2Error::combination("No accounts and no group are named."));
    }
    rehearse(cx, &request, Shelf::OWN, &id).await?;
    cx.snapshots.change_permissions(cx.caller, &id, &change).await?;
    Ok(Done)
}

pub(in crate::front) async fn reset_attribute(
    cx: &Context<'_>,
    request: ResetSnapshotAttributeRequest,
) -> Result<Done, Ec2Error> {
    let id = snapshot_id(&request.snapshot_id)?;
    if request.attribute == SnapshotAttributeName::ProductCodes {
        return Err(Ec2Error::unsupported("Product codes of snapshots cannot be changed."));
    }
    rehearse(cx, &request, Shelf::OWN, &id).await?;
    let change = PermissionChange { reset: true, ..PermissionChange::default() };
    cx.snapshots.change_permissions(cx.caller, &id, &change).await?;
    Ok(Done)
}
