//! The interpreter as leakline sees it: its name, who traces, the gauges, and the callbacks that tell of its end.
//! Imports nothing but modules that are built into the interpreter, and calls nothing that the host can replace.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use leakline_python::kept::names::Interner;
use leakline_python::wire::{GaugeValues, Interpreter, SlowGaugeValues, Traced, Tracing};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyList, PyTuple};

use crate::arenas;
use crate::census;
use crate::fork;
use crate::gate::GATE;
use crate::hook::{self, Standing};
use crate::host;
use crate::sites::Reader;

/// Frames with which tracing was started here; 0 while it was not. Outside [`Runtime`], for the child of a fork.
static OURS: AtomicU32 = AtomicU32::new(0);

/// What is kept of an interpreter between two calls.
pub(crate) struct Runtime {
    /// Or why there is none, in CPython's words.
    tracer: Result<Tracer, String>,
    allocated_blocks: Option<Py<PyAny>>,
    /// How many strings are interned: 3.12 and later.
    interned: Option<Py<PyAny>>,
    pub(crate) gc: Collector,
    pub(crate) census: census::State,
    pub(crate) interner: Interner,
    /// What was read of the hook's two sources.
    pub(crate) sampled: Reader,
    pub(crate) exact: Reader,
    /// The last copy of all traces: how long it took for how many bytes of tracemalloc's tables.
    pub(crate) last_copy: Option<(Duration, u64)>,
}

/// tracemalloc.
pub(crate) struct Tracer {
    pub(crate) get_traces: Py<PyAny>,
    start: Py<PyAny>,
    stop: Py<PyAny>,
    is_tracing: Py<PyAny>,
    traceback_limit: Py<PyAny>,
    traced_memory: Py<PyAny>,
    tracer_memory: Py<PyAny>,
}

/// The garbage collector.
pub(crate) struct Collector {
    get_count: Py<PyAny>,
    get_stats: Py<PyAny>,
    is_enabled: Py<PyAny>,
    enable: Py<PyAny>,
    disable: Py<PyAny>,
    freeze_count: Py<PyAny>,
    /// `gc.garbage`, which belongs to the interpreter: a host that rebinds the name changes nothing.
    garbage: Option<Py<PyList>>,
}

impl Runtime {
    /// Takes hold of the interpreter, and has itself called when it ends or forks.
    pub(crate) fn new(py: Python<'_>, on_closing: extern "C" fn()) -> PyResult<Self> {
        let sys = import(py, c"sys")?;
        // Before anything of ours stands on top of pymalloc.
        arenas::learn(py);
        let runtime = Self {
            tracer: Tracer::new(py).map_err(|error| error.value(py).to_string()),
            allocated_blocks: get(&sys, "getallocatedblocks").ok(),
            interned: get(&sys, "getunicodeinternedsize").ok(),
            gc: Collector::new(py)?,
            census: census::State::default(),
            interner: Interner::default(),
            sampled: Reader::default(),
            exact: Reader::default(),
            last_copy: None,
        };
        call_at_exit(py, on_closing)?;
        // Without it a child notices by its process id, as it does after a fork that Python knows nothing of.
        call_in_children(py).ok();
        Ok(runtime)
    }

    /// tracemalloc, where this interpreter has it.
    pub(crate) fn tracer(&self) -> Result<&Tracer, &str> {
        self.tracer.as_ref().map_err(String::as_str)
    }

    /// The gauges, with the time at which they were read.
    pub(crate) fn gauges(&self, py: Python<'_>) -> PyResult<GaugeValues> {
        let taken_boot_nanos = leakline_python::boot_nanos();
        let traced = match &self.tracer {
            Ok(tracer) => tracer.traced(py)?,
            Err(_) => None,
        };
        let blocks = match &self.allocated_blocks {
            Some(blocks) => blocks.call0(py)?.extract(py)?,
            None => 0,
        };
        let gc_counts: (u64, u64, u64) = self.gc.get_count.call0(py)?.extract(py)?;
        let (mut gc_collections, mut gc_uncollectable) = ([0; 3], 0);
        let generations = self.gc.get_stats.bind(py).call0()?;
        for (number, generation) in generations.cast::<PyList>()?.iter().enumerate() {
            if let Some(collections) = gc_collections.get_mut(number) {
                *collections = generation.get_item("collections")?.extract()?;
            }
            gc_uncollectable += generation.get_item("uncollectable")?.extract::<u64>()?;
        }
        let interned = match &self.interned {
            Some(interned) => interned.call0(py)?.extract(py)?,
            None => None,
        };
        Ok(GaugeValues {
            taken_boot_nanos,
            held_nanos: 0,
            traced,
            hook_was_lost: hook::look(py) == Some(Standing::SetAnew),
            // Zero means that Python was told to use malloc for everything.
            blocks: Some(blocks).filter(|blocks| *blocks > 0),
            gc_counts: gc_counts.into(),
            gc_collections,
            gc_uncollectable,
            gc_garbage: self.gc.garbage.as_ref().map(|garbage| garbage.bind(py).len() as u64),
            gc_enabled: self.gc.is_enabled.call0(py)?.extract(py)?,
            interned,
        })
    }

    /// What takes as long as there is much of it: pymalloc's pools and the collector's frozen objects are walked.
    pub(crate) fn slow_gauges(&self, py: Python<'_>, text: &mut [u8]) -> PyResult<SlowGaugeValues> {
        let (arenas, arenas_missing) = match arenas::read(py, text) {
            Ok(Some(arenas)) if arenas::may_be_more(py) => {
                (Some(arenas), Some("a subinterpreter's own arenas are not counted".to_owned()))
            }
            Ok(arenas) => (arenas, None),
            Err(reason) => (None, Some(reason.to_owned())),
        };
        let gc_frozen = self.gc.freeze_count.call0(py)?.extract(py)?;
        Ok(SlowGaugeValues { held_nanos: 0, arenas, arenas_missing, gc_frozen })
    }
}

impl Collector {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let gc = import(py, c"gc")?;
        Ok(Self {
            get_count: get(&gc, "get_count")?,
            get_stats: get(&gc, "get_stats")?,
            is_enabled: get(&gc, "isenabled")?,
            enable: get(&gc, "enable")?,
            disable: get(&gc, "disable")?,
            freeze_count: get(&gc, "get_freeze_count")?,
            garbage: gc.getattr("garbage")?.cast_into::<PyList>().ok().map(Bound::unbind),
        })
    }

    /// Runs `work` while the garbage collector is off: it would run the host's finalisers on our thread, and walk
    /// through a million tuples for nothing. No thread can see it off, because the GIL is held throughout.
    pub(crate) fn without_collections<T>(
        &self,
        py: Python<'_>,
        work: impl FnOnce() -> PyResult<T>,
    ) -> PyResult<T> {
        struct Enable<'a, 'py>(&'a Py<PyAny>, Python<'py>);
        impl Drop for Enable<'_, '_> {
            fn drop(&mut self) {
                // A function without arguments that sets a flag: it cannot fail.
                self.0.call0(self.1).ok();
            }
        }
        let enabled: bool = self.is_enabled.call0(py)?.extract(py)?;
        if !enabled {
            return work();
        }
        // Switched on again after a panic, too.
        let _enable = Enable(&self.enable, py);
        self.disable.call0(py)?;
        work()
    }

    /// Collections of each generation so far, the youngest first.
    pub(crate) fn collections(&self, py: Python<'_>) -> PyResult<[u64; 3]> {
        let stats = self.get_stats.bind(py).call0()?.cast_into::<PyList>()?;
        let mut collections = [0; 3];
        for (count, generation) in collections.iter_mut().zip(stats.iter()) {
            *count = generation.get_item("collections")?.extract()?;
        }
        Ok(collections)
    }
}

impl Tracer {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let module = import(py, c"_tracemalloc")?;
        Ok(Self {
            get_traces: get(&module, "_get_traces")?,
            start: get(&module, "start")?,
            stop: get(&module, "stop")?,
            is_tracing: get(&module, "is_tracing")?,
            traceback_limit: get(&module, "get_traceback_limit")?,
            traced_memory: get(&module, "get_traced_memory")?,
            tracer_memory: get(&module, "get_tracemalloc_memory")?,
        })
    }

    pub(crate) fn is_tracing(&self, py: Python<'_>) -> PyResult<bool> {
        self.is_tracing.call0(py)?.extract(py)
    }

    /// Starts tracing unless somebody traces already.
    pub(crate) fn start(&self, py: Python<'_>, frames: u16) -> PyResult<Tracing> {
        if !self.is_tracing(py)? {
            self.start.call1(py, (frames.max(1),))?;
            OURS.store(u32::from(frames.max(1)), SeqCst);
        }
        let limit: u32 = self.traceback_limit.call0(py)?.extract(py)?;
        // A host that stopped our tracing and started its own most likely asked for another depth.
        let ours = OURS.load(SeqCst) == limit;
        Ok(Tracing { ours, frames: limit })
    }

    /// Stops tracing that was started here.
    pub(crate) fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let ours = OURS.swap(0, SeqCst);
        let limit: u32 = self.traceback_limit.call0(py)?.extract(py)?;
        if ours == limit && self.is_tracing(py)? {
            self.stop.call0(py)?;
        }
        Ok(())
    }

    pub(crate) fn tracer_bytes(&self, py: Python<'_>) -> PyResult<u64> {
        self.tracer_memory.call0(py)?.extract(py)
    }

    fn traced(&self, py: Python<'_>) -> PyResult<Option<Traced>> {
        if !self.is_tracing(py)? {
            return Ok(None);
        }
        let (current, peak) = self.traced_memory.call0(py)?.extract(py)?;
        Ok(Some(Traced { current, peak, tracer: self.tracer_bytes(py)? }))
    }
}

/// The interpreter's version and its source roots as they are now.
pub(crate) fn interpreter(py: Python<'_>) -> PyResult<Interpreter> {
    let version = Python::version_str();
    let number = version.split_whitespace().next().unwrap_or(version);
    Ok(Interpreter {
        name: format!("CPython {number}"),
        source_roots: source_roots(py)?,
        is_starting: is_starting(py).unwrap_or(false),
    })
}

/// Whether `site` has still to be imported, or is being imported.
fn is_starting(py: Python<'_>) -> PyResult<bool> {
    let sys = import(py, c"sys")?;
    if sys.getattr("flags")?.getattr("no_site")?.is_truthy()? {
        return Ok(false);
    }
    match sys.getattr("modules")?.get_item("site") {
        Ok(site) => site.getattr("__spec__")?.getattr("_initializing")?.is_truthy(),
        Err(_) => Ok(true),
    }
}

/// The folders of `sys.path`, and the program's, longest first.
fn source_roots(py: Python<'_>) -> PyResult<Vec<String>> {
    let sys = import(py, c"sys")?;
    let Ok(path) = sys.getattr("path") else { return Ok(Vec::new()) };
    let Ok(path) = path.cast_into::<PyList>() else { return Ok(Vec::new()) };
    let entries = path.iter().filter_map(|entry| entry.extract::<String>().ok());
    let mut roots: Vec<String> = entries
        .chain(program_folder(&sys))
        .map(|entry| entry.trim_end_matches('/').to_owned())
        .filter(|entry| entry.starts_with('/'))
        .collect();
    roots.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    roots.dedup();
    Ok(roots)
}

/// Where the program is that `sys.argv` names: CPython puts it into `sys.path` only after `site`, when we may have been here
/// already. With `-m` it is the working directory, and with `-c` there is none.
fn program_folder(sys: &Bound<'_, PyAny>) -> Option<String> {
    let program: String = sys.getattr("argv").ok()?.get_item(0).ok()?.extract().ok()?;
    let folder = match program.as_str() {
        "" | "-c" => return None,
        "-m" => std::env::current_dir().ok()?,
        name => std::path::absolute(name).ok()?.parent()?.to_owned(),
    };
    folder.into_os_string().into_string().ok()
}

fn get(module: &Bound<'_, PyAny>, name: &str) -> PyResult<Py<PyAny>> {
    module.getattr(name).map(Bound::unbind)
}

/// Imports a built-in module; unlike `__import__`, this cannot have been replaced by the host.
fn import<'py>(py: Python<'py>, name: &CStr) -> PyResult<Bound<'py, PyAny>> {
    let (none, top) = (std::ptr::null_mut(), 0);
    // SAFETY: the GIL is held, `name` ends with a NUL, and all other arguments may be null.
    let module = unsafe { ffi::PyImport_ImportModuleLevel(name.as_ptr(), none, none, none, top) };
    // SAFETY: the call gave a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, module) }
}

/// Registered early, so it runs after the host's own exit functions, right before finalisation.
fn call_at_exit(py: Python<'_>, on_closing: extern "C" fn()) -> PyResult<()> {
    let callback = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        if GATE.is_foreign() {
            return;
        }
        let read_until_now = GATE.why_shut().is_none();
        // Our lane may be waiting for the GIL inside the gate.
        arguments.py().detach(|| {
            if read_until_now {
                on_closing();
            }
            GATE.end();
        });
        // Nobody reads any more what the interpreter frees on its way out.
        hook::rest();
    };
    let callback = PyCFunction::new_closure(py, Some(c"leakline_on_exit"), None, callback)?;
    import(py, c"atexit")?.call_method1("register", (callback,))?;
    Ok(())
}

fn call_in_children(py: Python<'_>) -> PyResult<()> {
    let callback = |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        GATE.abandon();
        fork::abandon();
        if OURS.swap(0, SeqCst) != 0 {
            // An exception here would be printed in a child that knows nothing of leakline.
            import(arguments.py(), c"_tracemalloc").and_then(|module| module.call_method0("stop")).ok();
        }
    };
    let callback = PyCFunction::new_closure(py, Some(c"leakline_after_fork"), None, callback)?;
    let named = PyDict::new(py);
    named.set_item("after_in_child", callback)?;
    if fork::is_needed(py) {
        let before = |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            fork::before(arguments.py());
        };
        let after = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| fork::after();
        let before = PyCFunction::new_closure(py, Some(c"leakline_before_fork"), None, before)?;
        let after = PyCFunction::new_closure(py, Some(c"leakline_forked"), None, after)?;
        named.set_item("before", before)?;
        named.set_item("after_in_parent", after)?;
    }
    import(py, c"posix")?.getattr("register_at_fork")?.call((), Some(&named))?;
    Ok(())
}

/// Whether the interpreter has begun to end. It is outside the stable ABI, so it is looked up by name; where it is
/// missing, the gate alone has to do.
pub(crate) fn is_finalizing() -> bool {
    type IsFinalizing = unsafe extern "C" fn() -> c_int;
    static FOUND: std::sync::OnceLock<Option<IsFinalizing>> = std::sync::OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let address = host::symbol(c"Py_IsFinalizing").or_else(|| host::symbol(c"_Py_IsFinalizing"))?;
        // SAFETY: both names have had this signature in every CPython that has them.
        Some(unsafe { std::mem::transmute::<std::ptr::NonNull<std::ffi::c_void>, IsFinalizing>(address) })
    });
    // SAFETY: it reads a flag, and may be called at any time from any thread.
    found.is_some_and(|is_finalizing| unsafe { is_finalizing() != 0 })
}
