//! awscli and volumes of `terrane up`.

use std::process::Command;

use crate::installation::Installation;
use crate::tools::{run, succeed, tool};

fn aws(installation: &Installation, args: &[&str]) -> Command {
    let mut command = Command::new(tool("aws"));
    installation.environment(&mut command);
    command.arg("ec2").args(args).current_dir(installation.scratch());
    command
}

fn says(installation: &Installation, args: &[&str]) -> String {
    succeed(&mut aws(installation, args)).trim().to_owned()
}

fn fails(installation: &Installation, args: &[&str]) -> String {
    let output = run(&mut aws(installation, args));
    assert!(!output.status.success(), "{args:?} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn awscli_makes_attaches_changes_and_deletes_volumes() {
    let installation = Installation::start();
    let ec2 = |args: &[&str]| says(&installation, args);
    let text = |query: &'static str| ["--query", query, "--output", "text"];
    let zones = ec2(&[&["describe-availability-zones"], &text("AvailabilityZones[].ZoneName")[..]].concat());
    assert_eq!(zones, "us-east-1a\tus-east-1b");
    let instances = "Reservations[].Instances[].[InstanceId,State.Name]";
    let instance = ec2(&[&["describe-instances"], &text(instances)[..]].concat());
    let (instance, state) = instance.split_once('\t').unwrap();
    assert_eq!(state, "running", "the machine itself");

    let tag = "ResourceType=volume,Tags=[{Key=Name,Value=db}]";
    let create =
        ["create-volume", "--availability-zone", "us-east-1b", "--size", "2", "--volume-type", "gp3"];
    let id = ec2(&[&create[..], &["--tag-specifications", tag], &text("VolumeId")].concat());
    ec2(&["wait", "volume-available", "--volume-ids", &id]);
    ec2(&["attach-volume", "--volume-id", &id, "--instance-id", instance, "--device", "/dev/sdf"]);
    ec2(&["wait", "volume-in-use", "--volume-ids", &id]);
    let query = text("Volumes[].[VolumeId,Size,AvailabilityZone,Attachments[0].InstanceId]");
    let filters = ["describe-volumes", "--filters", "Name=tag:Name,Values=d*", "Name=status,Values=in-use"];
    assert_eq!(ec2(&[&filters[..], &query].concat()), format!("{id}\t2\tus-east-1b\t{instance}"));
    assert!(fails(&installation, &["delete-volume", "--volume-id", &id]).contains("(VolumeInUse)"));
    ec2(&["modify-volume", "--volume-id", &id, "--iops", "4000"]);
    let query = text("VolumesModifications[].[ModificationState,OriginalIops,TargetIops]");
    let modified = ec2(&[&["describe-volumes-modifications", "--volume-ids", &id], &query[..]].concat());
    assert_eq!(modified, "completed\t3000\t4000");
    let status = text("VolumeStatuses[].VolumeStatus.Status");
    assert_eq!(ec2(&[&["describe-volume-status", "--volume-ids", &id], &status[..]].concat()), "ok");
    ec2(&["detach-volume", "--volume-id", &id]);
    ec2(&["wait", "volume-available", "--volume-ids", &id]);
    ec2(&["delete-volume", "--volume-id", &id]);
    ec2(&["wait", "volume-deleted", "--volume-ids", &id]);
    let gone = fails(&installation, &["describe-volumes", "--volume-ids", &id]);
    assert!(gone.contains("(InvalidVolume.NotFound)"), "{gone}");
}

#[test]
fn what_is_not_allowed_or_not_offered() {
    let installation = Installation::start();
    installation.cli(&["user", "create", "alice", "--policy", "read-only"]);
    let key = installation.cli(&["key", "create", "--user", "alice"]);
    let as_alice = |args: &[&str]| {
        let mut command = aws(&installation, args);
        command.env("AWS_ACCESS_KEY_ID", key["id"].as_str().unwrap());
        command.env("AWS_SECRET_ACCESS_KEY", key["secret"].as_str().unwrap());
        run(&mut command)
    };
    let create = ["create-volume", "--availability-zone", "us-east-1a", "--size", "1"];
    let refused = as_alice(&create);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("(UnauthorizedOperation)"), "{said}");
    assert!(as_alice(&["describe-volumes"]).status.success());
    let dry = fails(&installation, &[&create[..], &["--dry-run"]].concat());
    assert!(dry.contains("(DryRunOperation)"), "{dry}");
    for (args, code) in [
        (
            &["create-volume", "--availability-zone", "us-east-1a", "--size", "1", "--encrypted"][..],
            "UnsupportedOperation",
        ),
        (&["create-volume", "--availability-zone", "us-east-9z", "--size", "1"], "InvalidZone.NotFound"),
        (
            &[
                "attach-volume",
                "--volume-id",
                "vol-0123456789abcdef0",
                "--instance-id",
                "i-0123456789abcdef0",
                "--device",
                "/dev/sdf",
            ],
            "InvalidInstanceID.NotFound",
        ),
        (&["delete-snapshot", "--snapshot-id", "snap-0123456789abcdef0"], "InvalidSnapshot.NotFound"),
    ] {
        let said = fails(&installation, args);
        assert!(said.contains(&format!("({code})")), "{args:?}: {said}");
    }
}
