//! The driver, the store and the router of the tests.

use super::*;

pub(super) struct Bed {
    pub(super) core: RouterCore,
    pub(super) now: Time,
    pub(super) lease_until: Time,
    pub(super) budget: Budget,
    book: SlotBook,
    record: LoginRecord,
    config: RouterConfig,
    /// The router does not answer.
    pub(super) is_silent: bool,
    /// What becomes of logins.
    pub(super) login: Login,
    /// Commands of a plan.
    pub(super) steps: u32,
    sessions: BTreeMap<SessionId, Option<RunId>>,
    pub(super) logins: u32,
    pub(super) commands: Vec<Time>,
    pub(super) answers: BTreeMap<RequestId, Result<Answered, AskError>>,
}

const IDENTITY: Identity = Identity {
    router: RouterId(1),
    epoch: Epoch(1),
    credential: CredentialId(1),
    realm: RealmId(1),
    group: None,
};

pub(super) fn question(command: &str) -> CommandKey {
    CommandKey {
        kind: Kind::Arp,
        credential: CredentialId(1),
        network_instance: None,
        neighbor: None,
        address_family: None,
        command: command.into(),
        knowledge: 1,
    }
}

pub(super) fn request(id: u128, client: u64, key: CommandKey) -> Request {
    Request {
        id: RequestId(id),
        client: ClientId(client),
        class: Class::Internal,
        key,
        cost: Cost::Light,
        grant: Grant::All,
        owned_for: Duration::ZERO,
        filter: Filter::default(),
        max_age: SECOND,
        allow_stale: None,
        deadline: Duration::from_secs(60),
    }
}

/// A customer's question about its own VRF, on the one interface of both.
pub(super) fn connection(id: u128, client: u64, instance: &str) -> Request {
    let grant = Grant::Own(Connection {
        network_instance: instance.into(),
        interface: "Ethernet1".into(),
        vlan: None,
        peer: "10.0.0.2".parse().unwrap(),
    });
    let owned_for = Duration::from_secs(3_600);
    Request { grant, class: Class::External, owned_for, ..request(id, client, question("show arp")) }
}

fn rows() -> Rows {
    let mut rows = Rows::new(Kind::Arp);
    for instance in ["red", "blue"] {
        let row = json!({"network_instance": instance, "interface": "Ethernet1", "address": "10.0.0.2"});
        rows.add(row.as_object().unwrap().clone());
    }
    rows
}

impl Bed {
    pub(super) fn new(config: RouterConfig) -> Self {
        assert_eq!(config.check(), Ok(()));
        let (now, lease_until) = (Time(3_600_000_000 * 24), Time::NEVER);
        let mut bed = Self {
            core: RouterCore::new(config.clone(), IDENTITY, now, lease_until),
            now,
            lease_until,
            budget: Budget::default(),
            book: SlotBook::default(),
            record: LoginRecord::default(),
            config,
            is_silent: false,
            login: Login::Taken,
            steps: 1,
            sessions: BTreeMap::new(),
            logins: 0,
            commands: Vec::new(),
            answers: BTreeMap::new(),
        };
        // Buckets fill.
        bed.run(SECOND * 10);
        bed
    }

    pub(super) fn fresh_core(&self) -> RouterCore {
        RouterCore::new(self.config.clone(), IDENTITY, self.now, self.lease_until)
    }

    pub(super) fn ask(&mut self, request: Request) {
        self.core.handle(self.now, Input::Ask(Box::new(request)));
        self.drain();
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            self.drain();
            let wake = self.core.next_wake().max(Time(self.now.0 + 1));
            if wake > end {
                break;
            }
            self.now = wake;
            self.core.handle(self.now, Input::Tick);
        }
        self.now = end;
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.core.poll_output(&mut self.budget) {
            self.act(output);
        }
    }

    fn act(&mut self, output: Output) {
        let ticket = |session| LoginTicket { router: IDENTITY.router, epoch: IDENTITY.epoch, session };
        match output {
            Output::Reserve { session } => {
                let limits = LoginLimits { wrong_max: 2, bugs: Bugs::NONE };
                let slots = (self.config.sessions_own(), usize::from(self.config.sessions_max));
                let result = match self.book.reserve(IDENTITY.epoch, session, slots, Bugs::NONE) {
                    Err(_) => Err(ReserveError::NoSlot),
                    Ok(()) => self.record.begin(ticket(session), limits).map_err(|error| {
                        self.book.release(IDENTITY.epoch, session);
                        match error {
                            LoginError::Suspended => ReserveError::Suspended,
                            LoginError::Undecided => ReserveError::Later,
                        }
                    }),
                };
                self.core.handle(self.now, Input::Reserved { session, result });
            }
            Output::Open { session, not_after } => {
                assert!(self.now < not_after);
                self.logins += 1;
                let result = match self.login {
                    Login::Taken => {
                        self.sessions.insert(session, None);
                        assert!(self.sessions.len() <= usize::from(self.config.sessions_max));
                        Ok(())
                    }
                    login => Err(OpenError::Failed { why: Unreachable::Refused, login, is_certain: true }),
                };
                self.core.handle(self.now, Input::Opened { session, result });
            }
            Output::LoggedIn { session, login } => self.record.end(ticket(session), login),
            Output::Release { session } => self.book.release(IDENTITY.epoch, session),
            Output::Send { session, run, not_after, .. } => {
                assert!(self.now < not_after);
                self.commands.push(self.now);
                let held = self.sessions.insert(session, Some(run));
                assert_eq!(held, Some(None), "one command at a time in a session that is open");
                if !self.is_silent {
                    self.reply(session);
                }
            }
            Output::Close { session } => {
                if self.sessions.remove(&session).is_some() {
                    self.core.handle(self.now, Input::Closed { session, is_certain: true });
                }
            }
            Output::Translate { run, replies, .. } => {
                let next = if replies.len() >= usize::try_from(self.steps).unwrap().max(1) {
                    Translation::Done { rows: rows(), bytes: 100, is_complete: true }
                } else {
                    Translation::Send("show more".into())
                };
                self.core.handle(self.now, Input::Translated { run, next });
            }
            Output::Answer(answer) => {
                let before = self.answers.insert(answer.id, answer.result);
                assert!(before.is_none(), "{:?} was answered twice", answer.id);
            }
            Output::Reap => {
                self.book.reap(IDENTITY.epoch);
                self.core.handle(self.now, Input::Reaped);
            }
        }
    }

    fn reply(&mut self, session: SessionId) {
        if let Some(run) = self.sessions.insert(session, None).flatten() {
            let result = Ok(Bytes::from_static(b"output"));
            self.core.handle(self.now, Input::Replied { session, run, result });
        }
    }

    pub(super) fn reply_all(&mut self) {
        for session in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.reply(session);
        }
        self.drain();
    }

    pub(super) fn break_sessions(&mut self, is_certain: bool) {
        for (session, _) in std::mem::take(&mut self.sessions) {
            self.core.handle(self.now, Input::Closed { session, is_certain });
        }
        self.drain();
    }

    pub(super) fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn source(&self, id: u128) -> Source {
        self.answers[&RequestId(id)].as_ref().unwrap().source
    }

    pub(super) fn error(&self, id: u128) -> AskError {
        self.answers[&RequestId(id)].as_ref().unwrap_err().clone()
    }

    pub(super) fn assert_rate(&self, per_second: u64, burst: u64) {
        for (at, start) in self.commands.iter().enumerate() {
            for (count, end) in self.commands[at..].iter().enumerate() {
                let allowed = burst * 1_000_000 + per_second * (end.0 - start.0);
                assert!((u64::try_from(count).unwrap() + 1) * 1_000_000 <= allowed);
            }
        }
    }
}
