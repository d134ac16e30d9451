//! Order-preserving encoding of tuples as keys.
//!
//! The bytes of two encoded tuples compare as the tuples do, element by element, and the encoding
//! of a shorter tuple is a prefix of the encodings of the tuples that begin with it. The form
//! follows FoundationDB's tuple layer (design/tuple.md): a type code, then
//! text and byte strings with 0x00 written as 0x00 0xFF and closed by 0x00, integers big-endian.
//! Integers always take eight bytes here, signed ones with the sign bit flipped.

use terrane_types::{AccessKeyId, AccountId, RandomId, Region};

const BYTES: u8 = 0x01;
const TEXT: u8 = 0x02;
const SIGNED: u8 = 0x13;
const UNSIGNED: u8 = 0x14;
const FALSE: u8 = 0x26;
const TRUE: u8 = 0x27;

/// Why bytes are not the tuple that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key does not decode: {0}")]
pub struct TupleError(pub &'static str);

/// Something that can be written into a key.
pub trait Pack {
    /// Appends the encoded form.
    fn pack_into(&self, out: &mut Vec<u8>);

    /// The encoded form.
    fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        self.pack_into(&mut out);
        out
    }
}

/// Something that can be read back from a key.
pub trait Unpack: Sized {
    /// Takes its encoded form off the front of `input`.
    ///
    /// # Errors
    /// If the front of `input` is not one.
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError>;

    /// Decodes a whole key.
    ///
    /// # Errors
    /// If `input` is not exactly one encoded form.
    fn unpack(mut input: &[u8]) -> Result<Self, TupleError> {
        let value = Self::unpack_from(&mut input)?;
        if input.is_empty() { Ok(value) } else { Err(TupleError("bytes are left over")) }
    }
}

fn put_escaped(code: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(code);
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.push(0);
}

fn take_code(input: &mut &[u8], code: u8) -> Result<(), TupleError> {
    match input.split_first() {
        Some((found, rest)) if *found == code => {
            *input = rest;
            Ok(())
        }
        _ => Err(TupleError("an element of another type")),
    }
}

fn take_escaped(input: &mut &[u8], code: u8) -> Result<Vec<u8>, TupleError> {
    take_code(input, code)?;
    let mut out = Vec::new();
    loop {
        let (byte, rest) = input.split_first().ok_or(TupleError("an unclosed string"))?;
        *input = rest;
        match (*byte, rest.first()) {
            (0, Some(0xff)) => {
                out.push(0);
                *input = rest.get(1..).unwrap_or_default();
            }
            (0, _) => return Ok(out),
            (byte, _) => out.push(byte),
        }
    }
}

fn take_word(input: &mut &[u8], code: u8) -> Result<u64, TupleError> {
    take_code(input, code)?;
    let (word, rest) = input.split_first_chunk().ok_or(TupleError("a cut integer"))?;
    *input = rest;
    Ok(u64::from_be_bytes(*word))
}

impl Pack for [u8] {
    fn pack_into(&self, out: &mut Vec<u8>) {
        put_escaped(BYTES, self, out);
    }
}

impl Pack for Vec<u8> {
    fn pack_into(&self, out: &mut Vec<u8>) {
        self.as_slice().pack_into(out);
    }
}

impl Unpack for Vec<u8> {
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
        take_escaped(input, BYTES)
    }
}

impl Pack for str {
    fn pack_into(&self, out: &mut Vec<u8>) {
        put_escaped(TEXT, self.as_bytes(), out);
    }
}

impl Pack for String {
    fn pack_into(&self, out: &mut Vec<u8>) {
        self.as_str().pack_into(out);
    }
}

impl Unpack for String {
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
        String::from_utf8(take_escaped(input, TEXT)?).map_err(|_| TupleError("text that is not UTF-8"))
    }
}

impl Pack for u64 {
    fn pack_into(&self, out: &mut Vec<u8>) {
        out.push(UNSIGNED);
        out.extend(self.to_be_bytes());
    }
}

impl Unpack for u64 {
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
        take_word(input, UNSIGNED)
    }
}

impl Pack for u32 {
    fn pack_into(&self, out: &mut Vec<u8>) {
        u64::from(*self).pack_into(out);
    }
}

impl Unpack for u32 {
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
        u64::unpack_from(input)?.try_into().map_err(|_| TupleError("an integer beyond 32 bits"))
    }
}

/// Flips the sign bit, so that negative numbers come first.
const SIGN: u64 = 1 << 63;

impl Pack for i64 {
    fn pack_into(&self, out: &mut Vec<u8>) {
        out.push(SIGNED);
        out.extend((self.cast_unsigned() ^ SIGN).to_be_bytes());
    }
}

impl Unpack for i64 {
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
        Ok((take_word(input, SIGNED)? ^ SIGN).cast_signed())
    }
}

impl Pack for bool {
    fn pack_into(&self, out: &mut Vec<u8>) {
        out.push(if *self { TRUE } else { FALSE });
    }
}

impl Unpack for bool {
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
        match take_code(input, TRUE) {
            Ok(()) => Ok(true),
            Err(_) => take_code(input, FALSE).map(|()| false),
        }
    }
}

impl Pack for RandomId {
    fn pack_into(&self, out: &mut Vec<u8>) {
        self.0.pack_into(out);
    }
}

impl Unpack for RandomId {
    fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
        u64::unpack_from(input).map(Self)
    }
}

macro_rules! text_types {
    ($($name:ident),*) => {$(
        impl Pack for $name {
            fn pack_into(&self, out: &mut Vec<u8>) {
                self.as_str().pack_into(out);
            }
        }
        impl Unpack for $name {
            fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
                let text = String::unpack_from(input)?;
                Self::parse(&text).map_err(|_| TupleError(concat!("no ", stringify!($name))))
            }
        }
    )*};
}
text_types!(AccountId, AccessKeyId, Region);

impl<T: Pack + ?Sized> Pack for &T {
    fn pack_into(&self, out: &mut Vec<u8>) {
        (**self).pack_into(out);
    }
}

/// The empty tuple: nothing.
impl Pack for () {
    fn pack_into(&self, _: &mut Vec<u8>) {}
}

macro_rules! tuples {
    ($(($($name:ident $field:tt),+)),*) => {$(
        impl<$($name: Pack),+> Pack for ($($name,)+) {
            fn pack_into(&self, out: &mut Vec<u8>) {
                $(self.$field.pack_into(out);)+
            }
        }
        impl<$($name: Unpack),+> Unpack for ($($name,)+) {
            fn unpack_from(input: &mut &[u8]) -> Result<Self, TupleError> {
                Ok(($($name::unpack_from(input)?,)+))
            }
        }
    )*};
}
tuples!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3), (A 0, B 1, C 2, D 3, E 4));

#[cfg(test)]
mod tests;
