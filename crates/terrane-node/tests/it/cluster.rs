//! A cluster around the copies: sockets of block servers, and a manager.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use terrane_block_core::{AttachmentEpoch, ClientId, CopyId};
use terrane_block_wire::ClusterKey;
use terrane_block_wire::control::{
    AttachmentOrder, AttachmentProgress, FromManager, Place, ServerId, StripeId, StripeView, ToManager,
};
use terrane_block_wire::data::{DataMessage, Dialer};
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{Connection, Credentials, Listener, Sender};
use terrane_types::VolumeId;
use tokio::task::{AbortHandle, JoinSet};

use crate::servers::Stripe;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CLIENT: ClientId = ClientId(77);

/// Some block servers with one volume, and a manager.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) credentials: Credentials,
    pub(crate) manager: String,
    inner: Arc<Mutex<Inner>>,
    /// Everything that listens; ends with the last clone.
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

struct Inner {
    stripes: Vec<Stripe>,
    servers: Vec<Server>,
    order: Option<AttachmentOrder>,
    node: Option<Sender<FromManager>>,
    /// The process that the attachment's epoch is for.
    process: Option<u128>,
    /// What node managers said, but for heartbeats.
    heard: Vec<ToManager>,
    /// Whether a suspicion makes the manager look who lives.
    repairs: bool,
}

struct Server {
    id: ServerId,
    address: String,
    /// Its connections and its listener.
    tasks: Vec<AbortHandle>,
    listener: Option<AbortHandle>,
}

/// What a volume is like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) copies: usize,
    pub(crate) stripes: usize,
    pub(crate) stripe_bytes: u64,
    pub(crate) size: u64,
}

impl Shape {
    pub(crate) fn simple(copies: usize) -> Self {
        Self { copies, stripes: 1, stripe_bytes: 1 << 20, size: 64 << 20 }
    }
}

impl Cluster {
    pub(crate) async fn new(shape: Shape) -> Self {
        let credentials = Credentials::plain(ClusterKey::random());
        let ids: Vec<StripeId> = (0..shape.stripes as u128).map(|n| StripeId(n + 100)).collect();
        let blocks = shape.size / 4096;
        let stripes = ids.iter().map(|id| Stripe::new(*id, shape.copies, blocks)).collect();
        let order = AttachmentOrder {
            volume: VolumeId::from_bits(5),
            epoch: AttachmentEpoch(1),
            client: CLIENT,
            size: shape.size,
            stripe_bytes: shape.stripe_bytes,
            stripes: ids,
            secret: SECRET.into(),
            device: "/dev/sdf".into(),
            read_only: false,
            detaching: false,
        };
        let inner = Arc::new(Mutex::new(Inner {
            stripes,
            servers: Vec::new(),
            order: Some(order),
            node: None,
            process: None,
            heard: Vec::new(),
            repairs: true,
        }));
        let mut tasks = JoinSet::new();
        for copy in 0..shape.copies as u64 {
            let id = ServerId(u128::from(copy) + 1000);
            let address = "127.0.0.1:0".parse().unwrap();
            let listener = Listener::bind(address, credentials.clone(), Protocol::Data, id.0).await.unwrap();
            let address = listener.address().to_string();
            let serving = serve_data(inner.clone(), CopyId(copy), listener);
            let listener = Some(tasks.spawn(serving));
            inner.lock().servers.push(Server { id, address, tasks: Vec::new(), listener });
        }
        let address = "127.0.0.1:0".parse().unwrap();
        let control = Listener::bind(address, credentials.clone(), Protocol::Control, 0).await.unwrap();
        let manager = control.address().to_string();
        tasks.spawn(serve_control(inner.clone(), control));
        Self { credentials, manager, inner, _tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// Breaks all data connections, once.
    pub(crate) fn cut(&self) {
        let mut inner = self.inner.lock();
        for server in &mut inner.servers {
            server.tasks.drain(..).for_each(|task| task.abort());
        }
    }

    /// Kills a server: nothing of it answers any more.
    pub(crate) fn kill(&self, copy: u64) {
        let mut inner = self.inner.lock();
        let server = &mut inner.servers[copy as usize];
        server.listener.take().unwrap().abort();
        server.tasks.drain(..).for_each(|task| task.abort());
        inner.stripes.iter_mut().for_each(|stripe| stripe.kill(CopyId(copy)));
    }

    pub(crate) fn freeze(&self, copy: u64) {
        self.inner.lock().stripes.iter_mut().for_each(|stripe| stripe.freeze(CopyId(copy)));
    }

    pub(crate) fn thaw(&self, copy: u64) {
        self.inner.lock().stripes.iter_mut().for_each(|stripe| stripe.thaw(CopyId(copy)));
    }

    /// Suspicions are not acted upon, or again.
    pub(crate) fn set_repairs(&self, repairs: bool) {
        self.inner.lock().repairs = repairs;
    }

    /// The client should go.
    pub(crate) fn detach(&self) {
        let mut inner = self.inner.lock();
        inner.order.as_mut().unwrap().detaching = true;
        inner.send_orders();
    }

    /// The client is cut off.
    pub(crate) fn force_detach(&self) {
        let mut inner = self.inner.lock();
        inner.order = None;
        inner.stripes.iter_mut().for_each(Stripe::raise_epoch);
        inner.send_orders();
        inner.push_views();
    }

    pub(crate) fn resize(&self, size: u64) {
        let mut inner = self.inner.lock();
        inner.order.as_mut().unwrap().size = size;
        inner.send_orders();
    }

    /// The manager goes away from the node's present connection.
    pub(crate) fn hang_up(&self) {
        if let Some(node) = self.inner.lock().node.take() {
            node.abort();
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.inner.lock().stripes.iter().map(|stripe| stripe.requests).sum()
    }

    pub(crate) fn acts(&self, copy: u64) -> bool {
        self.inner.lock().stripes.iter().all(|stripe| stripe.acts(CopyId(copy)))
    }

    /// Waits until the node manager has said something.
    pub(crate) async fn hear<T>(&self, mut wanted: impl FnMut(&ToManager) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let found = self.inner.lock().heard.iter().find_map(&mut wanted);
                match found {
                    Some(found) => return found,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the node manager says it")
    }

    /// Waits for an attachment's URL, in this epoch.
    pub(crate) async fn url(&self, wanted: u64) -> String {
        self.hear(|message| match message {
            ToManager::Attachment { epoch, progress: AttachmentProgress::Serving { nbd_url }, .. }
                if epoch.0 == wanted =>
            {
                Some(nbd_url.clone())
            }
            _ => None,
        })
        .await
    }
}

impl Inner {
    fn view(&self, stripe: &Stripe) -> StripeView {
        let place = |server: &Server| Place { server: server.id, address: server.address.clone() };
        let places = (0..).map(CopyId).zip(self.servers.iter().map(place)).collect::<BTreeMap<_, _>>();
        StripeView { stripe: stripe.id, record: stripe.record.clone(), places, blocks: 0, performance: None }
    }

    fn tell(&self, message: &FromManager) {
        if let Some(node) = &self.node {
            // It may have gone.
            let _ = node.send(message);
        }
    }

    fn send_orders(&self) {
        self.tell(&FromManager::Attachments(self.order.iter().cloned().collect()));
    }

    /// Records that have changed.
    fn push_views(&mut self) {
        for index in 0..self.stripes.len() {
            if std::mem::take(&mut self.stripes[index].changed) {
                self.tell(&FromManager::Stripe(Box::new(self.view(&self.stripes[index]))));
            }
        }
    }

    fn hear(&mut self, message: ToManager) {
        match &message {
            ToManager::Heartbeat { seq, .. } => {
                return self.tell(&FromManager::HeartbeatAck { seq: *seq });
            }
            ToManager::NodeHello { process, .. } => {
                let welcome =
                    FromManager::Welcome { epoch: 1, heartbeat_ms: 50, silence_ms: 2000, lease_ms: 250 };
                self.tell(&welcome);
                if self.process.replace(*process).is_some_and(|before| before != *process) {
                    self.stripes.iter_mut().for_each(Stripe::raise_epoch);
                    if let Some(order) = &mut self.order {
                        order.epoch = order.epoch.next();
                    }
                }
                self.send_orders();
            }
            ToManager::Fetch { stripe } => {
                let stripe = self.stripes.iter().find(|known| known.id == *stripe).unwrap();
                self.tell(&FromManager::Stripe(Box::new(self.view(stripe))));
            }
            ToManager::Suspect { .. } if self.repairs => {
                self.stripes.iter_mut().for_each(Stripe::repair);
                self.push_views();
            }
            _ => {}
        }
        self.heard.push(message);
    }
}

async fn serve_data(inner: Arc<Mutex<Inner>>, copy: CopyId, mut listener: Listener) {
    loop {
        let connection = listener.accept().await;
        let task = tokio::spawn(serve_client(inner.clone(), copy, connection)).abort_handle();
        inner.lock().servers[copy.0 as usize].tasks.push(task);
    }
}

async fn serve_client(inner: Arc<Mutex<Inner>>, copy: CopyId, connection: Connection) {
    assert_eq!(connection.dialer(), Dialer::Client(CLIENT));
    let (mut reader, sender, writer) = connection.split::<DataMessage, DataMessage>();
    let reading = async {
        let mut batch = Vec::new();
        while reader.read(&mut batch).await.is_ok() {
            let mut inner = inner.lock();
            for message in batch.drain(..) {
                take(&mut inner, copy, message, &sender);
            }
            inner.push_views();
        }
    };
    tokio::select! {
        () = reading => {}
        _ = writer.run() => {}
    }
}

fn take(inner: &mut Inner, copy: CopyId, message: DataMessage, back: &Sender<DataMessage>) {
    let find = |inner: &Inner, id: StripeId| inner.stripes.iter().position(|known| known.id == id).unwrap();
    match message {
        DataMessage::ToPrimary { stripe, to, message } => {
            assert_eq!(to, copy);
            let index = find(inner, stripe);
            inner.stripes[index].request(copy, CLIENT, message, back);
        }
        DataMessage::StatusQuery { stripe, id, start, len, .. } => {
            let index = find(inner, stripe);
            if let Some(runs) = inner.stripes[index].status(copy, start, len) {
                let _ = back.send(&DataMessage::Status { stripe, from: copy, id, runs });
            }
        }
        other => panic!("nobody sends {other:?} to a primary"),
    }
}

async fn serve_control(inner: Arc<Mutex<Inner>>, mut listener: Listener) {
    let mut connections = JoinSet::new();
    loop {
        let connection = listener.accept().await;
        let (mut reader, sender, writer) = connection.split::<ToManager, FromManager>();
        let inner = inner.clone();
        connections.spawn(async move {
            inner.lock().node = Some(sender);
            let reading = async {
                let mut batch = Vec::new();
                while reader.read(&mut batch).await.is_ok() {
                    let mut inner = inner.lock();
                    batch.drain(..).for_each(|message| inner.hear(message));
                    inner.push_views();
                }
            };
            tokio::select! {
                () = reading => {}
                _ = writer.run() => {}
            }
        });
    }
}
