//! `leakline holders` on dumps of real JVMs: who was planted as the holder is named, and the counts are those of the JVM's
//! own histogram. Where no JDK is installed it says that it was skipped.

#![cfg(target_os = "linux")]

mod java;

use std::path::{Path, PathBuf};
use std::process::Command;

use java::{Running, jdks};
use serde_json::Value;

const PLANTED: &str = r#"
import java.lang.ref.*;
import java.net.*;
import java.util.*;
import java.util.concurrent.*;
public class Planted {
    static final class InList { long number; Object other; }
    static final class InLocal { int number; boolean flag; }
    static final class OnStack { byte small; }
    static final class Weakly { char letter; }
    static final class Softly { Object[] rows = new Object[1]; }
    static final class Link { Link next; double value; }
    static final class Globally { long number; int[] numbers; }
    static native void keep(Object object);
    static final class Leaf { float value; }
    static final class Listener implements Runnable {
        final long[] numbers = new long[3];
        public void run() {}
    }
    static final class Bus { final Map<String, List<Runnable>> listeners = new ConcurrentHashMap<>(); }
    public static final class Plugin implements Runnable {
        static final Object[] CACHE = new Object[30];
        public void run() { for (int i = 0; i < CACHE.length; i++) CACHE[i] = new Cached(); }
    }
    public static final class Cached { short small; int large; }
    static final class Loader extends ClassLoader {
        Runnable plugin() throws Exception {
            byte[] code = Planted.class.getResourceAsStream("Planted$Plugin.class").readAllBytes();
            Class<?> plugin = defineClass("Planted$Plugin", code, 0, code.length);
            return (Runnable) plugin.getDeclaredConstructor().newInstance();
        }
    }
    static class OfThread extends Thread { Leaf leaf; OfThread(String name) { super(name); } public void run() { pause(); } }

    static final List<Object> KEPT = new ArrayList<>();
    static final ThreadLocal<Object> LOCAL = new ThreadLocal<>();
    static final List<Reference<Object>> REFERENCES = new ArrayList<>();
    static final Bus BUS = new Bus();
    static Link head;
    static Runnable plugin;

    static void pause() {
        try { Thread.sleep(120_000); } catch (InterruptedException ended) {}
    }

    static void local() {
        Deque<Object> many = new ArrayDeque<>();
        for (int i = 0; i < 70; i++) many.add(new InLocal());
        LOCAL.set(many);
        ready.countDown();
        pause();
    }

    static void hold(OnStack held) {
        System.out.println("ready");
        pause();
        System.out.println(held);
    }

    static final CountDownLatch ready = new CountDownLatch(1);

    public static void main(String[] words) throws Exception {
        for (int i = 0; i < 3000; i++) KEPT.add(new InList());
        for (int i = 0; i < 500; i++) { Link link = new Link(); link.next = head; head = link; }
        for (int i = 0; i < 40; i++) BUS.listeners.computeIfAbsent("topic", name -> new ArrayList<>()).add(new Listener());
        for (int i = 0; i < 20; i++) REFERENCES.add(new WeakReference<>(new Weakly()));
        for (int i = 0; i < 9; i++) REFERENCES.add(new SoftReference<>(new Softly()));
        System.load(System.getProperty("library"));
        for (int i = 0; i < 6; i++) keep(new Globally());
        plugin = new Loader().plugin();
        plugin.run();
        Thread keeper = new Thread(Planted::local, "kéeper ☃");
        keeper.setDaemon(true);
        keeper.start();
        OfThread other = new OfThread("other");
        other.leaf = new Leaf();
        other.setDaemon(true);
        other.start();
        ready.await();
        hold(new OnStack());
    }
}
"#;

/// Native code that keeps what it is given.
const KEEP: &str = "\
#include <jni.h>
JNIEXPORT void JNICALL Java_Planted_keep(JNIEnv *env, jclass class, jobject object) {
    (*env)->NewGlobalRef(env, object);
}
";

/// Compiles `KEEP`, with what links every Rust program.
fn library(jdk: &Path, folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("keep.c"), folder.join("libkeep.so"));
    std::fs::write(&source, KEEP).expect("written");
    let include = jdk.join("include");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-I"])
        .arg(&include)
        .arg("-I")
        .arg(include.join("linux"))
        .arg("-o")
        .args([&library, &source])
        .status()
        .expect("cc runs");
    assert!(compiled.success(), "{jdk:?}");
    library
}

/// A planted class, how many there are, and the path that most are held by.
const EXPECTED: [(&str, u64, &str); 9] = [
    ("InList", 3000, "3000 static Planted.KEPT java.util.ArrayList.elementData Object[]"),
    ("InLocal", 70, "70 thread local of thread \"kéeper ☃\" java.util.ArrayDeque.elements Object[]"),
    ("Link", 500, "499 static Planted.head Planted$Link.next…"),
    (
        "Listener",
        40,
        "40 static Planted.BUS Planted$Bus.listeners java.util.concurrent.ConcurrentHashMap.table \
         java.util.concurrent.ConcurrentHashMap$Node[] java.util.concurrent.ConcurrentHashMap$Node.val \
         java.util.ArrayList.elementData Object[]",
    ),
    ("Cached", 30, "30 static Planted$Plugin.CACHE (class loader Planted$Loader) Object[]"),
    ("Loader", 1, "1 static Planted.plugin class of Planted$Plugin class loader of Planted$Plugin"),
    ("Globally", 6, "6 JNI global"),
    ("Leaf", 1, "1 thread \"other\" Planted$OfThread.leaf"),
    ("OnStack", 1, "1 stack of \"main\" in Planted.hold:56"),
];

/// Every layout of objects that the JVMs have.
const OPTIONS: [&str; 6] = [
    "-XX:+UseSerialGC",
    "-XX:+UseG1GC",
    "-XX:+UseZGC",
    "-XX:+UseSerialGC -XX:-UseCompressedOops",
    "-XX:+UseSerialGC -XX:-UseCompressedOops -XX:-UseCompressedClassPointers",
    "-XX:+UseSerialGC -XX:+UnlockExperimentalVMOptions -XX:+UseCompactObjectHeaders",
];

fn leakline(words: &[&str], file: &Path) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_leakline")).args(words).arg(file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

fn holders(file: &Path, words: &[&str]) -> Vec<Value> {
    let text = leakline(&[&["holders", "--json"], words].concat(), file);
    let object: Value = serde_json::from_str(&text).expect("JSON");
    object["classes"].as_array().expect("classes").clone()
}

/// The first path, as one line.
fn first_path(class: &Value) -> String {
    let path = &class["paths"][0];
    let steps = path["steps"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words = [path["root"].as_str(), path["name"].as_str()].into_iter().flatten().chain(steps);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("{} {}", path["instances"], words.join(" "))
}

/// Instances and bytes by class, of those that are `Planted$…`, as the JVM itself counts them.
fn histogram(jdk: &Path, pid: u32) -> Vec<(String, u64, u64)> {
    let output = Command::new(jdk.join("bin/jcmd"))
        .args([&pid.to_string(), "GC.class_histogram"])
        .output()
        .expect("jcmd runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, instances, bytes, name, ..] = words.as_slice() else { return None };
            // Threads have padding around some fields (@Contended), which no dump tells of.
            let is_ours =
                name.starts_with("Planted$") && !name.contains("Lambda") && !name.ends_with("Thread");
            is_ours.then_some((name.to_string(), instances.parse().ok()?, bytes.parse().ok()?))
        })
        .collect()
}

#[track_caller]
fn check(jdk: &Path, folder: &Path, options: &[&str]) {
    let mut java = Running::java(jdk, folder, options, "Planted", PLANTED);
    let file = folder.join(format!("{}.hprof", java.0.id()));
    leakline(&["heapdump", &java.0.id().to_string(), "--live", "-o"], &file);
    let counted = histogram(jdk, java.0.id());
    assert!(java.is_alive());
    assert!(counted.len() >= EXPECTED.len(), "{jdk:?} {options:?}: {counted:?}");
    let words: Vec<&str> = counted.iter().flat_map(|(name, ..)| ["--class", name]).collect();
    let classes = holders(&file, &words);
    for ((name, instances, bytes), class) in counted.iter().zip(&classes) {
        assert_eq!(class["class"], **name);
        let told = (class["instances"].as_u64(), class["shallow_bytes"].as_u64());
        assert_eq!(told, (Some(*instances), Some(*bytes)), "{jdk:?} {options:?} {name}");
    }
    for (name, instances, path) in EXPECTED {
        let class = classes.iter().find(|class| class["class"] == format!("Planted${name}"));
        let class = class.expect("it was counted");
        assert_eq!(class["instances"], instances, "{jdk:?} {options:?} {name}");
        assert_eq!(class["unheld_instances"], 0, "{jdk:?} {options:?} {name}");
        assert_eq!(first_path(class), path, "{jdk:?} {options:?} {name}");
    }
    let softly = &holders(&file, &["--class", "Softly"])[0];
    assert_eq!(softly["unheld_instances"], 9, "{jdk:?} {options:?}");
    let softly = &holders(&file, &["--class", "Softly", "--soft"])[0];
    let path = "9 static Planted.REFERENCES java.util.ArrayList.elementData Object[] softly java.lang.ref.SoftReference";
    assert_eq!(first_path(softly), path, "{jdk:?} {options:?}");

    let text = leakline(&["holders", "--class", "Planted$InList"], &file);
    let line = "  3,000 of 3,000 held by  static Planted.KEPT  java.util.ArrayList.elementData  Object[]\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn the_planted_holders_are_named_and_the_counts_are_the_jvms() {
    for jdk in jdks() {
        let folder = tempfile::tempdir().expect("a folder");
        let library = format!("-Dlibrary={}", library(&jdk, folder.path()).display());
        for options in OPTIONS {
            let always = [&*library, "-Xmx64m", "-Xlog:disable", "-XX:+IgnoreUnrecognizedVMOptions"];
            let options: Vec<&str> = always.into_iter().chain(options.split_whitespace()).collect();
            check(&jdk, folder.path(), &options);
        }
    }
}

#[test]
fn what_is_no_dump_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("no.hprof");
    std::fs::write(&file, "no dump").expect("written");
    let output =
        Command::new(env!("CARGO_BIN_EXE_leakline")).arg("holders").arg(&file).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not a heap dump: it begins with no dump"), "{said}");
    assert!(!output.status.success());
}
