//! Attaching volumes to instances, and detaching them.

use super::Context;
use super::volumes::attachment;
use super::words::{instance_id, volume_id};
use crate::dto::{AttachVolumeRequest, DetachVolumeRequest, VolumeAttachment};
use crate::error::Ec2Error;
use crate::service::{AttachVolume, DetachVolume, is_device_name};

pub(super) async fn attach(
    cx: &Context<'_>,
    request: AttachVolumeRequest,
) -> Result<VolumeAttachment, Ec2Error> {
    let what = AttachVolume {
        volume: volume_id(&request.volume_id)?,
        instance: instance_id(&request.instance_id)?,
        device: device(&request.device)?.to_owned(),
    };
    if request.ebs_card_index.is_some_and(|card| card != 0) {
        return Err(Ec2Error::unsupported("Instances have one card for volumes: EbsCardIndex must be 0."));
    }
    cx.dry_run(&request)?;
    Ok(attachment(&cx.service.attach_volume(cx.caller, what).await?))
}

pub(super) async fn detach(
    cx: &Context<'_>,
    request: DetachVolumeRequest,
) -> Result<VolumeAttachment, Ec2Error> {
    let what = DetachVolume {
        volume: volume_id(&request.volume_id)?,
        instance: request.instance_id.as_deref().map(instance_id).transpose()?,
        device: request.device.as_deref().map(device).transpose()?.map(str::to_owned),
        force: request.force.unwrap_or_default(),
    };
    cx.dry_run(&request)?;
    Ok(attachment(&cx.service.detach_volume(cx.caller, what).await?))
}

fn device(text: &str) -> Result<&str, Ec2Error> {
    if is_device_name(text) {
        Ok(text)
    } else {
        Err(Ec2Error::invalid_value(text, "device", "It is not a valid EBS device name."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        for legal in ["/dev/sdf", "/dev/sda1", "/dev/xvdba", "sdh", "xvdf", "/dev/hdc", "/dev/sdf15"] {
            assert!(device(legal).is_ok(), "{legal}");
        }
        for bad in
            ["", "/dev/", "/dev/sd", "/dev/nvme0n1", "/dev/sdf123", "/dev/SDF", "/dev/sd1", "/dev/sdé", "foo"]
        {
            assert!(device(bad).is_err(), "{bad}");
        }
    }
}
