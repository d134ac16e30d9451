//! Reading a cut.

use super::read::{How, Runs, Wanted};
use super::{CHUNK, Contents, Copy, Kind};
use crate::engine::cut::Cut;
use crate::engine::entry::{Content, State};
use crate::engine::error::EngineError;
use crate::engine::layout::{BLOCK, Piece};
use crate::engine::record::CutId;

impl Copy {
    /// Reads the blocks from `first` on that fill `buf`, as they were at the cut. What is not [`Kind::Data`] reads as zeros.
    /// Blocks of a damaged kind this copy has not any more: another copy's cut has.
    ///
    /// # Errors
    /// [`EngineError::NoCut`], [`EngineError::CutVoid`]; [`EngineError::Beyond`] the end that the copy had then; else as
    /// [`Copy::read`].
    pub fn read_cut(&self, cut: CutId, first: u64, buf: &mut [u8]) -> Result<Contents, EngineError> {
        if buf.is_empty() || !buf.len().is_multiple_of(BLOCK) {
            return Err(EngineError::Misaligned { len: buf.len() });
        }
        self.alive()?;
        let cut = self.cut(cut)?;
        let blocks = (buf.len() / BLOCK) as u64;
        if first.checked_add(blocks).is_none_or(|end| end > cut.blocks) {
            return Err(EngineError::Beyond { first, blocks, end: cut.blocks });
        }
        let mut runs = Runs::new(first);
        for piece in self.shape.pieces(first, blocks, CHUNK) {
            cut.whole()?;
            let at = piece.skip * BLOCK;
            let part = &mut buf[at..at + piece.range.len() * BLOCK];
            let mut kinds = [Kind::Absent; CHUNK];
            self.read_cut_piece(&cut, &piece, part, &mut kinds)?;
            kinds[..piece.range.len()].iter().for_each(|kind| runs.push(*kind));
        }
        // While it was whole nothing was overwritten that it had not kept.
        cut.whole()?;
        Ok(runs.finish())
    }

    fn read_cut_piece(
        &self,
        cut: &Cut,
        piece: &Piece,
        buf: &mut [u8],
        kinds: &mut [Kind; CHUNK],
    ) -> Result<(), EngineError> {
        let mut leaf = cut.leaf(piece.group);
        if let Ok(None) = leaf {
            self.read_piece(piece, buf, kinds)?;
            // Unless somebody has begun to overwrite the group meanwhile, that is what it was.
            leaf = cut.leaf(piece.group);
        }
        let leaf = match leaf {
            Ok(None) => return Ok(()),
            Ok(Some(leaf)) => leaf,
            Err(EngineError::Corrupt { .. }) => {
                buf.fill(0);
                kinds.fill(Kind::Corrupt);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut wanted: Wanted = [Content::default(); CHUNK];
        wanted[..piece.range.len()].copy_from_slice(&leaf[piece.range.clone()]);
        let here = wanted[..piece.range.len()].iter().any(|content| content.has_data());
        if here {
            let read = self.read_file(buf, self.shape.data_at(piece.group, piece.range.start), How::Wait);
            read.map_err(EngineError::io("read blocks"))?;
        }
        let indices = piece.range.clone().zip(piece.block..).zip(&wanted);
        for (((index, block), content), (bytes, kind)) in indices.zip(buf.chunks_exact_mut(BLOCK).zip(kinds))
        {
            *kind = match content.state {
                State::Absent if self.is_unfetched(State::Absent, block) => Kind::Unfetched,
                State::Absent => Kind::Absent,
                State::Zero => Kind::Zero,
                State::Invalid => Kind::Invalid,
                State::Data if !cut.is_done(piece.group, index) && self.fits(content.sum, bytes, block) => {
                    Kind::Data
                }
                State::Data => {
                    cut.kept(piece.group, index, bytes).map_err(EngineError::io("read what a cut kept"))?;
                    if self.fits(content.sum, bytes, block) { Kind::Data } else { Kind::Invalid }
                }
            };
            if *kind != Kind::Data {
                bytes.fill(0);
            }
        }
        Ok(())
    }
}
