//! `libleakline_junit.so`: has HotSpot tell of every allocation of some classes (JVMTI, Java 11 and later) while the JUnit
//! extension repeats a test that has failed, and says which call paths made the objects that are still there.
//!
//! - `sampling`: the callback, on the test's threads, and the table that it fills;
//! - `held`: what of the table is still there, in rows of text;
//! - `tags`: which classes are asked for;
//! - here: what `leakline.junit.NativeSites` calls.
//!
//! Never here: the decision whether a test leaks, an agent, a thread, anything that a test has to pass through when it
//! keeps nothing. Never throws, never lets a panic out.

#[cfg(unix)]
mod held;
#[cfg(unix)]
mod sampling;
#[cfg(unix)]
mod tags;

#[cfg(unix)]
mod entry {
    use jni::objects::{JClass, JString};
    use jni::sys::{JNI_FALSE, JNI_TRUE, jboolean, jint, jlong};
    use jni::{Env, EnvUnowned, Outcome};
    use leakline_probing::java::vm::Vm;

    use crate::{held, sampling};

    /// What a caught panic is told as.
    const PANICKED: &str = "a panic inside leakline, caught; please report this";

    /// Begins with the classes of these names, one a line, as a heap histogram writes them. Null, or why not.
    #[unsafe(no_mangle)]
    extern "system" fn Java_leakline_junit_NativeSites_begin<'l>(
        env: EnvUnowned<'l>,
        _: JClass<'l>,
        classes: JString<'l>,
    ) -> JString<'l> {
        edge(env, PANICKED, |env| {
            let classes = classes.try_to_string(env)?;
            let raw_vm = env.get_java_vm()?.get_raw();
            // SAFETY: the JVM that calls us, which lives as long as the process.
            let vm = unsafe { Vm::from_raw(raw_vm.cast()) };
            let begun = vm.ok_or_else(|| "there is no JVM".to_owned()).and_then(|vm| {
                // SAFETY: the calling thread's.
                unsafe { sampling::begin(vm, env.get_raw(), &classes.lines().collect::<Vec<_>>()) }
            });
            begun.map_or_else(|reason| env.new_string(reason), |()| Ok(JString::null()))
        })
    }

    /// Whether the calling thread's allocations are told by now: the JVM draws a thread's next sample beforehand.
    #[unsafe(no_mangle)]
    extern "system" fn Java_leakline_junit_NativeSites_isTold<'l>(
        _: EnvUnowned<'l>,
        _: JClass<'l>,
    ) -> jboolean {
        if sampling::is_told() { JNI_TRUE } else { JNI_FALSE }
    }

    /// Which part of the rounds is run from now on; negative: none.
    #[unsafe(no_mangle)]
    extern "system" fn Java_leakline_junit_NativeSites_part<'l>(
        _: EnvUnowned<'l>,
        _: JClass<'l>,
        part: jint,
    ) {
        sampling::set_part(part);
    }

    /// Forgets what was collected if there are more than `many` objects. How many are left.
    #[unsafe(no_mangle)]
    extern "system" fn Java_leakline_junit_NativeSites_sweep<'l>(
        mut env: EnvUnowned<'l>,
        _: JClass<'l>,
        many: jlong,
    ) -> jlong {
        let swept = env.with_env(|env| {
            // SAFETY: the calling thread's.
            let left = unsafe { sampling::sweep(env.get_raw(), usize::try_from(many).unwrap_or(0)) };
            Ok::<_, jni::errors::Error>(left as jlong)
        });
        if let Outcome::Ok(left) = swept.into_outcome() { left } else { 0 }
    }

    /// What is still there, a row for each call path; see `held`.
    #[unsafe(no_mangle)]
    extern "system" fn Java_leakline_junit_NativeSites_held<'l>(
        env: EnvUnowned<'l>,
        _: JClass<'l>,
    ) -> JString<'l> {
        edge(env, "", |env| {
            // SAFETY: the calling thread's.
            unsafe { sampling::sweep(env.get_raw(), 0) };
            let told = env.with_local_frame(held::LOCALS, |_| Ok::<_, jni::errors::Error>(held::tell()))?;
            env.new_string(told)
        })
    }

    /// Forgets all objects, and goes on.
    #[unsafe(no_mangle)]
    extern "system" fn Java_leakline_junit_NativeSites_forget<'l>(mut env: EnvUnowned<'l>, _: JClass<'l>) {
        let _ = env
            .with_env(|env| {
                // SAFETY: the calling thread's.
                unsafe { sampling::forget(env.get_raw()) };
                Ok::<_, jni::errors::Error>(())
            })
            .into_outcome();
    }

    /// Ends.
    #[unsafe(no_mangle)]
    extern "system" fn Java_leakline_junit_NativeSites_end<'l>(mut env: EnvUnowned<'l>, _: JClass<'l>) {
        let _ = env
            .with_env(|env| {
                sampling::end();
                // SAFETY: the calling thread's.
                unsafe { sampling::forget(env.get_raw()) };
                Ok::<_, jni::errors::Error>(())
            })
            .into_outcome();
    }

    /// Runs `call`; a panic becomes `panicked`, and what is thrown meanwhile (no memory for a text) goes on to the caller.
    fn edge<'l>(
        mut env: EnvUnowned<'l>,
        panicked: &str,
        call: impl FnOnce(&mut Env<'l>) -> jni::errors::Result<JString<'l>>,
    ) -> JString<'l> {
        match env.with_env(call).into_outcome() {
            Outcome::Ok(text) => text,
            Outcome::Err(_) => JString::null(),
            Outcome::Panic(_) => match env.with_env(|env| env.new_string(panicked)).into_outcome() {
                Outcome::Ok(text) => text,
                Outcome::Err(_) | Outcome::Panic(_) => JString::null(),
            },
        }
    }
}
