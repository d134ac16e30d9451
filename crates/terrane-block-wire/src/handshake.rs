//! The handshake: who dials, which version is spoken, and that both ends know the cluster key.
//!
//! ```text
//! dialer:   "TRRNWIRE" · format u8 (1) · protocol u8 · first version u16 · last version u16 · role u8 · 0 · id u128 · nonce 32
//! acceptor: "TRRNWIRE" · format u8 (1) · verdict u8 · version u16 · first version u16 · last version u16 · id u128 ·
//!           nonce 32 · HMAC-SHA256(key, "terrane acceptor" · dialer's · the answer so far) 32
//! dialer:   HMAC-SHA256(key, "terrane dialer" · dialer's · acceptor's) 32
//! ```
//! Little-endian. Whoever knows the key is trusted; the proofs are bound to both nonces, so that nothing can be
//! replayed, and to both roles, so that nothing can be reflected.

use crate::control::ServerId;
use crate::data::Dialer;
use crate::error::WireError;
use crate::key::ClusterKey;
use hmac::Mac;
use terrane_block_core::ClientId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: &[u8; 8] = b"TRRNWIRE";
const FORMAT: u8 = 1;
const HELLO: usize = 64;
const ANSWER: usize = 96;
const PROOF: usize = 32;
const DIALER: &[u8] = b"terrane dialer";
const ACCEPTOR: &[u8] = b"terrane acceptor";

/// First and last version spoken by this program.
pub const VERSIONS: (u16, u16) = (1, 1);

/// What is spoken after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// [`crate::control`].
    Control = 1,
    /// [`crate::data`].
    Data = 2,
}

/// What a dialer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it wants to speak.
    pub protocol: Protocol,
    /// First and last version that it speaks.
    pub versions: (u16, u16),
    /// Who it is.
    pub dialer: Dialer,
    /// Random.
    pub nonce: [u8; 32],
}

impl Hello {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO] {
        let (role, id) = match self.dialer {
            Dialer::Server(server) => (1, server.0),
            Dialer::Client(client) => (2, u128::from(client.0)),
            Dialer::Node => (3, 0),
            Dialer::Manager => (4, 0),
        };
        let mut out = [0; HELLO];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&[FORMAT, self.protocol as u8]);
        out[10..12].copy_from_slice(&self.versions.0.to_le_bytes());
        out[12..14].copy_from_slice(&self.versions.1.to_le_bytes());
        out[14] = role;
        out[16..32].copy_from_slice(&u128::to_le_bytes(id));
        out[32..].copy_from_slice(&self.nonce);
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`WireError::Broken`].
    pub fn decode(bytes: &[u8; HELLO]) -> Result<Self, WireError> {
        let broken = |found: &str| WireError::broken("hello", found);
        if &bytes[..8] != MAGIC || bytes[8] != FORMAT || bytes[15] != 0 {
            return Err(broken("not one of this protocol"));
        }
        let protocol = match bytes[9] {
            1 => Protocol::Control,
            2 => Protocol::Data,
            _ => return Err(broken("an unknown protocol")),
        };
        let id = u128::from_le_bytes(array(&bytes[16..32]));
        let dialer = match (bytes[14], u64::try_from(id)) {
            (1, _) => Dialer::Server(ServerId(id)),
            (2, Ok(client)) => Dialer::Client(ClientId(client)),
            (3, Ok(0)) => Dialer::Node,
            (4, Ok(0)) => Dialer::Manager,
            _ => return Err(broken("an unknown role")),
        };
        let versions = (u16_at(bytes, 10), u16_at(bytes, 12));
        Ok(Self { protocol, versions, dialer, nonce: array(&bytes[32..]) })
    }
}

/// What an acceptor answers, but for its proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The version to speak, or why not.
    pub verdict: Verdict,
    /// First and last version that the acceptor speaks.
    pub versions: (u16, u16),
    /// Who it is: a block server's [`ServerId`]; 0 for a manager.
    pub id: u128,
    /// Random.
    pub nonce: [u8; 32],
}

/// What becomes of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This version is spoken.
    Version(u16),
    /// None in common.
    NoCommonVersion,
    /// That protocol is not spoken here.
    OtherProtocol,
}

impl Answer {
    /// Its bytes, without the proof.
    #[must_use]
    pub fn encode(&self) -> [u8; ANSWER - PROOF] {
        let (verdict, version) = match self.verdict {
            Verdict::Version(version) => (0, version),
            Verdict::NoCommonVersion => (1, 0),
            Verdict::OtherProtocol => (2, 0),
        };
        let mut out = [0; ANSWER - PROOF];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&[FORMAT, verdict]);
        out[10..12].copy_from_slice(&version.to_le_bytes());
        out[12..14].copy_from_slice(&self.versions.0.to_le_bytes());
        out[14..16].copy_from_slice(&self.versions.1.to_le_bytes());
        out[16..32].copy_from_slice(&self.id.to_le_bytes());
        out[32..64].copy_from_slice(&self.nonce);
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`WireError::Broken`].
    pub fn decode(bytes: &[u8; ANSWER - PROOF]) -> Result<Self, WireError> {
        let version = u16_at(bytes, 10);
        let verdict = match (bytes[9], version) {
            (0, version) => Verdict::Version(version),
            (1, 0) => Verdict::NoCommonVersion,
            (2, 0) => Verdict::OtherProtocol,
            _ => return Err(WireError::broken("answer to a hello", "an unknown verdict")),
        };
        if &bytes[..8] != MAGIC || bytes[8] != FORMAT {
            return Err(WireError::broken("answer to a hello", "not one of this protocol"));
        }
        let versions = (u16_at(bytes, 12), u16_at(bytes, 14));
        let id = u128::from_le_bytes(array(&bytes[16..32]));
        Ok(Self { verdict, versions, id, nonce: array(&bytes[32..64]) })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("callers hand in slices of this length")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(&bytes[at..at + 2]))
}

fn common(theirs: (u16, u16)) -> Option<u16> {
    let version = theirs.1.min(VERSIONS.1);
    (version >= theirs.0 && version >= VERSIONS.0).then_some(version)
}

/// The dialer's side. `expected`: who should answer, if that is known. Returns the version and who answered.
///
/// # Errors
/// [`WireError`].
pub async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &ClusterKey,
    protocol: Protocol,
    dialer: Dialer,
    expected: Option<u128>,
) -> Result<(u8, u128), WireError> {
    let hello = Hello { protocol, versions: VERSIONS, dialer, nonce: rand::random() }.encode();
    stream.write_all(&hello).await.map_err(WireError::io("send a hello"))?;
    let mut bytes = [0; ANSWER];
    stream.read_exact(&mut bytes).await.map_err(WireError::io("read the answer to a hello"))?;
    let (head, proof) = bytes.split_first_chunk::<{ ANSWER - PROOF }>().expect("it is longer");
    key.mac(&[ACCEPTOR, &hello, head]).verify_slice(proof).map_err(|_| WireError::NotOurs)?;
    let answer = Answer::decode(head)?;
    let version = match answer.verdict {
        Verdict::Version(version) => version,
        Verdict::NoCommonVersion => {
            return Err(WireError::NoCommonVersion { own: VERSIONS, theirs: answer.versions });
        }
        Verdict::OtherProtocol => return Err(WireError::OtherProtocol),
    };
    let spoken = u8::try_from(version).ok().filter(|_| (VERSIONS.0..=VERSIONS.1).contains(&version));
    let version = spoken.ok_or_else(|| WireError::broken("answer to a hello", "a version not offered"))?;
    if let Some(expected) = expected.filter(|expected| *expected != answer.id) {
        return Err(WireError::SomeoneElse { expected, found: answer.id });
    }
    let proof = key.mac(&[DIALER, &hello, &bytes]).finalize().into_bytes();
    stream.write_all(&proof).await.map_err(WireError::io("send a proof"))?;
    stream.flush().await.map_err(WireError::io("send a proof"))?;
    Ok((version, answer.id))
}

/// The acceptor's side. Returns the version and who dialed.
///
/// # Errors
/// [`WireError`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &ClusterKey,
    protocol: Protocol,
    id: u128,
) -> Result<(u8, Dialer), WireError> {
    let mut bytes = [0; HELLO];
    stream.read_exact(&mut bytes).await.map_err(WireError::io("read a hello"))?;
    let hello = Hello::decode(&bytes)?;
    let verdict = match common(hello.versions) {
        _ if hello.protocol != protocol => Verdict::OtherProtocol,
        Some(version) => Verdict::Version(version),
        None => Verdict::NoCommonVersion,
    };
    let head = Answer { verdict, versions: VERSIONS, id, nonce: rand::random() }.encode();
    let mut answer = [0; ANSWER];
    answer[..ANSWER - PROOF].copy_from_slice(&head);
    answer[ANSWER - PROOF..].copy_from_slice(&key.mac(&[ACCEPTOR, &bytes, &head]).finalize().into_bytes());
    stream.write_all(&answer).await.map_err(WireError::io("answer a hello"))?;
    stream.flush().await.map_err(WireError::io("answer a hello"))?;
    let version = match verdict {
        Verdict::Version(version) => version,
        Verdict::NoCommonVersion => {
            return Err(WireError::NoCommonVersion { own: VERSIONS, theirs: hello.versions });
        }
        Verdict::OtherProtocol => return Err(WireError::OtherProtocol),
    };
    let mut proof = [0; PROOF];
    stream.read_exact(&mut proof).await.map_err(WireError::io("read a proof"))?;
    key.mac(&[DIALER, &bytes, &answer]).verify_slice(&proof).map_err(|_| WireError::NotOurs)?;
    let version = u8::try_from(version).expect("versions of this program fit a byte");
    Ok((version, hello.dialer))
}

#[cfg(test)]
mod tests;
