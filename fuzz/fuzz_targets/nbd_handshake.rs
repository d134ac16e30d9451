//! A client's bytes in the negotiation, cut into pieces; every name exists.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use terrane_nbd::ExportInfo;
use terrane_nbd::handshake::{Handshake, Lookup, Step, TlsMode};

fuzz_target!(|data: &[u8]| {
    let [mode, piece, bytes @ ..] = data else { return };
    let tls = [TlsMode::Off, TlsMode::Optional, TlsMode::Required][usize::from(*mode) % 3];
    let export = ExportInfo { min_block: 1 << (mode % 13), ..ExportInfo::new(1 << 30) };
    let mut handshake = Handshake::new(tls);
    let mut input = BytesMut::new();
    for bytes in bytes.chunks(usize::from(*piece).max(1)) {
        input.extend_from_slice(bytes);
        loop {
            match handshake.advance(&mut input) {
                Ok(Step::NeedInput) => break,
                Ok(Step::StartTls) => handshake.tls_started(),
                Ok(Step::Find(_)) => match handshake.found(Lookup::Found(&export)) {
                    Ok(None) => {}
                    Ok(Some(_)) | Err(_) => return,
                },
                Ok(Step::Close) | Err(_) => return,
            }
        }
        handshake.take_output();
    }
});
