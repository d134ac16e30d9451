//! The history on disk: one file per hour of samples, appended to, never changed.
//!
//! File: magic `TRNH`, version byte 1, then records: `kind u8 | length u32 | crc32c u32 | payload`, integers
//! little-endian. Kind 1 names a series: `number u16 | is_counter u8 | UTF-8 name`; kind 2 is a sample:
//! `time u64 | (number u16 | value f32)*`. Reading stops at the first record that is not whole.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ring::Ring;

const HEADER: &[u8] = b"TRNH\x01";
const SERIES: u8 = 1;
const SAMPLE: u8 = 2;
const FILE_SECONDS: u64 = 3600;
/// Restarts begin new files; this bounds their number however often the process restarts.
const FILES_MAX: usize = 256;

/// What a file says, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// A number stands for this series from here on.
    Series {
        /// Its number.
        number: u16,
        /// Whether values are rates of a counter.
        is_counter: bool,
        /// Its name with labels.
        name: &'a str,
    },
    /// A sample.
    Sample {
        /// Unix time in seconds.
        time: u64,
        /// Series number and value.
        values: Vec<(u16, f32)>,
    },
}

/// Decodes a file as far as it is whole. Never panics, whatever the bytes.
pub fn decode(bytes: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(HEADER) else { return entries };
    while let Some((entry, tail)) = decode_record(rest) {
        entries.push(entry);
        rest = tail;
    }
    entries
}

fn decode_record(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (payload, tail) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    if checksum(kind, payload) != u32::from_le_bytes(*crc) {
        return None;
    }
    let entry = match kind {
        SERIES => {
            let (number, rest) = payload.split_first_chunk::<2>()?;
            let (&is_counter, name) = rest.split_first()?;
            let name = std::str::from_utf8(name).ok()?;
            Entry::Series { number: u16::from_le_bytes(*number), is_counter: is_counter != 0, name }
        }
        SAMPLE => {
            let (time, values) = payload.split_first_chunk::<8>()?;
            let (values, []) = values.as_chunks::<6>() else { return None };
            let values = values
                .iter()
                .map(|&[a, b, c, d, e, f]| (u16::from_le_bytes([a, b]), f32::from_le_bytes([c, d, e, f])))
                .collect();
            Entry::Sample { time: u64::from_le_bytes(*time), values }
        }
        _ => return None,
    };
    Some((entry, tail))
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&[kind]);
    digest.update(payload);
    // A 32-bit checksum in a 64-bit integer.
    digest.finalize() as u32
}

fn encode_record(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&checksum(kind, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

#[derive(Debug)]
struct Open {
    file: File,
    began: u64,
    numbers: HashMap<Box<str>, u16>,
}

/// The files of a directory, `history-<time of first sample>.bin`.
#[derive(Debug)]
pub(super) struct FileSet {
    dir: PathBuf,
    keep: Duration,
    open: Option<Open>,
}

impl FileSet {
    /// Reads all files into a ring.
    pub(super) fn open(dir: PathBuf, keep: Duration, ring: &mut Ring) -> io::Result<Self> {
        let files = Self { dir, keep, open: None };
        for (_, path) in files.list()? {
            replay(&fs::read(&path)?, ring);
        }
        Ok(files)
    }

    /// Our files with the time of their first sample, oldest first. Foreign files are passed over.
    fn list(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if let Some(began) = began(&path) {
                files.push((began, path));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Appends a ring's newest sample.
    pub(super) fn append_newest(&mut self, ring: &Ring) -> io::Result<()> {
        let Some((time, values)) = ring.newest() else { return Ok(()) };
        if self.open.as_ref().is_some_and(|open| time.saturating_sub(open.began) >= FILE_SECONDS) {
            self.open = None;
        }
        let mut bytes = Vec::new();
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                bytes.extend_from_slice(HEADER);
                self.begin(time)?
            }
        };
        // Put back only after success: an error leaves a torn file behind and the next sample begins a new one.
        self.open = Some(write_sample(open, time, values, bytes)?);
        Ok(())
    }

    fn begin(&self, time: u64) -> io::Result<Open> {
        let files = self.list()?;
        let excess = (files.len() + 1).saturating_sub(FILES_MAX);
        let oldest = time.saturating_sub(self.keep.as_secs()).saturating_sub(FILE_SECONDS);
        for (at, (began, path)) in files.into_iter().enumerate() {
            if at < excess || began < oldest {
                fs::remove_file(path)?;
            }
        }
        let path = self.dir.join(format!("history-{time:012}.bin"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        Ok(Open { file, began: time, numbers: HashMap::new() })
    }
}

fn write_sample<'a>(
    mut open: Open,
    time: u64,
    values: impl Iterator<Item = (&'a str, bool, f32)>,
    mut bytes: Vec<u8>,
) -> io::Result<Open> {
    let mut sample = time.to_le_bytes().to_vec();
    for (name, is_counter, value) in values {
        let number = match open.numbers.get(name) {
            Some(number) => *number,
            None => {
                let Ok(number) = u16::try_from(open.numbers.len()) else { continue };
                let mut payload = number.to_le_bytes().to_vec();
                payload.push(is_counter.into());
                payload.extend_from_slice(name.as_bytes());
                encode_record(SERIES, &payload, &mut bytes);
                open.numbers.insert(name.into(), number);
                number
            }
        };
        sample.extend_from_slice(&number.to_le_bytes());
        sample.extend_from_slice(&value.to_le_bytes());
    }
    encode_record(SAMPLE, &sample, &mut bytes);
    open.file.write_all(&bytes)?;
    Ok(open)
}

fn began(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_prefix("history-")?.strip_suffix(".bin")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn replay(bytes: &[u8], ring: &mut Ring) {
    let mut names = HashMap::new();
    for entry in decode(bytes) {
        match entry {
            Entry::Series { number, is_counter, name } => {
                names.insert(number, (name, is_counter));
            }
            Entry::Sample { time, values } => {
                ring.push_kept(
                    time,
                    values.into_iter().filter_map(|(number, value)| {
                        names.get(&number).map(|(name, is_counter)| (*name, *is_counter, value))
                    }),
                );
            }
        }
    }
}
