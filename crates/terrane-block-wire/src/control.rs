//! The control protocol: everyone to the manager, over one connection per process, and back.
//!
//! A connection begins with a hello and [`FromManager::Welcome`]. The manager pushes a [`StripeView`] at every change
//! of its record to the copies' servers and to the node managers that have the stripe attached; whoever is in doubt
//! sends [`ToManager::Fetch`]. Nothing here is ordered by wall clocks. A connection that is silent for
//! [`Welcome::silence_ms`] counts as broken at both ends.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use terrane_block_core::manager::Request;
use terrane_block_core::record::Record;
use terrane_block_core::{AttachmentEpoch, ClientId, CopyId, Generation, Incarnation};
use terrane_types::{InstanceId, VolumeId, Zone};

/// A block server, for as long as its drives exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(pub u128);

/// A stripe of a volume's layout. Random; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StripeId(pub u128);

/// A pool of a block server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolName(pub u128);

/// Kind of drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Media {
    /// Flash.
    Ssd,
    /// Rotating.
    Hdd,
}

/// What a pool is and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// Which.
    pub pool: PoolName,
    /// Kind of drive.
    pub media: Media,
    /// Bytes declared.
    pub capacity: u64,
    /// Bytes of data in it.
    pub used: u64,
    /// Bytes free on the host's file system.
    pub host_free: u64,
    /// I/O operations per second declared.
    pub iops: u32,
    /// Bytes per second declared.
    pub throughput: u64,
    /// Pools with the same number share one device: commitments count together.
    pub device: u64,
    /// Why it takes no new copies (full, read-only, failed), if so.
    pub trouble: Option<String>,
}

/// A copy that a server has. With `volume`, `stripe_index` and so on, control state can be rebuilt from copies alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReport {
    /// Stripe and copy.
    pub stripe: StripeId,
    /// Its number within the stripe.
    pub copy: CopyId,
    /// The pool that it lies in.
    pub pool: PoolName,
    /// The life it is in; `None`: it cannot be used now (see `trouble`).
    pub incarnation: Option<Incarnation>,
    /// Earlier lives of which nothing is lost (see [`terrane_block_core::manager::Alive`]).
    pub kept: BTreeSet<Incarnation>,
    /// What it was made with.
    pub identity: CopyIdentity,
    /// Its adopted record, as it is durable there.
    pub record: Option<Record>,
    /// Why it cannot be used, if so.
    pub trouble: Option<String>,
}

/// What a copy is told of its volume when it is made; durable there; only for rebuilding and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyIdentity {
    /// The volume.
    pub volume: VolumeId,
    /// Its account.
    pub account: String,
    /// Which stripe of its layout this is, of how many.
    pub stripe_index: u32,
    /// Stripes of the layout.
    pub stripes: u32,
    /// Bytes that lie in one stripe before the next one goes on.
    pub stripe_bytes: u64,
    /// Blocks of this stripe.
    pub blocks: u64,
}

/// Where a copy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its server.
    pub server: ServerId,
    /// Where that takes data connections: `host:port`. Empty while nobody knows.
    pub address: String,
}

/// A stripe as the manager has it: the record, and where its copies are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeView {
    /// Which.
    pub stripe: StripeId,
    /// The record.
    pub record: Record,
    /// Every copy named by the record.
    pub places: BTreeMap<CopyId, Place>,
    /// Blocks of the stripe.
    pub blocks: u64,
    /// What its clients are entitled and limited to; `None`: to nothing, by nothing.
    pub performance: Option<Performance>,
}

/// What the clients of a stripe get at least and at most, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Performance {
    /// A request of more bytes counts as several I/O operations, one for each so many bytes. Not 0.
    pub op_bytes: u32,
    /// I/O operations per second, at most; `None`: no limit.
    pub iops: Option<Allowance>,
    /// Bytes per second, at most; `None`: no limit.
    pub bytes: Option<Allowance>,
    /// I/O operations per second committed, of up to 16 KiB each; 0: none.
    pub reserved_iops: u64,
    /// Bytes per second committed; 0: 16 KiB for each I/O operation committed.
    pub reserved_bytes: u64,
}

/// A limit: so much per second for ever, and more for as long as there is credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Per second. Not 0.
    pub rate: u64,
    /// Per second while there is credit; not less than `rate`, which it is where there is no credit.
    pub peak: u64,
    /// What can be saved up by using less than `rate`, and used beyond it. There is this much at the beginning.
    pub credit: u64,
}

/// An attachment, as the node manager has to serve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentOrder {
    /// The volume.
    pub volume: VolumeId,
    /// The attachment epoch: what the node manager stamps its requests with.
    pub epoch: AttachmentEpoch,
    /// The client that it is.
    pub client: ClientId,
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes that lie in one stripe before the next one goes on.
    pub stripe_bytes: u64,
    /// The stripes, in order.
    pub stripes: Vec<StripeId>,
    /// The name of the NBD export, and its password: 32 hex digits, drawn at the attachment.
    pub secret: String,
    /// The device name that was asked for (`/dev/sdf`).
    pub device: String,
    /// Writes are refused.
    pub read_only: bool,
    /// The client should go: no new connections are taken, and when the last one ends the node manager says so.
    pub detaching: bool,
}

/// How far a node manager is with an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachmentProgress {
    /// The export is there.
    Serving {
        /// Where: `nbd+unix:///SECRET?socket=…`.
        nbd_url: String,
    },
    /// It was detaching, and its last client has gone, everything answered and flushed: nothing will be sent any more.
    Ended,
    /// It cannot be served.
    Failed(String),
}

/// What the manager wants of a block server; each is idempotent, and done until answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Make a copy. Answered when it is durable; the server then reports it with [`ToManager::Copies`].
    CreateCopy {
        /// The stripe.
        stripe: StripeId,
        /// The copy.
        copy: CopyId,
        /// The pool.
        pool: PoolName,
        /// Of what.
        identity: CopyIdentity,
    },
    /// Delete a copy for good. One that is not there is deleted.
    DeleteCopy {
        /// The stripe.
        stripe: StripeId,
        /// The copy.
        copy: CopyId,
    },
    /// Read all of a copy and compare it with its checksums; damage is repaired through the primary.
    Scrub {
        /// The stripe.
        stripe: StripeId,
        /// The copy.
        copy: CopyId,
    },
    /// Hand the primary's role over ([`terrane_block_core::manager::hand_over`] says whether, and in which generation).
    /// Answered when the primary has stopped for good and asked for the next generation
    /// ([`terrane_block_core::manager::Request::Relinquish`]); the record says how it went on. An error: it serves as before.
    HandOver {
        /// The stripe.
        stripe: StripeId,
        /// The copy that is the primary.
        copy: CopyId,
        /// In this generation.
        generation: Generation,
        /// The copy in sync that shall follow it.
        to: CopyId,
    },
}

/// To the manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToManager {
    /// First of a block server.
    ServerHello {
        /// Who.
        server: ServerId,
        /// Its zone.
        zone: Zone,
        /// A name for people.
        name: String,
        /// Where it takes data connections.
        address: String,
        /// Drawn at each start of the process.
        process: u128,
        /// Its pools.
        pools: Vec<PoolReport>,
        /// All its copies.
        copies: Vec<CopyReport>,
    },
    /// First of a node manager.
    NodeHello {
        /// The machine that it runs on.
        instance: InstanceId,
        /// The machine's zone.
        zone: Zone,
        /// A name for people.
        host_name: String,
        /// Drawn at each start of the process. A node manager keeps nothing of its sessions: for a new process the
        /// manager raises the epoch of every attachment of the machine (as a forced detach does, but it stays
        /// attached, under the same secret) before it sends the orders, so that nothing of the old process lands any
        /// more.
        process: u128,
        /// What it serves.
        serving: Vec<(VolumeId, AttachmentEpoch)>,
    },
    /// Still there; every [`FromManager::Welcome`]'s `heartbeat_ms`.
    Heartbeat {
        /// Counts.
        seq: u64,
        /// Of a block server: how its pools are now, if that has changed much.
        pools: Vec<PoolReport>,
    },
    /// These copies have changed (new, another life, trouble).
    Copies(Vec<CopyReport>),
    /// A copy asks.
    Request {
        /// The stripe.
        stripe: StripeId,
        /// What.
        request: Request,
    },
    /// Send the view of this stripe (and again at every change).
    Fetch {
        /// The stripe.
        stripe: StripeId,
    },
    /// The answer to a command.
    Done {
        /// The command's number.
        id: u64,
        /// What came of it.
        result: Result<(), String>,
    },
    /// A node manager or a copy gets no answer from a copy.
    Suspect {
        /// The stripe.
        stripe: StripeId,
        /// The copy that does not answer.
        copy: CopyId,
        /// In which generation.
        generation: Generation,
        /// Why, for people.
        reason: String,
    },
    /// How far an attachment is.
    Attachment {
        /// The volume.
        volume: VolumeId,
        /// Which attachment.
        epoch: AttachmentEpoch,
        /// How far.
        progress: AttachmentProgress,
    },
    /// How far a primary is with bringing copies up to date. For people and metrics.
    Resync {
        /// The stripe.
        stripe: StripeId,
        /// The copy that catches up.
        copy: CopyId,
        /// Bytes moved in this attempt.
        moved: u64,
        /// Bytes left, as far as known.
        left: u64,
    },
}

/// From the manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromManager {
    /// The answer to a hello.
    Welcome {
        /// Which manager this is: grows with every change of manager. An older one is not listened to.
        epoch: u64,
        /// How often to send heartbeats.
        heartbeat_ms: u64,
        /// A connection silent for so long is broken.
        silence_ms: u64,
        /// The lease period.
        lease_ms: u64,
    },
    /// This process is not wanted (another one speaks for the same server or machine, newer).
    Rejected(String),
    /// Heard.
    HeartbeatAck {
        /// The heartbeat's number.
        seq: u64,
    },
    /// A stripe's record changed, or was fetched.
    Stripe(Box<StripeView>),
    /// Nobody knows this stripe (any more): its copies here are garbage once [`Command::DeleteCopy`] says so.
    NoStripe {
        /// Which.
        stripe: StripeId,
    },
    /// The lease that a primary without mirrors asked for.
    LeaseGranted {
        /// The stripe.
        stripe: StripeId,
        /// The copy.
        copy: CopyId,
        /// The request's round.
        round: u64,
    },
    /// To a block server.
    Command {
        /// Names it in [`ToManager::Done`].
        id: u64,
        /// What.
        command: Command,
    },
    /// To a node manager: all attachments that it shall serve. What is not in here, or in here with a higher epoch, is
    /// ended at once: its connections are cut. Sent after the hello and at every change.
    Attachments(Vec<AttachmentOrder>),
}
