//! Backups: one consistent state of a store in a file, and back.
//!
//! The file is `TERRBKUP`, a version byte, and frames of length, CRC-32C (both four bytes,
//! big-endian) and a postcard message: one `Header`, any number of `Rows`, one `End`.
//!
//! A restored store has an incarnation of its own, so that no epoch, cursor or commit from before
//! counts in it.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use terrane_types::RandomId;

use crate::engine::Row;
use crate::key::check_key;
use crate::local::{DATA_FORMAT, EmbeddedConfig};
use crate::{KeyRange, Result, Store, StoreError};

const MAGIC: &[u8; 9] = b"TERRBKUP\x01";
/// Rows are gathered into frames of about this size.
const FRAME_BYTES: usize = 1 << 20;
/// The longest frame that is read.
const FRAME_BYTES_MAX: usize = 4 << 20;
const PAGE_ROWS: usize = 256;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Frame {
    Header { format: u32, incarnation: RandomId },
    Rows(Vec<Row>),
    End { rows: u64 },
}

/// What was saved or brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupReport {
    /// Rows in the file.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The incarnation of the store that was saved.
    pub incarnation: RandomId,
}

/// Writes the state of a running store into a new file. Commits go on meanwhile; the file has the
/// state of one moment. It appears under its name only when it is complete and durable.
///
/// # Errors
/// [`StoreError::Config`] if the file exists; the store's and the operating system's.
pub async fn backup(store: &Store, path: &Path) -> Result<BackupReport> {
    if path.exists() {
        return Err(StoreError::Config(format!("{} exists already", path.display())));
    }
    let partial = with_suffix(path, ".partial");
    let partial = &partial;
    let report = store
        .read(|tx| async move {
            let mut file = Writer::create(partial)?;
            file.write(&Frame::Header { format: DATA_FORMAT, incarnation: store.incarnation() })?;
            let mut report = BackupReport { rows: 0, bytes: 0, incarnation: store.incarnation() };
            let (mut rest, mut rows, mut bytes) = (KeyRange::all(), Vec::new(), 0);
            loop {
                let page = tx.scan(&rest, PAGE_ROWS).await?;
                let Some((last, _)) = page.last() else { break };
                rest = rest.rest(last, false);
                for (key, value) in page {
                    report.rows += 1;
                    bytes += key.len() + value.len();
                    rows.push((key, value));
                    if bytes >= FRAME_BYTES {
                        report.bytes += bytes as u64;
                        file.write(&Frame::Rows(std::mem::take(&mut rows)))?;
                        bytes = 0;
                    }
                }
            }
            report.bytes += bytes as u64;
            file.write(&Frame::Rows(rows))?;
            file.write(&Frame::End { rows: report.rows })?;
            file.finish()?;
            Ok::<_, StoreError>(report)
        })
        .await;
    if report.is_err() {
        // What is left of it helps nobody; it may also be the disk that is full.
        let _ = fs::remove_file(partial);
    }
    let report = report?;
    fs::rename(partial, path).map_err(StoreError::io(format!("name {}", path.display())))?;
    sync_parent(path)?;
    Ok(report)
}

/// Makes a new embedded store in `dir`, which must not exist or be empty, from a backup. The
/// directory appears under its name only when everything is in it.
///
/// # Errors
/// [`StoreError::Config`] if there is something in `dir`, [`StoreError::Damaged`] for a file that is
/// not a whole backup; the operating system's.
pub async fn restore(path: &Path, dir: &Path, config: EmbeddedConfig) -> Result<BackupReport> {
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(StoreError::Config(format!("{} is not empty", dir.display())));
    }
    let partial = with_suffix(dir, ".restoring");
    let doing = |what: &str, dir: &Path| StoreError::io(format!("{what} {}", dir.display()));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(doing("delete", &partial))?;
    }
    let store = Store::embedded(&partial, config).await?;
    let report = restore_into(path, &store).await;
    let closed = store.close().await;
    drop(store);
    let report = report?;
    closed?;
    if dir.exists() {
        fs::remove_dir(dir).map_err(doing("replace", dir))?;
    }
    fs::rename(&partial, dir).map_err(doing("name", dir))?;
    sync_parent(dir)?;
    Ok(report)
}

/// Fills an empty store of any engine from a backup. A failure leaves it half filled: do not use it.
///
/// # Errors
/// As [`restore`]; [`StoreError::Config`] if the store is not empty.
pub async fn restore_into(path: &Path, store: &Store) -> Result<BackupReport> {
    let all = &KeyRange::all();
    if !store.read(|tx| async move { tx.scan(all, 1).await }).await?.is_empty() {
        return Err(StoreError::Config("the store to restore into is not empty".into()));
    }
    let mut file = Reader::open(path)?;
    let Frame::Header { format, incarnation } = file.next()? else {
        return Err(file.damaged("it has no header"));
    };
    if format > DATA_FORMAT {
        return Err(StoreError::NewerFormat { found: format, supported: DATA_FORMAT });
    }
    let mut report = BackupReport { rows: 0, bytes: 0, incarnation };
    loop {
        match file.next()? {
            Frame::Rows(rows) => {
                report.rows += rows.len() as u64;
                report.bytes += rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
                let rows = &rows;
                store
                    .transact(|tx| async move {
                        for (key, value) in rows {
                            check_key(key)?;
                            tx.put(key.clone(), value.clone()).await?;
                        }
                        Ok::<_, StoreError>(())
                    })
                    .await?;
            }
            Frame::End { rows } if rows == report.rows => return Ok(report),
            Frame::End { .. } => return Err(file.damaged("rows are missing")),
            Frame::Header { .. } => return Err(file.damaged("a second header")),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|dir| dir.sync_all());
    synced.map_err(StoreError::io(format!("sync {}", parent.display())))
}

fn crc32c(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(crc).expect("a 32-bit checksum")
}

struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(StoreError::io(format!("create {}", path.display())))?;
        let mut writer = Self { path: path.into(), file: BufWriter::new(file) };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, frame: &Frame) -> Result<()> {
        let bytes = postcard::to_stdvec(frame).map_err(|error| StoreError::decode("backup frame", error))?;
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put(&len.to_be_bytes())?;
        self.put(&crc32c(&bytes).to_be_bytes())?;
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let doing = format!("write {}", self.path.display());
        self.file.write_all(bytes).map_err(StoreError::io(doing))
    }

    fn finish(mut self) -> Result<()> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(StoreError::io(format!("sync {}", self.path.display())))
    }
}

struct Reader<R> {
    name: String,
    file: R,
}

impl Reader<BufReader<File>> {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(StoreError::io(format!("open {}", path.display())))?;
        Self::start(path.display().to_string(), BufReader::new(file))
    }
}

impl<R: Read> Reader<R> {
    fn start(name: String, file: R) -> Result<Self> {
        let mut reader = Self { name, file };
        let mut magic = [0; MAGIC.len()];
        reader.get(&mut magic)?;
        match magic.split_last() {
            Some((1, _)) if magic == *MAGIC => Ok(reader),
            Some((&found, name)) if MAGIC.starts_with(name) && found > 1 => {
                Err(StoreError::NewerFormat { found: found.into(), supported: 1 })
            }
            _ => Err(reader.damaged("it is no backup")),
        }
    }

    fn next(&mut self) -> Result<Frame> {
        let (mut len, mut crc) = ([0; 4], [0; 4]);
        self.get(&mut len)?;
        self.get(&mut crc)?;
        let len = u32::from_be_bytes(len) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(self.damaged("a frame is too long"));
        }
        let mut bytes = vec![0; len];
        self.get(&mut bytes)?;
        if crc32c(&bytes) != u32::from_be_bytes(crc) {
            return Err(self.damaged("a checksum is wrong"));
        }
        postcard::from_bytes(&bytes).map_err(|error| self.damaged(&error.to_string()))
    }

    fn get(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact(bytes).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, why: &str) -> StoreError {
        StoreError::Damaged(format!("backup {}: {why}", self.name))
    }
}

/// Reads bytes as a backup, for fuzzing; tells how many frames could be read.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    let Ok(mut reader) = Reader::start("fuzz".into(), bytes) else { return 0 };
    std::iter::from_fn(|| reader.next().ok()).take_while(|frame| !matches!(frame, Frame::End { .. })).count()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn file(frames: &[Frame]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let mut writer = Writer::create(&path).unwrap();
        frames.iter().for_each(|frame| writer.write(frame).unwrap());
        writer.finish().unwrap();
        fs::read(path).unwrap()
    }

    fn small() -> Vec<u8> {
        let rows = vec![(Bytes::from("k"), Bytes::from("v"))];
        let header = Frame::Header { format: 1, incarnation: RandomId(2) };
        file(&[header, Frame::Rows(rows), Frame::End { rows: 1 }])
    }

    #[test]
    fn the_file_is_pinned() {
        let mut expected = b"TERRBKUP\x01".to_vec();
        for frame in [&[0, 1, 2][..], &[1, 1, 1, b'k', 1, b'v'], &[2, 1]] {
            expected.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
            expected.extend(crc32c(frame).to_be_bytes());
            expected.extend(frame);
        }
        assert_eq!(small(), expected);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, at: prop::sample::Index, flip in 1u8..) {
            fuzz_decode(&bytes);
            fuzz_decode(&[&MAGIC[..], &bytes].concat());
            let mut damaged = small();
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
            prop_assert!(fuzz_decode(&damaged) <= 2);
        }
    }
}
