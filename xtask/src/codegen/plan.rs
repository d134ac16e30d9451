//! What is generated, and into which file.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use super::model::Model;

/// Enums with more words stay strings: open sets, such as the types of instances.
const WORDS_MAX: usize = 40;

/// Files of operations. A structure goes to the first one that needs it; what several need goes to `common`.
const FAMILIES: &[(&str, &str)] = &[
    (
        "volumes",
        "CreateVolume DeleteVolume DescribeVolumes CopyVolumes AttachVolume DetachVolume ModifyVolume \
         DescribeVolumesModifications",
    ),
    (
        "volume_status",
        "DescribeVolumeStatus EnableVolumeIO DescribeVolumeAttribute ModifyVolumeAttribute \
         ListVolumesInRecycleBin RestoreVolumeFromRecycleBin",
    ),
    (
        "snapshots",
        "CreateSnapshot CreateSnapshots DeleteSnapshot CopySnapshot DescribeSnapshots \
         DescribeSnapshotAttribute ModifySnapshotAttribute ResetSnapshotAttribute",
    ),
    (
        "snapshot_locks",
        "LockSnapshot UnlockSnapshot DescribeLockedSnapshots ListSnapshotsInRecycleBin \
         RestoreSnapshotFromRecycleBin",
    ),
    (
        "snapshot_tiers",
        "DescribeSnapshotTierStatus ModifySnapshotTier RestoreSnapshotTier EnableFastSnapshotRestores \
         DisableFastSnapshotRestores DescribeFastSnapshotRestores",
    ),
    (
        "account",
        "EnableSnapshotBlockPublicAccess DisableSnapshotBlockPublicAccess GetSnapshotBlockPublicAccessState \
         EnableEbsEncryptionByDefault DisableEbsEncryptionByDefault GetEbsEncryptionByDefault \
         GetEbsDefaultKmsKeyId ModifyEbsDefaultKmsKeyId ResetEbsDefaultKmsKeyId DescribeAccountAttributes",
    ),
    ("tags", "CreateTags DeleteTags DescribeTags"),
    ("places", "DescribeAvailabilityZones DescribeRegions"),
    ("instances", "DescribeInstances"),
    ("instance_status", "DescribeInstanceStatus DescribeInstanceAttribute"),
    ("instance_types", "DescribeInstanceTypes DescribeInstanceTypeOfferings"),
];

/// Members of answers that Terrane has nothing to say about. Not there and not known is the same on the wire.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "Instance",
        "CapacityReservationId CapacityReservationSpecification CpuOptions ElasticGpuAssociations \
         ElasticInferenceAcceleratorAssociations EnclaveOptions HibernationOptions IamInstanceProfile Licenses \
         MaintenanceOptions MetadataOptions NetworkInterfaces NetworkPerformanceOptions Operator \
         PrivateDnsNameOptions ProductCodes SecondaryInterfaces",
    ),
    (
        "InstanceTypeInfo",
        "FpgaInfo GpuInfo InferenceAcceleratorInfo InstanceStorageInfo MediaAcceleratorInfo NetworkInfo \
         NeuronInfo NitroTpmInfo PlacementGroupInfo",
    ),
];

/// Whether a structure's member is not generated.
pub(super) fn is_left_out(shape: &str, member: &str) -> bool {
    let mut rows = LEFT_OUT.iter().filter(|(name, _)| *name == shape);
    rows.any(|(_, members)| members.split_ascii_whitespace().any(|name| name == member))
}

/// Where a shape is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) in_requests: bool,
    pub(super) in_answers: bool,
}

/// What is generated.
#[derive(Debug)]
pub(super) struct Plan {
    /// Files and their operations.
    pub(super) families: Vec<(&'static str, Vec<&'static str>)>,
    /// Structures and enums that are needed.
    pub(super) uses: BTreeMap<String, Uses>,
    /// The file of each structure.
    pub(super) homes: BTreeMap<String, &'static str>,
}

impl Plan {
    pub(super) fn new(model: &Model) -> Result<Self> {
        let families: Vec<(&str, Vec<&str>)> = FAMILIES
            .iter()
            .map(|(file, operations)| (*file, operations.split_ascii_whitespace().collect()))
            .collect();
        let mut uses: BTreeMap<String, Uses> = BTreeMap::new();
        let mut homes: BTreeMap<String, &'static str> = BTreeMap::new();
        for (file, operations) in &families {
            let mut reached = BTreeSet::new();
            for name in operations {
                let operation =
                    model.operations.get(*name).with_context(|| format!("no operation {name}"))?;
                let input = operation.input.as_ref().with_context(|| format!("{name} has no input"))?;
                for shape in closure(model, &input.shape)? {
                    uses.entry(shape.clone()).or_default().in_requests = true;
                    reached.insert(shape);
                }
                let Some(output) = &operation.output else { continue };
                for shape in closure(model, &output.shape)? {
                    uses.entry(shape.clone()).or_default().in_answers = true;
                    reached.insert(shape);
                }
            }
            for shape in reached {
                homes.entry(shape).and_modify(|home| *home = "common").or_insert(file);
            }
        }
        Ok(Self { families, uses, homes })
    }

    /// Whether a shape is a Rust enum.
    pub(super) fn is_enum(model: &Model, shape: &str) -> Result<bool> {
        let words = &model.shape(shape)?.words;
        Ok(words.as_ref().is_some_and(|words| words.len() <= WORDS_MAX))
    }
}

/// Structures and enums that a shape is made of, itself among them.
fn closure(model: &Model, shape: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![shape.to_owned()];
    while let Some(name) = open.pop() {
        let shape = model.shape(&name)?;
        match shape.kind.as_str() {
            "structure" if found.contains(&name) => {}
            "structure" => {
                let kept = shape.members.iter().filter(|(member, _)| !is_left_out(&name, member));
                open.extend(kept.map(|(_, reference)| reference.shape.clone()));
                found.insert(name);
            }
            "list" => open.extend(shape.member.iter().map(|member| member.shape.clone())),
            "string" if Plan::is_enum(model, &name)? => _ = found.insert(name),
            "string" | "integer" | "long" | "float" | "double" | "boolean" | "timestamp" | "blob" => {}
            other => bail!("{name} is a {other}, which is not known"),
        }
    }
    Ok(found)
}
