//! Calling the export, and not believing it blindly.

use std::sync::Arc;

use crate::handshake::ReplyStyle;
use crate::reply::Outcome;
use crate::request::{Address, Command, Request};
use crate::{Export, Extent, NbdError, Piece};

/// Extents in one reply. The specification allows 2^20.
const EXTENTS_MAX: usize = 16 << 10;

/// What a connection knows about its export.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) export: Arc<dyn Export>,
    pub(super) size: u64,
    pub(super) style: ReplyStyle,
}

/// A request that has ended.
pub(super) struct Done {
    pub(super) address: Address,
    pub(super) outcome: Outcome,
    /// What the request counts against the connection's bound.
    pub(super) cost: u64,
}

pub(super) async fn execute(target: Target, request: Request, cost: u64) -> Done {
    let outcome = run(&target, request.command).await.unwrap_or_else(Outcome::Failed);
    Done { address: request.address, outcome, cost }
}

async fn run(target: &Target, command: Command) -> Result<Outcome, NbdError> {
    let export = &target.export;
    match command {
        Command::Read { offset, len, whole } if whole || target.style == ReplyStyle::Simple => {
            let data = export.read(offset, len).await?;
            if data.len() != len as usize {
                return Err(broken("a read of another length"));
            }
            return Ok(Outcome::Data(data));
        }
        Command::Read { offset, len, .. } => {
            let pieces = export.read_pieces(offset, len).await?;
            let sizes = pieces.iter().map(|piece| match piece {
                Piece::Data(data) => data.len() as u64,
                Piece::Zeroes(len) => u64::from(*len),
            });
            if sizes.clone().any(|size| size == 0) || sizes.sum::<u64>() != u64::from(len) {
                return Err(broken("pieces of another length"));
            }
            return Ok(Outcome::Pieces(pieces));
        }
        Command::BlockStatus { offset, len, one } => {
            let max = if one { 1 } else { EXTENTS_MAX };
            let extents = export.block_status(offset, len, max).await?;
            return tidy(extents, offset, len, one, target.size).map(Outcome::Status);
        }
        Command::Write { offset, data, fua } => export.write(offset, data, fua).await?,
        Command::Flush => export.flush().await?,
        Command::Trim { offset, len, fua } => export.trim(offset, len, fua).await?,
        Command::Cache { offset, len } => export.cache(offset, len).await?,
        Command::WriteZeroes { offset, len, options } => {
            export.write_zeroes(offset, len, options).await?;
        }
    }
    Ok(Outcome::Done)
}

/// Extents as the specification wants them: none beyond the one that covers the request's last byte, none
/// beyond the end, and with REQ_ONE one that is not longer than the request.
fn tidy(
    mut extents: Vec<Extent>,
    offset: u64,
    len: u64,
    one: bool,
    size: u64,
) -> Result<Vec<Extent>, NbdError> {
    if extents.is_empty() || extents.iter().any(|extent| extent.len == 0) {
        return Err(broken("an empty extent"));
    }
    let mut covered = 0_u64;
    let mut keep = 0;
    for extent in extents.iter_mut().take(if one { 1 } else { EXTENTS_MAX }) {
        let most = if one { len } else { size.saturating_sub(offset) };
        extent.len = extent.len.min(most.saturating_sub(covered));
        covered += extent.len;
        keep += 1;
        if covered >= len {
            break;
        }
    }
    extents.truncate(keep);
    Ok(extents)
}

fn broken(what: &'static str) -> NbdError {
    tracing::error!(what, "an export does not keep to its contract");
    NbdError::io(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExtentKind::{Data, Hole};

    fn extent(len: u64, kind: crate::ExtentKind) -> Extent {
        Extent { len, kind }
    }

    #[test]
    fn extents_end_with_the_one_that_covers_the_request() {
        let given = || vec![extent(10, Data), extent(10, Hole), extent(100, Data)];
        assert_eq!(tidy(given(), 0, 11, false, 200).unwrap(), given()[..2]);
        assert_eq!(tidy(given(), 0, 10, false, 200).unwrap(), given()[..1]);
        assert_eq!(tidy(given(), 0, 5, true, 200).unwrap(), [extent(5, Data)]);
        assert_eq!(tidy(given(), 5, 60, false, 65).unwrap()[2], extent(40, Data));
        assert!(tidy(vec![], 0, 5, true, 200).is_err());
        assert!(tidy(vec![extent(0, Data)], 0, 5, true, 200).is_err());
    }
}
