//! Secrets in memory: wiped when dropped, never printed, compared in constant time.

use std::fmt;

use rand::Rng as _;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// A secret text (secret access key, bearer token). `Debug` shows nothing of it; there is no `Display`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself: to sign with, or to show to its owner once. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}
impl Eq for Secret {}

/// 64 symbols, so that each takes six unbiased bits. The alphabet of AWS's secret keys.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// 32 symbols, the alphabet of AWS's access key IDs (RFC 4648 base 32).
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A random text of `len` symbols of `alphabet`, whose length must be a power of two.
fn random_text(len: usize, alphabet: &[u8]) -> String {
    debug_assert!(alphabet.len().is_power_of_two() && alphabet.len() <= 256);
    let mut bytes = vec![0; len];
    rand::rng().fill_bytes(&mut bytes);
    let text = bytes.iter().map(|b| char::from(alphabet[usize::from(*b) % alphabet.len()])).collect();
    bytes.zeroize();
    text
}

/// A new secret access key: 40 symbols, 240 random bits.
pub(crate) fn random_secret_key() -> Secret {
    Secret::new(random_text(40, BASE64))
}

/// A new access key ID: `AKIA` and 16 symbols, 80 random bits.
pub(crate) fn random_access_key_id() -> String {
    format!("AKIA{}", random_text(16, BASE32))
}

/// Random symbols that are safe in a header, a URL and a shell.
pub(crate) fn random_base32(len: usize) -> String {
    random_text(len, BASE32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::new("wJalrXUtnFEMI".into());
        assert!(!format!("{secret:?}").contains("wJal"));
        assert!(!format!("{:?}", Some(&secret)).contains("wJal"));
    }

    #[test]
    fn random_texts_have_their_shape_and_differ() {
        let (a, b) = (random_secret_key(), random_secret_key());
        assert_eq!(a.expose().len(), 40);
        assert!(a != b);
        let id = random_access_key_id();
        assert_eq!(id.len(), 20);
        assert!(terrane_types::AccessKeyId::parse(&id).is_ok());
    }
}
