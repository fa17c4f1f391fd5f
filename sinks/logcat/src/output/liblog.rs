//! Android's liblog, looked up at run time.
//! Never linked, and never closed: other threads of the host may be in it.

use std::ffi::{CStr, c_char, c_int};
use std::io;

use crate::lines::Severity;

/// Where the library is looked for, in this order. Outside Android, `liblog.so` without a version might be anybody's.
const NAMES: &[&CStr] = &[
    #[cfg(target_os = "android")]
    c"liblog.so",
    #[cfg(not(target_os = "android"))]
    c"liblog.so.0",
    // Debian's android-liblog is beside the linker's path.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    c"/usr/lib/x86_64-linux-gnu/android/liblog.so.0",
    #[cfg(all(target_os = "linux", target_arch = "x86"))]
    c"/usr/lib/i386-linux-gnu/android/liblog.so.0",
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    c"/usr/lib/aarch64-linux-gnu/android/liblog.so.0",
    #[cfg(all(target_os = "linux", target_arch = "arm"))]
    c"/usr/lib/arm-linux-gnueabihf/android/liblog.so.0",
    #[cfg(all(target_os = "linux", target_arch = "riscv64"))]
    c"/usr/lib/riscv64-linux-gnu/android/liblog.so.0",
];

/// `crate::TAG` for C.
const TAG: &CStr = c"Leakline";

/// `ANDROID_LOG_INFO` and `ANDROID_LOG_WARN` of android/log.h.
const INFO: c_int = 4;
const WARN: c_int = 5;

type LogWrite = unsafe extern "C" fn(c_int, *const c_char, *const c_char) -> c_int;

/// The open library.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Liblog {
    write: LogWrite,
}

impl Liblog {
    /// Opens the library; `None` where there is none, or where it lacks `__android_log_write`.
    pub(crate) fn open() -> Option<Self> {
        NAMES.iter().find_map(|name| {
            // SAFETY: `name` is a C string. The library's constructors are the system's own; nothing of ours is shared.
            let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            if handle.is_null() {
                return None;
            }
            // SAFETY: `handle` is open and stays so: it is never closed.
            let symbol = unsafe { libc::dlsym(handle, c"__android_log_write".as_ptr()) };
            if symbol.is_null() {
                return None;
            }
            // SAFETY: android/log.h declares the function of this name with this signature, unchanged since API 3.
            let write = unsafe { std::mem::transmute::<*mut libc::c_void, LogWrite>(symbol) };
            Some(Self { write })
        })
    }

    /// Hands one line to the log.
    pub(crate) fn write(&self, severity: Severity, text: &CStr) -> io::Result<()> {
        let priority = match severity {
            Severity::Info => INFO,
            Severity::Warn => WARN,
        };
        // SAFETY: tag and text are C strings that outlive the call; liblog copies what it keeps.
        let answer = unsafe { (self.write)(priority, TAG.as_ptr(), text.as_ptr()) };
        // -EPERM: the user has this tag filtered out, which is no failure.
        if answer >= 0 || answer == -libc::EPERM {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(answer.saturating_neg()))
    }
}
