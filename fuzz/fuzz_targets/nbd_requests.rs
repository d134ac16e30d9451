//! A client's bytes in transmission, cut into pieces: what is not refused is within the export.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use terrane_nbd::ExportInfo;
use terrane_nbd::handshake::{Agreement, ReplyStyle};
use terrane_nbd::request::{Command, Incoming, Requests};

const SIZE: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let [style, piece, bytes @ ..] = data else { return };
    let style =
        [ReplyStyle::Simple, ReplyStyle::Structured, ReplyStyle::Extended][usize::from(*style) % 3];
    let agreement = Agreement { style, block_status: style > ReplyStyle::Simple };
    let export = ExportInfo { min_block: 512, max_payload: 4096, ..ExportInfo::new(SIZE) };
    let mut requests = Requests::new(agreement, export);
    let mut input = BytesMut::new();
    for bytes in bytes.chunks(usize::from(*piece).max(1)) {
        input.extend_from_slice(bytes);
        loop {
            let (offset, len) = match requests.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Incoming::Disconnect)) | Err(_) => return,
                Ok(Some(Incoming::Refused(..))) => continue,
                Ok(Some(Incoming::Request(request))) => match request.command {
                    Command::Flush => continue,
                    Command::Read { offset, len, .. } => (offset, u64::from(len)),
                    Command::Write { offset, data, .. } => (offset, data.len() as u64),
                    Command::Trim { offset, len, .. }
                    | Command::Cache { offset, len }
                    | Command::WriteZeroes { offset, len, .. }
                    | Command::BlockStatus { offset, len, .. } => (offset, len),
                },
            };
            assert!(len > 0 && offset + len <= SIZE && (offset | len) % 512 == 0);
        }
    }
});
