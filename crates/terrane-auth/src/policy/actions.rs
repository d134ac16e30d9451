//! The actions that policies speak of. One table: the schema, the groups `read`, `write`, `admin` and the
//! documentation are made of it.

/// What an action does at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Looks at data or settings.
    Read,
    /// Changes data.
    Write,
    /// Changes settings, permissions or who may log in.
    Admin,
}

/// The kind of thing that an action is done with: the [`super::Target`] to authorise it against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// [`super::Target::Account`].
    Account,
    /// [`super::Target::Bucket`].
    Bucket,
    /// [`super::Target::Object`].
    Object,
    /// [`super::Target::Installation`].
    Installation,
    /// [`super::Target::Volume`].
    Volume,
    /// [`super::Target::Snapshot`].
    Snapshot,
    /// Both of [`super::Target::Volume`] and [`super::Target::Instance`], asked for each.
    VolumeAndInstance,
    /// Each of the resources that are tagged: [`super::Target::Volume`], [`super::Target::Instance`],
    /// [`super::Target::Snapshot`].
    Tagged,
}

impl On {
    /// The kinds of entities of the schema that it stands for.
    pub fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Account => &["Account"],
            Self::Bucket => &["Bucket"],
            Self::Object => &["Object"],
            Self::Installation => &["Installation"],
            Self::Volume => &["Volume"],
            Self::Snapshot => &["Snapshot"],
            Self::VolumeAndInstance => &["Volume", "Instance"],
            Self::Tagged => &["Volume", "Instance", "Snapshot"],
        }
    }
}

/// One action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// `s3:PutObject`: the service and, for S3 and EC2, the name that IAM gives it.
    pub name: &'static str,
    /// What it does at most.
    pub access: Access,
    /// What it is done with.
    pub on: On,
}

/// All actions of one kind: names separated by blanks.
struct Group(&'static str, Access, On, &'static str);

use Access::{Admin, Read, Write};

const GROUPS: &[Group] = &[
    Group("s3", Read, On::Account, "ListAllMyBuckets"),
    Group(
        "s3",
        Read,
        On::Bucket,
        "ListBucket ListBucketVersions ListBucketMultipartUploads GetBucketLocation GetBucketVersioning \
         GetBucketAcl GetBucketPolicy GetBucketPolicyStatus GetBucketTagging GetBucketCORS \
         GetBucketOwnershipControls GetBucketPublicAccessBlock GetBucketNotification GetBucketLogging \
         GetBucketRequestPayment GetBucketWebsite GetBucketObjectLockConfiguration GetLifecycleConfiguration \
         GetEncryptionConfiguration GetReplicationConfiguration GetAccelerateConfiguration \
         GetAnalyticsConfiguration GetInventoryConfiguration GetMetricsConfiguration \
         GetIntelligentTieringConfiguration",
    ),
    Group("s3", Write, On::Bucket, "CreateBucket DeleteBucket"),
    Group(
        "s3",
        Admin,
        On::Bucket,
        "PutBucketVersioning PutBucketAcl PutBucketPolicy DeleteBucketPolicy PutBucketTagging PutBucketCORS \
         PutBucketOwnershipControls PutBucketPublicAccessBlock PutBucketNotification PutBucketLogging \
         PutBucketRequestPayment PutBucketWebsite DeleteBucketWebsite PutBucketObjectLockConfiguration \
         PutLifecycleConfiguration PutEncryptionConfiguration PutReplicationConfiguration \
         PutAccelerateConfiguration PutAnalyticsConfiguration PutInventoryConfiguration \
         PutMetricsConfiguration PutIntelligentTieringConfiguration",
    ),
    Group(
        "s3",
        Read,
        On::Object,
        "GetObject GetObjectVersion GetObjectAttributes GetObjectVersionAttributes GetObjectAcl \
         GetObjectVersionAcl GetObjectTagging GetObjectVersionTagging GetObjectRetention GetObjectLegalHold \
         GetObjectTorrent ListMultipartUploadParts",
    ),
    Group(
        "s3",
        Write,
        On::Object,
        "PutObject DeleteObject DeleteObjectVersion AbortMultipartUpload PutObjectTagging \
         PutObjectVersionTagging DeleteObjectTagging DeleteObjectVersionTagging RestoreObject",
    ),
    Group(
        "s3",
        Admin,
        On::Object,
        "PutObjectAcl PutObjectVersionAcl PutObjectRetention PutObjectLegalHold BypassGovernanceRetention",
    ),
    // As with IAM, what describes is asked for the account as a whole.
    Group(
        "ec2",
        Read,
        On::Account,
        "DescribeVolumes DescribeVolumesModifications DescribeVolumeStatus DescribeVolumeAttribute \
         ListVolumesInRecycleBin DescribeSnapshots DescribeSnapshotAttribute DescribeSnapshotTierStatus \
         DescribeFastSnapshotRestores DescribeLockedSnapshots ListSnapshotsInRecycleBin DescribeTags \
         DescribeAvailabilityZones DescribeRegions DescribeAccountAttributes GetEbsEncryptionByDefault \
         DescribeInstances DescribeInstanceStatus DescribeInstanceAttribute DescribeInstanceTypes \
         DescribeInstanceTypeOfferings",
    ),
    Group("ec2", Write, On::Account, "CreateVolume RunInstances"),
    Group(
        "ec2",
        Write,
        On::Volume,
        "DeleteVolume ModifyVolume CopyVolumes RestoreVolumeFromRecycleBin EnableVolumeIO CreateSnapshot \
         CreateSnapshots",
    ),
    Group("ec2", Admin, On::Volume, "ModifyVolumeAttribute"),
    Group("ec2", Write, On::VolumeAndInstance, "AttachVolume DetachVolume"),
    Group("ec2", Write, On::Tagged, "CreateTags DeleteTags"),
    Group("ec2", Write, On::Snapshot, "DeleteSnapshot CopySnapshot RestoreSnapshotFromRecycleBin"),
    Group(
        "ec2",
        Admin,
        On::Snapshot,
        "ModifySnapshotAttribute ResetSnapshotAttribute ModifySnapshotTier RestoreSnapshotTier LockSnapshot \
         UnlockSnapshot EnableFastSnapshotRestores",
    ),
    Group(
        "ec2",
        Admin,
        On::Account,
        "EnableEbsEncryptionByDefault DisableEbsEncryptionByDefault EnableSnapshotBlockPublicAccess",
    ),
    Group("ebs", Read, On::Snapshot, "ListSnapshotBlocks ListChangedBlocks GetSnapshotBlock"),
    Group("ebs", Write, On::Account, "StartSnapshot"),
    Group("ebs", Write, On::Snapshot, "PutSnapshotBlock CompleteSnapshot"),
    // Whoever knows an attachment's address reads and writes the volume.
    Group("terrane", Write, On::Volume, "UseVolume"),
    Group(
        "terrane",
        Read,
        On::Account,
        "GetAccount ListUsers ListAccessKeys ListTokens ListPolicies GetPolicy GetOperation ReadEvents",
    ),
    Group(
        "terrane",
        Admin,
        On::Account,
        "CreateUser UpdateUser DeleteUser CreateAccessKey UpdateAccessKey DeleteAccessKey CreateToken \
         DeleteToken SetPassword PutPolicy DeletePolicy AttachPolicy",
    ),
    Group("terrane", Read, On::Bucket, "GetBucketMode"),
    Group("terrane", Admin, On::Bucket, "PutBucketMode"),
    Group(
        "terrane",
        Read,
        On::Installation,
        "ListAccounts GetStatus ListDrives ListServers ListWorkflows ListQueues GetMetrics ReadAuditLog CheckStore",
    ),
    Group(
        "terrane",
        Admin,
        On::Installation,
        "CreateAccount UpdateAccount DeleteAccount ControlDrives ControlServers ControlWorkflows ControlQueues DeclareLost RotateKeys \
         BackupStore",
    ),
];

/// Every action, in the order of the table.
pub fn all() -> &'static [Action] {
    static ALL: std::sync::LazyLock<Vec<Action>> = std::sync::LazyLock::new(|| {
        let expand = |Group(service, access, on, names): &'static Group| {
            names.split_ascii_whitespace().map(move |name| Action {
                // Made once per process and kept: the names are as good as literals.
                name: Box::leak(format!("{service}:{name}").into_boxed_str()),
                access: *access,
                on: *on,
            })
        };
        GROUPS.iter().flat_map(expand).collect()
    });
    &ALL
}

/// The action of a name. What is not in the table is allowed to nobody but an account's root and users with
/// full access.
pub fn find(name: &str) -> Option<&'static Action> {
    static BY_NAME: std::sync::LazyLock<std::collections::HashMap<&'static str, &'static Action>> =
        std::sync::LazyLock::new(|| all().iter().map(|action| (action.name, action)).collect());
    BY_NAME.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let mut names: Vec<_> = all().iter().map(|a| a.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        let put = find("s3:PutObject").unwrap();
        assert_eq!((put.access, put.on), (Access::Write, On::Object));
        assert_eq!(find("s3:Nonsense"), None);
    }
}
