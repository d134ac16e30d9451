//! Settings of the account.

use super::Context;
use crate::dto::{
    AccountAttribute, AccountAttributeName, AccountAttributeValue, DescribeAccountAttributesRequest,
    DescribeAccountAttributesResult, DisableEbsEncryptionByDefaultRequest,
    DisableEbsEncryptionByDefaultResult, GetEbsEncryptionByDefaultRequest, GetEbsEncryptionByDefaultResult,
};
use crate::error::Ec2Error;

/// Encryption by keys of the account is not offered, and so not the default.
pub(super) async fn encryption_by_default(
    cx: &Context<'_>,
    request: GetEbsEncryptionByDefaultRequest,
) -> Result<GetEbsEncryptionByDefaultResult, Ec2Error> {
    cx.dry_run(&request)?;
    Ok(GetEbsEncryptionByDefaultResult { ebs_encryption_by_default: Some(false), sse_type: None })
}

/// It never is, which is what the caller wants.
pub(super) async fn disable_encryption_by_default(
    cx: &Context<'_>,
    request: DisableEbsEncryptionByDefaultRequest,
) -> Result<DisableEbsEncryptionByDefaultResult, Ec2Error> {
    cx.dry_run(&request)?;
    Ok(DisableEbsEncryptionByDefaultResult { ebs_encryption_by_default: Some(false) })
}

pub(super) async fn describe_attributes(
    cx: &Context<'_>,
    request: DescribeAccountAttributesRequest,
) -> Result<DescribeAccountAttributesResult, Ec2Error> {
    cx.dry_run(&request)?;
    let wanted = |name: &AccountAttributeName| {
        request.attribute_names.is_empty() || request.attribute_names.contains(name)
    };
    let values =
        [(AccountAttributeName::SupportedPlatforms, "VPC"), (AccountAttributeName::DefaultVpc, "none")];
    let shown = |(name, value): (AccountAttributeName, &str)| AccountAttribute {
        attribute_name: Some(name.as_str().to_owned()),
        attribute_values: Some(vec![AccountAttributeValue { attribute_value: Some(value.to_owned()) }]),
    };
    let attributes = values.into_iter().filter(|(name, _)| wanted(name)).map(shown).collect();
    Ok(DescribeAccountAttributesResult { account_attributes: Some(attributes) })
}
