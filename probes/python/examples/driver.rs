//! The probe, as the agent runs it, behind a few C functions: a Python program loads this through ctypes (which lets go
//! of the GIL around each call) and compares what comes out with what Python says itself. Each call runs on a thread of
//! its own, as the probe does on its lane. Preloaded with `LEAKLINE_DRIVER_EARLY` set to a number of frames, it attaches while Python starts.
//!
//! For tests and benchmarks only. Every function answers with JSON text, to be freed with `driver_free`.

#![expect(clippy::unwrap_used, reason = "a panic in a test's own library fails the test")]

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use leakline_core::{
    Asked, Attachment, Cause, Clock, Details, Growth, Probe, ProbeError, ProbeRequest, Profile, Tick,
    Timestamp, Window, WindowSource, text,
};
use leakline_python::census::CensusRequest;
use leakline_python::{Mode, PythonOptions, PythonProbe, early, set_on_closing};
use serde_json::{Value, json};

struct Driver {
    probe: PythonProbe,
    runtime: tokio::runtime::Runtime,
    profiles: Vec<Arc<Profile>>,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

struct MachineClock;

#[async_trait::async_trait]
impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp { unix_nanos: unix.as_nanos() as u64, boot_nanos: leakline_python::boot_nanos() }
    }

    async fn sleep_until(&self, unix_nanos: u64) {
        let wait = unix_nanos.saturating_sub(self.now().unix_nanos);
        tokio::time::sleep(Duration::from_nanos(wait)).await;
    }

    fn thread_cpu(&self) -> Option<Duration> {
        None
    }
}

/// The preloaded driver: runs before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let Some(frames) = std::env::var("LEAKLINE_DRIVER_EARLY").ok().and_then(|frames| frames.parse().ok())
    else {
        return;
    };
    let mode = mode(std::env::var("LEAKLINE_DRIVER_MODE").ok().as_deref());
    early::install(PythonOptions { mode, max_frames: Some(frames), ..PythonOptions::default() });
}

/// tracemalloc, unless another one is named.
fn mode(name: Option<&str>) -> Mode {
    match name {
        Some("sampling") => Mode::Sampling,
        Some("exact") => Mode::Exact,
        Some("gauges") => Mode::Gauges,
        Some("off") => Mode::Off,
        _ => Mode::Tracemalloc,
    }
}

/// Makes a probe from a JSON object (`mode`, `mean`, `frames`, `library`, `filters`, `gil_budget_ms`, `max_stall_ms`,
/// `max_sites`), unless there is one, and attaches it. With `anew`, what there is is detached and replaced first.
///
/// # Safety
///
/// `options` must be a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn driver_attach(options: *const c_char) -> *mut c_char {
    // SAFETY: the caller promises it.
    let options = unsafe { CStr::from_ptr(options) }.to_string_lossy();
    let options: Value = serde_json::from_str(&options).unwrap_or_default();
    text_of(on_a_lane(|| {
        let mut driver = DRIVER.lock().unwrap();
        if options.get("anew").is_some_and(|anew| anew == &json!(true))
            && let Some(Driver { mut probe, runtime, .. }) = driver.take()
        {
            runtime.block_on(probe.detach());
        }
        let Driver { probe, runtime, .. } = driver.get_or_insert_with(|| Driver {
            probe: PythonProbe::new(Arc::new(MachineClock), python_options(&options)),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            profiles: Vec::new(),
        });
        match runtime.block_on(probe.attach()) {
            Ok(Attachment::Attached(info)) => json!({"name": info.name, "roots": info.source_roots}),
            Ok(Attachment::Absent { reason }) => json!({"absent": reason}),
            Err(error) => json!({"error": error.to_string()}),
        }
    }))
}

fn python_options(options: &Value) -> PythonOptions {
    let number = |name: &str| options.get(name).and_then(Value::as_u64);
    let millis = |name: &str| number(name).map(Duration::from_millis);
    let defaults = PythonOptions::default();
    PythonOptions {
        mode: mode(options.get("mode").and_then(Value::as_str)),
        mean_sample_bytes: number("mean").unwrap_or(defaults.mean_sample_bytes),
        max_frames: number("frames").map(|frames| frames as u16),
        max_samples: number("max_samples").map_or(defaults.max_samples, |samples| samples as u32),
        max_sampled_paths: number("max_paths").map_or(defaults.max_sampled_paths, |paths| paths as u32),
        library: options.get("library").and_then(Value::as_str).map(PathBuf::from),
        filters: options.get("filters").and_then(Value::as_array).map_or(defaults.filters, |filters| {
            filters.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }),
        gil_budget: millis("gil_budget_ms").unwrap_or(defaults.gil_budget),
        max_stall: millis("max_stall_ms").unwrap_or(defaults.max_stall),
        max_path_bytes: number("max_path_bytes").unwrap_or(defaults.max_path_bytes),
        max_name_bytes: number("max_name_bytes").unwrap_or(defaults.max_name_bytes),
        max_sites: number("max_sites").map_or(defaults.max_sites, |sites| sites as u32),
        ..defaults
    }
}

/// Whether Python was attached to while it started.
#[unsafe(no_mangle)]
pub extern "C" fn driver_was_early() -> i32 {
    i32::from(early::attached())
}

/// The gauges.
#[unsafe(no_mangle)]
pub extern "C" fn driver_gauges() -> *mut c_char {
    with(|driver| {
        let Driver { probe, runtime, .. } = driver;
        let before = MachineClock.now();
        let reading = runtime.block_on(probe.gauges(&tick(Cause::Tick)))?;
        let after = MachineClock.now();
        let gauges: serde_json::Map<String, Value> =
            reading.gauges.iter().map(|gauge| (gauge.name.to_string(), json!(gauge.value))).collect();
        let in_time = (before.boot_nanos..=after.boot_nanos).contains(&reading.taken.boot_nanos)
            && (before.unix_nanos..=after.unix_nanos).contains(&reading.taken.unix_nanos);
        Ok(
            json!({"gauges": gauges, "stall_nanos": reading.stall.as_nanos() as u64, "taken_in_time": in_time}),
        )
    })
}

/// The details: with `sites`, everything in the profile; without, only how much there is. `requested` asks for a profile
/// that no budget leaves out.
#[unsafe(no_mangle)]
pub extern "C" fn driver_details(sites: i32, requested: i32) -> *mut c_char {
    with(|driver| {
        let Driver { probe, runtime, profiles } = driver;
        let cause = if requested != 0 { Cause::Requested } else { Cause::Tick };
        let details = runtime.block_on(probe.details(&tick(cause)))?;
        let answer = shown(&details, sites != 0);
        profiles.extend(details.profiles);
        profiles.drain(..profiles.len().saturating_sub(2));
        Ok(answer)
    })
}

/// The hook's profile alone, as a tick reads it that has no time left for anything slower: how long that took, and how much
/// there is.
#[unsafe(no_mangle)]
pub extern "C" fn driver_snapshot() -> *mut c_char {
    with(|driver| {
        let Driver { probe, runtime, profiles } = driver;
        let late = Tick { deadline_boot_nanos: 0, ..tick(Cause::Tick) };
        let begun = Instant::now();
        let details = runtime.block_on(probe.details(&late))?;
        let took = begun.elapsed().as_nanos() as u64;
        let mut answer = shown(&details, false);
        answer["nanos"] = json!(took);
        profiles.extend(details.profiles);
        profiles.drain(..profiles.len().saturating_sub(2));
        Ok(answer)
    })
}

fn shown(details: &Details, with_sites: bool) -> Value {
    let gauges: serde_json::Map<String, Value> =
        details.gauges.iter().map(|gauge| (gauge.name.to_string(), json!(gauge.value))).collect();
    let mut answer = json!({
        "notes": details.notes,
        "gauges": gauges,
        "gil_held_nanos": details.gil_held.as_nanos() as u64,
        "longest_stall_nanos": details.longest_stall.as_nanos() as u64,
        "held_bytes": leakline_python::held_bytes(),
    });
    if let Some(profile) = details.profiles.iter().rfind(|profile| !profile.source().is_types()) {
        answer["source"] = json!(profile.source().name);
        answer["mean"] = json!(profile.source().mean_sample_bytes);
        let total = profile.total();
        answer["total"] = json!([total.bytes, total.blocks, profile.sites().len()]);
        if with_sites {
            answer["sites"] = profile.sites().iter().map(shown_site).collect();
        }
    }
    answer
}

fn shown_site(stat: &leakline_core::SiteStat) -> Value {
    let frames: Vec<Value> =
        stat.site.frames().iter().map(|frame| json!([&*frame.file, frame.line])).collect();
    let truncated = match stat.site.holder() {
        leakline_core::SiteHolder::CallPath { truncated, .. } => *truncated,
        leakline_core::SiteHolder::Class(_) => false,
    };
    let functions: Vec<&str> = stat.site.frames().iter().map(|frame| &*frame.function).collect();
    let allocated = stat.allocated.map(|amount| json!([amount.bytes, amount.blocks]));
    json!([
        frames,
        truncated,
        stat.live.bytes,
        stat.live.blocks,
        functions,
        stat.standard_error_bytes,
        allocated
    ])
}

/// The growth between the last two profiles: how long it took, how many sites changed, and the most grown one.
#[unsafe(no_mangle)]
pub extern "C" fn driver_growth() -> *mut c_char {
    with(|driver| {
        let [then, now] = driver.profiles.as_slice() else {
            return Ok(json!({"error": "two profiles are needed"}));
        };
        let begun = Instant::now();
        let growth = Growth::between(then, now);
        let took = begun.elapsed().as_nanos() as u64;
        let top = growth.sites.first().map(|grown| {
            json!({"site": text::site(&grown.site, &[], 3), "bytes": grown.bytes, "blocks": grown.blocks})
        });
        Ok(json!({"nanos": took, "sites": growth.sites.len(), "top": top}))
    })
}

/// What core's suite for probes finds wrong.
#[unsafe(no_mangle)]
pub extern "C" fn driver_conformance() -> *mut c_char {
    let make = |clock: Arc<dyn Clock>| -> Box<dyn Probe> {
        let mode = mode(std::env::var("LEAKLINE_DRIVER_MODE").ok().as_deref());
        Box::new(PythonProbe::new(clock, PythonOptions { mode, ..PythonOptions::default() }))
    };
    text_of(on_a_lane(|| json!(leakline_core::conformance::probe_violations(make))))
}

/// A census, by a JSON object with any of the fields of a request.
///
/// # Safety
///
/// `request` must be a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn driver_census(request: *const c_char) -> *mut c_char {
    // SAFETY: the caller promises it.
    let request = unsafe { CStr::from_ptr(request) }.to_string_lossy();
    let request: Value = serde_json::from_str(&request).unwrap_or_default();
    with(|driver| {
        let mut whole = serde_json::to_value(CensusRequest::default()).unwrap();
        for (name, value) in request.as_object().into_iter().flatten() {
            whole[name] = value.clone();
        }
        let answer = driver.probe.census(serde_json::from_value(whole).unwrap())?;
        Ok(serde_json::to_value(answer).unwrap())
    })
}

/// Asks for an exact window of `millis` milliseconds that keeps `frames` frames; 0 milliseconds close the one that is open.
#[unsafe(no_mangle)]
pub extern "C" fn driver_window(millis: u32, frames: u16) -> *mut c_char {
    with(|driver| {
        let Driver { probe, runtime, .. } = driver;
        let request = if millis == 0 {
            ProbeRequest::CloseWindow
        } else {
            ProbeRequest::OpenWindow(Window {
                duration: Duration::from_millis(u64::from(millis)),
                frames: Some(frames),
                max_traces: None,
                source: WindowSource::Exact,
            })
        };
        match runtime.block_on(probe.request(&request))? {
            Asked::Done => Ok(json!({})),
            Asked::Refused { reason } => Ok(json!({"refused": reason})),
            other => Ok(json!({"other": format!("{other:?}")})),
        }
    })
}

/// Gives back what the probe took.
#[unsafe(no_mangle)]
pub extern "C" fn driver_detach() -> *mut c_char {
    with(|driver| {
        let Driver { probe, runtime, .. } = driver;
        runtime.block_on(probe.detach());
        Ok(json!({}))
    })
}

/// When Python is about to end: reads the gauges once more, as the agent's last snapshot does, and says so on stdout.
#[unsafe(no_mangle)]
pub extern "C" fn driver_report_closing() {
    set_on_closing(Box::new(|| {
        let answer = driver_gauges();
        // SAFETY: a text that was made just now.
        let read = unsafe { CStr::from_ptr(answer) }.to_string_lossy().contains("python.gc_collections");
        // SAFETY: as above, and not used any more.
        unsafe { driver_free(answer) };
        let line = if read { c"closing, and still readable\n" } else { c"closing, but not readable\n" };
        // SAFETY: a text of that many bytes; nobody can do anything about an error.
        unsafe { libc::write(1, line.as_ptr().cast(), line.count_bytes()) };
    }));
}

/// Reads gauges and profiles without a pause on a thread of its own, for as long as the process lives or Python can be
/// read; then asks once more, which must be refused.
#[unsafe(no_mangle)]
pub extern "C" fn driver_read_for_ever() {
    let work = || {
        loop {
            // SAFETY: a C string.
            let census = unsafe { driver_census(c"{}".as_ptr()) };
            for answer in [census, driver_gauges(), driver_details(0, 1)] {
                // SAFETY: a text that was made just now, and is not used after it was freed.
                let gone = unsafe { CStr::from_ptr(answer) }.to_string_lossy().contains("is gone");
                // SAFETY: as above.
                unsafe { driver_free(answer) };
                if gone {
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("leakline-python".into()).spawn(work).unwrap();
}

/// Frees an answer.
///
/// # Safety
///
/// `answer` must be an answer of this library's, and freed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn driver_free(answer: *mut c_char) {
    // SAFETY: the caller promises it.
    drop(unsafe { CString::from_raw(answer) });
}

fn with(work: impl FnOnce(&mut Driver) -> Result<Value, ProbeError> + Send) -> *mut c_char {
    text_of(on_a_lane(|| match DRIVER.lock().unwrap().as_mut() {
        Some(driver) => work(driver).unwrap_or_else(|error| json!({"error": error.to_string()})),
        None => json!({"error": "no probe"}),
    }))
}

/// Runs `work` on a thread that Python has never seen, and adds the CPU time that it took.
fn on_a_lane(work: impl FnOnce() -> Value + Send) -> Value {
    let timed = || {
        let before = thread_cpu_nanos();
        let mut answer = work();
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("cpu_nanos".to_owned(), json!(thread_cpu_nanos() - before));
        }
        answer
    };
    std::thread::scope(|scope| {
        let lane = std::thread::Builder::new().name("leakline-python".into()).spawn_scoped(scope, timed);
        lane.unwrap().join().unwrap()
    })
}

fn thread_cpu_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn text_of(answer: Value) -> *mut c_char {
    CString::new(answer.to_string()).unwrap_or_default().into_raw()
}

fn tick(cause: Cause) -> Tick {
    let at = MachineClock.now();
    Tick { cause, at, deadline_boot_nanos: at.boot_nanos + 60_000_000_000 }
}
