//! Where lines go: liblog when the system has it, stderr otherwise. Never stdout, never a panic on a closed stream.

use std::io::Write;

/// The one tag of all lines.
pub(crate) const TAG: &str = "Leakline";

/// liblog cuts entries at 4,068 bytes with tag and header; a line that fits in this is never cut by it.
pub(crate) const MAX_LINE_BYTES: usize = 3900;

/// Where the lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogcatTarget {
    /// liblog where the system has it, stderr elsewhere.
    Auto,
    /// liblog; an error where it is missing.
    Liblog,
    /// stderr, in logcat's brief form: `I/Leakline: …`.
    Stderr,
    /// Nowhere.
    Off,
}

/// How much a line matters, by liblog's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    Info = 4,
    Warn = 5,
}

/// An open way out.
#[derive(Debug)]
pub(crate) enum Output {
    #[cfg(unix)]
    Liblog(liblog::Liblog),
    Stderr,
    Off,
    #[cfg(test)]
    Kept(std::sync::Arc<std::sync::Mutex<Vec<String>>>),
}

impl Output {
    /// Opens `target`; the error says where liblog was looked for.
    pub(crate) fn open(target: LogcatTarget) -> Result<Self, String> {
        match target {
            LogcatTarget::Off => Ok(Self::Off),
            LogcatTarget::Stderr => Ok(Self::Stderr),
            #[cfg(unix)]
            LogcatTarget::Auto => Ok(liblog::Liblog::find().map_or(Self::Stderr, Self::Liblog)),
            #[cfg(unix)]
            LogcatTarget::Liblog => liblog::Liblog::find().map(Self::Liblog).ok_or_else(|| {
                format!(
                    "no liblog on this system (Debian's package android-liblog has it): {}",
                    liblog::NAMES.join(", ")
                )
            }),
            #[cfg(not(unix))]
            LogcatTarget::Auto => Ok(Self::Stderr),
            #[cfg(not(unix))]
            LogcatTarget::Liblog => Err("there is no liblog on this system".to_owned()),
        }
    }

    /// Writes one line. What cannot be written is nobody's loss but the line's: a host without stderr stays unharmed.
    pub(crate) fn line(&self, priority: Priority, text: &str) {
        let text = fitting(text);
        match self {
            #[cfg(unix)]
            Self::Liblog(log) => log.write(priority, &text),
            Self::Stderr => {
                let letter = if priority == Priority::Warn { 'W' } else { 'I' };
                // One write, so that lines of several threads and processes do not mix.
                let _ = std::io::stderr().write_all(format!("{letter}/{TAG}: {text}\n").as_bytes());
            }
            Self::Off => {}
            #[cfg(test)]
            Self::Kept(lines) => lines.lock().unwrap().push(text),
        }
    }
}

/// `text` on one line, cut with `…` where it is too long for liblog.
fn fitting(text: &str) -> String {
    let mut line = text.replace(['\n', '\r', '\0'], " ");
    if line.len() > MAX_LINE_BYTES {
        let cut = (0..=MAX_LINE_BYTES).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(cut);
        line.push('…');
    }
    line
}

#[cfg(unix)]
mod liblog {
    //! Android's log library, found at run time.

    use std::ffi::{CStr, CString, c_char, c_int};

    use super::{Priority, TAG};

    /// Android's own name, and where Debian's package `android-liblog` keeps it.
    pub(super) const NAMES: [&str; 5] = [
        "liblog.so",
        "liblog.so.0",
        "/usr/lib/x86_64-linux-gnu/android/liblog.so.0",
        "/usr/lib/aarch64-linux-gnu/android/liblog.so.0",
        "/usr/lib/arm-linux-gnueabihf/android/liblog.so.0",
    ];

    type Write = unsafe extern "C" fn(c_int, *const c_char, *const c_char) -> c_int;

    #[derive(Debug)]
    pub(crate) struct Liblog {
        write: Write,
    }

    impl Liblog {
        pub(super) fn find() -> Option<Self> {
            NAMES.iter().find_map(|name| Self::open(&CString::new(*name).ok()?))
        }

        fn open(name: &CStr) -> Option<Self> {
            // SAFETY: `name` is NUL-terminated. The library stays open for good, as its function is kept.
            let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            if library.is_null() {
                return None;
            }
            // SAFETY: the handle is open and the name NUL-terminated.
            let write = unsafe { libc::dlsym(library, c"__android_log_write".as_ptr()) };
            if write.is_null() {
                return None;
            }
            // SAFETY: liblog declares `int __android_log_write(int prio, const char *tag, const char *text)`.
            Some(Self { write: unsafe { std::mem::transmute::<*mut libc::c_void, Write>(write) } })
        }

        pub(super) fn write(&self, priority: Priority, text: &str) {
            let (Ok(tag), Ok(text)) = (CString::new(TAG), CString::new(text)) else { return };
            // SAFETY: both strings are NUL-terminated and outlive the call. A failure (no log daemon) is no harm.
            unsafe { (self.write)(priority as c_int, tag.as_ptr(), text.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_fits_into_liblog() {
        assert_eq!(fitting("a\nb\0c"), "a b c");
        let long = fitting(&"é".repeat(MAX_LINE_BYTES));
        assert!(long.len() <= MAX_LINE_BYTES + '…'.len_utf8() && long.ends_with('…'));
    }

    /// Debian's liblog writes to stderr, so a child process writes and its stderr is read.
    #[test]
    fn the_real_liblog_takes_a_line() {
        if std::env::var_os("LOGCAT_TEST_CHILD").is_some() {
            Output::open(LogcatTarget::Liblog).unwrap().line(Priority::Warn, "through the real library");
            return;
        }
        if liblog::Liblog::find().is_none() {
            println!("skipped: no liblog here (Debian's package android-liblog has it)");
            return;
        }
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "output::tests::the_real_liblog_takes_a_line", "--nocapture"])
            .env("LOGCAT_TEST_CHILD", "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&child.stderr);
        assert!(stderr.contains(TAG) && stderr.contains("through the real library"), "{stderr}");
    }
}
