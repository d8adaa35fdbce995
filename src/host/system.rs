//! This machine.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use nix::libc;

use super::arch;
use super::probe;
use super::program::Program;
use super::source::{Auxv, CpuidRegisters, Hwprobe, Probe, Source, Uname};

/// The machine that this program runs on.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
}

impl Default for System {
    fn default() -> Self {
        Self::with_root("/")
    }
}

impl System {
    /// The machine, with `/proc`, `/sys` and interpreters looked up under another root;
    /// in a container, where the host's root file system is mounted.
    #[must_use]
    pub fn with_root(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Source for System {
    fn process_architecture(&self) -> &str {
        arch::PROCESS
    }

    fn uname(&self) -> Uname {
        let text = |field: &std::ffi::OsStr| field.to_string_lossy().into_owned();
        nix::sys::utsname::uname()
            .map(|uname| Uname { machine: text(uname.machine()), release: text(uname.release()) })
            .unwrap_or_default()
    }

    fn auxv(&self) -> Auxv {
        Auxv {
            platform: at_platform(),
            hwcap: getauxval(libc::AT_HWCAP),
            hwcap2: getauxval(libc::AT_HWCAP2),
            page_size: getauxval(libc::AT_PAGESZ),
        }
    }

    fn personality(&self) -> Option<u32> {
        personality()
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<CpuidRegisters> {
        x86::cpuid(leaf, subleaf)
    }

    fn xcr0(&self) -> Option<u64> {
        x86::xcr0()
    }

    fn hwprobe(&self) -> Option<Hwprobe> {
        riscv::hwprobe()
    }

    fn read(&self, path: &str, limit: usize) -> io::Result<String> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        File::open(self.path(path))?.take(limit).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        fs::read_dir(self.path(path))?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    fn probe(&self, program: &Program) -> Probe {
        probe::run(&program.bytes())
    }
}

#[expect(unsafe_code, reason = "std and nix have no getauxval")]
fn getauxval(key: libc::c_ulong) -> u64 {
    // SAFETY: getauxval takes any key and only reads the process's own auxiliary vector.
    let value = unsafe { libc::getauxval(key) };
    // c_ulong is 32 bits wide on 32-bit targets.
    #[allow(clippy::useless_conversion, reason = "not useless on 32-bit targets")]
    u64::from(value)
}

#[expect(unsafe_code, reason = "AT_PLATFORM is a pointer")]
fn at_platform() -> Option<String> {
    // SAFETY: getauxval takes any key and only reads the process's own auxiliary vector.
    let pointer = unsafe { libc::getauxval(libc::AT_PLATFORM) } as *const libc::c_char;
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the kernel put a NUL-terminated string there, which lives as long as the process.
    let text = unsafe { std::ffi::CStr::from_ptr(pointer) };
    Some(text.to_string_lossy().into_owned())
}

#[expect(unsafe_code, reason = "nix hides the execution domain, which is what is asked for")]
fn personality() -> Option<u32> {
    // SAFETY: this argument asks for the personality and changes nothing.
    u32::try_from(unsafe { libc::personality(0xffff_ffff) }).ok()
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
mod x86 {
    #[cfg(target_arch = "x86")]
    use std::arch::x86 as intrinsics;
    #[cfg(target_arch = "x86_64")]
    use std::arch::x86_64 as intrinsics;

    use super::CpuidRegisters;

    #[allow(unused_unsafe, unsafe_code, reason = "cpuid is unsafe before Rust 1.94 only")]
    pub(super) fn cpuid(leaf: u32, subleaf: u32) -> Option<CpuidRegisters> {
        // SAFETY: every CPU that Rust's x86 targets run on has cpuid.
        let result = unsafe { intrinsics::__cpuid_count(leaf, subleaf) };
        Some(CpuidRegisters { eax: result.eax, ebx: result.ebx, ecx: result.ecx, edx: result.edx })
    }

    pub(super) fn xcr0() -> Option<u64> {
        const OSXSAVE: u32 = 1 << 27;
        if cpuid(1, 0)?.ecx & OSXSAVE == 0 {
            return None;
        }
        Some(xgetbv())
    }

    #[expect(unsafe_code, reason = "no safe way to execute xgetbv")]
    fn xgetbv() -> u64 {
        #[target_feature(enable = "xsave")]
        fn read() -> u64 {
            // SAFETY: register 0 exists wherever xgetbv does.
            unsafe { intrinsics::_xgetbv(0) }
        }
        // SAFETY: the caller saw OSXSAVE, so that the CPU and the kernel allow xgetbv.
        unsafe { read() }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
mod x86 {
    use super::CpuidRegisters;

    pub(super) fn cpuid(_leaf: u32, _subleaf: u32) -> Option<CpuidRegisters> {
        None
    }

    pub(super) fn xcr0() -> Option<u64> {
        None
    }
}

#[cfg(target_arch = "riscv64")]
mod riscv {
    use nix::libc;

    use super::Hwprobe;

    /// riscv_hwprobe(2), which libc does not name.
    const SYS_RISCV_HWPROBE: libc::c_long = 258;

    #[repr(C)]
    struct Pair {
        key: i64,
        value: u64,
    }

    #[expect(unsafe_code, reason = "a system call without a wrapper")]
    pub(super) fn hwprobe() -> Option<Hwprobe> {
        let mut pairs = [Pair { key: 3, value: 0 }, Pair { key: 4, value: 0 }];
        // SAFETY: the kernel writes the pairs in place, as many as the count says; a null
        // set of CPUs with size 0 means all of them, and no flags are defined.
        let result = unsafe {
            libc::syscall(
                SYS_RISCV_HWPROBE,
                pairs.as_mut_ptr(),
                pairs.len(),
                0usize,
                std::ptr::null_mut::<libc::c_ulong>(),
                0u32,
            )
        };
        // A key that the kernel does not know comes back as -1.
        let value = |pair: &Pair| if pair.key < 0 { 0 } else { pair.value };
        (result == 0).then(|| Hwprobe { base_behavior: value(&pairs[0]), ima_extensions: value(&pairs[1]) })
    }
}

#[cfg(not(target_arch = "riscv64"))]
mod riscv {
    use super::Hwprobe;

    pub(super) fn hwprobe() -> Option<Hwprobe> {
        None
    }
}
