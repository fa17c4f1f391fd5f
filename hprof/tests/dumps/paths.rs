//! Which path is told, for every kind of root and reference.

use std::io::Cursor;

use leakline_hprof::Dump;

use crate::writer::{ART, Form, HOTSPOT, SMALL, dump};

/// What every dump has.
const BASE: &str = "
    class java.lang.Object
    class java.lang.String : java.lang.Object value:L hash:I coder:B
    class java.lang.Thread : java.lang.Object name:L threadLocals:L target:L
    class java.lang.ClassLoader : java.lang.Object classes:L
    class java.lang.ref.Reference : java.lang.Object referent:L queue:L discovered:L
    class java.lang.ref.SoftReference : java.lang.ref.Reference clock:J
    class java.lang.ref.WeakReference : java.lang.ref.Reference
    class java.lang.ref.FinalReference : java.lang.ref.Reference
    class java.util.ArrayList : java.lang.Object elementData:L size:I
    class X : java.lang.Object flag:Z next:L letter:C other:L
";

/// Who holds the instances of `X`, a line each: how many, and the path.
fn holders(form: Form, text: &str, soft: bool) -> String {
    let bytes = dump(form, &[BASE, text].concat());
    let mut dump = Dump::open(Cursor::new(bytes)).expect("a dump");
    let held = dump.holders(&["X".to_owned()], soft).expect("it can be walked");
    let [held] = held.as_slice() else { return "none".to_owned() };
    let mut lines: Vec<String> = held
        .paths
        .iter()
        .map(|by| {
            let mut words = vec![by.instances.to_string(), by.path.root.to_owned(), by.path.name.clone()];
            words.extend(by.path.steps.iter().cloned());
            words.retain(|word| !word.is_empty());
            words.join(" ")
        })
        .collect();
    if held.unheld > 0 {
        lines.push(format!("{} unheld", held.unheld));
    }
    lines.join("\n")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    for form in [HOTSPOT, SMALL, ART] {
        assert_eq!(holders(form, text, false), expected, "{form:?}");
    }
}

#[test]
fn a_static_field_holds_what_its_list_holds() {
    let list = "
        new a X
        new b X
        new c X next=b
        array items java.lang.Object[] a c null
        new list java.util.ArrayList elementData=items size=2
        class relay.Archive : java.lang.Object static.KEPT=list
    ";
    check(
        list,
        "2 static relay.Archive.KEPT java.util.ArrayList.elementData Object[]\n\
         1 static relay.Archive.KEPT java.util.ArrayList.elementData Object[] X.next",
    );
}

#[test]
fn segments_and_arts_infos_are_passed_over() {
    let text =
        "info\n new a X\n segment\n info\n class A : java.lang.Object static.A=a\n root 05 A\n segment";
    check(text, "1 static A.A");
}

#[test]
fn a_chain_is_one_path_however_long() {
    let mut text = String::from("class A : java.lang.Object static.HEAD=x0\n new x999 X\n");
    for link in 0..999 {
        text += &format!("new x{link} X next=x{}\n", link + 1);
    }
    check(&text, "999 static A.HEAD X.next…\n1 static A.HEAD");
}

#[test]
fn a_thread_local_is_named_by_its_thread() {
    let text = "
        class Worker : java.lang.Thread
        class java.lang.ThreadLocal$ThreadLocalMap : java.lang.Object table:L
        class java.lang.ThreadLocal$ThreadLocalMap$Entry : java.lang.ref.WeakReference value:L
        new a X
        new b X
        new entry java.lang.ThreadLocal$ThreadLocalMap$Entry value=a referent=b
        array entries java.lang.ThreadLocal$ThreadLocalMap$Entry[] null entry
        new map java.lang.ThreadLocal$ThreadLocalMap table=entries
        string name pool_1
        new worker Worker name=name threadLocals=map
        thread 4 worker
    ";
    check(text, "1 thread local of thread \"pool 1\"\n1 unheld");
}

#[test]
fn what_a_thread_holds_otherwise_is_the_threads() {
    let text = "new a X\n string name worker\n new t java.lang.Thread name=name target=a\n thread 4 t";
    check(text, "1 thread \"worker\" java.lang.Thread.target");
}

/// A thread `main` that runs `Holder.hold`, and a root of `kind` on an `X`.
#[track_caller]
fn check_root(kind: &str, expected: &str) {
    let text = format!(
        "string name main\n new t java.lang.Thread name=name\n thread 1 t Holder.hold:7 Holder.call:-3\n \
         new a X\n root {kind}"
    );
    check(&text, expected);
}

#[test]
fn every_root_is_named() {
    check_root("01 a", "1 JNI global");
    check_root("02 a 1 1", "1 JNI local of \"main\" in Holder.call (native)");
    check_root("02 a 1 4294967295", "1 JNI local of \"main\"");
    check_root("03 a 1 0", "1 stack of \"main\" in Holder.hold:7");
    check_root("03 a 9 0", "1 stack of");
    check_root("04 a 1", "1 native stack of \"main\"");
    check_root("05 a", "1 system class");
    check_root("06 a 1", "1 blocked thread \"main\"");
    check_root("07 a", "1 monitor");
    check_root("89 a", "1 interned string");
    check_root("8a a", "1 waiting for its finalizer");
    check_root("8b a", "1 debugger");
    check_root("8c a", "1 reference cleanup");
    check_root("8d a", "1 virtual machine");
    check_root("8e a 1 0", "1 monitor");
    check_root("ff a", "1 unknown");
}

#[test]
fn what_lasts_is_told_before_what_is_on_a_stack() {
    let text = "
        new a X
        new b X next=a
        class A : java.lang.Object static.KEPT=b
        root 03 a 1 0
    ";
    check(text, "1 static A.KEPT\n1 static A.KEPT X.next");
}

#[test]
fn weak_references_hold_nothing() {
    let text = "
        new a X
        new b X
        new weak java.lang.ref.WeakReference referent=a discovered=b
        class A : java.lang.Object static.WEAK=weak
    ";
    check(text, "2 unheld");
}

#[test]
fn soft_references_hold_when_asked_for() {
    let text = "
        new a X
        new b X next=a
        new c X
        new soft java.lang.ref.SoftReference referent=b clock=5
        class A : java.lang.Object static.CACHE=soft static.KEPT=a
    ";
    check(text, "1 static A.KEPT\n2 unheld");
    assert_eq!(
        holders(HOTSPOT, text, true),
        "1 static A.CACHE softly java.lang.ref.SoftReference\n1 static A.KEPT\n1 unheld"
    );
}

#[test]
fn what_waits_for_its_finalizer_is_told_so() {
    let text = "
        new b X
        new a X next=b
        new f java.lang.ref.FinalReference referent=a
        class A : java.lang.Object static.unfinalized=f
    ";
    check(text, "1 waiting for its finalizer\n1 waiting for its finalizer X.next");
}

#[test]
fn a_class_that_can_be_unloaded_is_told_with_its_loader() {
    check(
        "
        class PluginLoader : java.lang.ClassLoader
        new loader PluginLoader
        new a X
        class Plugin : java.lang.Object loader=loader static.CACHE=a
        new plugin Plugin
        class Registry : java.lang.Object static.PLUGIN=plugin
        ",
        "1 static Plugin.CACHE (class loader PluginLoader)",
    );
    check(
        "
        class PluginLoader : java.lang.ClassLoader
        new loader PluginLoader classes=classes
        array classes java.lang.Object[] Plugin
        new a X
        class Plugin : java.lang.Object loader=loader static.CACHE=a
        class Registry : java.lang.Object static.LOADER=loader
        ",
        "1 static Plugin.CACHE (class loader PluginLoader)",
    );
}

#[test]
fn a_loader_is_held_by_the_instances_of_its_classes() {
    check(
        "
        new loader X
        class Plugin : java.lang.Object loader=loader
        new plugin Plugin
        class Registry : java.lang.Object static.PLUGIN=plugin
        ",
        "1 static Registry.PLUGIN class of Plugin class loader of Plugin",
    );
}

#[test]
fn what_a_loader_holds_is_told_so() {
    check(
        "
        class PluginLoader : java.lang.ClassLoader
        new loader PluginLoader classes=a
        new a X
        root 01 loader
        ",
        "1 JNI global class loader PluginLoader.classes",
    );
}

#[test]
fn a_loader_that_nobody_holds_is_garbage_with_its_statics() {
    check(
        "
        class PluginLoader : java.lang.ClassLoader
        new loader PluginLoader
        new a X
        class Plugin : java.lang.Object loader=loader static.CACHE=a
        ",
        "1 unheld",
    );
}

#[test]
fn a_class_that_is_asked_about_twice_is_told_once() {
    let bytes = dump(HOTSPOT, &[BASE, "new a X\n root 01 a"].concat());
    let mut dump = Dump::open(Cursor::new(bytes)).expect("a dump");
    let names = ["X", "none", "byte[]", "X"].map(str::to_owned);
    let held = dump.holders(&names, false).expect("it can be walked");
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].class.instances, held[0].unheld), (1, 0));
}

#[test]
fn sizes_are_those_of_the_virtual_machine() {
    let sizes = |form: Form| {
        let text = "new a X\n bytes b 9\n array c X[] a a a";
        let mut dump = Dump::open(Cursor::new(dump(form, &[BASE, text].concat()))).expect("a dump");
        let classes = dump.classes().expect("they can be told");
        let mut all: Vec<_> = classes.iter().map(|of| format!("{} {}", of.name, of.shallow_bytes)).collect();
        all.sort();
        all.join(", ")
    };
    assert_eq!(sizes(HOTSPOT), "X 24, X[] 32, byte[] 32");
    assert_eq!(sizes(SMALL), "X 24, X[] 24, byte[] 24");
    assert_eq!(sizes(ART), "X 16, X[] 24, byte[] 24");
}
