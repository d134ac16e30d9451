//! The template of modifications with every failure, crash, repetition, pause and cancellation at every step, over the
//! decisions of a manager and pretended servers: in the end the volume is what was asked for or what it was, whole, and
//! no room is taken by anything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use terrane_ec2::service::VolumeChange;
use terrane_store::Store;
use terrane_types::{VolumeId, Zone};
use terrane_workflow::Registry;
use terrane_workflow::harness::{Harness, World};
use terrane_workflow::machine::Status;
use tokio::sync::Mutex;

use super::{Ground, Stage, Target, actions, template};
use crate::admin::Change;
use crate::jobs::Rules;
use crate::leader::Sight;
use crate::leader::tests::Fleet;

/// Pretended time that passes between two looks, milliseconds.
const PAUSE: u64 = 100;

/// A fleet whose time passes when a step waits.
#[derive(Clone)]
struct Site {
    fleet: Arc<Mutex<Fleet>>,
    store: Store,
    volume: VolumeId,
    /// What it is before and after: the zone of its copies, how many there are, GiB.
    shapes: [(&'static str, usize, u32); 2],
}

impl Site {
    /// A volume in zone a, with a change under way that nobody carries out.
    async fn new(change: Change, after: (&'static str, usize, u32)) -> Self {
        let mut fleet = Fleet::new(5).await;
        let volume = fleet.create_as(VolumeId::from_bits(1), "a").await.unwrap();
        fleet.run(300).await;
        fleet.leave_changes_alone();
        fleet.modify(&volume, change).await.unwrap();
        let store = fleet.store();
        let shapes = [("us-east-1a", 2, 1), after];
        Self { fleet: Arc::new(Mutex::new(fleet)), store, volume, shapes }
    }

    /// Time passes, whole, whatever becomes of who waits for it.
    async fn pass(&self, millis: u64) {
        let site = self.clone();
        let passing = tokio::spawn(async move {
            let mut fleet = site.fleet.lock().await;
            fleet.write(&site.volume);
            fleet.run(millis).await;
        });
        passing.await.unwrap();
    }
}

#[async_trait]
impl Ground for Site {
    fn store(&self) -> Store {
        self.store.clone()
    }

    fn rules(&self) -> Rules {
        Rules { overcommit: 20 }
    }

    async fn sight(&self, volume: &VolumeId) -> Sight {
        self.fleet.lock().await.sight(volume)
    }

    async fn pause(&self) {
        self.pass(PAUSE).await;
    }
}

#[async_trait]
impl World for Site {
    fn actions(&self) -> Registry {
        actions(Arc::new(self.clone()))
    }

    async fn check(&self, end: Status) -> Result<(), String> {
        if end == Status::RolledBack {
            // A run that was cancelled before its first step has no step to say so.
            let target = Target { volume: self.volume.clone(), number: 1, engine: u64::MAX };
            Stage::Turn.take_back(&self.store, &target).await.map_err(|error| format!("{error:?}"))?;
        }
        self.pass(600).await;
        let (zone, copies, size) = self.shapes[usize::from(end == Status::Completed)];
        let (id, fleet) = (self.volume.clone(), self.fleet.clone());
        let checked = tokio::spawn(async move {
            let fleet = fleet.lock().await;
            let volume = fleet.leader.volume(&id).unwrap();
            assert_eq!(fleet.zones_of(&id), vec![zone; copies]);
            assert_eq!((volume.zone.as_str(), volume.settings.size_gib), (zone, size));
            fleet.check_at_rest().await;
        });
        checked.await.map_err(|error| error.to_string())
    }
}

async fn survives(change: Change, after: (&'static str, usize, u32)) {
    let params = [("volume", VolumeId::from_bits(1).to_string()), ("number", "1".to_owned())];
    let params: BTreeMap<String, String> = params.map(|(name, value)| (name.to_owned(), value)).into();
    let harness = Harness::new(template(), &params).unwrap().with_late_calls();
    let began = std::time::Instant::now();
    let fresh = || {
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(Site::new(change.clone(), after))
        })
    };
    let report = harness.run(fresh).await.unwrap_or_else(|error| panic!("{error}"));
    println!("{report} in {:?}", began.elapsed());
    assert!(report.completed > 100 && report.rolled_back > 100 && report.stuck > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_grows_survives_everything_everywhere() {
    let zone = Some(Zone::parse("us-east-1b").unwrap());
    let settings = VolumeChange { size_gib: Some(2), ..VolumeChange::default() };
    survives(Change { zone, settings, ..Change::default() }, ("us-east-1b", 2, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_a_mirror_survives_everything_everywhere() {
    survives(Change { mirrors: Some(0), ..Change::default() }, ("us-east-1a", 1, 1)).await;
}
