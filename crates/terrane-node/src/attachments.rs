//! What this machine shall serve, by the manager's orders.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use terrane_block_core::AttachmentEpoch;
use terrane_block_wire::control::{AttachmentOrder, AttachmentProgress, StripeView};
use terrane_nbd::client::unix_uri;
use terrane_nbd::{Export, ExportTable, SecretName};
use terrane_types::VolumeId;

use crate::volume::{Site, Volume};

/// All attachments of this machine.
#[derive(Debug)]
pub(crate) struct Attachments {
    site: Arc<Site>,
    exports: Arc<ExportTable>,
    /// The Unix socket of the exports.
    socket: PathBuf,
    served: Mutex<BTreeMap<VolumeId, Served>>,
}

#[derive(Debug)]
struct Served {
    order: AttachmentOrder,
    /// `None`: it cannot be served.
    volume: Option<Arc<Volume>>,
}

impl Attachments {
    pub(crate) fn new(site: Arc<Site>, exports: Arc<ExportTable>, socket: PathBuf) -> Self {
        Self { site, exports, socket, served: Mutex::default() }
    }

    /// What is served, for the hello.
    pub(crate) fn serving(&self) -> Vec<(VolumeId, AttachmentEpoch)> {
        let served = self.served.lock();
        let open = served.values().filter(|served| served.volume.as_ref().is_some_and(|v| !v.has_ended()));
        open.map(|served| (served.order.volume.clone(), served.order.epoch)).collect()
    }

    /// All that shall be served from now on.
    pub(crate) fn order(&self, orders: Vec<AttachmentOrder>) {
        let mut served = self.served.lock();
        let orders: BTreeMap<VolumeId, AttachmentOrder> =
            orders.into_iter().map(|order| (order.volume.clone(), order)).collect();
        served.retain(|volume, known| {
            let stays = orders.get(volume).is_some_and(|order| order.epoch <= known.order.epoch);
            if !stays {
                self.cut(known);
            }
            stays
        });
        for (volume, order) in orders {
            match served.get_mut(&volume) {
                Some(known) if known.order.epoch == order.epoch => self.change(known, order),
                // An order that was overtaken.
                Some(_) => {}
                None => {
                    let new = self.begin(order);
                    served.insert(volume, new);
                }
            }
        }
    }

    /// A stripe's record.
    pub(crate) fn view(&self, view: StripeView) {
        let served = self.served.lock();
        let mut volumes = served.values().filter_map(|served| served.volume.as_ref());
        if let Some(volume) = volumes.find(|volume| volume.has_stripe(view.stripe)) {
            volume.view(view);
        }
    }

    /// The manager is there (again): it learns what is served, and says how the stripes are.
    pub(crate) fn announce(&self) {
        for served in self.served.lock().values() {
            if let Some(volume) = served.volume.as_ref().filter(|volume| !volume.has_ended()) {
                volume.refresh();
            }
            self.report(served);
        }
    }

    /// Time passes, of which `own` was this process's.
    pub(crate) fn tick(&self, now: Instant, own: Duration) {
        for served in self.served.lock().values() {
            if let Some(volume) = &served.volume {
                volume.tick(now, own);
            }
        }
    }

    /// Ends everything at once.
    pub(crate) fn cut_all(&self) {
        for served in std::mem::take(&mut *self.served.lock()).into_values() {
            self.cut(&served);
        }
    }

    fn begin(&self, order: AttachmentOrder) -> Served {
        let volume = match Volume::new(&order, self.site.clone()) {
            Ok(volume) => volume,
            Err(error) => {
                tracing::error!(volume = %order.volume, %error, "an attachment cannot be served");
                let progress = AttachmentProgress::Failed(error.to_string());
                self.site.outbox.progress(order.volume.clone(), order.epoch, progress);
                return Served { order, volume: None };
            }
        };
        tracing::info!(volume = %order.volume, epoch = ?order.epoch, "an attachment is served");
        volume.begin();
        let served = Served { order, volume: Some(volume.clone()) };
        if served.order.detaching {
            self.let_go(volume);
        } else {
            self.exports.insert(&name(&served.order), volume as Arc<dyn Export>);
            self.report(&served);
        }
        served
    }

    /// The same attachment, otherwise.
    fn change(&self, known: &mut Served, order: AttachmentOrder) {
        let Some(volume) = &known.volume else { return };
        if (order.stripes.as_slice(), order.stripe_bytes)
            != (known.order.stripes.as_slice(), known.order.stripe_bytes)
        {
            tracing::error!(volume = %order.volume, "another layout without another attachment is not served");
            return;
        }
        volume.resize(order.size);
        let let_go = order.detaching && !known.order.detaching;
        known.order = order;
        if let_go {
            self.exports.remove(&name(&known.order));
            self.let_go(volume.clone());
        }
    }

    /// Waits for the last client, flushes, and says that it is done.
    fn let_go(&self, volume: Arc<Volume>) {
        let site = self.site.clone();
        self.site.runtime.spawn(async move {
            volume.unused().await;
            // An error means that the attachment is over by the manager's word: nobody waits for this one's.
            if volume.flush().await.is_ok() {
                volume.end();
                site.outbox.progress(volume.id.clone(), volume.epoch, AttachmentProgress::Ended);
            }
        });
    }

    fn cut(&self, served: &Served) {
        self.exports.remove(&name(&served.order));
        if let Some(volume) = &served.volume {
            volume.end();
        }
    }

    /// Says how far an attachment is.
    fn report(&self, served: &Served) {
        let order = &served.order;
        let progress = match &served.volume {
            None => return,
            Some(volume) if volume.has_ended() => AttachmentProgress::Ended,
            Some(_) if order.detaching => return,
            Some(_) => AttachmentProgress::Serving { nbd_url: unix_uri(&order.secret, &self.socket) },
        };
        self.site.outbox.progress(order.volume.clone(), order.epoch, progress);
    }
}

fn name(order: &AttachmentOrder) -> SecretName {
    SecretName::new(order.secret.clone())
}
