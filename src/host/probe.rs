//! Runs a test program from memory, in a child process of its own.
//!
//! The file is a memfd, so that nothing is written anywhere and no mount option gets
//! in the way, and it is started by execveat(2) itself: the exec functions of libc and
//! std fall back to `/bin/sh` on ENOEXEC, which is the very answer that is wanted here.
//!
//! Both ends of a socket pair watch the child. Its end stays open in whatever it becomes,
//! so that the parent sees either the errno of a failed exec or the end of the program,
//! and waits for that no longer than [`TIMEOUT`].

use std::ffi::{CStr, CString, c_char};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::source::Probe;

/// How long a test program may take. An emulator needs some ten milliseconds to start
/// on a fast machine; a loaded single-board computer may need a hundred times that.
const TIMEOUT: Duration = Duration::from_secs(5);

const NAME: &CStr = c"lighterman-probe";

/// Runs the ELF file and says how it ended.
pub(super) fn run(program: &[u8]) -> Probe {
    run_within(program, TIMEOUT)
}

/// The same with another limit.
pub(super) fn run_within(program: &[u8], limit: Duration) -> Probe {
    let child = match Child::start(program) {
        Ok(child) => child,
        Err(error) => return Probe::NotTried(error.to_string()),
    };
    let deadline = Instant::now() + limit;
    let report = child.report(deadline);
    child.end(report)
}

/// What the child's end of the socket pair said.
enum Report {
    /// exec failed with this error number.
    ExecFailed(i32),
    /// Nobody holds the child's end any more: the program is over.
    Closed,
    /// Neither, in time.
    Silent,
}

struct Child {
    pid: Pid,
    watch: UnixStream,
}

impl Child {
    fn start(program: &[u8]) -> io::Result<Self> {
        let file = in_memory(program)?;
        let (watch, report) = UnixStream::pair()?;
        let null = OpenOptions::new().read(true).write(true).open("/dev/null").ok();
        let program = file.as_raw_fd();
        let path = CString::new(format!("/proc/self/fd/{program}"))?;
        let null = null.as_ref().map(AsRawFd::as_raw_fd);
        let stage = Stage { program, path, report: report.as_raw_fd(), null };
        let pid = spawn(&stage)?;
        Ok(Self { pid, watch })
    }

    fn report(&self, deadline: Instant) -> Report {
        let mut errno = [0; 4];
        let mut have = 0;
        while have < errno.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.watch.set_read_timeout(Some(left)).is_err() {
                return Report::Silent;
            }
            match (&self.watch).read(&mut errno[have..]) {
                Ok(0) => return Report::Closed,
                Ok(count) => have += count,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted) => {}
                Err(_) => return Report::Silent,
            }
        }
        Report::ExecFailed(i32::from_ne_bytes(errno))
    }

    /// Reaps the child, after killing it and what it started. That does nothing to one that ended
    /// by itself: a process closes its files after its exit code is fixed. One that goes on
    /// without the socket, or does not end in time, must not be waited for.
    fn end(self, report: Report) -> Probe {
        // It fails only if the child is gone, and then there is nothing to kill.
        let _ = killpg(self.pid, Signal::SIGKILL);
        let status = loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        match (report, status) {
            (Report::ExecFailed(libc::ENOEXEC), _) => Probe::NoExec,
            (Report::ExecFailed(errno), _) => Probe::Refused(errno),
            (Report::Silent, _) => Probe::TimedOut,
            (Report::Closed, Ok(WaitStatus::Exited(_, 0))) => Probe::Ran,
            (Report::Closed, Ok(WaitStatus::Exited(_, code))) => Probe::Exited(code),
            (Report::Closed, Ok(WaitStatus::Signaled(_, signal, _))) => Probe::Killed(signal as i32),
            (Report::Closed, other) => Probe::NotTried(format!("the child process was lost: {other:?}")),
        }
    }
}

/// The program as a file without a name.
fn in_memory(program: &[u8]) -> io::Result<File> {
    // Since Linux 6.3 a memfd may have to say that it is to be executed; older kernels do not know the flag.
    let executable = MFdFlags::from_bits_retain(MFdFlags::MFD_CLOEXEC.bits() | libc::MFD_EXEC);
    let created = match memfd_create(NAME, executable) {
        Err(Errno::EINVAL) => memfd_create(NAME, MFdFlags::MFD_CLOEXEC),
        other => other,
    };
    let mut file = File::from(created?);
    file.write_all(program)?;
    Ok(file)
}

/// File descriptors that the child needs.
struct Stage {
    program: RawFd,
    /// The program by name, for kernels and emulators without execveat(2).
    path: CString,
    report: RawFd,
    null: Option<RawFd>,
}

#[expect(unsafe_code, reason = "fork has no safe form")]
fn spawn(stage: &Stage) -> nix::Result<Pid> {
    // SAFETY: other threads may hold locks that stay locked in the child for ever; the
    // child calls nothing but async-signal-safe functions and never returns.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => become_program(stage),
    }
}

/// Turns the child into the test program, quietly: it reads and writes nothing, dumps
/// no core, inherits no blocked signal, and dies with its parent.
#[expect(unsafe_code, reason = "between fork and exec only plain system calls are allowed")]
fn become_program(stage: &Stage) -> ! {
    /// Seconds of CPU time; it ends a spinning emulator whose parent was killed.
    const CPU_SECONDS: libc::rlim_t = 10;
    let arguments: [*const c_char; 2] = [NAME.as_ptr(), std::ptr::null()];
    let environment: [*const c_char; 1] = [std::ptr::null()];
    // SAFETY: every call is a thin wrapper of a system call, allocates nothing and takes no
    // lock; all pointers are to locals or constants that outlive the call. What fails only
    // leaves the child less quiet, so that results are not looked at.
    unsafe {
        // A group of its own, so that one signal ends an emulator of several processes.
        libc::setsid();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        // 1, not 0: core handlers behind a pipe ignore 0, and the kernel stops at 1.
        let no_core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
        let cpu = libc::rlimit { rlim_cur: CPU_SECONDS, rlim_max: CPU_SECONDS };
        libc::setrlimit(libc::RLIMIT_CPU, &raw const cpu);
        for standard in 0..=2 {
            match stage.null {
                Some(null) => libc::dup2(null, standard),
                None => libc::close(standard),
            };
        }
        // binfmt_misc hands the emulator a path under /dev/fd, so the file has to stay open; the
        // report has to stay open until the end.
        libc::fcntl(stage.program, libc::F_SETFD, 0);
        libc::fcntl(stage.report, libc::F_SETFD, 0);
        libc::syscall(
            libc::SYS_execveat,
            stage.program,
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        if Errno::last() == Errno::ENOSYS {
            libc::execve(stage.path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        }
        let errno = Errno::last_raw();
        libc::write(stage.report, (&raw const errno).cast(), size_of::<i32>());
        libc::_exit(127)
    }
}
