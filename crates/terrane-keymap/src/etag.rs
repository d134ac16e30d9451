//! ETags and checksum algorithms in the few bytes that a billion rows can afford.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An ETag without quotes. MD5-shaped ones (all that S3 clients see in practice) take 18 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Etag(Form);

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Form {
    /// Lower-case hex of 16 bytes, then `-parts` unless that is zero.
    Md5([u8; 16], u16),
    Text(Box<str>),
}

impl Default for Etag {
    fn default() -> Self {
        Self(Form::Text("".into()))
    }
}

fn parse_md5(text: &str) -> Option<Form> {
    let (hex, parts) = match text.split_once('-') {
        None => (text, 0),
        Some((hex, parts)) => (hex, parts.parse::<u16>().ok().filter(|n| *n > 0)?),
    };
    let mut bytes = [0; 16];
    if hex.len() != 32 {
        return None;
    }
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(Form::Md5(bytes, parts))
}

impl From<&str> for Etag {
    fn from(text: &str) -> Self {
        let form = parse_md5(text).unwrap_or_else(|| Form::Text(text.into()));
        let compact = Self(form);
        // `-007` is legal text but not what the compact form prints.
        if compact.matches(text) { compact } else { Self(Form::Text(text.into())) }
    }
}

impl Etag {
    /// Whether the text form is `text`.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Form::Text(own) => **own == *text,
            Form::Md5(..) => self.to_string() == text,
        }
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Text(text) => f.write_str(text),
            Form::Md5(bytes, parts) => {
                for byte in bytes {
                    write!(f, "{byte:02x}")?;
                }
                if *parts > 0 {
                    write!(f, "-{parts}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What LIST tells of an object's additional checksums: the algorithms and whether they are of the full object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checksums(pub u8);

/// S3's names, in the order of their bits in [`Checksums`].
pub const CHECKSUM_ALGORITHMS: [&str; 5] = ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"];

impl Checksums {
    const COMPOSITE: u8 = 0x40;
    const FULL_OBJECT: u8 = 0x80;

    /// From S3's spellings; unknown algorithms are not listed.
    pub fn new<'a>(algorithms: impl IntoIterator<Item = &'a str>, kind: Option<&str>) -> Self {
        let mut bits = match kind {
            Some("COMPOSITE") => Self::COMPOSITE,
            Some("FULL_OBJECT") => Self::FULL_OBJECT,
            _ => 0,
        };
        for name in algorithms {
            if let Some(bit) = CHECKSUM_ALGORITHMS.iter().position(|known| *known == name) {
                bits |= 1 << bit;
            }
        }
        Self(bits)
    }

    /// S3's spellings.
    pub fn algorithms(self) -> impl Iterator<Item = &'static str> {
        CHECKSUM_ALGORITHMS
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & 1 << bit != 0)
            .map(|(_, name)| *name)
    }

    /// `FULL_OBJECT` or `COMPOSITE`.
    pub fn kind(self) -> Option<&'static str> {
        match self.0 & (Self::COMPOSITE | Self::FULL_OBJECT) {
            Self::COMPOSITE => Some("COMPOSITE"),
            Self::FULL_OBJECT => Some("FULL_OBJECT"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_survive() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        for text in [
            "",
            "x",
            md5,
            &format!("{md5}-1"),
            &format!("{md5}-10000"),
            &format!("{md5}-007"),
            &format!("{md5}-0"),
            &format!("{md5}-70000"),
            &md5.to_uppercase(),
            "d41d-2",
            &format!("{md5}-+1"),
        ] {
            let etag = Etag::from(text);
            assert_eq!(etag.to_string(), text);
            assert!(etag.matches(text) && !etag.matches("other"));
        }
        assert!(matches!(Etag::from(md5).0, Form::Md5(..)));
    }

    #[test]
    fn checksum_bits_round_trip() {
        let sums = Checksums::new(["SHA256", "CRC32", "MD4"], Some("COMPOSITE"));
        assert_eq!(sums.algorithms().collect::<Vec<_>>(), ["CRC32", "SHA256"]);
        assert_eq!(sums.kind(), Some("COMPOSITE"));
        assert_eq!(Checksums::default().kind(), None);
    }
}
