//! Decides whether a JVM that has announced itself may be entered.
//! Pure: is given what threads there are, which version it is and what time it is, and looks at nothing itself.
//!
//! HotSpot's `JNI_GetCreatedJavaVMs` used to name the JVM from the moment its creation began, and
//! `AttachCurrentThread` does not wait for the end of it (JDK-8308341, mended in 22, and in later updates of 17 and 21). Where
//! the version says that it is mended, a JVM that is named is one that has been created. Otherwise there
//! is no exported flag. What can be seen from outside are its threads: it starts `Notification Thread` right after its
//! live phase began (JDK 14 and later). Older ones have a `Service Thread` from the middle of the start on, which is a
//! fraction of a second before its end.

use std::time::Duration;

/// After `Service Thread` was seen in a JVM that has no `Notification Thread`.
const AFTER_SERVICE_THREAD: Duration = Duration::from_secs(5);
/// After the JVM was seen, when it gives its threads no names that are known.
const AFTER_ANYTHING: Duration = Duration::from_secs(30);

/// What the kernel keeps of a thread's name: 15 bytes. From JDK 26 on HotSpot leaves out the middle itself.
const NOTIFICATION_THREAD: [&str; 2] = ["Notification Th", "Notific..Thread"];
const SERVICE_THREAD: &str = "Service Thread";

/// From this version on the JVM is not named before its creation has ended.
const NAMED_WHEN_CREATED: u32 = 22;

/// Watches one JVM start.
#[derive(Debug, Default)]
pub struct Readiness {
    seen: Option<u64>,
    service_thread_seen: Option<u64>,
}

impl Readiness {
    /// Whether a JVM that is named may be entered, given its version, as far as it is known, and the names of the process's
    /// threads.
    pub fn ready<'a>(
        &mut self,
        version: Option<u32>,
        threads: impl Iterator<Item = &'a str>,
        boot_nanos: u64,
    ) -> bool {
        if version.is_some_and(|version| version >= NAMED_WHEN_CREATED) {
            return true;
        }
        let seen = *self.seen.get_or_insert(boot_nanos);
        for name in threads {
            match name {
                name if NOTIFICATION_THREAD.contains(&name) => return true,
                SERVICE_THREAD => _ = self.service_thread_seen.get_or_insert(boot_nanos),
                _ => {}
            }
        }
        let past =
            |since: u64, rest: Duration| u128::from(boot_nanos.saturating_sub(since)) >= rest.as_nanos();
        past(seen, AFTER_ANYTHING)
            || self.service_thread_seen.is_some_and(|since| past(since, AFTER_SERVICE_THREAD))
    }
}

/// The names of this process's threads, as far as they can be read.
pub fn thread_names() -> Vec<String> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read(thread.path().join("comm")).ok())
        .map(|name| String::from_utf8_lossy(&name).trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second; each second has the names of the threads in it.
    fn check(seconds: &[&str], ready: bool) {
        let mut readiness = Readiness::default();
        let mut last = false;
        for (second, names) in seconds.iter().enumerate() {
            last = readiness.ready(Some(17), names.split(','), second as u64 * 1_000_000_000);
        }
        assert_eq!(last, ready, "{seconds:?}");
    }

    #[test]
    fn a_new_jvm_is_ready_with_its_notification_thread() {
        check(&["java,VM Thread"], false);
        check(&["java,VM Thread,Service Thread"], false);
        check(&["java,VM Thread,Service Thread,Notification Th"], true);
        check(&["java,VM Thread,Service Thread,Notific..Thread"], true);
    }

    #[test]
    fn a_jvm_of_today_is_ready_as_soon_as_it_is_named() {
        for (version, ready) in [(None, false), (Some(21), false), (Some(22), true), (Some(27), true)] {
            assert_eq!(Readiness::default().ready(version, ["java"].into_iter(), 0), ready, "{version:?}");
        }
    }

    #[test]
    fn an_old_jvm_is_ready_some_seconds_after_its_service_thread() {
        let mut seconds = vec!["java"; 10];
        check(&seconds, false);
        seconds.push("java,Service Thread");
        check(&seconds, false);
        seconds.extend(["java,Service Thread"; 5]);
        check(&seconds, true);
    }

    #[test]
    fn a_jvm_of_another_make_is_ready_after_half_a_minute() {
        check(&["main"; 30], false);
        check(&["main"; 31], true);
    }

    #[test]
    fn this_process_has_a_thread_with_a_name() {
        assert!(!thread_names().is_empty());
    }
}
