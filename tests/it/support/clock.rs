//! A clock that jumps, for one program: its day and hour, and not what it measures time with.
//!
//! So it is on a machine whose clock is set while programs run. libfaketime, which is loaded into
//! the program, adds what a file says to every answer of the kernel; times of files stay what
//! they are.

use std::path::{Path, PathBuf};

use super::lighterman::Lighterman;

/// The library for programs with several threads, in the folder of whatever machine this is.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// Where the library keeps things for each process, which stay when one is killed.
const SHARED: &str = "/dev/shm";

/// A clock in the hands of a test.
#[derive(Debug)]
pub(crate) struct Clock {
    file: PathBuf,
    /// Hours by which it is ahead.
    pub(crate) ahead: i64,
    processes: Vec<u32>,
}

impl Clock {
    /// One that is right as yet, and says so in this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let mut clock = Self { file: folder.join("clock"), ahead: 0, processes: Vec::new() };
        clock.set(0);
        clock
    }

    /// Makes it so many hours fast, or slow, from now on.
    pub(crate) fn set(&mut self, ahead: i64) {
        self.ahead = ahead;
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{ahead:+}h\n")).expect("a writable folder");
        // Whoever reads it never finds half of it.
        std::fs::rename(new, &self.file).expect("a folder of ours");
    }

    /// Gives it to all that this user starts.
    pub(crate) fn given_to<'a>(&self, user: Lighterman<'a>) -> Lighterman<'a> {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        user.with("LD_PRELOAD", &text(&library()))
            .with("FAKETIME_TIMESTAMP_FILE", &text(&self.file))
            .with("FAKETIME_NO_CACHE", "1")
            .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .with("NO_FAKE_STAT", "1")
    }

    /// Remembers a process that has it, so that nothing of that is left in the end.
    pub(crate) fn note(&mut self, process: u32) {
        self.processes.push(process);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        for process in &self.processes {
            for name in [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")] {
                // One that ended by itself has removed them.
                let _ = std::fs::remove_file(Path::new(SHARED).join(name));
            }
        }
    }
}

fn library() -> PathBuf {
    let folders = ["/usr/lib", "/usr/local/lib"].iter().flat_map(std::fs::read_dir).flatten().flatten();
    let mut found = folders.map(|folder| folder.path().join(LIBRARY)).filter(|file| file.is_file());
    found.next().unwrap_or_else(|| {
        panic!("libfaketime is not installed: run `apt-get install libfaketime`, or `tests/run`, which installs it")
    })
}
