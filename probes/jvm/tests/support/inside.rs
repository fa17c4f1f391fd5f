//! The inside of a host: makes a JVM in this process, as a launcher would, and reads it from a lane of its own.

#![expect(clippy::multiple_unsafe_ops_per_block, reason = "a launcher in a test: JNI from end to end")]

use std::ffi::{CStr, CString, c_void};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use jni::sys;
use leakline_core::{Attachment, Probe, SiteHolder};
use leakline_jvm::{HistogramOptions, JvmOptions, JvmProbe, SitesOptions};
use leakline_probing::loader::LoadedObject;

use crate::support::{Driven, MachineClock};

/// Asks the lane for a reading.
static LANE: OnceLock<Mutex<SyncSender<Asked>>> = OnceLock::new();

type Asked = (What, SyncSender<String>);

/// What a reading is printed for.
#[derive(Clone, Copy)]
enum What {
    Gauges,
    Histogram,
    Sites,
}

/// Runs `Host` as the environment says, and ends the process as it would end.
pub(crate) fn run() {
    let busy = std::env::var_os("HOST_BUSY").is_some();
    if std::env::var_os("HOST_AGENT").is_some() {
        leakline_probing::java::tools::agent_attached();
    }
    start_lane(busy);
    let options = std::env::var("HOST_OPTIONS").unwrap();
    let arguments = std::env::var("HOST_ARGUMENTS").unwrap();
    let libjvm = LoadedObject::load(&PathBuf::from(std::env::var_os("HOST_LIBJVM").unwrap())).unwrap();
    // What the test harness prints goes before, and what Java prints comes after.
    write_line("HOST BEGIN");
    // SAFETY: the arguments are what JNI asks for, and this process has no other JVM.
    unsafe { run_java(&libjvm, &options, &arguments) };
    write_line("HOST END");
    let version = leakline_probing::java::structs::version().unwrap_or_default();
    write_line(&format!("HOST VERSION {version}"));
    std::process::exit(0);
}

fn write_line(line: &str) {
    std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes()).unwrap();
}

/// A thread with the probe, as the scheduler would have it.
fn start_lane(busy: bool) {
    let (asks, asked) = sync_channel::<Asked>(1);
    LANE.set(Mutex::new(asks)).unwrap();
    let lane = std::thread::Builder::new().name("leakline-jvm".to_owned());
    let body = move || {
        let clock = MachineClock::new();
        let every = if busy || std::env::var_os("HOST_EVERY_READING").is_some() {
            1
        } else {
            HistogramOptions::default().every
        };
        let histogram = HistogramOptions { every, max_pause: std::time::Duration::from_secs(4) };
        let mean = std::env::var("HOST_SAMPLE").ok().map(|mean| mean.parse().unwrap());
        let sites = SitesOptions {
            mean_sample_bytes: mean.unwrap_or(SitesOptions::default().mean_sample_bytes),
            ..SitesOptions::default()
        };
        let options = JvmOptions::default().with_histogram(histogram).with_sites(sites);
        let mut probe = Driven::new(clock.clone(), JvmProbe::new(clock, options));
        if busy {
            loop {
                while !matches!(probe.attach(), Attachment::Attached(_)) {}
                while probe.try_gauges().is_ok() && probe.try_details().is_ok() {}
            }
        }
        for (what, answer) in asked {
            let _ = answer.send(reading(&mut probe, what));
        }
    };
    lane.spawn(body).unwrap();
}

fn reading(probe: &mut Driven<JvmProbe>, what: What) -> String {
    if probe.runtime_name.is_empty() {
        loop {
            match probe.attach() {
                Attachment::Attached(runtime) => {
                    probe.runtime_name = runtime.name;
                    break if std::env::var_os("HOST_SAMPLE").is_some() {
                        stay();
                    };
                }
                Attachment::Absent { .. } => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
    }
    match what {
        What::Histogram => return histogram_of(probe),
        What::Sites => return sites_of(probe),
        What::Gauges => {}
    }
    let gauges = probe.gauges().gauges;
    let details = probe.details();
    let mut text = String::new();
    for gauge in gauges.iter().chain(&details.gauges) {
        writeln!(text, "{} {}", gauge.name, gauge.value).unwrap();
    }
    for note in details.notes {
        writeln!(text, "# {note}").unwrap();
    }
    text
}

/// Has this thread stay in the JVM. HotSpot draws all threads' samples from one sequence, which begins anew, mostly as it
/// began before, with each thread that comes: with a reading in each round, all rounds would have the same samples.
fn stay() {
    type Created = unsafe extern "system" fn(*mut *mut sys::JavaVM, sys::jsize, *mut sys::jsize) -> sys::jint;
    let libjvm = LoadedObject::load(&PathBuf::from(std::env::var_os("HOST_LIBJVM").unwrap())).unwrap();
    let created = libjvm.symbol(c"JNI_GetCreatedJavaVMs").unwrap();
    let (mut vm, mut count, mut env) = (std::ptr::null_mut(), 0, std::ptr::null_mut());
    // SAFETY: as JNI asks for.
    unsafe {
        let created = std::mem::transmute::<std::ptr::NonNull<c_void>, Created>(created);
        assert_eq!((created(&raw mut vm, 1, &raw mut count), count), (sys::JNI_OK, 1));
        let attach = ((**vm).v1_4).AttachCurrentThreadAsDaemon;
        assert_eq!(attach(vm, &raw mut env, std::ptr::null_mut()), sys::JNI_OK);
    }
}

fn histogram_of(probe: &mut Driven<JvmProbe>) -> String {
    probe.ask_census();
    let details = probe.details();
    let mut text = String::new();
    for stat in details.profiles.iter().flat_map(|profile| profile.sites()) {
        let SiteHolder::Class(name) = stat.site.holder() else { continue };
        writeln!(text, "{} {} {name}", stat.live.blocks, stat.live.bytes).unwrap();
    }
    for note in details.notes {
        writeln!(text, "# {note}").unwrap();
    }
    text
}

fn sites_of(probe: &mut Driven<JvmProbe>) -> String {
    let details = probe.details();
    let mut text = String::new();
    for profile in details.profiles.iter().filter(|profile| profile.source().name == "sampled") {
        writeln!(text, "# mean {}", profile.source().mean_sample_bytes.unwrap()).unwrap();
        for stat in profile.sites() {
            let (survived, allocated) = (stat.survived.unwrap().bytes, stat.allocated.unwrap().bytes);
            let frame = stat.site.frames().first().unwrap();
            let (live, error) = (stat.live.bytes, stat.standard_error_bytes);
            writeln!(text, "{live} {error} {survived} {allocated} {} {}", frame.function, frame.line)
                .unwrap();
        }
    }
    let live = details.gauges.iter().filter(|gauge| gauge.name == "jvm.heap_live_bytes");
    for gauge in live {
        writeln!(text, "# {} {}", gauge.name, gauge.value).unwrap();
    }
    for note in details.notes {
        writeln!(text, "# {note}").unwrap();
    }
    text
}

fn ask(what: What) -> String {
    let (answer, answered) = sync_channel(1);
    LANE.get().unwrap().lock().unwrap().send((what, answer)).unwrap();
    answered.recv().unwrap()
}

unsafe extern "system" fn read(env: *mut sys::JNIEnv, _: sys::jclass) -> sys::jstring {
    let text = CString::new(ask(What::Gauges)).unwrap();
    // SAFETY: called from Java with a valid interface.
    unsafe { ((**env).v1_1.NewStringUTF)(env, text.as_ptr()) }
}

unsafe extern "system" fn histogram(env: *mut sys::JNIEnv, _: sys::jclass) -> sys::jstring {
    let text = CString::new(ask(What::Histogram)).unwrap();
    // SAFETY: called from Java with a valid interface.
    unsafe { ((**env).v1_1.NewStringUTF)(env, text.as_ptr()) }
}

unsafe extern "system" fn sites(env: *mut sys::JNIEnv, _: sys::jclass) -> sys::jstring {
    let text = CString::new(ask(What::Sites)).unwrap();
    // SAFETY: called from Java with a valid interface.
    unsafe { ((**env).v1_1.NewStringUTF)(env, text.as_ptr()) }
}

unsafe extern "system" fn take_sampling(env: *mut sys::JNIEnv, _: sys::jclass) {
    type Add = unsafe extern "system" fn(*mut c_void, *const [u32; 4]) -> i32;
    let (mut vm, mut jvmti): (*mut sys::JavaVM, *mut c_void) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: called from Java with a valid interface; 142 is AddCapabilities, bit 43 that of sampled allocations.
    unsafe {
        assert_eq!(((**env).v1_2.GetJavaVM)(env, &raw mut vm), sys::JNI_OK);
        assert_eq!(((**vm).v1_2.GetEnv)(vm, &raw mut jvmti, 0x300B_0000), sys::JNI_OK);
        let table = jvmti.cast::<*const *const c_void>().read();
        let add = std::mem::transmute::<*const c_void, Add>(table.add(141).read());
        let wanted = [0, 1 << 11, 0, 0];
        assert_eq!(add(jvmti, &raw const wanted), 0);
    }
}

unsafe extern "system" fn allocate_with_many_locals(env: *mut sys::JNIEnv, class: sys::jclass, times: i32) {
    // SAFETY: called from Java with a valid interface.
    unsafe {
        let functions = &(**env).v1_2;
        assert_eq!((functions.EnsureLocalCapacity)(env, 50), sys::JNI_OK);
        for _ in 0..40 {
            (functions.NewLocalRef)(env, class);
        }
        for _ in 0..times {
            let array = (functions.NewByteArray)(env, 1000);
            (functions.DeleteLocalRef)(env, array);
        }
    }
}

unsafe extern "system" fn histograms_beside_jcmd(env: *mut sys::JNIEnv, _: sys::jclass) -> sys::jstring {
    let libjvm = PathBuf::from(std::env::var_os("HOST_LIBJVM").unwrap());
    let jcmd = libjvm.ancestors().nth(3).unwrap().join("bin/jcmd");
    let before = ask(What::Histogram);
    let id = std::process::id().to_string();
    let output = std::process::Command::new(jcmd).args([&id, "GC.class_histogram", "-all"]).output().unwrap();
    let after = ask(What::Histogram);
    let text = format!("=A\n{before}=J\n{}=B\n{after}", String::from_utf8_lossy(&output.stdout));
    let text = CString::new(text).unwrap();
    // SAFETY: called from Java with a valid interface.
    unsafe { ((**env).v1_1.NewStringUTF)(env, text.as_ptr()) }
}

unsafe extern "system" fn throw_while_counting(env: *mut sys::JNIEnv, _: sys::jclass) {
    // SAFETY: called from Java with a valid interface.
    unsafe {
        let class = ((**env).v1_1.FindClass)(env, c"java/lang/IllegalStateException".as_ptr());
        ((**env).v1_1.ThrowNew)(env, class, c"still mine".as_ptr());
    }
    assert!(ask(What::Histogram).lines().count() > 100);
}

unsafe extern "system" fn malloc_live(_: *mut sys::JNIEnv, _: sys::jclass) -> sys::jlong {
    // SAFETY: takes nothing, may be called at any time.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as sys::jlong
}

/// References that `hold` made.
static HELD: [Mutex<Vec<usize>>; 2] = [const { Mutex::new(Vec::new()) }; 2];

unsafe extern "system" fn hold(env: *mut sys::JNIEnv, class: sys::jclass, globals: i32, weak: i32) {
    // SAFETY: called from Java with a valid interface.
    let functions = unsafe { &(**env).v1_2 };
    let kinds = [
        (globals, functions.NewGlobalRef, functions.DeleteGlobalRef),
        (weak, functions.NewWeakGlobalRef, functions.DeleteWeakGlobalRef),
    ];
    for ((more, make, delete), held) in kinds.into_iter().zip(&HELD) {
        let mut held = held.lock().unwrap();
        for _ in 0..more {
            // SAFETY: as above.
            held.push(unsafe { make(env, class) } as usize);
        }
        for _ in more..0 {
            // SAFETY: it was made above, and is let go of once.
            unsafe { delete(env, held.pop().unwrap() as sys::jobject) };
        }
    }
}

unsafe extern "system" fn disturb(env: *mut sys::JNIEnv, class: sys::jclass, times: i32) {
    for _ in 0..times {
        // SAFETY: called from Java with a valid interface.
        unsafe {
            let functions = &(**env).v1_2;
            let (one, other) =
                ((functions.NewGlobalRef)(env, class), (functions.NewWeakGlobalRef)(env, class));
            (functions.DeleteGlobalRef)(env, one);
            (functions.DeleteWeakGlobalRef)(env, other);
        }
    }
}

/// Runs `words` on a thread that Java does not know, and gives them to Java.
unsafe fn elsewhere(env: *mut sys::JNIEnv, words: fn() -> String) -> sys::jstring {
    let thread = std::thread::Builder::new().name("leakline-jvm".to_owned()).spawn(words);
    let text = thread.unwrap().join().unwrap_or_else(|_| "it panicked".to_owned());
    let text = CString::new(text).unwrap();
    // SAFETY: called from Java with a valid interface.
    unsafe { ((**env).v1_1.NewStringUTF)(env, text.as_ptr()) }
}

unsafe extern "system" fn conformance(env: *mut sys::JNIEnv, _: sys::jclass) -> sys::jstring {
    let words = || {
        let make = |clock| Box::new(JvmProbe::new(clock, JvmOptions::default())) as Box<dyn Probe>;
        leakline_core::conformance::probe_violations(make).join("\n")
    };
    // SAFETY: called from Java with a valid interface.
    unsafe { elsewhere(env, words) }
}

unsafe extern "system" fn cost(env: *mut sys::JNIEnv, _: sys::jclass) -> sys::jstring {
    // SAFETY: called from Java with a valid interface.
    unsafe { elsewhere(env, costs) }
}

fn costs() -> String {
    let clock = MachineClock::new();
    let mut probe = Driven::new(clock.clone(), JvmProbe::new(clock, JvmOptions::default()));
    let started = Instant::now();
    assert!(matches!(probe.attach(), Attachment::Attached(_)));
    let attach = started.elapsed();
    let mut text = format!("  attach {attach:.1?}");
    for (rounds, name) in [(21, "first 21"), (2001, "next 2001")] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            let started = Instant::now();
            probe.gauges();
            times[0].push(started.elapsed());
            let started = Instant::now();
            probe.details();
            times[1].push(started.elapsed());
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        let [gauges, details] = times.map(|times| times[times.len() / 2]);
        write!(text, "; {name}: gauges {gauges:.1?}, details {details:.1?}").unwrap();
    }
    text + "\n"
}

type CreateJavaVm =
    unsafe extern "system" fn(*mut *mut sys::JavaVM, *mut *mut c_void, *mut c_void) -> sys::jint;

unsafe fn run_java(libjvm: &LoadedObject, options: &str, arguments: &str) {
    let create = libjvm.symbol(c"JNI_CreateJavaVM").unwrap();
    let texts: Vec<CString> = options.lines().map(|option| CString::new(option).unwrap()).collect();
    let mut options: Vec<sys::JavaVMOption> = texts
        .iter()
        .map(|text| sys::JavaVMOption {
            optionString: text.as_ptr().cast_mut(),
            extraInfo: std::ptr::null_mut(),
        })
        .collect();
    let mut init = sys::JavaVMInitArgs {
        version: sys::JNI_VERSION_1_8,
        nOptions: i32::try_from(options.len()).unwrap(),
        options: options.as_mut_ptr(),
        ignoreUnrecognized: false,
    };
    let (mut vm, mut env): (*mut sys::JavaVM, *mut c_void) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: as the caller says.
    unsafe {
        let create = std::mem::transmute::<std::ptr::NonNull<c_void>, CreateJavaVm>(create);
        assert_eq!(create(&raw mut vm, &raw mut env, (&raw mut init).cast()), sys::JNI_OK);
        let env: *mut sys::JNIEnv = env.cast();
        let table = &(**env).v1_2;
        let host = (table.FindClass)(env, c"Host".as_ptr());
        let natives = [
            native(c"read", c"()Ljava/lang/String;", read as *mut c_void),
            native(c"conformance", c"()Ljava/lang/String;", conformance as *mut c_void),
            native(c"cost", c"()Ljava/lang/String;", cost as *mut c_void),
            native(c"histogram", c"()Ljava/lang/String;", histogram as *mut c_void),
            native(c"histogramsBesideJcmd", c"()Ljava/lang/String;", histograms_beside_jcmd as *mut c_void),
            native(c"throwWhileCounting", c"()V", throw_while_counting as *mut c_void),
            native(c"mallocLive", c"()J", malloc_live as *mut c_void),
            native(c"hold", c"(II)V", hold as *mut c_void),
            native(c"disturb", c"(I)V", disturb as *mut c_void),
        ];
        assert_eq!((table.RegisterNatives)(env, host, natives.as_ptr(), 9), sys::JNI_OK);
        let other = (table.FindClass)(env, c"Sites".as_ptr());
        let natives = [
            native(c"read", c"()Ljava/lang/String;", sites as *mut c_void),
            native(c"takeSampling", c"()V", take_sampling as *mut c_void),
            native(c"allocateWithManyLocals", c"(I)V", allocate_with_many_locals as *mut c_void),
        ];
        assert_eq!((table.RegisterNatives)(env, other, natives.as_ptr(), 3), sys::JNI_OK);
        let main = (table.GetStaticMethodID)(env, host, c"main".as_ptr(), c"([Ljava/lang/String;)V".as_ptr());
        let texts: Vec<CString> = arguments.lines().map(|text| CString::new(text).unwrap()).collect();
        let string = (table.FindClass)(env, c"java/lang/String".as_ptr());
        let length = i32::try_from(texts.len()).unwrap();
        let array = (table.NewObjectArray)(env, length, string, std::ptr::null_mut());
        for (index, text) in texts.iter().enumerate() {
            let text = (table.NewStringUTF)(env, text.as_ptr());
            (table.SetObjectArrayElement)(env, array, i32::try_from(index).unwrap(), text);
        }
        let argument = [sys::jvalue { l: array }];
        (table.CallStaticVoidMethodA)(env, host, main, argument.as_ptr());
        if (table.ExceptionCheck)(env) {
            (table.ExceptionDescribe)(env);
            std::process::exit(1);
        }
        assert_eq!(((**vm).v1_1.DestroyJavaVM)(vm), sys::JNI_OK);
    }
}

fn native(name: &CStr, signature: &CStr, function: *mut c_void) -> sys::JNINativeMethod {
    sys::JNINativeMethod {
        name: name.as_ptr().cast_mut(),
        signature: signature.as_ptr().cast_mut(),
        fnPtr: function,
    }
}
