"""A volume's life, with waiters: things take time here."""

from common import FAST, INSTANCES, client, refused

ec2 = client()
made = ec2.create_volume(
    AvailabilityZone="us-east-1a",
    Size=10,
    VolumeType="gp3",
    TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "ä <&> b"}]}],
)
assert made["State"] == "creating" and made["Size"] == 10 and made["Iops"] == 3000
assert made["Throughput"] == 125 and made["Encrypted"] is False and made["SnapshotId"] == ""
assert made["Attachments"] == [] and made["MultiAttachEnabled"] is False
assert made["Tags"] == [{"Key": "Name", "Value": "ä <&> b"}]
volume, instance = made["VolumeId"], INSTANCES[0]

with refused("IncorrectState"):
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=FAST)

attached = ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
assert attached["State"] == "attaching" and attached["Device"] == "/dev/sdf"
ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig=FAST)
seen = ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
(attachment,) = seen["Attachments"]
assert attachment["State"] == "attached" and attachment["InstanceId"] == instance
assert attachment["AttachTime"] == attached["AttachTime"] and not attachment["DeleteOnTermination"]
host = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
(mapping,) = host["BlockDeviceMappings"]
assert mapping["DeviceName"] == "/dev/sdf" and mapping["Ebs"]["VolumeId"] == volume

with refused("VolumeInUse"):
    ec2.delete_volume(VolumeId=volume)
with refused("VolumeInUse"):
    ec2.attach_volume(VolumeId=volume, InstanceId=INSTANCES[1], Device="/dev/sdf")

detaching = ec2.detach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
assert detaching["State"] == "detaching"
ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=FAST)
with refused("IncorrectState"):
    ec2.detach_volume(VolumeId=volume)

ec2.delete_volume(VolumeId=volume)
ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume], WaiterConfig=FAST)
with refused("InvalidVolume.NotFound"):
    ec2.delete_volume(VolumeId=volume)
