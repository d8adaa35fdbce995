//! Making what an entry stands for. The new file is tried first; only when its name turns
//! out to be taken, what has it is looked at and removed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, fallocate, ftruncate, linkat, makedev, mkdirat, mknodat, openat,
    statat, symlinkat,
};
use rustix::io::{Errno, pwrite};

use super::budget::fits;
use super::dress::{Meta, Place, Was, dress};
use super::path::{join, push, split};
use super::{Fate, Shown, Tree, TreeError};
use crate::unpack::archive::{Entry, Kind, Sink};

/// Larger files get their blocks at once: faster, and in one piece.
const ALLOCATED: u64 = 1024 * 1024;
/// But not more than this on the word of a header, which nobody has verified yet.
const ALLOCATED_AT_MOST: u64 = 64 * 1024 * 1024;
/// Permission bits that the kernel takes over from a new directory's mode.
const DIRECTORY_BITS: u32 = 0o1777;
/// Likewise for other files. Special bits are set when owner and content are there.
const FILE_BITS: u32 = 0o777;

/// A regular file that is being written.
#[derive(Debug)]
pub(super) struct OpenFile {
    fd: OwnedFd,
    meta: Meta,
    size: u64,
    /// As far as the file reaches.
    length: u64,
}

impl Sink for Tree {
    type Error = TreeError;

    fn entry(&mut self, entry: Entry) -> Result<(), TreeError> {
        self.budget.enter()?;
        self.room.make(self.spine.root())?;
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        push(&mut name, &entry.path);
        let result = if name.is_empty() { Ok(()) } else { self.take(&name, entry) };
        self.name = name;
        result
    }

    fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<(), TreeError> {
        let Some(file) = &mut self.open else { return Ok(()) };
        self.room.write(&file.fd, bytes.len() as u64)?;
        write_all(file.fd.as_fd(), offset, bytes).map_err(|errno| TreeError::io("write", &file.meta.path, errno))?;
        file.length = file.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn end_entry(&mut self) -> Result<(), TreeError> {
        let Some(OpenFile { fd, meta, size, length }) = self.open.take() else { return Ok(()) };
        let place = Place::Open(fd.as_fd());
        if length != size {
            ftruncate(&fd, size).map_err(|errno| TreeError::io("write", &meta.path, errno))?;
        }
        dress(place, &meta, Was::Made(FILE_BITS), &self.fresh)?;
        place.set_times(&meta.times).map_err(|errno| TreeError::io("set the times of", &meta.path, errno))
    }
}

impl Tree {
    /// Takes an entry with this clean path, which is not the root.
    fn take(&mut self, name: &[u8], entry: Entry) -> Result<(), TreeError> {
        let (parent, base) = split(name);
        if !fits(parent, base) {
            return Err(TreeError::too_long(&entry.path));
        }
        self.go_to(parent, &entry.path)?;
        if !fits(self.spine.path(), base) {
            return Err(TreeError::too_long(&entry.path));
        }
        if self.whiteout(base, &entry)? {
            return Ok(());
        }
        let (meta, kind) = Meta::new(entry);
        match kind {
            Kind::File { size } => self.file(base, meta, size),
            Kind::Directory => self.directory(name, &meta),
            Kind::HardLink(target) => self.hard_link(base, &meta, &target),
            Kind::Symlink(target) => self.symlink(base, &meta, &target),
            Kind::Char { major, minor } => self.node(base, &meta, FileType::CharacterDevice, (major, minor)),
            Kind::Block { major, minor } => self.node(base, &meta, FileType::BlockDevice, (major, minor)),
            Kind::Fifo => self.node(base, &meta, FileType::Fifo, (0, 0)),
            Kind::Global => {
                self.clear(base, &meta.path)?;
                self.remember_unpacked(base)
            }
            Kind::Unsupported { flag } => {
                Err(TreeError::Unsupported { path: Shown::new(&meta.path), flag: char::from(flag) })
            }
        }
    }

    /// Makes something new by `call`, in place of whatever has its name.
    fn make<T>(
        &mut self,
        base: &[u8],
        meta: &Meta,
        call: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, TreeError> {
        let fail = |errno| TreeError::io("create", &meta.path, errno);
        match call(self.spine.here()) {
            Err(Errno::EXIST) => {
                self.clear(base, &meta.path)?;
                call(self.spine.here()).map_err(fail)
            }
            result => result.map_err(fail),
        }
    }

    fn file(&mut self, base: &[u8], meta: Meta, size: u64) -> Result<(), TreeError> {
        self.budget.write(size)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(meta.mode & FILE_BITS);
        let fd = self.make(base, &meta, |dir| openat(dir, base, flags, mode))?;
        let mut length = 0;
        if size > ALLOCATED {
            let ahead = size.min(ALLOCATED_AT_MOST);
            self.room.require(&fd, ahead)?;
            match fallocate(&fd, FallocateFlags::empty(), 0, ahead) {
                Ok(()) => length = ahead,
                // Not every file system can.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(errno) => return Err(TreeError::io("write", &meta.path, errno)),
            }
        }
        self.open = Some(OpenFile { fd, meta, size, length });
        Ok(())
    }

    /// A directory joins one that is there already. Its times are set when the tree is whole.
    fn directory(&mut self, name: &[u8], meta: &Meta) -> Result<(), TreeError> {
        let (_, base) = split(name);
        let mode = Mode::from_raw_mode(meta.mode & DIRECTORY_BITS);
        let fail = |errno| TreeError::io("create", &meta.path, errno);
        let mut was = Was::Made(DIRECTORY_BITS);
        match mkdirat(self.spine.here(), base, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(self.spine.here(), base, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    was = Was::Found(stat);
                    if let Some((fate @ Fate::Kept, _)) = self.implied.get_mut(&join(self.spine.path(), base)) {
                        *fate = Fate::Explicit;
                    }
                } else {
                    self.clear(base, &meta.path)?;
                    mkdirat(self.spine.here(), base, mode).map_err(fail)?;
                }
            }
            Err(errno) => return Err(fail(errno)),
        }
        dress(Place::Name(self.spine.here(), base), meta, was, &self.fresh)?;
        if meta.is_inherited() {
            self.fresh.doubt();
        }
        self.dates.push(name, &meta.times).map_err(TreeError::dates)?;
        self.remember_unpacked(base)
    }

    fn symlink(&mut self, base: &[u8], meta: &Meta, target: &[u8]) -> Result<(), TreeError> {
        // Its own name may be at fault as well, but only if the target is none.
        const UNFIT: [Errno; 3] = [Errno::NOENT, Errno::INVAL, Errno::NAMETOOLONG];
        let call = |dir: BorrowedFd<'_>| match symlinkat(target, dir, base) {
            Err(errno) if UNFIT.contains(&errno) => Ok(Some(errno)),
            result => result.map(|()| None),
        };
        if let Some(errno) = self.make(base, meta, call)? {
            return Err(TreeError::SymlinkTarget { path: Shown::new(&meta.path), source: errno.into() });
        }
        self.finish_named(base, meta, Was::Symlink)
    }

    fn node(&mut self, base: &[u8], meta: &Meta, kind: FileType, number: (u32, u32)) -> Result<(), TreeError> {
        let mode = Mode::from_raw_mode(meta.mode & FILE_BITS);
        let device = device(number);
        self.make(base, meta, |dir| mknodat(dir, base, kind, mode, device))?;
        self.finish_named(base, meta, Was::Made(FILE_BITS))
    }

    /// The target's own last name is not followed: a link to a symbolic link is one more of it.
    fn hard_link(&mut self, base: &[u8], meta: &Meta, target: &[u8]) -> Result<(), TreeError> {
        let fail = |errno: Errno| match errno {
            Errno::NOENT | Errno::PERM | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => {
                TreeError::LinkTarget { path: Shown::new(&meta.path), target: Shown::new(target), source: errno.into() }
            }
            errno => TreeError::io("create", &meta.path, errno),
        };
        let (dir, name) = self.find_target(target, &meta.path)?.map_err(fail)?;
        let link = |here: BorrowedFd<'_>| linkat(dir.as_fd(), &name, here, base, AtFlags::empty());
        match link(self.spine.here()) {
            Err(Errno::EXIST) => {
                self.clear(base, &meta.path)?;
                link(self.spine.here()).map_err(fail)?;
            }
            result => result.map_err(fail)?,
        }
        let stat = statat(self.spine.here(), base, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        self.finish_named(base, meta, Was::Linked(stat))
    }

    /// The directory and name that a hard link's target stands for. What leads to the root or
    /// out of it stands for the root, which nothing can be linked to.
    fn find_target(&self, target: &[u8], entry: &[u8]) -> Result<Result<(OwnedFd, Vec<u8>), Errno>, TreeError> {
        let (parent, base) = split(target);
        let literal = join(&[], parent);
        let is_plain = !matches!(base, b"" | b"." | b"..");
        if is_plain
            && literal == parent
            && let Ok(dir) = self.spine.reach(parent)
        {
            return Ok(Ok((dir, base.to_vec())));
        }
        let path = join(&self.resolve(parent, entry)?, base);
        let (parent, base) = split(&path);
        if base.is_empty() {
            return Ok(Err(Errno::PERM));
        }
        Ok(self.spine.reach(parent).map(|dir| (dir, base.to_vec())))
    }

    /// Everything else than directories and regular files.
    fn finish_named(&self, base: &[u8], meta: &Meta, was: Was) -> Result<(), TreeError> {
        let place = Place::Name(self.spine.here(), base);
        dress(place, meta, was, &self.fresh)?;
        place.set_times(&meta.times).map_err(|errno| TreeError::io("set the times of", &meta.path, errno))
    }
}

/// Linux keeps 12 bits of the major and 20 of the minor number, and so does containerd's call.
fn device((major, minor): (u32, u32)) -> u64 {
    makedev(major & 0xfff, minor & 0xf_ffff)
}

fn write_all(fd: BorrowedFd<'_>, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
