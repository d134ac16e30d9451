//! Fixed newstyle negotiation, from the client's side.

use bytes::{Buf, BufMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::client::ConnectError;
use crate::wire::{self, handshake_flag, info, option, rep, transmission_flag as flag};
use crate::{ExportInfo, SecretName};

/// The longest reply to an option.
const REPLY_MAX: u32 = 64 << 10;

/// The server's greeting and our answer.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), ConnectError> {
    if stream.read_u64().await? != wire::INIT_MAGIC || stream.read_u64().await? != wire::OPTION_MAGIC {
        return Err(ConnectError::Protocol("no greeting of a newstyle server"));
    }
    let both = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
    if stream.read_u16().await? & both != both {
        return Err(ConnectError::Protocol("the server is not fixed newstyle"));
    }
    stream.write_u32(both.into()).await?;
    Ok(())
}

/// Asks for TLS; the stream is to be upgraded then.
pub(super) async fn start_tls<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), ConnectError> {
    ask(stream, option::STARTTLS, "TLS", &[]).await.map(drop)
}

/// Structured replies, `base:allocation`, and the export. Returns its description and whether BLOCK_STATUS works.
pub(super) async fn go<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    name: &SecretName,
) -> Result<(ExportInfo, bool), ConnectError> {
    ask(stream, option::STRUCTURED_REPLY, "structured replies", &[]).await?;
    let name = name.expose().as_bytes();
    let mut data = Vec::with_capacity(name.len() + 32);
    data.put_u32(name.len() as u32);
    data.put_slice(name);
    let mut query = data.clone();
    query.put_u32(1);
    query.put_u32(wire::ALLOCATION_CONTEXT.len() as u32);
    query.put_slice(wire::ALLOCATION_CONTEXT.as_bytes());
    let contexts = ask(stream, option::SET_META_CONTEXT, "the export", &query).await?;
    data.put_u16(1);
    data.put_u16(info::BLOCK_SIZE);
    let replies = ask(stream, option::GO, "the export", &data).await?;
    Ok((describe(&replies)?, !contexts.is_empty()))
}

/// Sends an option and collects the data of its replies up to the ACK.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    option: u32,
    words: &'static str,
    data: &[u8],
) -> Result<Vec<Vec<u8>>, ConnectError> {
    let mut message = Vec::with_capacity(16 + data.len());
    message.put_u64(wire::OPTION_MAGIC);
    message.put_u32(option);
    message.put_u32(data.len() as u32);
    message.put_slice(data);
    stream.write_all(&message).await?;
    stream.flush().await?;
    let mut replies = Vec::new();
    // More than so many things nobody has to say about an export.
    for _ in 0..64 {
        if stream.read_u64().await? != wire::OPTION_REPLY_MAGIC || stream.read_u32().await? != option {
            return Err(ConnectError::Protocol("a reply to another option"));
        }
        let (reply, len) = (stream.read_u32().await?, stream.read_u32().await?);
        if len > REPLY_MAX {
            return Err(ConnectError::Protocol("an endless reply to an option"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data).await?;
        match reply {
            rep::ACK => return Ok(replies),
            rep::INFO | rep::META_CONTEXT => replies.push(data),
            reply => return Err(ConnectError::Refused { option: words, reply }),
        }
    }
    Err(ConnectError::Protocol("endless replies to an option"))
}

fn describe(replies: &[Vec<u8>]) -> Result<ExportInfo, ConnectError> {
    let malformed = ConnectError::Protocol("no description of the export");
    let mut described: Option<ExportInfo> = None;
    let mut sizes = None;
    for reply in replies {
        let mut data = &reply[..];
        match data.try_get_u16() {
            Ok(info::EXPORT) if data.len() == 10 => {
                let size = data.get_u64();
                described = Some(offered(size, data.get_u16()));
            }
            Ok(info::BLOCK_SIZE) if data.len() == 12 => {
                sizes = Some((data.get_u32(), data.get_u32(), data.get_u32()));
            }
            _ => {}
        }
    }
    let mut export = described.ok_or(malformed)?;
    if let Some((min, preferred, max)) = sizes {
        let sound =
            min.is_power_of_two() && preferred.is_power_of_two() && min <= preferred && preferred <= max;
        if !sound {
            return Err(ConnectError::Protocol("block sizes that make no sense"));
        }
        (export.min_block, export.preferred_block, export.max_payload) = (min, preferred, max);
    }
    Ok(export)
}

fn offered(size: u64, flags: u16) -> ExportInfo {
    let has = |bit: u16| flags & bit != 0;
    ExportInfo {
        read_only: has(flag::READ_ONLY),
        multi_conn: has(flag::CAN_MULTI_CONN),
        rotational: has(flag::ROTATIONAL),
        flush: has(flag::SEND_FLUSH),
        fua: has(flag::SEND_FUA),
        trim: has(flag::SEND_TRIM),
        write_zeroes: has(flag::SEND_WRITE_ZEROES),
        fast_zero: has(flag::SEND_FAST_ZERO),
        cache: has(flag::SEND_CACHE),
        ..ExportInfo::new(size)
    }
}
