//! What holds for every action that is offered.

use terrane_ec2::model::Pace;
use terrane_ec2::service::Caller;
use terrane_ec2::{Call, Ec2};
use terrane_types::AccountId;

use crate::server::{KEYS, World};

/// Each action with parameters that it would accept (`V`: a volume, `I`: an instance), and what it answers to a
/// rehearsal: `DryRunOperation`, or why it could not be done anyway.
pub(crate) const ACTIONS: &[(&str, &str, &str)] = &[
    ("CreateVolume", "AvailabilityZone=us-east-1a&Size=1", ""),
    ("DeleteVolume", "VolumeId=V", ""),
    ("DescribeVolumes", "VolumeId.1=V", ""),
    ("CopyVolumes", "SourceVolumeId=V", "UnsupportedOperation"),
    ("ListVolumesInRecycleBin", "", ""),
    ("RestoreVolumeFromRecycleBin", "VolumeId=V", ""),
    ("AttachVolume", "VolumeId=V&InstanceId=I&Device=/dev/sdf", ""),
    ("DetachVolume", "VolumeId=V", ""),
    ("ModifyVolume", "VolumeId=V&Size=9", ""),
    ("DescribeVolumesModifications", "", ""),
    ("DescribeVolumeStatus", "VolumeId.1=V", ""),
    ("DescribeVolumeAttribute", "VolumeId=V&Attribute=autoEnableIO", ""),
    ("ModifyVolumeAttribute", "VolumeId=V&AutoEnableIO.Value=false", ""),
    ("EnableVolumeIO", "VolumeId=V", ""),
    ("CreateSnapshot", "VolumeId=V", "UnsupportedOperation"),
    ("CreateSnapshots", "InstanceSpecification.InstanceId=I", "UnsupportedOperation"),
    ("DeleteSnapshot", "SnapshotId=snap-12345678", "InvalidSnapshot.NotFound"),
    ("CopySnapshot", "SourceSnapshotId=snap-12345678&SourceRegion=x", "InvalidSnapshot.NotFound"),
    ("DescribeSnapshots", "Owner.1=self", ""),
    (
        "DescribeSnapshotAttribute",
        "SnapshotId=snap-12345678&Attribute=createVolumePermission",
        "InvalidSnapshot.NotFound",
    ),
    (
        "ModifySnapshotAttribute",
        "SnapshotId=snap-12345678&OperationType=add&UserGroup.1=all",
        "InvalidSnapshot.NotFound",
    ),
    (
        "ResetSnapshotAttribute",
        "SnapshotId=snap-12345678&Attribute=createVolumePermission",
        "InvalidSnapshot.NotFound",
    ),
    ("DescribeSnapshotTierStatus", "", ""),
    ("ModifySnapshotTier", "SnapshotId=snap-12345678", "InvalidSnapshot.NotFound"),
    ("RestoreSnapshotTier", "SnapshotId=snap-12345678", "InvalidSnapshot.NotFound"),
    ("DescribeFastSnapshotRestores", "", ""),
    (
        "EnableFastSnapshotRestores",
        "SourceSnapshotId.1=snap-12345678&AvailabilityZone.1=a",
        "UnsupportedOperation",
    ),
    (
        "LockSnapshot",
        "SnapshotId=snap-12345678&LockMode=governance&LockDuration=1",
        "InvalidSnapshot.NotFound",
    ),
    ("UnlockSnapshot", "SnapshotId=snap-12345678", "InvalidSnapshot.NotFound"),
    ("DescribeLockedSnapshots", "", ""),
    ("ListSnapshotsInRecycleBin", "", ""),
    ("RestoreSnapshotFromRecycleBin", "SnapshotId=snap-12345678", "InvalidSnapshot.NotFound"),
    ("EnableSnapshotBlockPublicAccess", "State=block-all-sharing", "UnsupportedOperation"),
    ("GetEbsEncryptionByDefault", "", ""),
    ("EnableEbsEncryptionByDefault", "", "UnsupportedOperation"),
    ("DisableEbsEncryptionByDefault", "", ""),
    ("DescribeAccountAttributes", "", ""),
    ("CreateTags", "ResourceId.1=V&ResourceId.2=I&Tag.1.Key=k&Tag.1.Value=v", ""),
    ("DeleteTags", "ResourceId.1=V", ""),
    ("DescribeTags", "", ""),
    ("DescribeAvailabilityZones", "", ""),
    ("DescribeRegions", "", ""),
    ("DescribeInstances", "InstanceId.1=I", ""),
    ("DescribeInstanceStatus", "", ""),
    ("DescribeInstanceAttribute", "InstanceId=I&Attribute=instanceType", ""),
    ("DescribeInstanceTypes", "", ""),
    ("DescribeInstanceTypeOfferings", "", ""),
    ("RunInstances", "MinCount=1&MaxCount=1", "UnsupportedOperation"),
];

pub(crate) struct Client {
    ec2: Ec2,
    caller: Caller,
    volume: String,
    instance: String,
}

impl Client {
    pub(crate) async fn new() -> Self {
        let world = World::new(Pace::AtOnce);
        let caller = Caller {
            account: AccountId::parse(KEYS[0].1).unwrap(),
            principal: "root".into(),
            request_id: "r-1".into(),
        };
        let instance = world.instances[0].to_string();
        let mut client = Self { ec2: world.ec2, caller, volume: String::new(), instance };
        let (_, made) = client.call("CreateVolume", "AvailabilityZone=us-east-1a&Size=1").await;
        client.volume = element(&made, "volumeId").to_owned();
        client
    }

    pub(crate) async fn call(&self, action: &str, parameters: &str) -> (u16, String) {
        let filled = parameters.replace("=V", &format!("={}", self.volume));
        let filled = filled.replace("=I", &format!("={}", self.instance));
        let body = format!("Action={action}&Version=2016-11-15&{filled}");
        let response = match Call::parse(None, body.as_bytes()) {
            Ok(call) => self.ec2.handle(&self.caller, call).await,
            Err(error) => Ec2::refuse(&error, "r-1"),
        };
        let status = response.status().as_u16();
        (status, String::from_utf8(response.into_body().to_vec()).unwrap())
    }
}

pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = xml.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    inner.map_or("", |(inner, _)| inner)
}

#[tokio::test]
async fn a_rehearsal_changes_nothing_and_says_so() {
    let client = Client::new().await;
    let before = client.call("DescribeVolumes", "").await;
    for (action, parameters, code) in ACTIONS {
        let (status, xml) = client.call(action, &format!("{parameters}&DryRun=true")).await;
        let expected = if code.is_empty() { ("DryRunOperation", 412) } else { (*code, 400) };
        assert_eq!((element(&xml, "Code"), status), expected, "{action}: {xml}");
    }
    assert_eq!(client.call("DescribeVolumes", "").await, before);
}

#[tokio::test]
async fn an_unknown_parameter_is_refused_everywhere() {
    let client = Client::new().await;
    for (action, parameters, code) in ACTIONS {
        let (status, xml) = client.call(action, &format!("{parameters}&Nonsense=1")).await;
        // What is not offered at all does not read its parameters.
        let expected =
            if *code == "UnsupportedOperation" { element(&xml, "Code") } else { "UnknownParameter" };
        assert_eq!((element(&xml, "Code"), status), (expected, 400), "{action}: {xml}");
    }
}

#[tokio::test]
async fn answers_are_documents_of_their_action() {
    let client = Client::new().await;
    for (action, parameters, _) in ACTIONS.iter().filter(|(action, ..)| action.starts_with("Describe")) {
        let (status, xml) = client.call(action, parameters).await;
        if status == 200 {
            let start = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response \
                 xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>"
            );
            assert!(xml.starts_with(&start) && xml.ends_with(&format!("</{action}Response>")), "{xml}");
        } else {
            assert_eq!(element(&xml, "Code"), "InvalidSnapshot.NotFound", "{action}: {xml}");
        }
    }
}

#[tokio::test]
async fn actions_that_nobody_knows() {
    let client = Client::new().await;
    let (status, xml) = client.call("EatVolume", "").await;
    assert_eq!((element(&xml, "Code"), status), ("InvalidAction", 400));
    assert_eq!(element(&xml, "RequestID"), "r-1");
    let (_, xml) = client.call("CreateVpc", "CidrBlock=10.0.0.0/8").await;
    assert_eq!(element(&xml, "Code"), "UnsupportedOperation");
}
