//! Who holds what a Java program leaks: the classes that its recording says grow, in a heap dump taken while it ran.

use std::path::Path;
use std::process::Command;

use leakline_tests::{Host, built_host, dist, jdks};
use serde_json::Value;

fn leakline(words: &[&str], file: &Path) -> String {
    let output = Command::new(dist().leakline).args(words).arg(file).output().expect("leakline runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_holder_of_what_grew_is_named() {
    for java in jdks() {
        let classes = built_host("java");
        let command = [java.as_os_str(), "-Xmx128m".as_ref(), "-cp".as_ref(), classes.as_os_str()];
        let words = ["Plain", "--leak", "jvm", "--rate", "4000000", "--seconds", "10"].map(AsRef::as_ref);
        let host = Host::new(command.into_iter().chain(words)).options(["--interval", "200ms"]).spawn();
        host.wait_for_snapshots(20);
        let dump = host.folder().join("plain.hprof");
        leakline(&["heapdump", &host.pid().to_string(), "--live", "-o"], &dump);
        let recording = host.recording().to_str().expect("text").to_owned();
        let text = leakline(&["holders", "--json", "--recording", &recording], &dump);
        let object: Value = serde_json::from_str(&text).expect("JSON");
        let path = |class: &str| {
            let classes = object["classes"].as_array().expect("classes");
            let class = classes.iter().find(|object| object["class"] == class).expect("it grew");
            let path = &class["paths"][0];
            let (held, all) = (path["instances"].as_u64(), class["instances"].as_u64());
            assert!(held.unwrap_or(0) * 2 > all.unwrap_or(0), "{java:?}: {class}");
            (path["root"].clone(), path["name"].clone(), path["steps"].clone())
        };
        let table = ["java.util.HashMap.table", "java.util.HashMap$Node[]"];
        let value = [&table[..], &["java.util.HashMap$Node.value"]].concat();
        let held: (Value, Value) = ("static".into(), "Plain.HELD".into());
        assert_eq!(path("byte[]"), (held.0.clone(), held.1.clone(), value.into()), "{java:?}");
        assert_eq!(path("java.util.HashMap$Node"), (held.0, held.1, table[..].into()), "{java:?}");
        host.wait().succeeded();
    }
}
