//! io_uring: several requests to the kernel in one system call, carried out at the same time.
//!
//! The only place of the workspace that needs `unsafe`: the kernel reads and writes memory of ours while no reference
//! says so. It is confined to [`Ring::run`], which returns only when the kernel has let go of all of it.
#![allow(unsafe_code, reason = "the submission queue takes addresses; see the SAFETY comments")]

use io_uring::types::Fd;
use io_uring::{IoUring, Probe, opcode, squeue};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Requests that are under way in one ring, at most.
const DEPTH: usize = 64;
/// What the kernel takes in one request, at most: a result is an `i32`, and some file systems stop at 2 GiB.
const BYTES_MAX: usize = 1 << 30;

/// Of sync_file_range(2): writing begins, and nobody waits for its end.
const SYNC_FILE_RANGE_WRITE: u32 = 2;

/// What is asked of a file.
pub(super) enum Request<'a> {
    /// Fills the buffer from this offset on.
    Read(&'a mut [u8], u64),
    /// Writes the buffer at this offset, after all writes before it.
    Write(&'a [u8], u64),
    /// Begins to write so many bytes from an offset on to the drive.
    WriteOut(u64, u64),
}

/// A ring and its memory. One thread uses it at a time.
pub(super) struct Ring(IoUring);

impl Ring {
    /// Makes one.
    ///
    /// # Errors
    /// The kernel has no io_uring, does not allow it, or lacks one of the three requests.
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::new(DEPTH as u32)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [opcode::Read::CODE, opcode::Write::CODE, opcode::SyncFileRange::CODE];
        if needed.iter().all(|code| probe.is_supported(*code)) {
            return Ok(Self(ring));
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Has the kernel carry out the requests on a file, at the same time but for writes, which follow one another and
    /// stop at the first that fails or falls short. Waits for all of them. Appends for each how many bytes it read or
    /// wrote, or why it did not; there are fewer answers than requests if the ring itself fails.
    ///
    /// # Errors
    /// The ring itself fails: it must not be used again.
    pub(super) fn run(
        &mut self,
        file: &File,
        requests: &mut [Request<'_>],
        answers: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        for some in requests.chunks_mut(DEPTH) {
            let stopped = self.run_some(file, some, answers)?;
            if stopped {
                break;
            }
        }
        Ok(())
    }

    /// One queue full. Returns whether a write did not do all it should.
    fn run_some(
        &mut self,
        file: &File,
        requests: &mut [Request<'_>],
        answers: &mut Vec<io::Result<usize>>,
    ) -> io::Result<bool> {
        let last_write = requests.iter().rposition(|request| matches!(request, Request::Write(..)));
        let fd = Fd(file.as_raw_fd());
        let mut queue = self.0.submission();
        for (index, request) in requests.iter_mut().enumerate() {
            let entry = match request {
                Request::Read(buf, offset) => {
                    let len = buf.len().min(BYTES_MAX) as u32;
                    opcode::Read::new(fd, buf.as_mut_ptr(), len).offset(*offset).build()
                }
                Request::Write(buf, offset) => {
                    let len = buf.len().min(BYTES_MAX) as u32;
                    let entry = opcode::Write::new(fd, buf.as_ptr(), len).offset(*offset).build();
                    if last_write == Some(index) { entry } else { entry.flags(squeue::Flags::IO_LINK) }
                }
                Request::WriteOut(offset, len) => {
                    let len = u32::try_from(*len).unwrap_or(u32::MAX);
                    opcode::SyncFileRange::new(fd, len).offset(*offset).flags(SYNC_FILE_RANGE_WRITE).build()
                }
            };
            // SAFETY: the file and the buffers are borrowed for longer than this function runs, buffers that the
            // kernel writes into exclusively so, and `wait` below returns only when the kernel has answered, and so
            // has let go of, all that it was given.
            unsafe { queue.push(&entry.user_data(index as u64)) }.map_err(io::Error::other)?;
        }
        drop(queue);
        let mut found: Vec<Option<i32>> = vec![None; requests.len()];
        let waited = self.wait(&mut found);
        let mut stopped = false;
        for (request, result) in requests.iter().zip(found) {
            let Some(result) = result else { break };
            let wanted = match request {
                Request::Read(..) | Request::WriteOut(..) => 0,
                Request::Write(buf, _) => buf.len(),
            };
            let answer =
                usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.saturating_neg()));
            stopped |= !answer.as_ref().is_ok_and(|done| *done >= wanted);
            answers.push(answer);
        }
        waited.map(|()| stopped)
    }

    /// Hands the queue to the kernel and waits until it has answered all it took. On an error the rest of the queue
    /// is still there, and is never handed over: the ring is dropped.
    fn wait(&mut self, found: &mut [Option<i32>]) -> io::Result<()> {
        let mut missing = found.len();
        let mut failure = None;
        while missing > 0 {
            if failure.is_none() {
                match self.0.submit_and_wait(missing) {
                    Ok(_) => {}
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        // What the kernel took it answers, whether it is asked to or not.
                        missing -= self.0.submission().len();
                        failure = Some(error);
                        continue;
                    }
                }
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
            for answer in self.0.completion() {
                let place = usize::try_from(answer.user_data()).ok().and_then(|index| found.get_mut(index));
                if let Some(place) = place
                    && place.replace(answer.result()).is_none()
                {
                    missing -= 1;
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Whether the kernel only wants to be asked again.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, ResourceBusy, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock | ResourceBusy)
}
