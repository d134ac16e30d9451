//! Requests of the transmission phase: decoding and judging, without I/O.

use bytes::{Buf, Bytes, BytesMut};

use crate::handshake::{Agreement, ReplyStyle};
use crate::wire::{self, cmd, cmd_flag};
use crate::{ErrorCode, ExportInfo, NbdError, ZeroOptions};

/// Payload of a refused write that is skipped so that the connection can go on. The specification wants
/// 32 MiB at least; more than this is an attack.
const SKIP_MAX: u64 = 64 << 20;

/// Payload of BLOCK_STATUS that is looked at.
const STATUS_PAYLOAD_MAX: u64 = 256;

/// A request that is within the export's bounds, aligned and allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Where the reply goes.
    pub address: Address,
    /// What to do.
    pub command: Command,
}

/// What a reply repeats of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The client's name for the request.
    pub cookie: u64,
    /// The request's offset, as it was sent.
    pub offset: u64,
}

/// What a client wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// READ.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
        /// In one chunk (`NBD_CMD_FLAG_DF`).
        whole: bool,
    },
    /// WRITE.
    Write {
        /// First byte.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// On stable media before the reply.
        fua: bool,
    },
    /// FLUSH.
    Flush,
    /// TRIM.
    Trim {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// On stable media before the reply.
        fua: bool,
    },
    /// CACHE.
    Cache {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// WRITE_ZEROES.
    WriteZeroes {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// How.
        options: ZeroOptions,
    },
    /// BLOCK_STATUS of `base:allocation`.
    BlockStatus {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// One extent, not longer than `len` (`NBD_CMD_FLAG_REQ_ONE`).
        one: bool,
    },
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// To be executed.
    Request(Request),
    /// To be answered with an error; the connection goes on.
    Refused(Address, NbdError),
    /// DISC: answer what is in flight and close.
    Disconnect,
}

/// Why the server hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The stream is out of step, or the client is not one.
    #[error("request does not start with its magic number but with {0:#x}")]
    Magic(u32),
    /// Too much data to skip.
    #[error("request with a payload of {0} bytes")]
    Payload(u64),
}

/// Decoder of one connection's requests.
#[derive(Debug)]
pub struct Requests {
    agreement: Agreement,
    export: ExportInfo,
    /// Bytes of a refused request's payload still to come, and what to answer then.
    skipping: Option<(u64, Address, NbdError)>,
}

#[derive(Debug)]
struct Header {
    flags: u16,
    command: u16,
    address: Address,
    len: u64,
}

impl Header {
    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

impl Requests {
    /// Of a connection that has agreed on this, to an export of this description.
    pub fn new(agreement: Agreement, export: ExportInfo) -> Self {
        Self { agreement, export, skipping: None }
    }

    fn extended(&self) -> bool {
        self.agreement.style == ReplyStyle::Extended
    }

    fn header_len(&self) -> usize {
        if self.extended() { 32 } else { 28 }
    }

    /// Takes the next request from the input; `None` if it is not there as a whole.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, RequestError> {
        if let Some((left, address, error)) = self.skipping.take() {
            return Ok(self.skip(input, left, address, error));
        }
        let Some(header) = self.peek(input)? else { return Ok(None) };
        let payload = self.payload(&header)?;
        let command = match self.judge(&header) {
            Ok(Some(command)) => command,
            Ok(None) => {
                input.advance(self.header_len());
                return Ok(Some(Incoming::Disconnect));
            }
            Err(error) => {
                input.advance(self.header_len());
                return Ok(self.skip(input, payload, header.address, error));
            }
        };
        let total = self.header_len() + payload as usize;
        if input.len() < total {
            // Room as it is needed and not as it is announced; in few steps, since each moves what has come.
            let missing = total - input.len();
            input.reserve(missing.min((3 * input.len()).max(64 << 10)));
            return Ok(None);
        }
        input.advance(self.header_len());
        let data = input.split_to(payload as usize).freeze();
        let address = header.address;
        Ok(Some(match self.complete(command, data) {
            Ok(command) => Incoming::Request(Request { address, command }),
            Err(error) => Incoming::Refused(address, error),
        }))
    }

    fn skip(
        &mut self,
        input: &mut BytesMut,
        left: u64,
        address: Address,
        error: NbdError,
    ) -> Option<Incoming> {
        let now = left.min(input.len() as u64);
        input.advance(now as usize);
        if now < left {
            self.skipping = Some((left - now, address, error));
            return None;
        }
        Some(Incoming::Refused(address, error))
    }

    fn peek(&self, input: &BytesMut) -> Result<Option<Header>, RequestError> {
        let wanted = if self.extended() { wire::EXTENDED_REQUEST_MAGIC } else { wire::REQUEST_MAGIC };
        let mut bytes = &input[..];
        match bytes.try_get_u32() {
            Ok(magic) if magic != wanted => return Err(RequestError::Magic(magic)),
            _ if input.len() < self.header_len() => return Ok(None),
            _ => {}
        }
        let (flags, command) = (bytes.get_u16(), bytes.get_u16());
        let address = Address { cookie: bytes.get_u64(), offset: bytes.get_u64() };
        let len = if self.extended() { bytes.get_u64() } else { u64::from(bytes.get_u32()) };
        Ok(Some(Header { flags, command, address, len }))
    }

    /// Bytes that follow the header.
    fn payload(&self, header: &Header) -> Result<u64, RequestError> {
        // With extended headers a write must have the flag, but QEMU 10 sends its writes without.
        let flagged = self.extended() && header.has(cmd_flag::PAYLOAD_LEN);
        let has_payload = header.command == cmd::WRITE || flagged;
        let max = match u64::from(self.export.max_payload) {
            // Here the specification wants no patience.
            max if self.extended() => max,
            max => max.max(SKIP_MAX),
        };
        match header.len {
            len if !has_payload || len == 0 => Ok(0),
            len if len <= max => Ok(len),
            len => Err(RequestError::Payload(len)),
        }
    }

    /// What the header alone decides. `None` is DISC. Commands with a payload are completed later.
    fn judge(&self, header: &Header) -> Result<Option<Command>, NbdError> {
        if header.command == cmd::DISC {
            return Ok(None);
        }
        self.check_flags(header)?;
        let (offset, len) = (header.address.offset, header.len);
        let fua = header.has(cmd_flag::FUA);
        let command = match header.command {
            cmd::READ => {
                self.range(offset, len, ErrorCode::Invalid)?;
                Command::Read { offset, len: self.payload_len(len)?, whole: header.has(cmd_flag::DF) }
            }
            cmd::WRITE => {
                self.writable()?;
                self.range(offset, len, ErrorCode::NoSpace)?;
                if len > self.export.max_payload.into() {
                    return Err(NbdError::invalid("longer than the maximum payload"));
                }
                Command::Write { offset, data: Bytes::new(), fua }
            }
            cmd::FLUSH if offset != 0 || len != 0 => {
                return Err(NbdError::invalid("a flush has neither offset nor length"));
            }
            cmd::FLUSH => Command::Flush,
            cmd::TRIM => {
                self.writable()?;
                self.range(offset, len, ErrorCode::Invalid)?;
                Command::Trim { offset, len, fua }
            }
            cmd::CACHE => {
                self.range(offset, len, ErrorCode::Invalid)?;
                Command::Cache { offset, len }
            }
            cmd::WRITE_ZEROES => {
                self.writable()?;
                self.range(offset, len, ErrorCode::NoSpace)?;
                let no_hole = header.has(cmd_flag::NO_HOLE);
                let fast = header.has(cmd_flag::FAST_ZERO);
                Command::WriteZeroes { offset, len, options: ZeroOptions { fua, no_hole, fast } }
            }
            _ => {
                let one = header.has(cmd_flag::REQ_ONE);
                if !header.has(cmd_flag::PAYLOAD_LEN) {
                    self.range(offset, len, ErrorCode::Invalid)?;
                } else if len > STATUS_PAYLOAD_MAX {
                    return Err(NbdError::invalid("more contexts than there are"));
                }
                Command::BlockStatus { offset, len, one }
            }
        };
        Ok(Some(command))
    }

    /// Unknown commands, commands that were not offered, and flags that do not belong to theirs.
    fn check_flags(&self, header: &Header) -> Result<(), NbdError> {
        let export = &self.export;
        let chunks = self.agreement.style > ReplyStyle::Simple;
        let flag = |offered: bool, flag: u16| if offered { flag } else { 0 };
        let payload = flag(self.extended(), cmd_flag::PAYLOAD_LEN);
        let (offered, own_flags) = match header.command {
            cmd::READ => (true, flag(chunks, cmd_flag::DF)),
            cmd::WRITE => (true, payload),
            cmd::FLUSH => (export.flush, 0),
            cmd::TRIM => (export.trim, 0),
            cmd::CACHE => (export.cache, 0),
            cmd::WRITE_ZEROES => {
                (export.write_zeroes, cmd_flag::NO_HOLE | flag(export.fast_zero, cmd_flag::FAST_ZERO))
            }
            cmd::BLOCK_STATUS => (self.agreement.block_status, cmd_flag::REQ_ONE | payload),
            _ => return Err(NbdError::invalid("unknown command")),
        };
        if !offered {
            return Err(NbdError::invalid("this command was not negotiated"));
        }
        if header.flags & !(own_flags | flag(export.fua, cmd_flag::FUA)) != 0 {
            return Err(NbdError::invalid("a flag that does not belong to the command"));
        }
        Ok(())
    }

    fn writable(&self) -> Result<(), NbdError> {
        if self.export.read_only {
            return Err(NbdError::new(ErrorCode::NotPermitted, "the export is read-only"));
        }
        Ok(())
    }

    fn range(&self, offset: u64, len: u64, beyond: ErrorCode) -> Result<(), NbdError> {
        let align = u64::from(self.export.min_block.max(1));
        if len == 0 {
            return Err(NbdError::invalid("a request of no bytes"));
        }
        if !offset.is_multiple_of(align) || !len.is_multiple_of(align) {
            return Err(NbdError::invalid("not aligned to the minimum block size"));
        }
        match offset.checked_add(len) {
            Some(end) if end <= self.export.size => Ok(()),
            _ => Err(NbdError::new(beyond, "beyond the end of the export")),
        }
    }

    /// Length of a read: what does not fit into one reply is refused.
    fn payload_len(&self, len: u64) -> Result<u32, NbdError> {
        let code = match self.agreement.style {
            ReplyStyle::Simple => ErrorCode::Invalid,
            _ => ErrorCode::Overflow,
        };
        u32::try_from(len)
            .ok()
            .filter(|len| *len <= self.export.max_payload)
            .ok_or_else(|| NbdError::new(code, "longer than the maximum payload"))
    }

    /// Gives a command its payload.
    fn complete(&self, command: Command, payload: Bytes) -> Result<Command, NbdError> {
        match command {
            Command::Write { offset, fua, .. } => Ok(Command::Write { offset, data: payload, fua }),
            Command::BlockStatus { offset, one, .. } if !payload.is_empty() => {
                let len = status_filter(&payload)?;
                self.range(offset, len, ErrorCode::Invalid)?;
                Ok(Command::BlockStatus { offset, len, one })
            }
            // A payload of no bytes has announced one with its flag.
            Command::BlockStatus { len: 0, .. } => Err(NbdError::invalid("an empty payload")),
            other => Ok(other),
        }
    }
}

/// Payload of BLOCK_STATUS: the length, and the contexts that are asked for. There is one to choose from.
fn status_filter(mut payload: &[u8]) -> Result<u64, NbdError> {
    let malformed = || NbdError::invalid("the payload names the length and distinct negotiated contexts");
    let len = payload.try_get_u64().map_err(|_| malformed())?;
    let context = payload.try_get_u32().map_err(|_| malformed())?;
    if context != wire::ALLOCATION_CONTEXT_ID || !payload.is_empty() {
        return Err(malformed());
    }
    Ok(len)
}

#[cfg(test)]
mod tests;
