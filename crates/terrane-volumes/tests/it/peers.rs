//! Pretended block servers and node managers over real connections: as much of them as the manager can see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use terrane_block_core::manager::Request;
use terrane_block_core::{CopyId, Incarnation};
use terrane_block_wire::ClusterKey;
use terrane_block_wire::control::{
    AttachmentOrder, AttachmentProgress, Command, CopyIdentity, CopyReport, FromManager, Media, PoolName,
    PoolReport, ServerId, StripeId, StripeView, ToManager,
};
use terrane_block_wire::data::Dialer;
use terrane_block_wire::handshake::Protocol;
use terrane_block_wire::transport::{Credentials, Sender, dial};
use terrane_types::{InstanceId, Zone};
use tokio::task::AbortHandle;

#[derive(Default)]
struct State {
    copies: BTreeMap<(StripeId, CopyId), (CopyIdentity, PoolName)>,
    epoch: u64,
    manager: String,
    orders: Vec<AttachmentOrder>,
}

/// A block server.
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

/// A node manager.
pub(crate) struct Node {
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Speaks with whichever manager takes it, until that ends; then tries the next one.
async fn speak(
    managers: Vec<String>,
    key: ClusterKey,
    dialer: Dialer,
    hello: impl Fn() -> ToManager,
    state: Arc<Mutex<State>>,
    answer: impl Fn(FromManager, &Sender<ToManager>),
) {
    for address in managers.iter().cycle() {
        let credentials = Credentials::plain(key.clone());
        let Ok(connection) = dial(address, &credentials, Protocol::Control, dialer, None).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (mut reader, sender, writer) = connection.split::<FromManager, ToManager>();
        let writing = tokio::spawn(writer.run());
        let mut said = sender.send(&hello());
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        let mut messages = Vec::new();
        while said.is_ok() {
            tokio::select! {
                read = reader.read(&mut messages) => {
                    for message in messages.drain(..) {
                        if let FromManager::Welcome { epoch, .. } = &message {
                            let mut state = state.lock().unwrap();
                            (state.epoch, state.manager) = (*epoch, address.clone());
                        }
                        answer(message, &sender);
                    }
                    if read.is_err() {
                        break;
                    }
                }
                _ = beat.tick() => said = sender.send(&ToManager::Heartbeat { seq: 1, pools: Vec::new() }),
            }
        }
        sender.abort();
        drop(writing.await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Server {
    pub(crate) fn start(number: u64, managers: &[&str], key: &ClusterKey) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let managers = managers.iter().map(|address| (*address).to_owned()).collect();
        let (ours, theirs, key) = (state.clone(), state.clone(), key.clone());
        let task = tokio::spawn(async move {
            let hello = {
                let ours = ours.clone();
                move || hello(number, &ours.lock().unwrap())
            };
            let answer = move |message, sender: &Sender<ToManager>| serve(number, &ours, message, sender);
            speak(managers, key, Dialer::Server(ServerId(number.into())), hello, theirs, answer).await;
        });
        Self { state, task: task.abort_handle() }
    }

    /// Its process dies.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    pub(crate) fn copies(&self) -> usize {
        self.state.lock().unwrap().copies.len()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.state.lock().unwrap().epoch
    }

    pub(crate) fn manager(&self) -> String {
        self.state.lock().unwrap().manager.clone()
    }
}

fn hello(number: u64, state: &State) -> ToManager {
    ToManager::ServerHello {
        server: ServerId(number.into()),
        zone: Zone::parse("us-east-1a").unwrap(),
        name: format!("s{number}"),
        address: format!("127.0.0.1:{number}"),
        process: number.into(),
        pools: vec![PoolReport {
            pool: PoolName(1),
            media: Media::Ssd,
            capacity: 100 << 30,
            used: 0,
            host_free: 100 << 30,
            iops: 100_000,
            throughput: 1 << 30,
            device: 1,
            trouble: None,
        }],
        copies: reports(number, state),
    }
}

fn reports(number: u64, state: &State) -> Vec<CopyReport> {
    let report =
        |((stripe, copy), (identity, pool)): (&(StripeId, CopyId), &(CopyIdentity, PoolName))| CopyReport {
            stripe: *stripe,
            copy: *copy,
            pool: *pool,
            incarnation: Some(Incarnation(number)),
            kept: BTreeSet::new(),
            identity: identity.clone(),
            record: None,
            trouble: None,
        };
    state.copies.iter().map(report).collect()
}

fn serve(number: u64, state: &Mutex<State>, message: FromManager, sender: &Sender<ToManager>) {
    let mut state = state.lock().unwrap();
    let mut say = |message: ToManager| drop(sender.send(&message));
    match message {
        FromManager::Command { id, command } => {
            let mut result = Ok(());
            match command {
                Command::CreateCopy { stripe, copy, pool, identity } => {
                    state.copies.insert((stripe, copy), (identity, pool));
                }
                Command::DeleteCopy { stripe, copy } => {
                    state.copies.remove(&(stripe, copy));
                }
                Command::Scrub { .. } => {}
                Command::HandOver { .. } => result = Err("this server does not hand over".to_owned()),
            }
            say(ToManager::Done { id, result });
            say(ToManager::Copies(reports(number, &state)));
        }
        FromManager::Stripe(view) => follow(number, &state, &view, &mut say),
        _ => {}
    }
}

fn follow(number: u64, state: &State, view: &StripeView, say: &mut impl FnMut(ToManager)) {
    let (record, stripe) = (&view.record, view.stripe);
    let (incarnation, generation) = (Incarnation(number), record.generation);
    for (_, copy) in state.copies.keys().filter(|(of, _)| *of == stripe) {
        let copy = *copy;
        let primary = record.now.primary == copy && record.now.is_in_sync(copy, incarnation);
        if primary && !record.active {
            say(ToManager::Request { stripe, request: Request::Activate { copy, incarnation, generation } });
        }
        if record.fencing && record.now.is_in_sync(copy, incarnation) {
            say(ToManager::Request { stripe, request: Request::Confirm { copy, incarnation, generation } });
        }
        for (joining, life) in record.now.joining.iter().filter(|_| primary && record.active) {
            let request = Request::CommitJoin { generation, copy: *joining, incarnation: *life };
            say(ToManager::Request { stripe, request });
        }
    }
}

impl Node {
    pub(crate) fn start(managers: &[&str], key: &ClusterKey) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let managers = managers.iter().map(|address| (*address).to_owned()).collect();
        let (ours, theirs, key) = (state.clone(), state.clone(), key.clone());
        let task = tokio::spawn(async move {
            let hello = || ToManager::NodeHello {
                instance: InstanceId::from_bits(7),
                zone: Zone::parse("us-east-1b").unwrap(),
                host_name: "host".into(),
                process: 1,
                serving: Vec::new(),
            };
            let answer = move |message, sender: &Sender<ToManager>| {
                let FromManager::Attachments(orders) = message else { return };
                for order in &orders {
                    let nbd_url = format!("nbd+unix:///{}?socket=s", order.secret);
                    let progress = AttachmentProgress::Serving { nbd_url };
                    let (volume, epoch) = (order.volume.clone(), order.epoch);
                    drop(sender.send(&ToManager::Attachment { volume, epoch, progress }));
                }
                ours.lock().unwrap().orders = orders;
            };
            speak(managers, key, Dialer::Node, hello, theirs, answer).await;
        });
        Self { state, task: task.abort_handle() }
    }

    pub(crate) fn orders(&self) -> Vec<AttachmentOrder> {
        self.state.lock().unwrap().orders.clone()
    }
}

/// Whether a heartbeat of one who said no hello is answered.
pub(crate) async fn heartbeat_without_hello(address: &str, key: &ClusterKey) -> bool {
    let credentials = Credentials::plain(key.clone());
    let Ok(connection) = dial(address, &credentials, Protocol::Control, Dialer::Node, None).await else {
        return false;
    };
    let (mut reader, sender, writer) = connection.split::<FromManager, ToManager>();
    let writing = tokio::spawn(writer.run());
    sender.send(&ToManager::Heartbeat { seq: 1, pools: Vec::new() }).unwrap();
    let mut messages = Vec::new();
    while reader.read(&mut messages).await.is_ok() {}
    sender.abort();
    drop(writing.await);
    messages.iter().any(|message| matches!(message, FromManager::HeartbeatAck { .. }))
}
