//! Going through the frames of one segment.

use crate::disk::DiskFile;
use crate::error::LogError;
use crate::frame::{BadHeader, Frame, Kind, SEGMENT_AT, SEGMENT_HEADER, SegmentHeader, VERSION};
use crate::position::{FRAME_HEADER, Position, RecordLocator};
use memchr::memmem;

/// Bytes read at once.
const CHUNK: u32 = 256 << 10;

/// What the next frame must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) epoch: u64,
    pub(crate) prev: u32,
}

/// One step of a [`Scanner`].
pub(crate) enum Step<'s> {
    /// A record.
    Record { locator: RecordLocator, payload: &'s [u8] },
    /// The segment's last frame.
    Sealed,
    /// No frame that continues the chain, and why.
    End(&'static str),
}

/// Goes through a segment frame by frame and verifies all it can.
pub(crate) struct Scanner<'a> {
    window: Window<'a>,
    pub(crate) header: SegmentHeader,
    /// Where the next frame starts.
    pub(crate) at: u32,
    /// `None` until the first frame when started in the middle.
    chain: Option<Chain>,
    /// Where the batch of the last accepted frame starts; all before it was synced before it was written.
    pub(crate) last_batch: u32,
    trusting: bool,
}

impl<'a> Scanner<'a> {
    /// Reads the header of segment `id`, whose file is readable up to `end`.
    pub(crate) fn open(
        file: &'a dyn DiskFile,
        id: u64,
        end: u32,
    ) -> Result<Result<Self, BadHeader>, LogError> {
        let mut window = Window { file, end, buf: Vec::new(), at: 0 };
        let mut header = match window.get(0, SEGMENT_HEADER)? {
            Some(bytes) => decode_header(bytes, id),
            None => Err(BadHeader::Damaged),
        };
        if header == Err(BadHeader::Damaged) {
            header = window.rescue_header(id)?.ok_or(BadHeader::Damaged);
        }
        Ok(header.map(|(header, crc)| Self {
            window,
            header,
            at: SEGMENT_HEADER,
            chain: Some(Chain { epoch: header.epoch, prev: crc }),
            last_batch: 0,
            trusting: false,
        }))
    }

    /// For a segment without a readable header: only good for [`Scanner::find_later_batch`].
    pub(crate) fn headless(file: &'a dyn DiskFile, id: u64, end: u32) -> Self {
        Self {
            window: Window { file, end, buf: Vec::new(), at: 0 },
            header: SegmentHeader { id, epoch: 0, prev_segment: 0, prev: 0 },
            at: SEGMENT_HEADER - 1,
            chain: None,
            last_batch: 0,
            trusting: false,
        }
    }

    /// Starts in the middle instead, at a frame.
    pub(crate) fn resume_at(&mut self, at: u32) {
        if at > self.at {
            self.at = at;
            self.chain = None;
        }
    }

    /// The simulator's switch: accept whatever has a right checksum.
    pub(crate) fn trust_stale(&mut self) {
        self.trusting = true;
    }

    /// What the next frame must continue.
    pub(crate) fn chain(&self) -> Chain {
        self.chain.unwrap_or(Chain { epoch: self.header.epoch, prev: 0 })
    }

    /// The next frame. If the first copy of the file has none here that continues the chain, any other copy's is taken,
    /// and the copies are healed with it.
    pub(crate) fn step(&mut self) -> Result<Step<'_>, LogError> {
        let at = self.at;
        let frame = match self.check()? {
            Ok(frame) => frame,
            Err(why) => match self.rescue()? {
                Some(frame) => frame,
                None => return Ok(Step::End(why)),
            },
        };
        if frame.batch_start {
            self.last_batch = at;
        }
        self.chain = Some(Chain { epoch: frame.epoch, prev: frame.crc });
        // Both sums are at most the segment's size, or the window had not held the frame.
        self.at = at + FRAME_HEADER + frame.len;
        match frame.kind {
            Kind::Seal => Ok(Step::Sealed),
            Kind::Data => {
                let offset = at + FRAME_HEADER;
                let locator = RecordLocator { segment: self.header.id, offset, len: frame.len };
                let payload = self.window.get(offset, frame.len)?.unwrap_or_default();
                Ok(Step::Record { locator, payload })
            }
        }
    }

    /// The bytes from `start`, where the last step began, to where it ended.
    pub(crate) fn verified(&mut self, start: u32) -> Result<&[u8], LogError> {
        Ok(self.window.get(start, self.at.saturating_sub(start))?.unwrap_or_default())
    }

    /// The frame here, or why there is none. The window holds all of it.
    fn check(&mut self) -> Result<Result<Frame, &'static str>, LogError> {
        let at = self.at;
        let Some(head) = self.window.get(at, FRAME_HEADER)? else {
            return Ok(Err("the end of the file"));
        };
        let frame = match parse(head) {
            Ok(frame) => frame,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(why) = self.breaks_chain(&frame) {
            return Ok(Err(why));
        }
        let whole = FRAME_HEADER.checked_add(frame.len);
        let Some(bytes) = (match whole {
            Some(whole) => self.window.get(at, whole)?,
            None => None,
        }) else {
            return Ok(Err("a frame longer than its segment"));
        };
        Ok(if frame.verify(at, bytes) { Ok(frame) } else { Err("a wrong checksum") })
    }

    /// Looks for the frame in each copy of the file by itself.
    fn rescue(&mut self) -> Result<Option<Frame>, LogError> {
        let at = self.at;
        for copy in 0..self.window.other_copies() {
            let Some(head) = self.window.read_copy(copy, at, FRAME_HEADER) else { continue };
            let Ok(frame) = parse(&head) else { continue };
            let Some(whole) = FRAME_HEADER.checked_add(frame.len) else { continue };
            if self.breaks_chain(&frame).is_some() {
                continue;
            }
            let Some(bytes) = self.window.read_copy(copy, at, whole) else { continue };
            if frame.verify(at, &bytes) && parse(&bytes) == Ok(frame) {
                self.window.heal(at, bytes)?;
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn breaks_chain(&self, frame: &Frame) -> Option<&'static str> {
        if frame.segment != self.header.id {
            return Some("a frame of another segment");
        }
        if frame.kind == Kind::Seal && frame.len != 0 {
            return Some("a seal with a payload");
        }
        match self.chain {
            Some(_) if self.trusting => None,
            Some(chain) if frame.epoch < chain.epoch => Some("a frame of an earlier start"),
            Some(chain) if frame.prev != chain.prev => Some("a frame that does not continue the one before"),
            Some(_) => None,
            None if frame.epoch < self.header.epoch => Some("a frame of an earlier start"),
            None => None,
        }
    }

    /// Looks behind the place where the scan ended for an intact frame that proves that this place
    /// had been durable: one that starts a later batch. `None`: there is no proof, the tail was torn.
    pub(crate) fn find_later_batch(&mut self) -> Result<Option<Position>, LogError> {
        let id = self.header.id;
        let epoch = self.chain().epoch;
        let needle = id.to_le_bytes();
        let finder = memmem::Finder::new(&needle);
        // Forged headers inside a torn payload must not make recovery slow.
        let mut budget = u64::from(self.window.end).saturating_mul(4);
        let mut from = self.at.saturating_add(1);
        loop {
            let chunk = self.window.rest(from)?;
            if chunk.len() < FRAME_HEADER as usize {
                return Ok(None);
            }
            let Some(found) = finder.find(&chunk[SEGMENT_AT..]) else {
                // The next chunk overlaps, so that no header is cut in two.
                from = from.saturating_add(chunk.len() as u32 - (FRAME_HEADER - 1));
                continue;
            };
            let at = from.saturating_add(found as u32);
            if self.starts_batch(at, epoch, &mut budget)? {
                return Ok(Some(Position { segment: id, offset: at }));
            }
            from = at.saturating_add(1);
        }
    }

    fn starts_batch(&mut self, at: u32, epoch: u64, budget: &mut u64) -> Result<bool, LogError> {
        let Some(head) = self.window.get(at, FRAME_HEADER)? else { return Ok(false) };
        let Ok(frame) = parse(head) else { return Ok(false) };
        if !frame.batch_start || frame.segment != self.header.id || frame.epoch < epoch {
            return Ok(false);
        }
        let whole = FRAME_HEADER.saturating_add(frame.len);
        let Some(left) = budget.checked_sub(u64::from(whole)) else { return Ok(false) };
        let Some(bytes) = self.window.get(at, whole)? else { return Ok(false) };
        *budget = left;
        Ok(frame.verify(at, bytes))
    }
}

fn parse(head: &[u8]) -> Result<Frame, &'static str> {
    let head = head.first_chunk().ok_or("no frame")?;
    Frame::parse(head)
}

fn decode_header(bytes: &[u8], id: u64) -> Result<(SegmentHeader, u32), BadHeader> {
    let bytes = bytes.first_chunk().ok_or(BadHeader::Damaged)?;
    let (header, crc) = SegmentHeader::decode(bytes)?;
    if header.id == id { Ok((header, crc)) } else { Err(BadHeader::Damaged) }
}

/// The error that a header that must be there makes.
pub(crate) fn header_error(id: u64, bad: BadHeader) -> LogError {
    match bad {
        BadHeader::Newer(version) => LogError::NewerFormat { segment: id, version, known: VERSION },
        BadHeader::Damaged => {
            LogError::Corrupt { at: Position { segment: id, offset: 0 }, what: "a damaged segment header" }
        }
    }
}

/// A buffered view of a file that only moves forward cheaply.
struct Window<'a> {
    file: &'a dyn DiskFile,
    end: u32,
    buf: Vec<u8>,
    at: u32,
}

impl Window<'_> {
    /// Exactly `len` bytes from `at`, or `None` when the file ends before.
    fn get(&mut self, at: u32, len: u32) -> Result<Option<&[u8]>, LogError> {
        if at.checked_add(len).is_none_or(|to| to > self.end) {
            return Ok(None);
        }
        let len = len as usize;
        if !self.holds(at, len) {
            self.fill(at, len)?;
        }
        let from = (at - self.at) as usize;
        Ok(self.buf.get(from..from + len))
    }

    /// Some bytes from `at` on: at least a frame's header unless the file ends before.
    fn rest(&mut self, at: u32) -> Result<&[u8], LogError> {
        let left = self.end.saturating_sub(at).min(FRAME_HEADER) as usize;
        if left == 0 {
            return Ok(&[]);
        }
        if !self.holds(at, left) {
            self.fill(at, left)?;
        }
        Ok(&self.buf[(at - self.at) as usize..])
    }

    fn holds(&self, at: u32, len: usize) -> bool {
        at >= self.at && (at - self.at) as usize + len <= self.buf.len()
    }

    /// How many copies there are to look at if the first one is no good.
    fn other_copies(&self) -> usize {
        match self.file.copies() {
            1 => 0,
            copies => copies,
        }
    }

    /// Bytes of one copy; `None` if it does not have them.
    fn read_copy(&self, copy: usize, at: u32, len: u32) -> Option<Vec<u8>> {
        at.checked_add(len).filter(|to| *to <= self.end)?;
        let mut bytes = vec![0; len as usize];
        self.file.read_copy_at(copy, &mut bytes, u64::from(at)).ok()?;
        Some(bytes)
    }

    /// Gives all copies what one of them was found to have, and goes on with that.
    fn heal(&mut self, at: u32, good: Vec<u8>) -> Result<(), LogError> {
        self.file.heal(&good, u64::from(at)).map_err(|e| LogError::io("heal a segment", e))?;
        (self.buf, self.at) = (good, at);
        Ok(())
    }

    fn rescue_header(&mut self, id: u64) -> Result<Option<(SegmentHeader, u32)>, LogError> {
        for copy in 0..self.other_copies() {
            if let Some(bytes) = self.read_copy(copy, 0, SEGMENT_HEADER)
                && let Ok(header) = decode_header(&bytes, id)
            {
                self.heal(0, bytes)?;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn fill(&mut self, at: u32, len: usize) -> Result<(), LogError> {
        let rest = (self.end - at) as usize;
        self.buf.resize(len.max(CHUNK as usize).min(rest), 0);
        self.at = at;
        let read = self.file.read_at(&mut self.buf, u64::from(at));
        if read.is_err() {
            self.buf.clear();
        }
        read.map_err(|e| LogError::io("read a segment", e))
    }
}
