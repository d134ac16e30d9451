//! What is not for the command line, where everybody on the machine could read it.

use std::io::Read;

use anyhow::Context;

/// Longest secret, bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// A secret from standard input, without the end of its line.
pub(super) fn read_secret() -> anyhow::Result<String> {
    let mut secret = String::new();
    let input = std::io::stdin().lock();
    input.take(SECRET_BYTES_MAX).read_to_string(&mut secret).context("standard input cannot be read")?;
    Ok(secret.trim_end_matches(['\r', '\n']).to_owned())
}
