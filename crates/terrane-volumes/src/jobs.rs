//! The transactions of the manager in office: each reads what it decides on, decides by a pure function, and writes.

mod machines;
mod volumes;

pub(crate) use volumes::{progressed, settled};

use jiff::Timestamp;
use terrane_block_core::bugs::Bugs;
use terrane_block_core::manager::{self, Alive, Request};
use terrane_block_core::{AttachmentEpoch, CopyId};
use terrane_block_wire::control::{AttachmentProgress, PoolReport, ServerId, StripeId};
use terrane_store::{Result, StoreError, Tx};
use terrane_types::{AccountId, InstanceId, Zone};

use crate::db::{self, Changes, VolumeKey};
use crate::placement::Want;
use crate::rows::{DELETIONS, PlaceRow, SERVERS, StripeRow, VOLUMES, hex};
use crate::stripe::{Facts, advance};

/// A transaction that the manager in office wants. All are idempotent.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Brings a stripe in line with the facts.
    Advance { stripe: StripeId, facts: Facts },
    /// What a copy asks.
    Request { stripe: StripeId, request: Request },
    /// One more copy.
    Place { stripe: StripeId, without: Vec<ServerId>, why: String },
    /// A stripe goes on with a copy that may lack what was acknowledged.
    DeclareLost { stripe: StripeId, copy: CopyId, alive: Alive, by: String },
    /// A block server said hello.
    Server { id: ServerId, name: String, zone: Zone, address: String, pools: Vec<PoolReport> },
    /// Its pools have changed.
    Pools { server: ServerId, pools: Vec<PoolReport> },
    /// It began or ceased to answer.
    ServerUp { server: ServerId, up: bool },
    /// A node manager said hello; a new process gets new attachment epochs.
    Node { account: AccountId, instance: InstanceId, zone: Zone, host_name: String, process: u128 },
    /// It began or ceased to answer.
    NodeUp { account: AccountId, instance: InstanceId, up: bool },
    /// How far an attachment is.
    Progress { volume: VolumeKey, epoch: AttachmentEpoch, progress: AttachmentProgress },
    /// Notes what is complete of a volume: its creation, a forced detach.
    Settle { volume: VolumeKey },
    /// A volume could not be made.
    Fail { volume: VolumeKey, reason: String },
    /// A copy is deleted.
    Deleted { server: ServerId, stripe: StripeId, copy: CopyId },
    /// Reads a volume that a call has changed.
    Load { volume: VolumeKey },
    /// Reads a server that a call has changed.
    LoadServer { server: ServerId },
}

/// Why a job came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No server has room.
    #[error("{0}")]
    NoRoom(String),
}

/// Configuration that jobs need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) overcommit: u32,
}

impl Job {
    /// Runs it in a transaction. What a failed one wrote is dropped.
    pub(crate) async fn run(&self, tx: &Tx, rules: Rules, now: Timestamp) -> Result<Changes, JobError> {
        let mut changed = Changes::default();
        match self {
            Self::Advance { stripe, facts } => {
                change(tx, &mut changed, *stripe, |row| advance(row, facts)).await?;
            }
            Self::Request { stripe, request } => {
                change(tx, &mut changed, *stripe, |row| ask(row, request)).await?;
            }
            Self::Place { stripe, without, why } => {
                place(tx, &mut changed, *stripe, without, why, rules).await?;
            }
            Self::DeclareLost { stripe, copy, alive, by } => {
                volumes::declare_lost(tx, &mut changed, *stripe, *copy, alive, by).await?;
            }
            Self::Server { id, name, zone, address, pools } => {
                machines::server(tx, &mut changed, (*id, name, zone, address), pools).await?;
            }
            Self::Pools { server, pools } => machines::put_pools(tx, *server, pools).await?,
            Self::ServerUp { server, up } => machines::server_up(tx, &mut changed, *server, *up).await?,
            Self::Node { account, instance, zone, host_name, process } => {
                let machine = machines::Machine { account, instance, zone, host_name, process: *process };
                machines::node(tx, &mut changed, machine, now).await?;
            }
            Self::NodeUp { account, instance, up } => {
                machines::node_up(tx, account, instance, *up).await?;
            }
            Self::Progress { volume, epoch, progress } => {
                volumes::progress(tx, &mut changed, volume, *epoch, progress).await?;
            }
            Self::Settle { volume } => volumes::settle(tx, &mut changed, volume).await?,
            Self::Fail { volume, reason } => volumes::fail(tx, &mut changed, volume, reason).await?,
            Self::Deleted { server, stripe, copy } => {
                DELETIONS.delete(tx, &(hex(server.0), hex(stripe.0), copy.0)).await?;
                changed.deleted.push((*server, *stripe, *copy));
            }
            Self::Load { volume } => load(tx, &mut changed, volume).await?,
            Self::LoadServer { server } => {
                changed.servers.extend(SERVERS.get(tx, &hex(server.0)).await?.map(|row| (*server, row)));
            }
        }
        Ok(changed)
    }
}

/// Changes a stripe, if it is there and there is something to change. Its row is reported either way.
async fn change(
    tx: &Tx,
    changed: &mut Changes,
    id: StripeId,
    next: impl FnOnce(&StripeRow) -> Option<StripeRow>,
) -> Result<()> {
    let row = db::stripe(tx, id).await?;
    match row.as_ref().and_then(next) {
        Some(after) => changed.put_stripe(tx, row.as_ref(), Some(after)).await,
        None => {
            changed.stripes.insert(id, row);
            Ok(())
        }
    }
}

fn ask(row: &StripeRow, request: &Request) -> Option<StripeRow> {
    let record = manager::transact(row.record.as_ref()?, request, Bugs::NONE)?;
    Some(StripeRow { record: Some(record), version: row.version + 1, ..row.clone() })
}

async fn place(
    tx: &Tx,
    changed: &mut Changes,
    id: StripeId,
    without: &[ServerId],
    why: &str,
    rules: Rules,
) -> Result<(), JobError> {
    let Some(row) = db::stripe(tx, id).await? else {
        changed.stripes.insert(id, None);
        return Ok(());
    };
    let map = db::map(tx).await?;
    let taken = row.places.values().map(|place| place.server);
    let want = Want {
        zone: row.zone.clone(),
        media: row.media,
        demand: row.demand_of_new(),
        copies: 1,
        without: taken.chain(without.iter().copied()).collect(),
        strict: false,
    };
    let placed = map.place(&want, rules.overcommit).map_err(JobError::NoRoom)?;
    let mut after = row.clone();
    for place in &placed.places {
        after.add_place(*place);
    }
    after.version += 1;
    changed.put_stripe(tx, Some(&row), Some(after)).await?;
    if let (Some(note), Some(mut volume)) = (placed.note, db::volume_by_id(tx, &row.identity.volume).await?) {
        volume.note(format!("{why}: {note}"));
        changed.put_volume(tx, volume).await?;
    }
    Ok(())
}

async fn load(tx: &Tx, changed: &mut Changes, key: &VolumeKey) -> Result<()> {
    let volume = VOLUMES.get(tx, key).await?;
    for row in volume.iter() {
        for stripe in db::stripes_of(tx, row).await? {
            changed.stripes.insert(stripe.id, Some(stripe));
        }
    }
    changed.volumes.insert(key.clone(), volume);
    Ok(())
}

impl StripeRow {
    /// Adds a place for a copy that is to be made.
    pub(crate) fn add_place(&mut self, place: PlaceRow) {
        self.places.insert(self.next_copy, place);
        self.next_copy = self.next_copy.next();
    }
}
