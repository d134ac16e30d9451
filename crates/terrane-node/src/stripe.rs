//! One stripe: the client core, the connection of its session, and how patient it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use terrane_block_core::client::{Client, ClientEvent};
use terrane_block_core::message::{ToClient, ToPrimary};
use terrane_block_core::{CopyId, SessionId};
use terrane_block_wire::control::{AttachmentOrder, StripeId, StripeView, ToManager};
use terrane_block_wire::data::DataMessage;
use terrane_block_wire::transport::Sender;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Requests of a session that are outstanding; a primary drops what is too much.
const OUTSTANDING_MAX: usize = 128;
/// A primary that is silent for so long is asked whether it is there ...
const PING_AFTER: Duration = Duration::from_millis(100);
/// ... reported to the manager after so long ...
const SUSPECT_AFTER: Duration = Duration::from_millis(300);
/// ... and spoken to over a new connection after so long, at first.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);
/// A primary that is there but leaves a request unanswered for so long gets a new session, at first.
const RESEND_AFTER: Duration = Duration::from_secs(15);
/// Patience grows up to this.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Pauses between attempts to connect, and to fetch the record.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// A primary that goes on failing is reported again after so long, so that the manager sees that it lasts.
const SUSPECT_AGAIN: Duration = Duration::from_millis(300);
/// The number of pings, which nobody waits for.
const PING: u64 = 0;
/// Pings ask for a copy that is nowhere: the server says at once that it does not know, however busy its drives are.
const NOBODY: CopyId = CopyId(u64::MAX);

/// Runs of blocks: how many, and whether they hold data.
pub(crate) type Runs = Vec<(u64, bool)>;

/// One stripe of an attached volume.
#[derive(Debug)]
pub(crate) struct Stripe {
    pub(crate) id: StripeId,
    pub(crate) client: Client<Bytes>,
    pub(crate) view: Option<StripeView>,
    pub(crate) link: Option<Link>,
    /// There was a session.
    pub(crate) begun: bool,
    pub(crate) pauses: Pauses,
    /// When to try the next connection.
    pub(crate) reconnect_at: Option<Instant>,
    /// When the primary was last reported.
    reported_at: Option<Instant>,
    questions: BTreeMap<u64, oneshot::Sender<Runs>>,
    asked: u64,
    silence: Silence,
}

/// The connection of a session.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) session: SessionId,
    pub(crate) to: CopyId,
    /// Once it is connected.
    pub(crate) sender: Option<Sender<DataMessage>>,
    /// The task that reads and writes.
    pub(crate) task: AbortHandle,
}

impl Drop for Link {
    /// Nothing more is sent, not even what was queued.
    fn drop(&mut self) {
        if let Some(sender) = &self.sender {
            sender.abort();
        }
        self.task.abort();
    }
}

/// Pauses that grow while nothing helps.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    attempts: u32,
}

impl Pauses {
    /// The first attempt is at once.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = match self.attempts {
            0 => Duration::ZERO,
            n => (PAUSE_MIN * 2_u32.saturating_pow(n - 1)).min(PAUSE_MAX),
        };
        self.attempts = (self.attempts + 1).min(16);
        pause
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// How long a primary has been silent although it owes an answer.
#[derive(Debug, Default)]
struct Silence {
    /// Since the last message from it.
    lasted: Duration,
    /// Since the last answer to a request.
    unanswered: Duration,
    pinged: bool,
    /// New connections and sessions that did not help.
    attempts: u32,
}

impl Silence {
    fn patience(&self, first: Duration) -> Duration {
        (first * 2_u32.saturating_pow(self.attempts)).min(PATIENCE_MAX)
    }
}

/// What patience has come to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing to do.
    Wait,
    /// Tell the manager.
    Suspect(ToManager),
    /// Open a new session.
    Reconnect,
}

impl Stripe {
    /// Sessions are numbered from behind `last`: no number may be used twice in one attachment.
    pub(crate) fn new(id: StripeId, order: &AttachmentOrder, last: SessionId) -> Self {
        let bugs = terrane_block_core::bugs::Bugs::default();
        let mut client = Client::new(order.client, order.epoch, OUTSTANDING_MAX, bugs);
        client.session = Some((last, NOBODY));
        Self {
            id,
            client,
            begun: false,
            view: None,
            link: None,
            pauses: Pauses::default(),
            reconnect_at: None,
            reported_at: None,
            questions: BTreeMap::new(),
            asked: PING,
            silence: Silence::default(),
        }
    }

    /// The session, with whom, and whether it is open.
    pub(crate) fn session(&self) -> (Option<(SessionId, CopyId)>, bool) {
        (self.client.session, self.client.open)
    }

    /// Hands a message of the core to the session's connection. Without one it is lost, as on a broken one.
    pub(crate) fn send(&mut self, to: CopyId, message: ToPrimary<Bytes>) {
        let Some(link) = self.link.as_ref().filter(|link| link.to == to) else { return };
        let Some(sender) = &link.sender else { return };
        let message = DataMessage::ToPrimary { stripe: self.id, to, message };
        if let Err(error) = sender.send(&message) {
            // The connection ends by this, and the session with it.
            tracing::debug!(stripe = ?self.id, %error, "a request cannot be sent");
        }
    }

    /// The event that a message of the session's connection is; `None` if it is no event of the core.
    pub(crate) fn event(&mut self, message: DataMessage) -> Option<ClientEvent<Bytes>> {
        self.silence.lasted = Duration::ZERO;
        self.silence.pinged = false;
        match message {
            DataMessage::ToClient { stripe, from, message } if stripe == self.id => {
                match &message {
                    ToClient::Welcome { .. } => {
                        self.pauses.reset();
                        self.reported_at = None;
                    }
                    ToClient::Reply { .. } => self.silence = Silence::default(),
                    ToClient::Refused { .. } => {}
                }
                Some(ClientEvent::Message(from, message))
            }
            DataMessage::Status { stripe, id, runs, .. } if stripe == self.id => {
                if let Some(question) = self.questions.remove(&id) {
                    // Whoever asked may have gone.
                    let _ = question.send(runs);
                }
                None
            }
            _ => None,
        }
    }

    /// Asks the primary which blocks hold data. Nothing comes if it does not know or the session breaks.
    pub(crate) fn ask(&mut self, start: u64, len: u64) -> Option<oneshot::Receiver<Runs>> {
        if !self.client.open {
            return None;
        }
        self.asked += 1;
        let id = self.asked;
        let to = self.link.as_ref()?.to;
        self.question(to, id, start, len)?;
        let (sender, receiver) = oneshot::channel();
        self.questions.insert(id, sender);
        Some(receiver)
    }

    /// Nobody waits for the answers of an earlier session.
    pub(crate) fn forget_questions(&mut self) {
        self.questions.clear();
    }

    fn question(&self, to: CopyId, id: u64, start: u64, len: u64) -> Option<()> {
        let message = DataMessage::StatusQuery { stripe: self.id, to, id, start, len };
        self.link.as_ref()?.sender.as_ref()?.send(&message).ok()
    }

    /// What to tell the manager of a primary that fails; nothing if it was told lately.
    pub(crate) fn failure(&mut self, reason: String, now: Instant) -> Option<ToManager> {
        if self.reported_at.is_some_and(|at| now < at + SUSPECT_AGAIN) {
            return None;
        }
        self.reported_at = Some(now);
        let (generation, copy) = self.client.view?;
        Some(ToManager::Suspect { stripe: self.id, copy, generation, reason })
    }

    /// Time passes, of which `own` counts: the rest this process itself has slept.
    pub(crate) fn tick(&mut self, now: Instant, own: Duration) -> Verdict {
        if self.reconnect_at.is_some_and(|at| at <= now) {
            self.reconnect_at = None;
            return Verdict::Reconnect;
        }
        let owes = self.link.is_some() && (!self.client.open || !self.client.outstanding.is_empty());
        if !owes {
            self.silence = Silence::default();
            return Verdict::Wait;
        }
        self.silence.lasted += own;
        self.silence.unanswered += own;
        if self.silence.lasted >= PING_AFTER && !self.silence.pinged {
            self.silence.pinged = true;
            // Without a connection there is nobody to ask.
            let _ = self.question(NOBODY, PING, 0, 1);
        }
        let dead = self.silence.lasted >= self.silence.patience(RECONNECT_AFTER);
        if dead || self.silence.unanswered >= self.silence.patience(RESEND_AFTER) {
            let attempts = self.silence.attempts + 1;
            self.silence = Silence { attempts, ..Silence::default() };
            return Verdict::Reconnect;
        }
        if self.silence.lasted < SUSPECT_AFTER {
            return Verdict::Wait;
        }
        let ms = self.silence.lasted.as_millis();
        self.failure(format!("no answer for {ms} ms"), now).map_or(Verdict::Wait, Verdict::Suspect)
    }
}
