//! Names of functions where they are cheap: those that objects export, by the loader's own look-up, so many at a reading.
//! All others are told from the objects' files, by whoever shows a recording.

use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::unwind::objects::Objects;

/// The loader goes through all of an object's names for one answer: some microseconds, in a JVM's library a hundred.
const AT_A_READING: Duration = Duration::from_millis(1);

/// The names that were asked for.
#[derive(Debug)]
pub(super) struct Names {
    until: Option<Instant>,
    by_address: HashMap<usize, Option<Arc<str>>>,
    own: (usize, usize),
    parts: Vec<(usize, usize)>,
}

impl Default for Names {
    fn default() -> Self {
        Self { until: None, by_address: HashMap::new(), own: own_code(), parts: Vec::new() }
    }
}

impl Names {
    /// Another reading.
    pub(super) fn begin(&mut self) {
        self.until = Some(Instant::now() + AT_A_READING);
    }

    /// Forgets the names: frames have those that are in use.
    pub(super) fn forget(&mut self) {
        self.by_address = HashMap::new();
    }

    /// The name of the exported function that `address` lies in; `None` also when it would take too long to ask.
    pub(super) fn exported(&mut self, address: usize) -> Option<Arc<str>> {
        if self.until.is_none_or(|until| Instant::now() > until) {
            return None;
        }
        self.by_address.entry(address).or_insert_with(|| look_up(address)).clone()
    }

    /// Objects were loaded or unloaded.
    pub(super) fn look_at(&mut self, objects: &Objects) {
        let parts = objects.all().filter(|object| is_part(&object.path));
        self.parts = parts.map(|object| (object.start, object.end)).collect();
    }

    /// Whether it is code of another library of leakline's, which stands between an interpreter and malloc.
    pub(super) fn is_part(&self, address: usize) -> bool {
        is_passed_over(address) || self.parts.iter().any(|(start, end)| (*start..*end).contains(&address))
    }

    /// Whether it is code of leakline's library that does something of leakline's. Never when that is the program itself.
    pub(super) fn is_own(&self, address: usize) -> bool {
        (self.own.0..self.own.1).contains(&address) && !is_passed_over(address)
    }
}

/// Code of ours that passes the host's calls on: what is called through it is the host's doing.
static PASSED_OVER: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Has frames at these addresses, of functions that pass the host's calls on, be left out of call paths. Otherwise a path
/// with code of leakline's in it is leakline's own.
pub fn pass_over(addresses: std::ops::Range<usize>) {
    PASSED_OVER[0].store(addresses.start, Relaxed);
    PASSED_OVER[1].store(addresses.end, Relaxed);
}

fn is_passed_over(address: usize) -> bool {
    let [start, end] = PASSED_OVER.each_ref().map(|bound| bound.load(Relaxed));
    // An address that a call returns to may be the one after the function's last.
    address > start && address <= end
}

/// Whether it is another library of leakline's.
pub(super) fn is_part(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("libleakline_"))
}

fn look_up(address: usize) -> Option<Arc<str>> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr only compares the address, and `info` is ours to write.
    if unsafe { libc::dladdr(address as *const _, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: zeros are valid, and dladdr filled it.
    let info = unsafe { info.assume_init() };
    if info.dli_sname.is_null() {
        return None;
    }
    // SAFETY: the loader's own string, as long as the object is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_sname) };
    Some(Arc::from(name.to_string_lossy().as_ref()))
}

/// The addresses of this library; none when it is linked into the program.
fn own_code() -> (usize, usize) {
    let objects = Objects::of_process();
    let own = own_code as *const () as usize;
    let program = std::env::current_exe().ok();
    match objects.find(own) {
        Some((object, _)) if program.as_deref() != Some(std::path::Path::new(&*object.path)) => {
            (object.start, object.end)
        }
        _ => (0, 0),
    }
}
