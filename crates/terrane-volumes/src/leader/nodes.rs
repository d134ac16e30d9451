//! Node managers: which attachments they shall serve, and how far they are.

use std::collections::BTreeSet;

use terrane_block_core::AttachmentEpoch;
use terrane_block_wire::control::{AttachmentOrder, AttachmentProgress, FromManager};
use terrane_types::{InstanceId, VolumeId, Zone};

use super::servers::KeepLatest as _;
use super::{Leader, Purpose, Role, SessionId};
use crate::jobs::{Job, progressed};
use crate::liveness::Millis;
use crate::rows::{AttachmentStateRow, LifeRow, VolumeRow};

/// A machine whose node manager is away for so long counts as stopped.
const STOPPED_AFTER: Millis = 10_000;
/// Processes remembered as replaced.
const REPLACED_MAX: usize = 16;

impl Leader {
    pub(super) fn node_hello(
        &mut self,
        session: SessionId,
        instance: InstanceId,
        zone: Zone,
        host_name: String,
        process: u128,
    ) {
        let node = self.nodes.entry(instance.clone()).or_default();
        if node.process != process {
            if node.replaced.contains(&process) {
                return self.reject(session, "another process speaks for this machine");
            }
            let before = node.process;
            node.replaced.push_back(before);
            node.replaced.keep_latest(REPLACED_MAX);
        }
        let same = node.process == process;
        (node.process, node.ready, node.told_up) = (process, false, Some(true));
        let former = node.session.replace(session);
        if let Some(former) = former.filter(|former| *former != session) {
            if let Some(former) = self.sessions.get_mut(&former) {
                former.role = Role::Unknown;
            }
            self.replace(former, same);
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.role = Role::Node(instance.clone());
        }
        self.welcome(session);
        let account = self.host_account.clone();
        let job = Job::Node { account, instance: instance.clone(), zone, host_name, process };
        self.run(job, Purpose::Node(instance, session));
    }

    /// Its attachments have their epochs: it may have its orders.
    pub(super) fn node_ready(&mut self, instance: &InstanceId, session: SessionId) {
        let node = self.nodes.get_mut(instance).filter(|node| node.session == Some(session));
        if let Some(node) = node {
            node.ready = true;
            self.push_orders([instance].into_iter());
        }
    }

    /// Sends all its orders to each of these machines, and the views of their stripes.
    pub(super) fn push_orders<'a>(&mut self, instances: impl Iterator<Item = &'a InstanceId>) {
        let instances: BTreeSet<InstanceId> = instances.cloned().collect();
        for instance in instances {
            let session = self.nodes.get(&instance).filter(|node| node.ready).and_then(|node| node.session);
            let Some(session) = session else { continue };
            let orders: Vec<_> =
                self.volumes.values().filter_map(|volume| order(volume, &instance)).collect();
            let stripes: Vec<_> = orders.iter().flat_map(|order| order.stripes.clone()).collect();
            self.send(session, FromManager::Attachments(orders));
            for stripe in stripes {
                self.send_view(session, stripe);
            }
        }
    }

    /// Sessions of the node managers that shall serve a volume.
    pub(super) fn node_sessions(&self, volume: &VolumeRow) -> Vec<SessionId> {
        let instances = volume.attachments.iter().map(|attachment| &attachment.instance);
        let nodes = instances.filter_map(|instance| self.nodes.get(instance));
        nodes.filter(|node| node.ready).filter_map(|node| node.session).collect()
    }

    pub(super) fn attachment(&mut self, id: &VolumeId, epoch: AttachmentEpoch, progress: AttachmentProgress) {
        let Some(volume) = self.volume(id) else { return };
        let mut after = volume.clone();
        progressed(&mut after, epoch, &progress);
        if after != *volume
            && let Some(key) = self.ids.get(id).cloned()
        {
            self.run(Job::Progress { volume: key, epoch, progress }, Purpose::Other);
        }
    }

    pub(super) fn watch_nodes(&mut self, now: Millis) {
        let mut stopped = Vec::new();
        for (instance, node) in &mut self.nodes {
            let away = node.session.is_none() && now.saturating_sub(node.left) >= STOPPED_AFTER;
            if away && node.told_up != Some(false) {
                node.told_up = Some(false);
                stopped.push(instance.clone());
            }
        }
        for instance in stopped {
            tracing::warn!(%instance, "its node manager is away: the machine counts as stopped");
            let account = self.host_account.clone();
            self.run(Job::NodeUp { account, instance, up: false }, Purpose::Other);
        }
    }
}

/// What a machine's node manager is told of a volume.
fn order(volume: &VolumeRow, instance: &InstanceId) -> Option<AttachmentOrder> {
    let mut attachments = volume.attachments.iter();
    let attachment = attachments.find(|attachment| attachment.instance == *instance)?;
    let serves = volume.life == LifeRow::Ready && attachment.state != AttachmentStateRow::Cutting;
    serves.then(|| AttachmentOrder {
        volume: volume.id.clone(),
        epoch: attachment.epoch,
        client: attachment.client,
        size: volume.settings.bytes(),
        stripe_bytes: volume.stripe_bytes,
        stripes: volume.stripes.clone(),
        secret: attachment.secret.0.clone(),
        device: attachment.device.clone(),
        read_only: false,
        detaching: attachment.state == AttachmentStateRow::Detaching,
    })
}
