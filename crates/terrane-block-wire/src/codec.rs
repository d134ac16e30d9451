//! The bytes of messages.
//!
//! Control messages are postcard's form of the types. Data messages are written by hand: a head of a few fields, then,
//! at the very end, content that is neither copied nor looked at. Little-endian throughout.
//!
//! ```text
//! stripe u128 · tag u8 · sender and receiver, or one of them, u64 each · fields of the message · content
//! ```

mod fields;
mod message;

use crate::control::{FromManager, StripeId, ToManager};
use crate::data::{CONTENT_BYTES_MAX, DataMessage};
use crate::error::WireError;
use crate::frame::Message;
use bytes::{BufMut, Bytes, BytesMut};
use fields::Fields;
use serde::Serialize;
use serde::de::DeserializeOwned;
use terrane_block_core::CopyId;

/// Bytes of a control message.
const CONTROL_MAX: usize = 32 << 20;
/// Bytes of a data message: content and what is before it.
const DATA_MAX: usize = CONTENT_BYTES_MAX + (64 << 10);
/// Runs of blocks in one message; a list of more is coarsened by its sender.
pub const RUNS_MAX: usize = 32 << 10;

fn encode_control<M: Serialize>(message: &M, out: &mut BytesMut) -> Bytes {
    let taken = std::mem::take(out);
    let writer = postcard::ser_flavors::io::WriteFlavor::new(taken.writer());
    *out = match postcard::serialize_with_flavor(message, writer) {
        Ok(writer) => writer.into_inner(),
        Err(error) => unreachable!("these types can be serialised, and memory takes all: {error}"),
    };
    Bytes::new()
}

fn decode_control<M: DeserializeOwned>(body: &[u8]) -> Result<M, WireError> {
    let broken = |found| WireError::Broken { what: "control message", found };
    let (message, rest) = postcard::take_from_bytes(body).map_err(|error| broken(error.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(broken(format!("{} bytes behind its end", rest.len()))) }
}

impl Message for ToManager {
    const KIND: u8 = 1;
    const BODY_MAX: usize = CONTROL_MAX;

    fn encode(&self, out: &mut BytesMut) -> Bytes {
        encode_control(self, out)
    }

    fn decode(body: Bytes) -> Result<Self, WireError> {
        decode_control(&body)
    }
}

impl Message for FromManager {
    const KIND: u8 = 2;
    const BODY_MAX: usize = CONTROL_MAX;

    fn encode(&self, out: &mut BytesMut) -> Bytes {
        encode_control(self, out)
    }

    fn decode(body: Bytes) -> Result<Self, WireError> {
        decode_control(&body)
    }
}

const COPY: u8 = 1;
const TO_PRIMARY: u8 = 2;
const TO_CLIENT: u8 = 3;
const STATUS_QUERY: u8 = 4;
const STATUS: u8 = 5;

impl Message for DataMessage {
    const KIND: u8 = 3;
    const BODY_MAX: usize = DATA_MAX;

    fn encode(&self, out: &mut BytesMut) -> Bytes {
        let mut head = |stripe: &StripeId, tag: u8, copy: &CopyId| {
            out.put_u128_le(stripe.0);
            out.put_u8(tag);
            out.put_u64_le(copy.0);
        };
        match self {
            Self::Copy { stripe, from, to, message } => {
                head(stripe, COPY, from);
                out.put_u64_le(to.0);
                message::put_copy(message, out)
            }
            Self::ToPrimary { stripe, to, message } => {
                head(stripe, TO_PRIMARY, to);
                message::put_to_primary(message, out)
            }
            Self::ToClient { stripe, from, message } => {
                head(stripe, TO_CLIENT, from);
                message::put_to_client(message, out)
            }
            Self::StatusQuery { stripe, to, id, start, len } => {
                head(stripe, STATUS_QUERY, to);
                [id, start, len].into_iter().for_each(|field| out.put_u64_le(*field));
                Bytes::new()
            }
            Self::Status { stripe, from, id, runs } => {
                head(stripe, STATUS, from);
                out.put_u64_le(*id);
                for (blocks, data) in runs.iter().take(RUNS_MAX) {
                    out.put_u64_le(*blocks << 1 | u64::from(*data));
                }
                Bytes::new()
            }
        }
    }

    fn decode(body: Bytes) -> Result<Self, WireError> {
        let mut fields = Fields::new("data message", body);
        let stripe = StripeId(fields.u128()?);
        let tag = fields.u8()?;
        let copy = CopyId(fields.u64()?);
        let message = match tag {
            COPY => {
                let to = CopyId(fields.u64()?);
                Self::Copy { stripe, from: copy, to, message: message::copy(&mut fields)? }
            }
            TO_PRIMARY => Self::ToPrimary { stripe, to: copy, message: message::to_primary(&mut fields)? },
            TO_CLIENT => Self::ToClient { stripe, from: copy, message: message::to_client(&mut fields)? },
            STATUS_QUERY => {
                let (id, extent) = (fields.u64()?, fields.extent()?);
                Self::StatusQuery { stripe, to: copy, id, start: extent.start, len: extent.len }
            }
            STATUS => {
                let (id, mut runs) = (fields.u64()?, Vec::new());
                while !fields.is_empty() {
                    if runs.len() == RUNS_MAX {
                        return Err(WireError::broken("data message", "too many runs"));
                    }
                    let run = fields.u64()?;
                    runs.push((run >> 1, run & 1 == 1));
                }
                Self::Status { stripe, from: copy, id, runs }
            }
            tag => return Err(fields.unknown("tag", tag)),
        };
        fields.end()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests;
