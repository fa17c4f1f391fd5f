//! The entry points that Java calls: settings and names come in as text, answers go out as text.
//! Never throws, never lets a panic out.

use std::ffi::c_void;

use jni::objects::{JClass, JString};
use jni::strings::JNIStr;
use jni::{Env, EnvUnowned, NativeMethod, Outcome, jni_str};
use leakline::{AgentError, Config, LogcatTarget};

use crate::answer;
use crate::app_probe::AppProbe;

/// The entry points as Java declares them.
pub(crate) fn methods() -> [NativeMethod<'static>; 7] {
    let ask = jni_str!("()Ljava/lang/String;");
    let tell = jni_str!("(Ljava/lang/String;)Ljava/lang/String;");
    [
        method(jni_str!("start"), tell, start as *mut c_void),
        method(jni_str!("agentRefused"), tell, agent_refused as *mut c_void),
        method(jni_str!("mark"), tell, mark as *mut c_void),
        method(jni_str!("snapshotNow"), ask, snapshot_now as *mut c_void),
        method(jni_str!("stats"), ask, stats as *mut c_void),
        method(jni_str!("resetBaseline"), ask, reset_baseline as *mut c_void),
        method(jni_str!("stop"), ask, stop as *mut c_void),
    ]
}

fn method(name: &'static JNIStr, signature: &'static JNIStr, function: *mut c_void) -> NativeMethod<'static> {
    // SAFETY: `methods` pairs each signature with a function that takes just that.
    unsafe { NativeMethod::from_raw_parts(name, signature, function) }
}

type Answer = Result<String, String>;

extern "system" fn start<'l>(env: EnvUnowned<'l>, _: JClass<'l>, settings: JString<'l>) -> JString<'l> {
    with_text(env, settings, |settings| {
        let mut config = device_config();
        config.set_all(answer::settings(settings), "Leakline.start").map_err(|error| error.to_string())?;
        leakline::start_with(config, vec![Box::new(AppProbe)], Vec::new()).map_err(refused)?;
        Ok(String::new())
    })
}

extern "system" fn agent_refused<'l>(env: EnvUnowned<'l>, _: JClass<'l>, reason: JString<'l>) -> JString<'l> {
    with_text(env, reason, |reason| {
        leakline::java_agent(Err(reason));
        Ok(String::new())
    })
}

/// What suits an app: the end of its process is a kill, so nothing waits for it.
fn device_config() -> Config {
    let logcat_target = if cfg!(target_os = "android") { LogcatTarget::Liblog } else { LogcatTarget::Auto };
    Config { logcat_target, ..Config::default() }
}

extern "system" fn mark<'l>(env: EnvUnowned<'l>, _: JClass<'l>, name: JString<'l>) -> JString<'l> {
    with_text(env, name, |name| leakline::mark(name).map(|()| String::new()).map_err(refused))
}

extern "system" fn snapshot_now<'l>(env: EnvUnowned<'l>, _: JClass<'l>) -> JString<'l> {
    with(env, || leakline::snapshot_now().map(|snapshot| answer::snapshot(&snapshot)).map_err(refused))
}

extern "system" fn stats<'l>(env: EnvUnowned<'l>, _: JClass<'l>) -> JString<'l> {
    with(env, || leakline::stats().map(|stats| answer::stats(&stats)).map_err(refused))
}

extern "system" fn reset_baseline<'l>(env: EnvUnowned<'l>, _: JClass<'l>) -> JString<'l> {
    with(env, || leakline::reset_baseline().map(|()| String::new()).map_err(refused))
}

extern "system" fn stop<'l>(env: EnvUnowned<'l>, _: JClass<'l>) -> JString<'l> {
    with(env, || {
        leakline::stop();
        Ok(String::new())
    })
}

fn refused(error: AgentError) -> String {
    error.to_string()
}

fn with<'l>(env: EnvUnowned<'l>, call: impl FnOnce() -> Answer) -> JString<'l> {
    edge(env, |env| new_text(env, call()))
}

fn with_text<'l>(env: EnvUnowned<'l>, text: JString<'l>, call: impl FnOnce(&str) -> Answer) -> JString<'l> {
    edge(env, |env| {
        let text = if text.is_null() { String::new() } else { text.try_to_string(env)? };
        new_text(env, call(&text))
    })
}

fn new_text<'l>(env: &mut Env<'l>, answer: Answer) -> jni::errors::Result<JString<'l>> {
    match answer {
        Ok(text) => env.new_string(format!("ok\n{text}")),
        Err(reason) => env.new_string(format!("error\n{reason}")),
    }
}

/// Runs `call`; a panic becomes an answer, and what is thrown meanwhile (no memory for a text) goes on to the caller.
fn edge<'l>(
    mut env: EnvUnowned<'l>,
    call: impl FnOnce(&mut Env<'l>) -> jni::errors::Result<JString<'l>>,
) -> JString<'l> {
    match env.with_env(call).into_outcome() {
        Outcome::Ok(text) => text,
        Outcome::Err(error) => {
            tracing::error!(%error, "an answer to Java was lost");
            JString::null()
        }
        Outcome::Panic(_) => {
            let told =
                env.with_env(|env| env.new_string("error\na panic inside leakline, caught")).into_outcome();
            if let Outcome::Ok(text) = told { text } else { JString::null() }
        }
    }
}
