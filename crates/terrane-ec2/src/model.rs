//! [`VolumeService`] in memory: what the front end is tested with, and what a real one is compared with.
//!
//! It stores no data and places nothing: a modification is granted if servers need not move anything for it.

mod attachments;
mod volumes;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use terrane_types::{AccountId, InstanceId, Region, VolumeId, Zone};

use crate::service::{
    AttachVolume, Attachment, AttachmentState, Caller, ClientToken, DetachVolume, HOST, Instance,
    InstanceState, InstanceVolume, NewVolume, ResourceId, Select, ServiceError, TAGS_MAX, TagRemoval, Tags,
    Volume, VolumeChange, VolumeModification, VolumeService, VolumeState, ZoneRecord, ZoneState, zone_id,
};

/// Volumes that an instance can have.
pub const ATTACHMENTS_MAX: usize = 128;

/// How long what takes time takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It is over when the call has been answered.
    AtOnce,
    /// It is over when it has been seen once: the next look at it finds it done.
    OnceSeen,
}

/// Volumes and instances in memory.
#[derive(Debug)]
pub struct Model {
    pace: Pace,
    zones: Vec<ZoneRecord>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    volumes: BTreeMap<VolumeId, Owned<Volume>>,
    instances: BTreeMap<InstanceId, Owned<Instance>>,
    tokens: BTreeMap<(AccountId, ClientToken), (NewVolume, VolumeId)>,
    made: u64,
}

/// Something of an account.
#[derive(Debug)]
struct Owned<T> {
    owner: AccountId,
    it: T,
}

impl Model {
    /// Two zones, `…a` and `…b`, and nothing in them.
    pub fn new(region: &Region, pace: Pace) -> Self {
        let zone = |letter: &str, number: u8| ZoneRecord {
            name: Zone::parse(&format!("{region}{letter}")).expect("a region's name and a letter"),
            id: zone_id(region, number),
            state: ZoneState::Available,
        };
        Self { pace, zones: vec![zone("a", 1), zone("b", 2)], state: Mutex::default() }
    }

    /// Registers a running instance in the first zone.
    pub fn register(&self, owner: AccountId, tags: Tags) -> InstanceId {
        let mut state = self.state.lock();
        let id = InstanceId::from_bits(state.random());
        let instance = Instance {
            id: id.clone(),
            zone: self.zones[0].name.clone(),
            kind: HOST.to_owned(),
            state: InstanceState::Running,
            launched: Timestamp::now(),
            private_ip: Some(std::net::Ipv4Addr::LOCALHOST.into()),
            host_name: Some("localhost".to_owned()),
            volumes: Vec::new(),
            tags,
        };
        state.instances.insert(id.clone(), Owned { owner, it: instance });
        id
    }
}

impl State {
    /// 128 bits that differ each time: SplitMix64 over a counter, twice.
    fn random(&mut self) -> u128 {
        let mut next = || {
            self.made += 1;
            let mut z = self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u128::from(z ^ (z >> 31))
        };
        next() << 64 | next()
    }

    /// A volume of the caller's that is not on its way out.
    fn volume(&mut self, caller: &Caller, id: &VolumeId) -> Result<&mut Volume, ServiceError> {
        match self.volumes.get_mut(id) {
            Some(Owned { owner, it }) if *owner == caller.account && it.state != VolumeState::Deleting => {
                Ok(it)
            }
            _ => Err(ServiceError::VolumeNotFound(vec![id.clone()])),
        }
    }

    /// An instance of the caller's with what is attached to it.
    fn instance(&self, caller: &Caller, id: &InstanceId) -> Result<Instance, ServiceError> {
        match self.instances.get(id) {
            Some(Owned { owner, it }) if *owner == caller.account => Ok(self.with_volumes(it)),
            _ => Err(ServiceError::InstanceNotFound(vec![id.clone()])),
        }
    }

    fn with_volumes(&self, instance: &Instance) -> Instance {
        let attachments = self.volumes.values().flat_map(|volume| &volume.it.attachments);
        let here = attachments.filter(|attachment| attachment.instance == instance.id);
        let mut volumes: Vec<InstanceVolume> = here
            .map(|attachment| InstanceVolume {
                volume: attachment.volume.clone(),
                device: attachment.device.clone(),
                state: attachment.state,
                attached: attachment.attached,
            })
            .collect();
        volumes.sort_by(|a, b| a.device.cmp(&b.device));
        Instance { volumes, ..instance.clone() }
    }

    fn tags_of(&mut self, caller: &Caller, id: &ResourceId) -> Result<&mut Tags, ServiceError> {
        let not_found = || ServiceError::ResourceNotFound(id.clone());
        match id {
            ResourceId::Volume(volume) => {
                self.volume(caller, volume).map(|volume| &mut volume.tags).map_err(|_| not_found())
            }
            ResourceId::Instance(instance) => match self.instances.get_mut(instance) {
                Some(Owned { owner, it }) if *owner == caller.account => Ok(&mut it.tags),
                _ => Err(not_found()),
            },
            ResourceId::Snapshot(_) => Err(not_found()),
        }
    }
}

/// A page of a map, or what is named. Those that are not the caller's are not there.
fn select<'a, Id: Ord + Clone, T>(
    all: &'a BTreeMap<Id, Owned<T>>,
    caller: &Caller,
    select: Select<'_, Id>,
    not_found: impl FnOnce(Vec<Id>) -> ServiceError,
) -> Result<Vec<&'a T>, ServiceError> {
    let own = |owned: &&'a Owned<T>| owned.owner == caller.account;
    match select {
        Select::Ids(ids) => {
            let find = |id: &Id| all.get(id).filter(own).map(|owned| &owned.it);
            let missing: Vec<Id> = ids.iter().filter(|id| find(id).is_none()).cloned().collect();
            if !missing.is_empty() {
                return Err(not_found(missing));
            }
            Ok(ids.iter().filter_map(find).collect())
        }
        Select::Page { after, limit } => {
            use std::ops::Bound::{Excluded, Unbounded};
            let range = all.range((after.map_or(Unbounded, Excluded), Unbounded));
            Ok(range.map(|(_, owned)| owned).filter(own).take(limit).map(|owned| &owned.it).collect())
        }
    }
}

#[async_trait]
impl VolumeService for Model {
    async fn create_volume(
        &self,
        caller: &Caller,
        token: Option<&ClientToken>,
        new: NewVolume,
    ) -> Result<Volume, ServiceError> {
        if !self.zones.iter().any(|zone| zone.name == new.zone) {
            return Err(ServiceError::ZoneNotFound(new.zone));
        }
        self.state.lock().create(caller, token, new, self.pace)
    }

    async fn delete_volume(&self, caller: &Caller, id: &VolumeId) -> Result<(), ServiceError> {
        self.state.lock().delete(caller, id, self.pace)
    }

    async fn volumes(
        &self,
        caller: &Caller,
        which: Select<'_, VolumeId>,
    ) -> Result<Vec<Volume>, ServiceError> {
        let mut state = self.state.lock();
        let found = select(&state.volumes, caller, which, ServiceError::VolumeNotFound)?;
        let found: Vec<Volume> = found.into_iter().cloned().collect();
        for volume in &found {
            state.seen(&volume.id);
        }
        Ok(found)
    }

    async fn modify_volume(
        &self,
        caller: &Caller,
        id: &VolumeId,
        change: VolumeChange,
    ) -> Result<VolumeModification, ServiceError> {
        self.state.lock().modify(caller, id, &change, self.pace)
    }

    async fn attach_volume(&self, caller: &Caller, what: AttachVolume) -> Result<Attachment, ServiceError> {
        self.state.lock().attach(caller, what, self.pace)
    }

    async fn detach_volume(&self, caller: &Caller, what: DetachVolume) -> Result<Attachment, ServiceError> {
        self.state.lock().detach(caller, &what, self.pace)
    }

    async fn instances(
        &self,
        caller: &Caller,
        which: Select<'_, InstanceId>,
    ) -> Result<Vec<Instance>, ServiceError> {
        let state = self.state.lock();
        let found = select(&state.instances, caller, which, ServiceError::InstanceNotFound)?;
        Ok(found.into_iter().map(|instance| state.with_volumes(instance)).collect())
    }

    async fn add_tags(&self, caller: &Caller, ids: &[ResourceId], tags: &Tags) -> Result<(), ServiceError> {
        let mut state = self.state.lock();
        for id in ids {
            let have = state.tags_of(caller, id)?;
            let more = tags.keys().filter(|key| !have.contains_key(*key)).count();
            if have.len() + more > TAGS_MAX {
                return Err(ServiceError::TagLimit(id.clone()));
            }
        }
        for id in ids {
            state.tags_of(caller, id)?.extend(tags.clone());
        }
        Ok(())
    }

    async fn remove_tags(
        &self,
        caller: &Caller,
        ids: &[ResourceId],
        removals: &[TagRemoval],
    ) -> Result<(), ServiceError> {
        let mut state = self.state.lock();
        for id in ids {
            state.tags_of(caller, id)?;
        }
        let goes = |key: &str, value: &str| {
            let named = |removal: &TagRemoval| {
                removal.key == key && removal.value.as_deref().is_none_or(|wanted| wanted == value)
            };
            removals.is_empty() || removals.iter().any(named)
        };
        for id in ids {
            state.tags_of(caller, id)?.retain(|key, value| !goes(key, value));
        }
        Ok(())
    }

    async fn zones(&self) -> Result<Vec<ZoneRecord>, ServiceError> {
        Ok(self.zones.clone())
    }
}

/// An attachment that is over is not there any more.
fn is_over(attachment: &Attachment) -> bool {
    attachment.state == AttachmentState::Detached
}
