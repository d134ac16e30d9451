//! What copies say to each other, and clients and primaries.

use crate::ids::{AttachmentEpoch, Content, Digest, Extent, Generation, Incarnation, LayoutEpoch, SessionId};
use crate::set::BlockSet;
use serde::{Deserialize, Serialize};

/// In what world a message was sent, and by whom to whom. Nothing of it may differ from what the receiver has adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The sender's generation.
    pub generation: Generation,
    /// The sender's layout.
    pub layout: LayoutEpoch,
    /// The sender's life.
    pub from: Incarnation,
    /// The receiver's life, as the record names it.
    pub to: Incarnation,
}

/// Between copies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message<P> {
    /// Primary to mirror: part of a sequence that starts at 1 with every generation.
    Link {
        /// In which generation.
        stamp: Stamp,
        /// Its number; taken in order, older ones are duplicates.
        seq: u64,
        /// What to do.
        body: Body<P>,
    },
    /// Mirror to primary: done.
    Ack {
        /// In which generation.
        stamp: Stamp,
        /// The number of what is done.
        seq: u64,
        /// What it answers.
        answer: Answer<P>,
    },
    /// Primary to mirror: may I serve?
    LeaseRequest {
        /// In which generation.
        stamp: Stamp,
        /// Names the request; the holder's lease counts from when it was sent.
        round: u64,
    },
    /// Mirror to primary: you may, for one period.
    LeaseGrant {
        /// In which generation.
        stamp: Stamp,
        /// The request's.
        round: u64,
    },
    /// Primary to mirror: I shall never act in this generation again; all leases that I have of you are over.
    Release {
        /// In which generation.
        stamp: Stamp,
    },
    /// Mirror to primary: these blocks of mine are damaged.
    Damaged {
        /// In which generation.
        stamp: Stamp,
        /// Where.
        extent: Extent,
    },
    /// Mirror to primary: this copy's activity log fills up; a FLUSH would let it retire.
    FlushWanted {
        /// In which generation.
        stamp: Stamp,
    },
    /// A newer generation than the message's is adopted here.
    Refused {
        /// That one.
        generation: Generation,
    },
}

/// What a primary wants of a mirror.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body<P> {
    /// Which blocks were touched since the last completed FLUSH? Answered by [`Answer::Touched`].
    Query,
    /// Apply.
    Write {
        /// Where.
        extent: Extent,
        /// What.
        content: Content<P>,
        /// A recopy or an equalisation, not a client's write.
        recopied: bool,
    },
    /// Make all that was sent before durable.
    Flush {
        /// Blocks with a write in flight anywhere: not to be retired by this flush. Blocks, since copies made by different
        /// programs may have log extents of different sizes.
        exclude: BlockSet,
    },
    /// The flush with this number is complete everywhere: its log extents retire.
    Retire {
        /// Its number.
        flush: u64,
    },
    /// Read, because the primary's own content is damaged. Answered by [`Answer::Content`].
    Fetch {
        /// Where.
        extent: Extent,
    },
    /// Say what is there without sending it. Answered by [`Answer::Digests`].
    Digest {
        /// Where.
        extent: Extent,
    },
}

/// What a mirror answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Answer<P> {
    /// Done.
    Done,
    /// Blocks of the log, and of the bitmap about the one who asks. Perhaps more than that, never less.
    Touched {
        /// Blocks of log extents that are not retired.
        log: BlockSet,
        /// Blocks.
        blocks: BlockSet,
    },
    /// What is there; nothing if it is damaged here too.
    Content(Option<Content<P>>),
    /// One for each block; none at all if that cannot be told for all of them.
    Digests(Vec<Digest>),
}

/// What an application asks of the volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Op<P> {
    /// Read.
    Read(Extent),
    /// Write or TRIM.
    Write(Extent, Content<P>),
    /// Make all that was acknowledged durable.
    Flush,
}

impl<P> Op<P> {
    /// Where; a flush is nowhere.
    #[must_use]
    pub fn extent(&self) -> Option<Extent> {
        match self {
            Self::Read(extent) | Self::Write(extent, _) => Some(*extent),
            Self::Flush => None,
        }
    }
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome<P> {
    /// Written, or flushed.
    Done,
    /// Read.
    Content(Content<P>),
    /// No in-sync copy has an undamaged content of it.
    Damaged,
    /// It goes beyond the end of the stripe; nothing was done.
    OutOfRange,
    /// There is no room for a write on the only copy; some of it may have been written.
    NoSpace,
}

/// Client to primary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ToPrimary<P> {
    /// Opens a session, fencing earlier ones of the attachment.
    Hello {
        /// The attachment.
        epoch: AttachmentEpoch,
        /// The new session.
        session: SessionId,
        /// Who the client thinks rules.
        generation: Generation,
    },
    /// One request of a session.
    Request {
        /// The attachment.
        epoch: AttachmentEpoch,
        /// The session.
        session: SessionId,
        /// From 1 up; taken in order, older ones are duplicates.
        seq: u64,
        /// What to do.
        op: Op<P>,
    },
}

/// Primary to client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ToClient<P> {
    /// The session is open: all older ones are fenced and drained.
    Welcome {
        /// The session.
        session: SessionId,
    },
    /// The request is done.
    Reply {
        /// The session.
        session: SessionId,
        /// The request.
        seq: u64,
        /// Its outcome.
        outcome: Outcome<P>,
    },
    /// This copy does not take the session: it is fenced, not the primary, or knows another generation.
    Refused {
        /// The session.
        session: SessionId,
        /// What this copy has adopted.
        generation: Generation,
    },
}
