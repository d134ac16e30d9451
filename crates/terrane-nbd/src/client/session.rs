//! The task that carries a client's connections, and what it shares with the client.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::replies::{self, Body, Part, ReplyError};
use super::target::{Address, Target};
use super::{ClientOptions, ConnectError, negotiate};
use crate::output::Output;
use crate::request::Command;
use crate::wire::{self, cmd, cmd_flag};
use crate::{ErrorCode, ExportInfo, Extent, NbdError, Piece};

/// Pauses between attempts to connect again.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Room that is made for reading.
const READ_BYTES: usize = 64 << 10;
/// Slices of one write.
const SLICES: usize = 64;

/// A stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A negotiated connection.
pub(super) struct Connected {
    stream: Box<dyn Stream>,
    pub(super) info: ExportInfo,
    block_status: bool,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    Pieces(Vec<Piece>),
    Status(Vec<Extent>),
}

type Answered = Result<Answer, NbdError>;

/// Requests and their answers.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is something to send.
    wake: Notify,
    gone: CancellationToken,
}

#[derive(Debug)]
struct State {
    info: ExportInfo,
    next: u64,
    /// Not answered, by cookie: in the order in which they came.
    pending: BTreeMap<u64, Pending>,
    /// Not sent on this connection.
    unsent: VecDeque<u64>,
    block_status: bool,
    reconnects: u64,
}

#[derive(Debug)]
struct Pending {
    command: Command,
    parts: Vec<Body>,
    answer: oneshot::Sender<Answered>,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Reply(#[from] ReplyError),
    #[error("the server is going down")]
    Shutdown,
}

impl Shared {
    pub(super) fn new(info: ExportInfo) -> Self {
        let state = State {
            info,
            next: 1,
            pending: BTreeMap::new(),
            unsent: VecDeque::new(),
            block_status: false,
            reconnects: 0,
        };
        Self { state: Mutex::new(state), wake: Notify::new(), gone: CancellationToken::new() }
    }

    pub(super) fn info(&self) -> ExportInfo {
        self.state.lock().info.clone()
    }

    pub(super) fn reconnects(&self) -> u64 {
        self.state.lock().reconnects
    }

    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Everything fails from now on.
    pub(super) fn close(&self) {
        self.gone.cancel();
        let mut state = self.state.lock();
        state.unsent.clear();
        // Those who wait see that nobody answers.
        state.pending.clear();
    }

    pub(super) fn submit(&self, command: Command) -> oneshot::Receiver<Answered> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        if self.gone.is_cancelled() {
            return answered;
        }
        if matches!(command, Command::BlockStatus { .. }) && !state.block_status {
            // Whoever asked may have gone.
            let _ = answer.send(Err(NbdError::invalid("the server does not offer BLOCK_STATUS")));
            return answered;
        }
        let cookie = state.next;
        state.next += 1;
        state.pending.insert(cookie, Pending { command, parts: Vec::new(), answer });
        state.unsent.push_back(cookie);
        drop(state);
        self.wake.notify_one();
        answered
    }

    /// A new connection: everything that is not answered is to be sent, in order.
    fn begin(&self, connected: &Connected) {
        let mut state = self.state.lock();
        state.info = connected.info.clone();
        state.block_status = connected.block_status;
        let State { pending, unsent, .. } = &mut *state;
        *unsent = pending.keys().copied().collect();
        for pending in pending.values_mut() {
            pending.parts.clear();
        }
    }

    /// Encodes what is to be sent.
    fn encode(&self, output: &mut Output) {
        let mut state = self.state.lock();
        while let Some(cookie) = state.unsent.pop_front() {
            if let Some(pending) = state.pending.get(&cookie) {
                encode(cookie, &pending.command, output);
            }
        }
    }

    fn take(&self, part: Part) -> Result<(), Broken> {
        let mut state = self.state.lock();
        let Some(pending) = state.pending.get_mut(&part.cookie) else {
            return Err(io::Error::other("a reply to nothing").into());
        };
        if matches!(part.body, Body::Error(code, _) if code == ErrorCode::Shutdown as u32) {
            return Err(Broken::Shutdown);
        }
        pending.parts.push(part.body);
        if part.last
            && let Some(pending) = state.pending.remove(&part.cookie)
        {
            drop(state);
            let answered = assemble(&pending.command, pending.parts);
            // Whoever asked may have gone.
            let _ = pending.answer.send(answered);
        }
        Ok(())
    }
}

/// Connects and negotiates.
pub(super) async fn connect(target: &Target, options: &ClientOptions) -> Result<Connected, ConnectError> {
    let connecting = async {
        let mut stream: Box<dyn Stream> = match &target.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        negotiate::greet(&mut stream).await?;
        if let Some((config, name)) = &target.tls {
            negotiate::start_tls(&mut stream).await?;
            let connector = TlsConnector::from(config.clone());
            stream = Box::new(connector.connect(name.clone(), stream).await?);
        }
        let (info, block_status) = negotiate::go(&mut stream, &target.name).await?;
        Ok(Connected { stream, info, block_status })
    };
    timeout(options.connect_timeout, connecting).await.unwrap_or(Err(ConnectError::Timeout))
}

/// Carries one connection after the other, until none comes in time.
pub(super) async fn run(
    shared: std::sync::Arc<Shared>,
    target: Target,
    options: ClientOptions,
    first: Connected,
) {
    let mut connected = first;
    loop {
        shared.begin(&connected);
        let broken = carry(&shared, connected.stream).await;
        tracing::info!(?target, reason = %broken, "the connection to an NBD server broke");
        match again(&target, &options).await {
            Some(next) => connected = next,
            None => break,
        }
        shared.state.lock().reconnects += 1;
    }
    shared.close();
}

async fn again(target: &Target, options: &ClientOptions) -> Option<Connected> {
    let deadline = Instant::now() + options.reconnect_for;
    let mut pause = PAUSE_MIN;
    loop {
        match connect(target, options).await {
            Ok(connected) => return Some(connected),
            Err(error) if Instant::now() >= deadline => {
                tracing::error!(?target, %error, "the NBD server does not come back");
                return None;
            }
            Err(_) => sleep(pause).await,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn carry(shared: &Shared, stream: Box<dyn Stream>) -> Broken {
    let (mut input, mut output) = tokio::io::split(stream);
    let result = tokio::select! {
        read = receive(shared, &mut input) => read,
        written = send(shared, &mut output) => written.map_err(Broken::Io),
    };
    result.err().unwrap_or(Broken::Shutdown)
}

async fn receive(shared: &Shared, stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Broken> {
    let mut input = BytesMut::new();
    loop {
        while let Some(part) = replies::next(&mut input)? {
            shared.take(part)?;
        }
        if input.capacity() - input.len() < READ_BYTES / 4 {
            input.reserve(READ_BYTES);
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

async fn send(shared: &Shared, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut output = Output::new();
    loop {
        shared.encode(&mut output);
        if output.is_empty() {
            stream.flush().await?;
            shared.wake.notified().await;
            continue;
        }
        let count = {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = output.slices(&mut slices);
            stream.write_vectored(&slices[..filled]).await?
        };
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        output.advance(count);
    }
}

fn encode(cookie: u64, command: &Command, output: &mut Output) {
    let fua = |on: bool| if on { cmd_flag::FUA } else { 0 };
    let (kind, flags, offset, len, data) = match command {
        Command::Read { offset, len, whole } => {
            (cmd::READ, if *whole { cmd_flag::DF } else { 0 }, *offset, u64::from(*len), None)
        }
        Command::Write { offset, data, fua: on } => {
            (cmd::WRITE, fua(*on), *offset, data.len() as u64, Some(data))
        }
        Command::Flush => (cmd::FLUSH, 0, 0, 0, None),
        Command::Trim { offset, len, fua: on } => (cmd::TRIM, fua(*on), *offset, *len, None),
        Command::Cache { offset, len } => (cmd::CACHE, 0, *offset, *len, None),
        Command::WriteZeroes { offset, len, options } => {
            let no_hole = if options.no_hole { cmd_flag::NO_HOLE } else { 0 };
            let fast = if options.fast { cmd_flag::FAST_ZERO } else { 0 };
            (cmd::WRITE_ZEROES, fua(options.fua) | no_hole | fast, *offset, *len, None)
        }
        Command::BlockStatus { offset, len, one } => {
            (cmd::BLOCK_STATUS, if *one { cmd_flag::REQ_ONE } else { 0 }, *offset, *len, None)
        }
    };
    output.put(|bytes| {
        bytes.put_u32(wire::REQUEST_MAGIC);
        bytes.put_u16(flags);
        bytes.put_u16(kind);
        bytes.put_u64(cookie);
        bytes.put_u64(offset);
        bytes.put_u32(len as u32);
    });
    if let Some(data) = data {
        output.push(data.clone());
    }
}

/// Puts the parts of a reply together.
fn assemble(command: &Command, parts: Vec<Body>) -> Answered {
    let strange = || NbdError::io("the server answered something else");
    let error = parts.iter().find_map(|part| match part {
        Body::Error(code, words) => Some(NbdError::new(error_code(*code), words.clone())),
        _ => None,
    });
    if let Some(error) = error {
        return Err(error);
    }
    match command {
        Command::Read { offset, len, .. } => {
            pieces(*offset, *len, parts).map(Answer::Pieces).ok_or_else(strange)
        }
        Command::BlockStatus { .. } => {
            let status = parts.into_iter().find_map(|part| match part {
                Body::Status(extents) => Some(extents),
                _ => None,
            });
            status.map(Answer::Status).ok_or_else(strange)
        }
        _ if parts.iter().all(|part| *part == Body::Done) => Ok(Answer::Done),
        _ => Err(strange()),
    }
}

/// The pieces of a read in order; `None` unless they cover exactly what was asked for.
fn pieces(offset: u64, len: u32, parts: Vec<Body>) -> Option<Vec<Piece>> {
    let mut placed = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Body::Data(at, data) => placed.push((at, data.len() as u64, Piece::Data(data))),
            Body::Hole(at, len) => placed.push((at, u64::from(len), Piece::Zeroes(len))),
            Body::Done => {}
            Body::Status(_) | Body::Error(..) => return None,
        }
    }
    placed.sort_by_key(|(at, _, _)| *at);
    let mut next = offset;
    for (at, len, _) in &placed {
        if *at != next {
            return None;
        }
        next = next.checked_add(*len)?;
    }
    (next == offset.checked_add(len.into())?).then(|| placed.into_iter().map(|(_, _, piece)| piece).collect())
}

fn error_code(code: u32) -> ErrorCode {
    use ErrorCode::{Invalid, NoMemory, NoSpace, NotPermitted, NotSupported, Overflow};
    [NotPermitted, NoMemory, Invalid, NoSpace, Overflow, NotSupported]
        .into_iter()
        .find(|known| *known as u32 == code)
        .unwrap_or(ErrorCode::Io)
}
