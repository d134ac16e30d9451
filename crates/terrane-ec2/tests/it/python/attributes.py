"""Regions, zones, instances, types, status and attributes."""

from common import INSTANCES, client, refused, volume

ec2 = client()
(region,) = ec2.describe_regions()["Regions"]
assert region["RegionName"] == "us-east-1" and region["OptInStatus"] == "opt-in-not-required"
assert ec2.describe_regions(RegionNames=["us-east-1"])["Regions"] == [region]
with refused("InvalidParameterValue"):
    ec2.describe_regions(RegionNames=["eu-west-9"])
assert ec2.describe_regions(Filters=[{"Name": "region-name", "Values": ["eu-*"]}])["Regions"] == []

zones = ec2.describe_availability_zones()["AvailabilityZones"]
assert [zone["ZoneName"] for zone in zones] == ["us-east-1a", "us-east-1b"]
assert {zone["State"] for zone in zones} == {"available"} and zones[0]["RegionName"] == "us-east-1"
some = ec2.describe_availability_zones(Filters=[{"Name": "zone-id", "Values": [zones[1]["ZoneId"]]}])
assert some["AvailabilityZones"] == zones[1:]
with refused("InvalidParameterValue", "us-east-1x"):
    ec2.describe_availability_zones(ZoneNames=["us-east-1x"])

ec2.get_waiter("instance_running").wait(InstanceIds=INSTANCES[:2])
ec2.get_waiter("instance_status_ok").wait(InstanceIds=INSTANCES[:2])
(found,) = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [INSTANCES[0]]}])["Reservations"]
host = found["Instances"][0]
assert host["State"] == {"Code": 16, "Name": "running"} and host["InstanceType"] == "terrane.host"
assert host["Placement"]["AvailabilityZone"] == "us-east-1a" and host["PrivateIpAddress"] == "127.0.0.1"
(kind,) = ec2.describe_instance_types(InstanceTypes=["terrane.host"])["InstanceTypes"]
assert kind["EbsInfo"]["MaximumEbsAttachments"] == 128
with refused("InvalidInstanceType"):
    ec2.describe_instance_types(InstanceTypes=["m5.large"])
offered = ec2.describe_instance_type_offerings(LocationType="availability-zone")["InstanceTypeOfferings"]
assert [offer["Location"] for offer in offered] == ["us-east-1a", "us-east-1b"]
value = ec2.describe_instance_attribute(InstanceId=INSTANCES[0], Attribute="instanceType")
assert value["InstanceType"] == {"Value": "terrane.host"}

one = volume(ec2)
(status,) = ec2.describe_volume_status(VolumeIds=[one])["VolumeStatuses"]
assert status["VolumeStatus"]["Status"] == "ok" and status["Events"] == [] and status["Actions"] == []
assert status["VolumeStatus"]["Details"][0] == {"Name": "io-enabled", "Status": "passed"}
attribute = ec2.describe_volume_attribute(VolumeId=one, Attribute="autoEnableIO")
assert attribute["AutoEnableIO"] == {"Value": False} and attribute["VolumeId"] == one
ec2.modify_volume_attribute(VolumeId=one, AutoEnableIO={"Value": False})
with refused("UnsupportedOperation"):
    ec2.modify_volume_attribute(VolumeId=one, AutoEnableIO={"Value": True})
assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False
assert ec2.list_volumes_in_recycle_bin()["Volumes"] == []
names = [a["AttributeName"] for a in ec2.describe_account_attributes()["AccountAttributes"]]
assert names == ["supported-platforms", "default-vpc"]
