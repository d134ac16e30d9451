//! An export in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::{Export, ExportInfo, Extent, ExtentKind, NbdError, Piece, ZeroOptions};

/// Bytes of a page, the grain of allocation.
const PAGE: u64 = 4096;

type Page = Box<[u8; PAGE as usize]>;

/// A sparse export in memory: test support, and the smallest example of an [`Export`]. It has no cache to
/// lose, so it keeps the promise of `multi_conn`.
#[derive(Debug)]
pub struct MemoryExport {
    info: RwLock<ExportInfo>,
    pages: RwLock<BTreeMap<u64, Page>>,
    gone: CancellationToken,
}

/// What a range of bytes has to do with one page.
struct Span {
    page: u64,
    /// First byte within the page.
    start: usize,
    len: usize,
}

/// The pages that a range touches, in order.
fn spans(offset: u64, len: u64) -> impl Iterator<Item = Span> {
    let end = offset.saturating_add(len);
    let mut at = offset;
    std::iter::from_fn(move || {
        let start = at % PAGE;
        let len = (PAGE - start).min(end - at);
        let span = Span { page: at / PAGE, start: start as usize, len: len as usize };
        at += len;
        (len > 0).then_some(span)
    })
}

impl MemoryExport {
    /// An export of `size` bytes, all hole.
    pub fn new(size: u64) -> Self {
        Self::with_info(ExportInfo { multi_conn: true, ..ExportInfo::new(size) })
    }

    /// An export with this description.
    pub fn with_info(info: ExportInfo) -> Self {
        Self { info: RwLock::new(info), pages: RwLock::default(), gone: CancellationToken::new() }
    }

    /// Changes the size; connections that are made from now on see it. What is cut off is gone.
    pub fn resize(&self, size: u64) {
        self.info.write().size = size;
        let mut pages = self.pages.write();
        let keep = size.div_ceil(PAGE);
        pages.split_off(&keep);
        if let Some(page) = pages.get_mut(&(size / PAGE)) {
            page[(size % PAGE) as usize..].fill(0);
        }
    }

    /// Ends the export: its connections close.
    pub fn detach(&self) {
        self.gone.cancel();
    }

    /// Bytes of memory that hold data.
    pub fn allocated(&self) -> u64 {
        self.pages.read().len() as u64 * PAGE
    }

    /// The export may have shrunk after the connection was made.
    fn check(&self, offset: u64, len: u64) -> Result<(), NbdError> {
        if self.gone.is_cancelled() {
            return Err(NbdError::shutdown());
        }
        match offset.checked_add(len) {
            Some(end) if end <= self.info.read().size => Ok(()),
            _ => Err(NbdError::invalid("the export has become smaller")),
        }
    }

    fn erase(&self, offset: u64, len: u64) {
        let end = offset + len;
        let mut pages = self.pages.write();
        let touched = offset / PAGE..end.div_ceil(PAGE);
        pages
            .extract_if(touched, |number, page| {
                let base = number * PAGE;
                let covered = offset.max(base) - base..end.min(base + PAGE) - base;
                page[covered.start as usize..covered.end as usize].fill(0);
                covered == (0..PAGE)
            })
            .for_each(drop);
    }
}

#[async_trait]
impl Export for MemoryExport {
    fn info(&self) -> ExportInfo {
        self.info.read().clone()
    }

    async fn read(&self, offset: u64, len: u32) -> Result<Bytes, NbdError> {
        self.check(offset, len.into())?;
        let pages = self.pages.read();
        let mut data = BytesMut::with_capacity(len as usize);
        for span in spans(offset, len.into()) {
            match pages.get(&span.page) {
                Some(page) => data.extend_from_slice(&page[span.start..span.start + span.len]),
                None => data.resize(data.len() + span.len, 0),
            }
        }
        Ok(data.freeze())
    }

    async fn read_pieces(&self, offset: u64, len: u32) -> Result<Vec<Piece>, NbdError> {
        self.check(offset, len.into())?;
        let pages = self.pages.read();
        let mut pieces = Vec::new();
        let mut data = BytesMut::with_capacity(len as usize);
        let mut zeros = 0_u32;
        for span in spans(offset, len.into()) {
            match pages.get(&span.page) {
                Some(page) => {
                    if zeros > 0 {
                        pieces.push(Piece::Zeroes(std::mem::take(&mut zeros)));
                    }
                    data.extend_from_slice(&page[span.start..span.start + span.len]);
                }
                None => {
                    if !data.is_empty() {
                        pieces.push(Piece::Data(data.split().freeze()));
                    }
                    zeros += span.len as u32;
                }
            }
        }
        if zeros > 0 {
            pieces.push(Piece::Zeroes(zeros));
        }
        if !data.is_empty() {
            pieces.push(Piece::Data(data.freeze()));
        }
        Ok(pieces)
    }

    async fn write(&self, offset: u64, data: Bytes, _fua: bool) -> Result<(), NbdError> {
        self.check(offset, data.len() as u64)?;
        let mut pages = self.pages.write();
        let mut rest = &data[..];
        for span in spans(offset, data.len() as u64) {
            let (now, later) = rest.split_at(span.len);
            let page = pages.entry(span.page).or_insert_with(|| Box::new([0; PAGE as usize]));
            page[span.start..span.start + span.len].copy_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), NbdError> {
        self.check(0, 0)
    }

    async fn trim(&self, offset: u64, len: u64, _fua: bool) -> Result<(), NbdError> {
        self.check(offset, len)?;
        self.erase(offset, len);
        Ok(())
    }

    async fn write_zeroes(&self, offset: u64, len: u64, options: ZeroOptions) -> Result<(), NbdError> {
        self.check(offset, len)?;
        if options.no_hole && options.fast {
            return Err(NbdError::new(
                crate::ErrorCode::NotSupported,
                "allocated zeros are written one by one",
            ));
        }
        self.erase(offset, len);
        if options.no_hole {
            let mut pages = self.pages.write();
            for span in spans(offset, len) {
                pages.entry(span.page).or_insert_with(|| Box::new([0; PAGE as usize]));
            }
        }
        Ok(())
    }

    async fn block_status(&self, offset: u64, len: u64, max_extents: usize) -> Result<Vec<Extent>, NbdError> {
        self.check(offset, len)?;
        let pages = self.pages.read();
        let end = offset + len;
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = offset;
        let mut push = |len: u64, kind: ExtentKind| match extents.last_mut() {
            Some(last) if last.kind == kind => last.len += len,
            _ if len > 0 => extents.push(Extent { len, kind }),
            _ => {}
        };
        for (number, _) in pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let start = (number * PAGE).max(offset);
            push(start - at, ExtentKind::Hole);
            at = ((number + 1) * PAGE).min(end);
            push(at - start, ExtentKind::Data);
        }
        push(end - at, ExtentKind::Hole);
        extents.truncate(max_extents);
        Ok(extents)
    }

    async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 8 * PAGE + 100;

    /// Name, offset, length, byte.
    fn steps() -> impl Strategy<Value = Vec<(u8, u64, u64, u8)>> {
        let range = (0..SIZE).prop_flat_map(|offset| (Just(offset), 1..=SIZE - offset));
        let step = (0_u8..3, range, any::<u8>()).prop_map(|(what, (at, len), byte)| (what, at, len, byte));
        prop::collection::vec(step, 1..20)
    }

    fn apply(export: &MemoryExport, model: &mut [u8], (what, at, len, byte): (u8, u64, u64, u8)) {
        let range = at as usize..(at + len) as usize;
        let done = match what {
            0 => export.write(at, vec![byte; len as usize].into(), false),
            1 => export.trim(at, len, false),
            _ => export.write_zeroes(
                at,
                len,
                ZeroOptions { no_hole: byte.is_multiple_of(2), ..Default::default() },
            ),
        };
        futures::executor::block_on(done).unwrap();
        model[range].fill(if what == 0 { byte } else { 0 });
    }

    proptest! {
        /// Like a file, however it is read; and what is a hole is zero.
        #[test]
        fn it_is_like_a_file(steps in steps(), at in 0..SIZE) {
            let export = MemoryExport::new(SIZE);
            let mut model = vec![0; SIZE as usize];
            for step in steps {
                apply(&export, &mut model, step);
            }
            let len = SIZE - at;
            let expected = &model[at as usize..];
            futures::executor::block_on(async {
                assert_eq!(&export.read(at, len as u32).await.unwrap()[..], expected);
                let mut joined = Vec::new();
                for piece in export.read_pieces(at, len as u32).await.unwrap() {
                    match piece {
                        Piece::Data(data) => joined.extend_from_slice(&data),
                        Piece::Zeroes(len) => joined.resize(joined.len() + len as usize, 0),
                    }
                }
                assert_eq!(joined, expected);
                let mut from = 0;
                for extent in export.block_status(at, len, usize::MAX).await.unwrap() {
                    let to = from + extent.len as usize;
                    assert!(extent.kind == ExtentKind::Data || expected[from..to].iter().all(|b| *b == 0));
                    from = to;
                }
                assert_eq!(from as u64, len);
            });
        }
    }

    #[tokio::test]
    async fn it_shrinks_and_grows() {
        let export = MemoryExport::new(2 * PAGE);
        export.write(0, vec![1; 2 * PAGE as usize].into(), false).await.unwrap();
        export.resize(10);
        assert_eq!(export.allocated(), PAGE);
        assert_eq!(export.read(0, 11).await, Err(NbdError::invalid("the export has become smaller")));
        export.resize(2 * PAGE);
        let data = export.read(0, 2 * PAGE as u32).await.unwrap();
        assert!(data[..10].iter().all(|b| *b == 1) && data[10..].iter().all(|b| *b == 0));
    }

    #[tokio::test]
    async fn zeroes_are_fast_unless_they_must_be_allocated() {
        let export = MemoryExport::new(2 * PAGE);
        let fast = ZeroOptions { fast: true, ..Default::default() };
        export.write_zeroes(0, PAGE, fast).await.unwrap();
        assert_eq!(export.allocated(), 0);
        let refused = export.write_zeroes(0, PAGE, ZeroOptions { no_hole: true, ..fast }).await;
        assert_eq!(refused.unwrap_err().code, crate::ErrorCode::NotSupported);
        export.write_zeroes(0, PAGE, ZeroOptions { no_hole: true, ..Default::default() }).await.unwrap();
        assert_eq!(export.allocated(), PAGE);
    }

    #[tokio::test]
    async fn a_detached_export_refuses() {
        let export = MemoryExport::new(PAGE);
        export.detach();
        export.gone().await;
        assert_eq!(export.flush().await, Err(NbdError::shutdown()));
    }
}
