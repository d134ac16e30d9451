//! The calls behind `terrane volume show`, `terrane server …` and `terrane store rebuild-volumes`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use terrane_block_core::CopyId;
use terrane_block_wire::control::{CopyReport, ServerId, StripeId};
use terrane_ec2::service::ServiceError;
use terrane_types::{AccountId, VolumeId};

use super::{
    AttachmentDetail, CopyDetail, NbdUrl, PoolDetail, RebuildReport, ResyncDetail, ServerDetail, VolumeDetail,
};
use crate::Manager;
use crate::db::{self, Changes};
use crate::leader::Told;
use crate::modify::drain;
use crate::placement::{Map, media_name};
use crate::rebuild::{self, Written};
use crate::rows::{LifeRow, SERVERS, STRIPES, StripeRow, VolumeRow, hex};
use crate::service::show;

/// What is heard of copies.
type Heard = BTreeMap<(StripeId, CopyId), Told>;

impl Manager {
    /// A volume with its copies and attachments; `None` for the account: whosever it is.
    ///
    /// # Errors
    /// No such volume.
    pub async fn volume_detail(
        &self,
        account: Option<&AccountId>,
        id: &VolumeId,
    ) -> Result<VolumeDetail, ServiceError> {
        let heard = self.heard(id).await.unwrap_or_default();
        let heard = &heard;
        self.look(|tx| async move {
            let row = db::volume_by_id(&tx, id).await?;
            let own = row.filter(|row| account.is_none_or(|account| row.account == *account));
            let row = own.ok_or_else(|| ServiceError::VolumeNotFound(vec![id.clone()]))?;
            let stripes = db::stripes_of(&tx, &row).await?;
            let map = db::map(&tx).await?;
            Ok(detail(&row, &stripes, &map, heard))
        })
        .await
    }

    /// What the manager in office hears of a volume's copies; nothing, if that is another one.
    async fn heard(&self, id: &VolumeId) -> Result<Heard, ServiceError> {
        let id = id.clone();
        self.ask(move |leader| {
            let Some(leader) = leader.as_deref() else { return Heard::new() };
            let stripes = leader.volume(&id).map(|row| row.stripes.clone()).unwrap_or_default();
            let stripes = stripes.into_iter().filter_map(|id| Some((id, leader.stripes.get(&id)?)));
            let copies = stripes.flat_map(|(id, stripe)| {
                let places = stripe.row.places.keys();
                places.map(move |copy| ((id, *copy), leader.told(stripe, *copy)))
            });
            copies.collect()
        })
        .await
    }

    /// All block servers that ever registered, in the order of their names.
    ///
    /// # Errors
    /// The store's.
    pub async fn servers(&self) -> Result<Vec<ServerDetail>, ServiceError> {
        self.look(|tx| async move {
            let map = db::map(&tx).await?;
            let stripes = db::all(&STRIPES, &tx).await?;
            let mut details: Vec<ServerDetail> = map
                .servers
                .keys()
                .map(|id| server_detail(&map, *id, stripes.iter().map(|(_, row)| row)))
                .collect();
            details.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
            Ok(details)
        })
        .await
    }

    /// One of them, by its name or identifier.
    ///
    /// # Errors
    /// No such server, or several of that name: [`ServiceError::Unsupported`].
    pub async fn server(&self, name: &str) -> Result<ServerDetail, ServiceError> {
        let mut found = self.servers().await?;
        found.retain(|server| server.id == name || server.name == name);
        match (found.pop(), found.is_empty()) {
            (Some(server), true) => Ok(server),
            (Some(_), false) => Err(ServiceError::Unsupported(format!(
                "several servers are called {name}: use the identifier"
            ))),
            (None, _) => Err(ServiceError::Unsupported(format!("there is no server {name}"))),
        }
    }

    /// Moves all copies off a server, and puts no new ones there. Named by its name or identifier.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub async fn drain(&self, server: &str) -> Result<ServerDetail, ServiceError> {
        self.set_draining(server, true).await
    }

    /// Takes [`Self::drain`] back.
    ///
    /// # Errors
    /// As [`Self::server`].
    pub async fn undrain(&self, server: &str) -> Result<ServerDetail, ServiceError> {
        self.set_draining(server, false).await
    }

    async fn set_draining(&self, name: &str, draining: bool) -> Result<ServerDetail, ServiceError> {
        let id = self.server(name).await?.id;
        let key = &id;
        let workflows = &self.workflows();
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        self.call(|tx| async move {
            let mut changed = Changes::default();
            let row = SERVERS.get(&tx, key).await?.filter(|row| row.draining != draining);
            if let Some(mut row) = row {
                row.draining = draining;
                SERVERS.put(&tx, key, &row).await?;
                if draining {
                    // Shows how far it is. It ends by itself when the server may have copies again.
                    workflows.create_in(&tx, &drain::new_run(row.id, now)?, now).await?;
                }
                changed.servers.insert(row.id, row);
            }
            Ok(((), changed))
        })
        .await?;
        self.server(&id).await
    }

    /// An operator's word that the copies of a volume which are in sync are lost for good: each stripe that has no
    /// living in-sync copy goes on with the best copy that lives, which may be as old as the last FLUSH that it took
    /// part in. Recorded in the volume's notes. Returns once it is decided, which is before it is done: the manager's
    /// last lease has to lapse.
    ///
    /// # Errors
    /// No such volume; no copy lives; nothing is lost; another manager is in office.
    pub async fn declare_lost(&self, id: &VolumeId, principal: &str) -> Result<VolumeDetail, ServiceError> {
        self.volume_detail(None, id).await?;
        let (volume, by) = (id.clone(), principal.to_owned());
        let decided = self
            .ask(move |leader| {
                let leader = leader.ok_or("another manager is in office: ask that one")?;
                let key = leader.ids.get(&volume).cloned().ok_or("the volume is being made")?;
                leader.declare_lost(&key, &by)
            })
            .await?;
        match decided {
            Ok(0) => Err(ServiceError::Unsupported("nothing is lost: a copy in sync lives".to_owned())),
            Ok(_) => self.volume_detail(None, id).await,
            Err(reason) => Err(ServiceError::Unavailable(reason)),
        }
    }

    /// Makes volumes anew from what the connected servers' copies say of themselves, for a store that was lost.
    /// Volumes that are known stay as they are; so it can be repeated when more servers have come back.
    ///
    /// # Errors
    /// The store's; another manager is in office.
    pub async fn rebuild(&self) -> Result<RebuildReport, ServiceError> {
        let heard = self
            .ask(|leader| {
                let leader = leader?;
                let servers = leader.servers.values().filter(|server| server.is_connected()).count();
                // What copies of a known volume said of their records may be old by now, and does not matter.
                let is_known = |report: &CopyReport| leader.ids.contains_key(&report.identity.volume);
                let (known, unknown): (rebuild::Reports, _) =
                    leader.copies_kept().into_iter().partition(|(_, report)| is_known(report));
                let known: BTreeSet<VolumeId> =
                    known.into_iter().map(|(_, report)| report.identity.volume).collect();
                Some((servers, known.len(), unknown))
            })
            .await?;
        let (servers, known, reports) = heard.ok_or_else(|| {
            ServiceError::Unavailable("another manager is in office: ask that one".to_owned())
        })?;
        let (plans, failed) = rebuild::plan(&reports);
        let mut report = RebuildReport { servers, known, failed, ..RebuildReport::default() };
        let (copies, now) = (self.config().copies, Timestamp::now());
        for plan in &plans {
            let made = self.call(|tx| async move {
                let written = plan.write(&tx, copies, now).await?;
                let changed = match &written {
                    Written::Made(changed) => changed.clone(),
                    Written::Known | Written::Failed(_) => Changes::default(),
                };
                Ok((written, changed))
            });
            match made.await? {
                Written::Made(_) => report.volumes.push(plan.id.to_string()),
                Written::Known => report.known += 1,
                Written::Failed(reason) => report.failed.push(reason),
            }
        }
        Ok(report)
    }
}

fn detail(row: &VolumeRow, stripes: &[StripeRow], map: &Map, heard: &Heard) -> VolumeDetail {
    let copies: Vec<CopyDetail> = stripes
        .iter()
        .flat_map(|stripe| stripe.places.keys().map(move |copy| copy_detail(stripe, *copy, map, heard)))
        .collect();
    let records = || stripes.iter().filter_map(|stripe| stripe.record.as_ref());
    let mut zone = row.zone.to_string();
    if let Some(primary) = copies.iter().find(|copy| copy.stripe == 0 && copy.role == "primary") {
        zone.clone_from(&primary.zone);
    }
    let mut notes = row.notes.clone();
    if let LifeRow::Failed(reason) = &row.life {
        notes.push(reason.clone());
    }
    VolumeDetail {
        id: row.id.to_string(),
        account: row.account.to_string(),
        state: show::state_name(show::state(row)).to_owned(),
        health: health(stripes, map).to_owned(),
        zone,
        kind: row.settings.kind.0.as_str().to_owned(),
        size_gib: row.settings.size_gib,
        min_safe_size_gib: row.settings.size_gib,
        iops: row.settings.iops,
        throughput: row.settings.throughput,
        created: row.created.to_string(),
        generation: records().map(|record| record.generation.0).max().unwrap_or(0),
        stripes: u32::try_from(row.stripes.len()).unwrap_or(u32::MAX),
        copies,
        attachments: row.attachments.iter().map(attachment_detail).collect(),
        tags: row.tags.clone(),
        notes,
    }
}

fn health(stripes: &[StripeRow], map: &Map) -> &'static str {
    let up = |stripe: &StripeRow, copy: &CopyId| {
        let server = stripe.places.get(copy).and_then(|place| map.servers.get(&place.server));
        server.is_some_and(|(row, _)| row.up)
    };
    let served = |stripe: &StripeRow| {
        stripe.record.as_ref().is_some_and(|record| record.now.in_sync.keys().any(|copy| up(stripe, copy)))
    };
    if !stripes.iter().all(served) {
        "impaired"
    } else if stripes.iter().any(StripeRow::is_degraded) {
        "degraded"
    } else {
        "ok"
    }
}

fn copy_detail(stripe: &StripeRow, copy: CopyId, map: &Map, heard: &Heard) -> CopyDetail {
    let now = stripe.record.as_ref().map(|record| &record.now);
    let state = match now {
        Some(now) if now.in_sync.contains_key(&copy) => "in_sync",
        Some(now) if now.joining.contains_key(&copy) => "joining",
        Some(now) if now.absent.contains_key(&copy) => "lost",
        _ => "creating",
    };
    let place = stripe.places[&copy];
    let server = place.server;
    let row = map.servers.get(&server).map(|(row, _)| row);
    // While a volume moves to other drives, its copies lie on both kinds.
    let pool = map.servers.get(&server).and_then(|(_, pools)| pools.get(&place.pool));
    let media = media_name(pool.map_or(stripe.media, |pool| pool.media));
    let told = heard.get(&(stripe.id, copy)).cloned().unwrap_or_default();
    let resync = told.resync.filter(|_| state == "joining");
    CopyDetail {
        stripe: stripe.identity.stripe_index,
        copy: copy.0,
        server: row.map(|row| row.name.clone()).unwrap_or_default(),
        server_id: hex(server.0),
        zone: row.map(|row| row.zone.to_string()).unwrap_or_default(),
        media: media.to_owned(),
        role: if now.is_some_and(|now| now.primary == copy) { "primary" } else { "mirror" }.to_owned(),
        state: state.to_owned(),
        resync: resync.map(|(moved, left)| ResyncDetail { moved, left }),
        trouble: told.trouble,
    }
}

fn attachment_detail(row: &crate::rows::AttachmentRow) -> AttachmentDetail {
    AttachmentDetail {
        instance_id: row.instance.to_string(),
        nbd_url: row.nbd_url.as_ref().map(|url| NbdUrl(url.0.clone())),
        device: row.device.clone(),
        state: show::attachment_state_name(row.state).to_owned(),
        attached: row.attached.to_string(),
        trouble: row.trouble.clone(),
    }
}

fn server_detail<'a>(map: &Map, id: ServerId, stripes: impl Iterator<Item = &'a StripeRow>) -> ServerDetail {
    let (row, pools) = &map.servers[&id];
    let (mut copies, mut primaries) = (0, 0);
    for stripe in stripes {
        for (copy, _) in stripe.places.iter().filter(|(_, place)| place.server == id) {
            copies += 1;
            let primary = stripe.record.as_ref().map(|record| record.now.primary);
            primaries += u64::from(primary == Some(*copy));
        }
    }
    let state = match (row.draining, row.up) {
        (true, _) if copies == 0 => "drained",
        (true, _) => "draining",
        (false, true) => "up",
        (false, false) => "down",
    };
    let pools = pools.iter().map(|(pool, row)| PoolDetail {
        id: hex(pool.0),
        media: media_name(row.media).to_owned(),
        capacity: row.capacity,
        used: row.used,
        host_free: row.host_free,
        promised: row.promised.bytes,
        iops: row.iops,
        iops_reserved: row.promised.iops,
        throughput: row.throughput,
        throughput_reserved: row.promised.throughput,
        device: row.device,
        trouble: row.trouble.clone(),
    });
    ServerDetail {
        id: hex(id.0),
        name: row.name.clone(),
        zone: row.zone.to_string(),
        address: row.address.clone(),
        state: state.to_owned(),
        copies,
        primaries,
        pools: pools.collect(),
    }
}
