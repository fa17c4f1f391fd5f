//! The Python part as the agent calls it: requests go out, answers come back as values.
//! Knows no Python; never waits for anything but the call itself.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use leakline_core::ProbeError;
use leakline_probing::across;
use leakline_probing::imports;
use leakline_probing::joined::{self, Joined, Told};
use leakline_probing::loader::{self, LoadedObject};

use crate::find::CPython;
use crate::wire::{
    ABI, CensusAnswer, CensusRequest, ENTRY, Entry, GaugeValues, HostTable, Interpreter, ProfileAnswer,
    ProfileRequest, Reached, Request, Response, Sampling, SitesAnswer, SitesRequest, SlowGaugeValues, Table,
    ToldFrame, Tracing, Wanted, Window, decode, encode,
};

/// Most parts of the interpreter's loop: another runtime is to have room beside them.
const LOOPS: usize = 2;

type OnClosing = Arc<dyn Fn() + Send + Sync>;

static ON_CLOSING: Mutex<Option<OnClosing>> = Mutex::new(None);
/// The table of the Python part, once it was loaded: a second part would have a second heap and gate.
static LOADED: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());

/// Sets what is done when the interpreter is about to end, while it can still be read. It is called on the thread that
/// ends the interpreter, which holds no GIL meanwhile, and is held up until it returns: so it must wait for nothing
/// without a bound.
pub fn set_on_closing(call: Box<dyn Fn() + Send + Sync>) {
    *ON_CLOSING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::from(call));
}

/// Bytes that the Python part holds in its own heap; 0 until it is loaded.
pub fn held_bytes() -> u64 {
    Part::loaded().map_or(0, |part| (part.0.held_bytes)())
}

/// The library that has CPython, where its names are not visible to everybody.
static LIBPYTHON: OnceLock<LoadedObject> = OnceLock::new();

/// Looks a name up for the Python part.
unsafe extern "C" fn symbol(name: *const c_char) -> *mut c_void {
    // SAFETY: the Python part passes a name that ends with a NUL and lives until the call returns.
    let name = unsafe { CStr::from_ptr(name) };
    let found = LIBPYTHON.get().and_then(|library| library.symbol(name)).or_else(|| loader::symbol(name));
    found.map_or(std::ptr::null_mut(), NonNull::as_ptr)
}

/// Gives the Python part the names of CPython that its loader did not, and tells how many.
fn bind(python: &CPython, entry: NonNull<c_void>) -> Result<usize, String> {
    let of_python = |name: &[u8]| name.starts_with(b"Py") || name.starts_with(b"_Py");
    imports::bind(entry.as_ptr() as usize, of_python, |name| python.symbol(name))
}

/// Has native call paths continued by Python's, where the interpreter's loop can be told from other code: by its name.
fn join(table: &Table, python: &CPython) {
    if let Some(code) = python.symbol(c"_PyEval_EvalFrameDefault").and_then(loader::range_of) {
        joined::join(Joined { code, walk: table.walk, keep: table.keep, tell });
    }
}

/// The parts of the loop that have no name of their own.
fn join_parts(table: &Table) {
    let mut parts = [[0; 2]; LOOPS];
    // SAFETY: there is room for as many.
    let count = unsafe { (table.loops)(parts.as_mut_ptr(), parts.len()) };
    for [start, end] in parts.into_iter().take(count) {
        let is_known = joined::all().any(|known| known.code.0 <= start && end <= known.code.1);
        if !is_known {
            joined::join(Joined { code: (start, end), walk: table.walk, keep: table.keep, tell });
        }
    }
}

/// See [`across::Search`].
fn search(wanted: &Wanted) -> Result<Reached, String> {
    let part = Part::loaded().ok_or("there is no Python")?;
    match part.call(&Request::Across(wanted.clone())).map_err(|error| error.to_string())? {
        Response::Across(reached) => Ok(reached),
        other => Err(unexpected(other).to_string()),
    }
}

fn tell(numbers: &[u64]) -> Vec<Option<Told>> {
    let Some(Part(table)) = Part::loaded() else { return Vec::new() };
    // SAFETY: the numbers live until the call returns.
    let answer = unsafe { (table.tell)(numbers.as_ptr(), numbers.len()) };
    if answer.data.is_null() {
        return Vec::new();
    }
    // SAFETY: the answer is that many bytes, ours until they are given back below.
    let bytes = unsafe { std::slice::from_raw_parts(answer.data, answer.length) };
    let told = decode::<Vec<Option<ToldFrame>>>(bytes).unwrap_or_default();
    // SAFETY: it came from this table, and `bytes` is not used any more.
    unsafe { (table.free)(answer) };
    let told = told.into_iter();
    told.map(|frame| frame.map(|ToldFrame { function, file, line }| Told { function, file, line })).collect()
}

extern "C" fn on_closing() {
    let call = ON_CLOSING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(call) = call {
        // The panic's message went wherever the host sends those; there is nobody to hand it to.
        catch_unwind(AssertUnwindSafe(|| call())).ok();
    }
}

/// The Python part, loaded for good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part(&'static Table);

impl Part {
    /// The one that was loaded before.
    pub(crate) fn loaded() -> Option<Self> {
        // SAFETY: `load` stored null or a table that lives as long as the process, because its library is never unloaded.
        unsafe { LOADED.load(Ordering::Acquire).as_ref() }.map(Self)
    }

    /// Loads it from `path` for `python`, unless one is loaded already.
    ///
    /// Where its imports of CPython are weak, they are given to it after that, from the very library that has them.
    /// Otherwise the loader must find them, and a private libpython is made visible to everybody for that.
    pub(crate) fn load(path: &Path, python: &CPython) -> Result<Self, ProbeError> {
        if let Some(part) = Self::loaded() {
            return Ok(part);
        }
        let failed = |reason: String| {
            ProbeError::failed("loading leakline's Python part", format!("{reason}: {}", path.display()))
        };
        let library = match LoadedObject::load(path) {
            Err(_) if python.library().is_some() => {
                python.promote()?;
                LoadedObject::load(path).map_err(failed)?
            }
            library => library.map_err(failed)?,
        };
        if let Some(libpython) = python.library() {
            // There is one; a second would need a second Python part.
            LIBPYTHON.get_or_init(|| libpython.clone());
        }
        let entry = library.symbol(ENTRY).ok_or_else(|| failed("it is another library".to_owned()))?;
        bind(python, entry).map_err(failed)?;
        // SAFETY: a library that exports this name has it with this signature, in every version of the ABI.
        let entry = unsafe { std::mem::transmute::<std::ptr::NonNull<std::ffi::c_void>, Entry>(entry) };
        // SAFETY: `on_closing` stays callable, because the agent is never unloaded while it watches.
        let table = unsafe { entry(ABI, HostTable { on_closing, symbol }) };
        // SAFETY: the entry gives null or a table in its library, which stays loaded.
        match unsafe { table.as_ref() } {
            Some(found) if found.abi == ABI => {
                // The thread that starts the interpreter and the lane may both come here; the library is the same.
                if LOADED.swap(table.cast_mut(), Ordering::AcqRel).is_null() {
                    leakline_probing::add_heap(held_bytes);
                    join(found, python);
                    across::offer(search);
                }
                Ok(Self(found))
            }
            _ => Err(failed("it belongs to another version of leakline".to_owned())),
        }
    }

    pub(crate) fn attach(self) -> Result<Interpreter, ProbeError> {
        match self.call(&Request::Attach)? {
            Response::Attached(interpreter) => Ok(interpreter),
            other => Err(unexpected(other)),
        }
    }

    /// Has allocations sampled: what is degraded; or why it cannot be.
    pub(crate) fn sample(self, sampling: Sampling) -> Result<Result<Option<String>, String>, ProbeError> {
        hooked(self.call(&Request::Sample(sampling))?)
    }

    /// Has every allocation recorded for a while: what is degraded; or why it cannot be.
    pub(crate) fn open_window(self, window: Window) -> Result<Result<Option<String>, String>, ProbeError> {
        hooked(self.call(&Request::OpenWindow(window))?)
    }

    /// Has no more recorded.
    pub(crate) fn end_window(self) -> Result<(), ProbeError> {
        self.close(&Request::EndWindow)
    }

    /// Has what was recorded forgotten.
    pub(crate) fn close_window(self) -> Result<(), ProbeError> {
        self.close(&Request::CloseWindow)
    }

    /// Stops tracing that was started by the part.
    pub(crate) fn stop_tracing(self) -> Result<(), ProbeError> {
        self.close(&Request::StopTracing)
    }

    fn close(self, request: &Request) -> Result<(), ProbeError> {
        match self.call(request)? {
            Response::Closed => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn sites(self, request: SitesRequest) -> Result<SitesAnswer, ProbeError> {
        match self.call(&Request::Sites(request))? {
            Response::Sites(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    /// Who traces now; or why nobody can, in CPython's words.
    pub(crate) fn start(self, frames: u16) -> Result<Result<Tracing, String>, ProbeError> {
        match self.call(&Request::Start { frames })? {
            Response::Tracing(tracing) => Ok(Ok(tracing)),
            Response::CannotTrace { reason } => Ok(Err(reason)),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn gauges(self) -> Result<GaugeValues, ProbeError> {
        match self.call(&Request::Gauges)? {
            Response::Gauges(values) => Ok(values),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn slow_gauges(self) -> Result<SlowGaugeValues, ProbeError> {
        match self.call(&Request::SlowGauges)? {
            Response::SlowGauges(values) => Ok(values),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn profile(self, request: ProfileRequest) -> Result<ProfileAnswer, ProbeError> {
        match self.call(&Request::Profile(request))? {
            Response::Profile(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn census(self, request: CensusRequest) -> Result<CensusAnswer, ProbeError> {
        match self.call(&Request::Census(request))? {
            Response::Census(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn detach(self) -> Result<(), ProbeError> {
        match self.call(&Request::Detach)? {
            Response::Detached => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// As [`Part::attach`] and then `begin`, for a thread that holds the GIL while the interpreter is starting.
    pub(crate) fn attach_in_start(self, begin: Option<Request>) -> Result<(), ProbeError> {
        match self.exchange(self.0.call_attached, &Request::Attach)? {
            Response::Attached(_) => {}
            other => return Err(unexpected(other)),
        }
        let Some(begin) = begin else { return Ok(()) };
        match self.exchange(self.0.call_attached, &begin)? {
            Response::Tracing(_) | Response::CannotTrace { .. } => Ok(()),
            other => hooked(other).map(drop),
        }
    }

    fn call(self, request: &Request) -> Result<Response, ProbeError> {
        self.exchange(self.0.call, request)
    }

    fn exchange(
        self,
        call: unsafe extern "C" fn(*const u8, usize) -> crate::wire::Answer,
        request: &Request,
    ) -> Result<Response, ProbeError> {
        let request = encode(request).map_err(|error| ProbeError::failed("asking Python", error))?;
        // SAFETY: `request` lives until the call returns, which never unwinds.
        let answer = unsafe { call(request.as_ptr(), request.len()) };
        if answer.data.is_null() {
            return Err(ProbeError::failed("asking Python", "no memory for the answer"));
        }
        // SAFETY: the answer is that many bytes, ours until they are given back below.
        let bytes = unsafe { std::slice::from_raw_parts(answer.data, answer.length) };
        let response = decode::<Response>(bytes);
        // SAFETY: it came from this table's call, and `bytes` is not used any more.
        unsafe { (self.0.free)(answer) };
        if matches!(response, Ok(Response::Hooked { .. })) {
            join_parts(self.0);
        }
        response.map_err(|error| ProbeError::failed("reading Python's answer", error))
    }
}

fn hooked(response: Response) -> Result<Result<Option<String>, String>, ProbeError> {
    match response {
        Response::Hooked { degraded } => Ok(Ok(degraded)),
        Response::CannotHook { reason } => Ok(Err(reason)),
        other => Err(unexpected(other)),
    }
}

fn unexpected(response: Response) -> ProbeError {
    match response {
        Response::Gone { reason } => ProbeError::Gone { reason: reason.into() },
        Response::Failed { what, reason } => ProbeError::failed(what, reason),
        _ => ProbeError::failed("asking Python", "the answer belongs to another question"),
    }
}
