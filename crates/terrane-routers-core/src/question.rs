//! What is asked and what is answered.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use terrane_router_model::{Filter, Kind, Rows};

use crate::{ClientId, CredentialId, Epoch, RequestId, Time};

/// Who goes first; each class may have a head start ([`crate::RouterConfig::head_start`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Periodic gathering.
    Background,
    /// Customers.
    External,
    /// The network's own services.
    Internal,
}

impl Class {
    /// All, the least urgent first.
    pub const ALL: [Self; 3] = [Self::Background, Self::External, Self::Internal];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Background => 0,
            Self::External => 1,
            Self::Internal => 2,
        }
    }
}

/// How much a plan asks of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cost {
    /// Answered from memory, in a few kilobytes.
    Light,
    /// Grows with the number of interfaces or neighbours.
    Medium,
    /// Grows with a table of routes: one at a time.
    Table,
}

impl Cost {
    /// All, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Light, Self::Medium, Self::Table];

    /// Tokens that each command of such a plan takes.
    #[must_use]
    pub const fn tokens(self) -> u32 {
        match self {
            Self::Light => 1,
            Self::Medium => 2,
            Self::Table => TOKENS_MAX,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Light => 0,
            Self::Medium => 1,
            Self::Table => 2,
        }
    }
}

/// The most tokens that one command takes; no bucket for commands may be smaller.
pub const TOKENS_MAX: u32 = 4;

/// What is executed. Questions of equal key share one execution; the router's incarnation is that of its core.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandKey {
    /// The kind whose plan is run.
    pub kind: Kind,
    /// As whom.
    pub credential: CredentialId,
    /// The instance that the command names; none: the command tells of all, or of the default one.
    pub network_instance: Option<Arc<str>>,
    /// The neighbour that the command names.
    pub neighbor: Option<IpAddr>,
    /// `ipv4`, `ipv6`; none where the kind has none.
    pub address_family: Option<&'static str>,
    /// The rendered first command of the plan, held to the read-only grammar.
    pub command: Arc<str>,
    /// Version of the knowledge base that rendered it.
    pub knowledge: u32,
}

/// What an external client may see: a fact must agree with all fields of its connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// The VRF.
    pub network_instance: Arc<str>,
    /// The logical interface (`Ethernet1.100`), as the router prints it.
    pub interface: Arc<str>,
    /// The VLAN, where the connection has one.
    pub vlan: Option<u16>,
    /// The customer's end of the BGP session.
    pub peer: IpAddr,
}

/// What a client may see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Everything: internal clients.
    All,
    /// One's own.
    Own(Connection),
}

/// A question on its way to a router's core: authenticated, authorised and validated.
#[derive(Clone, Debug)]
pub struct Request {
    /// Answered by exactly one [`Answer`].
    pub id: RequestId,
    /// Who asks.
    pub client: ClientId,
    /// How urgent.
    pub class: Class,
    /// What to execute.
    pub key: CommandKey,
    /// What that asks of the router.
    pub cost: Cost,
    /// What may be seen of the result.
    pub grant: Grant,
    /// For how long the connection has been the client's for certain: nothing older is shown.
    pub owned_for: Duration,
    /// What is wanted of it.
    pub filter: Filter,
    /// An answer may be this old when the request arrives.
    pub max_age: Duration,
    /// Rather than an error, an answer may be this old when it is given.
    pub allow_stale: Option<Duration>,
    /// How long the client waits from now on.
    pub deadline: Duration,
}

impl Request {
    pub(crate) fn is_action(&self) -> bool {
        self.key.kind.is_action()
    }
}

/// What a router said to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The command.
    pub command: Arc<str>,
    /// Everything between the command's echo and the next prompt.
    pub bytes: Bytes,
}

/// What a router was found to be like: facts with their time.
#[derive(Clone, Debug)]
pub struct Observation {
    /// What was executed.
    pub key: CommandKey,
    /// The facts.
    pub rows: Rows,
    /// No later than the router was asked first.
    pub observed_at: Time,
    /// Size in memory, roughly.
    pub bytes: usize,
    /// Whether the router told all it has; false: cut at a limit.
    pub is_complete: bool,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The router was asked for this request.
    Live,
    /// The router was asked for somebody else, and this request joined.
    Coalesced,
    /// Observed before, as young as wanted.
    Cache,
    /// Observed before, older than wanted: there is nothing better.
    Stale,
    /// What an external client is told of all that was not asked for it alone.
    Stored,
}

/// What is answered: the facts that the client may see.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The facts; shared between clients that may see the same.
    pub rows: Arc<Rows>,
    /// How old they are at most, when this is given.
    pub age: Duration,
    /// Where they came from.
    pub source: Source,
    /// Whether that is all that there is to see.
    pub is_complete: bool,
}

/// The one answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// To which.
    pub id: RequestId,
    /// Under which epoch of the router's shard.
    pub epoch: Epoch,
    /// What.
    pub result: Result<Answered, AskError>,
}

/// Whose rate is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Throttle {
    /// The client's own requests.
    Client,
    /// Requests of lower priority make room.
    Priority,
    /// Answers that the client has not taken.
    Results,
}

/// Why a router cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreachable {
    /// It cannot be reached, or does not answer.
    Down,
    /// It did not for a while and is not tried before the time given.
    Tripped,
    /// It refuses sessions.
    Refused,
    /// Its credential was refused and is not tried again.
    CredentialSuspended,
}

/// Why there is no answer. `retry_after` is when asking again makes sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what their names say, in every variant")]
pub enum AskError {
    /// No grant for that kind of question.
    #[error("AccessDenied")]
    AccessDenied,
    /// The platform or version has no such command.
    #[error("UnsupportedQuery: {what}")]
    UnsupportedQuery { what: String },
    /// The router does not keep that table.
    #[error("NotRetained: {what}")]
    NotRetained { what: String },
    /// The router has no such instance.
    #[error("UnknownInstance")]
    UnknownInstance,
    /// The output was not of the expected shape.
    #[error("TranslationFailed: {what}")]
    TranslationFailed { what: String },
    /// See [`Unreachable`].
    #[error("RouterUnreachable: {why:?}; retry after {retry_after:?}")]
    RouterUnreachable { why: Unreachable, retry_after: Duration },
    /// No room in its queue, or no session to be had.
    #[error("RouterBusy: retry after {retry_after:?}")]
    RouterBusy { retry_after: Duration },
    /// A rate is exhausted.
    #[error("Throttled: {scope:?}; retry after {retry_after:?}")]
    Throttled { scope: Throttle, retry_after: Duration },
    /// The client's deadline passed.
    #[error("DeadlineExceeded")]
    DeadlineExceeded,
    /// An operator keeps everybody from the router.
    #[error("Maintenance")]
    Maintenance,
}

impl AskError {
    /// Whether an older observation may stand in for it ("stale if error"): it says nothing of the question itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::RouterUnreachable { .. }
                | Self::RouterBusy { .. }
                | Self::Throttled { .. }
                | Self::DeadlineExceeded
                | Self::Maintenance
        )
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Coalesced => "coalesced",
            Self::Cache => "cache",
            Self::Stale => "stale",
            Self::Stored => "stored",
        })
    }
}
