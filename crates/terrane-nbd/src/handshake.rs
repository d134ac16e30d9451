//! Fixed newstyle negotiation, without I/O.
//!
//! ```text
//! loop {
//!     send(handshake.take_output());
//!     match handshake.advance(&mut input)? {
//!         Step::NeedInput     => receive(&mut input),
//!         Step::Find(name)    => if handshake.found(look_up(name))?.is_some() { send; break }
//!         Step::StartTls      => { send; upgrade the stream; handshake.tls_started() }
//!         Step::Close         => { send; close },
//!     }
//! }
//! ```
//! An error from [`Handshake::advance`] means that the specification lets the server hang up, or demands it.

mod options;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::wire::{self, handshake_flag, info, option, rep};
use crate::{ExportInfo, SecretName};
use options::{ContextQuery, InfoRequest};

/// Data of an option that is looked at. Names and queries have at most 4,096 bytes each.
const OPTION_DATA_MAX: usize = 64 << 10;
/// Data of an option that is skipped, to answer that it was too big. More than this is an attack.
const OPTION_SKIP_MAX: usize = 1 << 20;
/// Options of one handshake. Clients need about ten.
const OPTIONS_MAX: u32 = 256;
/// Unknown names in one handshake, after which the server hangs up.
const UNKNOWN_NAMES_MAX: u32 = 16;

/// Whether TLS is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No (NOTLS in the specification).
    Off,
    /// At the client's option (SELECTIVETLS).
    Optional,
    /// Nothing else works before it (FORCEDTLS).
    Required,
}

/// How replies look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplyStyle {
    /// Simple replies.
    #[default]
    Simple,
    /// Structured replies.
    Structured,
    /// Extended headers in both directions.
    Extended,
}

/// What the two sides have agreed on when transmission begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Headers and replies.
    pub style: ReplyStyle,
    /// `base:allocation` was selected: BLOCK_STATUS is allowed.
    pub block_status: bool,
}

/// What has to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes from the client.
    NeedInput,
    /// Look the name up and call [`Handshake::found`].
    Find(SecretName),
    /// Send the output, then upgrade the stream and call [`Handshake::tls_started`].
    StartTls,
    /// Send the output and close: the client asked for it.
    Close,
}

/// Why the server hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not an NBD client.
    #[error("option does not start with its magic number")]
    Magic,
    /// Flags that were not offered.
    #[error("unknown client flags {0:#x}")]
    ClientFlags(u32),
    /// A client without fixed newstyle can only name an export.
    #[error("option {0} from a client without fixed newstyle")]
    NotFixed(u32),
    /// Too much data.
    #[error("option with {0} bytes of data")]
    TooBig(u32),
    /// Too many options.
    #[error("more than {OPTIONS_MAX} options")]
    TooMany,
    /// EXPORT_NAME has no other way to say so.
    #[error("export name refused")]
    NameRefused,
    /// Guessing.
    #[error("more than {UNKNOWN_NAMES_MAX} unknown export names")]
    Guessing,
    /// Bytes after STARTTLS and before TLS: somebody put them there.
    #[error("plain text after STARTTLS")]
    Injected,
}

/// What a name is looked up for.
#[derive(Debug)]
enum Purpose {
    ExportName(SecretName),
    Info(InfoRequest),
    Go(InfoRequest),
    ListContexts(ContextQuery),
    SetContexts(ContextQuery),
}

#[derive(Debug)]
enum State {
    ClientFlags,
    Option,
    /// Skipping the data of an option that is too big, then answering.
    Skip {
        option: u32,
        left: usize,
    },
    Finding(Purpose),
    Tls,
    Done,
}

/// One client's negotiation.
#[derive(Debug)]
pub struct Handshake {
    state: State,
    tls: TlsMode,
    encrypted: bool,
    fixed: bool,
    no_zeroes: bool,
    style: ReplyStyle,
    /// The export for which `base:allocation` was selected last.
    contexts_for: Option<SecretName>,
    options: u32,
    unknown_names: u32,
    output: BytesMut,
}

/// The answer to [`Step::Find`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// There it is.
    Found(&'a ExportInfo),
    /// No such name.
    Unknown,
    /// It exists, and there are too many connections.
    Full,
    /// It exists, and the server is going down.
    Shutdown,
}

impl Handshake {
    /// A new client; the server's greeting is in the output.
    pub fn new(tls: TlsMode) -> Self {
        let mut output = BytesMut::with_capacity(256);
        output.put_u64(wire::INIT_MAGIC);
        output.put_u64(wire::OPTION_MAGIC);
        output.put_u16(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        Self {
            state: State::ClientFlags,
            tls,
            encrypted: false,
            fixed: false,
            no_zeroes: false,
            style: ReplyStyle::Simple,
            contexts_for: None,
            options: 0,
            unknown_names: 0,
            output,
        }
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    /// TLS is up. What was negotiated before is void.
    pub fn tls_started(&mut self) {
        self.encrypted = true;
        self.style = ReplyStyle::Simple;
        self.contexts_for = None;
        self.state = State::Option;
    }

    /// Takes what it can from the input.
    pub fn advance(&mut self, input: &mut BytesMut) -> Result<Step, HandshakeError> {
        loop {
            match &mut self.state {
                State::ClientFlags => {
                    let Ok(flags) = input.try_get_u32() else { return Ok(Step::NeedInput) };
                    self.client_flags(flags)?;
                }
                State::Option => {
                    let Some(step) = self.next_option(input)? else { continue };
                    return Ok(step);
                }
                State::Skip { option, left } => {
                    let now = input.len().min(*left);
                    input.advance(now);
                    *left -= now;
                    if *left > 0 {
                        return Ok(Step::NeedInput);
                    }
                    let option = *option;
                    self.reply_error(option, rep::ERR_TOO_BIG, "too much data for an option");
                    self.state = State::Option;
                }
                State::Finding(purpose) => return Ok(Step::Find(purpose.name().clone())),
                State::Tls if input.is_empty() => return Ok(Step::StartTls),
                State::Tls => return Err(HandshakeError::Injected),
                State::Done => return Ok(Step::Close),
            }
        }
    }

    fn client_flags(&mut self, flags: u32) -> Result<(), HandshakeError> {
        let known = u32::from(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        if flags & !known != 0 {
            return Err(HandshakeError::ClientFlags(flags));
        }
        self.fixed = flags & u32::from(handshake_flag::FIXED_NEWSTYLE) != 0;
        self.no_zeroes = flags & u32::from(handshake_flag::NO_ZEROES) != 0;
        self.state = State::Option;
        Ok(())
    }

    /// Handles one option if it is there as a whole; `None` means that the state has changed.
    fn next_option(&mut self, input: &mut BytesMut) -> Result<Option<Step>, HandshakeError> {
        const HEADER: usize = 16;
        let mut header = &input[..];
        if header.len() >= 8 && header.get_u64() != wire::OPTION_MAGIC {
            return Err(HandshakeError::Magic);
        }
        if input.len() < HEADER {
            return Ok(Some(Step::NeedInput));
        }
        let (option, len) = (header.get_u32(), header.get_u32());
        if !self.fixed && option != option::EXPORT_NAME {
            return Err(HandshakeError::NotFixed(option));
        }
        let size = len as usize;
        if size > OPTION_DATA_MAX {
            if size > OPTION_SKIP_MAX || option == option::EXPORT_NAME {
                return Err(HandshakeError::TooBig(len));
            }
            self.count_option()?;
            input.advance(HEADER);
            self.state = State::Skip { option, left: size };
            return Ok(None);
        }
        if input.len() < HEADER + size {
            input.reserve(HEADER + size - input.len());
            return Ok(Some(Step::NeedInput));
        }
        self.count_option()?;
        input.advance(HEADER);
        let data = input.split_to(size);
        self.option(option, &data)
    }

    fn count_option(&mut self) -> Result<(), HandshakeError> {
        self.options += 1;
        if self.options > OPTIONS_MAX { Err(HandshakeError::TooMany) } else { Ok(()) }
    }

    fn option(&mut self, option: u32, data: &[u8]) -> Result<Option<Step>, HandshakeError> {
        let locked = self.tls == TlsMode::Required && !self.encrypted;
        match option {
            option::ABORT => {
                self.reply(option, rep::ACK, &[]);
                self.state = State::Done;
            }
            option::STARTTLS => self.start_tls(data),
            option::EXPORT_NAME if locked => return Err(HandshakeError::NameRefused),
            _ if locked => self.reply_error(option, rep::ERR_TLS_REQD, "TLS is required"),
            option::EXPORT_NAME => {
                // Extended headers and this option exclude each other.
                let name = options::name(data).filter(|_| self.style < ReplyStyle::Extended);
                let name = name.ok_or(HandshakeError::NameRefused)?;
                self.state = State::Finding(Purpose::ExportName(name));
            }
            option::LIST if data.is_empty() => {
                self.reply_error(option, rep::ERR_POLICY, "names of exports are secret");
            }
            option::STRUCTURED_REPLY | option::EXTENDED_HEADERS if data.is_empty() => {
                self.reply_style(option);
            }
            option::LIST | option::STRUCTURED_REPLY | option::EXTENDED_HEADERS => {
                self.reply_error(option, rep::ERR_INVALID, "this option has no data");
            }
            option::INFO | option::GO => self.info_or_go(option, data),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.meta_context(option, data),
            _ => self.reply_error(option, rep::ERR_UNSUP, "unknown option"),
        }
        Ok(None)
    }

    fn start_tls(&mut self, data: &[u8]) {
        let option = option::STARTTLS;
        if self.encrypted {
            self.reply_error(option, rep::ERR_INVALID, "TLS is already in use");
        } else if !data.is_empty() {
            self.reply_error(option, rep::ERR_INVALID, "this option has no data");
        } else if self.tls == TlsMode::Off {
            self.reply_error(option, rep::ERR_POLICY, "TLS is not offered here");
        } else {
            self.reply(option, rep::ACK, &[]);
            self.state = State::Tls;
        }
    }

    fn reply_style(&mut self, option: u32) {
        let wanted = match option {
            option::STRUCTURED_REPLY => ReplyStyle::Structured,
            _ => ReplyStyle::Extended,
        };
        if wanted < self.style {
            let why = "extended headers are already in use";
            return self.reply_error(option, rep::ERR_EXT_HEADER_REQD, why);
        }
        if wanted == self.style {
            return self.reply_error(option, rep::ERR_INVALID, "already negotiated");
        }
        self.style = wanted;
        self.reply(option, rep::ACK, &[]);
    }

    fn info_or_go(&mut self, option: u32, data: &[u8]) {
        match InfoRequest::parse(data) {
            Ok(request) if option == option::GO => self.state = State::Finding(Purpose::Go(request)),
            Ok(request) => self.state = State::Finding(Purpose::Info(request)),
            Err(malformed) => self.reply_error(option, malformed.reply(), malformed.words()),
        }
    }

    fn meta_context(&mut self, option: u32, data: &[u8]) {
        if option == option::SET_META_CONTEXT {
            // Also when the option fails.
            self.contexts_for = None;
        }
        if self.style == ReplyStyle::Simple {
            return self.reply_error(option, rep::ERR_INVALID, "structured replies come first");
        }
        match ContextQuery::parse(data) {
            Ok(query) if option == option::SET_META_CONTEXT => {
                self.state = State::Finding(Purpose::SetContexts(query));
            }
            Ok(query) => self.state = State::Finding(Purpose::ListContexts(query)),
            Err(malformed) => self.reply_error(option, malformed.reply(), malformed.words()),
        }
    }

    /// The answer to [`Step::Find`]. When it returns an agreement, the negotiation has succeeded: send the
    /// output, and the transmission phase begins, with this export.
    pub fn found(&mut self, lookup: Lookup<'_>) -> Result<Option<Agreement>, HandshakeError> {
        let State::Finding(purpose) = std::mem::replace(&mut self.state, State::Option) else {
            return Ok(None);
        };
        let option = purpose.option();
        let (code, why) = match lookup {
            Lookup::Found(export) => return self.give(purpose, export),
            Lookup::Unknown => (rep::ERR_UNKNOWN, "no such export"),
            Lookup::Full => (rep::ERR_POLICY, "too many connections"),
            Lookup::Shutdown => (rep::ERR_SHUTDOWN, "the server is going down"),
        };
        if option == option::EXPORT_NAME {
            return Err(HandshakeError::NameRefused);
        }
        self.unknown_names += u32::from(lookup == Lookup::Unknown);
        if self.unknown_names > UNKNOWN_NAMES_MAX {
            return Err(HandshakeError::Guessing);
        }
        self.reply_error(option, code, why);
        Ok(None)
    }

    /// Does with an export what the client wants.
    fn give(&mut self, purpose: Purpose, export: &ExportInfo) -> Result<Option<Agreement>, HandshakeError> {
        let option = purpose.option();
        match purpose {
            Purpose::ExportName(name) => self.export_name(&name, export).map(Some),
            Purpose::Info(request) => {
                self.describe(option, &request, export);
                Ok(None)
            }
            Purpose::Go(request) => Ok(self.go(&request, export)),
            Purpose::ListContexts(query) => {
                if query.lists_allocation() {
                    self.context(option, 0);
                }
                self.reply(option, rep::ACK, &[]);
                Ok(None)
            }
            Purpose::SetContexts(query) => {
                if query.selects_allocation() {
                    self.context(option, wire::ALLOCATION_CONTEXT_ID);
                    self.contexts_for = Some(query.name);
                }
                self.reply(option, rep::ACK, &[]);
                Ok(None)
            }
        }
    }

    fn export_name(&mut self, name: &SecretName, export: &ExportInfo) -> Result<Agreement, HandshakeError> {
        if needs_block_sizes(export) {
            return Err(HandshakeError::NameRefused);
        }
        let agreement = self.agreement(name);
        self.output.put_u64(export.size);
        self.output.put_u16(transmission_flags(export, agreement));
        if !self.no_zeroes {
            self.output.put_bytes(0, 124);
        }
        self.state = State::Done;
        Ok(agreement)
    }

    fn go(&mut self, request: &InfoRequest, export: &ExportInfo) -> Option<Agreement> {
        if !self.describe(option::GO, request, export) {
            return None;
        }
        self.state = State::Done;
        Some(self.agreement(&request.name))
    }

    /// Replies to INFO and GO; false if it ended with an error.
    fn describe(&mut self, option: u32, request: &InfoRequest, export: &ExportInfo) -> bool {
        let mut sizes = BytesMut::with_capacity(14);
        sizes.put_u16(info::BLOCK_SIZE);
        sizes.put_u32(export.min_block);
        sizes.put_u32(export.preferred_block);
        sizes.put_u32(export.max_payload);
        self.reply(option, rep::INFO, &sizes);
        if needs_block_sizes(export) && !request.wants(info::BLOCK_SIZE) {
            self.reply_error(option, rep::ERR_BLOCK_SIZE_REQD, "this export needs aligned requests");
            return false;
        }
        let agreement = self.agreement(&request.name);
        let mut basics = BytesMut::with_capacity(12);
        basics.put_u16(info::EXPORT);
        basics.put_u64(export.size);
        basics.put_u16(transmission_flags(export, agreement));
        self.reply(option, rep::INFO, &basics);
        if request.wants(info::NAME) {
            let mut name = BytesMut::new();
            name.put_u16(info::NAME);
            name.put_slice(request.name.expose().as_bytes());
            self.reply(option, rep::INFO, &name);
        }
        self.reply(option, rep::ACK, &[]);
        true
    }

    fn agreement(&self, name: &SecretName) -> Agreement {
        Agreement { style: self.style, block_status: self.contexts_for.as_ref() == Some(name) }
    }

    fn context(&mut self, option: u32, id: u32) {
        let mut data = BytesMut::with_capacity(4 + wire::ALLOCATION_CONTEXT.len());
        data.put_u32(id);
        data.put_slice(wire::ALLOCATION_CONTEXT.as_bytes());
        self.reply(option, rep::META_CONTEXT, &data);
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) {
        self.output.put_u64(wire::OPTION_REPLY_MAGIC);
        self.output.put_u32(option);
        self.output.put_u32(kind);
        self.output.put_u32(data.len() as u32);
        self.output.put_slice(data);
    }

    fn reply_error(&mut self, option: u32, kind: u32, words: &str) {
        self.reply(option, kind, words.as_bytes());
    }
}

impl Purpose {
    fn option(&self) -> u32 {
        match self {
            Self::ExportName(_) => option::EXPORT_NAME,
            Self::Info(_) => option::INFO,
            Self::Go(_) => option::GO,
            Self::ListContexts(_) => option::LIST_META_CONTEXT,
            Self::SetContexts(_) => option::SET_META_CONTEXT,
        }
    }

    fn name(&self) -> &SecretName {
        match self {
            Self::ExportName(name) => name,
            Self::Info(request) | Self::Go(request) => &request.name,
            Self::ListContexts(query) | Self::SetContexts(query) => &query.name,
        }
    }
}

/// Clients that were told nothing keep to 512 bytes. A larger minimum must have been asked for.
fn needs_block_sizes(export: &ExportInfo) -> bool {
    export.min_block > 512
}

fn transmission_flags(export: &ExportInfo, agreement: Agreement) -> u16 {
    use crate::wire::transmission_flag as flag;
    let chunks = agreement.style > ReplyStyle::Simple;
    let status_payload = agreement.style == ReplyStyle::Extended && agreement.block_status;
    [
        (export.read_only, flag::READ_ONLY),
        (export.flush, flag::SEND_FLUSH),
        (export.fua, flag::SEND_FUA),
        (export.rotational, flag::ROTATIONAL),
        (export.trim, flag::SEND_TRIM),
        (export.write_zeroes, flag::SEND_WRITE_ZEROES),
        (chunks, flag::SEND_DF),
        (export.multi_conn, flag::CAN_MULTI_CONN),
        (export.cache, flag::SEND_CACHE),
        (export.write_zeroes && export.fast_zero, flag::SEND_FAST_ZERO),
        (status_payload, flag::BLOCK_STATUS_PAYLOAD),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .fold(flag::HAS_FLAGS, |flags, (_, bit)| flags | bit)
}

#[cfg(test)]
mod tests;
