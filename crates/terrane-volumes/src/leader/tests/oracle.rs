//! The same calls to the manager and to `terrane-ec2`'s model: the same answers, wherever the two can be compared.

use std::collections::BTreeMap;

use proptest::prelude::*;
use terrane_ec2::model::{Model, Pace};
use terrane_ec2::service::{
    AttachVolume, ClientToken, DetachVolume, NewVolume, ResourceId, Select, ServiceError, Settings,
    TagRemoval, Volume, VolumeChange, VolumeService, VolumeType,
};
use terrane_types::{InstanceId, Region, VolumeId, Zone};

use super::fleet::Fleet;

#[derive(Clone, Debug)]
enum Call {
    Create { size: u32, kind: VolumeType, token: Option<u8>, tags: u8 },
    Delete(usize),
    Attach { volume: usize, device: u8, instance: bool },
    Detach { volume: usize, device: Option<u8>, named: bool, force: bool },
    Modify { volume: usize, change: VolumeChange },
    Tag { volume: usize, instance: bool, count: u8 },
    Untag { volume: usize, key: u8, value: bool },
}

fn kinds() -> impl Strategy<Value = VolumeType> {
    prop::sample::select(VolumeType::ALL.to_vec())
}

fn calls() -> impl Strategy<Value = Call> {
    let change = (
        prop::option::of(1u32..5),
        prop::option::of(kinds()),
        prop::option::of(prop::sample::select(vec![100u32, 3000, 5000])),
        prop::option::of(prop::sample::select(vec![125u32, 300])),
        prop::option::of(any::<bool>()),
    );
    let change = change.prop_map(|(size_gib, kind, iops, throughput, multi_attach)| VolumeChange {
        size_gib,
        kind,
        iops,
        throughput,
        multi_attach,
    });
    prop_oneof![
        3 => (1u32..4, kinds(), prop::option::of(0u8..2), 0u8..2)
            .prop_map(|(size, kind, token, tags)| Call::Create { size, kind, token, tags }),
        1 => (0usize..4).prop_map(Call::Delete),
        3 => (0usize..4, 0u8..2, prop::bool::weighted(0.9))
            .prop_map(|(volume, device, instance)| Call::Attach { volume, device, instance }),
        2 => (0usize..4, prop::option::of(0u8..2), any::<bool>(), any::<bool>())
            .prop_map(|(volume, device, named, force)| Call::Detach { volume, device, named, force }),
        2 => (0usize..4, change).prop_map(|(volume, change)| Call::Modify { volume, change }),
        1 => (0usize..4, any::<bool>(), 0u8..60)
            .prop_map(|(volume, instance, count)| Call::Tag { volume, instance, count }),
        1 => (0usize..4, 0u8..3, any::<bool>())
            .prop_map(|(volume, key, value)| Call::Untag { volume, key, value }),
    ]
}

/// One of the two, with its own identifiers.
struct Side {
    volumes: Vec<VolumeId>,
    instance: InstanceId,
}

impl Side {
    fn volume(&self, index: usize) -> VolumeId {
        self.volumes.get(index).cloned().unwrap_or_else(|| VolumeId::from_bits(99))
    }

    /// Makes the call; the answer in a form that does not name identifiers or times.
    async fn call(
        &mut self,
        service: &dyn VolumeService,
        fleet: &super::fleet::Fleet,
        call: &Call,
    ) -> String {
        let caller = &fleet.caller;
        let answer = match call.clone() {
            Call::Create { size, kind, token, tags } => {
                let new = NewVolume { zone: zone(), settings: settings(size, kind), tags: tagged(tags) };
                let token = token.and_then(|token| ClientToken::parse(&token.to_string()));
                service.create_volume(caller, token.as_ref(), new).await.map(|made| {
                    if !self.volumes.contains(&made.id) {
                        self.volumes.push(made.id.clone());
                    }
                    format!("made {:?}", self.volumes.iter().position(|id| *id == made.id))
                })
            }
            Call::Delete(volume) => {
                service.delete_volume(caller, &self.volume(volume)).await.map(|()| "deleted".to_owned())
            }
            Call::Attach { volume, device, instance } => {
                let instance = if instance { self.instance.clone() } else { InstanceId::from_bits(77) };
                let what = AttachVolume { volume: self.volume(volume), instance, device: name(device) };
                service.attach_volume(caller, what).await.map(|at| format!("{:?} as {}", at.state, at.device))
            }
            Call::Detach { volume, device, named, force } => {
                let instance = named.then(|| self.instance.clone());
                let volume = self.volume(volume);
                let what = DetachVolume { volume, instance, device: device.map(name), force };
                service.detach_volume(caller, what).await.map(|at| format!("{:?} as {}", at.state, at.device))
            }
            Call::Modify { volume, change } => {
                service.modify_volume(caller, &self.volume(volume), change).await.map(|modified| {
                    format!("{:?} {:?} {:?}", modified.state, modified.original, modified.target)
                })
            }
            Call::Tag { volume, instance, count } => {
                let mut ids = vec![ResourceId::Volume(self.volume(volume))];
                ids.extend(instance.then(|| ResourceId::Instance(self.instance.clone())));
                service.add_tags(caller, &ids, &tagged(count)).await.map(|()| "tagged".to_owned())
            }
            Call::Untag { volume, key, value } => {
                let value = Some(if value { "v" } else { "other" }.to_owned());
                let removal = TagRemoval { key: key.to_string(), value };
                let ids = [ResourceId::Volume(self.volume(volume))];
                service.remove_tags(caller, &ids, &[removal]).await.map(|()| "untagged".to_owned())
            }
        };
        answer.unwrap_or_else(|error| kind_of(&error))
    }

    /// What is there, in the order in which it was made.
    async fn state(&self, service: &dyn VolumeService, fleet: &Fleet) -> String {
        let mut shown = Vec::new();
        for id in &self.volumes {
            match service.volumes(&fleet.caller, Select::Ids(std::slice::from_ref(id))).await {
                Ok(found) => shown.extend(found.iter().map(comparable)),
                Err(error) => shown.push(kind_of(&error)),
            }
        }
        let all = Select::Page { after: None, limit: 100 };
        let volumes = service.volumes(&fleet.caller, all).await.unwrap().len();
        let instances =
            service.instances(&fleet.caller, Select::Page { after: None, limit: 10 }).await.unwrap();
        let attached = instances.iter().flat_map(|instance| &instance.volumes);
        let attached: Vec<_> = attached.map(|at| (at.device.clone(), at.state)).collect();
        let tags: Vec<_> = instances.iter().map(|instance| instance.tags.len()).collect();
        format!("{volumes} {shown:#?} {attached:?} {tags:?}")
    }
}

fn comparable(volume: &Volume) -> String {
    let attachments: Vec<_> = volume.attachments.iter().map(|at| (&at.device, at.state)).collect();
    let modification = volume.modification.as_ref().map(|m| (m.state, m.original, m.target, m.progress));
    let Volume { zone, settings, state, health, tags, .. } = volume;
    format!("{zone} {settings:?} {state:?} {health:?} {attachments:?} {modification:?} {tags:?}")
}

/// The kind of an error, without identifiers.
fn kind_of(error: &ServiceError) -> String {
    let text = format!("{error:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

fn zone() -> Zone {
    Zone::parse("us-east-1a").unwrap()
}

fn name(device: u8) -> String {
    format!("/dev/sd{}", char::from(b'f' + device))
}

fn tagged(count: u8) -> BTreeMap<String, String> {
    (0..count).map(|number| (number.to_string(), "v".to_owned())).collect()
}

fn settings(size_gib: u32, kind: VolumeType) -> Settings {
    use terrane_ec2::service::limits::{Wish, resolve_new};
    let iops = matches!(kind, VolumeType::Io1 | VolumeType::Io2).then_some(100);
    resolve_new(&Wish { size_gib, kind, iops, throughput: None, multi_attach: false }).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_manager_answers_as_the_model_does(calls in prop::collection::vec(calls(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut fleet = Fleet::new(2).await;
            let model = Model::new(&Region::us_east_1(), Pace::AtOnce);
            let machine = model.register(fleet.caller.account.clone(), BTreeMap::new());
            let mut ours = Side { volumes: Vec::new(), instance: InstanceId::from_bits(1) };
            let mut theirs = Side { volumes: Vec::new(), instance: machine };
            for call in calls {
                let manager = fleet.manager.clone();
                let answers = (ours.call(&manager, &fleet, &call).await, theirs.call(&model, &fleet, &call).await);
                assert_eq!(answers.0, answers.1, "{call:?}");
                // A change may have to move data.
                fleet.run(if matches!(call, Call::Modify { .. }) { 2000 } else { 300 }).await;
                let states = (ours.state(&manager, &fleet).await, theirs.state(&model, &fleet).await);
                assert_eq!(states.0, states.1, "after {call:?}");
            }
            fleet.check_at_rest().await;
        });
    }
}
