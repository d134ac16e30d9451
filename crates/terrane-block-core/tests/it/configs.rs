//! What is searched.

use crate::world::Packet;
use terrane_block_core::bugs::Bugs;
use terrane_block_core::message::Message;

/// How often what may happen in one history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) writes: u8,
    pub(crate) reads: u8,
    pub(crate) flushes: u8,
    pub(crate) crashes: u8,
    pub(crate) powers: u8,
    pub(crate) failed_flushes: u8,
    pub(crate) suspicions: u8,
    pub(crate) lapses: u8,
    pub(crate) detaches: u8,
    pub(crate) reconnects: u8,
    pub(crate) drops: u8,
    pub(crate) duplicates: u8,
    pub(crate) declares: u8,
    pub(crate) forgets: u8,
    pub(crate) hand_overs: u8,
    pub(crate) retires: u8,
}

/// What happens at once, not as an action of its own. Fewer interleavings, deeper search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eager {
    pub(crate) persists: bool,
    pub(crate) writes: bool,
    pub(crate) reads: bool,
    pub(crate) flushes: bool,
    /// Client to primary.
    pub(crate) requests: bool,
    /// Primary to client.
    pub(crate) replies: bool,
    /// Between copies.
    pub(crate) links: bool,
    /// Answers of mirrors.
    pub(crate) acks: bool,
    /// A primary that relinquished releases its leases.
    pub(crate) releases: bool,
    /// What copies ask of the manager.
    pub(crate) asks: bool,
    /// A forced detach is noticed to be complete.
    pub(crate) fences: bool,
    /// A grant lapses as soon as its lease has, and a restarted copy settles as soon as nobody holds its lease.
    pub(crate) grants: bool,
    /// Clients hear of every record.
    pub(crate) clients: bool,
    /// Copies hear of every record.
    pub(crate) records: bool,
    /// The manager repairs what it can. (False suspicions remain.)
    pub(crate) repairs: bool,
    /// Who is down starts again.
    pub(crate) restarts: bool,
}

impl Eager {
    pub(crate) const ALL: Self = Self {
        persists: true,
        writes: true,
        reads: true,
        flushes: true,
        requests: true,
        replies: true,
        links: true,
        acks: true,
        releases: true,
        asks: true,
        fences: true,
        grants: true,
        clients: true,
        records: true,
        repairs: true,
        restarts: true,
    };

    pub(crate) fn packet(&self, packet: &Packet) -> bool {
        match packet {
            Packet::Up(_) => self.requests,
            Packet::Down(_) => self.replies,
            Packet::Ask(_) => self.asks,
            Packet::Copy(Message::Ack { .. }) => self.acks,
            Packet::Copy(Message::Release { .. }) => self.releases,
            Packet::Copy(_) => self.links,
        }
    }
}

/// One search.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: &'static str,
    pub(crate) copies: u64,
    pub(crate) blocks: u64,
    pub(crate) budget: Budget,
    pub(crate) eager: Eager,
    pub(crate) bugs: Bugs,
}

const NONE: Budget = Budget {
    writes: 0,
    reads: 0,
    flushes: 0,
    crashes: 0,
    powers: 0,
    failed_flushes: 0,
    suspicions: 0,
    lapses: 0,
    detaches: 0,
    reconnects: 0,
    drops: 0,
    duplicates: 0,
    declares: 0,
    forgets: 0,
    hand_overs: 0,
    retires: 0,
};
const ALL: Eager = Eager::ALL;
const BUGS: Bugs = Bugs::NONE;

const FEW: Eager = Eager { records: false, repairs: false, restarts: false, ..ALL };

/// The searches.
pub(crate) const CONFIGS: &[Config] = &[
    // Two copies; the network is slow, the primary is lost or thought to be.
    Config {
        name: "switch",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, reads: 1, crashes: 1, suspicions: 1, lapses: 1, ..NONE },
        eager: Eager { links: false, acks: false, restarts: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "leases",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, reads: 1, crashes: 1, suspicions: 1, lapses: 2, ..NONE },
        eager: Eager { grants: false, clients: false, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "power",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, flushes: 1, powers: 2, ..NONE },
        eager: FEW,
        bugs: BUGS,
    },
    Config {
        name: "restart",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, reads: 1, crashes: 2, suspicions: 1, ..NONE },
        eager: Eager { acks: false, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "blocks",
        copies: 2,
        blocks: 2,
        budget: Budget { writes: 2, flushes: 1, crashes: 1, suspicions: 1, ..NONE },
        eager: Eager { links: false, restarts: true, repairs: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "three",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, reads: 1, crashes: 1, suspicions: 1, lapses: 1, ..NONE },
        eager: Eager { links: false, repairs: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "three-flush",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 2, powers: 1, ..NONE },
        eager: Eager { links: false, records: true, repairs: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "three-equalise",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 3, ..NONE },
        eager: Eager { links: false, records: true, repairs: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "detach",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, reads: 1, detaches: 1, suspicions: 1, lapses: 1, ..NONE },
        eager: Eager { requests: false, clients: false, records: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "sessions",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, reads: 1, reconnects: 1, drops: 1, suspicions: 1, ..NONE },
        eager: Eager { requests: false, replies: false, records: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "disk",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, reads: 1, powers: 1, crashes: 1, ..NONE },
        eager: Eager { persists: false, writes: false, records: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "fsync",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, flushes: 2, failed_flushes: 1, powers: 1, ..NONE },
        eager: Eager { flushes: false, restarts: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "network",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, drops: 1, duplicates: 1, suspicions: 1, ..NONE },
        eager: Eager { links: false, acks: false, records: true, repairs: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "three-join",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 2, flushes: 1, crashes: 3, ..NONE },
        eager: Eager { records: true, repairs: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "join-power",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, flushes: 1, powers: 2, suspicions: 1, ..NONE },
        eager: Eager { flushes: false, records: true, restarts: true, ..FEW },
        bugs: BUGS,
    },
    // Copies that are away are forgotten, and come back with what they had.
    Config {
        name: "forget",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 2, flushes: 1, crashes: 2, forgets: 1, ..NONE },
        eager: Eager { records: true, repairs: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "forget-late",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, powers: 1, crashes: 1, suspicions: 1, forgets: 1, ..NONE },
        eager: Eager { repairs: true, ..FEW },
        bugs: BUGS,
    },
    // The primary's role is handed over, with everything that may come in between.
    Config {
        name: "hand-over",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, reads: 1, hand_overs: 1, crashes: 1, suspicions: 1, lapses: 1, ..NONE },
        eager: Eager { links: false, releases: false, restarts: true, ..FEW },
        bugs: BUGS,
    },
    Config {
        name: "hand-over-late",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, reads: 1, hand_overs: 2, suspicions: 1, detaches: 1, ..NONE },
        eager: Eager { releases: false, asks: false, grants: false, repairs: true, ..FEW },
        bugs: BUGS,
    },
    // Copies that are not wanted any more are let go, in sync or not.
    Config {
        name: "retire",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 2, flushes: 1, crashes: 2, retires: 2, ..NONE },
        eager: Eager { repairs: true, ..FEW },
        bugs: BUGS,
    },
];

/// Small searches that go deep, each aimed at a rule.
pub(crate) const AIMED: &[Config] = &[
    Config {
        name: "aim-client",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, reads: 1, reconnects: 1, ..NONE },
        eager: Eager { requests: false, replies: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-read-uncommitted",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, reads: 1, crashes: 1, detaches: 1, ..NONE },
        eager: Eager { links: false, restarts: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-confirm",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, suspicions: 2, ..NONE },
        eager: Eager { records: false, asks: false, repairs: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-back",
        copies: 2,
        blocks: 1,
        budget: Budget { suspicions: 1, crashes: 1, ..NONE },
        eager: Eager { records: false, restarts: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-keep",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, powers: 1, crashes: 1, ..NONE },
        eager: Eager { restarts: false, repairs: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-settle",
        copies: 2,
        blocks: 1,
        budget: Budget { crashes: 1, declares: 1, ..NONE },
        eager: Eager { records: false, grants: false, repairs: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-grants",
        copies: 2,
        blocks: 1,
        budget: Budget { suspicions: 1, ..NONE },
        eager: Eager { records: false, grants: false, repairs: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-one-lease",
        copies: 3,
        blocks: 1,
        budget: Budget { suspicions: 1, lapses: 2, ..NONE },
        eager: Eager { records: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-shrink",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, suspicions: 1, lapses: 1, ..NONE },
        eager: Eager { records: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-joiner-flush",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 1, ..NONE },
        eager: Eager { asks: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-log-first",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, crashes: 1, ..NONE },
        eager: Eager { persists: false, links: false, clients: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-recopies",
        copies: 4,
        blocks: 1,
        budget: Budget { writes: 1, crashes: 2, ..NONE },
        eager: Eager { links: false, restarts: false, clients: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-bitmap",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 2, ..NONE },
        eager: Eager { restarts: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-bitmap-log",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 1, ..NONE },
        eager: Eager { links: false, restarts: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-broken",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 3, ..NONE },
        eager: Eager { restarts: false, asks: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-forgotten",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 2, forgets: 1, ..NONE },
        eager: Eager { restarts: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-suspects",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, reads: 1, crashes: 2, detaches: 1, ..NONE },
        eager: Eager { links: false, restarts: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-suspect-flush",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 2, ..NONE },
        eager: Eager { links: false, restarts: false, clients: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-retire",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, powers: 1, ..NONE },
        eager: Eager { writes: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-later-writes",
        copies: 3,
        blocks: 2,
        budget: Budget { writes: 2, flushes: 1, crashes: 1, ..NONE },
        eager: Eager { links: false, writes: false, restarts: false, clients: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-join-flush",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 1, ..NONE },
        eager: Eager { restarts: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-session",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, reconnects: 1, ..NONE },
        eager: Eager { requests: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-detach",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 2, reads: 1, detaches: 1, ..NONE },
        eager: Eager { records: false, clients: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-joiner-retires",
        copies: 3,
        blocks: 2,
        budget: Budget { writes: 2, flushes: 1, crashes: 3, ..NONE },
        eager: Eager { links: false, reads: false, restarts: false, clients: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-back-and-bitmap",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 2, powers: 1, ..NONE },
        eager: FEW,
        bugs: BUGS,
    },
    Config {
        name: "aim-hand-over",
        copies: 2,
        blocks: 1,
        budget: Budget { writes: 1, hand_overs: 1, suspicions: 1, ..NONE },
        eager: Eager { records: false, links: false, releases: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-release",
        copies: 2,
        blocks: 1,
        budget: Budget { hand_overs: 1, suspicions: 1, detaches: 1, ..NONE },
        eager: Eager { releases: false, asks: false, ..ALL },
        bugs: BUGS,
    },
    Config {
        name: "aim-retire-joining",
        copies: 3,
        blocks: 1,
        budget: Budget { writes: 1, flushes: 1, crashes: 2, retires: 1, ..NONE },
        eager: Eager { records: false, repairs: false, restarts: false, ..ALL },
        bugs: BUGS,
    },
];
