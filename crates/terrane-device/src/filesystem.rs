//! A filesystem with one file, which is the volume.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::fcntl::FallocateFlags;
use nix::unistd::{getegid, geteuid};
use terrane_nbd::{ErrorCode, Export, NbdError, ZeroOptions};
use tokio::runtime::Handle;

/// The file's name.
pub(crate) const FILE: &str = "volume";

const VOLUME: INodeNo = INodeNo(2);
/// The size changes, so nothing is remembered.
const TTL: Duration = Duration::ZERO;
/// Requests that the kernel has under way.
const BACKGROUND: u16 = 128;
/// Bytes of one write.
const WRITE_MAX: u32 = 1 << 20;

/// The filesystem: hands every request on the file to the export, on the runtime.
pub(crate) struct Volume {
    export: Arc<dyn Export>,
    runtime: Handle,
}

impl Volume {
    pub(crate) fn new(export: Arc<dyn Export>, runtime: Handle) -> Self {
        Self { export, runtime }
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let info = self.export.info();
        let (kind, perm, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o500, 0),
            VOLUME => (FileType::RegularFile, if info.read_only { 0o400 } else { 0o600 }, info.size),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            rdev: 0,
            blksize: info.preferred_block,
            flags: 0,
        })
    }

    /// Runs an operation of the export, then `reply`.
    fn run<T, F>(
        &self,
        operation: impl FnOnce(Arc<dyn Export>) -> F,
        reply: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) where
        T: Send,
        F: Future<Output = Result<T, NbdError>> + Send + 'static,
    {
        let operation = operation(self.export.clone());
        self.runtime.spawn(async move { reply(operation.await.map_err(|error| errno(error.code))) });
    }

    /// Requests are within the file, and in whole blocks: a loop device sends no others.
    fn check(&self, offset: u64, len: u64, beyond: Errno) -> Result<(), Errno> {
        let info = self.export.info();
        let block = u64::from(info.min_block.max(1));
        if len == 0 || !offset.is_multiple_of(block) || !len.is_multiple_of(block) {
            return Err(Errno::EINVAL);
        }
        match offset.checked_add(len) {
            Some(end) if end <= info.size => Ok(()),
            _ => Err(beyond),
        }
    }
}

fn done(reply: ReplyEmpty) -> impl FnOnce(Result<(), Errno>) + Send + 'static {
    move |result| match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn errno(code: ErrorCode) -> Errno {
    match code {
        ErrorCode::NotPermitted => Errno::EPERM,
        ErrorCode::Io => Errno::EIO,
        ErrorCode::NoMemory => Errno::ENOMEM,
        ErrorCode::Invalid => Errno::EINVAL,
        ErrorCode::NoSpace => Errno::ENOSPC,
        ErrorCode::Overflow => Errno::EOVERFLOW,
        ErrorCode::NotSupported => Errno::EOPNOTSUPP,
        ErrorCode::Shutdown => Errno::ESHUTDOWN,
    }
}

impl Filesystem for Volume {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without it a loop device has one request under way. An older kernel lacks it.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        let _ = config.set_max_background(BACKGROUND);
        let _ = config.set_congestion_threshold(BACKGROUND);
        let _ = config.set_max_write(WRITE_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(VOLUME).filter(|_| parent == INodeNo::ROOT && name == FILE) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Times are not kept. Everything else stays as it is.
    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = mode.is_some() || uid.is_some() || gid.is_some() || size.is_some();
        match self.attributes(inode).filter(|_| !changes) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::EPERM),
        }
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if inode != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let entries = [
            (INodeNo::ROOT, FileType::Directory, "."),
            (INodeNo::ROOT, FileType::Directory, ".."),
            (VOLUME, FileType::RegularFile, FILE),
        ];
        for (next, (inode, kind, name)) in (1..).zip(entries) {
            if next > offset && reply.add(inode, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // The page cache is above the loop device, and once is enough.
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let rest = self.export.info().size.saturating_sub(offset);
        let len = len.min(u32::try_from(rest).unwrap_or(u32::MAX));
        if len == 0 {
            return reply.data(&[]);
        }
        if let Err(error) = self.check(offset, len.into(), Errno::EINVAL) {
            return reply.error(error);
        }
        self.run(
            |export| async move { export.read(offset, len).await },
            move |result| match result {
                Ok(data) => reply.data(&data),
                Err(error) => reply.error(error),
            },
        );
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if let Err(error) = self.check(offset, data.len() as u64, Errno::ENOSPC) {
            return reply.error(error);
        }
        let data = Bytes::copy_from_slice(data);
        let len = data.len() as u32;
        self.run(
            move |export| async move { export.write(offset, data, false).await },
            move |result| match result {
                Ok(()) => reply.written(len),
                Err(error) => reply.error(error),
            },
        );
    }

    /// Closing a descriptor makes nothing durable.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.run(|export| async move { export.flush().await }, done(reply));
    }

    /// A loop device's discards and zeroes. Both must read as zeros afterwards, which a TRIM does not promise.
    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = FallocateFlags::from_bits_retain(mode) - FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let no_hole = mode == FallocateFlags::FALLOC_FL_ZERO_RANGE;
        if !no_hole && mode != FallocateFlags::FALLOC_FL_PUNCH_HOLE {
            return reply.error(Errno::EOPNOTSUPP);
        }
        if let Err(error) = self.check(offset, len, Errno::ENOSPC) {
            return reply.error(error);
        }
        let options = ZeroOptions { no_hole, ..ZeroOptions::default() };
        self.run(move |export| async move { export.write_zeroes(offset, len, options).await }, done(reply));
    }
}
