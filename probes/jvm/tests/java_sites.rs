//! Which lines of Java keep memory: estimates against the truth, with every collector; and the host does not notice. Each
//! JVM runs in a process of its own: this program again, at the test `host`.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

#[path = "support/inside.rs"]
mod inside;
#[path = "support/jvms.rs"]
mod jvms;
mod support;

use std::path::Path;

use jvms::{Host, collectors};

/// Not a test: what the processes run that the tests start.
#[test]
#[ignore = "runs only in the processes that the tests start"]
fn host() {
    if std::env::var_os("HOST_LIBJVM").is_some() {
        inside::run();
    }
}

/// As in Sites.java.
const PLANTS: [(f64, f64); 5] =
    [(48.0, 4000.0), (528.0, 2000.0), (4112.0, 600.0), (65_552.0, 40.0), (1_048_592.0, 3.0)];
const Z: f64 = 1.96;

fn truth(plant: usize) -> f64 {
    PLANTS[plant].0 * PLANTS[plant].1
}

/// A line of a reading: bytes, standard error, what survived, what was allocated, the function.
type Site = (f64, f64, f64, f64, String);

fn sites(text: &str) -> Vec<Site> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |index: usize| words[index].parse::<f64>().unwrap();
            (number(0), number(1), number(2), number(3), words[4].to_owned())
        })
        .collect()
}

/// The 95 % interval: of a count, as what is sampled is one.
fn interval(estimate: f64, error: f64, mean: f64) -> (f64, f64) {
    if estimate == 0.0 {
        return (0.0, Z * Z * mean);
    }
    if error == 0.0 {
        return (estimate, estimate);
    }
    let n = (estimate / error).powi(2);
    let (middle, half) = (n + Z * Z / 2.0, Z * (n + Z * Z / 4.0).sqrt());
    let scale = error * error / estimate;
    (scale * (middle - half), scale * (middle + half))
}

/// What a reading says of its mean.
fn mean(reading: &str) -> f64 {
    reading.lines().find_map(|line| line.strip_prefix("# mean ")).unwrap().parse().unwrap()
}

/// Keeps the same again and again: the sum of all estimates is the truth but for chance, and the intervals hold it.
fn check(home: &Path, options: &[&str], first_mean: u64, rounds: usize) {
    let what = format!("{} {options:?}, every {first_mean}", home.display());
    let text =
        Host::new(home, options, &["rounds", &rounds.to_string()]).with("HOST_SAMPLE", first_mean).text();
    let (rounds_text, end) = text.split_once("=END\n").expect(&what);
    assert_eq!(rounds_text.matches("# ").count(), rounds, "{what}: notes beside the mean\n{text}");
    let (mut sums, mut variances, mut inside, mut pairs) = ([0.0; 5], [0.0; 5], 0_u32, 0_u32);
    for round in rounds_text.split("=ROUND\n").skip(1) {
        let (sites, mean) = (sites(round), mean(round));
        for (plant, (size, count)) in PLANTS.into_iter().enumerate() {
            let name = format!("Sites.plant{plant}");
            let found: Vec<&Site> = sites.iter().filter(|site| site.4 == name).collect();
            assert!(found.len() <= 1, "{what}: one line for each\n{round}");
            let (estimate, error) = found.first().map_or((0.0, 0.0), |site| (site.0, site.1));
            sums[plant] += estimate;
            let probability = -(-size / mean).exp_m1();
            variances[plant] += count * size * size * (1.0 - probability) / probability;
            // What holds few samples is no question for an interval.
            if truth(plant) / mean >= 4.0 {
                let (low, high) = interval(estimate, error, mean);
                pairs += 1;
                inside += u32::from((low * 0.99..=high * 1.01).contains(&truth(plant)));
            }
        }
        // It was there at three readings, each after a collection.
        let plants = sites.iter().filter(|site| site.4.contains("plant"));
        assert!(plants.clone().all(|site| site.2 == site.0), "{what}: not all survived\n{round}");
        let garbage: f64 = sites.iter().filter(|site| site.4 == "Sites.garbage").map(|site| site.0).sum();
        assert!(garbage <= 2.0 * mean, "{what}: garbage counts as kept\n{round}");
    }
    for (plant, (sum, variance)) in sums.into_iter().zip(variances).enumerate() {
        let (expected, error) = (truth(plant) * rounds as f64, variance.sqrt());
        let (low, high) = (0.98 * expected - 4.5 * error, 1.02 * expected + 4.5 * error);
        assert!((low..=high).contains(&sum), "{what}, plant {plant}: {sum}, not {expected} ± {error}");
    }
    assert!(
        f64::from(inside) >= 0.9 * f64::from(pairs) - 3.0,
        "{what}: {inside} of {pairs} intervals hold the truth"
    );
    let left: f64 = sites(end).iter().filter(|site| site.4.contains("plant")).map(|site| site.0).sum();
    assert!(left <= truth(4), "{what}: {left} bytes are left of what was let go of\n{end}");
}

#[test]
fn estimates_hold_with_every_collector() {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            check(&home, &[collector, "-Xmx256m"], 65_536, 6);
        }
    }
}

/// A debugger's agent has the tool interface as well, and nearly all that it can.
#[test]
fn estimates_hold_beside_a_debugger() {
    let debugger = "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n,quiet=y,address=127.0.0.1:0";
    for home in jvms::jvms() {
        check(&home, &[debugger, "-Xmx256m"], 65_536, 6);
    }
}

#[test]
fn what_an_unloaded_class_made_is_counted() {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            let host = Host::new(&home, &[collector, "-Xmx256m"], &["unloaded"]);
            let text = host.with("HOST_SAMPLE", 16_384).text();
            let (reading, kept) = text.split_once("=KEPT ").expect(&text);
            let kept: f64 = kept.trim().parse().unwrap();
            let is_made = |site: &&Site| site.4 == "<unloaded" || site.4 == "Sites$Maker.get";
            let found: f64 = sites(reading).iter().filter(is_made).map(|site| site.0).sum();
            let error = (kept * mean(reading)).sqrt();
            let what = format!("{} {collector}: {found}, not {kept} ± {error}\n{text}", home.display());
            assert!((found - kept).abs() < 4.5 * error, "{what}");
            assert!(reading.contains(" <unloaded Java method> "), "none of the classes went: {what}");
        }
    }
}

#[test]
fn estimates_are_unbiased() {
    for home in jvms::jvms() {
        check(&home, &["-Xmx256m"], 131_072, 100);
    }
}

/// HotSpot begins its random numbers anew with every thread, and such a loop had the same object sampled each time.
#[test]
fn a_loop_beside_new_threads_has_each_of_its_objects_sampled_by_its_share() {
    // Three times: the numbers begin anew at what is chance.
    for home in jvms::jvms().into_iter().flat_map(|home| [home.clone(), home.clone(), home]) {
        let text = Host::new(&home, &["-Xmx512m"], &["loop", "100000"]).with("HOST_SAMPLE", 16_384).text();
        let found = sites(&text);
        let sum = |name: &str| found.iter().filter(|site| site.4 == name).map(|site| site.0).sum::<f64>();
        let (small, large) = (sum("Sites.small"), sum("Sites.large"));
        let (share, expected) = (small / (small + large), 48.0 / 1088.0);
        let error = (expected * mean(&text) / (small + large)).sqrt();
        assert!((share - expected).abs() < 4.5 * error, "{share}, not {expected} ± {error}\n{text}");
    }
}

#[test]
fn the_jvms_own_checks_find_nothing_to_say() {
    for home in jvms::jvms() {
        // Local references that native code of the host's holds around a callback are counted with ours.
        for scenario in [&["rounds", "2"][..], &["locals"]] {
            let host = Host::new(&home, &["-Xcheck:jni", "-Xmx256m"], scenario);
            let output = host.with("HOST_SAMPLE", 4096).run();
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && !said.contains("WARNING") && !said.contains("FATAL"),
                "{said}"
            );
        }
    }
}

/// With every collector: what nothing leads to any more is not told of, and nobody collected it.
#[test]
fn garbage_is_told_from_what_is_live_without_a_collection() {
    for home in jvms::jvms() {
        for collector in collectors(&home) {
            let host = Host::new(&home, &[collector, "-Xms512m", "-Xmx512m", "-Xmn400m"], &["uncollected"]);
            let text = host.with("HOST_SAMPLE", 16_384).with("HOST_EVERY_READING", 1).text();
            let (reading, rest) = text.split_once("=COLLECTIONS ").expect(&text);
            let (collections, counted) = rest.split_once("=LIVE ").expect(&text);
            let counted: f64 = counted.trim().parse().unwrap();
            let what = format!("{} {collector}\n{text}", home.display());
            // Some begin with a collection of their own.
            if collections.trim() != "0" {
                assert!(!matches!(collector, "-XX:+UseSerialGC" | "-XX:+UseParallelGC"), "{what}");
                continue;
            }
            let found = sites(reading);
            let gauge = |name: &str| -> f64 {
                let line = reading.lines().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name));
                line.expect(&what).trim().parse().unwrap()
            };
            let sum = |name: &str| found.iter().filter(|site| site.4 == name).map(|site| site.0).sum::<f64>();
            let mean = mean(reading);
            for plant in [1, 3] {
                let (found, kept) = (sum(&format!("Sites.plant{plant}")), 4.0 * truth(plant));
                // Told from the second reading on.
                let told = 0.75 * kept;
                assert!(
                    (found - told).abs() < 4.5 * (kept * mean).sqrt(),
                    "{plant}: {found}, not {told}: {what}"
                );
            }
            // HotSpot's counting makes some things of its own.
            let live = gauge("jvm.heap_live_bytes");
            assert!((live - counted).abs() < 0.01 * counted + 1e5, "{live}, not {counted}: {what}");
            // What the JVM itself makes there when the line runs first is no garbage, and may be a sample.
            assert!(sum("Sites.garbage") <= 2.0 * mean, "{what}");
        }
    }
}

/// HotSpot 17 samples two to three times too often what is small, where the young generation is so small that larger objects do
/// not fit into a thread's share of it; nobody can tell from outside. Newer ones do not.
#[test]
fn estimates_hold_with_a_young_generation_that_is_soon_full() {
    for home in jvms::jvms() {
        let release = std::fs::read_to_string(home.join("release")).unwrap_or_default();
        if release.contains("JAVA_VERSION=\"17") {
            continue;
        }
        for collector in ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC"] {
            let host = Host::new(&home, &[collector, "-Xmx512m", "-Xmn2m"], &["often", "60000"]);
            let text = host.with("HOST_SAMPLE", 65_536).text();
            let (reading, kept) = text.split_once("=KEPT ").expect(&text);
            let found = sites(reading).into_iter().filter(|site| site.4 == "Sites.small1024");
            let (found, kept): (f64, f64) = (found.map(|site| site.0).sum(), kept.trim().parse().unwrap());
            let error = (kept * mean(reading)).sqrt();
            assert!((found - kept).abs() < 4.5 * error, "{collector}: {found}, not {kept} ± {error}\n{text}");
        }
    }
}

#[test]
fn with_very_many_samples_the_mean_grows_and_the_estimate_stays_true() {
    for home in jvms::jvms() {
        let text = Host::new(&home, &["-Xmx512m"], &["storm", "6"]).with("HOST_SAMPLE", 4096).text();
        let (kept, reading) = text.strip_prefix("=KEPT ").expect(&text).split_once('\n').unwrap();
        let kept: f64 = kept.parse().unwrap();
        let mean = mean(reading);
        assert!(mean >= 16_384.0, "some hundred megabytes a second every 4 KiB are too many samples: {mean}");
        let found = sites(reading).into_iter().filter(|site| site.4.ends_with("Sites.storm"));
        let (live, error) = found
            .map(|site| (site.0, site.1))
            .fold((0.0, 0.0_f64), |sum, site| (sum.0 + site.0, sum.1.hypot(site.1)));
        assert!(
            kept > 1e7 && (live - kept).abs() <= 4.5 * error + 0.02 * kept,
            "{kept}, found {live} ± {error}\n{reading}"
        );
    }
}

#[test]
fn exceptions_that_are_thrown_and_caught_are_no_others() {
    for home in jvms::jvms() {
        let text = Host::new(&home, &["-Xmx64m"], &["exceptions"]).with("HOST_SAMPLE", 4096).text();
        assert!(text.starts_with("2020\n") && !text.contains("no Java call paths"), "{text}");
    }
}

#[test]
fn where_another_agent_samples_the_reading_says_so() {
    for home in jvms::jvms() {
        let text = Host::new(&home, &[], &["taken"]).text();
        assert!(text.contains("# no Java call paths: ") && text.contains("another agent"), "{text}");
    }
}
