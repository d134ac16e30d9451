"""ModifyVolume: what can simply be granted."""

from common import FAST, client, refused, volume

ec2 = client()
one = volume(ec2, size=10, VolumeType="gp3")
with refused("InvalidVolumeModification.NotFound"):
    ec2.describe_volumes_modifications(VolumeIds=[one])
assert ec2.describe_volumes_modifications()["VolumesModifications"] == []
ec2.get_waiter("volume_available").wait(VolumeIds=[one], WaiterConfig=FAST)

asked = ec2.modify_volume(VolumeId=one, Size=20, Iops=4000)["VolumeModification"]
assert asked["ModificationState"] == "modifying" and asked["Progress"] == 0, asked
assert (asked["OriginalSize"], asked["TargetSize"]) == (10, 20)
assert (asked["OriginalIops"], asked["TargetIops"]) == (3000, 4000)
with refused("IncorrectModificationState"):
    ec2.modify_volume(VolumeId=one, Size=30)
ec2.describe_volumes(VolumeIds=[one])
(done,) = ec2.describe_volumes_modifications(VolumeIds=[one])["VolumesModifications"]
assert done["ModificationState"] == "completed" and done["Progress"] == 100 and "EndTime" in done
now = ec2.describe_volumes(VolumeIds=[one])["Volumes"][0]
assert (now["Size"], now["Iops"], now["Throughput"]) == (20, 4000, 125)

for filters, count in [
    ([{"Name": "modification-state", "Values": ["comp*"]}], 1),
    ([{"Name": "target-size", "Values": ["20"]}, {"Name": "original-size", "Values": ["10"]}], 1),
    ([{"Name": "target-size", "Values": ["10"]}], 0),
]:
    found = ec2.describe_volumes_modifications(Filters=filters)["VolumesModifications"]
    assert len(found) == count, filters

with refused("DryRunOperation"):
    ec2.modify_volume(VolumeId=one, Iops=80000, DryRun=True)
with refused("InvalidParameterValue", "Volume iops of 2147483647 is too high; maximum is 80000."):
    ec2.modify_volume(VolumeId=one, Iops=2147483647, DryRun=True)
with refused("InvalidParameterCombination"):
    ec2.modify_volume(VolumeId=one, VolumeType="st1", Iops=3000)
with refused("MissingParameter"):
    ec2.modify_volume(VolumeId=one)
with refused("UnsupportedOperation"):
    ec2.modify_volume(VolumeId=one, Size=5)
ec2.modify_volume(VolumeId=one, VolumeType="gp2")
ec2.describe_volumes(VolumeIds=[one])
now = ec2.describe_volumes(VolumeIds=[one])["Volumes"][0]
assert now["VolumeType"] == "gp2" and now["Iops"] == 100 and "Throughput" not in now
