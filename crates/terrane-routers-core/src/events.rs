//! What a core is told and what it asks for.

use std::sync::Arc;

use bytes::Bytes;
use terrane_router_model::Rows;

use crate::logins::Login;
use crate::question::{Answer, AskError, Reply, Request, Unreachable};
use crate::{RequestId, RunId, SessionId, Time};

/// What the driver tells a router's core.
#[derive(Debug)]
pub enum Input {
    /// A request. Answered by exactly one [`Output::Answer`]; one that is open already is not asked twice.
    Ask(Box<Request>),
    /// Nobody waits for that request any more; it gets no answer.
    Cancel(RequestId),
    /// What came of [`Output::Reserve`].
    Reserved {
        /// Which.
        session: SessionId,
        /// Whether it may be opened.
        result: Result<(), ReserveError>,
    },
    /// What came of [`Output::Open`].
    Opened {
        /// Which.
        session: SessionId,
        /// Open; or why not. If not, the driver has closed what there was of it.
        result: Result<(), OpenError>,
    },
    /// A session that was open is no more: asked for by [`Output::Close`], or by itself.
    Closed {
        /// Which.
        session: SessionId,
        /// Whether the router has ended it for certain (it said so; the connection was closed in order by both).
        is_certain: bool,
    },
    /// What a router said to [`Output::Send`].
    Replied {
        /// In which session.
        session: SessionId,
        /// For which run.
        run: RunId,
        /// What.
        result: Result<Bytes, ReplyError>,
    },
    /// What [`Output::Translate`] found.
    Translated {
        /// Which.
        run: RunId,
        /// How to go on.
        next: Translation,
    },
    /// [`Output::Reap`] is done.
    Reaped,
    /// The shard's lease is this worker's until then.
    Lease {
        /// On this worker's clock.
        until: Time,
    },
    /// An operator's order.
    Order(Order),
    /// Time passes; see [`crate::RouterCore::next_wake`].
    Tick,
}

/// An operator's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As usual.
    Serve,
    /// Nothing new is begun; what has begun may end.
    Maintenance,
    /// Nothing is sent from now on, and all sessions are closed.
    Kill,
}

/// Why a session may not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// No slot is left ([`crate::SlotError`]).
    NoSlot,
    /// The credential is suspended ([`crate::LoginError::Suspended`]).
    Suspended,
    /// Other logins must be decided first, or the store did not answer: later.
    Later,
}

/// Why a session was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The lease was over when the login was to begin: nothing was sent.
    NotTried,
    /// It was tried.
    Failed {
        /// What to tell.
        why: Unreachable,
        /// What became of the credential.
        login: Login,
        /// Whether nothing of it is left at the router for certain.
        is_certain: bool,
    },
}

/// Why there is no output of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// More than may be; the driver closes the session.
    TooLong,
    /// The lease was over when it was to be written: nothing was written.
    NotSent,
}

/// What the knowledge base makes of replies.
#[derive(Debug)]
pub enum Translation {
    /// The plan's next command, held to the read-only grammar.
    Send(Arc<str>),
    /// The plan is done.
    Done {
        /// The facts.
        rows: Rows,
        /// Size in memory, roughly.
        bytes: usize,
        /// Whether that is all that the router has.
        is_complete: bool,
    },
    /// The plan has failed.
    Failed(AskError),
}

/// What a router's core asks of its driver.
#[derive(Debug)]
pub enum Output {
    /// In one transaction, reserve a slot ([`crate::SlotBook::reserve`]) and begin a login
    /// ([`crate::LoginRecord::begin`]); tell [`Input::Reserved`].
    Reserve {
        /// Which.
        session: SessionId,
    },
    /// Log in, if the clock does not show more than `not_after`; tell [`Input::Opened`].
    Open {
        /// Which.
        session: SessionId,
        /// End of the lease.
        not_after: Time,
    },
    /// A login has ended: [`crate::LoginRecord::end`], tried until it is done.
    LoggedIn {
        /// Of which session.
        session: SessionId,
        /// How.
        login: Login,
    },
    /// The slot is free: [`crate::SlotBook::release`], tried until it is done.
    Release {
        /// Which.
        session: SessionId,
    },
    /// Write the command, if the clock does not show more than `not_after`; tell [`Input::Replied`].
    Send {
        /// Where.
        session: SessionId,
        /// For which run.
        run: RunId,
        /// One line.
        command: Arc<str>,
        /// End of the lease.
        not_after: Time,
    },
    /// End the session, whatever it does; tell [`Input::Closed`].
    Close {
        /// Which.
        session: SessionId,
    },
    /// Read the replies by the plan; tell [`Input::Translated`].
    Translate {
        /// Which.
        run: RunId,
        /// Whose plan.
        key: Box<crate::CommandKey>,
        /// All replies so far.
        replies: Arc<[Reply]>,
    },
    /// Answer a request.
    Answer(Box<Answer>),
    /// What earlier holders have reserved here is over: [`crate::SlotBook::reap`], [`crate::LoginRecord::reap`]; tell
    /// [`Input::Reaped`]. Asked for again if that does not come.
    Reap,
}
