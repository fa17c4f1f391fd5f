//! Real programs, built in the ways that people build them: what is found is compared with binutils' addr2line.
//! Where a compiler or a tool is missing, the test says that it was skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use leakline_core::{Frame, NativePlace, text};
use object::{Object as _, ObjectSymbol as _};
use tempfile::TempDir;

use super::files::Files;
use super::inspect::inspect;
use super::{Resolver, WithoutSymbols};

/// A program in a folder of its own.
struct Built {
    folder: TempDir,
}

impl Built {
    /// Compiles `source` of the folder beside this file; `None`, said aloud, where that cannot be done here.
    fn new(source: &str, flags: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/symbols/tests").join(source);
        fs::copy(from, folder.path().join(source)).unwrap();
        let compiler = match source.rsplit('.').next() {
            Some("c") => "cc",
            Some("cpp") => "c++",
            _ => "rustc",
        };
        let built = Self { folder };
        built.run(compiler, &format!("{flags} {source} -o app"))?;
        Some(built)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &str) -> Option<()> {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        let ran = command.stdin(Stdio::null()).output();
        if ran.as_ref().is_ok_and(|ran| ran.status.success()) {
            return Some(());
        }
        eprintln!(
            "skipped: {program} {arguments}: {}",
            ran.map_or_else(|e| e.to_string(), |ran| String::from_utf8_lossy(&ran.stderr).into_owned())
        );
        None
    }

    fn build_id(&self) -> String {
        inspect(&*fs::read(self.path("app")).unwrap()).unwrap().build_id
    }

    /// The addresses of every second byte of the functions whose names have one of `words`.
    fn addresses(&self, words: &[&str]) -> Vec<u64> {
        let bytes = fs::read(self.path("app")).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let meant = file.symbols().filter(|symbol| {
            symbol.size() > 0 && symbol.name().is_ok_and(|name| words.iter().any(|word| name.contains(word)))
        });
        let mut all: Vec<u64> =
            meant.flat_map(|s| (s.address()..s.address() + s.size()).step_by(2)).collect();
        all.sort_unstable();
        assert!(all.len() > 20, "{all:?}");
        all
    }

    fn resolver(&self, folders: &[PathBuf]) -> Resolver {
        let files = Files::new(folders).with_system(self.path("system"));
        Resolver { files, ..Resolver::new(&[]) }
    }

    /// The frame of a call before `address + 1`.
    fn frame(&self, build_id: &str, address: u64) -> Arc<Frame> {
        let path = self.path("app").display().to_string();
        let place = NativePlace { build_id: build_id.into(), address: address + 1 };
        Arc::new(Frame::in_object("", path, place))
    }
}

/// What binutils says of `addresses` in `file`: of each the frames, innermost first, as `function file:line`.
fn oracle(file: &Path, addresses: &[u64]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("addr2line");
    command.args(["-a", "-i", "-f", "-C", "-e"]).arg(file);
    command.args(addresses.iter().map(|address| format!("{address:#x}")));
    let Ok(ran) = command.output() else {
        eprintln!("skipped: there is no addr2line here (binutils)");
        return None;
    };
    let text = String::from_utf8(ran.stdout).unwrap();
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            all.push(Vec::new());
            continue;
        }
        let place = lines.next().unwrap().split(" (discriminator").next().unwrap().replace(":?", ":0");
        all.last_mut().unwrap().push(format!("{line} {place}"));
    }
    assert_eq!(all.len(), addresses.len());
    Some(all)
}

fn told(frames: &[Arc<Frame>]) -> Vec<String> {
    frames.iter().map(|frame| format!("{} {}:{}", frame.function, frame.file, frame.line)).collect()
}

/// Builds `source` with `flags`, does `then` to it, and compares with what binutils knows of it before that.
fn check(source: &str, flags: &str, words: &[&str], then: impl FnOnce(&Built) -> Option<()>) {
    let Some(built) = Built::new(source, flags) else { return };
    let addresses = built.addresses(words);
    let Some(expected) = oracle(&built.path("app"), &addresses) else { return };
    let build_id = built.build_id();
    if then(&built).is_none() {
        return;
    }
    let mut resolver = built.resolver(&[built.path("symbols")]);
    let mut inlined = 0;
    for (address, expected) in addresses.iter().zip(expected) {
        let found = told(&resolver.frames(&built.frame(&build_id, *address)));
        inlined += usize::from(found.len() > 1);
        // Of an inlined lambda the line tables have the bare name, and binutils takes that of the function around it.
        let place = |frame: &String| frame.rsplit(' ').next().map(str::to_owned);
        if found.iter().any(|frame| frame.starts_with("operator() ")) {
            let places = |frames: &[String]| frames.iter().map(place).collect::<Vec<_>>();
            assert_eq!(places(&found), places(&expected), "{source} {flags} at {address:#x}");
            continue;
        }
        assert_eq!(found, expected, "{source} {flags} at {address:#x}");
    }
    assert!(inlined > 0 || !flags.contains("O2"), "{flags}: nothing was inlined");
    if !build_id.is_empty() {
        assert_eq!(resolver.without_symbols(), []);
    }
}

const C: &[&str] = &["leak_here", "main"];

#[test]
fn lines_and_inlined_calls_of_c_are_those_that_binutils_tells() {
    let ways = [
        "-g -O0",
        "-g -O2",
        "-gdwarf-4 -O2",
        "-gdwarf-5 -O2",
        "-g -O2 -gz=zlib",
        "-g -O2 -gz=zstd",
        "-g -O2 -no-pie",
    ];
    for flags in ways {
        check("leak.c", flags, C, |_| Some(()));
    }
    check("leak.c", "-g -O2 -Wl,--build-id=none", C, |_| Some(()));
}

/// Binutils cannot always read these, so they are compared with the same program built the usual way.
#[test]
fn lines_that_are_split_off_or_compressed_by_zstd_are_read() {
    let told_of = |source: &str, words: &[&str], flags: &str| {
        let built = Built::new(source, flags)?;
        let (id, mut resolver) = (built.build_id(), built.resolver(&[]));
        let folder = built.folder.path().display().to_string();
        let all =
            built.addresses(words).into_iter().flat_map(|at| told(&resolver.frames(&built.frame(&id, at))));
        Some(all.map(|frame| frame.replace(&folder, "")).collect::<Vec<_>>())
    };
    let zstd = "-g -Clink-arg=-Wl,--compress-debug-sections=zstd";
    let cases = [
        ("leak.c", C, "-g -O2", "-g -O2 -gsplit-dwarf", "hold /leak.c:14"),
        ("leak.rs", &["Receive"], "-g", zstd, "leak.rs:21"),
    ];
    for (source, words, usual, other, line) in cases {
        let (Some(usual), Some(other)) = (told_of(source, words, usual), told_of(source, words, other))
        else {
            continue;
        };
        assert!(usual.iter().any(|frame| frame.ends_with(line)), "{usual:?}");
        assert_eq!(other, usual);
    }
}

#[test]
fn names_of_cpp_and_rust_are_demangled() {
    for flags in ["-g -O0", "-g -O2"] {
        check("leak.cpp", flags, &["mesh", "receive", "main"], |_| Some(()));
    }
    for flags in ["-g", "-g -Copt-level=2 -Csymbol-mangling-version=v0", "-g -Copt-level=2"] {
        check("leak.rs", flags, &["Receive", "4leak4main"], |_| Some(()));
    }
}

/// Where the debug file of the object with a build id goes.
type Place = fn(&str) -> String;

fn strip_to(built: &Built, debug: &str) -> Option<()> {
    fs::create_dir_all(built.path(debug).parent().unwrap()).unwrap();
    built.run("objcopy", &format!("--only-keep-debug app {debug}"))?;
    built.run("objcopy", "--strip-all app")
}

#[test]
fn a_separate_debug_file_is_found_in_each_of_its_places() {
    let places: [(&str, Place); 6] = [
        ("", |id| format!("symbols/.build-id/{}/{}.debug", &id[..2], &id[2..])),
        ("", |id| format!("system/.build-id/{}/{}.debug", &id[..2], &id[2..])),
        ("", |_| "symbols/deep/er/app.debug".to_owned()),
        ("", |_| "symbols/app".to_owned()),
        ("link", |_| "app.dbg".to_owned()),
        ("link", |_| ".debug/app.dbg".to_owned()),
    ];
    for (link, place) in places {
        for id in ["", " -Wl,--build-id=none"] {
            if link.is_empty() && !id.is_empty() {
                continue;
            }
            check("leak.c", &format!("-g -O2{id}"), C, |built| {
                let debug = place(&built.build_id());
                strip_to(built, &debug)?;
                match link {
                    "" => Some(()),
                    _ => built.run("objcopy", &format!("--add-gnu-debuglink={debug} app")),
                }
            });
        }
    }
}

#[test]
fn a_shared_part_of_debug_files_is_read_too() {
    check("leak.c", "-g -O2", C, |built| {
        built.run("cp", "app other")?;
        built.run("dwz", "-m shared.debug app other")
    });
}

#[test]
fn without_lines_there_is_the_function_and_how_far_into_it() {
    let Some(built) = Built::new("leak.c", "-O2") else { return };
    let begin = built.addresses(&["leak_here"])[0];
    let frames = built.resolver(&[]).frames(&built.frame(&built.build_id(), begin + 4));
    let shown: Vec<_> = frames.iter().map(|frame| text::frame(frame, &[])).collect();
    assert_eq!(shown, ["leak_here+0x5 (app)"]);
}

/// The objects without symbols after `spoil`, each as `why` with the folder left out; and that nothing was resolved.
fn check_missing(flags: &str, spoil: impl FnOnce(&Built) -> String, expected: &str) {
    let Some(built) = Built::new("leak.c", flags) else { return };
    let address = built.addresses(C)[0];
    let build_id = spoil(&built);
    let mut resolver = built.resolver(&[built.path("symbols")]);
    let frame = built.frame(&build_id, address);
    assert_eq!(*resolver.frames(&frame), [Arc::clone(&frame)]);
    let path = built.path("app").display().to_string();
    let why = expected.replace("APP", &path);
    assert_eq!(resolver.without_symbols(), [WithoutSymbols { path, build_id, why }]);
}

#[test]
fn what_has_no_symbols_says_why() {
    check_missing("-g", |_| "0a1b".to_owned(), "APP is another build");
    check_missing("-g", |_| String::new(), "APP is another build");
    let removed = |built: &Built| {
        let id = built.build_id();
        fs::remove_file(built.path("app")).unwrap();
        id
    };
    check_missing("-g", removed, "no file with this build id was found here");
    let stripped = |built: &Built| {
        built.run("objcopy", "--strip-all app").unwrap();
        built.build_id()
    };
    check_missing("-g", stripped, "APP is stripped");
    let emptied = |built: &Built| {
        let id = built.build_id();
        fs::write(built.path("app"), "no object").unwrap();
        id
    };
    check_missing("-g", emptied, "APP is damaged, or no object");
}

#[test]
fn a_debug_file_of_another_build_is_never_used() {
    let Some(built) = Built::new("leak.c", "-O2 -g") else { return };
    let Some(other) = Built::new("leak.c", "-O0 -g") else { return };
    let id = built.build_id();
    fs::create_dir_all(built.path("symbols")).unwrap();
    fs::copy(other.path("app"), built.path("symbols/app.debug")).unwrap();
    let debug = built.path(&format!("symbols/.build-id/{}/{}.debug", &id[..2], &id[2..]));
    fs::create_dir_all(debug.parent().unwrap()).unwrap();
    fs::copy(other.path("app"), debug).unwrap();
    let address = built.addresses(C)[0];
    fs::remove_file(built.path("app")).unwrap();
    let frame = built.frame(&id, address);
    assert_eq!(*built.resolver(&[built.path("symbols")]).frames(&frame), [Arc::clone(&frame)]);
}

/// Cut off at many places, and with bytes turned over: an answer, of whatever kind.
#[test]
fn damaged_files_are_survived() {
    for flags in ["-g -O2", "-g -O2 -gz=zlib"] {
        let Some(built) = Built::new("leak.c", flags) else { return };
        let (id, addresses) = (built.build_id(), built.addresses(C));
        let whole = fs::read(built.path("app")).unwrap();
        let ask = |bytes: &[u8]| {
            fs::write(built.path("app"), bytes).unwrap();
            let mut resolver = built.resolver(&[]);
            for address in addresses.iter().step_by(9) {
                assert!(!resolver.frames(&built.frame(&id, *address)).is_empty());
            }
        };
        (0..whole.len()).step_by(whole.len() / 60).for_each(|end| ask(&whole[..end]));
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..40 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = state as usize % bytes.len();
                bytes[at] ^= (state >> 32) as u8;
            }
            ask(&bytes);
        }
    }
}

#[test]
fn paths_of_other_machines_and_strange_build_ids_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut resolver = Resolver::new(&[folder.path().to_owned()]);
    for path in ["//host/share/a.so", r"\\host\share\a.so", "relative.so", "/dev/zero", "", "/"] {
        for build_id in ["", "../../etc/passwd", "0a", "zz", "é"] {
            let place = NativePlace { build_id: build_id.into(), address: 0 };
            let frame = Arc::new(Frame::in_object("", path, place));
            assert_eq!(*resolver.frames(&frame), [Arc::clone(&frame)]);
        }
    }
}
