//! The Python part of leakline: a library that is loaded into a process with a CPython in it, whatever its version from
//! 3.9 on, and that the agent talks to through one C function. See `leakline_python::wire` for what is said.
//!
//! Never here: a thread, a module that a host could import, a panic or an exception that leaves a call, a call of the
//! agent's while the GIL is held, but for the one that takes a wrapper over in a search across heaps. It is used from one
//! thread of the agent's at a time; only that search, which keeps nothing, may come from another.

mod arenas;
mod census;
mod fork;
mod frames;
mod gate;
mod guarded;
mod hook;
mod host;
mod joined;
mod profile;
mod raw;
mod runtime;
mod sites;
mod stretch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use leakline_probing::heap::OwnHeap;
use leakline_python::wire::{
    ABI, Answer, HostTable, Request, Response, Source, Table, Wanted, decode, encode,
};
use pyo3::{PyErr, PyResult, Python, ffi};

use crate::gate::GATE;
use crate::runtime::{Runtime, interpreter, is_finalizing};
use crate::stretch::{Stretches, attached};

#[global_allocator]
static HEAP: OwnHeap = OwnHeap;

/// Locked only to take something out or put it back, never while Python is waited for.
static HOST: Mutex<Option<HostTable>> = Mutex::new(None);
static RUNTIME: Mutex<Slot> = Mutex::new(Slot::Empty);

enum Slot {
    Empty,
    InUse,
    Ready(Box<Runtime>),
}

static TABLE: Table = Table {
    abi: ABI,
    call,
    call_attached,
    free,
    held_bytes,
    walk: joined::walk,
    keep: joined::keep,
    tell: joined::tell,
    loops: joined::loops,
};

/// The door: see [`leakline_python::wire::Entry`].
///
/// # Safety
///
/// `host` must hold functions that stay callable as long as the process lives. Python's symbols must be visible to this
/// library, which they are once it could be loaded.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakline_cpython_entry(abi: u32, host: HostTable) -> *const Table {
    if abi != ABI {
        return std::ptr::null();
    }
    let stored = catch_unwind(|| {
        OwnHeap::survive_forks();
        if let Ok(mut stored) = HOST.lock() {
            *stored = Some(host);
            host::introduce(host);
        }
    });
    if stored.is_ok() { &raw const TABLE } else { std::ptr::null() }
}

unsafe extern "C" fn call(request: *const u8, length: usize) -> Answer {
    // SAFETY: the agent passes bytes of its own that live until the call returns.
    answer(unsafe { bytes(request, length) }, false)
}

unsafe extern "C" fn call_attached(request: *const u8, length: usize) -> Answer {
    // SAFETY: the agent passes bytes of its own that live until the call returns.
    answer(unsafe { bytes(request, length) }, true)
}

unsafe extern "C" fn free(answer: Answer) {
    if !answer.data.is_null() {
        let bytes = std::ptr::slice_from_raw_parts_mut(answer.data, answer.length);
        // SAFETY: `answer` came from `to_answer` below, which made it of such a box, and is given back once.
        drop(unsafe { Box::from_raw(bytes) });
    }
}

extern "C" fn held_bytes() -> u64 {
    OwnHeap::held_bytes() + hook::marks_bytes()
}

/// # Safety
///
/// `data` must point to `length` bytes that live until the end of `'a`.
unsafe fn bytes<'a>(data: *const u8, length: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: the caller promises it.
    unsafe { std::slice::from_raw_parts(data, length) }
}

fn answer(request: &[u8], attached: bool) -> Answer {
    let response = catch_unwind(AssertUnwindSafe(|| match decode::<Request>(request) {
        Ok(request) => respond(&request, attached),
        Err(error) => failed("reading the request", error),
    }));
    let response = response.unwrap_or_else(|_| failed("reading Python", "leakline's Python part panicked"));
    to_answer(catch_unwind(|| encode(&response).unwrap_or_default()).unwrap_or_default())
}

fn to_answer(encoded: Vec<u8>) -> Answer {
    let encoded = Box::leak(encoded.into_boxed_slice());
    Answer { length: encoded.len(), data: encoded.as_mut_ptr() }
}

fn respond(request: &Request, attached: bool) -> Response {
    match request {
        Request::Attach => attach(attached),
        Request::Start { frames } => with(|runtime, inside| {
            let tracer = match runtime.tracer() {
                Ok(tracer) => tracer,
                Err(reason) => return Ok(Response::CannotTrace { reason: reason.to_owned() }),
            };
            Stretches::default().run(inside, |py, _| tracer.start(py, *frames)).map(Response::Tracing)
        }),
        Request::Gauges => with(|runtime, inside| {
            let mut stretch = Stretches::default();
            let mut values = stretch.run(inside, |py, _| runtime.gauges(py))?;
            values.held_nanos = stretch.held.as_nanos() as u64;
            Ok(Response::Gauges(values))
        }),
        Request::SlowGauges => with(|runtime, inside| {
            let mut text = arenas::buffer();
            let mut stretch = Stretches::default();
            let mut values = stretch.run(inside, |py, _| runtime.slow_gauges(py, &mut text))?;
            values.held_nanos = stretch.held.as_nanos() as u64;
            Ok(Response::SlowGauges(values))
        }),
        Request::Profile(request) => {
            with(|runtime, inside| profile::take(runtime, request, inside).map(Response::Profile))
        }
        Request::Sample(sampling) => hooked(|py| {
            hook::sample(
                py,
                hook::Sampling {
                    mean: sampling.mean,
                    frames: usize::from(sampling.frames),
                    max_live: sampling.max_samples as usize,
                    max_paths: sampling.max_paths as usize,
                    max_path_bytes: usize::try_from(sampling.max_path_bytes).unwrap_or(usize::MAX),
                },
            )
        }),
        Request::OpenWindow(window) => hooked(|py| {
            hook::open(
                py,
                hook::Window {
                    frames: usize::from(window.frames),
                    max_traces: usize::try_from(window.max_traces).unwrap_or(usize::MAX),
                    max_paths: window.max_paths as usize,
                    max_path_bytes: usize::try_from(window.max_path_bytes).unwrap_or(usize::MAX),
                    duration: Duration::from_micros(window.duration_micros),
                    max_percent: window.max_percent,
                    go_on: window.go_on,
                },
            )
        }),
        Request::EndWindow => with(|_, _| {
            hook::end_window();
            Ok(Response::Closed)
        }),
        Request::StopTracing => with(|runtime, inside| {
            if let Ok(tracer) = runtime.tracer() {
                Stretches::default().run(inside, |py, _| tracer.stop(py))?;
            }
            Ok(Response::Closed)
        }),
        Request::CloseWindow => with(|runtime, _| {
            hook::close();
            runtime.exact = sites::Reader::default();
            Ok(Response::Closed)
        }),
        Request::Sites(request) => with(|runtime, _| {
            let reader = match request.source {
                Source::Sampled => &mut runtime.sampled,
                Source::Exact => &mut runtime.exact,
            };
            Ok(Response::Sites(sites::read(reader, &mut runtime.interner, request)))
        }),
        Request::Census(request) => with(|runtime, inside| {
            census::take(&mut runtime.census, &runtime.gc, request, inside).map(Response::Census)
        }),
        Request::Across(wanted) => across(wanted),
        Request::Detach => {
            hook::rest();
            let response = with(|runtime, inside| {
                if let Ok(tracer) = runtime.tracer() {
                    Stretches::default().run(inside, |py, _| tracer.stop(py))?;
                }
                Ok(Response::Detached)
            });
            GATE.shut();
            response
        }
    }
}

/// Needs nothing that is kept of the interpreter, so that nobody who reads it has to wait.
fn across(wanted: &Wanted) -> Response {
    let inside = match GATE.enter() {
        Ok(inside) => inside,
        Err(reason) => return gone(reason),
    };
    if is_finalizing() {
        return gone("the interpreter is ending");
    }
    match census::across(wanted, &inside) {
        Ok(Ok(reached)) => Response::Across(reached),
        Ok(Err(reason)) => failed("looking for cycles", reason),
        Err(error) => python_failed("looking for cycles", &error),
    }
}

/// Sets the hook to something, under the GIL.
fn hooked(work: impl FnOnce(Python<'_>) -> Result<Option<String>, String>) -> Response {
    with(|_, inside| {
        let done = Stretches::default().run(inside, |py, _| work(py));
        Ok(match done {
            Ok(degraded) => Response::Hooked { degraded },
            Err(reason) => Response::CannotHook { reason },
        })
    })
}

/// Takes hold of the interpreter, if there is one that is not about to end.
fn attach(already_attached: bool) -> Response {
    let _inside = GATE.enter_first();
    // SAFETY: it reads a flag, and may be called at any time from any thread.
    let initialized = unsafe { ffi::Py_IsInitialized() } != 0;
    if GATE.has_ended() {
        if initialized {
            return gone("the interpreter is ending");
        }
        // It has ended: the next one is another, and nothing of this one may be touched.
        if let Slot::Ready(runtime) = take_runtime() {
            std::mem::forget(runtime);
        }
        put_runtime(Slot::Empty);
        GATE.forget_the_end();
    }
    if !(initialized || already_attached) || is_finalizing() {
        return gone("there is no interpreter that runs");
    }
    let Some(host) = HOST.lock().ok().and_then(|host| *host) else {
        return failed("attaching", "the agent has not introduced itself");
    };
    let runtime = match take_runtime() {
        Slot::Ready(runtime) => Some(runtime),
        Slot::Empty => None,
        // The thread that had it stayed behind in the parent.
        Slot::InUse if GATE.is_foreign() => None,
        Slot::InUse => return in_use(),
    };
    let (made, _) = attached(|py, _| {
        let made = match runtime {
            Some(runtime) => Ok(runtime),
            None => Runtime::new(py, host.on_closing).map(Box::new),
        };
        made.and_then(|runtime| Ok((runtime, interpreter(py)?))).map_err(|error| error.value(py).to_string())
    });
    match made {
        Ok((runtime, interpreter)) => {
            put_runtime(Slot::Ready(runtime));
            GATE.open();
            Response::Attached(interpreter)
        }
        Err(error) => {
            put_runtime(Slot::Empty);
            failed("attaching", error)
        }
    }
}

/// Runs `work` inside the gate, with what is kept of the interpreter.
fn with(work: impl FnOnce(&mut Runtime, &gate::Inside<'_>) -> PyResult<Response>) -> Response {
    let inside = match GATE.enter() {
        Ok(inside) => inside,
        Err(reason) => return gone(reason),
    };
    let mut runtime = match take_runtime() {
        Slot::Ready(runtime) => PutBack(Some(runtime)),
        Slot::Empty => {
            put_runtime(Slot::Empty);
            return gone("leakline has not taken hold of it");
        }
        Slot::InUse => return in_use(),
    };
    if is_finalizing() {
        return gone("the interpreter is ending");
    }
    let Some(runtime) = runtime.0.as_mut() else { return gone("leakline has not taken hold of it") };
    work(runtime, &inside).unwrap_or_else(|error| python_failed("reading Python", &error))
}

/// Puts the runtime back, after a panic too.
struct PutBack(Option<Box<Runtime>>);

impl Drop for PutBack {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            put_runtime(Slot::Ready(runtime));
        }
    }
}

/// Takes the runtime out: `InUse` when somebody else has it.
fn take_runtime() -> Slot {
    match RUNTIME.try_lock() {
        Ok(mut slot) => std::mem::replace(&mut *slot, Slot::InUse),
        Err(_) => Slot::InUse,
    }
}

fn put_runtime(new: Slot) {
    if let Ok(mut slot) = RUNTIME.lock() {
        *slot = new;
    }
}

fn in_use() -> Response {
    failed("reading Python", "another thread is reading it")
}

fn gone(reason: &str) -> Response {
    Response::Gone { reason: reason.to_owned() }
}

fn failed(what: &str, reason: impl ToString) -> Response {
    Response::Failed { what: what.to_owned(), reason: reason.to_string() }
}

fn python_failed(what: &str, error: &PyErr) -> Response {
    // An exception is shown by Python code, so the GIL is needed; it was just there, but may not be had any more.
    let inside = GATE.enter();
    if inside.is_err() || is_finalizing() {
        return failed(what, "an exception, and the interpreter is ending");
    }
    let (text, _) = attached(|py: Python<'_>, _| error.value(py).to_string());
    failed(what, text)
}
